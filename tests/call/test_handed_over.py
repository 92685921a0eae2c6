"""A call that the program has received keeps only the data that its outcome record needs."""

from __future__ import annotations

import pytest

from guardrail import CallContext
from guardrail.call.drivers import drive
from guardrail.call.options import CallOptions
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import OPEN

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWN = {"call", "decision_seq", "prev", "seq", "ts"}
"""What the outcomes of two equal calls differ in."""


@pytest.mark.parametrize("trace", [None, TRACE])
@pytest.mark.parametrize("log_output", [False, True])
def test_the_outcome_is_as_of_a_call_that_keeps_its_arguments(
    trace: str | None, log_output: bool
) -> None:
    """And a call can be handed over twice."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("send", schema=OPEN, log_output=log_output)
    context = None if trace is None else CallContext(trace=trace)
    with guard, guard.session(principal="alice", agent="bot"):
        for handed_over in (False, True):
            admission = guard.admit("send", {"to": "bob"}, context=context)
            assert dict(admission.arguments) == {"to": "bob"}
            if handed_over:
                admission.hand_over()
                admission.hand_over()
                assert dict(admission.arguments) == {}
            admission.settle(result={"sent": 1}, seconds=0.5)
    kept, forgotten = ledger.of("call.outcome")
    assert kept.keys() == forgotten.keys()
    assert {name for name in kept if kept[name] != forgotten[name]} == OWN


def test_a_conversation_is_recorded_by_its_id_or_a_token() -> None:
    """A long id is not searched for secrets, so the record shows a token instead of it."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    found = guard.declare("send", schema=OPEN)
    with guard, guard.session(principal="alice", agent="bot"):
        for thread in ("t-1", "t" * 513):
            drive(guard.calls.steps(found, {}, CallOptions(thread=thread)))
    short, long = (record["origin"] for record in ledger.of("call.decision"))
    assert short["thread"] == "t-1"
    assert long["thread"].startswith("gr1:call:")


def test_the_current_session_is_the_one_in_which_code_can_make_calls() -> None:
    """Outside every session there is none."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    with guard:
        assert guard.calls.callers.current() is None
        with guard.session(principal="alice", agent="bot") as scope:
            assert guard.calls.callers.current() is scope
        assert guard.calls.callers.current() is None
