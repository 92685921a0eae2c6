"""The proxy as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.config import ProxySettings
from guardrail.core.types import Principal
from guardrail.errors import ConfigError, GuardrailError, IdentityError, KeysError, PolicyError
from guardrail.proxy.accepted_tools import AcceptedTools
from guardrail.proxy.asgi import ClientGone, Incoming, Outgoing
from guardrail.proxy.callers import RequestIdentity
from guardrail.proxy.errors import Failure, NoAnswerError, failure_of
from guardrail.proxy.exchange import Exchange
from guardrail.proxy.limits import ProxyLimits
from guardrail.proxy.litellm import LITELLM_PATH, answer_litellm
from guardrail.proxy.notices import Notices
from guardrail.proxy.outcomes import Outcomes
from guardrail.proxy.passing import pass_on
from guardrail.proxy.routes import find_route, format_of
from guardrail.proxy.seen_tools import SeenTools
from guardrail.proxy.sessions import CallerSessions, ProxyCaller, credential_digest
from guardrail.proxy.shared import Shared
from guardrail.proxy.tools import RequestTools
from guardrail.proxy.upstream import Upstream
from guardrail.proxy.verified_callers import VerifiedCallers
from guardrail.system.asgi_rules import Receive, Scope, Send
from guardrail.system.os_user import user_name

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["FailedRequests", "Proxy"]


def _this_user(_scope: Scope) -> RequestIdentity:
    return RequestIdentity(Principal(user_name(), method="os_user"))


_OF_OPERATOR = ConfigError | IdentityError | KeysError | PolicyError
"""Errors whose message names settings and files, and no part of a request."""


def _notice(error: Exception, failure: Failure) -> str:
    """Return a line for the operator about *failure*, which reports *error* to the client. If the
    client caused it, the line contains no text from the request.
    """
    if isinstance(error, _OF_OPERATOR) and failure.status >= 500:
        return f"a request failed: {error.message}; next: guardrail doctor"
    if failure.status < 500:
        return f"a request was refused: {failure.status} {failure.code}"
    return f"a request failed: {failure.message}"


def _has_no_record(error: GuardrailError, failure: Failure) -> bool:
    """Return True if no record of a call tells about *error*."""
    return failure.status < 500 or isinstance(error, NoAnswerError)


@dataclass(frozen=True, slots=True)
class FailedRequests:
    """Requests that ended with the same error."""

    count: int
    message: str
    """The error message for the most recent of these requests."""
    refused: bool
    """True if the proxy refused these requests, so they never reached the upstream."""


class Proxy:
    """An ASGI application in front of a model provider's API. Its responses contain a tool call
    only after a durable, well-formed ``allow``.
    """

    def __init__(
        self,
        guard: Guard,
        upstream_url: str,
        settings: ProxySettings,
        *,
        identify: Callable[[Scope], RequestIdentity] = _this_user,
        limits: ProxyLimits | None = None,
        seen: SeenTools | None = None,
        notify: Callable[[str], None] = lambda _: None,
        notices: Notices | None = None,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        """*identify* returns the caller of a request without an access token, or raises a
        ``GuardrailError``. *seen* collects the tools that have not been accepted. *notify* is
        called with a line for the operator if a call waits for approval, or if the file of accepted
        tools becomes unreadable.
        *notices* receives lines about the upstream, refused requests and new tools. *refused* is
        called with the code of each request that ended with an error and left no record of a call.
        Raises ``ConfigError`` if the upstream can't be reached safely, if the file of accepted
        tools can't be read, or if access tokens can't be passed in the header in *settings*.
        """
        self.unanswered = 0
        """Number of requests to which the upstream did not respond."""
        self.problem = ""
        """The reason for the most recent missing response, or an empty string."""
        self.failed: dict[str, FailedRequests] = {}
        """Other requests that ended with an error, keyed by error code."""
        limits = ProxyLimits() if limits is None else limits
        upstream = Upstream(
            upstream_url, idle_s=settings.upstream_idle_s, connect_s=limits.connect_s
        )
        outcomes = Outcomes(settings.outcome_wait_s)
        sessions = CallerSessions(guard)
        self._refused = refused
        self._notices = Notices(lambda _: None) if notices is None else notices
        accepted = AcceptedTools(settings.tools)
        tools = RequestTools(guard, accepted, seen, self._notices, notify)
        self._shared = Shared(guard, upstream, settings, limits, sessions, outcomes, tools, notify)
        self._callers = VerifiedCallers(guard, settings, identify)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from an ASGI server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(Incoming(scope, receive), Outgoing(send))
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not governed"})

    async def _serve(self, incoming: Incoming, out: Outgoing) -> None:
        try:
            await self._handle(incoming, out)
            if out.status >= 400:
                said = f"the upstream answered {out.status}"
                self._count(f"upstream.{out.status}", said, refused=False)
                self._notices.tell(f"upstream.{out.status}", f"a request failed: {said}")
        except ClientGone:
            return
        except Exception as error:  # boundary: a request must not end without a response
            if out.started:
                raise  # the server aborts the connection, which no client mistakes for a response
            failure = failure_of(error)
            if isinstance(error, NoAnswerError):
                self.unanswered += 1
                self.problem = failure.message
            else:
                self._count(failure.code, failure.message, refused=failure.status < 500)
            if not isinstance(error, GuardrailError) or _has_no_record(error, failure):
                self._refused(failure.code)
            self._notices.tell(failure.code, _notice(error, failure))
            body = failure.body(format_of(incoming.path, incoming.headers))
            await out.whole(failure.status, failure.headers, body)
            if not isinstance(error, GuardrailError):
                raise  # the server logs it

    def _count(self, code: str, message: str, *, refused: bool) -> None:
        known = self.failed.get(code)
        count = 1 if known is None else known.count + 1
        self.failed[code] = FailedRequests(count, message, refused)

    async def _handle(self, incoming: Incoming, out: Outgoing) -> None:
        of_litellm = (incoming.method, incoming.path) == ("POST", LITELLM_PATH)
        # A caller that is not accepted does not learn which routes are served.
        identity = await self._callers.identify(incoming.scope)
        route = None if of_litellm else find_route(incoming.method, incoming.path)
        if route is not None and route.api is None:
            await pass_on(self._shared, route, incoming, out)
            return
        self._shared.outcomes.start()
        own = self._shared.identity_headers
        caller = ProxyCaller(identity, credential_digest(incoming.headers, incoming.query, own))
        if route is None:
            await answer_litellm(self._shared, caller, incoming, out)
        else:
            await Exchange(self._shared, route, caller, incoming, out).run()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def aclose(self) -> None:
        """Close the connections to the upstream, and record that the results of calls that are
        still open were not reported. Idempotent.
        """
        await self._shared.upstream.aclose()
        await self._shared.outcomes.aclose()
        await asyncio.to_thread(self._shared.tools.close)
