"""Amounts are numbers that sums can rely on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from guardrail.core.amounts import LARGEST, amounts_of, check_amounts
from guardrail.errors import ArgumentsError

VALID: list[Any] = [0, 1, 0.5, 1e-300, LARGEST, float(LARGEST)]
INVALID: list[Any] = [
    -1,
    -0.01,
    True,
    False,
    None,
    "5",
    [5],
    {"n": 5},
    LARGEST + 1,
    10**400,
    math.inf,
    -math.inf,
    math.nan,
]


@pytest.mark.parametrize("value", VALID)
def test_numbers_from_zero_up_are_amounts(value: Any) -> None:
    """Whole or not, as long as every parser reads the same number."""
    check_amounts({"a": {"b": value}}, ["/a/b"])
    assert amounts_of({"a": {"b": value}}, ["/a/b"]) == {"/a/b": value}


@pytest.mark.parametrize("value", INVALID)
def test_anything_else_is_refused_with_its_place_only(value: Any) -> None:
    """A negative amount would lower a sum, and a text would end it."""
    with pytest.raises(ArgumentsError) as caught:
        check_amounts({"n": 1, "a": value}, ["/n", "/a"])
    assert (caught.value.detail, caught.value.pointer) == ("amount", "/a")
    assert amounts_of({"n": 1, "a": value}, ["/n", "/a"]) == {"/n": 1}


def test_a_missing_amount_is_refused() -> None:
    """A budget can't count a number that is not there."""
    with pytest.raises(ArgumentsError):
        check_amounts({}, ["/amount"])
    assert amounts_of({}, ["/amount"]) == {}
