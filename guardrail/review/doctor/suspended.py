"""``doctor`` check: the suspensions that stop calls."""

from __future__ import annotations

from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.result import Check, CheckState
from guardrail.review.suspensions import unproved_suspensions
from guardrail.review.terminal import escape

__all__ = ["suspended"]

_NAMED = 5
"""Maximum number of subjects that the check names."""


def suspended(settings: Settings) -> Check:
    """Name the subjects whose calls are denied. Raises ``LedgerError``."""
    path = settings.ledger.path
    if not path.exists():
        return Check("suspensions", CheckState.OK, "there is no ledger yet")
    with LedgerReader.open(path) as reader:
        found = unproved_suspensions(reader).in_force
    now = utc_timestamp()
    several = settings.tenants or settings.tenant_table
    where = f" in tenant {settings.identity.tenant}" if several else ""
    stops = [each for each in found if each.counts_at(now)]
    if not stops:
        old = f"; {counted(len(found), 'suspension')} expired" if found else ""
        return Check("suspensions", CheckState.OK, f"no call is suspended{where}{old}")
    names = ", ".join(escape(each.subject.name) for each in stops[:_NAMED])
    more = len(stops) - _NAMED
    return Check(
        "suspensions",
        CheckState.NOTE,
        f"{counted(len(stops), 'suspension')} in force{where}: {names}"
        + (f" and {more} more" if more > 0 else ""),
        "guardrail suspensions; then guardrail resume SUBJECT",
    )
