"""Streams of events as providers could send them: each seed gives another one."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

from guardrail.model_apis.api import Api

__all__ = ["generated", "in_pieces"]

_WORDS = [
    "Sun",
    " in ",
    "Zürich",
    "\n",
    "“quoted”",
    "日本",
    "🌞",
    " ",
    '"',
    "\\",
    "\u2028",
    "data: x",
]


def generated(api: Api, seed: int) -> tuple[list[bytes], bool]:
    """Return a stream in pieces, and whether its calls are of kinds that every client knows."""
    chance = random.Random(f"{api} {seed}")
    made = _MAKERS[api](chance)
    named = api is not Api.CHAT and (api is Api.MESSAGES or chance.random() < 0.8)
    ids = api is Api.MESSAGES
    data = "".join(_written(chance, each, named=named, ids=ids) for each in made.events())
    if api is Api.CHAT:
        data += "data: [DONE]\n\n"
    end = chance.choice(["\n", "\n", "\r\n", "\r"])
    return in_pieces(chance, data.replace("\n", end).encode()), made.plain


def in_pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """Return *data* in pieces that end anywhere, also inside characters and line ends."""
    if chance.random() < 0.2:
        return [data]
    most = chance.choice([3, 50, 1_000])
    pieces = []
    while data:
        size = chance.randint(1, most)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def _written(chance: random.Random, event: Any, *, named: bool, ids: bool) -> str:
    """Return the text of an event, in one of the forms that mean the same. *ids* permits ids of
    events: after one, clients of OpenAI take a comment for an event.
    """
    ascii_ = chance.random() < 0.5
    indent = 1 if chance.random() < 0.1 else None
    text = json.dumps(event, ensure_ascii=ascii_, indent=indent)
    space = chance.choice([" ", " ", ""])
    lines = "".join(f"data:{space}{line}\n" for line in text.split("\n"))
    head = f"event:{space}{event['type']}\n" if named else ""
    before = chance.choice(["", "", "", ": comment\n", ":\n\n", "id: 7\n" if ids else ""])
    return f"{before}{head}{lines}\n"


def _text(chance: random.Random) -> str:
    return "".join(chance.choices(_WORDS, k=chance.randint(1, 6)))


def _cut(chance: random.Random, text: str) -> list[str]:
    """Return *text* in pieces, of which some are empty."""
    pieces = []
    while text:
        size = chance.randint(0, 9)
        pieces.append(text[:size])
        text = text[size:]
    return pieces or [""]


def _arguments(chance: random.Random) -> str:
    value = {
        f"k{number}": chance.choice(
            [_text(chance), 1, 1.5, None, True, ["x"], {"y": _text(chance)}]
        )
        for number in range(chance.randint(0, 3))
    }
    return json.dumps(value, ensure_ascii=chance.random() < 0.5)


def _interleaved(chance: random.Random, parts: list[list[Any]]) -> Iterator[Any]:
    """Yield the members of *parts*, those of one part in their order."""
    waiting = [iter(part) for part in parts if part]
    ahead = [next(part) for part in waiting]
    while waiting:
        at = chance.randrange(len(waiting))
        yield ahead[at]
        try:
            ahead[at] = next(waiting[at])
        except StopIteration:
            del waiting[at], ahead[at]


class _Chat:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.plain = True
        self._ids = itertools.count(1)

    def events(self) -> Iterator[Any]:
        chance = self._chance
        head = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "scripted-1",
        }
        usage = chance.random() < 0.5
        more = {"usage": None} if usage else {}
        choices = [list(self._choice(index)) for index in range(chance.choice([1, 1, 1, 2, 3]))]
        waiting: list[Any] = []
        # Choices begin in order.
        first = [choice.pop(0) for choice in choices]
        for choice in itertools.chain(first, _interleaved(chance, choices)):
            same = any(choice["index"] == each["index"] for each in waiting)
            if waiting and (same or chance.random() < 0.8):
                yield {**head, "choices": waiting, **more}
                waiting = []
            waiting.append(choice)
        yield {**head, "choices": waiting, **more}
        if usage:
            counts = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
            yield {**head, "choices": [], "usage": counts}

    def _choice(self, index: int) -> Iterator[Any]:
        deltas, ending = self._deltas()
        extra = {"logprobs": None} if self._chance.random() < 0.5 else {}
        for delta in deltas:
            yield {"index": index, "delta": delta, "finish_reason": None, **extra}
        yield {"index": index, "delta": {}, "finish_reason": ending, **extra}

    def _deltas(self) -> tuple[list[Any], str]:
        chance = self._chance
        made: list[Any] = [{"role": "assistant", "content": chance.choice([None, ""])}]
        if chance.random() < 0.3:
            made += [{"reasoning_content": each} for each in _cut(chance, _text(chance))]
        if chance.random() < 0.6:
            made += [{"content": each} for each in _cut(chance, _text(chance))]
        if chance.random() < 0.1:
            made += [{"refusal": each} for each in _cut(chance, _text(chance))]
        if chance.random() < 0.1:
            made.append({})
        kind = chance.choice(["none", "tools", "tools", "tools", "legacy"])
        if kind == "none":
            return made, chance.choice(["stop", "length", "content_filter"])
        if kind == "legacy":
            pieces = _cut(chance, _arguments(chance))
            made.append({"function_call": {"name": "f", "arguments": ""}})
            made += [{"function_call": {"arguments": each}} for each in pieces]
            return made, "function_call"
        calls = [self._call(index) for index in range(chance.randint(1, 4))]
        first = [call.pop(0) for call in calls]
        made += [{"tool_calls": [each]} for each in first]
        fragments = list(_interleaved(chance, calls))
        while fragments:
            size = chance.choice([1, 1, 2])
            group = {each["index"]: each for each in fragments[:size]}
            if len(group) < len(fragments[:size]):
                size, group = 1, {0: fragments[0]}
            made.append({"tool_calls": list(group.values())})
            if chance.random() < 0.1:
                made[-1]["content"] = _text(chance)
            fragments = fragments[size:]
        return made, chance.choice(["tool_calls", "tool_calls", "stop"])

    def _call(self, index: int) -> list[Any]:
        chance = self._chance
        custom = chance.random() < 0.2
        self.plain = self.plain and not custom
        kind, field = ("custom", "input") if custom else ("function", "arguments")
        text = _text(chance) if custom else _arguments(chance)
        head = {"index": index, "id": f"call_{next(self._ids)}", "type": kind}
        return [
            {**head, kind: {"name": f"tool_{index}", field: ""}},
            *({"index": index, kind: {field: each}} for each in _cut(chance, text)),
        ]


class _Responses:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.plain = True

    def events(self) -> Iterator[Any]:
        for number, event in enumerate(self._events()):
            yield {**event, "sequence_number": number}

    def _events(self) -> Iterator[Any]:
        chance = self._chance
        made = [self._item(index) for index in range(chance.randint(0, 5))]
        yield {"type": "response.created", "response": self._response("in_progress", [])}
        yield {"type": "response.in_progress", "response": self._response("in_progress", [])}
        if chance.random() < 0.7:
            for _, events in made:
                yield from events
        else:
            # Items begin in order; the rest comes in any order.
            parts = []
            for _, events in made:
                yield events[0]
                parts.append(events[1:])
            yield from _interleaved(chance, parts)
        response = self._response("completed", [item for item, _ in made])
        yield {"type": "response.completed", "response": response}

    @staticmethod
    def _response(status: str, output: list[Any]) -> Any:
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1_790_000_000,
            "status": status,
            "model": "scripted-1",
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
            "usage": None
            if status != "completed"
            else {
                "input_tokens": 1,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 1,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 2,
            },
        }

    def _item(self, index: int) -> tuple[Any, list[Any]]:
        chance = self._chance
        kind = chance.choice(["message", "reasoning", "function", "function", "custom", "other"])
        place = {"output_index": index, "item_id": f"item_{index}"}
        name = {"id": f"item_{index}"}
        if kind == "message":
            return self._message(index, place)
        if kind == "reasoning":
            item: Any = {"type": "reasoning", **name, "summary": []}
            return item, self._around(item, item, index, [])
        if kind in {"function", "custom"}:
            field = "arguments" if kind == "function" else "input"
            type_ = "function_call" if kind == "function" else "custom_tool_call"
            base = f"response.{type_}_{field}"
            text = _arguments(chance) if kind == "function" else _text(chance)
            item = {"type": type_, **name, "call_id": f"call_{index}", "name": "f", field: text}
            if kind == "function":
                item["status"] = "completed"
            inner = [{"type": f"{base}.delta", **place, "delta": x} for x in _cut(chance, text)]
            done = {"type": f"{base}.done", **place, field: text}
            inner.append(done | {"name": "f"} if kind == "function" else done)
            began = {**item, field: ""}
            if "status" in began:
                began["status"] = "in_progress"
            return item, self._around(began, item, index, inner)
        item = chance.choice(
            [
                {
                    "type": "web_search_call",
                    **name,
                    "status": "completed",
                    "action": {"type": "search", "query": "sun"},
                },
                {
                    "type": "mcp_approval_request",
                    **name,
                    "server_label": "crm",
                    "name": "look",
                    "arguments": "{}",
                },
                {
                    "type": "local_shell_call",
                    **name,
                    "call_id": f"call_{index}",
                    "status": "completed",
                    "action": {"type": "exec", "command": ["ls"], "env": {}},
                },
            ]
        )
        inner = []
        if item["type"] == "web_search_call":
            inner = [{"type": "response.web_search_call.searching", **place}]
        return item, self._around(item, item, index, inner)

    def _message(self, index: int, place: Any) -> tuple[Any, list[Any]]:
        chance = self._chance
        parts, inner = [], []
        for at in range(chance.randint(0, 2)):
            text = _text(chance)
            here = {**place, "content_index": at}
            if chance.random() < 0.8:
                part: Any = {"type": "output_text", "text": text, "annotations": []}
                kind, field, more = "response.output_text", "text", {"logprobs": []}
            else:
                part = {"type": "refusal", "refusal": text}
                kind, field, more = "response.refusal", "refusal", {}
            parts.append(part)
            began = {"type": "response.content_part.added", **here, "part": {**part, field: ""}}
            inner.append(began)
            inner += [
                {"type": f"{kind}.delta", **here, "delta": each, **more}
                for each in _cut(chance, text)
            ]
            inner.append({"type": f"{kind}.done", **here, field: text, **more})
            inner.append({"type": "response.content_part.done", **here, "part": part})
        item = {"type": "message", "id": place["item_id"], "role": "assistant"}
        whole = {**item, "status": "completed", "content": parts}
        began = {**item, "status": "in_progress", "content": []}
        return whole, self._around(began, whole, index, inner)

    @staticmethod
    def _around(began: Any, item: Any, index: int, inner: list[Any]) -> list[Any]:
        return [
            {"type": "response.output_item.added", "output_index": index, "item": began},
            *inner,
            {"type": "response.output_item.done", "output_index": index, "item": item},
        ]


class _Messages:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.plain = True

    def events(self) -> Iterator[Any]:
        chance = self._chance
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "scripted-1",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 1},
        }
        yield {"type": "message_start", "message": message}
        blocks = [self._block(index) for index in range(chance.randint(0, 6))]
        calls = any(block[0]["content_block"]["type"] == "tool_use" for block in blocks)
        if chance.random() < 0.8:
            events: list[Any] = [event for block in blocks for event in block]
        else:
            events = [block.pop(0) for block in blocks]
            events += _interleaved(chance, blocks)
        for event in events:
            if chance.random() < 0.1:
                yield {"type": "ping"}
            yield event
        reason = "tool_use" if calls else chance.choice(["end_turn", "max_tokens", "stop_sequence"])
        end = {"stop_reason": reason, "stop_sequence": None}
        usage = {"output_tokens": chance.randint(1, 99)}
        yield {"type": "message_delta", "delta": end, "usage": usage}
        yield {"type": "message_stop"}

    def _block(self, index: int) -> list[Any]:
        chance = self._chance
        block, deltas = chance.choice(
            [
                self._text,
                self._thinking,
                self._hidden,
                self._use,
                self._use,
                self._hosted,
                self._found,
            ]
        )(index)
        begin = {"type": "content_block_start", "index": index, "content_block": block}
        inner = [{"type": "content_block_delta", "index": index, "delta": each} for each in deltas]
        return [begin, *inner, {"type": "content_block_stop", "index": index}]

    def _text(self, _index: int) -> tuple[Any, list[Any]]:
        chance = self._chance
        pieces = _cut(chance, _text(chance))
        deltas: list[Any] = [{"type": "text_delta", "text": each} for each in pieces]
        if chance.random() < 0.2:
            citation = {
                "type": "char_location",
                "cited_text": _text(chance),
                "document_index": 0,
                "document_title": None,
                "start_char_index": 0,
                "end_char_index": 5,
                "file_id": None,
            }
            deltas.insert(0, {"type": "citations_delta", "citation": citation})
        return {"type": "text", "text": ""}, deltas

    def _thinking(self, _index: int) -> tuple[Any, list[Any]]:
        chance = self._chance
        pieces = _cut(chance, _text(chance))
        deltas: list[Any] = [{"type": "thinking_delta", "thinking": each} for each in pieces]
        deltas.append({"type": "signature_delta", "signature": "c2lnbmF0dXJl"})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas

    @staticmethod
    def _hidden(_index: int) -> tuple[Any, list[Any]]:
        return {"type": "redacted_thinking", "data": "ZGF0YQ=="}, []

    def _use(self, index: int) -> tuple[Any, list[Any]]:
        chance = self._chance
        text = chance.choice(["", _arguments(chance), _arguments(chance)])
        pieces = ["", *_cut(chance, text)] if text else [""] * chance.randint(0, 1)
        block = {"type": "tool_use", "id": f"toolu_{index}", "name": f"tool_{index}", "input": {}}
        return block, [{"type": "input_json_delta", "partial_json": each} for each in pieces]

    def _hosted(self, index: int) -> tuple[Any, list[Any]]:
        pieces = _cut(self._chance, '{"query": "sun"}')
        block = {
            "type": "server_tool_use",
            "id": f"srvtoolu_{index}",
            "name": "web_search",
            "input": {},
        }
        return block, [{"type": "input_json_delta", "partial_json": each} for each in pieces]

    @staticmethod
    def _found(index: int) -> tuple[Any, list[Any]]:
        return {
            "type": "web_search_tool_result",
            "tool_use_id": f"srvtoolu_{index - 1}",
            "content": [],
        }, []


_MAKERS: dict[Api, Any] = {
    Api.CHAT: _Chat,
    Api.RESPONSES: _Responses,
    Api.MESSAGES: _Messages,
}
