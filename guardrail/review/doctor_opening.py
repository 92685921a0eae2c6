"""The check of ``doctor`` that answers as opening a guard and ``guardrail recover`` do: by the same diagnosis."""

from __future__ import annotations

from guardrail.config import Settings
from guardrail.diagnosis import diagnose
from guardrail.errors import GuardrailError, LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor_result import Check, State

__all__ = ["opening"]

WHOLE = 20_000
"""Records of a ledger that doctor reads as a whole. A larger one is for ``guardrail verify``."""


def opening(settings: Settings) -> Check:
    """Say what would keep a guard from opening the ledger, and whether ``recover`` finds anything to do."""
    size = _size(settings)
    if size > WHOLE:
        return Check(
            "opening",
            State.OK,
            f"not tried: with {size:,} records, guardrail verify and guardrail recover --dry-run say more",
        )
    try:
        found = diagnose(settings)
    except GuardrailError as error:
        if error.code == "config.untrusted":
            return Check("opening", State.UNKNOWN, error.message, error.hint)
        return Check("opening", State.FAIL, error.message, error.hint or "guardrail recover")
    plan = found.plan
    if plan.caches and plan.found.startswith("tables that are not what the records say"):
        # Nothing else is wrong: a guard opens it, and verify calls it tampered with.
        return Check("opening", State.NOTE, plan.found, "guardrail verify, then guardrail recover")
    if not found.ok:
        return Check("opening", State.FAIL, found.plan.found, "guardrail recover")
    return Check("opening", State.OK, "a guard opens this ledger")


def _size(settings: Settings) -> int:
    try:
        with LedgerReader.open(settings.ledger.path) as reader:
            return reader.size()
    except LedgerError:
        return 0
