"""Finds values that the embedded engine would handle differently from OPA."""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.core.types import Json

__all__ = ["MAX_INTEGER", "MIN_INTEGER", "rounded", "unsupported_value"]

MAX_INTEGER = 2**64 - 1
MIN_INTEGER = -(2**63)


def rounded(value: float) -> bool:
    """Return True if the engine treats other integers as equal to *value*, because it compares
    integers at 53 bits of precision.
    """
    return 2.0**53 <= abs(value) <= 2.0**64


def unsupported_value(value: Json, depth: int = 0) -> tuple[str, str, str] | None:
    """Return the code, message and hint for a value that the engine would handle differently from
    OPA, or None.
    """
    if depth > 64:
        return "data-depth", "the data is nested more than 64 levels deep", ""
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        return (
            "integer-range",
            (
                "the data contains an integer beyond 64 bits, which the embedded engine "
                "would misread"
            ),
            'write it as a string, or set [policy] engine = "opa"',
        )
    if isinstance(value, float) and rounded(value):
        return (
            "integer-range",
            (
                "the data contains a 54- to 64-bit number written as a float, and the embedded "
                "engine compares integers with it only approximately"
            ),
            (
                "write it as a string, or without a decimal point or an exponent, or set "
                '[policy] engine = "opa"'
            ),
        )
    children: Sequence[Json] = ()
    if isinstance(value, dict):
        children = [*value.values(), *value.keys()]
    elif isinstance(value, list):
        children = value
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return "data-text", "the data contains a lone surrogate, which is not text", ""
    for child in children:
        problem = unsupported_value(child, depth + 1)
        if problem:
            return problem
    return None
