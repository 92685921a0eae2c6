"""The governed side of one request: its session, the results that it tells, and the calls of its
answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

from guardrail.core.call_context import CallContext, is_traceparent
from guardrail.core.types import Status
from guardrail.model_apis.api import Api
from guardrail.model_apis.claims import claims_in
from guardrail.model_apis.deciding import Decider
from guardrail.proxy.headers import SESSION
from guardrail.proxy.sessions import ProxyCaller, call_names, places_of

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.proxy.asgi import Incoming
    from guardrail.proxy.shared import Shared

__all__ = ["ProxyTurn"]

_PROGRAM = re.compile(r"([A-Za-z][\w.-]{0,40}(?:/[A-Za-z]\w{0,20})?)[ /]v?(\d[\w.+-]{0,30})")
"""Name and version at the beginning of a user agent: ``OpenAI/Python 3.57.0``, ``ai/7.0.1``."""


class ProxyTurn:
    """One request and the calls of its answer."""

    def __init__(
        self, shared: Shared, caller: ProxyCaller, session: SessionScope, context: CallContext
    ) -> None:
        """Use ``begin`` instead."""
        self._shared = shared
        self._caller = caller
        self.session = session
        self.owner = session.session.tenant, caller.credential, session.id
        self.decider = Decider(
            shared.guard,
            shared.outcomes.calls,
            session,
            shared.settings.approval_wait_s,
            adapter="proxy",
            context=context,
            owner=self.owner,
            again=shared.again,
        )

    @classmethod
    async def begin(
        cls,
        shared: Shared,
        api: Api,
        caller: ProxyCaller,
        incoming: Incoming,
        body: Mapping[str, Any],
    ) -> Self:
        """Return the turn of a request, once the results that it tells are recorded. Raises
        ``IdentityError`` and ``LedgerError``.
        """
        claims = claims_in(api, body)
        name = incoming.header(SESSION)
        if name is not None:
            session = await shared.sessions.named(caller, name)
        else:
            known = [*places_of(body), *call_names(claims)]
            session = shared.sessions.continued(caller, known)
        made = cls(shared, caller, session, _context(incoming))
        for admission, content in shared.outcomes.calls.take(made.owner, claims):
            await admission.asettle(Status.RETURNED, result=content)
        return made

    def restored(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request as the upstream must get it: it knows nothing of refused calls. It is
        the same object if there is nothing to change.
        """
        return self._shared.refused.restored(self._caller.key, body)

    def refused(self, item: Mapping[str, Any], refusal: str, places: frozenset[str]) -> None:
        """Keep a refused item, of which the upstream must be told later."""
        self._shared.refused.add(self._caller.key, item, refusal, places)

    def about(self, places: Collection[str]) -> None:
        """Note the ids of the answer and of its conversation: requests can go on with them."""
        self._shared.sessions.note(self._caller, places, self.session)

    def release(self) -> None:
        """Note that the client has got the calls that were admitted."""
        names = [f"call\n{key}" for key in self.decider.release()]
        self._shared.sessions.note(self._caller, names, self.session)


def _context(incoming: Incoming) -> CallContext:
    """Return what the client asserts about itself."""
    trace = next((value for name, value in incoming.headers if name == "traceparent"), None)
    agent = next((value for name, value in incoming.headers if name == "user-agent"), "")
    found = _PROGRAM.match(agent)
    return CallContext(
        trace=trace if is_traceparent(trace) else None,
        framework=found[1] if found else None,
        framework_version=found[2] if found else None,
    )
