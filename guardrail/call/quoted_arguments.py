"""Removes the classified arguments of a call from the texts that the policy built from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from guardrail.call.budget import size_of, unredacted
from guardrail.call.stages import UNREDACTED, Decided
from guardrail.core import decision as decisions
from guardrail.core.redaction.faults import closed
from guardrail.core.redaction.quoted_values import QuotedValues
from guardrail.core.redaction.redactor import Inspection
from guardrail.core.types import Cause, Decision, Rule
from guardrail.errors import RedactionError
from guardrail.system.waiting import Steps
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.policy.engine import PolicyTexts

__all__ = ["without_arguments"]


def without_arguments(decided: Decided, own: PolicyTexts) -> Steps[Decided]:
    """Return *decided* without values of this call that the schema, a key, a detector or the policy
    classifies in the ids, messages, severities, needs and labels of the policy.

    A text that the policy contains (*own*) does not depend on the call, so it is kept: a caller who
    passes such a text must not be able to remove it from the record, and a gap in a known text
    would reveal the value. Names of the tool, its server and its arguments are kept as well.
    """
    prepared, verdict = decided.prepared, decided.verdict
    inspection, request = prepared.inspection, prepared.request
    if inspection is None or all(own.in_source(text) for text in _texts(verdict)):
        return decided
    hide = functools.partial(_hide, inspection, request.tool, verdict, own)
    try:
        size = size_of(request, prepared.encoded)
        return decided._replace(verdict=(yield from request.meter.run(hide, size)))
    except RedactionError as error:
        if error.code not in UNREDACTED:
            return decided  # a malformed pointer: the call is denied without the policy's texts
        denied = decisions.denied(Cause.REDACTOR, error.code)
        return unredacted(decided._replace(verdict=denied), error.code)


def _texts(verdict: Decision) -> Iterator[str]:
    yield from verdict.labels
    for rule in verdict.rules:
        yield from (rule.rule, rule.message, rule.severity, *rule.needs)


@closed
def _hide(inspection: Inspection, tool: Tool, verdict: Decision, own: PolicyTexts) -> Decision:
    names = (tool.name, tool.server or "") if tool.declared else ()
    values = QuotedValues(inspection, verdict.redact, names)
    if not values:
        return verdict
    clean = _cleaner(values, own)
    rules = tuple([_clean_rule(rule, clean) for rule in verdict.rules])
    return replace(verdict, rules=rules, labels=tuple(map(clean, verdict.labels)))


def _cleaner(values: QuotedValues, own: PolicyTexts) -> Callable[[str], str]:
    def clean(text: str) -> str:
        # A value itself can be part of the data, such as an account in a list.
        if own.in_source(text) or (text not in values and own.in_data(text)):
            return text
        return values.remove(text)

    return clean


def _clean_rule(rule: Rule, clean: Callable[[str], str]) -> Rule:
    return replace(
        rule,
        rule=clean(rule.rule),
        message=clean(rule.message),
        severity=clean(rule.severity),
        needs=tuple([clean(need) for need in rule.needs]),
    )
