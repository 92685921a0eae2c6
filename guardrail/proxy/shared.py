"""The objects that all requests to a proxy share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guardrail.config import ProxySettings
from guardrail.model_apis.asked_again import AskedAgain
from guardrail.model_apis.openai.history import RefusedItems
from guardrail.model_apis.openai.mcp_approvals import AdmittedApprovals
from guardrail.proxy.limits import ProxyLimits
from guardrail.proxy.outcomes import Outcomes
from guardrail.proxy.sessions import CallerSessions
from guardrail.proxy.tools import RequestTools
from guardrail.proxy.upstream import Upstream

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard

__all__ = ["Shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """The components of a proxy that outlive a request."""

    guard: Guard
    upstream: Upstream
    settings: ProxySettings
    limits: ProxyLimits
    sessions: CallerSessions
    outcomes: Outcomes
    tools: RequestTools
    notify: Callable[[str], None]
    """Called with lines for the operator."""
    refused: RefusedItems = field(default_factory=RefusedItems)
    approvals: AdmittedApprovals = field(default_factory=AdmittedApprovals)
    again: AskedAgain = field(default_factory=AskedAgain)

    @property
    def identity_headers(self) -> frozenset[str]:
        """The headers that identify the caller to the proxy, in lower case."""
        settings = self.settings
        names = settings.identity_header, settings.token_header, settings.agent_token_header
        return frozenset(name.lower() for name in names if name)

    def approval_wait_s(self, session: SessionScope) -> float:
        """Return the number of seconds that a call in *session* waits for approval: 0 if the
        settings of its tenant do not permit approval by a person.
        """
        guard = self.guard.of_session(session)
        accepted = guard.approvals.terms.unsafe_asserted or guard.calls.callers.verifies_tokens
        return self.settings.approval_wait_s if accepted else 0

    @property
    def max_request(self) -> int:
        """Maximum size, in bytes, of a request whose response is governed."""
        return self.settings.max_body_mb * 1024 * 1024
