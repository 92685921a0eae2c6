"""Runs requests to FastAPI and Starlette applications in sessions of their callers.

A bearer token in ``Authorization`` (RFC 6750) becomes the session of the request:
``app.add_middleware(TokenSessions, guard=guard)`` for the whole application, or
``Depends(token_session(guard))`` for some of its routes. A request without a valid token does not
reach the application: it gets status 401, or 403 if its tenant or its agent is not accepted, or 503
if guardrail can't serve it at the moment: the issuer can't be asked, or the guard of its tenant
can't be opened. The body contains only a code, because messages name parts of the settings.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from guardrail.call.refusal_counts import record_all
from guardrail.call.scope import SessionScope
from guardrail.errors import GuardrailError, IdentityError
from guardrail.identity.token_text import ISSUER_UNAVAILABLE, SecretText
from guardrail.identity.tokens import PEER

if TYPE_CHECKING:
    from guardrail.core.types import Agent
    from guardrail.guard import Guard

__all__ = ["TokenSessions", "token_session"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+) *")
_NO_BEARER: Final = "identity.bearer"
_FORBIDDEN: Final = frozenset(
    {"identity.agent", "identity.session", "identity.tenant", "identity.tenant_disabled"}
)
"""Codes of callers that are known, but not accepted."""
_POLICY_VIOLATION: Final = 1008
_TRY_AGAIN: Final = 1013
"""The codes with which a web socket is closed (RFC 6455, section 7.4.1, and its registry)."""
_log = logging.getLogger(__name__)

_AgentToken = Callable[[HTTPConnection], str | None]
"""Returns the token of the agent that acts in a request, or None if it has none: one that the
request contains, or the application's own. Must not block.
"""


class TokenSessions:
    """ASGI middleware: each request and web socket runs in the session of its bearer token.

    Endpoints, background tasks and streams run inside the session. ``request.state.guardrail`` is
    the session. When the server shuts down, the tokens that were refused are recorded.
    """

    def __init__(
        self,
        app: Callable[[_Scope, _Receive, _Send], Awaitable[None]],
        *,
        guard: Guard,
        agent: Agent | str | None = None,
        agent_token: _AgentToken | None = None,
        public: Collection[str] = (),
    ) -> None:
        """*agent* is the agent of the sessions, unless a token states one. *agent_token* returns
        the agent's own token for a request, which is verified like that of the person. Requests to
        the paths in *public*, such as ``/health``, need no token and run outside a session.
        """
        self._app = app
        self._opener = _Opener(guard, agent, agent_token)
        self._public = frozenset(public)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one request, or the start and the end of the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _recording(send))
            return
        if scope["type"] not in ("http", "websocket") or scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        try:
            session = await self._opener.open(scope)
        except GuardrailError as error:
            await _refuse(scope, receive, send, error)
            return
        scope.setdefault("state", {})["guardrail"] = session
        async with session:
            await self._app(scope, receive, send)


def _recording(send: _Send) -> _Send:
    """Return a *send* that records the refused tokens before it says that the application ended.
    A server that was stopped by a signal may end the process without the interpreter's exit.
    """

    async def record_then_send(message: MutableMapping[str, Any]) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            await asyncio.to_thread(record_all)
        await send(message)

    return record_then_send


def token_session(
    guard: Guard, *, agent: Agent | str | None = None, agent_token: _AgentToken | None = None
) -> Callable[[HTTPConnection], AsyncIterator[SessionScope]]:
    """Return a FastAPI dependency that opens the session of the request's bearer token, and closes
    it after the endpoint. Pass the session to background tasks and streams explicitly. *agent* and
    *agent_token* have the same meaning as in ``TokenSessions``.
    """
    opener = _Opener(guard, agent, agent_token)

    async def in_session(connection: HTTPConnection) -> AsyncIterator[SessionScope]:
        try:
            session = await opener.open(connection.scope)
        except GuardrailError as error:
            status, headers = _answer(error)
            raise HTTPException(status, error.code, headers=headers) from None
        async with session:
            yield session

    return in_session


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens the sessions of requests."""

    guard: Guard
    agent: Agent | str | None
    agent_token: _AgentToken | None

    async def open(self, scope: _Scope) -> SessionScope:
        """Return the session of the token in a request. Raises ``GuardrailError``."""
        token = _token_in(scope)
        given = self.agent_token
        own = SecretText(None if given is None else given(HTTPConnection(scope)))
        client = scope.get("client")
        PEER.set(None if client is None else str(client[0]))  # for the records of refused tokens
        return await self.guard.asession(
            token=token.reveal(),
            agent=self.agent,
            agent_token=own.reveal(),
        )


def _token_in(scope: _Scope) -> SecretText:
    values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    found = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    if found is not None:
        return SecretText(found[1].decode("ascii"))
    number = len(values)
    del values  # a traceback may show this frame
    if number != 1:
        raise _no_bearer("the request does not have exactly one header Authorization")
    raise _no_bearer("the header Authorization contains no bearer token")


def _no_bearer(message: str) -> IdentityError:
    hint = "send the access token as: Authorization: Bearer TOKEN"
    return IdentityError(message, code=_NO_BEARER, hint=hint)


def _answer(error: GuardrailError) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of a refusal (RFC 6750, section 3)."""
    if error.code in _FORBIDDEN:
        _log.warning("a request is refused with 403: %s; next: %s", error.code, error.hint)
        return 403, {}
    if error.code in ISSUER_UNAVAILABLE or not isinstance(error, IdentityError):
        # The client reads only the code, because the reason is the operator's business.
        _log.error("a request is refused with 503: %s (%s)", error.message, error.hint)
        return 503, {}
    _log.warning("a request is refused with 401: %s; next: %s", error.code, error.hint)
    reason = "" if error.code == _NO_BEARER else ' error="invalid_token"'
    return 401, {"WWW-Authenticate": f"Bearer{reason}"}


async def _refuse(scope: _Scope, receive: _Receive, send: _Send, error: GuardrailError) -> None:
    status, headers = _answer(error)
    if scope["type"] == "websocket":
        code = _TRY_AGAIN if status == 503 else _POLICY_VIOLATION
        await send({"type": "websocket.close", "code": code, "reason": error.code})
        return
    await JSONResponse({"detail": error.code}, status, headers=headers)(scope, receive, send)
