"""uvicorn's HTTP/1.1 protocol, with limits on time and on the number of connections, so that a
client that is slow, does not read, or opens many connections can't block the server.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from guardrail.system.asgi_rules import ConnectionFacts, RefusalReply, with_facts
from guardrail.system.listener import ListenerRefusal, ListenerRules

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

__all__ = ["HANDSHAKE_S", "LimitedProtocol", "OpenConnections", "protocol_factory"]

_SILENT = logging.getLogger("guardrail.listener")
_SILENT.addHandler(logging.NullHandler())
_SILENT.setLevel(logging.CRITICAL)
_SILENT.propagate = False  # one line per bad request would hide everything else
_OTHER_FILES = 96
_PIECE = 64 * 1024
"""Bytes that are parsed at once. A read from the socket can be larger."""
HANDSHAKE_S = 10.0
"""Maximum duration of a TLS handshake in seconds."""
_GRACE = 2.0
"""Seconds that the connection is kept open beyond the limit in the rules, so that the client can
receive a response.
"""


@dataclass(slots=True, eq=False)
class OpenConnections:
    """The open connections of one server, oldest first."""

    limit: int
    all: dict[LimitedProtocol, None] = field(default_factory=dict)
    starting: dict[LimitedProtocol, float] = field(default_factory=dict)
    """Connections with an incomplete TLS handshake, and the time by which it must be complete."""

    def start(self, new: LimitedProtocol, now: float) -> None:
        """Add *new*, which was accepted at the time *now* and has not completed its handshake.
        Raises ``ConnectionRefusedError`` if too many handshakes are incomplete.
        """
        for each, end in list(self.starting.items()):
            if end > now:
                break
            del self.starting[each]  # the event loop has closed it
        if len(self.starting) >= self.limit:
            raise ConnectionRefusedError
        self.starting[new] = now + HANDSHAKE_S

    def add(self, new: LimitedProtocol) -> bool:
        """Add a connection. If there are too many, close the oldest one that is waiting for its
        client. If none is, return False without adding the connection.
        """
        if len(self.all) >= self.limit:
            waiting = next((each for each in self.all if each.waits_for_client), None)
            if waiting is None:
                return False
            del self.all[waiting]
            waiting.abort()
        self.all[new] = None
        return True


class LimitedProtocol(H11Protocol):
    """One connection from a client."""

    def __init__(
        self,
        *,
        rules: ListenerRules,
        reply: RefusalReply,
        connections: OpenConnections,
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self.logger = _SILENT
        self.access_log = False
        self._rules = rules
        self._reply = reply
        self._open = connections
        self._arriving: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._sent = self._body = 0
        """Bytes received of the current request, and of its body without chunk sizes."""

    @property
    def waits_for_client(self) -> bool:
        """True unless a complete request is being answered."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def abort(self) -> None:
        """Close the connection now, and discard unsent data."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request, or close the connection if there are too
        many.
        """
        super().connection_made(transport)
        facts = ConnectionFacts(self.client, _with_port(self.server))
        self.app: ASGI3Application = with_facts(self.app, facts)  # type: ignore[arg-type,assignment]
        self._open.starting.pop(self, None)
        if not self._open.add(self):
            self.abort()
            return
        self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limits."""
        self._open.all.pop(self, None)
        self._stop_arriving()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse *data* in pieces, until the connection is closed."""
        for start in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                return
            self._parse(data[start : start + _PIECE])
            self._watch_request()

    def _parse(self, piece: bytes) -> None:
        """Parse a piece, and reject a body that consists of tiny chunks: a tiny chunk costs as much
        as a large one.
        """
        # uvicorn sets no cycle before the first request
        before, size = self.cycle, len(getattr(self.cycle, "body", b""))
        super().data_received(piece)
        if self.conn.their_state is not h11.SEND_BODY or self.cycle.response_complete:
            return
        if self.cycle is not before:
            self._sent = self._body = size = 0
        self._sent += len(piece)
        self._body += len(self.cycle.body) - size
        if self._sent > _PIECE + self._rules.max_head and 2 * self._body < self._sent:
            self.send_400_response("")

    def _watch_request(self) -> None:
        """Limit the time for a request that has begun. Bytes that trickle in do not extend it."""
        if not self.waits_for_client or self.transport.is_closing():
            self._stop_arriving()
        elif self._arriving is None:
            self._arriving = self.loop.call_later(self._rules.idle_s, self._too_slow)

    def _too_slow(self) -> None:
        self._arriving = None
        if self.conn.their_state is h11.SEND_BODY and not self.cycle.response_complete:
            # The app, which reads the body, gives up first and responds.
            self._arriving = self.loop.call_later(self._rules.idle_s + _GRACE, self.abort)
        else:
            self.abort()

    def shutdown(self) -> None:
        """Close the connection when the server stops, after the response in progress. Never raises,
        so that one connection does not keep others open.
        """
        try:
            super().shutdown()
        except h11.LocalProtocolError:
            self.abort()

    def pause_writing(self) -> None:
        """Limit the time that a client may take to read the response."""
        super().pause_writing()
        self._stop_writing()
        self._writing = self.loop.call_later(self._rules.idle_s, self.abort)

    def resume_writing(self) -> None:
        """Stop the time limit, because the client has read data."""
        self._stop_writing()
        super().resume_writing()

    def _stop_arriving(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words
        """Respond to bytes that are not an HTTP request, and close the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.abort()  # a response has begun: nothing else can be sent
            return
        message = "this is not a valid HTTP/1.1 request"
        path, sent = "", []
        if self.conn.our_state is h11.SEND_RESPONSE:  # the head was valid, but the body is not
            path, sent = self.scope["path"], self.headers
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        headers, body = self._reply(path, sent, ListenerRefusal(400, "http", message))
        every = [*headers, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=every, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()


def _with_port(address: tuple[str, int | None] | None) -> tuple[str, int] | None:
    return None if address is None or address[1] is None else (address[0], address[1])


def _affordable() -> int:
    """Return the number of connections that this process can accept without running out of file
    descriptors. It also needs descriptors for the ledger, and for one upstream connection and one
    handshake per accepted connection.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if limit == resource.RLIM_INFINITY else max(8, (limit - _OTHER_FILES) // 3)


def protocol_factory(rules: ListenerRules, reply: RefusalReply) -> Callable[..., LimitedProtocol]:
    """Return a function that creates the protocol for each connection of one server."""
    connections = OpenConnections(min(rules.max_connections, _affordable()))

    def make(**uvicorn: Any) -> LimitedProtocol:
        made = LimitedProtocol(rules=rules, reply=reply, connections=connections, **uvicorn)
        connections.start(made, time.monotonic())
        return made

    return make
