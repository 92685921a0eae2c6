"""The governed state of one request: its session, the results that it reports, and the calls in the
response.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

from guardrail.call.approval import ON_WAIT
from guardrail.core.call_context import CallContext, is_traceparent
from guardrail.model_apis.answers import AnswerStream
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked
from guardrail.model_apis.calls import AskedCall, Refusal
from guardrail.model_apis.claims import claims_in
from guardrail.model_apis.deciding import Decider
from guardrail.model_apis.offered_tools import NOTHING_OFFERED, offered_tools
from guardrail.model_apis.openai.history import conversation_of, places_of
from guardrail.model_apis.openai.mcp_approvals import approval_error
from guardrail.model_apis.requests import ToolRequest, choices_of, hosts_shell
from guardrail.proxy.headers import SESSION
from guardrail.proxy.sessions import ProxyCaller, call_name, call_names
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.model_apis.open_calls import Owner
    from guardrail.proxy.asgi import Incoming
    from guardrail.proxy.shared import Shared

__all__ = ["MOST_CALLS", "ProxyTurn"]

MOST_CALLS = 1_024
"""Maximum number of calls in one answer."""

_PROGRAM = re.compile(r"([A-Za-z][\w.-]{0,40}(?:/[A-Za-z]\w{0,20})?)[ /]v?(\d[\w.+-]{0,30})")
"""Name and version at the beginning of a user agent: ``OpenAI/Python 3.57.0``, ``ai/7.0.1``."""


class ProxyTurn:
    """One request, and the calls in its response."""

    def __init__(
        self,
        shared: Shared,
        caller: ProxyCaller,
        session: SessionScope | None,
        context: CallContext,
    ) -> None:
        """Do not call this directly: use ``begin``."""
        self._shared = shared
        self._caller = caller
        self._session = session
        self._context = context
        self._tools: Mapping[str, Tool] = {}
        self._offered = NOTHING_OFFERED
        self._knows_tools = False
        """True if ``_tools`` contains every tool that the model is offered."""
        self.hosts_shell = False
        """True if the request lets the provider run shells."""
        self.choices = 1
        """Number of choices that the request asks for."""
        self._approving: Mapping[str, Any] | None = None
        """The request whose approvals are used."""

    @classmethod
    async def begin(
        cls,
        shared: Shared,
        api: Api,
        caller: ProxyCaller,
        incoming: Incoming,
        body: Mapping[str, Any],
    ) -> Self:
        """Return the turn for a request, after recording the results that the request reports.
        Raises ``IdentityError``, ``ModelRequestError`` and ``LedgerError``.
        """
        claims = claims_in(api, body)
        name = incoming.header(SESSION)
        session: SessionScope | None
        if name is not None:
            session = await shared.sessions.named(caller, name)
        else:
            known = [*places_of(body), *call_names(claims)]
            session = await shared.sessions.continued(caller, known)
        made = cls(shared, caller, session, _context(incoming))
        made.choices = choices_of(body)
        made._offered = offered_tools(api, body)
        if api is Api.RESPONSES:
            made.hosts_shell = hosts_shell(body)
            await made._check_approvals(body)
        if session is not None:
            for admission, claim in shared.outcomes.calls.take(made.owner, claims):
                await admission.asettle(claim.status, result=claim.content)
        return made

    async def _check_approvals(self, body: Mapping[str, Any]) -> None:
        session = "" if self._session is None else self._session.id
        found = self._shared.approvals.use(self._caller.key, session, body)
        if found is not None:
            await self.decide(Asked([found], None, None))
            raise approval_error()
        self._approving = body

    def give_back_approvals(self) -> None:
        """Make the request's approvals usable again, because the upstream rejected the request or
        never received it.
        """
        if self._approving is not None:
            self._shared.approvals.give_back(self._caller.key, self._approving)

    @property
    def session(self) -> SessionScope:
        """The session. It is created only when it is needed, because most responses do not contain
        calls.
        """
        if self._session is None:
            self._session = self._shared.sessions.new(self._caller)
        return self._session

    @property
    def owner(self) -> Owner:
        """The only owner that may report the results of the calls."""
        return self.session.session.tenant, self._caller.credential, self.session.id

    @functools.cached_property
    def _decider(self) -> Decider:
        return Decider(
            self._shared.guard,
            self._shared.outcomes.calls,
            self.session,
            self._shared.approval_wait_s(self.session),
            adapter="proxy",
            context=self._context,
            owner=self.owner,
            again=self._shared.again,
            tools=self._tools,
            offered=self._offered,
            knows_all=self._knows_tools,
            released=functools.partial(
                self._shared.approvals.add,
                self._caller.key,
                self.session.id,
                conversation_of(self._approving or {}),
            ),
        )

    async def offering(self, request: ToolRequest) -> Mapping[str, Any]:
        """Return the request without the tools that the policy hides. The request's tools are used
        to decide the calls in the response. Raises ``ModelRequestError`` and ``LedgerError``.
        """
        self._tools = await self._shared.tools.known(request.tools)
        self._knows_tools = request.shows_all_tools
        return await self._shared.tools.offering(request, self._tools, self._caller)

    def restored(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request in the form that the upstream must receive, because the upstream does
        not know about refusals. If nothing changes, this is the same object.
        """
        return self._shared.refused.restored(self._caller.key, body)

    def refused(self, item: Mapping[str, Any], refusal: str, places: frozenset[str]) -> None:
        """Store a refused item, because later requests must tell the upstream about it."""
        self._shared.refused.add(self._caller.key, item, refusal, places)

    def about(self, places: Collection[str]) -> None:
        """Remember the ids of the response and its conversation, which later requests can
        continue.
        """
        self._shared.sessions.note(self._caller, places, self.session)

    async def decide(self, asked: Asked) -> list[str | None]:
        """Decide calls. Return, for each call, the text of the refusal, or None if the call is
        allowed.
        """
        token = ON_WAIT.set(self._tell_of_wait)
        try:
            return await self._decider.adecide(asked)
        finally:
            ON_WAIT.reset(token)

    def _tell_of_wait(self, tool: str) -> None:
        """Tell the operator that a call is waiting, because the client sees only a delay."""
        seconds = self._shared.approval_wait_s(self.session)
        with contextlib.suppress(OSError):  # the call waits even if the line can't be written
            self._shared.notify(
                f"{tool} is waiting for approval (up to {seconds:g} s): guardrail approvals"
            )

    @property
    def holds(self) -> bool:
        """True if there are admitted calls that the client has not received."""
        return "_decider" in self.__dict__ and self._decider.holds

    def release(self) -> None:
        """Record that the client has received the admitted calls."""
        names = [call_name(key) for key in self._decider.release()]
        self._shared.sessions.note(self._caller, names, self.session)

    async def record_failure(self, code: str, events: AnswerStream | None) -> None:
        """Record that a response failed with *code*: record each call that had begun in the
        response or, if there is none, a call without a name. Raises ``LedgerError``.
        """
        asked = Asked([], None, None) if events is None else events.dropped()
        unnamed = AskedCall(None, None, None, None, refusal=Refusal(code, ""), has_id=False)
        await self.decide(asked._replace(calls=asked.calls[:MOST_CALLS] or [unnamed]))

    async def withdraw(self) -> None:
        """Record that the client never received the calls admitted since the last release."""
        if self.holds:
            await self._decider.awithdraw()


def _context(incoming: Incoming) -> CallContext:
    """Return the context that the client claims for itself."""
    trace = next((value for name, value in incoming.headers if name == "traceparent"), None)
    agent = next((value for name, value in incoming.headers if name == "user-agent"), "")
    found = _PROGRAM.match(agent)
    return CallContext(
        trace=trace if is_traceparent(trace) else None,
        framework=found[1] if found else None,
        framework_version=found[2] if found else None,
    )
