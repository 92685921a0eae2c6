"""What a policy input must be like before the embedded engine may see it."""

from __future__ import annotations

import json
from typing import Any

from guardrail.errors import PolicyError
from guardrail.policy.sources import MAX_INTEGER, MIN_INTEGER

__all__ = ["MAX_INPUT", "check_input"]

MAX_INPUT = 256 * 1024
"""Bytes."""

_DIGITS_ONLY = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER = b"0" * 19
"""The shortest run of digits that can exceed 64 bits."""

_TWO_64 = b"1.8446744073709552e"
"""How the float 2**64 begins: the engine takes it for equal to the largest integer of 64 bits."""


def check_input(policy_input: bytes) -> None:
    """Raise ``PolicyError`` (``error``) for an input that the engine would take for another one, or is too large.

    Integers beyond 64 bits become floating point in it, so that unequal ones compare as equal.
    """
    if len(policy_input) > MAX_INPUT:
        raise PolicyError(
            f"a policy input of {len(policy_input)} bytes; the limit is {MAX_INPUT}",
            cause="error",
            detail="input_size",
        )
    # Two passes in C; nearly every input ends here.
    if _LONG_NUMBER not in policy_input.translate(_DIGITS_ONLY) and _TWO_64 not in policy_input:
        return
    try:
        value = json.loads(policy_input)
    except (ValueError, RecursionError):
        raise PolicyError("the policy input is not JSON", cause="error", detail="input") from None
    if not _fits(value):
        raise PolicyError(
            "a number that the embedded engine takes for another one: 2**64 or an integer beyond 64 bits",
            cause="error",
            detail="integer_range",
            hint="pass it as a string, or use the server engine",
        )


def _fits(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, int) and not MIN_INTEGER <= item <= MAX_INTEGER:
            return False
        if isinstance(item, float) and item == 2.0**64:
            return False
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return True
