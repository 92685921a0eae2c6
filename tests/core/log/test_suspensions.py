"""The suspensions that follow from records, and records that contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.log.suspensions import (
    NO_SUSPENSION,
    CallNames,
    Subject,
    SubjectKind,
    SuspensionLink,
    Suspensions,
    change_of,
    link_of,
)
from guardrail.errors import RecordError

LEAF = "0" * 64
NOW = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-02T00:00:00.000000Z"
ALICE = CallNames(("alice", ""), ("bot",), ("pay",))


def suspended(seq: int, name: str, previous: int | None = None, **more: Any) -> dict[str, Any]:
    """Return the record *seq* that suspends the agent *name*, or all calls."""
    subject = {"kind": "agent", "id": name, "form": "clear"}
    if name == "all":
        subject = {"kind": "all", "id": None, "form": None}
    return {
        "type": "admin.suspended",
        "seq": seq,
        "ts": NOW,
        "actor": {"id": "carol"},
        "detail": {
            "subject": subject,
            "reason": "leaks",
            "until": None,
            "begun": None,
            "replaces": None,
            "previous": None if previous is None else {"seq": previous, "leaf": LEAF},
            "first": None,
            **more,
        },
    }


def resumed(
    seq: int, name: str, ended: int, previous: int | None, first: int | None = None
) -> dict[str, Any]:
    """Return the record *seq* that ends the suspension in record *ended*."""
    detail = suspended(seq, name, previous, first=first)["detail"]
    kept = {key: detail[key] for key in ("subject", "reason", "previous", "first")}
    return {"type": "admin.resumed", "seq": seq, "detail": {**kept, "suspension": ended}}


def after(*records: dict[str, Any], unknown: int = 0) -> Suspensions:
    return Suspensions(unknown=unknown).after(map(change_of, records))


def test_the_state_follows_the_records() -> None:
    state = after(
        suspended(3, "bot"),
        suspended(5, "mail", 3, first=3),
        suspended(7, "BOT", 5, replaces=3, first=5, until=LATER),
        resumed(9, "mail", 5, 7, first=7),
    )
    assert [each.seq for each in state.in_force] == [7]
    assert (state.version, state.first, len(state)) == (9, 7, 1)
    assert state.first_besides(state.in_force[0]) is None
    again = state.after([change_of(resumed(12, "bot", 7, 9))])
    assert (again.version, again.first, len(again)) == (NO_SUSPENSION, None, 0)
    assert len(state) == 1  # a shared state does not change


def test_a_suspension_counts_until_its_end() -> None:
    state = after(suspended(3, "bot", until=LATER))
    found = state.find(ALICE, NOW)
    assert found is not None
    assert found.subject.name == "agent:bot"
    assert state.find(ALICE, LATER) is None
    assert state.find(ALICE._replace(agents=("other",)), NOW) is None
    assert Suspensions().find(ALICE, NOW) is None


def test_everything_is_stopped_by_all() -> None:
    state = after(suspended(3, "all"))
    (found,) = state.in_force
    assert state.find(CallNames((), (), ()), NOW) is found
    assert state.of(Subject(SubjectKind.ALL)) is found
    assert found.subject.name == "all"
    assert found.subject.document == {"kind": "all", "id": None, "form": None}
    assert Subject(SubjectKind.AGENT, "Bot").matches(ALICE)
    assert not Subject(SubjectKind.TOOL, "bot").matches(ALICE)


def test_a_repeated_suspension_keeps_its_beginning() -> None:
    begun = {"seq": 1, "ts": "then", "actor": {"id": "dave"}}
    (found,) = after(suspended(3, "bot", begun=begun)).in_force
    assert (found.seq, found.begun, found.since, found.actor) == (3, 1, "then", "dave")


@pytest.mark.parametrize(
    "records",
    [
        [suspended(3, "a"), suspended(5, "b", first=3)],
        [suspended(3, "a"), suspended(5, "b", 4, first=3)],
        [suspended(3, "a", 1)],
        [suspended(3, "a"), suspended(5, "b", 3)],
        [suspended(3, "a"), suspended(5, "b", 3, first=2)],
        [suspended(3, "a", first=2)],
        [suspended(3, "a"), suspended(5, "A", 3, first=3)],
        [suspended(3, "a", replaces=1)],
        [suspended(3, "a"), resumed(5, "b", 3, 3, first=3)],
        [suspended(3, "a"), resumed(5, "a", 2, 3)],
        [resumed(5, "a", 3, None)],
        [suspended(3, "a"), resumed(5, "a", 3, 3), suspended(6, "b", 5)],
    ],
)
def test_a_record_that_contradicts_the_earlier_ones_is_refused(
    records: list[dict[str, Any]],
) -> None:
    with pytest.raises(RecordError):
        after(*records)


def test_records_that_are_missing_may_be_named() -> None:
    state = after(
        resumed(100, "a", 5, 50, first=7),
        suspended(110, "b", 100, replaces=7, first=60),
        resumed(120, "c", 60, 110, first=110),
        unknown=90,
    )
    assert [each.seq for each in state.in_force] == [110]
    for wrong in (
        resumed(130, "c", 60, 119, first=110),
        resumed(130, "b", 110, 60),
        suspended(130, "d", 120, first=119),
        resumed(130, "d", 119, 120, first=110),
    ):
        with pytest.raises(RecordError):
            state.after([change_of(wrong)])


@pytest.mark.parametrize(
    "change",
    [
        {"seq": -1},
        {"seq": True},
        {"seq": 1 << 63},
        {"ts": None},
        {"actor": {}},
        {"detail": None},
        {"detail": {}},
    ],
)
def test_a_malformed_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="malformed"):
        change_of({**suspended(3, "a"), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"kind": "nobody", "id": "a", "form": "clear"}},
        {"subject": {"kind": "agent", "id": 1, "form": "clear"}},
        {"until": 5},
        {"reason": None},
        {"begun": {}},
        {"replaces": "3"},
        {"previous": {"seq": 3}},
        {"first": 1.0},
    ],
)
def test_a_malformed_detail_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="malformed"):
        change_of(suspended(3, "a", **change))


def test_a_draft_knows_its_place() -> None:
    assert link_of({"type": "admin.start"}) is None
    assert link_of(suspended(3, "a")) == SuspensionLink(NO_SUSPENSION, True)
    assert link_of(resumed(5, "a", 3, 3)) == SuspensionLink(3, False)
    assert link_of(resumed(5, "a", 3, 3, first=4)) == SuspensionLink(3, True)
