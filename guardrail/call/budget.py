"""Work that the CPU budget of a call's redaction pays for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from guardrail.call.decision_record import Call, outline
from guardrail.core import decision as decisions
from guardrail.core.redaction.foreign import outweighs
from guardrail.core.redaction.redactor import Inspection
from guardrail.core.types import Cause, Decision, Effect
from guardrail.system.cpu_meter import OVER_BUDGET
from guardrail.system.waiting import LARGE, Steps, Work

R = TypeVar("R")

__all__ = ["outlined", "over_budget", "section"]


def section(call: Call, work: Callable[[], R], size: int | None = None) -> Steps[R]:
    """Run *work* as part of the redaction of *call*."""
    if size is None:
        size = len(call.encoded or b"") + len(call.tool.name)
    if size <= LARGE:
        return call.meter.section(work)
    done: R = yield Work(lambda: call.meter.section(work), size)
    return done


def outlined(call: Call, args: object, why: str) -> Steps[Inspection | None]:
    """Return the outline of *args*, which nobody has read yet; *why* as for ``outline``."""
    # These arguments were not examined: their size is not known.
    size = LARGE + 1 if outweighs(args, LARGE) else 0
    return (yield from section(call, lambda: outline(call, args, why), size))


def over_budget(call: Call, verdict: Decision) -> Decision:
    """Mark *call* as recorded without its arguments; return *verdict* if it denies, otherwise the
    denial.
    """
    call.over_budget()
    if verdict.effect is Effect.DENY:
        return verdict
    return decisions.denied(Cause.REDACTOR, OVER_BUDGET)
