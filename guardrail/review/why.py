"""Explains in words why a call was decided as it was, using only the record: the policy is not
asked again, and no tool runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from guardrail.approvals.kinds import RejectionReason, StepKind
from guardrail.core.types import NOT_REQUESTED, Cause, Effect
from guardrail.core.words import agree, counted
from guardrail.review.approval_words import NEXT
from guardrail.review.proxy_reasons import (
    PROXY,
    TEST_AND_RELOAD,
    reason_through_proxy,
    rejection,
    way_to_accept,
)
from guardrail.review.reasons import CAUSES, CauseExplanation, reason_of
from guardrail.review.records import (
    NotFoundError,
    RecordedAnswer,
    RecordedCall,
    RecordReader,
    call_of,
    load,
)
from guardrail.review.terminal import escape
from guardrail.review.values import integer, moment, obj, text

__all__ = [
    "DecisionExplanation",
    "decision_seq",
    "explain",
    "headline",
    "refusal",
    "why_of",
]


_REJECTED = CauseExplanation(
    "The framework refused the call before it reached the tool, so the policy was not asked and"
    " nothing ran.",
    "Look in the framework's own trace for what the model sent: the record of such a call "
    "contains no argument values.",
)

_ASKS = CauseExplanation(
    "The policy was asked, and its rules say that a person must approve this call first.",
    "Run `guardrail approvals`, then `guardrail approve ID --reason TEXT` or `guardrail refuse ID"
    " --reason TEXT`.",
)


def _approval_state(call: RecordedCall, now: datetime) -> CauseExplanation:
    """Return the state of a request for approval at *now*, and the next step."""
    used = next((each for each in call.answers if each.kind is StepKind.USED), None)
    if used is not None:
        return CauseExplanation(
            f"{_ASKS.sentence} It was approved, and the call was made with that approval: record"
            f" {used.seq}.",
            f"Nothing. `guardrail why {used.seq}` explains the allowed call.",
        )
    if any(each.kind is StepKind.REFUSED for each in call.answers):
        return CauseExplanation(
            f"{_ASKS.sentence} It was refused.",
            "Nothing: the call can no longer be approved. If it is needed, let the agent "
            "request it again.",
        )
    given = {who.id for each in call.answers for who in each.people}
    stands = {who.id for each in call.answers if _is_in_force(each, now) for who in each.people}
    needed = max((hit.approvers for hit in call.rules), default=1)
    if len(given) >= needed > len(stands):
        return CauseExplanation(
            f"{_ASKS.sentence} It was approved, but the approval expired unused.",
            "Run `guardrail approvals`: if the call is pending there, answer it again with "
            "`guardrail approve ID --reason TEXT`. Otherwise make the call without an approval, "
            "which is a new request.",
        )
    if len(given) >= needed:
        return CauseExplanation(
            f"{_ASKS.sentence} It was approved, and the approval has not been used yet.",
            f"Make the same call in the same session with this approval ({call.call}), before it"
            " expires.",
        )
    return _ASKS


def _blocked(hidden: Sequence[str]) -> CauseExplanation:
    """Explain a request that no one can approve, because the record hides the values at *hidden*
    from the approver.
    """
    places = ", ".join(escape(pointer) for pointer in hidden)
    return CauseExplanation(
        f"{_ASKS.sentence} Nobody can: a rule needs {places}, which the record hides.",
        NEXT[RejectionReason.NEEDS_HIDDEN],
    )


def _is_in_force(answer: RecordedAnswer, now: datetime) -> bool:
    """Return True if the approval still counts at *now*. An approval with an unreadable expiry time
    counts.
    """
    expires = moment(answer.expires)
    return expires is None or now < expires


_NO_ALLOW = "guardrail.no_allow"
"""The rule that is recorded if no rule allows a call. It is built in, so the policy's files don't
contain it.
"""
_NAMED_RULES = 5
"""Maximum number of rules that a sentence names."""


def _denial(call: RecordedCall) -> CauseExplanation:
    """Explain a denial by the policy's rules. A `deny` rule is mentioned before the lack of an
    `allow` rule, because it wins even if an `allow` rule is added.
    """
    fired = dict.fromkeys(hit.rule for hit in call.rules if hit.effect == Effect.DENY)
    denying = [rule for rule in fired if rule != _NO_ALLOW]
    unallowed = _NO_ALLOW in fired
    if call.declared is not False and not unallowed:
        return CAUSES[Cause.POLICY]
    rules = _rules_named(denying)
    sentence = CAUSES[Cause.POLICY].sentence
    if denying:
        also = " None of its `allow` rules applies either." if unallowed else ""
        sentence = f"The policy was asked. The call was denied by its {rules}.{also}"
    elif unallowed:
        sentence = (
            "The policy was asked. None of its `allow` rules applies to this call, so it was"
            " denied."
        )
    return CauseExplanation(sentence, " ".join(_steps_after_denial(call, rules, unallowed)))


def _steps_after_denial(call: RecordedCall, rules: str, unallowed: bool) -> Iterator[str]:
    """Yield, in order, the changes after which calls like *call* would be allowed."""
    if call.refused == NOT_REQUESTED:
        yield (
            "Nothing, if the model invented the tool. If the program has the tool under a "
            "different name, compare the name in the program's requests with the name of this "
            "call."
        )
        return
    through_proxy = call.adapter == PROXY and not call.refused
    declared = call.declared is not False
    if not declared:
        yield way_to_accept(call.tool) if through_proxy else _way_to_declare(call)
        if rules:
            yield f"If that is not enough, change the {rules}."
    elif rules:
        yield (
            f"If such calls should run, change the {rules} first: a `deny` rule wins even if an"
            " `allow` rule is added."
        )
    if unallowed:
        begin = (
            "If such calls should run, add an `allow` rule"
            if declared and not rules
            else "If no `allow` rule applies then, add one"
        )
        # Only a program can give a tool a label.
        label = "" if through_proxy else ", or give the tool a label that a rule allows"
        yield f"{begin} for this tool{label}."
    if through_proxy:
        yield TEST_AND_RELOAD
    else:
        yield "Then run `guardrail policy test` (docs/writing-policies.md)."


def _way_to_declare(call: RecordedCall) -> str:
    """Return how to declare the undeclared tool of *call*."""
    if call.refused:
        return "If such calls should run, correct the tool's schema in the program."
    return "If such calls should run, declare this tool in the program, with its schema."


def _rules_named(rules: Sequence[str]) -> str:
    """Return a phrase that names *rules*, or an empty string if there are none."""
    if not rules:
        return ""
    shown = ", ".join(f"`{escape(rule)}`" for rule in rules[:_NAMED_RULES])
    more = len(rules) - _NAMED_RULES
    return f"{agree(len(rules), 'rule')} {shown}" + (f" and {more} more" if more > 0 else "")


_HEADLINES = {
    Effect.ALLOW: "ALLOWED",
    Effect.DENY: "DENIED",
    Effect.REQUIRE_APPROVAL: "NEEDS APPROVAL",
}


@dataclass(frozen=True, slots=True)
class DecisionExplanation:
    """The explanation of one decision."""

    call: RecordedCall
    headline: str
    """``ALLOWED``, ``DENIED``, ``NEEDS APPROVAL`` or ``REJECTED``."""
    reason: CauseExplanation
    policy: Mapping[str, Any]
    """``engine``, ``version``, ``digest``, ``revision``, ``data``, or an empty mapping if no policy
    was asked.
    """
    reproducible: bool | None
    """True if the decision is reproducible, according to the decision record or, in records of
    earlier versions that left it open, the outcome record.
    """
    reproducible_sentence: str
    input: object
    """The recorded policy input, or None if the record holds none."""
    input_sentence: str


def refusal(code: str) -> str:
    """Return the reason, in words, for rejecting a schema with *code*."""
    from guardrail.core.schema.cost_limits import REASONS

    return REASONS.get(code.removeprefix("schema."), "for a reason that this version does not know")


def headline(effect: str, *, rejected: bool = False) -> str:
    """Return the word that reviewers see for an effect. An unknown effect is never shown as
    allowed.
    """
    if rejected:
        return "REJECTED"
    try:
        return _HEADLINES[Effect(effect)]
    except ValueError:
        return "UNREADABLE"


def _reason(call: RecordedCall, hidden: Sequence[str]) -> CauseExplanation:
    if call.cause == Cause.POLICY and call.effect == Effect.REQUIRE_APPROVAL:
        return _blocked(hidden) if hidden else _approval_state(call, datetime.now(UTC))
    if call.cause == Cause.POLICY and call.effect == Effect.DENY:
        return _denial(call)
    found = reason_of(call.cause, call.detail)
    found = replace(found, next_step=found.next_step.replace("SEQ", str(call.seq)))
    if call.adapter == PROXY:
        return reason_through_proxy(call.cause, call.detail, call.tool, found)
    return found


def decision_seq(records: RecordReader, seq: int) -> int:
    """Return the number of the decision to which record *seq* belongs, which may be *seq* itself.
    Raises ``NotFoundError`` if there is none.
    """
    record = load(records, seq)
    kind = text(record, "type")
    if kind in {"call.decision", "call.rejected"}:
        return seq
    owner = integer(record, "decision_seq")
    if kind in {"call.outcome", "call.claim"} and owner is not None:
        return owner
    if kind in {"call.throttled", "admin.quota_reached"}:
        raise NotFoundError(
            f"record {seq} is not a decision: it counts calls that exceeded [limits] "
            "calls_per_minute, tenant_calls or ledger_mb",
            hint=f"guardrail show {seq}",
        )
    raise NotFoundError(
        f"record {seq} is of type {kind or 'unknown'}, which contains no decision",
        hint=f"guardrail show {seq}",
    )


def why_of(records: RecordReader, call: RecordedCall) -> DecisionExplanation:
    """Explain the decision about *call*, including the call's outcome."""
    from guardrail.approvals.rules import case_of

    line = records.record(call.seq)
    case = None if line is None else case_of([line], line)
    hidden = () if case is None else case.request.hidden_needs
    return explain(load(records, call.seq), call, hidden)


def explain(
    record: Mapping[str, Any], joined: RecordedCall | None = None, hidden: Sequence[str] = ()
) -> DecisionExplanation:
    """Explain a decoded ``call.decision`` or ``call.rejected`` record; *joined* is the same call
    with its outcome. *hidden* holds the pointers to values that the call's approver must see but
    can't.
    """
    call = joined if joined is not None else call_of(record)
    outcome = call.outcome
    rejected = call.type == "call.rejected"
    reproducible = call.reproducible
    if reproducible is None and outcome is not None:
        reproducible = outcome.reproducible
    return DecisionExplanation(
        call=call,
        headline=headline(call.effect, rejected=rejected),
        reason=_rejection(call) if rejected else _reason(call, hidden),
        policy=obj(record, "policy"),
        reproducible=reproducible,
        reproducible_sentence=_reproducible(call, reproducible, obj(record, "policy")),
        input=record.get("input"),
        input_sentence=_input(call, record.get("input")),
    )


def _rejection(call: RecordedCall) -> CauseExplanation:
    return rejection(call.detail) if call.adapter == PROXY else _REJECTED


def _reproducible(call: RecordedCall, reproducible: bool | None, policy: Mapping[str, Any]) -> str:
    if call.type == "call.rejected":
        return "nothing was decided, so there is nothing to reproduce"
    if reproducible is True:
        return "yes: the recorded input leads to the same decision and the same rules"
    if reproducible is False:
        if call.omitted or call.truncated:
            return (
                "no: the record does not contain the complete input, so the decision can't be "
                "reproduced from it"
            )
        return (
            "no: the recorded input does not lead to the same decision, because the "
            "decision depended on a removed value"
        )
    if call.cause not in {"policy", "obligation"}:
        return "not applicable: the rules gave no answer to reproduce"
    if not text(policy, "digest"):
        return (
            "not known: the record does not name the policy, so the decision can't be re-evaluated"
        )
    return (
        "not known yet: values were removed before recording. guardrail rederive "
        f"{call.seq} decides from the recorded input again"
    )


_OMITTED = {
    "size": "the call is too large for a record",
    "record": "a part of the call does not fit the format of records",
    "arguments": "the arguments are too large, or are not JSON",
    "redactor": "it can't be redacted",
    "redaction.fault": "the redactor failed",
    "redaction.budget": "redacting it would take too much processor time",
}


def omitted_sentence(omitted: str) -> str:
    """Return the reason, in words, for omitting values from a record, or an empty string if none
    were omitted.
    """
    if not omitted:
        return ""
    if omitted.startswith("gate:"):
        return f"the last check still found something of class {omitted[5:]}"
    return _OMITTED.get(omitted, omitted)


def _input(call: RecordedCall, policy_input: object) -> str:
    if call.omitted:
        return f"the record is bare and contains no input: {omitted_sentence(call.omitted)}"
    if policy_input is None:
        return "the record contains no policy input"
    removed = len(call.removed)
    if not removed and not call.truncated:
        return "as recorded; nothing was removed"
    parts = []
    if removed:
        parts.append(f"{counted(removed, 'value')} removed or replaced before recording")
    if call.truncated:
        parts.append("cut to fit")
    return f"as recorded; {', '.join(parts)}"
