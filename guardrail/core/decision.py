"""Converts the policy's reply, or the lack of one, to a ``Decision``.

Only this module creates ``Effect.ALLOW``.

No function here raises an exception: every input gives a decision, and everything except a
well-formed allow is a denial or a request for approval. The expected form is that of
``data.guardrail.main.decision``, contract ``guardrail/1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from guardrail.core.types import Cause, Decision, Effect, Rule

__all__ = ["CONTRACT", "LABEL", "LABEL_FORM", "denied", "parse", "public_message"]

CONTRACT = "guardrail/1"
LABEL = re.compile(r"[a-z][a-z0-9_.:-]{0,63}", re.ASCII)
"""Matches a label of a call. Other names could not be told apart in records and reports."""
LABEL_FORM = (
    "a lower-case letter, and up to 63 lower-case letters, digits, underscores, dots, colons and "
    "hyphens"
)
"""Describes ``LABEL``."""

_EFFECTS: Mapping[object, Effect] = {str(effect): effect for effect in Effect}
_KEYS = frozenset({"effect", "rules", "redact", "labels", "obligations", "contract"})
_RULE_KEYS = frozenset({"rule", "message", "severity", "effect", "needs", "approvers"})
_MAX_RULES = 256
_MAX_LIST = 1024
_MAX_TEXT = 4096
_MAX_LABELS = 16
_MAX_APPROVERS = 100

_PUBLIC = {
    Cause.POLICY: "denied by policy",
    Cause.ARGUMENTS: "denied: the arguments do not fit the tool's schema",
    Cause.OBLIGATION: "denied: the policy requires an obligation that this guard can't fulfil",
    Cause.REDACTOR: "denied: the call can't be recorded safely",
    Cause.IDENTITY: "denied: the caller's identity could not be established",
    Cause.APPROVAL: "denied: the approval does not cover this call",
    Cause.ANCHOR: "denied: the record of calls could not be anchored",
    Cause.DUPLICATE: "denied",
    Cause.EFFECT: "denied",
    Cause.SUSPENDED: "denied: an operator has suspended these calls",
}
_SPEAKS_FOR_ITSELF = frozenset(
    {
        "not_json",
        "duplicate_key",
        "trailing",
        "not_object",
        "too_large",
        "nan",
        "surrogate",
        "integer_range",
        "depth",
        "nodes",
        "size",
        "cyclic",
        "key",
        "unstable",
        "model",
    }
)
"""Details of cause ``arguments`` for which the agent gets only the detail's own message, without
the sentence about the tool's schema.
"""
_PUBLIC_APPROVAL = {
    "pending": "denied: no one has approved this call yet",
    "approvers_missing": "denied: more people must approve this call",
    "refused": "denied: a person refused this call",
    "expired": "denied: the approval has expired",
    "already_used": "denied: the approval has been used",
    "approver_is_requester": "denied: the requester of a call can't approve it",
    "approver_looks_alike": (
        "denied: the approver's id looks like that of the requester or of another approver"
    ),
    "approver_counted": "denied: another person must approve this call as well",
    "approver_unknown": (
        "denied: the answer does not identify an approver, or is neither yes nor no"
    ),
    "answer_changed": "denied: the answer contains more than an approval or a refusal",
    "asserted": "denied: the approver's identity was not verified",
    "needs_hidden": "denied: the approver can't see the values that this approval requires",
}


class _MalformedError(Exception):
    """A reply has the wrong shape. The message is the decision's detail."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def denied(cause: Cause, detail: str, *, redact: Sequence[str] = (), message: str = "") -> Decision:
    """Return the denial for a call that was not sent to the policy, or for which the policy
    returned no usable reply.

    *message* adds details to the cause for the agent: it consists of guardrail's own words and
    declared names, never of values.
    """
    return Decision(
        effect=Effect.DENY, cause=cause, detail=detail, redact=tuple(redact), message=message
    )


def parse(document: object) -> Decision:
    """Convert a reply to a decision. Never raises.

    A well-formed reply gives its own effect with cause ``policy``. Any other reply is a denial:
    ``malformed`` with a detail that describes the first problem, or ``obligation`` if the reply
    contains an obligation, because ``guardrail/1`` defines none.
    """
    try:
        return _parse(document)
    except _MalformedError as problem:
        return denied(Cause.MALFORMED, problem.detail)


def public_message(decision: Decision) -> str:
    """Return the short text that an agent may read, without rule ids, values or internals.

    For a plain policy denial the text is the message of the first denying rule that has one; the
    caller redacts it.
    """
    if decision.cause is Cause.POLICY:
        for rule in decision.rules:
            if rule.effect is decision.effect and rule.message:
                return (
                    f"{_PUBLIC[Cause.POLICY]}: {rule.message}"
                    if decision.effect is Effect.DENY
                    else rule.message
                )
        return _PUBLIC[Cause.POLICY]
    if decision.cause is Cause.APPROVAL and decision.detail in _PUBLIC_APPROVAL:
        return _PUBLIC_APPROVAL[decision.detail]
    if (
        decision.cause is Cause.ARGUMENTS
        and decision.message
        and decision.detail in _SPEAKS_FOR_ITSELF
    ):
        return f"denied: {decision.message}"
    text = _PUBLIC.get(decision.cause, "denied: the policy could not be evaluated")
    return f"{text}: {decision.message}" if decision.message else text


def _parse(document: object) -> Decision:
    if type(document) is not dict and not isinstance(document, Mapping):
        raise _MalformedError("not_object")
    if document.keys() != _KEYS:
        raise _MalformedError("missing_key" if set(document) <= _KEYS else "unknown_key")
    if document["contract"] != CONTRACT:
        raise _MalformedError("contract")
    effect = _effect(document["effect"], "effect")
    rules = tuple([_rule(entry) for entry in _list(document["rules"], "rules", _MAX_RULES)])
    effects = [rule.effect for rule in rules]
    redact = _strings(document["redact"], "redact")
    labels = tuple([_label(item) for item in _list(document["labels"], "labels", _MAX_LABELS)])
    obligations = _list(document["obligations"], "obligations", _MAX_LIST)
    # A verdict must name at least one rule with its effect. A denial without a rule can't be
    # investigated, and an allow without a rule has no basis.
    if effect not in effects:
        # If no rule allows a call, guardrail's composition denies it and lists its own rule.
        raise _MalformedError("no_reason")
    # A deny rule overrides the effect that the document claims.
    if effect is not Effect.DENY and Effect.DENY in effects:
        raise _MalformedError("contradiction")
    if obligations:
        return Decision(Effect.DENY, Cause.OBLIGATION, "unknown", rules, redact, labels)
    return Decision(effect, Cause.POLICY, "", rules, redact, labels)


def _rule(entry: object) -> Rule:
    if type(entry) is not dict and not isinstance(entry, Mapping):
        raise _MalformedError("rule_not_object")
    if entry.keys() != _RULE_KEYS:
        raise _MalformedError("rule_keys")
    approvers = entry["approvers"]
    if type(approvers) is not int or not 1 <= approvers <= _MAX_APPROVERS:
        raise _MalformedError("rule_approvers")
    rule, message = _text(entry["rule"], "rule_id"), _text(entry["message"], "rule_message")
    if not rule or not message:
        raise _MalformedError("empty_reason")
    return Rule(
        rule=rule,
        message=message,
        severity=_text(entry["severity"], "rule_severity"),
        effect=_effect(entry["effect"], "rule_effect"),
        needs=_strings(entry["needs"], "rule_needs"),
        approvers=approvers,
    )


def _effect(value: object, detail: str) -> Effect:
    effect = _EFFECTS.get(value) if type(value) is str else None
    if effect is None:
        raise _MalformedError(detail)
    return effect


def _text(value: object, detail: str) -> str:
    if type(value) is not str or len(value) > _MAX_TEXT:
        raise _MalformedError(detail)
    return value


def _label(value: object) -> str:
    if type(value) is not str or not LABEL.fullmatch(value):
        raise _MalformedError("labels")
    return value


def _list(value: Any, detail: str, limit: int) -> list[Any]:
    if type(value) is not list or len(value) > limit:
        raise _MalformedError(detail)
    return value


def _strings(value: object, detail: str) -> tuple[str, ...]:
    return tuple([_text(item, detail) for item in _list(value, detail, _MAX_LIST)])
