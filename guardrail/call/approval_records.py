"""Builds the record of a call that its approval does not cover. Pure functions.

The policy is not evaluated for such a call, so guardrail does not know which values the policy
would hide. They are already hidden in the view that the request's record contains. That view is
reused if the call is the same and no value in the view has since been found to be sensitive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.approvals.rules import RejectionReason
from guardrail.call.stages import Prepared
from guardrail.core.log import fields
from guardrail.core.policy_input import resolve
from guardrail.core.redaction.marks import MARK_PREFIX, is_mark, is_mark_key
from guardrail.core.redaction.redactor import View
from guardrail.core.redaction.schema_marks import SchemaMarks
from guardrail.core.redaction.values import escape, is_sized, number_text
from guardrail.core.types import Effect, Json, Rule
from guardrail.identity.session import SessionState

__all__ = ["differing_arguments", "recordable_rules", "requested_view"]

_MOST = 20
"""Maximum number of pointers in a record."""
_OTHER_REQUEST = frozenset({RejectionReason.OTHER_SESSION, RejectionReason.OTHER_TOOL})
"""Reasons for showing no part of the request: it belongs to a different caller or concerns a
different call.
"""


def requested_view(
    prepared: Prepared, commitment: str | None, policy: Mapping[str, Any]
) -> View | None:
    """Return the recorded view of the request that *prepared* repeats, or None if the view can't be
    shown again.

    *policy* identifies the current policy, as recorded: another policy may hide more.
    """
    request = prepared.asked
    if request is None or commitment is None or request.commitment != commitment:
        return None
    if not _same_policy(request.policy, policy) or prepared.inspection is None:
        return None
    for where, (_, *rules) in prepared.inspection.view().removed.items():
        known = request.removed.get(where)
        if known is None or not set(rules) <= set(known[1:]):
            return None
        if "known" in rules and not _is_hidden(resolve(request.args, where)):
            # this process does not know which values were sensitive at that time
            return None
    state, schema = prepared.request.state, prepared.request.tool.schema
    sensitive = state.redactor.gate(
        fields.strings(request.args),
        state.memory,
        schema=None if schema is None else schema.schema,
    )
    if sensitive is not None:
        return None
    return View(
        request.args,
        {where: list(entry) for where, entry in request.removed.items()},
        truncated=request.truncated,
        changed=True,
        classes={where: list(entry) for where, entry in request.classes.items()},
    )


def recordable_rules(prepared: Prepared, reason: RejectionReason) -> tuple[Rule, ...]:
    """Return the rules that required approval, except those that contain a value now known to be
    sensitive.
    """
    request = prepared.asked
    if request is None or reason in _OTHER_REQUEST:
        return ()
    redactor, memory = prepared.request.state.redactor, prepared.request.state.memory
    return tuple(
        Rule(
            rule=entry.rule,
            message=entry.message,
            severity=entry.severity,
            effect=Effect.REQUIRE_APPROVAL,
            needs=entry.needs,
            approvers=entry.approvers,
        )
        for entry in request.rules
        if redactor.gate([entry.rule, entry.message], memory) is None
    )


def differing_arguments(prepared: Prepared) -> tuple[str, ...]:
    """Return the locations of the arguments of *prepared* that differ from the request's arguments,
    as far as the request's record shows them.

    Names that are not in the tool's schema are shown as ``*``, because a model can invent any name.
    """
    request, schema = prepared.asked, prepared.request.tool.schema
    if request is None:
        return ()
    names = frozenset() if schema is None else SchemaMarks(schema.schema).supplied
    found: dict[str, None] = {}
    _compare(prepared.request.state, prepared.args, request.args, "", names, found)
    return tuple(found)


def _compare(  # noqa: PLR0917 - one walk, over two trees
    state: SessionState,
    given: Json,
    asked: Json,
    where: str,
    names: frozenset[str],
    found: dict[str, None],
) -> None:
    if len(found) >= _MOST:
        return
    if isinstance(asked, dict) and is_sized(asked):
        return
    if isinstance(given, dict) and isinstance(asked, dict):
        marked = any(is_mark_key(key) for key in asked)
        for key in (*asked, *(key for key in given if key not in asked)):
            place = f"{where}/{escape(key) if key in names else '*'}"
            if key in asked and key in given:
                _compare(state, given[key], asked[key], place, names, found)
            elif not marked and len(found) < _MOST:
                found[place] = None
    elif isinstance(given, list) and isinstance(asked, list) and len(given) == len(asked):
        for index, (one, other) in enumerate(zip(given, asked, strict=True)):
            _compare(state, one, other, f"{where}/{index}", names, found)
    elif not _may_match(state, given, asked):
        found[where] = None


def _may_match(state: SessionState, given: Json, asked: Json) -> bool:
    """Return True if *asked* may be the recorded form of *given*."""
    if not isinstance(asked, str) or MARK_PREFIX not in asked:
        return type(given) is type(asked) and given == asked
    if not is_mark(asked):
        return isinstance(given, str)  # a part of it is hidden
    cls, kid = asked.split(":")[1:3]
    if kid != state.keys.kid:
        return True  # it is a random mark, or the key was replaced since
    if isinstance(given, str):
        text = given
    elif isinstance(given, int | float) and not isinstance(given, bool):
        text = number_text(given)
    else:
        return False
    return state.keys.value_token(cls, text) == asked


def _same_policy(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return True if *then* and *now* identify the same policy with the same data. A policy without
    an identity never matches.
    """
    parts = ("engine", "digest", "revision", "data")
    named = then.get("digest") is not None
    return named and all(then.get(part) == now.get(part) for part in parts)


def _is_hidden(value: Json) -> bool:
    """Return True if the view hides the whole *value*."""
    if isinstance(value, str):
        return is_mark(value)
    return isinstance(value, dict) and is_sized(value)
