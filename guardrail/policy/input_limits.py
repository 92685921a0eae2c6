"""Checks a policy input before it is sent to the embedded engine."""

from __future__ import annotations

import json
from typing import Any

from guardrail.core.words import counted
from guardrail.errors import PolicyError
from guardrail.policy.data_values import MAX_INTEGER, MIN_INTEGER, rounded

__all__ = ["MAX_INPUT", "check_input"]

MAX_INPUT = 256 * 1024
"""Maximum size of a policy input in bytes."""

_SHAPES = bytearray(b"\x20" * 256)
for _characters, _shape in (
    (b"0123456789", b"0"),
    (b"eE", b"e"),
    (b"+", b"+"),
    (b",]} \t\r\n", b","),
):
    for _byte in _characters:
        _SHAPES[_byte] = _shape[0]
_LARGE = (b"0" * 16, b"e00,", b"e+00,")
"""In JSON, every number that does not fit contains one of these sequences. Strings can contain them
too.
"""
_IN_NUMBER = b"0123456789.-"
_BEFORE_NUMBER = b":,[ \t\r\n"


def check_input(policy_input: bytes) -> None:
    """Raise ``PolicyError`` (``error``) if the input is too large, or if the engine would misread
    it.

    The engine converts integers beyond 64 bits to floating point, and compares integers with
    floating-point numbers at 53 bits of precision, so unequal numbers can compare as equal.
    """
    if len(policy_input) > MAX_INPUT:
        raise PolicyError(
            (
                f"the policy input is {counted(len(policy_input), 'byte')}, but the limit is "
                f"{counted(MAX_INPUT, 'byte')}"
            ),
            cause="error",
            detail="input_size",
        )
    # For nearly every input, these few substring searches are enough.
    shape = policy_input.translate(_SHAPES)
    if not any(_is_in_number(mark, shape, policy_input) for mark in _LARGE if mark in shape):
        return
    try:
        value = json.loads(policy_input)
    except (ValueError, RecursionError):
        raise PolicyError("the policy input is not JSON", cause="error", detail="input") from None
    if not _numbers_fit(value):
        raise PolicyError(
            (
                "the policy input contains a number that the embedded engine misreads: a "
                "whole-number float of 54 to 64 bits, or an integer beyond 64 bits"
            ),
            cause="error",
            detail="integer_range",
            hint='pass it as a string, or set [policy] engine = "opa"',
        )


def _is_in_number(mark: bytes, shape: bytes, policy_input: bytes) -> bool:
    """Return True if an occurrence of *mark* may belong to a number. Digits inside a string, such
    as a card number or a digest, do not count.
    """
    at, done = shape.find(mark), 0
    while at >= 0:
        start = at
        # The search never re-examines text, so it runs in linear time.
        while start > done and policy_input[start - 1] in _IN_NUMBER:
            start -= 1
        if not start or policy_input[start - 1] in _BEFORE_NUMBER:
            return True
        done = at + len(mark)
        at = shape.find(mark, done)
    return False


def _numbers_fit(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, int) and not MIN_INTEGER <= item <= MAX_INTEGER:
            return False
        if isinstance(item, float) and rounded(item):
            return False
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return True
