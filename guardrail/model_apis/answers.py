"""Governs the bytes of a model's response, complete or streamed. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from guardrail.model_apis.anthropic.message_stream import MessageStream
from guardrail.model_apis.anthropic.messages import read_message, rewrite_message
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked, Deciding, ModelAnswerError, names_in
from guardrail.model_apis.openai.chat_events import rewrite_completion
from guardrail.model_apis.openai.chat_stream import ChatStream
from guardrail.model_apis.openai.response_events import (
    OnPlaces,
    OnRefused,
    ResponseItems,
    no_places,
    nothing,
)
from guardrail.model_apis.openai.response_stream import ResponseStream
from guardrail.model_apis.sse import (
    DONE,
    SentEvent,
    SseReader,
    compact,
    read_object,
    write_event,
)

__all__ = ["AnswerStream", "govern_answer", "govern_body", "in_one_line", "read_answer"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ERROR = "error"
_ENDS_OF_LINE = tuple(each.encode() for each in "\x85\u2028\u2029")
"""Characters that JSON allows in strings but some clients treat as line breaks."""


def govern_body(
    api: Api,
    body: bytes,
    refused: OnRefused = nothing,
    about: OnPlaces = no_places,
    *,
    hosts_shell: bool = False,
) -> Deciding[bytes]:
    """Return *body*, the body of a response, without its refused calls. If no call is refused, the
    bytes are unchanged.

    *refused* is called with each refused output item. *about* is called with the ids that a later
    request can continue from. *hosts_shell* is the result of ``requests.hosts_shell`` for the
    request.
    """
    answer = read_answer(api, body)
    made = yield from govern_answer(api, answer, refused, about, hosts_shell=hosts_shell)
    return in_one_line(body, made) if made is answer else compact(made).encode()


def in_one_line(body: bytes, answer: Mapping[str, Any]) -> bytes:
    """Return *body*, the JSON of *answer*. If *body* contains characters that some clients treat as
    line breaks, return the same JSON with these characters escaped: those clients would interpret
    parts of a text as events in a stream.
    """
    return compact(answer).encode() if any(each in body for each in _ENDS_OF_LINE) else body


def read_answer(api: Api, body: bytes) -> Mapping[str, Any]:
    """Parse *body*, the body of a response. Raises ``ModelAnswerError``."""
    return read_message(body) if api is Api.MESSAGES else read_object(body)


def govern_answer(
    api: Api,
    answer: Mapping[str, Any],
    refused: OnRefused = nothing,
    about: OnPlaces = no_places,
    *,
    hosts_shell: bool = False,
) -> Deciding[Mapping[str, Any]]:
    """Return *answer*, the result of ``read_answer``, without its refused calls. If no call is
    refused, this is the same object. The other arguments are those of ``govern_body``.
    """
    kept = _without_private(answer)
    if api is Api.MESSAGES:
        made = yield from rewrite_message(kept)
    elif api is Api.CHAT:
        made = yield from rewrite_completion(kept)
    else:
        made = yield from ResponseItems(refused, about, hosts_shell).rewrite(kept)
    return made


class AnswerStream:
    """A streamed response. Consumes the provider's bytes, and returns the bytes for the program."""

    def __init__(
        self,
        api: Api,
        refused: OnRefused = nothing,
        about: OnPlaces = no_places,
        *,
        hosts_shell: bool = False,
        choices: int = 1,
    ) -> None:
        """*choices* is the result of ``requests.choices_of`` for the request. The other arguments
        after *api* have the same meaning as those of ``govern_body``.
        """
        self._reader = SseReader()
        self._rewriter: ChatStream | ResponseStream | MessageStream
        if api is Api.CHAT:
            self._rewriter = ChatStream(choices)
        elif api is Api.MESSAGES:
            self._rewriter = MessageStream()
        else:
            self._rewriter = ResponseStream(ResponseItems(refused, about, hosts_shell))
        self.ended = False
        """True after the last event, after which clients stop reading."""

    @property
    def broken(self) -> bool:
        """True if the response is not complete."""
        return self._rewriter.broken

    @property
    def number(self) -> int | None:
        """The sequence number of the next event, if the events are numbered."""
        return self._rewriter.number if isinstance(self._rewriter, ResponseStream) else None

    def dropped(self) -> Asked:
        """Return the calls that had begun but were not decided when the response failed. Each of
        them is refused.
        """
        try:
            return self._rewriter.dropped()
        except ModelAnswerError:
            return Asked([], None, None)

    def read(self, piece: bytes | None) -> list[SentEvent]:
        """Return the events completed by *piece*, with only the last of several comments between
        two events. Pass None at the end of the stream.
        """
        if self.ended:
            return []
        found = list(self._reader.rest() if piece is None else self._reader.feed(piece))
        return [
            event
            for event, after in zip(found, [*found[1:], None], strict=False)
            if event.comment is None or after is None or after.comment is None
        ]

    def govern(self, event: SentEvent) -> Deciding[bytes]:
        """Return the bytes to send to the program instead of *event*."""
        if self.ended:
            return b""
        if event.comment is not None:
            # some clients also treat non-printable characters as line breaks
            safe = event.comment.isascii() and event.comment.isprintable()
            return f":{event.comment if safe else ''}\n\n".encode()
        if event.last:
            self.ended = True
            return b"" if self.broken else write_event(DONE)
        found = read_object(event.data)
        made = yield from self._rewriter.feed(_without_private(found))
        out = bytearray()
        for each in made:
            # a client that does not join the lines of an event would read different objects
            same = each is found and _is_one_line(event.data)
            name = self._name(event, each)
            out += write_event(event.data if same else compact(each), name)
        self.ended = isinstance(self._rewriter, MessageStream) and self._rewriter.ended
        return bytes(out)

    def _name(self, event: SentEvent, sent: Mapping[str, Any]) -> str | None:
        """Return the SSE event name for *sent*, or None if no name is needed. The name always
        matches the type after governance, because some clients read the name and others the type.
        Raises ``ModelAnswerError`` if the name could contain a line break.
        """
        kind = sent.get("type")
        failed = kind == _ERROR or (kind is None and sent.get("error"))
        if failed and isinstance(self._rewriter, MessageStream):
            return _ERROR  # Anthropic's clients ignore events without a name
        if not event.name:
            return None
        if failed or event.name == _ERROR:
            return _ERROR
        if not isinstance(kind, str):
            return None
        if _NAME.fullmatch(kind) is None:
            raise ModelAnswerError(
                "the model's response is malformed: an event has an invalid name"
            )
        return kind


def _is_one_line(data: str) -> bool:
    return "\n" not in data and (data.isascii() or len(data.splitlines()) == 1)


def _without_private(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *found* without the fields whose names start with an underscore, which some servers
    use for logs and some clients for their own state.
    """
    if not names_in(found).private:
        return found
    return {name: value for name, value in found.items() if not name.startswith("_")}
