"""Sessions are listed, found and shown as they were recorded."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.log import fields
from guardrail.core.types import Cause, Effect, Status
from guardrail.review.records import NotFoundError, SessionKey
from guardrail.review.sessions import (
    RecordRef,
    SessionRef,
    find,
    last_call,
    list_sessions,
    timeline,
    who,
    with_outcome,
)
from tests.support.records import LOG, STEADY, WHERE, MemoryRecords, decision, outcome, rejected


@pytest.fixture
def records() -> MemoryRecords:
    """Two sessions of two people, with every way in which a call can go."""
    log = MemoryRecords()
    log.call("read_file", {"path": "/etc/hosts"})
    log.call("send_email", {"to": "eve@evil.example"}, effect=Effect.DENY)
    log.call("slow", {}, status=None)
    log.call("pay", {}, effect=Effect.REQUIRE_APPROVAL)
    log.call("search", {}, session="T-2", principal="bob@example.com", tenant="other")
    log.call("crash", {}, status=Status.UNKNOWN)
    log.call("fail", {}, status=Status.ERROR, error={"class": "ValueError", "message": "no"})
    log.add(rejected())
    return log


def test_sessions_are_listed_oldest_first_with_their_numbers(records: MemoryRecords) -> None:
    """Each way in which a call can go is counted as itself."""
    first, second = list_sessions(records)
    assert (first.key.id, second.key.id) == ("S-1", "T-2")
    assert (first.calls, first.allowed, first.denied, first.approvals) == (7, 4, 1, 1)
    assert (first.errors, first.unknown, first.open, first.rejected) == (1, 1, 1, 1)
    assert (second.calls, second.denied, second.open) == (1, 0, 0)


def test_the_same_id_of_two_principals_is_two_sessions() -> None:
    """An id belongs to one tenant, principal and agent."""
    records = MemoryRecords()
    records.call()
    records.call(principal="bob@example.com")
    assert len(list_sessions(records)) == 2
    with pytest.raises(NotFoundError, match="is ambiguous") as caught:
        find(records, "S-1")
    assert "bob@example.com" in caught.value.message


def test_an_outcome_of_another_call_is_not_joined() -> None:
    """decision_seq alone does not make an outcome belong to a call: its call id must agree."""
    records = MemoryRecords()
    seq = records.call(status=None)
    records.add(outcome(decision(call="X" * 26), seq))
    assert timeline(records, list_sessions(records)[0].key).calls[0].open
    assert list_sessions(records)[0].open == 1


def test_an_outcome_of_another_decision_is_not_joined() -> None:
    """Nor does the call id alone: the outcome names the decision that it is about."""
    records = MemoryRecords()
    made = decision()
    seq = records.add(made)
    records.add(outcome(made, seq + 7))
    assert with_outcome(records, seq).open


def test_a_timeline_holds_no_call_of_another_principal() -> None:
    """Where two people used the same session id, each sees only his own calls."""
    records = MemoryRecords()
    records.call("mine")
    records.call("theirs", principal="bob@example.com")
    session = timeline(records, list_sessions(records)[0].key)
    assert [call.tool for call in session.calls] == ["mine"]


def test_a_claim_after_unknown_is_kept_beside_the_outcome() -> None:
    """What the other side says later does not replace what was recorded."""
    records = MemoryRecords()
    made = decision()
    seq = records.add(made)
    records.add(outcome(made, seq, Status.UNKNOWN))
    records.add({**outcome(made, seq, Status.OK), "type": "call.claim"})
    call = with_outcome(records, seq)
    assert call.outcome is not None
    assert call.outcome.status == "unknown"
    assert [claim.status for claim in call.claims] == ["ok"]


def test_a_timeline_joins_each_call_with_its_outcome_in_order(records: MemoryRecords) -> None:
    """One row per call, oldest first."""
    session = timeline(records, SessionKey("acme", "alice@example.com", "support-bot", "S-1"))
    ended = [(call.tool, call.outcome.status if call.outcome else None) for call in session.calls]
    assert ended == [
        ("read_file", "ok"),
        ("send_email", None),
        ("slow", None),
        ("pay", None),
        ("crash", "unknown"),
        ("fail", "error"),
        ("no_such_tool", None),
    ]
    assert [call.open for call in session.calls] == [False, False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("3", RecordRef(3)),
        ("0", RecordRef(0)),
        ("S-1", "S-1"),
        ("T", "T-2"),
        ("last", "S-1"),
        ("session:T-2", "T-2"),
    ],
)
def test_an_id_is_a_number_last_or_a_unique_beginning(
    records: MemoryRecords, ref: str, expected: object
) -> None:
    """What is typed on the command line finds what it names."""
    found = find(records, ref)
    assert (found.key.id if isinstance(found, SessionRef) else found) == expected


def test_a_call_id_leads_to_its_decision(records: MemoryRecords) -> None:
    """The beginning of a call id is enough while it is unique, in either case."""
    call = with_outcome(records, 1)
    assert find(records, call.call) == RecordRef(1)
    assert find(records, call.call.lower()) == RecordRef(1)


@pytest.mark.parametrize("ref", ["99", "9" * 5000, "nobody", "session:", "", "²", "\u202e"])
def test_what_is_not_there_is_said_with_the_next_command(records: MemoryRecords, ref: str) -> None:
    """No id crashes, and none finds something by accident."""
    with pytest.raises(NotFoundError) as caught:
        find(records, ref)
    assert caught.value.hint.startswith("guardrail sessions") or "specify more" in caught.value.hint
    assert len(caught.value.message) < 800


def test_an_exact_id_wins_over_a_longer_one() -> None:
    """S-1 is not ambiguous because S-10 exists."""
    records = MemoryRecords()
    records.call(session="S-10")
    records.call(session="S-1")
    found = find(records, "S-1")
    assert isinstance(found, SessionRef)
    assert found.key.id == "S-1"


def test_a_session_whose_id_is_a_number_is_reached_by_its_prefix() -> None:
    """A number alone always means a record."""
    records = MemoryRecords()
    records.call(session="1")
    assert find(records, "1") == RecordRef(1)
    assert isinstance(find(records, "session:1"), SessionRef)


def test_an_empty_ledger_says_that_nothing_was_called() -> None:
    """No call: an honest answer with a next step."""
    records = MemoryRecords()
    assert list_sessions(records) == []
    with pytest.raises(NotFoundError, match="no calls are recorded"):
        last_call(records)


def test_identities_say_how_far_they_can_be_believed(records: MemoryRecords) -> None:
    """Asserted is never shown as verified."""
    header = timeline(records, list_sessions(records)[0].key).header
    assert who(header, "principal") == "alice@example.com (asserted by context)"
    assert who({}, "principal") == "nobody (absent)"


def test_a_decision_of_a_later_kind_is_counted_and_not_as_allowed() -> None:
    """An effect that this version does not know is still a call."""
    records = MemoryRecords()
    made = decision(effect=Effect.DENY, cause=Cause.POLICY)
    made["decision"]["effect"] = "quarantine"
    records.add(made)
    row = list_sessions(records)[0]
    assert (row.calls, row.allowed, row.denied) == (1, 0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@STEADY
@given(
    st.dictionaries(
        st.sampled_from(sorted({*decision(), *outcome(decision(), 1)} - {"v", "log", "type"})), JSON
    )
)
def test_no_record_can_break_a_list_or_a_timeline(changes: dict[str, object]) -> None:
    """Fields of any type read as absent."""
    records = MemoryRecords()
    made = decision()
    seq = records.add({**made, **changes})
    records.add({**outcome(made, seq), **changes})
    for row in list_sessions(records):
        # A session whose id is no text is listed, and has no name to ask for it by.
        with contextlib.suppress(NotFoundError):
            timeline(records, row.key)


def test_calls_beyond_the_limit_of_a_principal_are_no_session() -> None:
    """Their record counts calls and names no session; whoever lists sessions is told its number."""
    records = MemoryRecords()
    records.add(decision("read_file", {}))
    seq = records.add(
        fields.throttled(
            LOG,
            tenant="default",
            principal=None,
            where=WHERE,
            since="2026-11-24T09:00:00.000000Z",
            limit={"calls_per_minute": 5},
            count=7,
            tools={},
            begun=1,
        )
    )
    throttled: list[int] = []
    (row,) = list_sessions(records, throttled=throttled)
    assert (row.calls, row.last_seq) == (1, 1)
    assert throttled == [seq]
    assert list_sessions(records) == [row]
