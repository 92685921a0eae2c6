"""Finds numbers, arithmetic and comparisons that the embedded engine evaluates differently from
OPA.
"""

from __future__ import annotations

import re
from typing import Any

from guardrail.policy.data_values import MAX_INTEGER, rounded
from guardrail.policy.rego.conditions import SERVER, ConstructRefusal
from guardrail.policy.rego.world import RuleScope
from guardrail.policy.sources import WHOLE_EXPONENT, WITHOUT_EXPONENT, whole_exponent

__all__ = ["arithmetic", "comparison", "number"]

_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def number(source: bytes, content: dict[str, Any]) -> ConstructRefusal | None:
    """Return the reason for rejecting the number written as *source*, or None."""
    written = _NUMBER.match(source, content["span"]["start"])
    if written is None:
        return None
    text = written[0]
    if text.lstrip(b"-").isdigit():
        if abs(int(text)) > MAX_INTEGER:
            return ConstructRefusal(
                "integer-range",
                (
                    "this integer exceeds 64 bits, and the embedded engine would convert it "
                    "to a different number"
                ),
            )
    elif rounded(float(text)):
        return ConstructRefusal(
            "integer-range",
            (
                "this 54- to 64-bit number is written as a float, and the embedded engine "
                "compares integers with it only approximately"
            ),
            f"write it without a decimal point or an exponent, or {SERVER}",
        )
    elif whole_exponent(text.decode()):
        return ConstructRefusal("exponent", f"{text.decode()} {WHOLE_EXPONENT}", WITHOUT_EXPONENT)
    elif len(text) > 15:
        return ConstructRefusal(
            "decimal-range", "this number has more digits than the embedded engine supports"
        )
    return None


def comparison(scope: RuleScope, content: dict[str, Any]) -> ConstructRefusal | None:
    """Return the reason for rejecting a comparison, or None."""
    sides = (content["lhs"], content["rhs"])
    if content["op"] not in {"Eq", "Ne"} and any(map(scope.may_be_set, sides)):
        return ConstructRefusal(
            "set-order",
            (
                "sets are compared by order: OPA sorts sets after objects, the embedded "
                "engine before them"
            ),
            f"compare their counts, or test membership, or {SERVER}",
        )
    return None


def arithmetic(scope: RuleScope, content: dict[str, Any]) -> ConstructRefusal | None:
    """Return the reason for rejecting a sum, product or quotient, or None."""
    sides = (content["lhs"], content["rhs"])
    whole = content["op"] != "Div" and all(scope.is_integer(side) for side in sides)
    sets = content["op"] == "Sub" and any(scope.is_set(side) for side in sides)
    if not whole and not sets:
        return ConstructRefusal(
            "decimal-arithmetic",
            (
                "this arithmetic uses a value that may not be a whole number: OPA "
                "calculates in decimal, the embedded engine in binary (where 0.1 + 0.2 > "
                "0.3)"
            ),
            f"use round(x) first, or pass the smallest units, such as cents, or {SERVER}",
        )
    if whole:
        most = scope.upper_bound({"ArithExpr": content})
        if most is None or most >= 2**63:
            return ConstructRefusal(
                "integer-range",
                (
                    "the result of this arithmetic may exceed 64 bits, and the embedded "
                    "engine would convert it to a different number"
                ),
                f"multiply by a literal, or use count, or {SERVER}",
            )
    return None
