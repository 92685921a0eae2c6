"""Power loss while a ledger is kept: archived, expired, copied, read on the record, anchored and
stamped.

What was told is there afterwards, and what is gone was said before, whatever the disk kept.
``GUARDRAIL_SOAK=1`` looks at ten times as many disks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from guardrail.access_log.log import PlannedRead, RecordedRead, record_read
from guardrail.anchors.file import FileAnchor
from guardrail.config import Settings
from guardrail.core.log.checkpoint import NoteKey
from guardrail.keys.log_key import verify_signature
from tests.support.crash.disks import Folder, Recording, disks, prepare, put, record
from tests.support.crash.judge import assert_covered, state_of
from tests.support.crash.retention_sequences import ARCHIVE, COPY, HEADS, TOKENS
from tests.support.crash.server import DB, SequenceServer
from tests.support.ledgers import KEYS, LOG

STATES = 120 * (10 if os.environ.get("GUARDRAIL_SOAK") else 1)
"""How many different disks of each sequence are looked at."""


def left(recording: Recording, folder: Path) -> Iterator[tuple[int, Folder]]:
    """Put different disks into *folder*, spread over the whole run; yield how often the process was
    told that it had done something.
    """
    told = [0]
    for step in recording.steps:
        told.append(told[-1] + (step.what == "D"))
    every = max(1, 8 * len(told) // STATES)
    seen: set[int] = set()
    for number, (_, cut, files) in enumerate(disks(recording, passes=20)):
        key = hash((told[cut], frozenset(files.items())))
        if key in seen or (number % every and cut < len(recording.steps) - 2):
            continue
        seen.add(key)
        put(folder, files)
        yield told[cut], files
        if len(seen) >= STATES:
            return


def recorded(name: str, folder: Path, recorder: SequenceServer) -> Recording:
    prepare(name, folder, recorder)
    return record(name, folder, recorder)


def said(db: Path, type_: str) -> list[dict[str, object]]:
    """The details of records of a type in what is left of the ledger."""
    state = state_of(db)
    assert state is not None
    records = [json.loads(line) for _, _, line in state.records]
    return [each["detail"] for each in records if each["type"] == type_]


def test_an_archived_copy_is_there_before_its_record_is(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """A record that says that a segment is archived is never left without the copy, byte for
    byte.
    """
    recording = recorded("archive", tmp_path / "ledger", recorder)
    found = []
    for told, files in left(recording, memory / "state"):
        archived = said(memory / "state" / DB, "admin.archived")
        assert len(archived) >= told
        for each in archived:
            body = files.get(f"{ARCHIVE}/{each['file']}")
            assert body is not None
            assert hashlib.sha256(body).hexdigest() == each["digest"]
            assert f"{ARCHIVE}/{str(each['file']).replace('.jsonl.gz', '.json')}" in files
        found.append(len(archived))
    assert {0, 1} == set(found)


def test_no_copy_is_gone_before_a_record_says_so(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """And once it was told that they expired, they do not come back."""
    recording = recorded("expire", tmp_path / "ledger", recorder)
    copies = {path for path in recording.before if path.endswith((".gz", ".json"))}
    assert len(copies) == 4
    gone = []
    for told, files in left(recording, memory / "state"):
        lost = {path for path in copies if files.get(path) != recording.before[path]}
        if lost:
            assert said(memory / "state" / DB, "admin.expired")
        if told:
            assert lost == copies
        gone.append(len(lost))
    assert {0, 4} <= set(gone)


def test_a_backup_that_has_its_name_is_whole(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """It gets the name last, and keeps it once that was told."""
    recording = recorded("copy", tmp_path / "ledger", recorder)
    there = []
    for told, files in left(recording, memory / "state"):
        there.append(COPY in files)
        assert COPY in files or not told
        if COPY in files:
            state = state_of(memory / "state" / COPY)
            assert state is not None
            assert_covered(state)
    assert {True, False} == set(there)


def test_the_harness_finds_a_backup_whose_name_was_not_synced(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """So that the tests here are known to be able to fail."""
    full = recorded("copy", tmp_path / "ledger", recorder)
    steps = [step for step in full.steps if not (step.what == "S" and step.path == "")]
    recording = Recording(full.name, full.before, full.inodes, steps)
    assert any(told and COPY not in files for told, files in left(recording, memory / "state"))


def test_a_reading_that_was_recorded_stays_recorded(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """The log of who read is whole or not there, and the next reader is recorded in it."""
    recording = recorded("read", tmp_path / "ledger", recorder)
    access = memory / "state" / "a.access.db"
    for told, _ in left(recording, memory / "state"):
        state = state_of(access)
        records = [json.loads(line) for _, _, line in state.records] if state is not None else []
        if state is not None:
            assert_covered(state)
        assert sum(each["type"].startswith("access.") for each in records) >= told
        settings = Settings().override(ledger={"path": memory / "state" / DB})
        answer = record_read(settings, PlannedRead("show"))
        assert isinstance(answer, RecordedRead) or not told


def test_heads_and_stamps_that_were_kept_stay_kept(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """Each line that was told is there; a torn one behind it does no harm."""
    recording = recorded("anchor", tmp_path / "ledger", recorder)
    key = NoteKey(LOG, bytes.fromhex(KEYS.public))
    for told, files in left(recording, memory / "state"):
        file = FileAnchor(memory / "state" / HEADS, key=key, verify=verify_signature)
        assert len(file.heads(LOG)) >= told
        stamps = [each for each in (files.get(TOKENS) or b"").split(b"\n") if _is_json(each)]
        assert len(stamps) >= told


def _is_json(line: bytes) -> bool:
    try:
        return "token" in json.loads(line)
    except ValueError:
        return False
