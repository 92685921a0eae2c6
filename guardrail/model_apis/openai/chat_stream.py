"""Removes refused tool calls from a stream of chat completion chunks. Performs no I/O.

Text is passed on at once. The fragments of calls are held until their choice ends. Each allowed
call is then passed on as one fragment, so that two readers can't assemble it in different ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.core.words import counted
from guardrail.model_apis.asking import (
    Asked,
    Deciding,
    ModelAnswerError,
    check_nested,
    object_of,
    place_of,
)
from guardrail.model_apis.openai.chat_events import (
    LEGACY,
    NESTED,
    TOOLS,
    calls_of,
    check_content,
    check_fields,
    decided_message,
    governed_choice,
)

__all__ = ["ChatStream"]

_LARGEST = 32 * 1024 * 1024
"""Maximum number of characters held for the calls in one response."""

Chunk = Mapping[str, Any]


class ChatStream:
    """The chunks of one streamed chat completion."""

    def __init__(self, choices: int = 1) -> None:
        """*choices* is the number of choices that the request asked for."""
        self._most = choices
        self._choices: dict[int, _HeldChoice] = {}
        self._failed = False
        self._model: Any = None
        self._id: Any = None

    def feed(self, chunk: Chunk) -> Deciding[list[Chunk]]:
        """Return the chunks to pass on instead of *chunk*. An unchanged chunk is the same
        object.
        """
        choices = chunk.get("choices")
        if chunk.get("error"):
            self._failed = True
            return [{"error": chunk["error"]}]
        if self._failed:
            return []
        check_fields(chunk, frozenset())
        check_nested(chunk, NESTED)
        if not choices:
            return [chunk]
        if not isinstance(choices, list):
            raise ModelAnswerError("the model's response is malformed: its choices are not a list")
        self._model, self._id = chunk.get("model"), chunk.get("id")
        groups: list[list[Mapping[str, Any]]] = [[]]
        for choice in choices:
            choice = object_of(choice, "choice")  # noqa: PLW2901 - checked
            held = self._held(choice)
            kept = held.take(choice)
            reason = choice.get("finish_reason")
            if reason is None:
                if kept is not None:
                    groups[-1].append(kept)
                continue
            message = held.end()
            calls = calls_of(message, reason)
            if not calls:
                groups[-1].append(choice)
                continue
            rulings = yield Asked(calls, self._model, self._id)
            message["content"] = "text" if held.said else None
            changed, ending = governed_choice(message, reason, calls, rulings)
            if held.said:
                del changed["content"]
            deltas = [kept["delta"]] if kept is not None and kept.get("delta") else []
            deltas += _deltas(changed)
            groups += [[{**choice, "delta": delta, "finish_reason": None}] for delta in deltas]
            groups.append([{**choice, "delta": {}, "finish_reason": ending}])
            groups.append([])
        if groups == [choices]:
            return [chunk]
        return _split(chunk, [group for group in groups if group])

    def _held(self, choice: Mapping[str, Any]) -> _HeldChoice:
        """Return the state of *choice*. Raises ``ModelAnswerError`` for a choice that the request
        did not ask for, because some clients join the calls in all choices.
        """
        index = place_of(choice, "index") or 0
        if index >= self._most:
            raise ModelAnswerError(
                "the model's response is malformed: it has a choice that was not requested"
            )
        return self._choices.setdefault(index, _HeldChoice())

    @property
    def broken(self) -> bool:
        """Return True if the response is not complete. If the stream ends now, the response was
        truncated.
        """
        return not self._failed and (
            not self._choices or not all(held.ended for held in self._choices.values())
        )

    def dropped(self) -> Asked:
        """Return the calls that had begun but were not decided. Each of them is refused, because
        its remaining parts will not arrive.
        """
        messages = [held.end() for held in self._choices.values()]
        calls = [call for message in messages for call in calls_of(message, None)]
        return Asked(calls, self._model, self._id)


def _deltas(changed: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = changed.get(TOOLS, [])
    made: list[dict[str, Any]] = [
        {TOOLS: [{**call, "index": index}]} for index, call in enumerate(calls)
    ]
    if changed.get(LEGACY) is not None:
        made.append({LEGACY: changed[LEGACY]})
    made += [{name: changed[name]} for name in ("content", "refusal") if changed.get(name)]
    return made


def _split(chunk: Chunk, groups: list[list[Mapping[str, Any]]]) -> list[Chunk]:
    """Return one chunk for each group of choices. The last chunk carries the usage."""
    usage = chunk.get("usage")
    if not groups:
        return [{**chunk, "choices": []}] if usage else []
    head = {name: value for name, value in chunk.items() if name != "usage" or value is None}
    made: list[dict[str, Any]] = [{**head, "choices": group} for group in groups]
    if usage is not None:
        made[-1]["usage"] = usage
    return list(made)


class _Pieces(list[str]):
    """The pieces of a text that is not yet complete. Appending to a str would copy the text every
    time.
    """


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value)
    return {key: _joined(each) for key, each in value.items()} if type(value) is dict else value


class _HeldChoice:
    """The calls in one choice that have been streamed so far."""

    def __init__(self) -> None:
        self.ended = False
        self.said = False
        """True if the choice has had content."""
        self._calls: dict[int, dict[str, Any]] = {}
        self._legacy: dict[str, Any] | None = None
        self._size = 0

    def take(self, choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Hold the calls in *choice*, and return the rest of *choice*. Return *choice* itself if it
        does not contain calls, or None if it contains only calls.
        """
        if choice.get("message"):
            raise ModelAnswerError(
                "the model's response is malformed: its stream contains a complete message"
            )
        check_fields(choice, frozenset())
        delta = choice.get("delta")
        if delta is None:
            return choice
        delta = object_of(delta, "delta")
        check_fields(delta, frozenset({TOOLS, LEGACY}))
        check_content(delta)
        self.said = self.said or bool(delta.get("content"))
        fragments, legacy = delta.get(TOOLS), delta.get(LEGACY)
        if not fragments and legacy is None:
            return choice
        if self.ended:
            raise ModelAnswerError(
                "the model's response is malformed: a choice has a call after its end"
            )
        if fragments:
            self._hold(fragments)
        if legacy is not None:
            self._legacy = self._legacy if self._legacy is not None else {}
            self._add(self._legacy, object_of(legacy, LEGACY))
        rest = {name: value for name, value in delta.items() if name not in {TOOLS, LEGACY}}
        return {**choice, "delta": rest} if rest else None

    def _hold(self, fragments: object) -> None:
        for fragment in fragments if isinstance(fragments, list) else [None]:
            found = dict(object_of(fragment, "tool call"))
            index = found.pop("index", None)
            if type(index) is not int or index < 0:
                raise ModelAnswerError("the model's response is malformed: a call has no index")
            call = self._calls.setdefault(index, {})
            name = found.pop("id", None)
            if name and call.setdefault("id", name) != name:
                raise ModelAnswerError("the model's response is malformed: a call has two ids")
            self._add(call, found)

    def _add(self, call: dict[str, Any], fragment: Mapping[str, Any]) -> None:
        """Append the texts in *fragment* to those in *call*, as the official client does."""
        for name, value in fragment.items():
            known = call.get(name)
            if isinstance(value, str):
                self._size += len(value)
            if isinstance(value, dict) and (known is None or isinstance(known, dict)):
                inner = call[name] = {} if known is None else known
                self._add(inner, value)
            elif isinstance(value, str) and name != "type":
                if isinstance(known, _Pieces):
                    known.append(value)
                else:
                    call[name] = _Pieces([value])
            elif value is not None or name not in call:
                call[name] = value
        if self._size > _LARGEST:
            raise ModelAnswerError(
                "the model's response is too large: its calls have more than "
                + counted(_LARGEST, "character")
            )

    def end(self) -> dict[str, Any]:
        """Return a message with the held calls, in order, and release the calls."""
        self.ended = True
        made: dict[str, Any] = {}
        if self._calls:
            made[TOOLS] = [_joined(self._calls[index]) for index in sorted(self._calls)]
        if self._legacy is not None:
            made[LEGACY] = _joined(self._legacy)
        self._calls, self._legacy = {}, None
        return dict(decided_message(made))
