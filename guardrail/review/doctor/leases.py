"""A check of ``guardrail doctor``: the processes that use the ledger."""

from __future__ import annotations

from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["leases"]


def leases(settings: Settings) -> Check:
    """Check whether processes that used the ledger have died."""
    found = Leases(leases_path(settings.ledger.path))
    states = [found.process_state(name) for name in found.processes()]
    alive, dead = states.count(ProcessState.ALIVE), states.count(ProcessState.DEAD)
    using = f"{counted(alive, 'process')} using the ledger"
    if dead:
        return Check(
            "leases",
            CheckState.NOTE,
            f"{using}, {dead} died; their open calls are closed when a guard opens the ledger",
            "open a guard, or guardrail recover",
        )
    return Check("leases", CheckState.OK, using)
