"""One HTTP request from an ASGI server, and the response to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from guardrail.core.words import counted
from guardrail.proxy.errors import ProxyError
from guardrail.proxy.headers import decoded
from guardrail.system.asgi_rules import Receive, Scope, Send

__all__ = ["ClientGone", "Incoming", "Outgoing"]


class ClientGone(Exception):
    """Raised when the client has closed its connection, so nobody would read the response."""


class Incoming:
    """A request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        """The path as sent by the client: percent-encoded, without the query."""
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers = decoded(scope["headers"])
        self.problem: ProxyError | None = None
        """The reason why the body was not read to its end, or None."""
        self._receive = receive
        self._whole = asyncio.Event()
        self._gone = False

    @property
    def has_body(self) -> bool:
        """True if a body, possibly empty, follows the headers."""
        return any(name in {"content-length", "transfer-encoding"} for name, _ in self.headers)

    def header(self, name: str) -> str | None:
        """Return the value of the header *name*, or None if it is missing. Raises ``ProxyError`` if
        the request has several headers with this name.
        """
        found = [value for each, value in self.headers if each == name]
        if len(found) > 1:
            raise ProxyError(400, f"the request has several headers {name}", code="proxy.header")
        return found[0] if found else None

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises ``ProxyError`` if it is larger than *limit*."""
        size = 0
        while not self._whole.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                raise ClientGone
            piece = message.get("body", b"")
            if not message.get("more_body", False):
                self._whole.set()
            size += len(piece)
            if size > limit:
                self.problem = ProxyError(
                    413,
                    f"the request is larger than {counted(limit, 'byte')}",
                    code="proxy.request_size",
                )
                raise self.problem
            if piece:
                yield piece

    async def body(self, limit: int) -> bytes:
        """Return the body. Raises ``ProxyError`` if it is larger than *limit*."""
        return b"".join([piece async for piece in self.pieces(limit)])

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Raise ``ClientGone`` inside the block when the client closes its connection. This is
        detected only after the body has been read.
        """
        task = asyncio.current_task()
        assert task is not None

        async def watch() -> None:
            if self.has_body:
                await self._whole.wait()
            while not self._gone:
                self._gone = (await self._receive())["type"] == "http.disconnect"
            task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
            if self._gone:
                await asyncio.sleep(0)  # the cancellation is about to be delivered
        except asyncio.CancelledError:
            if not self._gone:
                raise
            task.uncancel()
            raise ClientGone from None
        finally:
            watcher.cancel()


class Outgoing:
    """The response to a request."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        """True once the status and the headers have been sent."""
        self.status = 0
        """The status that has been sent, or 0."""

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the status and the headers."""
        self.started = True
        self.status = status
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, data: bytes) -> None:
        """Send a part of the body. When this returns, that part has been passed to the transport,
        unless the client has disconnected.
        """
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send a complete response."""
        await self.start(status, [*headers, ("content-length", str(len(body)))])
        await self.finish(body)
