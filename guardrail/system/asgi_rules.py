"""Serves an ASGI app under the rules in ``guardrail.system.listener``. Requests that violate a rule
never reach the app.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardrail.core.words import agree
from guardrail.system.listener import (
    Headers,
    ListenerRefusal,
    ListenerRules,
    refusal_of,
    too_large,
    values_of,
)

__all__ = [
    "App",
    "ConnectionFacts",
    "GuardedApp",
    "Message",
    "Receive",
    "RefusalReply",
    "RequestRefused",
    "Scope",
    "Send",
    "caller_of",
    "facts_of",
    "plain_refusal",
    "with_facts",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RefusalReply = Callable[[str, Headers, ListenerRefusal], tuple[list[tuple[bytes, bytes]], bytes]]
"""Returns the headers and the body of the response to a refused request. Its arguments are the path
and the headers of the request, which are empty if they could not be read.
"""

_FACTS = "guardrail.connection"
_LINGER_S = 5.0
_LINGER_BYTES = 64 << 20
_ALLOWED_METHODS = b"GET, POST, DELETE"


class RequestRefused(Exception):
    """Raised while the app reads a request whose rest is refused. The app must not respond
    itself.
    """

    def __init__(self, refusal: ListenerRefusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True, eq=False)
class ConnectionFacts:
    """Facts about one connection, shared by every request that arrives on it."""

    client: tuple[str, int] | None
    """Address and port of the client."""
    server: tuple[str, int] | None
    """Address and port of the server."""
    known: dict[str, Any] = field(default_factory=dict)
    """Facts about the client that were looked up once. They are discarded when the connection ends.
    """


def plain_refusal(
    path: str,  # noqa: ARG001 - every path has this format
    headers: Headers,  # noqa: ARG001
    refusal: ListenerRefusal,
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the response to a refused request as one line of text."""
    return [(b"content-type", b"text/plain; charset=utf-8")], f"{refusal.message}\n".encode()


def caller_of(scope: Scope) -> str | None:
    """Return the name of the caller whose token is in the request, or None if tokens are not
    required.
    """
    name: str | None = scope.get("state", {}).get("guardrail.caller")
    return name


def facts_of(scope: Scope) -> ConnectionFacts:
    """Return the facts about the connection of a request. On servers other than ``Listener``, every
    request counts as a new connection.
    """
    facts = scope.setdefault("extensions", {}).get(_FACTS)
    return facts if facts is not None else ConnectionFacts(scope["client"], scope["server"])


def with_facts(app: App, facts: ConnectionFacts) -> App:
    """Return *app* for the requests of one connection."""

    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[_FACTS] = facts
        await app(scope, receive, send)

    return known


class GuardedApp:
    """An ASGI app that receives only requests that comply with the rules."""

    def __init__(
        self,
        app: App,
        rules: ListenerRules,
        *,
        reply: RefusalReply = plain_refusal,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Guard *app*. *log* is called with a line for each request that the app could not answer
        because of an error.
        """
        self._app = app
        self._rules = rules
        self._reply = reply
        self._log = log
        self.streams = 0
        """Number of requests that the app is answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI specifies."""
        if scope["type"] != "http":  # the server runs neither lifespan events nor WebSockets
            raise RuntimeError(f"not a request: {scope['type']}")
        exchange = _Exchange(self._rules, receive, send, _listed_origin(scope, self._rules))
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._refuse(scope, exchange, refusal)
            return
        if _is_preflight(scope, exchange):
            await exchange.allow_preflight(values_of(scope["headers"], _ASKED_HEADERS))
            return
        self.streams += 1
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except RequestRefused as error:
            await self._refuse(scope, exchange, error.refusal)
        except Exception as error:  # noqa: BLE001 - the boundary to the app
            self._log(_described(error))
            message = "the server could not answer the request because of an internal error"
            await self._refuse(scope, exchange, ListenerRefusal(500, "internal", message))
        finally:
            self.streams -= 1

    def _refusal(self, scope: Scope) -> ListenerRefusal | None:
        rules, headers = self._rules, scope["headers"]
        target = scope["raw_path"] + b"?" + scope["query_string"]
        found = refusal_of(target, headers, rules)
        if found is not None:
            return found
        if rules.authenticate is not None and not _asks_for_permission(scope):
            caller = rules.authenticate(headers)
            if isinstance(caller, ListenerRefusal):
                return caller
            scope.setdefault("state", {})["guardrail.caller"] = caller
        if self.streams >= rules.max_streams:
            return ListenerRefusal(503, "busy", "too many requests are in progress: try again soon")
        return None

    async def _refuse(self, scope: Scope, exchange: _Exchange, refusal: ListenerRefusal) -> None:
        if exchange.started:
            return  # the server closes the connection, because the response is incomplete
        headers, body = self._reply(scope["path"], scope["headers"], refusal)
        if refusal.code == "busy":
            headers = [*headers, (b"retry-after", b"1")]
        await exchange.refuse(refusal, headers, body)


_ASKED_HEADERS = b"access-control-request-headers"


def _asks_for_permission(scope: Scope) -> bool:
    """Return True for a browser's preflight request, which precedes the page's request and has no
    token.
    """
    asked = values_of(scope["headers"], b"access-control-request-method")
    return scope["method"] == "OPTIONS" and bool(asked)


def _is_preflight(scope: Scope, exchange: _Exchange) -> bool:
    return exchange.origin is not None and _asks_for_permission(scope)


def _listed_origin(scope: Scope, rules: ListenerRules) -> bytes | None:
    origins = values_of(scope["headers"], b"origin")
    listed = len(origins) == 1 and origins[0].decode("latin-1") in rules.origins
    return origins[0] if listed else None


def _described(error: Exception) -> str:
    """Return the type and the location of an error. Its message is omitted, because it may quote a
    request.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a request failed: {type(error).__name__}{place}"


class _Exchange:
    """One request and its response. Counts the bytes in the body, and adds the headers for a listed
    origin.
    """

    def __init__(
        self, rules: ListenerRules, receive: Receive, send: Send, origin: bytes | None
    ) -> None:
        self._rules = rules
        self._receive = receive
        self._send = send
        self.origin = origin
        self.started = False
        self._size = 0
        self._complete = False
        self._end = time.monotonic() + rules.idle_s

    async def receive(self) -> Message:
        """Return the next part of the body. Raises ``RequestRefused`` if the body is too large or
        arrives too late.
        """
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._end - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            limit = self._rules.idle_s
            late = f"the body must arrive within {limit:g} {agree(limit, 'second')}"
            raise RequestRefused(ListenerRefusal(408, "slow", late)) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._size > self._rules.max_body:
                raise RequestRefused(too_large(self._rules))
        else:
            self._complete = True
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self.started = True
            if self.origin is not None:
                kept = [
                    each
                    for each in message.get("headers", [])
                    if not each[0].lower().startswith(b"access-control-")
                ]
                allowed = [(b"access-control-allow-origin", self.origin), (b"vary", b"Origin")]
                message = {**message, "headers": [*kept, *allowed]}
        await self._send(message)

    async def allow_preflight(self, asked: list[bytes]) -> None:
        """Permit a page from a listed origin to send the request that its preflight announced."""
        headers = [
            (b"access-control-allow-methods", _ALLOWED_METHODS),
            (b"access-control-allow-headers", b", ".join(asked)),
            (b"access-control-allow-origin", self.origin or b""),
            (b"access-control-max-age", b"600"),
            (b"vary", b"Origin"),
        ]
        await self._send({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def refuse(self, refusal: ListenerRefusal, headers: Headers, body: bytes) -> None:
        """Send a response and close the connection. A client that is still sending gets time to
        read the response, because its system would discard the response if the connection were
        closed earlier.
        """
        every = [
            *headers,
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": every})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        size = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                while not self._complete and size < _LINGER_BYTES and refusal.code != "slow":
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    self._complete = not message.get("more_body", False)
        except TimeoutError:
            pass
        await self._send({"type": "http.response.body", "body": b""})
