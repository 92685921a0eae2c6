"""Returns the commands that the hints of refused calls name, complete with their options."""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.config import Settings

__all__ = ["NextSteps"]


@dataclass(frozen=True, slots=True)
class NextSteps:
    """The commands about the records of one guard."""

    tenant: str = ""
    """Name of the tenant's table in the settings, or an empty string if the guard has none."""
    asserted: bool = True
    """True if approvals count whose approver is not verified, and commands need no token."""
    tokens: bool = False
    """True if the settings name issuers, so that a command can have a token."""

    @classmethod
    def of(cls, settings: Settings) -> NextSteps:
        """Return the commands for a guard with these *settings*."""
        identity = settings.identity
        asserted = settings.approvals.unsafe_asserted_approvals and identity.require != "verified"
        return cls(settings.tenant_table, asserted, bool(identity.issuers))

    def why(self, seq: int) -> str:
        """Return the command that explains the decision *seq*."""
        return f"guardrail why {seq}{self._option}"

    def show(self, seq: int) -> str:
        """Return the command that shows the record *seq*, which need not be a decision."""
        return f"guardrail show {seq}{self._option}"

    def approve(self, approval: str) -> str:
        """Return the command that approves the request *approval*, with a remark if the answer
        would not count.
        """
        said = f"guardrail approve {approval} --reason TEXT"
        if self.asserted:
            return said + self._option
        if self.tokens:
            return f"{said} --token-file FILE{self._option}"
        return (
            f"{said}{self._option} (counts only with unsafe_asserted_approvals = true in "
            "[approvals])"
        )

    @property
    def _option(self) -> str:
        return f" --tenant {self.tenant}" if self.tenant else ""
