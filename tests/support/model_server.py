"""A model provider on this machine: it follows a script, and speaks the APIs of OpenAI (chat
completions, responses) and Anthropic (messages), streamed or not.

::

    with ModelServer([Turn(calls=[Call("weather", {"city": "Bern"})]), Turn("Sun.")]) as server:
        client = OpenAI(base_url=server.openai, api_key="none", max_retries=0)
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.wire import AS_IT_IS, Wire

MODEL = "scripted-1"
_CREATED = 1_790_000_000


@dataclass(frozen=True)
class Call:
    """A call that the model asks for."""

    name: str
    arguments: Any = None
    """An object, or the very text that the model wrote in its place."""
    id: str | None = None
    """The id of the call; if None, one that no other call has."""
    kind: str = "function"
    """``function``, ``custom`` (the arguments are free text), or ``legacy`` (``function_call``)."""
    extra: Mapping[str, Any] | None = None
    """Fields to add to the call's item or block, or to replace."""

    @property
    def text(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps({} if self.arguments is None else self.arguments)


@dataclass(frozen=True)
class Turn:
    """One answer of the model."""

    text: str = ""
    calls: Sequence[Call] = ()
    refusal: str = ""
    finish: str | None = None
    """``finish_reason``, ``stop_reason``, or the ``status`` of a response, if not the usual one."""
    items: Sequence[Mapping[str, Any]] = ()
    """Output items (responses) or blocks (messages) that come before the text, as they are."""
    choices: Sequence[Turn] = ()
    """All choices of a chat completion with n > 1, in place of the fields above."""
    id: str | None = None
    """The id of the response."""
    fields: Mapping[str, Any] | None = None
    """Top-level fields of the response to add, or to replace."""
    status: int = 200
    """HTTP status. Others than 200 come with an error in place of an answer."""
    cut: int | None = None
    """Number of events after which a stream breaks off."""
    piece: int = 7
    """Characters of text or arguments in one event of a stream."""
    events: Iterable[str] | None = None
    """The events of a stream as they are, in place of the answer's."""
    wire: Wire = AS_IT_IS
    """What happens to the bytes of the answer on their way."""


Script = Sequence[Turn | Callable[[dict[str, Any]], Turn]]


@dataclass(frozen=True)
class Received:
    """A request that the server got."""

    path: str
    headers: Mapping[str, str]
    """As they were written: ask `Received.header`."""
    body: dict[str, Any]
    """The body as JSON, empty if it is no JSON object."""
    raw: bytes = b""
    method: str = "POST"
    query: str = ""

    def header(self, name: str) -> str | None:
        """Return the value of a header, whatever the case of its name."""
        found = [value for key, value in self.headers.items() if key.lower() == name.lower()]
        return found[0] if found else None


class ModelServer:
    """Serves *script*, turn by turn, on a free port of the loopback address. A turn may be a
    function of the request's body. With *repeat*, the last turn is served for ever.
    """

    def __init__(self, script: Script, *, repeat: bool = False) -> None:
        self.requests: list[Received] = []
        self.left = threading.Semaphore(0)
        """Released for each answer that its client did not read to the end."""
        self._script = list(script)
        self._repeat = repeat
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai(self) -> str:
        """``base_url`` of an OpenAI client."""
        return f"{self.url}/v1"

    @property
    def anthropic(self) -> str:
        """``base_url`` of an Anthropic client."""
        return self.url

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.body for request in self.requests]

    def next(self, received: Received) -> Turn:
        with self._lock:
            self.requests.append(received)
            if not self._script:
                return Turn(status=500, text="the script is at its end")
            turn = self._script[0]
            if not self._repeat or len(self._script) > 1:
                del self._script[0]
        return turn if isinstance(turn, Turn) else turn(received.body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    model: ModelServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""

    def end_connections(self) -> None:
        """Clients keep connections open; without this, their threads would never end."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """Return the body of *request*, also if it was sent in chunks."""
    if request.headers.get("transfer-encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("content-length") or 0))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        raw = read_body(self)
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        path, _, query = self.path.partition("?")
        headers = dict(self.headers.items())
        received = Received(path, headers, body, raw, self.command, query)
        if (self.command, path) in PLAIN:
            self.server.model.requests.append(received)
            self._send(200, PLAIN[self.command, path], AS_IT_IS)
            return
        turn = self.server.model.next(received)
        speaker = SPEAKERS.get(path) if self.command == "POST" else None
        try:
            if turn.wire.body is not None:
                self._send_body(turn.wire.status or 200, turn.wire.body, turn.wire)
            elif speaker is None or turn.status != 200:
                status = turn.status if speaker else 404
                self._send(status, _error(turn.text or "no such path"), turn.wire)
            elif body.get("stream"):
                events = speaker.stream(turn, body) if turn.events is None else turn.events
                self._stream(events, turn.cut, turn.wire)
            else:
                self._send(turn.wire.status or 200, speaker.answer(turn, body), turn.wire)
        except OSError:
            self.server.model.left.release()
            raise

    do_GET = do_POST  # noqa: N815 - the names that http.server looks for
    do_DELETE = do_POST  # noqa: N815

    def _send(self, status: int, document: dict[str, Any], wire: Wire) -> None:
        data = json.dumps(document, ensure_ascii=wire.piece is None).encode()
        self._send_body(status, data, wire)

    def _send_body(self, status: int, data: bytes, wire: Wire) -> None:
        if wire.gzip or wire.endless is not None:
            endless = [] if wire.endless is None else itertools.repeat(wire.endless)
            self._head(status, wire, "application/json", {"transfer-encoding": "chunked"})
            self._chunks(itertools.chain([data], endless), wire)
            return
        self._head(status, wire, "application/json", {"content-length": str(len(data))})
        for piece in wire.pieces([data]):
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = wire.cut is not None

    def _stream(self, events: Iterable[str], cut: int | None, wire: Wire) -> None:
        kind = "text/event-stream; charset=utf-8"
        self._head(wire.status or 200, wire, kind, {"transfer-encoding": "chunked"})
        self._chunks(wire.events(itertools.islice(events, cut)), wire)

    def _head(self, status: int, wire: Wire, kind: str, length: dict[str, str]) -> None:
        packed = {"content-encoding": "gzip"} if wire.gzip else {}
        kind = kind if wire.content_type is None else wire.content_type
        self.send_response(status)
        for name, value in {"content-type": kind, **length, **packed, **wire.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _chunks(self, data: Iterable[bytes], wire: Wire) -> None:
        for piece in wire.pieces(data):
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
        if wire.cut is None:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True


def _error(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "scripted", "message": message, "code": "scripted"}}


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


_IDS = itertools.count(1)


def _id(prefix: str) -> str:
    return f"{prefix}_{next(_IDS):024x}"


def _with_ids(turn: Turn, prefix: str) -> Turn:
    """Return *turn* with an id for each call that has none."""
    named = [replace(call, id=_id(prefix)) if call.id is None else call for call in turn.calls]
    return replace(turn, calls=named, choices=[_with_ids(each, prefix) for each in turn.choices])


def _data(document: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def _event(document: Mapping[str, Any]) -> str:
    return f"event: {document['type']}\n{_data(document)}"


class Chat:
    """``/v1/chat/completions``."""

    def answer(self, turn: Turn, body: Mapping[str, Any]) -> dict[str, Any]:
        turn = _with_ids(turn, "call")
        choices = [
            {
                "index": index,
                "message": self._message(choice),
                "logprobs": None,
                "finish_reason": self._finish(choice),
            }
            for index, choice in enumerate(turn.choices or [turn])
        ]
        return {**self._head(turn, body, "chat.completion"), "choices": choices, "usage": _USAGE}

    def stream(self, turn: Turn, body: Mapping[str, Any]) -> Iterator[str]:
        turn = _with_ids(turn, "call")
        head = self._head(turn, body, "chat.completion.chunk")
        usage = (body.get("stream_options") or {}).get("include_usage")
        more = {"usage": None} if usage else {}
        choices = [list(self._deltas(choice)) for choice in turn.choices or [turn]]
        # Those of several choices come in turns.
        for step in itertools.zip_longest(*choices):
            for index, each in enumerate(step):
                if each is not None:
                    delta, finish = each
                    choice = {"index": index, "delta": delta, "finish_reason": finish}
                    yield _data({**head, "choices": [{**choice, "logprobs": None}], **more})
        if usage:
            yield _data({**head, "choices": [], "usage": _USAGE})
        yield "data: [DONE]\n\n"

    @staticmethod
    def _head(turn: Turn, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
        return {
            "id": turn.id or _id("chatcmpl"),
            "object": kind,
            "created": _CREATED,
            "model": body.get("model", MODEL),
            "service_tier": "default",
            "system_fingerprint": None,
            **(turn.fields or {}),
        }

    @staticmethod
    def _finish(turn: Turn) -> str:
        legacy = any(call.kind == "legacy" for call in turn.calls)
        usual = ("function_call" if legacy else "tool_calls") if turn.calls else "stop"
        return turn.finish or usual

    def _message(self, turn: Turn) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": turn.text or None,
            "refusal": turn.refusal or None,
            "annotations": [],
        }
        calls = [self._call(call) for call in turn.calls if call.kind != "legacy"]
        if calls:
            message["tool_calls"] = calls
        for call in turn.calls:
            if call.kind == "legacy":
                message["function_call"] = {"name": call.name, "arguments": call.text}
        return message

    @staticmethod
    def _call(call: Call) -> dict[str, Any]:
        field, text = ("custom", "input") if call.kind == "custom" else ("function", "arguments")
        inner = {"name": call.name, text: call.text}
        return {"id": call.id, "type": field, field: inner, **(call.extra or {})}

    def _deltas(self, turn: Turn) -> Iterator[tuple[dict[str, Any], str | None]]:
        yield {"role": "assistant", "content": "" if turn.text else None, "refusal": None}, None
        for piece in _pieces(turn.text, turn.piece):
            yield {"content": piece}, None
        for piece in _pieces(turn.refusal, turn.piece):
            yield {"refusal": piece}, None
        for index, call in enumerate(turn.calls):
            if call.kind == "legacy":
                yield {"function_call": {"name": call.name, "arguments": ""}}, None
                for piece in _pieces(call.text, turn.piece):
                    yield {"function_call": {"arguments": piece}}, None
                continue
            field, text = (
                ("custom", "input") if call.kind == "custom" else ("function", "arguments")
            )
            whole = self._call(call)
            whole[field][text] = ""
            yield {"tool_calls": [{"index": index, **whole}]}, None
            for piece in _pieces(call.text, turn.piece):
                yield {"tool_calls": [{"index": index, field: {text: piece}}]}, None
        yield {}, self._finish(turn)


_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Responses:
    """``/v1/responses``."""

    def answer(self, turn: Turn, body: Mapping[str, Any]) -> dict[str, Any]:
        turn = _with_ids(turn, "call")
        return self._response(turn, body, turn.id or _id("resp"), list(self._output(turn)))

    def stream(self, turn: Turn, body: Mapping[str, Any]) -> Iterator[str]:
        turn = _with_ids(turn, "call")
        numbers = itertools.count()
        for event in self._events(turn, body):
            yield _event({**event, "sequence_number": next(numbers)})

    def _events(self, turn: Turn, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name = turn.id or _id("resp")
        begun = {
            **self._response(turn, body, name, []),
            "status": "in_progress",
            "incomplete_details": None,
            "usage": None,
            "completed_at": None,
        }
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        output = list(self._output(turn))
        for index, item in enumerate(output):
            yield from self._item_events(item, index, turn.piece)
        response = self._response(turn, body, name, output)
        kind = response["status"] if response["status"] in {"incomplete", "failed"} else "completed"
        yield {"type": f"response.{kind}", "response": response}

    @staticmethod
    def _item_events(item: dict[str, Any], index: int, size: int) -> Iterator[dict[str, Any]]:
        place = {"output_index": index, "item_id": item.get("id")}
        empty = {
            "function_call": {"arguments": ""},
            "custom_tool_call": {"input": ""},
            "message": {"content": []},
        }.get(item["type"])
        if empty is not None:
            began = {**item, **empty}
            if "status" in began:
                began["status"] = "in_progress"
        else:
            began = item
        yield {"type": "response.output_item.added", "output_index": index, "item": began}
        if item["type"] == "function_call":
            kind = "response.function_call_arguments"
            for piece in _pieces(item["arguments"], size):
                yield {"type": f"{kind}.delta", **place, "delta": piece}
            yield {"type": f"{kind}.done", **place, "name": item["name"]} | {
                "arguments": item["arguments"]
            }
        elif item["type"] == "custom_tool_call":
            kind = "response.custom_tool_call_input"
            for piece in _pieces(item["input"], size):
                yield {"type": f"{kind}.delta", **place, "delta": piece}
            yield {"type": f"{kind}.done", **place, "input": item["input"]}
        elif item["type"] == "message":
            for number, part in enumerate(item["content"]):
                yield from _part_events(part, {**place, "content_index": number}, size)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}

    @staticmethod
    def _output(turn: Turn) -> Iterator[dict[str, Any]]:
        for item in turn.items:
            yield dict(item)
        parts: list[dict[str, Any]] = []
        if turn.text:
            parts.append({"type": "output_text", "text": turn.text, "annotations": []})
        if turn.refusal:
            parts.append({"type": "refusal", "refusal": turn.refusal})
        if parts:
            message = {"type": "message", "id": _id("msg"), "status": "completed"}
            yield {**message, "role": "assistant", "content": parts}
        status = "incomplete" if turn.finish == "incomplete" else "completed"
        for call in turn.calls:
            head: dict[str, Any] = {"call_id": call.id, "name": call.name, "status": status}
            if call.kind == "custom":
                item = {"type": "custom_tool_call", "id": _id("ctc"), **head, "input": call.text}
            else:
                item = {"type": "function_call", "id": _id("fc"), **head, "arguments": call.text}
            yield {**item, **(call.extra or {})}

    @staticmethod
    def _response(
        turn: Turn, body: Mapping[str, Any], name: str, output: list[dict[str, Any]]
    ) -> dict[str, Any]:
        status = turn.finish or "completed"
        return {
            "id": name,
            "object": "response",
            "created_at": _CREATED,
            "status": status,
            "completed_at": _CREATED + 1 if status == "completed" else None,
            "error": {"code": "server_error", "message": "failed"} if status == "failed" else None,
            "incomplete_details": (
                {"reason": "max_output_tokens"} if status == "incomplete" else None
            ),
            "instructions": body.get("instructions"),
            "metadata": {},
            "model": body.get("model", MODEL),
            "output": output,
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "previous_response_id": body.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "store": body.get("store", True),
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []),
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": {
                "input_tokens": 11,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 18,
            },
            **(turn.fields or {}),
        }


def _part_events(
    part: dict[str, Any], place: dict[str, Any], size: int
) -> Iterator[dict[str, Any]]:
    """Yield the events of one part of a message."""
    if part["type"] == "refusal":
        kind, field, more = "response.refusal", "refusal", {}
    else:
        kind, field, more = "response.output_text", "text", {"logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": {**part, field: ""}}
    for piece in _pieces(part[field], size):
        yield {"type": f"{kind}.delta", **place, "delta": piece, **more}
    yield {"type": f"{kind}.done", **place, field: part[field], **more}
    yield {"type": "response.content_part.done", **place, "part": part}


class Messages:
    """``/v1/messages``."""

    def answer(self, turn: Turn, body: Mapping[str, Any]) -> dict[str, Any]:
        turn = _with_ids(turn, "toolu")
        message = self._message(turn, body)
        for block in message["content"]:
            if block["type"] == "tool_use" and isinstance(block["input"], str):
                # Not streamed, the provider sends an object.
                block["input"] = json.loads(block["input"])
        return message

    def stream(self, turn: Turn, body: Mapping[str, Any]) -> Iterator[str]:
        turn = _with_ids(turn, "toolu")
        whole = self._message(turn, body)
        began = {**whole, "content": [], "stop_reason": None}
        yield _event({"type": "message_start", "message": began})
        for index, block in enumerate(whole["content"]):
            yield from self._block_events(block, index, turn.piece)
            if index == 0:
                yield _event({"type": "ping"})
        end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": end, "usage": {"output_tokens": 7}})
        yield _event({"type": "message_stop"})

    @staticmethod
    def _block_events(block: dict[str, Any], index: int, size: int) -> Iterator[str]:
        kind, field, pieces, began = "", "", [], block
        if block["type"] == "text":
            kind, field, pieces = "text_delta", "text", _pieces(block["text"], size)
            began = {**block, "text": ""}
        elif block["type"] in {"tool_use", "server_tool_use"}:
            given = block["input"]
            text = given if isinstance(given, str) else json.dumps(given)
            kind, field, pieces = "input_json_delta", "partial_json", ["", *_pieces(text, size)]
            began = {**block, "input": {}}
        yield _event({"type": "content_block_start", "index": index, "content_block": began})
        for piece in pieces:
            delta = {"type": kind, field: piece}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})

    @staticmethod
    def _message(turn: Turn, body: Mapping[str, Any]) -> dict[str, Any]:
        content: list[dict[str, Any]] = [dict(item) for item in turn.items]
        if turn.text:
            content.append({"type": "text", "text": turn.text, "citations": None})
        for call in turn.calls:
            given = {} if call.arguments is None else call.arguments
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": given}
            content.append({**block, **(call.extra or {})})
        return {
            "id": turn.id or _id("msg"),
            "type": "message",
            "role": "assistant",
            "model": body.get("model", MODEL),
            "content": content,
            "stop_reason": turn.finish or ("tool_use" if turn.calls else "end_turn"),
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 7},
            **(turn.fields or {}),
        }


SPEAKERS: dict[str, Chat | Responses | Messages] = {
    "/v1/chat/completions": Chat(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
}

PLAIN: dict[tuple[str, str], dict[str, Any]] = {
    ("GET", "/v1/models"): {
        "object": "list",
        "data": [{"id": MODEL, "object": "model", "created": _CREATED, "owned_by": "tests"}],
    },
    ("POST", "/v1/embeddings"): {
        "object": "list",
        "model": MODEL,
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    },
    ("POST", "/v1/moderations"): {"id": "modr-1", "model": MODEL, "results": []},
    ("POST", "/v1/files"): {
        "id": "file-1",
        "object": "file",
        "bytes": 3,
        "created_at": _CREATED,
        "filename": "a.jsonl",
        "purpose": "batch",
        "status": "processed",
    },
}
"""Answers without calls. They take no turn of the script."""
