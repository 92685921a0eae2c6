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
    def identity_header(self) -> str | None:
        """The header in which a peer specifies the principal, in lower case."""
        return self.settings.identity_header.lower() or None

    @property
    def approval_wait_s(self) -> float:
        """Number of seconds that a call waits for approval: 0 if the settings do not permit
        approval by a person.
        """
        accepted = self.guard.approvals.terms.unsafe_asserted
        return self.settings.approval_wait_s if accepted else 0

    @property
    def max_request(self) -> int:
        """Maximum size, in bytes, of a request whose response is governed."""
        return self.settings.max_body_mb * 1024 * 1024
