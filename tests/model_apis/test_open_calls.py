"""Calls that a program has got are kept until their results are told, within bounds."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest

from guardrail import Guard
from guardrail.call.admission import Admission
from guardrail.call.journal import Journal
from guardrail.config import Settings
from guardrail.identity.session import SessionState
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


@pytest.mark.parametrize(("limit", "value", "length"), [("_MOST", 2, 1), ("_LARGEST", 20, 10)])
def test_the_oldest_calls_are_forgotten_first(
    monkeypatch: Any, limit: str, value: int, length: int
) -> None:
    """Those that are overdue go before the others, and long ids count as more."""
    monkeypatch.setattr(open_calls, limit, value)
    late, first, second, third = admitted(4)
    gone: list[Admission] = []
    calls = OpenCalls(gone.append)
    calls.add(OWNER, "z" * length, late)
    calls.overdue(0)
    for key, admission in zip("abc", (first, second, third), strict=True):
        calls.add(OWNER, key * length, admission)
    assert gone == [first]
    assert told(calls, "z" * length) == []
    assert told(calls, "b" * length) == [second]
    assert told(calls, "c" * length) == [third]


_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, Guard, Journal, SessionState)


def reachable(start: object) -> dict[int, object]:
    """Return every object that *start* keeps in memory, and that no guard or session does."""
    found: dict[int, object] = {}
    waiting = [start]
    while waiting:
        each = waiting.pop()
        if id(each) not in found and not isinstance(each, _SHARED):
            found[id(each)] = each
            waiting.extend(gc.get_referents(each))
    return found


@pytest.mark.parametrize("tool", ["weather", "declared"])
def test_a_call_that_waits_for_its_result_holds_what_its_outcome_needs(tool: str) -> None:
    """Its arguments and its tool are not held for an hour."""
    settings = Settings().override(policy={"input": "raw"})
    guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings)
    guard.declare("declared", schema={"type": "object", "additionalProperties": True})
    calls = OpenCalls()
    note = "n" * 60
    with guard.session("alice"):
        for key in ("a", "b", "c"):
            before = reachable(calls)
            arguments = {"notes": [note + key] * 4, "card": "4111111111111111"}
            calls.add(OWNER, key, guard.admit(tool, arguments))
    now = reachable(calls)
    assert not [each for each in now.values() if isinstance(each, str) and note in each]
    assert sum(sys.getsizeof(each) for place, each in now.items() if place not in before) < 1_700
    for key in ("a", "b", "c"):
        for admission in told(calls, key):
            admission.settle("returned", result="sun")
    outcomes = [each for each in ledger.records if each["type"] == "call.outcome"]
    assert [each["status"] for each in outcomes] == ["returned"] * 3
    assert all(each["result"]["token"] for each in outcomes)
