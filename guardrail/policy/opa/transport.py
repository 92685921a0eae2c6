"""A connection to an OPA server: sends a request and returns the complete reply before a deadline;
``PolicyError`` names the step that failed. ``guardrail.system.http`` parses the reply; connecting,
sending and every single read go through ``_Wire``, which gives each of them only the time that is
left. It follows no redirect, ignores proxies, netrc and environment variables, and decompresses
nothing. It retries only a request that a kept connection lost before any byte of its reply.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Protocol

from guardrail.errors import PolicyError
from guardrail.policy.opa.target import Address, Target
from guardrail.system.http import HttpReply, ReplyError, read_reply

__all__ = ["MAX_REPLY", "Connection", "Reply", "Transport"]

MAX_REPLY = 1 << 20
"""Bytes of the body of a reply to a decision."""
_MAX_HEAD = 128 * 1024
"""Bytes of a reply in addition to its body: status line, headers, chunk sizes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply."""

    status: int
    body: bytes
    reason: str = ""
    content_type: str = ""


class Transport(Protocol):
    """An object that can send requests: a ``Connection``, or a stand-in."""

    def ask(self, method: str, path: str, body: bytes, end: float, limit: int = MAX_REPLY) -> Reply:
        """See ``Connection.ask``."""


UNREACHABLE = "see that the OPA server runs, and that [opa] url is right"
"""Hint for an unreachable server."""


class _CutError(Exception):
    """The connection ended before any byte of the reply.

    The server might have closed a kept one meanwhile.
    """


class _Wire:
    """A socket whose operations share the remaining time until ``end``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.end = 0.0
        self.received = 0
        """Bytes since the request was sent."""

    def _allow(self, stage: str) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise _late(stage)
        self._sock.settimeout(left)

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._allow("send")
            try:
                view = view[self._sock.send(view) :]
            except TimeoutError:
                raise _late("send") from None

    def receive(self, size: int) -> bytes:
        self._allow("reply")
        try:
            block = self._sock.recv(size)
        except TimeoutError:
            raise _late("reply") from None
        self.received += len(block)
        return block

    def stale(self) -> bool:
        """Return True if there is something to read although no request is open: the server closed
        it, or sends out of turn.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | select.POLLERR | select.POLLHUP)
        if poll.poll(0):
            return True
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def close(self) -> None:
        self._sock.close()


class Connection:
    """A connection, kept for the next request if the end of the reply is certain.

    For one thread at a time.
    """

    def __init__(self, target: Target, *, keep: bool = True) -> None:
        """Without *keep* each request gets its own connection: for answers that don't identify
        their request.
        """
        self._target = target
        self._keep = keep
        self._wire: _Wire | None = None

    def close(self) -> None:
        """Close the connection. The next request opens it again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def ask(self, method: str, path: str, body: bytes, end: float, limit: int = MAX_REPLY) -> Reply:
        """Return the server's reply, whatever its status.

        *end* is the deadline by ``time.monotonic``. Raises ``PolicyError``: ``timeout`` with the
        stage as its detail, ``unreachable``, or ``malformed`` if the server does not send a
        complete HTTP reply of at most *limit* bytes.
        """
        request = self._head(method, path, body) + body
        if self._wire is not None and self._wire.stale():
            self.close()
        if self._wire is not None:
            try:
                return self._exchange(self._wire, request, end, limit)
            except _CutError:
                # Asking has no effects, and not a byte came back: the server closed a connection that it no longer
                # wanted to keep. A new one is tried once.
                self.close()
        self._wire = _open(self._target, end)
        try:
            return self._exchange(self._wire, request, end, limit)
        except _CutError:
            raise PolicyError(
                "the OPA server ended the connection without a reply",
                cause="unreachable",
                detail="disconnected",
                hint=UNREACHABLE,
            ) from None

    def _head(self, method: str, path: str, body: bytes) -> bytes:
        token = self._target.token
        authorization = "" if token is None else f"Authorization: {token.header()}\r\n"
        ending = "" if self._keep else "Connection: close\r\n"
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self._target.authority}\r\nUser-Agent: guardrail\r\n"
            f"Accept: application/json\r\nAccept-Encoding: identity\r\nContent-Type: application/json\r\n"
            f"{authorization}{ending}Content-Length: {len(body)}\r\n\r\n"
        ).encode("ascii")

    def _exchange(self, wire: _Wire, request: bytes, end: float, limit: int) -> Reply:
        wire.end, wire.received = end, 0
        keep = False
        try:
            wire.send(request)
            reply = read_reply(wire.receive, limit=limit, budget=limit + _MAX_HEAD)
            keep = self._keep and reply.reusable
            return _reply(reply)
        except ReplyError as error:
            if error.detail == "nothing":
                raise _CutError from None
            raise _malformed(error.detail, f"the OPA server {error.message}") from None
        except OSError:
            if wire.received == 0:
                raise _CutError from None
            raise _malformed("truncated", "the OPA server ended its reply early") from None
        finally:
            if not keep:
                self.close()


def _reply(reply: HttpReply) -> Reply:
    return Reply(reply.status, reply.body, reply.reason, reply.headers.get("content-type", ""))


def _open(target: Target, end: float) -> _Wire:
    """Connect, with a handshake for TLS. Raises ``PolicyError``."""
    addresses = target.addresses
    if not addresses:
        raise _unreachable("name", "the OPA server's name has no address")
    failure: PolicyError | None = None
    for index, address in enumerate(addresses):
        # One address that swallows everything must not use up the time of the others.
        share = (end - time.monotonic()) / (len(addresses) - index)
        try:
            return _Wire(_secured(_connected(address, time.monotonic() + share), target, end))
        except PolicyError as error:
            failure = error
    assert failure is not None
    raise failure


def _connected(address: Address, end: float) -> socket.socket:
    family, where = address
    left = end - time.monotonic()
    if left <= 0:
        raise _late("connect")
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(left)
        sock.connect(where)  # type: ignore[arg-type]  # built for this family
    except TimeoutError:
        sock.close()
        raise _late("connect") from None
    except OSError:
        sock.close()
        raise _unreachable("connect", "the OPA server does not accept a connection") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(sock: socket.socket, target: Target, end: float) -> socket.socket:
    if target.tls is None:
        return sock
    left = end - time.monotonic()
    secured: ssl.SSLSocket | None = None
    try:
        if left <= 0:
            raise _late("tls")
        sock.settimeout(left)
        secured = target.tls.wrap_socket(
            sock, server_hostname=target.host, do_handshake_on_connect=False
        )
        secured.do_handshake()
    except TimeoutError:
        _close(secured, sock)
        raise _late("tls") from None
    except ssl.SSLCertVerificationError:
        _close(secured, sock)
        raise _unreachable(
            "certificate", "the OPA server's certificate does not lead to a trusted one"
        ) from None
    except (OSError, ValueError):
        _close(secured, sock)
        raise _unreachable("tls", "no TLS connection to the OPA server") from None
    except BaseException:
        _close(secured, sock)
        raise
    return secured


def _close(*sockets: socket.socket | None) -> None:
    for sock in sockets:
        if sock is not None:
            sock.close()


def _late(stage: str) -> PolicyError:
    return PolicyError(
        f"the OPA server did not answer before the deadline ({stage})",
        cause="timeout",
        detail=stage,
    )


def _unreachable(detail: str, message: str) -> PolicyError:
    return PolicyError(message, cause="unreachable", detail=detail, hint=UNREACHABLE)


def _malformed(detail: str, message: str) -> PolicyError:
    return PolicyError(message, cause="malformed", detail=detail)
