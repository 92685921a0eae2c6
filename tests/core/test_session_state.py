"""The states of sessions, principals and agents follow from the records alone."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core import call_tally, session_state
from guardrail.core.call_tally import EMPTY, MOST_RECENT
from guardrail.core.joined_states import joined
from guardrail.core.log.record import JsonText, dumps
from guardrail.core.session_state import CallStates
from guardrail.core.state_changes import caller_keys
from guardrail.core.state_reads import StateText
from guardrail.errors import RecordError


def decision(seq: int, **changes: Any) -> dict[str, Any]:
    """Return the decoded record of a decision."""
    effect = changes.pop("effect", "allow")
    record: dict[str, Any] = {
        "type": "call.decision",
        "seq": seq,
        "ts": f"2026-01-01T00:00:00.{seq:06d}Z",
        "call": f"C{seq}",
        "session": "s1",
        "tenant": "default",
        "principal": {"id": "alice", "type": "user", "issuer": None},
        "agent": {"id": "bot"},
        "tool": {"name": "pay"},
        "target": [],
        "decision": {"effect": effect, "rules": [{"rule": "r1"}], "labels": []},
        "input": {"resource": {"properties": {"labels": []}}},
    }
    record.update(changes)
    return record


def outcome(seq: int, call: str, status: str = "ok") -> dict[str, Any]:
    """Return the decoded record of an outcome."""
    return {"type": "call.outcome", "seq": seq, "call": call, "status": status}


def after(*records: dict[str, Any]) -> CallStates:
    states = CallStates()
    for record in records:
        states.take(record)
    return states


SESSION, PRINCIPAL, AGENT = caller_keys(decision(0))


def test_the_state_before_the_first_call_has_every_key() -> None:
    states = CallStates()
    assert states.document([SESSION]) == EMPTY
    assert states.version([SESSION]) == (-1, -1)
    assert set(EMPTY) == {
        "calls",
        "denied",
        "in_flight",
        "since",
        "by_tool",
        "labels",
        "recent",
        "recent_complete",
    }


def test_an_admitted_call_is_in_flight_until_its_outcome() -> None:
    states = after(decision(1))
    assert states.document([SESSION])["in_flight"] == 1
    states.take(outcome(2, "C1", "error"))
    document = states.document([SESSION])
    assert (document["calls"], document["in_flight"]) == (1, 0)
    assert states.document([SESSION]) is document  # shared until the state changes
    assert document["recent"][0]["outcome"] == "error"  # type: ignore[index,call-overload]
    assert states.version([SESSION]) == (2, 2)


def test_a_new_session_does_not_reset_the_state_of_the_principal_or_the_agent() -> None:
    other = decision(2, session="s2")
    states = after(decision(1), other)
    assert states.document([caller_keys(other)[0]])["calls"] == 1
    assert states.document([PRINCIPAL])["calls"] == 2
    assert states.document([AGENT])["calls"] == 2


def test_another_spelling_of_an_id_is_the_same_principal() -> None:
    states = after(decision(1), decision(2, principal={"id": "ALICE ", "issuer": None}))
    assert states.document([PRINCIPAL])["calls"] == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"principal": {"id": "bob", "issuer": None}},
        {"principal": {"id": "alice", "issuer": "corp"}},
    ],
)
def test_another_principal_has_its_own_state(changes: dict[str, Any]) -> None:
    states = after(decision(1), decision(2, **changes))
    assert states.document([PRINCIPAL])["calls"] == 1


def test_denied_calls_are_counted_apart_and_add_no_labels() -> None:
    denied = decision(2, effect="deny")
    denied["decision"]["labels"] = ["untrusted"]
    states = after(decision(1), denied, decision(3, effect="require_approval"))
    document = states.document([SESSION])
    assert (document["calls"], document["denied"], document["labels"]) == (1, 1, [])
    assert states.version([SESSION]) == (1, 3)


def test_labels_come_from_the_policy_and_from_the_tool() -> None:
    record = decision(1, input={"resource": {"properties": {"labels": ["web"]}}})
    record["decision"]["labels"] = ["untrusted"]
    states = after(record)
    assert states.document([SESSION])["labels"] == ["untrusted", "web"]


def test_too_many_labels_become_a_star() -> None:
    records = [decision(seq) for seq in range(80)]
    for record in records:
        record["decision"]["labels"] = [f"label{record['seq']}"]
    labels = after(*records).document([SESSION])["labels"]
    assert isinstance(labels, list)
    assert len(labels) == 65
    assert "*" in labels


def test_amounts_are_summed_exactly_for_each_tool() -> None:
    states = after(
        decision(1, amounts={"/amount": 0.1}),
        decision(2, amounts={"/amount": 0.2}),
        decision(3, tool={"name": "refund"}, amounts={"/amount": 7}),
    )
    tools: Any = states.document([SESSION])["by_tool"]
    assert tools["pay"]["amounts"] == {"/amount": 0.3}
    assert tools["refund"]["amounts"] == {"/amount": 7}


def test_frequent_calls_of_one_tool_do_not_hide_those_of_another() -> None:
    states = after(decision(0, tool={"name": "refund"}), *map(decision, range(1, 100)))
    document: Any = states.document([SESSION])
    assert len(document["recent"]) == MOST_RECENT
    assert document["recent"][0]["tool"] == "refund"
    assert not document["recent_complete"]
    assert document["by_tool"]["refund"]["recent_complete"]
    assert not document["by_tool"]["pay"]["recent_complete"]


def test_denied_calls_never_push_admitted_ones_out_of_the_recent_calls() -> None:
    states = after(decision(0), *(decision(seq, effect="deny") for seq in range(1, 100)))
    document: Any = states.document([SESSION])
    assert document["recent"][0]["effect"] == "allow"
    assert document["recent_complete"]


def test_tools_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_tally, "MOST_TOOLS", 64)
    states = after(*(decision(seq, tool={"name": f"tool{seq}"}) for seq in range(70)))
    states.take(outcome(70, "C69"))
    tools: Any = states.document([SESSION])["by_tool"]
    assert len(tools) == 65
    assert (tools["*"]["calls"], tools["*"]["in_flight"]) == (6, 5)


def test_made_up_tools_do_not_displace_those_that_are_used() -> None:
    made_up = [decision(seq, effect="deny", tool={"name": f"tool{seq}"}) for seq in range(600)]
    states = after(*made_up, decision(600))
    tools: Any = states.document([SESSION])["by_tool"]
    assert len(tools) == 18
    assert tools["pay"]["calls"] == 1
    assert tools["*"]["denied"] == 584


def test_a_long_target_is_replaced_by_its_hash() -> None:
    states = after(decision(1, target=["x" * 201, "short", 5, ["a", "b"]]))
    recent: Any = states.document([SESSION])["recent"]
    assert recent[0]["target"][0].startswith("sha256:")
    assert recent[0]["target"][1:3] == ["short", 5]
    assert recent[0]["target"][3].startswith("sha256:")


def test_records_of_other_types_change_nothing() -> None:
    states = after(decision(1), {"type": "admin.start", "seq": 2})
    assert states.version([SESSION]) == (1, 1)


def test_the_outcome_of_a_call_that_is_no_longer_recent_ends_it() -> None:
    states = after(*map(decision, range(60)), outcome(60, "C0"))
    assert states.document([SESSION])["in_flight"] == 59


def test_a_malformed_record_counts_for_nothing() -> None:
    states = after(decision(1), {"type": "call.decision"}, outcome(3, "unknown"))
    assert states.document([SESSION])["calls"] == 1


def test_the_calls_of_one_subject_under_two_names_are_one_state() -> None:
    hidden = decision(2, effect="deny", session="gr1:session", amounts={"/amount": 1})
    first = decision(1, amounts={"/amount": 2})
    states = after(first, hidden, decision(3, session="gr1:session", amounts={"/amount": 3}))
    both = [SESSION, caller_keys(hidden)[0]]
    document: Any = states.document(both)
    assert (document["calls"], document["denied"]) == (2, 1)
    assert document["by_tool"]["pay"]["amounts"] == {"/amount": 5}
    assert [entry["effect"] for entry in document["recent"]] == ["allow", "deny", "allow"]
    assert states.version(both) == (3, 3)


def test_joined_states_do_not_claim_to_be_complete_if_calls_are_left_out() -> None:
    one = after(*(decision(seq) for seq in range(30))).document([SESSION])
    document: Any = joined([one, one])
    assert len(document["recent"]) == MOST_RECENT
    assert not document["recent_complete"]
    assert not document["by_tool"]["pay"]["recent_complete"]


def test_idle_states_are_packed_and_the_least_recent_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_state, "MOST_UNPACKED", 4)
    monkeypatch.setattr(session_state, "MOST_SUBJECTS", 12)
    states = CallStates()
    for seq in range(20):
        states.take(decision(seq, session=f"s{seq}", amounts={"/amount": 0.1}))
    assert len(states) == 4 + 12
    gone = [caller_keys(decision(0, session="s0"))[0]]
    assert states.is_displaced(gone)
    assert not states.is_displaced([PRINCIPAL])
    states.take(decision(30, session="s0"))  # it does not begin again
    assert states.document(gone) == EMPTY
    assert states.is_displaced([PRINCIPAL, *gone])
    tools: Any = states.document([caller_keys(decision(0, session="s12"))[0]])["by_tool"]
    assert tools["pay"]["amounts"] == {"/amount": 0.1}
    assert states.document([PRINCIPAL])["calls"] == 21
    states.take(outcome(20, "C12"))
    states.take(outcome(21, "C0"))  # its session's state was dropped
    assert states.keys_of("C0") == ()
    assert states.keys_of("C13")[1:] == (PRINCIPAL, AGENT)
    assert states.document([PRINCIPAL])["in_flight"] == 19


def test_the_recent_calls_have_a_limit_in_bytes() -> None:
    """Otherwise, the states could leave no room for anything else in a record."""
    long = [decision(seq, target=["x" * 150] * 20) for seq in range(30)]
    states = after(*long, decision(30))
    document: Any = states.document([SESSION])
    assert len(dumps(document["recent"])) < call_tally.MOST_RECENT_BYTES + 1_000
    assert 1 < len(document["recent"]) < 30
    assert document["recent"][-1]["time"] == decision(30)["ts"]
    assert not document["recent_complete"]
    assert not document["by_tool"]["pay"]["recent_complete"]


@pytest.mark.parametrize("recent", [True, False])
def test_the_text_of_a_state_is_the_canonical_form_of_its_document(recent: bool) -> None:
    first = decision(1, amounts={"/a": 0.5}, target=["caf\u00e9", None, 10**30])
    states = after(first, decision(2, tool={"name": "a"}), outcome(3, "C1", 'odd "status"'))
    text = states.text([SESSION], recent=recent)
    assert text.json == dumps(text.document)
    assert text.json_of(b'"s1"') == dumps({**text.document, "id": "s1"})
    again = StateText.of(text.document)
    assert (again.json, again.json_of(b"1")) == (text.json, text.json_of(b"1"))
    assert text.document["calls"] == 2
    assert bool(text.document["recent"]) == recent


def test_a_state_is_part_of_any_document() -> None:
    text = after(decision(1)).text([SESSION])
    shown: Any = {"state": JsonText(text.json), "number": 1}
    assert json.loads(dumps(shown)) == {"state": text.document, "number": 1}
    shown["number"] = 10**30  # more than the fast encoder takes
    assert json.loads(dumps(shown)) == {"state": text.document, "number": 10**30}
    with pytest.raises(RecordError):
        dumps({"number": 10**30, "other": object()})


@pytest.mark.parametrize(
    "changes",
    [
        {"amounts": {"/a": "many"}},
        {"amounts": 5},
        {"target": None},
        {"principal": "alice"},
        {"seq": "1"},
        {"tool": {"name": "\ud800"}, "target": ["\ud800"]},
    ],
)
def test_a_malformed_decision_changes_no_state_in_part(changes: dict[str, Any]) -> None:
    states = after(decision(1), {**decision(2), **changes})
    for key in (SESSION, PRINCIPAL, AGENT):
        assert states.document([key])["calls"] == 1


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["allow", "deny", "require_approval", "end"]),
        st.sampled_from(["pay", "mail"]),
        st.integers(0, 1_000),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(_EVENTS)
def test_the_counts_are_those_of_a_plain_recount(events: list[tuple[str, str, int]]) -> None:
    records: list[dict[str, Any]] = []
    pending: list[str] = []
    for seq, (what, tool, amount) in enumerate(events):
        if what == "end":
            if pending:
                records.append(outcome(seq, pending.pop(0)))
            continue
        records.append(decision(seq, effect=what, tool={"name": tool}, amounts={"/amount": amount}))
        if what == "allow":
            pending.append(f"C{seq}")
    document: Any = after(*records).document([AGENT])
    allowed = [r for r in records if "decision" in r and r["decision"]["effect"] == "allow"]
    assert document["calls"] == len(allowed)
    assert document["in_flight"] == len(pending)
    for tool in ("pay", "mail"):
        total = sum(
            (Decimal(r["amounts"]["/amount"]) for r in allowed if r["tool"]["name"] == tool),
            Decimal(0),
        )
        found = document["by_tool"].get(tool, {"amounts": {}})["amounts"].get("/amount", 0)
        assert found == total


def test_sums_do_not_depend_on_the_settings_of_the_program() -> None:
    with localcontext() as chosen:
        chosen.prec = 2
        states = after(decision(1, amounts={"/a": 1000}), decision(2, amounts={"/a": 0.4}))
        tools: Any = states.document([SESSION])["by_tool"]
    assert tools["pay"]["amounts"] == {"/a": 1000.4}


def test_joined_states_leave_out_calls_that_are_older_than_a_dropped_one() -> None:
    """Otherwise, the oldest call that is left would not show how far the calls are complete."""
    old, other = decision(0), decision(60, session="gr1:x", tool={"name": "mail"})
    many = [decision(seq, session="gr1:x") for seq in range(1, 60)]
    states = after(old, *many, other)
    document: Any = states.document([SESSION, caller_keys(other)[0]])
    assert not document["by_tool"]["pay"]["recent_complete"]
    times = [each["time"] for each in document["recent"] if each["tool"] == "pay"]
    assert times[0] > old["ts"]
    assert len(times) == MOST_RECENT - 1
