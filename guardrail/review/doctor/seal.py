"""``doctor`` check: whether the ledger is sealed."""

from __future__ import annotations

from guardrail.config import Settings
from guardrail.review.doctor.result import Check, CheckState
from guardrail.review.terminal import clock

__all__ = ["sealed"]


def sealed(settings: Settings) -> Check:
    """Fail with the reason of the seal, if there is one. Raises ``LedgerError``."""
    from guardrail.ledger.seal import Seal

    seal = Seal.read(settings.ledger.path)
    if seal is None:
        return Check("seal", CheckState.OK, "not sealed")
    when = f" since {clock(seal.when)}" if seal.when else ""
    return Check(
        "seal",
        CheckState.FAIL,
        f"sealed{when}: {seal.why}; every call is blocked",
        "guardrail recover",
    )
