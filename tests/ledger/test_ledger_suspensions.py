"""Suspensions are proved before a decision depends on them, and outlive the records around them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import dumps, leaf_hash
from guardrail.core.log.suspensions import NO_SUSPENSION
from guardrail.errors import Denied, LedgerError, LedgerSealedError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.ledger import suspending
from guardrail.ledger.maintenance.recover import recover
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.suspensions import needed_from, read_suspensions
from guardrail.review.suspensions import has_called, running_calls, unproved_suspensions
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.wiring.suspending import subject_of
from tests.support.guards import Body, guarded, lines, records, settings
from tests.support.suspensions import FUTURE, PAST, responder


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A ledger in which one of two suspensions is in force, and some calls were made since."""
    with guarded(tmp_path) as guard, responder(tmp_path) as person:
        person.suspend("tool:send")
        person.suspend("agent:bot", until=FUTURE)
        person.resume("tool:send")
        with guard.session(principal="alice", agent="other"):
            for _ in range(3):
                guard.call("pay", {}, run=Body())
    return tmp_path / "audit.db"


def change(db: Path, sql: str, *values: object) -> None:
    """Change the file as someone without keys, also where triggers forbid it."""
    connection = sqlite3.connect(db)
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall()
    with connection:
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(sql, values)
        for _, made in triggers:
            connection.execute(made)
    connection.close()


def mac(db: Path) -> bytes:
    connection = sqlite3.connect(db)
    (found,) = connection.execute("SELECT mac FROM head").fetchone()
    connection.close()
    return found


def denied(folder: Path, agent: str = "bot") -> bool:
    """Return True if a new guard denies a call of *agent*."""
    with guarded(folder) as guard:
        try:
            with guard.session(principal="alice", agent=agent):
                guard.call("pay", {}, run=Body())
        except Denied as error:
            return error.code == "denied.suspended"
    return False


@pytest.mark.parametrize(
    "forge",
    [
        lambda mac: mac[:32],
        lambda mac: mac[:32] + (int.from_bytes(mac[32:], "big") - 1).to_bytes(8, "big"),
        lambda mac: mac[:32] + (1).to_bytes(8, "big"),
        lambda mac: mac[:32] + bytes(8),
        lambda mac: mac + b"\0",
    ],
)
def test_a_head_that_names_another_state_stops_every_call(db: Path, forge: object) -> None:
    """Removed, moved to an earlier record, or malformed: no guard decides a call."""
    change(db, "UPDATE head SET mac = ?", forge(mac(db)))  # type: ignore[operator]
    with pytest.raises(LedgerSealedError):
        denied(db.parent)


def test_verify_compares_the_head_with_the_records(db: Path) -> None:
    assert verify_ledger(db).state is VerifyState.NOT_ANCHORED
    change(db, "UPDATE head SET mac = ?", mac(db)[:32])
    report = verify_ledger(db)
    assert report.state is VerifyState.TAMPERED
    assert report.differs == "suspension"
    assert verify_ledger(db, since=8).differs is None  # the record is not read
    change(db, "UPDATE head SET mac = ?", mac(db) + (9).to_bytes(8, "big"))
    assert verify_ledger(db, since=8).differs == "suspension"


def test_the_head_leads_to_no_other_record(db: Path) -> None:
    """A record that is not about a suspension, one that was changed, and one that is missing."""
    with LedgerReader.open(db) as reader:
        head = reader.storage.head()
        assert head is not None
        edge = Edge.decode(head.size, head.edge)
        for wrong in (0, head.size - 1, head.size):
            with pytest.raises(LedgerError) as found:
                read_suspensions(reader.storage, edge, wrong)
            assert found.value.code == "ledger.unproved"
        state = read_suspensions(reader.storage, edge, head.suspended)
        assert [each.subject.name for each in state.in_force] == ["agent:bot"]
        assert needed_from(reader.storage, edge, head.suspended) == state.first
        assert needed_from(reader.storage, edge, NO_SUSPENSION) is None
        assert len(read_suspensions(reader.storage, edge, NO_SUSPENSION)) == 0
        assert len(unproved_suspensions(reader)) == 1
        first = state.in_force[0].seq
    line = next(row for row in records(db) if row["seq"] == first)
    line["detail"]["subject"]["id"] = "nobody"
    text = json.dumps(line, sort_keys=True, separators=(",", ":"))
    change(db, "UPDATE record SET line = ? WHERE seq = ?", text, first)
    with LedgerReader.open(db) as reader, pytest.raises(LedgerError) as found:
        read_suspensions(reader.storage, edge, head.suspended)
    assert found.value.code == "ledger.unproved"


def test_a_changed_record_seals_the_ledger_before_a_call_runs(tmp_path: Path) -> None:
    """The record lies before those that are verified when a guard opens the ledger."""
    with guarded(tmp_path) as guard, responder(tmp_path) as person:
        person.suspend("agent:bot")
        with guard.session(principal="alice", agent="other"):
            for _ in range(60):
                guard.call("pay", {}, run=Body())
    db = tmp_path / "audit.db"
    (line,) = records(db, "admin.suspended")
    line["detail"]["subject"]["id"] = "nobody"
    text = json.dumps(line, sort_keys=True, separators=(",", ":"))
    change(db, "UPDATE record SET line = ? WHERE seq = ?", text, line["seq"])
    with pytest.raises(LedgerError):
        denied(tmp_path)
    assert "nobody" in text
    assert [each["call"] for each in records(db, "call.decision")[60:]] == []


def test_a_recovered_ledger_obeys_its_suspensions(db: Path) -> None:
    """Continued under a new head, and begun again in a new log."""
    change(db, "UPDATE head SET mac = ?", mac(db)[:32])
    signing = Keys.load(settings(db.parent).key_path).signing(actor={"id": "carol"}, epochs=False)
    who = {"id": "carol", "assurance": "asserted", "method": "os_user"}
    recover(db, who=who, reason="x", signing=signing, verify=verify_signature)
    assert denied(db.parent)
    assert not denied(db.parent, "other")
    assert verify_ledger(db).differs is None
    change(db, "UPDATE record SET line = 'x' WHERE seq = ?", len(records_of(db)) - 1)
    done = recover(db, who=who, reason="x", signing=signing, verify=verify_signature)
    assert done.log.endswith("~2")
    assert denied(db.parent)
    (made,) = records(db, "admin.suspended")
    assert made["detail"]["begun"]["actor"]["id"]
    assert verify_ledger(db).differs is None


def test_a_resumption_that_no_key_holder_signed_does_not_survive_recovery(db: Path) -> None:
    """Someone without keys ends the suspension in a line of their own, and the ledger seals."""
    with responder(db.parent) as person:
        state = person.state()
    last = records(db)[-1]
    forged = {
        **records(db, "admin.resumed")[0],
        "seq": last["seq"] + 1,
        "prev": leaf_hash(lines(db)[-1]).hex(),
        "detail": {
            "subject": state.in_force[0].subject.document,
            "reason": None,
            "suspension": state.in_force[0].seq,
            "previous": {"seq": state.version, "leaf": state.leaf},
            "first": None,
        },
    }
    line = dumps(forged)
    change(
        db,
        "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)",
        forged["seq"],
        leaf_hash(line),
        line.decode(),
    )
    signing = Keys.load(settings(db.parent).key_path).signing(actor={"id": "carol"}, epochs=False)
    recover(db, who={"id": "carol"}, reason="x", signing=signing, verify=verify_signature)
    assert denied(db.parent)
    with responder(db.parent) as person:
        assert person.state().in_force[0].begun == state.in_force[0].begun
    assert verify_ledger(db).differs is None


def records_of(db: Path) -> list[int]:
    connection = sqlite3.connect(db)
    found = [row[0] for row in connection.execute("SELECT seq FROM record")]
    connection.close()
    return found


def test_suspensions_leave_the_records_that_are_to_be_deleted(db: Path) -> None:
    """A suspension is repeated with its beginning, and an expired one is ended."""
    with responder(db.parent) as person:
        begun = person.state().in_force[0].begun
        person.suspend("tool:old", until=PAST, now=lambda: PAST[:3] + "0" + PAST[4:])
        size = len(records_of(db))
        assert person.suspender.move_from(size, FUTURE[:3] + "8" + FUTURE[4:]) == 2
        (kept,) = person.state().in_force
        assert (kept.begun, kept.subject.name) == (begun, "agent:bot")
        assert kept.seq >= size
        assert person.suspender.move_from(size, PAST) == 0
    assert denied(db.parent)
    assert verify_ledger(db).differs is None


def test_a_suspension_is_never_shortened(tmp_path: Path) -> None:
    early = "2998-01-01T00:00:00.000000Z"
    with guarded(tmp_path), responder(tmp_path) as person:
        first = person.suspend("agent:bot", until=early)
        assert person.suspend("agent:bot", until=early).receipt is None
        assert person.suspend("agent:BOT", until=PAST).receipt is None
        longer = person.suspend("agent:bot", until=FUTURE)
        assert longer.earlier is not None
        assert longer.earlier.seq == first.receipt.seq  # type: ignore[union-attr]
        assert person.suspend("agent:bot").receipt is not None
        assert person.suspend("agent:bot", until=FUTURE).receipt is None
        assert [each.until for each in person.state().in_force] == [None]
        with pytest.raises(LedgerError) as error:
            person.resume("agent:other")
        assert error.value.code == suspending.NOT_SUSPENDED


def test_the_number_of_suspensions_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspending, "MOST_SUSPENSIONS", 2)
    with guarded(tmp_path), responder(tmp_path) as person:
        person.suspend("agent:a")
        person.suspend("agent:b")
        with pytest.raises(LedgerError) as error:
            person.suspend("agent:c")
        assert error.value.code == "suspension.limit"
        person.suspend("agent:b", until=None)
        person.resume("agent:a")
        person.suspend("agent:c")


def test_a_change_that_others_keep_overtaking_is_given_up(tmp_path: Path) -> None:
    with guarded(tmp_path), responder(tmp_path) as person:
        person.suspend("agent:a")
        old = person.state()
        person.suspend("agent:b")
        person.read = lambda _: old
        for attempt in (
            lambda: person.suspend("agent:c"),
            lambda: person.resume("agent:a"),
            lambda: person.suspender.move_from(1000, PAST),
        ):
            with pytest.raises(LedgerError) as error:
                attempt()
            assert error.value.code == "ledger.suspensions_changed"


def test_the_calls_of_a_subject_are_found(db: Path) -> None:
    counts: list[tuple[int, bool]] = []

    def body() -> None:
        with LedgerReader.open(db) as reader:
            for name in ("all", "agent:other", "principal:ALICE", "tool:pay", "tool:none"):
                subject = subject_of(name)
                counts.append((running_calls(reader, subject), has_called(reader, subject)))

    with guarded(db.parent) as guard, guard.session(principal="alice", agent="other"):
        guard.call("pay", {}, run=body)
    assert counts == [(1, True), (1, True), (1, False), (1, True), (0, False)]
