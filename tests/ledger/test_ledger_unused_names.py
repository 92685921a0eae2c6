"""That nobody has a session is believed only if every line of the log was hashed into the tree of
its signed head.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log.record import Draft, decode
from guardrail.errors import LedgerError
from guardrail.ledger import hashes
from guardrail.ledger import names as module
from guardrail.ledger.maintenance.prune import detail, prune
from guardrail.ledger.names import SessionNames
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import SIGNING, decision, note, outcome, reopen


def owner(
    db: Path, writer: LedgerWriter, session: str, names: SessionNames | None = None
) -> str | None:
    """Return whose *session* is, as a guard finds it."""
    with LedgerReader.open(db) as reader:
        log = ProvedReader(reader, Proofs(SIGNING, writer.log))
        line = log.first_of_session([session], writer.names if names is None else names)
    return None if line is None else decode(line)["principal"]["id"]


def called(writer: LedgerWriter, *sessions: str) -> None:
    for session in sessions:
        call = new_ulid()
        seq = writer.append(decision(call, writer.process, session=session)).seq
        writer.append(outcome(call, seq, writer.process))


@contextmanager
def changed(db: Path, *statements: str) -> Iterator[None]:
    """Let somebody without a key change the file, triggers aside, and put everything back."""
    other = sqlite3.connect(db, isolation_level=None, timeout=10)
    kept = {
        name: other.execute(f"SELECT {columns} FROM {name}").fetchall()
        for name, columns in (("record", "seq, leaf, line"), ("pruned", "*"))
    }
    triggers = other.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    sqls = triggers.fetchall()

    def run(*lines: str) -> None:
        other.execute("BEGIN IMMEDIATE")
        for name, _ in sqls:
            other.execute(f"DROP TRIGGER {name}")
        for line in lines:
            other.execute(line)
        if not lines:
            for table, rows in kept.items():
                columns = "(seq, leaf, line)" if table == "record" else "(id, before)"
                other.execute(f"DELETE FROM {table}")
                marks = ", ".join("?" * (3 if table == "record" else 2))
                other.executemany(f"INSERT INTO {table} {columns} VALUES ({marks})", rows)
        for _, sql in sqls:
            other.execute(sql)
        other.execute("COMMIT")

    run(*statements)
    try:
        yield
    finally:
        run()
        other.close()


def hide(session: str) -> str:
    """Return what puts another line in the place of each of *session*."""
    old, new = f'"session":"{session}"', f'"session":"{session}-x"'
    return f"UPDATE record SET line = replace(line, '{old}', '{new}')"


def pruned(db: Path, before: int) -> None:
    """Delete the records before *before*, as ``guardrail prune`` does."""

    def record(log: str, cut: Any) -> Draft:
        return Draft.build(
            {
                "v": 1,
                "log": log,
                "type": "admin.pruned",
                "actor": {},
                "origin": {},
                "detail": detail(cut, {}),
            }
        )

    prune(db, before, signing=SIGNING, allow=lambda _: None, record=record)


def unproved(work: Callable[[], object]) -> str:
    with pytest.raises(LedgerError) as caught:
        work()
    assert caught.value.code == "ledger.unproved"
    return caught.value.message


def test_each_line_is_hashed_once(db: Path, writer: LedgerWriter, hashed: list[bytes]) -> None:
    """Those that this process writes never again, those of others at the next look."""
    called(writer, *(f"s-{n}" for n in range(300)))
    assert owner(db, writer, "nobody") is None
    assert len(hashed) == 600
    assert owner(db, writer, "nobody") is None
    assert owner(db, writer, "s-1") == "alice"
    called(writer, "s-1", "new")
    assert owner(db, writer, "else") is None
    assert len(hashed) == 600
    with reopen(db) as other:
        called(other, "theirs")
    assert owner(db, writer, "else") is None
    assert len(hashed) == 602
    called(writer, "s-2")
    assert owner(db, writer, "else") is None
    assert len(hashed) == 602
    assert [owner(db, writer, name) for name in ("new", "theirs")] == ["alice"] * 2


@pytest.mark.parametrize("looked", ["never", "before", "when it was followed"])
def test_a_hidden_record_is_not_taken_for_none(db: Path, writer: LedgerWriter, looked: str) -> None:
    """Whether its line was hashed before or not."""
    if looked == "when it was followed":
        assert owner(db, writer, "nobody") is None
    called(writer, "s-1", "s-2")
    if looked == "before":
        assert owner(db, writer, "nobody") is None
    with changed(db, hide("s-1")):
        unproved(lambda: owner(db, writer, "s-1"))
    assert owner(db, writer, "s-1") == "alice"
    assert owner(db, writer, "s-1-x") is None


def test_nor_is_one_that_only_the_index_lacks(db: Path, writer: LedgerWriter) -> None:
    """All lines are what they were; the index leads to none of them."""
    called(writer, "s-1")
    assert owner(db, writer, "nobody") is None
    with LedgerReader.open(db) as reader:
        log = ProvedReader(reader, Proofs(SIGNING, writer.log))
        log._line = lambda *_, **__: None  # type: ignore[method-assign]
        assert "index omits" in unproved(lambda: log.first_of_session(["s-1"], writer.names))


def test_nor_are_records_that_are_said_to_be_pruned(db: Path, writer: LedgerWriter) -> None:
    """Their hashes are kept, and the tree is right: but no record says that they were pruned."""
    called(writer, *(f"s-{n}" for n in range(300)))
    statements = (
        "REPLACE INTO pruned (id, before) VALUES (0, 257)",
        "DELETE FROM record WHERE seq BETWEEN 1 AND 256",
    )
    with changed(db, *statements):
        assert "no record says" in unproved(lambda: owner(db, writer, "s-1"))
    assert owner(db, writer, "s-1") == "alice"
    assert owner(db, writer, "nobody") is None
    with changed(db, *statements):
        assert "no record says" in unproved(lambda: owner(db, writer, "s-1"))


@pytest.mark.parametrize("looked", [False, True])
def test_a_session_whose_records_were_pruned_is_nobodys(
    db: Path, writer: LedgerWriter, looked: bool
) -> None:
    """Also where its name is known from before; the others keep their owners."""
    called(writer, *(f"s-{n}" for n in range(200)))
    if looked:
        assert owner(db, writer, "nobody") is None
    pruned(db, 301)
    for _ in range(2):
        assert owner(db, writer, "s-1") is None
    assert owner(db, writer, "s-199") == "alice"
    called(writer, "s-1")
    assert owner(db, writer, "s-1") == "alice"
    with changed(db, hide("s-1")):
        unproved(lambda: owner(db, writer, "s-1"))


def test_lines_that_were_pruned_before_they_were_read_are_not_missed(
    db: Path, writer: LedgerWriter
) -> None:
    """The look goes on where the log begins now."""
    called(writer, "s-0")
    assert owner(db, writer, "nobody") is None
    with reopen(db) as other:
        called(other, *(f"s-{n}" for n in range(1, 200)))
    pruned(db, 301)
    assert owner(db, writer, "nobody") is None
    assert owner(db, writer, "s-1") is None
    assert owner(db, writer, "s-199") == "alice"


def test_records_that_are_pruned_while_they_are_read_are_not_missed_either(
    db: Path, writer: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look begins anew."""
    called(writer, *(f"s-{n}" for n in range(200)))
    real = SessionNames.read_up_to
    cuts = [101, 201, 301]

    def late(self: SessionNames, execute: Any, place: Any) -> None:
        if cuts:
            pruned(db, cuts.pop(0))
        real(self, execute, place)

    monkeypatch.setattr(SessionNames, "read_up_to", late)
    assert owner(db, writer, "nobody") is None
    assert cuts == []


def test_more_names_than_are_kept_are_looked_for_in_all_lines(
    db: Path, writer: LedgerWriter, hashed: list[bytes]
) -> None:
    """Slower, and as sure."""
    names = SessionNames(most=10)
    called(writer, *(f"s-{n}" for n in range(20)))
    assert owner(db, writer, "nobody", names) is None
    assert not names.is_absent("somebody")
    assert names.is_absent("nobody")
    before = len(hashed)
    assert owner(db, writer, "nobody", names) is None
    assert len(hashed) == before
    assert owner(db, writer, "somebody", names) is None
    assert len(hashed) == before + 40
    called(writer, "nobody")
    assert owner(db, writer, "nobody", names) == "alice"
    with changed(db, hide("s-1")):
        unproved(lambda: owner(db, writer, "s-1", names))


def test_names_are_kept_in_a_few_bytes_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """In sorted pieces, and none is lost."""
    monkeypatch.setattr(hashes, "CHUNK", 8)
    kept = hashes.TextHashes()
    for number in [*range(100), *range(50)]:
        kept.add(f"s-{number}")
    assert len(kept) == 100
    assert all(f"s-{number}" in kept for number in range(100))
    assert not any(f"t-{number}" in kept for number in range(1000))


def test_many_names_are_kept_while_the_lines_are_read(
    db: Path, writer: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need not fit into memory twice; of lines that prove to be others, too many are known,
    never too few.
    """
    monkeypatch.setattr(module, "CHUNK", 8)
    called(writer, *(f"s-{n}" for n in range(50)))
    with changed(db, hide("s-48")):
        unproved(lambda: owner(db, writer, "nobody"))
    assert [owner(db, writer, f"s-{n}") for n in (0, 48, 49)] == ["alice"] * 3
    assert [owner(db, writer, name) for name in ("nobody", "s-48-x")] == [None, None]


def test_names_that_come_during_a_search_are_not_missed(db: Path, writer: LedgerWriter) -> None:
    """A search covers what was there when it began, and the rest is noted meanwhile."""
    names = SessionNames(most=1)
    called(writer, "s-1", "s-2")
    owner(db, writer, "nobody", names)
    with LedgerReader.open(db) as reader:
        log = ProvedReader(reader, Proofs(SIGNING, writer.log))

        def place() -> Any:
            found = log._place()
            assert names._edge is not None
            names.advance(names._edge, ["late"])
            return found

        assert not names.search(reader.storage, place, "late")
    assert not names.is_absent("late")


def test_searches_that_end_badly_prove_nothing(db: Path, writer: LedgerWriter) -> None:
    """And the next one goes on."""
    names = SessionNames(most=1)
    called(writer, "s-1", "s-2")
    with changed(db, hide("s-1")):
        unproved(lambda: owner(db, writer, "nobody", names))
    assert not names.is_absent("nobody")
    assert owner(db, writer, "nobody", names) is None


def test_only_so_many_names_that_nobody_has_are_kept(
    db: Path, writer: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is looked for again."""
    monkeypatch.setattr(module, "CHUNK", 3)
    names = SessionNames(most=1)
    called(writer, "s-1", "s-2")
    for number in range(5):
        assert owner(db, writer, f"t-{number}", names) is None
    assert [names.is_absent(f"t-{number}") for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_lines_that_only_look_like_first_records_are_none(db: Path, writer: LedgerWriter) -> None:
    """Names in arguments, outcomes and denials of other callers make a session nobody's."""
    call = new_ulid()
    draft = decision(call, writer.process, session="s-1")
    first, early, late, last = draft.segments
    early_input = first.replace(b'"input":{', b'"input":{"session":"spoofed",', 1)
    assert early_input != first
    writer.append(replace(draft, segments=(early_input, early, late, last)))
    writer.append(note())
    refusal = decision(new_ulid(), writer.process, session="taken", effect="deny")
    told = refusal.segments[0].replace(
        b'"cause":"policy","detail":""', b'"cause":"identity","detail":"session"'
    )
    assert told != refusal.segments[0]
    writer.append(replace(refusal, session=None, places=(), segments=(told, *refusal.segments[1:])))
    for names in (SessionNames(), SessionNames(most=0)):
        assert owner(db, writer, "s-1", names) == "alice"
        assert owner(db, writer, "spoofed", names) is None
        assert owner(db, writer, "taken", names) is None


def test_many_look_while_others_write(db: Path, writer: LedgerWriter) -> None:
    """None takes what is being written for a forgery."""
    problems: list[BaseException] = []

    def repeat(work: Callable[[int], object]) -> threading.Thread:
        def run() -> None:
            try:
                for number in range(40):
                    work(number)
            except BaseException as error:
                problems.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with reopen(db) as other:
        threads = [
            repeat(lambda n: owner(db, writer, f"nobody-{n}")),
            repeat(lambda n: owner(db, writer, f"s-{n}")),
            repeat(lambda n: called(writer, f"s-{n}")),
            repeat(lambda n: called(other, f"t-{n}")),
        ]
        for thread in threads:
            thread.join(60)
        assert not problems
        assert [owner(db, writer, f"{kind}-39") for kind in "st"] == ["alice"] * 2
        assert owner(db, writer, "nobody-1") is None


def test_a_forked_child_looks_for_itself(db: Path, writer: LedgerWriter) -> None:
    """Also where a thread of the parent was looking when it was forked."""
    called(writer, "s-1")
    with writer.names._turn, writer.names._lock:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if owner(db, writer, "nobody") is None else 1)
            except BaseException:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
