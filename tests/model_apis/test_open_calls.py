"""Calls that a program has got are kept until their results are told, within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.call.admission import Admission
from guardrail.model_apis import open_calls
from guardrail.model_apis.claims import ResultClaim
from guardrail.model_apis.open_calls import OpenCalls
from guardrail.testing import StaticPolicy, allow, memory_guard

OWNER = ("default", "alice", "s1")


def admitted(count: int) -> list[Admission]:
    guard, _ = memory_guard(StaticPolicy(allow()))
    return [guard.admit("weather", {}) for _ in range(count)]


def told(calls: OpenCalls, key: str, occurrence: int = 1) -> list[Admission]:
    claims = [ResultClaim(key, "sun", occurrence)]
    return [admission for admission, _ in calls.take(OWNER, claims)]


def test_an_overdue_call_is_named_once_and_its_result_can_still_be_told() -> None:
    (first,) = admitted(1)
    calls = OpenCalls()
    calls.add(OWNER, "a", first)
    assert calls.overdue(1000) == []
    assert calls.overdue(0) == [first]
    assert calls.overdue(0) == []
    assert len(calls) == 1
    assert told(calls, "a") == [first]
    assert told(calls, "a", 2) == []
    assert not calls


def test_a_call_whose_id_is_used_again_is_forgotten() -> None:
    first, second, third = admitted(3)
    gone: list[Admission] = []
    calls = OpenCalls(gone.append)
    calls.add(OWNER, "a", first)
    calls.add(OWNER, "a", second)
    assert gone == [first]
    calls.overdue(0)
    calls.add(OWNER, "a", third)
    assert gone == [first]  # the outcome of the second is recorded
    assert told(calls, "a", 1) == []
    assert told(calls, "a", 3) == [third]


@pytest.mark.parametrize(("limit", "value", "size"), [("_MOST", 2, 0), ("_LARGEST", 20, 10)])
def test_the_oldest_calls_are_forgotten_first(
    monkeypatch: Any, limit: str, value: int, size: int
) -> None:
    """Those that are overdue go before the others."""
    monkeypatch.setattr(open_calls, limit, value)
    late, first, second, third = admitted(4)
    gone: list[Admission] = []
    calls = OpenCalls(gone.append)
    calls.add(OWNER, "late", late, size)
    calls.overdue(0)
    for key, admission in zip("abc", (first, second, third), strict=True):
        calls.add(OWNER, key, admission, size)
    assert gone == [first]
    assert told(calls, "late") == []
    assert told(calls, "b") == [second]
    assert told(calls, "c") == [third]
