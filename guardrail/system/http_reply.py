"""A strict parser for HTTP responses, used by the client in ``guardrail.system.http``.

Ambiguous responses are rejected, because the end of one response determines how the next one is
parsed. Therefore, lines must end with CR LF, a length must be specified once and in digits, and a
length and chunks must not be combined (RFC 9112 section 6.3 is more permissive). The caller passes
a function that receives bytes, and sets its own deadlines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["HttpReply", "ReplyError", "read_reply"]

_MAX_HEAD = 64 * 1024
"""Maximum size in bytes of a status line or a header."""
_MAX_HEADERS = 100
_MAX_INTERIM = 8
"""Maximum number of interim responses (status 1xx) before the final one."""
_MAX_CHUNK_LINE = 1024
_BLOCK = 64 * 1024

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_NO_BODY = frozenset({204, 304})


class ReplyError(Exception):
    """The received bytes are not a complete HTTP response within the limits."""

    def __init__(self, detail: str, message: str) -> None:
        """Describe a fault in a response. *detail* is ``http``, ``interim``, ``length``,
        ``encoding``, ``too_large``, ``truncated``, or ``nothing`` if no byte arrived.
        """
        super().__init__(message)
        self.detail = detail
        self.message = message
        """The end of a sentence that begins with the name of the server."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A complete response."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Headers by lower-case name. If a name occurs several times, only the first header is
    included.
    """
    body: bytes
    reusable: bool
    """True if the connection can be reused, because exactly one response with status 200 and a
    length arrived, without further bytes.
    """

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_reply(receive: Callable[[int], bytes], *, limit: int, budget: int) -> HttpReply:
    """Read one response.

    *receive* is called with a number of bytes. It returns at most that many, or none if the server
    has closed the connection.

    *limit* is the maximum size of the body, and *budget* is the maximum number of received bytes.
    Raises ``ReplyError``, and any exception that *receive* raises.
    """
    incoming = _ReceiveBuffer(receive, budget)
    head = _read_head(incoming)
    interim = 0
    while head.status < 200:
        # Interim responses precede the final one. A client that took an interim response for the
        # final one would take the final one for the response to the next request.
        interim += 1
        if head.status == 101 or interim > _MAX_INTERIM:
            raise ReplyError("interim", "sends only interim responses")
        head = _read_head(incoming)
    if (head.value(b"content-encoding") or b"identity").lower() != b"identity":
        # No other encoding was requested; a few bytes could expand to gigabytes.
        raise ReplyError("encoding", "sends a compressed response")
    length = _body_length(head)
    if head.status in _NO_BODY:
        body = b""
    elif length is None:
        body = _read_chunks(incoming, limit)
    elif length > limit:
        raise ReplyError("too_large", "sends a response that is too large")
    else:
        body = incoming.take(length)
    closes = b"close" in b",".join(head.values(b"connection")).lower()
    return HttpReply(
        status=head.status,
        reason=head.reason.decode("latin-1"),
        headers=head.texts(),
        body=body,
        reusable=(
            head.status == 200
            and head.persistent
            and length is not None
            and not (interim or closes or incoming.leftover)
        ),
    )


class _ReplyHead(NamedTuple):
    persistent: bool
    """True for HTTP/1.1, unless a header announces that the connection will be closed."""
    status: int
    reason: bytes
    lines: tuple[tuple[bytes, bytes], ...]
    """Lower-case names, with values without the spaces around them."""

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.lines if key == name]

    def value(self, name: bytes) -> bytes | None:
        return next(iter(self.values(name)), None)

    def texts(self) -> dict[str, str]:
        return {key.decode("ascii"): value.decode("latin-1") for key, value in reversed(self.lines)}


class _ReceiveBuffer:
    """Buffer of received bytes that have not been taken yet."""

    def __init__(self, receive: Callable[[int], bytes], budget: int) -> None:
        self._receive = receive
        self._budget = budget
        self._buffer = bytearray()
        self._any = False

    @property
    def leftover(self) -> bool:
        """True if received bytes are left over."""
        return bool(self._buffer)

    def until(self, mark: bytes, limit: int) -> bytes | None:
        """Take and return everything up to and including *mark*. Return None if *mark* does not
        occur within *limit* bytes.
        """
        seen = 0
        while (at := self._buffer.find(mark, seen)) < 0:
            seen = max(0, len(self._buffer) - len(mark) + 1)
            if seen > limit:
                return None
            self._receive_more()
        if at > limit:
            return None
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    def take(self, count: int) -> bytes:
        """Take and return exactly *count* bytes."""
        while len(self._buffer) < count:
            self._receive_more()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def _receive_more(self) -> None:
        block = self._receive(_BLOCK)
        if not block:
            if not self._any:
                raise ReplyError("nothing", "closed the connection without a response")
            raise ReplyError("truncated", "ended its response early")
        self._any = True
        self._budget -= len(block)
        if self._budget < 0:
            raise ReplyError("too_large", "sends a response that is too large")
        self._buffer += block


def _read_head(incoming: _ReceiveBuffer) -> _ReplyHead:
    # The first line alone decides whether to wait for more, because another protocol's greeting
    # might be all that arrives.
    found = _STATUS.fullmatch(incoming.until(b"\r\n", _MAX_HEAD) or b"")
    if found is None:
        raise _not_http()
    return _ReplyHead(found[1] == b"1", int(found[2]), found[3] or b"", _read_fields(incoming))


def _read_fields(incoming: _ReceiveBuffer) -> tuple[tuple[bytes, bytes], ...]:
    """Take the header lines, including the blank line that ends them."""
    made: list[tuple[bytes, bytes]] = []
    while line := incoming.until(b"\r\n", _MAX_HEAD):
        # A folded line is also rejected, because it does not begin with a valid name.
        found = _HEADER.fullmatch(line)
        if found is None or len(made) == _MAX_HEADERS:
            raise _not_http()
        made.append((found[1].lower(), found[2].strip(b" \t")))
    if line is None:
        raise _not_http()
    return tuple(made)


def _body_length(head: _ReplyHead) -> int | None:
    """Return the length of the body, or None if it is sent in chunks."""
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if head.status in _NO_BODY:
        return 0
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or not head.persistent:
            raise ReplyError("length", "states more than one length for its response")
        return None
    if not lengths:
        # Without a length, a truncated response looks like a complete one.
        raise ReplyError("length", "does not state the length of its response")
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise ReplyError("length", "states more than one length for its response")
    return int(lengths[0])


def _read_chunks(incoming: _ReceiveBuffer, limit: int) -> bytes:
    body = bytearray()
    while True:
        found = _CHUNK.fullmatch(incoming.until(b"\r\n", _MAX_CHUNK_LINE) or b"")
        if found is None:
            raise _not_http()
        size = int(found[1], 16)
        if size == 0:
            break
        if len(body) + size > limit:
            raise ReplyError("too_large", "sends a response that is too large")
        body += incoming.take(size)
        if incoming.take(2) != b"\r\n":
            raise _not_http()
    _read_fields(incoming)
    return bytes(body)


def _not_http() -> ReplyError:
    return ReplyError("http", "does not send a complete HTTP response")
