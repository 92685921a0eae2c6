"""The context that a framework passes with a call, in the forms that the policy sees and the record
contains.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from guardrail.core.call_context import CallContext
from guardrail.core.hidden import hidden
from guardrail.core.policy_input import framework_input, model_input
from guardrail.core.redaction.cut_strings import cut
from guardrail.core.redaction.replacements import encodable
from guardrail.core.redaction.scan import scan_all, unmetered
from guardrail.core.redaction.session_memory import BLANK
from guardrail.core.types import JsonObject
from guardrail.errors import UsageError
from guardrail.identity.session import SessionState

__all__ = [
    "NOTHING",
    "AssertedFacts",
    "as_facts",
    "as_recorded",
    "as_said",
    "check_context",
    "leftover",
    "trace_of",
]

MAX_TEXT: Final = 512
"""Maximum length in characters of each text that the policy sees and the record contains."""
_LOOKED_AT: Final = 4_096
"""Maximum number of characters of each text that are searched. It is larger than the recorded
length, so that a sensitive value is found before it is cut in two.
"""
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@hidden
class AssertedFacts(NamedTuple):
    """The parts of a policy input that come from a call's context."""

    model: JsonObject | None
    """``context.model``"""
    framework: JsonObject | None
    """``context.origin.framework``"""


NOTHING: Final = AssertedFacts(None, None)


def check_context(context: object) -> None:
    """Raise ``UsageError`` if *context* is not a ``CallContext``."""
    if type(context) is not CallContext:
        raise UsageError(
            f"context must be a guardrail.CallContext, not {type(context).__name__}",
            code="usage.context",
        )


def as_said(context: CallContext | None) -> AssertedFacts:
    """Return the facts as the framework passed them, for a policy that sees raw input. Long texts
    are shortened and lone surrogates replaced, but nothing else changes.
    """
    if context is None:
        return NOTHING
    return _facts(context, _encodable_text)


def as_facts(context: CallContext | None, state: SessionState) -> AssertedFacts:
    """Return the facts for a policy that decides on recorded data. Values that the session knows to
    be sensitive are not removed. Raises ``RedactionError``.
    """
    if context is None:
        return NOTHING

    def text(value: str) -> str:
        if len(value) > MAX_TEXT:
            return state.redactor.beginning(_bounded(value), MAX_TEXT, BLANK)
        return state.supplied(value)

    return _facts(context, text, lambda value: _id(value, state, text, known=False))


def as_recorded(context: CallContext | None, state: SessionState) -> AssertedFacts:
    """Return the facts in the form that may be recorded, given the sensitive values known now.
    Raises ``RedactionError``.
    """
    if context is None:
        return NOTHING

    def text(value: str) -> str:
        if len(value) > MAX_TEXT:
            return state.redactor.beginning(_bounded(value), MAX_TEXT, state.memory)
        return state.text(value)

    return _facts(context, text, lambda value: _id(value, state, text, known=True))


def leftover(facts: AssertedFacts, state: SessionState) -> str | None:
    """Return the class of a sensitive value that remains in the recorded *facts*, or None."""
    found: str | None = None
    if facts.model is not None:
        name, response = facts.model["name"], facts.model["response"]
        if isinstance(response, str):
            if _ID.fullmatch(response):
                # Values that detectors find here were already found when this text was recorded.
                found = state.memory.knows(response)
            else:
                found = state.redactor.gate((response,), state.memory)
        if found is None and isinstance(name, str):
            found = state.redactor.gate((name,), state.memory)
    if found is None and facts.framework is not None:
        texts = (facts.framework["name"], facts.framework["version"])
        found = state.redactor.gate([each for each in texts if isinstance(each, str)], state.memory)
    return found


def trace_of(context: CallContext | None, state: SessionState, *, bare: bool = False) -> str | None:
    """Return the recorded trace of a call, or None to use the session's trace. The trace is a token
    in a bare record, or if it contains a sensitive value.
    """
    if context is None or context.trace is None:
        return None
    if bare or state.memory.knows(context.trace) is not None:
        return state.keys.token("trace", context.trace)
    return context.trace


def _facts(
    context: CallContext,
    text: Callable[[str], str],
    id_: Callable[[str], str] | None = None,
) -> AssertedFacts:
    def shown(value: str | None, show: Callable[[str], str]) -> str | None:
        return None if value is None else show(value)

    return AssertedFacts(
        model=model_input(shown(context.model, text), shown(context.response, id_ or text)),
        framework=framework_input(
            shown(context.framework, text), shown(context.framework_version, text)
        ),
    )


def _id(value: str, state: SessionState, text: Callable[[str], str], *, known: bool) -> str:
    """Return the id of a response as recorded: unchanged if it is a plain id and not a value known
    to be sensitive, otherwise redacted.
    """
    if _is_plain_id(value) and (not known or state.memory.knows(value) is None):
        return value
    return text(value)


@functools.lru_cache(maxsize=256)
def _is_plain_id(value: str) -> bool:
    """Return True if *value* is an id, and detectors find only that it looks random. This saves
    time: one response requests several calls, and its id would otherwise be searched twice for
    each.
    """
    if _ID.fullmatch(value) is None:
        return False
    (hits,) = scan_all([value], BLANK, unmetered)
    return all(hit.cls == "opaque" for hit in hits)


def _encodable_text(text: str) -> str:
    return text if len(text) <= MAX_TEXT and text.isascii() else cut(_bounded(text), MAX_TEXT)


def _bounded(text: str) -> str:
    return encodable(text[:_LOOKED_AT])
