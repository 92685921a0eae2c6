"""Recognises calls that the embedded engine denies with an error although OPA decides them.

The embedded engine promises OPA's decision or an error. Two kinds of errors are not faults of the
engine, so they are reported at the author's line instead of as a difference:

- a function got a value of the wrong type. OPA raises an error too, unless its rule index skips the
  rule: since version 1.22, it has also indexed ``startswith`` and similar functions. Which rules it
  skips depends on its version and on the other rules, so the embedded engine can't know it.
- a function got a value, or has a result, outside the documented limits, such as a result with more
  than 15 digits.

In both cases, the call is denied.
"""

from __future__ import annotations

import re

from guardrail.errors import Finding
from guardrail.policy.embedded.compiled import CompiledPolicies, locate
from guardrail.policy.embedded.workbench import EngineRefusal
from guardrail.policy.sources import INSTALLED

__all__ = ["LIMIT", "LONG_DECIMAL", "WRONG_TYPE", "stricter"]

WRONG_TYPE = "wrong-type"
LONG_DECIMAL = "long-decimal"
LIMIT = "limit"

_OPERAND = re.compile(r"error: `([a-z0-9_.]+)` expects (numeric|string|.*?)\b.*")
_RAISED = re.compile(
    r"error: extension '([a-z0-9_.]+)' raises Python error: "
    r"(ValueError|JSONDecodeError|UnicodeDecodeError): (.+)"
)
_TYPES = {
    "not a text": "is_string",
    "not a number": "is_number",
    "not a whole number": "is_number",
    "not an array": "is_array",
    "not an object": "is_object",
    "not a boolean": "is_boolean",
    "string": "is_string",
    "numeric": "is_number",
}
_COLLECTIONS = frozenset(["not an array or set", "not a list", "another type"])
_OPERATORS = {
    "guardrail.divide": "/",
    "guardrail.minus": "-",
    "guardrail.plus": "+",
    "guardrail.remainder": "%",
    "guardrail.times": "*",
    "add": "+",
    "div": "/",
    "mul": "*",
    "sub": "-",
}
_CONSEQUENCE = "the embedded engine denies such a call (cause error), but OPA may skip the rule"
_CALCULATE = (
    "calculate with whole numbers, such as a * 12 <= 2000 instead of a * 1.2 <= 200, or set "
    '[policy] engine = "opa"'
)
_MULTIPLY = (
    "multiply the other side instead, such as a <= 10 * 7 instead of a / 7 <= 10, or set [policy] "
    'engine = "opa"'
)


def stricter(refusal: EngineRefusal, compiled: CompiledPolicies) -> Finding | None:
    """Return a remark at the author's line if the engine's error is of one of these kinds, or None.
    The remark quotes no value.
    """
    place = locate(refusal.text, [*compiled.modules, *compiled.tests])
    if place is None or not place.line or place.file.startswith(INSTALLED):
        return None
    operand, raised = _OPERAND.search(refusal.text), _RAISED.search(refusal.text)
    if operand is not None:
        name, check = operand[1], _TYPES.get(operand[2])
        return _wrong_type(place.file, place.line, name, check)
    if raised is None:
        return None
    name, reason = raised[1], raised[3].strip() if raised[2] == "ValueError" else "malformed"
    if reason in _TYPES or reason in _COLLECTIONS:
        return _wrong_type(place.file, place.line, name, _TYPES.get(reason))
    if "more digits than" in reason:
        message = (
            f"the result of {_shown(name)} can have more than 15 digits in OPA, as that of "
            "50 * 1.19 has: the embedded engine denies such a call (cause error)"
        )
        hint = _MULTIPLY if _OPERATORS.get(name) == "/" else _CALCULATE
        return Finding(place.file, place.line, LONG_DECIMAL, message, hint)
    message = (
        f"{_shown(name)} can get a value that the embedded engine does not process ({reason}): it "
        "denies such a call (cause error), but OPA decides it"
    )
    hint = 'restrict the value in the tool\'s schema, or set [policy] engine = "opa"'
    return Finding(place.file, place.line, LIMIT, message, hint)


def _wrong_type(file: str, line: int, name: str, check: str | None) -> Finding:
    message = f"{_shown(name)} can get a value of the wrong type: {_CONSEQUENCE}"
    hint = (
        f"check the value with {check} in the same body, before this expression"
        if check is not None
        else "check the type of the value in the same body, before this expression"
    )
    return Finding(file, line, WRONG_TYPE, message, hint)


def _shown(name: str) -> str:
    """Return the name of a function as authors write it."""
    if name in _OPERATORS:
        return f'the operator "{_OPERATORS[name]}"'
    return name
