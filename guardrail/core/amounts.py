"""The amounts of a call: the numbers in its arguments that the tool declares as amounts.

Pure. Policies add these numbers up, so each one must be a number that a sum can rely on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guardrail.core.policy_input import resolve
from guardrail.core.types import Json
from guardrail.errors import ArgumentsError

__all__ = ["LARGEST", "amounts_of", "check_amounts"]

LARGEST: Final = 2**53
"""Largest amount. Up to here, every whole number is exact in every JSON parser."""


def amounts_of(args: Json, pointers: Sequence[str]) -> dict[str, Json]:
    """Return the amount at each of *pointers* at which *args* has a valid one."""
    found = {pointer: resolve(args, pointer) for pointer in pointers}
    return {pointer: value for pointer, value in found.items() if _is_amount(value)}


def check_amounts(args: Json, pointers: Sequence[str]) -> None:
    """Raise ``ArgumentsError`` unless *args* has a number between 0 and ``LARGEST`` at each of
    *pointers*.
    """
    for pointer in pointers:
        if not _is_amount(resolve(args, pointer)):
            raise ArgumentsError(
                f"the amount {pointer} must be a number from 0 to {LARGEST}",
                detail="amount",
                pointer=pointer,
            )


def _is_amount(value: Json) -> bool:
    # A bool is an int in Python, and NaN is not between any numbers.
    return type(value) in {int, float} and 0 <= value <= LARGEST  # type: ignore[operator]
