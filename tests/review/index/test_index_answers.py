"""Answers with an index are those of a scan, whatever was appended or pruned meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from guardrail.config import ReviewSettings
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from guardrail.review.index import records as reading
from guardrail.review.index.file import IndexFile, index_file
from guardrail.review.index.rows import row_of
from guardrail.review.lines import FileRecords
from guardrail.review.sessions import list_sessions, recent_sessions
from guardrail.system import state_folder as states
from tests.review.index.conftest import Indexed, all_answers, assert_same
from tests.support.command_line import environment
from tests.support.records import SECRET_MARK, TOKEN


def test_answers_are_those_of_a_scan(indexed: Indexed, tmp_path: Path) -> None:
    """The index, a temporary index, and a file of the same lines agree on everything."""
    indexed.write(3)
    with indexed.read() as records, indexed.read(file=False) as scanned:
        assert_same(all_answers(records), all_answers(scanned))
        found = recent_sessions(records)
        throttled: list[int] = []
        assert list(found.rows) == list_sessions(scanned, throttled=throttled)
        assert (found.total, list(found.throttled)) == (len(found.rows), throttled)
        exported = tmp_path / "lines"
        exported.write_bytes(b"".join(line + b"\n" for _, _, line in scanned.lines()))
        with FileRecords.open(exported) as file:
            for call in records.find_calls("", 1000):
                assert list(records.by_call(call)) == list(file.by_call(call))
                assert records.approval(call) == file.approval(call)
            for session in records.find_sessions("", 1000):
                assert list(records.calls(session)) == list(file.calls(session))
            assert records.find_calls("", 4) == file.find_calls("", 4)
    assert indexed.notes == []


def test_only_the_last_sessions_are_read(indexed: Indexed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit limits the lines that are read, and the number of all sessions is still told."""
    for number in range(5):
        indexed.write(2, session=f"more-{number}")
    with indexed.read() as records:
        whole = recent_sessions(records)
        read: list[int] = []
        line_of = LedgerReader.record
        monkeypatch.setattr(
            LedgerReader, "record", lambda self, seq: read.append(seq) or line_of(self, seq)
        )
        found = recent_sessions(records, 2)
    assert found.rows == whole.rows[-2:]
    assert found.total == whole.total
    assert len(read) == 8


def test_only_new_records_are_read(indexed: Indexed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index continues from the last indexed number."""
    indexed.refresh()
    with LedgerReader.open(indexed.ledger) as reader:
        size = reader.size()
    indexed.write(2)
    read: list[int] = []

    def noted(seq: int, line: bytes, *, full: bool = True) -> Any:
        read.append(seq)
        return row_of(seq, line, full=full)

    monkeypatch.setattr(reading, "row_of", noted)
    assert indexed.refresh() == size + 4
    assert read == list(range(size, size + 4))
    assert indexed.refresh() == size + 4
    assert len(read) == 4


def test_a_deleted_index_is_built_again(indexed: Indexed) -> None:
    """Nothing is said, because nothing is wrong."""
    count = indexed.refresh()
    shutil.rmtree(indexed.folder)
    assert indexed.refresh() == count
    assert indexed.notes == []


def test_only_its_owner_can_open_the_index(indexed: Indexed) -> None:
    """Files have mode 0600 and folders 0700, whatever the umask is."""
    before = os.umask(0)
    try:
        indexed.refresh()
    finally:
        os.umask(before)
    assert stat.S_IMODE(indexed.file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(indexed.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(indexed.folder.parent.stat().st_mode) == 0o700
    assert os.listdir(indexed.folder) == [indexed.file.path.name]


def test_pruned_records_are_removed_before_any_answer(indexed: Indexed) -> None:
    """Neither their rows nor their words stay in the file."""
    indexed.write(2, session="past", text="zebrawords")
    indexed.refresh()
    assert b"zebrawords" in indexed.file.path.read_bytes()
    with LedgerReader.open(indexed.ledger) as reader:
        size = reader.size()
    indexed.write(1, session="present")
    indexed.prune(size)
    with indexed.read() as records, indexed.read(file=False) as scanned:
        assert records.find_sessions("past") == []
        assert_same(all_answers(records), all_answers(scanned))
    with sqlite3.connect(indexed.file.path) as db:
        assert db.execute("SELECT min(seq) FROM record WHERE seq > 0").fetchone() == (size,)
        assert db.execute("SELECT count(*) FROM token WHERE seq < ?", (size,)).fetchone() == (0,)
        search = "SELECT count(*) FROM record_fts WHERE record_fts MATCH 'zebrawords'"
        assert db.execute(search).fetchone() == (0,)
        db.execute("INSERT INTO record_fts (record_fts, rank) VALUES ('integrity-check', 1)")
    assert b"zebrawords" not in indexed.file.path.read_bytes()
    assert indexed.notes == []


def test_a_session_that_was_pruned_in_part_stays(indexed: Indexed) -> None:
    """It is listed with the calls that remain, at the place of the first of them."""
    indexed.write(1, session="long")
    with LedgerReader.open(indexed.ledger) as reader:
        size = reader.size()
    indexed.write(1, session="short")
    indexed.write(1, session="long")
    indexed.refresh()
    indexed.prune(size)
    with indexed.read() as records, indexed.read(file=False) as scanned:
        names = [row.key.id for row in recent_sessions(records).rows]
        assert names == ["short", "long"]
        assert list(recent_sessions(records).rows) == list_sessions(scanned)


def test_the_index_holds_only_values_of_the_ledger(indexed: Indexed) -> None:
    """Every text in the index is in the line that it is about."""
    token = "gr1:payment:k1:" + "a2" * 12
    indexed.write(1, text=f"card {token}, {SECRET_MARK}")
    indexed.refresh()
    with LedgerReader.open(indexed.ledger) as reader:
        lines = {seq: line for seq, _, line in reader.lines()}
    db = sqlite_utils.Database(indexed.file.path)
    derived = {"seq", "leaf", "bytes", "reproducible"}
    for row in db["record"].rows:
        held = set(_values(decode(lines[row["seq"]])))
        for name, value in row.items():
            if name in derived or value is None:
                continue
            if name in {"args", "result", "error"}:
                assert set(_values(json.loads(value))) <= held, name
            elif name in {"rules", "removed"}:
                assert set(json.loads(value)) <= held, name
            elif name == "message":
                assert all(part in "\n".join(map(str, held)) for part in value.split("\n"))
            else:
                assert value in held or value == "", name
    for row in db["token"].rows:
        assert row["token"].encode() in lines[row["seq"]]
        assert row["token"].split(":")[1] == row["class"]
    tokens = {row["token"] for row in db["token"].rows}
    assert tokens == {token}  # a mark is random, so it can't be equal to another


def _values(value: object) -> list[object]:
    if isinstance(value, dict):
        return [each for item in value.items() for part in item for each in _values(part)]
    if isinstance(value, list):
        return [each for part in value for each in _values(part)]
    return [value]


def test_datasette_finds_columns_facets_and_words(indexed: Indexed) -> None:
    """sqlite-utils, which Datasette shares its conventions with, sees the search and the views."""
    indexed.refresh()
    db = sqlite_utils.Database(indexed.file.path)
    assert db["record"].detect_fts() == "record_fts"
    assert [row["seq"] for row in db["record"].search('"eve@evil.example"')] == [3]
    assert 2 in {row["seq"] for row in db["record"].search(f'"{TOKEN}"')}
    assert set(db.view_names()) == {"calls", "sessions"}
    rows = {row["session"]: row for row in db.query("SELECT * FROM sessions")}
    with indexed.read() as records:
        for each in recent_sessions(records).rows:
            row = rows[each.key.id]
            assert (row["calls"], row["denied"], row["errors"]) == (
                each.calls,
                each.denied,
                each.errors,
            )
    ended = {row["seq"]: row["status"] for row in db.query("SELECT seq, status FROM calls")}
    assert (ended[1], ended[3], ended[5]) == ("ok", None, "error")
    facet = "SELECT value, count(*) FROM record, json_each(removed) GROUP BY 1"
    assert dict(db.execute(facet).fetchall()) == {"payment": 1, "secret": 1}


_BUILD = """
import sys
from pathlib import Path
from guardrail.ledger.reader import LedgerReader
from guardrail.review.index import records, store
from guardrail.review.index.file import IndexFile

records.CHUNK = 16
{before}
notes = []
with records.IndexedRecords(
    LedgerReader.open(Path(sys.argv[1])), IndexFile(Path(sys.argv[2]), Path(sys.argv[1])),
    tell=notes.append,
) as found:
    print(found.refresh().records, len(found.find_calls("", 10_000)), notes)
"""
_KILLED = """
import os, signal
describe, turns = store.IndexStore.describe, []

def killed(self, about):
    describe(self, about)
    turns.append(about)
    if len(turns) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

store.IndexStore.describe = killed
"""


def _start(indexed: Indexed, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILD.format(before=before), indexed.ledger, indexed.folder],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_a_reader_that_was_killed_half_way_leaves_a_usable_index(indexed: Indexed) -> None:
    """The next reader continues after the last complete part."""
    indexed.write(60)
    killed = _start(indexed, _KILLED)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with sqlite3.connect(indexed.file.path) as db:
        assert db.execute("SELECT count(*) FROM record").fetchone() == (32,)
    with indexed.read() as records, indexed.read(file=False) as scanned:
        assert_same(all_answers(records), all_answers(scanned))
    assert indexed.notes == []


def test_readers_build_one_index_together(indexed: Indexed) -> None:
    """Two processes that begin at the same time give the same complete answer."""
    indexed.write(100)
    readers = [_start(indexed) for _ in range(3)]
    told = [each.communicate(timeout=120)[0] for each in readers]
    assert [each.returncode for each in readers] == [0, 0, 0]
    with indexed.read(file=False) as scanned:
        count = len(scanned.find_calls("", 10_000))
        assert told == [f"{scanned.size()} {count} []\n"] * 3
    assert indexed.refresh() == scanned.size()


def test_the_index_is_in_the_readers_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting turns it off or moves it; ledgers in temporary directories have none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(states.os, "geteuid", lambda: 1000)
    ledger = tmp_path / "p" / "my audit.db"
    assert index_file(ReviewSettings(), ledger) is None
    moved = index_file(ReviewSettings(index=tmp_path / "here"), ledger)
    assert moved is not None
    assert moved.path.parent == tmp_path / "here"
    monkeypatch.setattr(states, "TEMPORARY", ())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    found = index_file(ReviewSettings(), ledger)
    assert found is not None
    assert found.path.parent == tmp_path / "xdg" / "guardrail" / "index"
    assert found.path.name.startswith("my-audit-")
    assert found.path == IndexFile(found.folder, tmp_path / "p" / "." / "my audit.db").path
    assert index_file(ReviewSettings(index=False), ledger) is None
    assert not (tmp_path / "xdg").exists()
