"""A ledger with calls of every kind, and readers of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guardrail.core.log.record import Draft
from guardrail.core.types import Status
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.index.file import IndexFile
from guardrail.review.index.records import IndexedRecords
from tests.support.command_line import build
from tests.support.records import decision, outcome
from tests.support.retention import cut


@dataclass
class Indexed:
    """A ledger and its index."""

    ledger: Path
    folder: Path
    notes: list[str] = field(default_factory=list)
    """What readers were told."""

    @property
    def file(self) -> IndexFile:
        """The place of the index."""
        return IndexFile(self.folder, self.ledger)

    def read(self, *, file: bool = True) -> IndexedRecords:
        """Open the ledger with the index, or without one."""
        place = self.file if file else None
        return IndexedRecords(LedgerReader.open(self.ledger), place, tell=self.notes.append)

    def refresh(self) -> int:
        """Bring the index up to date; return its number of records."""
        with self.read() as records:
            return records.refresh().records

    def write(self, calls: int, session: str = "more", text: str = "hello") -> None:
        """Append so many calls, each with its outcome."""
        keys = Keys.load(self.ledger.with_suffix(".keys"))
        signing = keys.signing(actor={"id": "tester"}, epochs=False)
        with LedgerWriter.open(self.ledger, signing=signing) as writer:
            for _ in range(calls):
                made = decision("greet", {"text": text}, session=session)
                seq = writer.append(Draft.build(made, opens=True, process="P" * 26)).seq
                writer.append(Draft.build(outcome(made, seq, Status.OK)))

    def prune(self, before: int) -> None:
        """Delete the records below *before*, as ``guardrail prune`` does."""
        keys = Keys.load(self.ledger.with_suffix(".keys"))
        cut(self.ledger, before, signing=keys.signing(actor={"id": "tester"}, epochs=False))


@pytest.fixture
def indexed(tmp_path: Path) -> Indexed:
    """A ledger with an index that does not exist yet."""
    return Indexed(build(tmp_path / "audit.db"), tmp_path / "state" / "index")


Answers = dict[str, object]


def all_answers(records: IndexedRecords) -> Answers:
    """Return what the records say about each call, session, approval and type."""
    calls = records.find_calls("", 10_000)
    sessions = records.find_sessions("", 10_000)
    keys, total = records.session_keys(None)
    return {
        "calls": {call: list(records.by_call(call)) for call in calls},
        "sessions": {session: list(records.calls(session)) for session in sessions},
        "keys": (keys, total),
        "records": {key: records.of_session(key) for key in keys},
        "approvals": {call: records.approval(call) for call in calls},
        "admin": records.admin("admin.pruned"),
        "prefix": (records.find_calls("0", 3), records.find_sessions("S", 3)),
        "throttled": records.throttled(),
        "refused": records.refused_tokens(),
        "none": (list(records.by_call("no")), records.find_sessions("no"), records.approval("no")),
    }


def assert_same(one: Answers, other: Answers) -> None:
    """Compare answers, and name only those that differ: a whole difference has many pages."""
    assert [name for name in one if one[name] != other[name]] == []
