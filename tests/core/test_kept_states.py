"""The counts of deleted records are repeated, and restored."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from guardrail.core import kept_states, session_state
from guardrail.core.kept_states import KEPT_STATES, KeptStates, kept_details
from guardrail.core.session_state import CallStates
from tests.core.test_session_state import AGENT, PRINCIPAL, SESSION, after, decision, outcome

RECORDS = [
    decision(1, amounts={"/amount": 0.1}),
    decision(2, effect="deny", tool={"name": "mail"}),
    decision(3, session="s2", amounts={"/amount": 0.2}),
    outcome(4, "C1"),
    decision(5),
    outcome(6, "C3"),
    outcome(7, "C5"),
]


def details(before: int, states: CallStates | None = None) -> list[dict[str, Any]]:
    """Return the details of the records that repeat the states after the records below
    *before*.
    """
    early = after(*(each for each in RECORDS if each["seq"] < before))
    return list(kept_details(states or early, before, KeptStates(), {SESSION}))


def kept(seq: int, given: list[dict[str, Any]]) -> KeptStates:
    """Return the states in records from *seq* on."""
    found = KeptStates()
    for number, each in enumerate(given, seq):
        found.take({"type": KEPT_STATES, "seq": number, "detail": each})
    return found


def counts(states: CallStates) -> list[Any]:
    """Return the states without the recent calls."""
    made = []
    for key in (SESSION, PRINCIPAL, AGENT):
        document: Any = dict(states.document([key], recent=False))
        tools = document.pop("by_tool").items()
        made.append((document, {name: {**c, "recent_complete": 0} for name, c in tools}))
    return made


@pytest.mark.parametrize(("before", "begin"), [*itertools.product(range(1, 9), repeat=2)])
def test_restored_states_continue_where_the_records_begin(before: int, begin: int) -> None:
    """If deletion was interrupted, records remain that the restored states already include."""
    states = CallStates()
    kept(8, details(before)).restore(states)
    for record in RECORDS:
        if record["seq"] >= min(begin, before):
            states.take(record)
    states.restored()
    assert counts(states) == counts(after(*RECORDS))
    states.take(decision(20))
    assert counts(states) == counts(after(*RECORDS, decision(20)))


def test_restored_tools_lack_recent_calls() -> None:
    states = CallStates()
    kept(8, details(8)).restore(states)
    document: Any = states.document([PRINCIPAL])
    assert document["recent"] == []
    assert not document["recent_complete"]
    assert not document["by_tool"]["pay"]["recent_complete"]
    assert document["by_tool"]["mail"]["recent_complete"]  # no admitted call is missing


def test_packed_states_are_repeated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_state, "MOST_UNPACKED", 1)
    (found,) = details(8)
    assert len(found["states"]) == 3


def test_the_states_are_split_into_records_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_states, "MOST_BYTES", 600)
    monkeypatch.setattr(kept_states, "MOST_TOOL_BYTES", 300)
    full = after(*(decision(seq, tool={"name": f"tool{seq}"}) for seq in range(1, 20)))
    found = details(20, full)
    assert len(found) > 10
    states = CallStates()
    kept(20, found).restore(states)
    assert counts(states) == counts(full)
    states = CallStates()
    kept(20, found[:-1]).restore(states)  # the process was killed: the last subject is left out
    assert len(states) == 2


def test_a_state_is_left_out_if_a_record_that_remains_has_it() -> None:
    states = after(*RECORDS)
    earlier = kept(8, details(8))
    assert list(kept_details(states, 8, earlier, {SESSION})) == []
    (again,) = kept_details(states, 9, earlier, {SESSION})  # record 8 is to be deleted
    assert len(again["states"]) == 3
    states.take(decision(9, agent={"id": "other"}))
    (again,) = kept_details(states, 8, earlier, ())
    assert [each["subject"][0] for each in again["states"]] == ["principal_state", "agent_state"]


def test_the_newest_state_of_a_subject_counts() -> None:
    found = kept(8, [*details(3), *details(8)])
    states = CallStates()
    found.restore(states)
    assert states.document([PRINCIPAL])["calls"] == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"before": "x"},
        {"before": 8, "states": 5},
        {"before": 8, "states": [{"subject": ["agent_state"], "part": 0}]},
        {"before": 8, "states": [{"subject": ["agent_state"], "part": 1, "of": 0, "tools": []}]},
        {"before": 8, "states": [{"subject": ["agent_state"], "part": 0, "of": 0, "tools": []}]},
    ],
)
def test_a_malformed_state_counts_for_nothing(wrong: dict[str, Any]) -> None:
    states = CallStates()
    kept(8, [wrong]).restore(states)
    assert len(states) == 0
