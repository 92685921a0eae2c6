"""The amount of redaction work, and calls whose arguments can't be redacted."""

from __future__ import annotations

from guardrail.call.stages import UNREDACTED, Decided, Prepared, Request
from guardrail.core import decision as decisions
from guardrail.core.redaction.foreign import outweighs
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.schema.snapshot import copy_json
from guardrail.core.types import Cause, Effect
from guardrail.errors import ArgumentsError, RedactionError
from guardrail.system.waiting import LARGE, Steps

__all__ = ["outline", "size_of", "unredacted", "with_outline"]


def size_of(request: Request, encoded: bytes | None) -> int:
    """Return the approximate size, in characters, of everything that is redacted for a call.
    *encoded* is the snapshot of its arguments.
    """
    return len(encoded or b"") + len(request.tool.name)


def outline(prepared: Prepared, args: object, why: str) -> Prepared:
    """Return the call with a minimal view of *args* (keys, types, lengths, tokens), or without a
    view if *args* is not JSON.

    *why* is the class that the view shows for the arguments of a declared tool: ``unfit`` or
    ``undecided``.
    """
    request = prepared.request
    state, inspection = request.state, None
    try:
        copied = copy_json(args.parse() if type(args) is JsonArguments else args)
        if isinstance(copied, dict):
            inspection = state.redactor.inspect(
                copied,
                schema=None,
                declared=False,
                memory=state.memory,
                minimal=why if request.tool.declared else "undeclared",
            )
    except ArgumentsError:
        pass
    except RedactionError as error:
        if error.code in UNREDACTED:
            return prepared.unredacted(error.code)
    return prepared._replace(inspection=inspection)


def with_outline(request: Request, why: str) -> Steps[Prepared]:
    """Return the call with only the outline of its arguments, which have not been validated. *why*
    is passed to ``outline``.
    """
    # These arguments were not examined, so their size is unknown.
    args = request.args
    content = args.text if type(args) is JsonArguments else args
    size = LARGE + 1 if outweighs(content, LARGE) else 0
    prepared = Prepared(request, presented=request.approval)
    return (yield from request.meter.run(lambda: outline(prepared, request.args, why), size))


def unredacted(decided: Decided, why: str) -> Decided:
    """Return *decided* as a denied call that is recorded without its arguments. The original
    verdict is kept if it was already a denial. *why* is one of ``UNREDACTED``.
    """
    verdict = decided.verdict
    if verdict.effect is not Effect.DENY:
        verdict = decisions.denied(Cause.REDACTOR, why)
    return decided._replace(prepared=decided.prepared.unredacted(why), verdict=verdict)
