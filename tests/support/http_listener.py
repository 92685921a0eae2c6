"""A listener with a small app, and raw requests to it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

from guardrail.system.asgi_rules import Message, Receive, Scope, Send
from guardrail.system.asgi_server import Listener
from guardrail.system.listener import ListenAddress, ListenerRules
from tests.support.waiting import PATIENCE

LOOPBACK = ListenAddress("127.0.0.1", 0)


class EchoApp:
    """Answers with the number of bytes that it got; ``/hold`` waits until it is released."""

    def __init__(self) -> None:
        self.seen: list[Scope] = []
        self.sizes: list[int] = []
        self.held = threading.Event()
        self.release = threading.Event()
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.seen.append(scope)
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.append("gone")
                return
            size += len(message["body"])
            more = message["more_body"]
        self.sizes.append(size)
        await send(self._start())
        if scope["path"] == "/hold":
            await self._hold(send)
        elif scope["path"] == "/large":
            for _ in range(2000):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        elif scope["path"] == "/fail":
            raise ValueError("sk-secret in a message")
        await send({"type": "http.response.body", "body": b"got %d" % size})
        self.ended.append("answered")

    @staticmethod
    def _start() -> Message:
        return {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"yes")]}

    async def _hold(self, send: Send) -> None:
        import asyncio

        await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
        self.held.set()
        try:
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise


@contextlib.contextmanager
def listening(
    app: Any | None = None, address: ListenAddress = LOOPBACK, **rules: Any
) -> Iterator[Listener]:
    """Serve *app*, or an ``EchoApp``, under *rules*."""
    listener = Listener(app or EchoApp(), ListenerRules(**rules), address)
    with listener:
        yield listener


def connect(listener: Listener) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(
        (listener.address.host, listener.address.port), timeout=PATIENCE
    )


def read_all(sock: socket.socket) -> bytes:
    """Everything until the end of the connection, which may be an abrupt one."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            found += more
    return found


def head(listener: Listener, first: str, *lines: str) -> bytes:
    """The head of a request with a good ``Host``."""
    every = (first, f"Host: {listener.address}", *lines, "", "")
    return "\r\n".join(every).encode("latin-1")


def ask(listener: Listener, request: bytes) -> bytes:
    """Send *request*, and return everything that comes back."""
    with connect(listener) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request)
        return read_all(sock)


def statuses(answer: bytes) -> list[int]:
    """The status of each reply in *answer*."""
    return [int(each) for each in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)]
