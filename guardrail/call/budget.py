"""Work that the CPU budget of a call's redaction pays for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from guardrail.call.decision_record import outline
from guardrail.call.stages import Decided, Prepared, Request
from guardrail.core import decision as decisions
from guardrail.core.redaction.foreign import outweighs
from guardrail.core.types import Cause, Effect
from guardrail.system.cpu_meter import OVER_BUDGET
from guardrail.system.waiting import LARGE, Steps, Work

R = TypeVar("R")

__all__ = ["outlined", "over_budget", "section", "size_of"]


def size_of(request: Request, encoded: bytes | None) -> int:
    """Return the size of what is redacted for a call, roughly in characters. *encoded* is the
    snapshot of its arguments.
    """
    return len(encoded or b"") + len(request.tool.name)


def section(request: Request, work: Callable[[], R], size: int) -> Steps[R]:
    """Run *work*, whose input has *size* characters, as part of the redaction of *request*."""
    if size <= LARGE:
        return request.meter.section(work)
    done: R = yield Work(lambda: request.meter.section(work), size)
    return done


def outlined(request: Request, why: str) -> Steps[Prepared]:
    """Return the call with the outline of its arguments, which nobody has read yet; *why* as for
    ``outline``.
    """
    # These arguments were not examined: their size is not known.
    size = LARGE + 1 if outweighs(request.args, LARGE) else 0
    prepared = Prepared(request, presented=request.approval)
    return (yield from section(request, lambda: outline(prepared, request.args, why), size))


def over_budget(decided: Decided) -> Decided:
    """Return *decided* as a call that is recorded without its arguments, and denied if it was
    not.
    """
    verdict = decided.verdict
    if verdict.effect is not Effect.DENY:
        verdict = decisions.denied(Cause.REDACTOR, OVER_BUDGET)
    return decided._replace(prepared=decided.prepared.over_budget(), verdict=verdict)
