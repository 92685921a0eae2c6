"""Denies calls without evaluating the policy, and records their arguments only in outline."""

from __future__ import annotations

import functools

from guardrail.call.budget import with_outline
from guardrail.call.stages import UNREDACTED, Decided, DeniedEarly, Prepared, Request
from guardrail.call.suspended import suspension_of
from guardrail.call.unfit import describe_misnamed
from guardrail.core import decision as decisions
from guardrail.core.claims import TAKEN
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.redaction.view import BEYOND_LIMITS
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.types import Cause
from guardrail.errors import ArgumentsError, RedactionError
from guardrail.identity.tokens import UNANSWERED, NotAsked
from guardrail.system.waiting import Steps, Wait, Work

__all__ = [
    "deny_injected_argument",
    "deny_unfit_arguments",
    "deny_unknown_caller",
    "deny_unredactable",
    "parse_arguments",
    "refusal_of",
    "refuse_caller",
]


def deny_unknown_caller(request: Request, why: str) -> Steps[Decided]:
    """Return the denial of a call whose caller is unknown or whose session has ended."""
    prepared = yield from with_outline(request, "undecided")
    return Decided(prepared, decisions.denied(Cause.IDENTITY, why))


def refusal_of(request: Request) -> Steps[str]:
    """Return the reason that the caller can't make calls now, or an empty string."""
    unknown = request.refusal()
    while isinstance(unknown, NotAsked):
        # All calls with this token wait for one request, and an event loop goes on.
        try:
            refused: str = yield Wait(unknown.answer, unknown.patience)
        except TimeoutError:
            return UNANSWERED
        unknown = refused or request.refusal()  # there may be a token of the agent, too
    return unknown


def refuse_caller(request: Request, suspensions: Suspensions) -> Steps[None]:
    """Raise ``DeniedEarly`` if the caller is unknown, if its session has ended or belongs to
    another caller, or if one of *suspensions* stops the call.
    """
    unknown = yield from refusal_of(request)
    unknown = unknown or (TAKEN if request.state.belongs_to_other else "")
    if unknown:
        raise DeniedEarly((yield from deny_unknown_caller(request, unknown)))
    stopped = suspension_of(request, suspensions)
    if stopped is not None:
        prepared = yield from with_outline(request, "undecided")
        verdict = decisions.denied(Cause.SUSPENDED, str(stopped.seq))
        raise DeniedEarly(Decided(prepared, verdict, suspension=stopped))


def deny_unfit_arguments(request: Request, error: ArgumentsError) -> Steps[Decided]:
    """Return the denial of a call whose arguments do not fit the tool's schema."""
    prepared = yield from with_outline(request, "unfit")
    tool, state = request.tool, request.state
    message_end = describe_misnamed(
        error, request.args, tool, lambda name: state.redactor.text(name, state.memory)
    )
    verdict = decisions.denied(Cause.ARGUMENTS, error.detail, message=error.message)
    return Decided(prepared, verdict, misnamed=message_end)


def parse_arguments(request: Request, given: JsonArguments) -> Steps[Request]:
    """Return the call with its arguments parsed from their JSON text.

    Raises ``DeniedEarly`` if the text is not exactly one JSON object. No part of the text is
    recorded.
    """
    tool = request.tool
    try:
        args = yield Work(functools.partial(given.parse, tool.limits), given.size)
    except ArgumentsError as error:
        verdict = decisions.denied(Cause.ARGUMENTS, error.detail, message=error.message)
        message_end = f"; {tool.name} takes exactly one JSON object"
        prepared = Prepared(request, presented=request.approval)
        raise DeniedEarly(Decided(prepared, verdict, misnamed=message_end)) from None
    return request._replace(args=args)


def deny_injected_argument(request: Request) -> Steps[Decided]:
    """Return the denial of a call in which the model passed an argument that only the program may
    inject.
    """
    prepared = yield from with_outline(request, "unfit")
    message = "one of these arguments may be supplied only by the program"
    return Decided(prepared, decisions.denied(Cause.ARGUMENTS, "injected", message=message))


def deny_unredactable(prepared: Prepared, error: RedactionError) -> Decided:
    """Return the denial of a call whose arguments can't be redacted."""
    # Only this message, which goes to the agent, states the limit that the arguments exceed.
    exceeded = error.message if error.code == BEYOND_LIMITS else ""
    verdict = decisions.denied(Cause.REDACTOR, error.code, message=exceeded)
    if error.code in UNREDACTED:
        prepared = prepared.unredacted(error.code)
    return Decided(prepared, verdict)
