"""Refuses a call that a framework makes again although it has succeeded, or still runs.

A graph that is resumed runs an interrupted node from its start, with the calls of it that were
done. Their bodies must not run twice.
"""

from __future__ import annotations

import functools

from guardrail.call.journal import Journal
from guardrail.call.stages import Decided, DeniedEarly, Prepared
from guardrail.core import decision as decisions
from guardrail.core.repeats import Repeat, names_of
from guardrail.core.types import Cause
from guardrail.errors import LedgerError
from guardrail.system.waiting import Steps, Wait, in_background

__all__ = ["refuse_repeated"]

_PATIENCE = 600.0
"""Least number of seconds to wait for the ledger: the first look of a process reads all of it."""
_MESSAGES = {
    Repeat.SUCCEEDED: "this call has succeeded before, so it does not run again",
    Repeat.RUNNING: "this call is still running, so it does not run again",
}


def refuse_repeated(journal: Journal, prepared: Prepared) -> Steps[None]:
    """Raise ``DeniedEarly`` for a call that is replayed, if the ledger shows that the call with its
    framework's id has succeeded or still runs, in its session or its thread.

    Any other call costs nothing. Raises ``LedgerError``.
    """
    request = prepared.request
    if not request.options.replayed:
        return
    recorded = request.state.fields
    names = names_of(
        {"tenant": recorded.tenant, "session": recorded.session, "origin": request.origin}
    )
    if not names:
        return
    look = functools.partial(journal.requests.repeat, names)
    try:
        found: Repeat | None = yield Wait(in_background(look), max(journal.deadline, _PATIENCE))
    except TimeoutError:
        raise LedgerError(
            "the ledger could not be read in time",
            code="ledger.unreadable",
            hint="guardrail doctor",
        ) from None
    if found is not None:
        denied = decisions.denied(Cause.DUPLICATE, found, message=_MESSAGES[found])
        raise DeniedEarly(Decided(prepared, denied))
