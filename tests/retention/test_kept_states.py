"""Calls whose records were deleted still count for policies."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.kept_states import KEPT_STATES
from guardrail.core.log import fields
from guardrail.core.log.record import Draft, decode
from guardrail.core.state_reads import StateKey
from guardrail.errors import LedgerError
from guardrail.ledger.lease import own_origin
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.session_states import FollowedStates
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.ledger.writing.writer import LedgerWriter
from tests.support.ledgers import common
from tests.support.retention import (
    ACTOR,
    LOG,
    SIGNING,
    build,
    cut,
    head,
    intact,
    noted,
    open_manager,
    reopen,
)

PRINCIPAL = ("principal_state", "default", "", "alice")
AGENT = ("agent_state", "default", "bot")
KEYS: dict[str, Sequence[StateKey]] = {
    "principal": [PRINCIPAL],
    "agent": [AGENT],
    "ended": [("session", "default", "ended")],
    "going-on": [("session", "default", "going-on")],
}


def states(db: Path) -> dict[str, Any]:
    """Return the states as a process that starts now reads them, without the recent calls."""
    followed = FollowedStates()
    with LedgerReader.open(db) as reader:
        ProvedReader(reader, Proofs(SIGNING, LOG)).read_states(followed)
    found, versions, _ = followed.read(KEYS, recent=False)
    made = {}
    for (name, text), read in zip(found.items(), versions, strict=True):
        document: Any = dict(text.document)
        counts = document.pop("by_tool")
        tools = {tool: {**each, "recent_complete": None} for tool, each in counts.items()}
        made[name] = {**document, "by_tool": tools, "version": read.version}
    return made


def decided(
    writer: LedgerWriter, call: str, session: str, *, tool: str = "pay", reads: bool = True
) -> int:
    """Write the decision of an admitted call whose policy reads states; return its number."""
    record = common("call.decision", call, writer.process, session)
    record.update(
        tool={"name": tool, "server": None, "schema": None, "declared": True},
        target=[],
        amounts={"/amount": 2.5},
        input={"context": {"session": {"recent_complete": True} if reads else {}}},
        decision={"effect": "allow", "cause": "policy", "rules": [], "labels": ["web"]},
    )
    return writer.append(Draft.build(record, opens=True, process=writer.process)).seq


def ended(writer: LedgerWriter, call: str, seq: int) -> None:
    record = common("call.outcome", call, writer.process)
    writer.append(Draft.build({**record, "decision_seq": seq, "status": "ok", "error": None}))


def called(writer: LedgerWriter, call: str, session: str, **options: Any) -> None:
    ended(writer, call, decided(writer, call, session, **options))


def repeat(db: Path, before: int) -> int:
    """Write the records that pruning writes before it deletes those below *before*."""
    with LedgerReader.open(db) as reader:
        details = ProvedReader(reader, Proofs(SIGNING, LOG)).kept_states(before)
    with reopen(db) as writer:
        for each in details:
            where = own_origin("retention")
            record = fields.admin(LOG, "states_kept", actor=ACTOR, where=where, detail=each)
            writer.append(Draft.build(record))
    return sum(len(each["states"]) for each in details)


def size(db: Path) -> int:
    with LedgerReader.open(db) as reader:
        return reader.size()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A log with a session that has ended and one that goes on."""
    db = tmp_path / "audit.db"
    build(db, 5)
    with reopen(db) as writer:
        called(writer, "C1", "ended")
        called(writer, "C2", "going-on", tool="mail")
        writer.append(noted("later"))
    return db


def test_pruned_calls_still_count(db: Path) -> None:
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    with reopen(db) as writer:
        called(writer, "C3", "going-on")
    kept, before = head(db), states(db)
    assert before["principal"]["calls"] == 3
    with open_manager(db, days=401) as manager:
        assert manager.prune(why=None, given=[kept]).before > 9
    after = states(db)
    assert after["ended"]["calls"] == 0  # nothing of this session is left
    del before["ended"], after["ended"]
    assert after == before
    with reopen(db) as writer:
        called(writer, "C4", "going-on")
    assert states(db)["principal"]["by_tool"]["pay"]["amounts"] == {"/amount": 7.5}
    assert intact(db, kept)


@pytest.mark.parametrize("deleted", [1, 7, 9, 11])
def test_no_call_counts_twice_if_pruning_is_interrupted(db: Path, deleted: int) -> None:
    """The states are repeated first; then the records are deleted, part by part."""
    with reopen(db) as writer:
        called(writer, "C3", "going-on")
    before = states(db)
    repeat(db, 11)
    if deleted > 1:
        cut(db, deleted)
    after = states(db)
    assert after["principal"] == before["principal"]
    assert after["agent"] == before["agent"]
    assert after["going-on"] == before["going-on"]


def test_a_call_that_ends_after_the_deleted_records_is_ended(db: Path) -> None:
    """Its outcome has no caller, so the repeated state names the calls that are open."""
    with reopen(db) as writer:
        seq = decided(writer, "C3", "going-on")
        ended(writer, "C3", seq)
    repeat(db, seq + 1)
    cut(db, seq + 1)
    assert states(db)["principal"]["in_flight"] == 0
    assert states(db)["principal"]["calls"] == 3


def test_a_state_is_repeated_again_only_if_it_has_to_be(db: Path) -> None:
    first = size(db)
    assert repeat(db, first) == 2  # the principal and the agent; both sessions have ended
    assert repeat(db, first) == 0
    cut(db, first)
    expected = states(db)
    assert expected["principal"]["calls"] == 2
    end = size(db)
    assert repeat(db, end) == 2  # now their records are to be deleted
    cut(db, end)
    assert states(db) == expected


def test_nothing_is_repeated_if_no_policy_reads_states(tmp_path: Path) -> None:
    db = tmp_path / "audit.db"
    build(db, 5)
    with reopen(db) as writer:
        called(writer, "C1", "s", reads=False)
    assert repeat(db, size(db)) == 0


def test_a_state_with_many_tools_fits_into_records(db: Path) -> None:
    with reopen(db) as writer:
        for number in range(300):
            called(writer, f"T{number}", "going-on", tool=f"{number:03d}" + "x" * 250)
        writer.append(noted("later"))
    before, end = states(db), size(db)
    assert repeat(db, end) > 4
    cut(db, end)
    assert states(db)["principal"] == before["principal"]


@pytest.mark.parametrize("change", ["UPDATE", "DELETE"])
def test_a_changed_state_is_found(db: Path, change: str) -> None:
    end = size(db)
    repeat(db, end)
    cut(db, end)
    with sqlite3.connect(db) as connection:
        for trigger in ("record_no_update", "record_no_delete"):
            connection.execute(f"DROP TRIGGER {trigger}")
        where = "WHERE line LIKE '%admin.states_kept%'"
        if change == "UPDATE":
            connection.execute(
                f"UPDATE record SET line = replace(line, '\"calls\":1', '\"calls\":0') {where}"
            )
        else:
            connection.execute(f"DELETE FROM record {where}")
    with pytest.raises(LedgerError):
        states(db)


def test_a_state_that_is_shown_only_at_first_is_found(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states are read before they are proved, and compared with the proved lines."""
    end = size(db)
    repeat(db, end)
    cut(db, end)
    real = SQLiteStorage.lines
    shown: list[int] = []

    def lines(self: SQLiteStorage, start: int, stop: int, limit: int) -> Any:
        found = real(self, start, stop, limit)
        if shown:
            return found
        shown.append(start)
        return [(seq, line.replace(b'"calls":1', b'"calls":0')) for seq, line in found]

    monkeypatch.setattr(SQLiteStorage, "lines", lines)
    with pytest.raises(LedgerError) as error:
        states(db)
    assert error.value.code == "ledger.unproved"


def test_a_kept_state_that_is_incomplete_or_malformed_counts_for_nothing(db: Path) -> None:
    end = size(db)
    repeat(db, end)
    with LedgerReader.open(db) as reader:
        (line,) = [
            line
            for _, line in reader.storage.lines(end, end + 9, 9)
            if KEPT_STATES.encode() in line
        ]
    detail = decode(line)["detail"]
    first, second = detail["states"]
    wrong = [
        {"before": end, "states": [{**first, "tools": []}]},
        {"before": end, "states": [{**second, "open": 5}]},
        {"before": end, "states": [{**second, "part": 1}]},
        {"before": "many"},
    ]
    with reopen(db) as writer:
        for each in wrong:
            where = own_origin("retention")
            record = fields.admin(LOG, "states_kept", actor=ACTOR, where=where, detail=each)
            writer.append(Draft.build(record))
    cut(db, end)
    assert [states(db)[name]["calls"] for name in ("principal", "agent")] == [0, 0]
