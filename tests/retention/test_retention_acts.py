"""Sealing, archiving, pruning and holding: what is due is done, what must not be done is refused, each on the record."""

from __future__ import annotations

import gzip
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from retentionkit import (
    LOG,
    build,
    decision,
    head,
    held_bytes,
    intact,
    keeper,
    make,
    noted,
    reopen,
    settings,
)

from guardrail.anchors.state import AnchorState, State, state_path, write_state
from guardrail.core.note import SignedNote
from guardrail.core.record import decode
from guardrail.errors import RetentionError
from guardrail.keys import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.retention import segments
from guardrail.retention.segments import read_manifest
from guardrail.ulid import new_ulid

OLD = 500.0
"""Days after which everything is past its time."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A log of 300 records in a folder of its own."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    path = folder / "audit.db"
    build(path, 300)
    return path


def folder_of(db: Path) -> Path:
    return db.with_name("audit.db-segments")


def details(db: Path, type_: str) -> list[dict[str, object]]:
    """The details of the records of a type."""
    with LedgerReader.open(db) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record["detail"] for record in found if record["type"] == type_]


def refused_with(db: Path, retention: dict[str, object], given: Sequence[SignedNote]) -> str:
    """The code with which pruning is refused; nothing is deleted then."""
    with LedgerReader.open(db) as reader:
        before = reader.query("SELECT min(seq) FROM record WHERE seq > 0")
    chosen = settings(db, **retention)
    with keeper(db, days=OLD, chosen=chosen) as keep, pytest.raises(RetentionError) as caught:
        keep.prune(why="old", given=given)
    with LedgerReader.open(db) as reader:
        assert reader.query("SELECT min(seq) FROM record WHERE seq > 0") == before
    return caught.value.code


def test_a_segment_is_sealed_and_its_copy_is_what_an_export_is(db: Path) -> None:
    """A record says what it holds; the copy holds the same bytes, is read-only, and nobody else can read it."""
    with keeper(db) as keep:
        done = keep.seal(why="month end")
    assert done.segment is not None
    assert (done.segment.number, done.segment.first, done.segment.last) == (1, 0, 299)
    [said] = details(db, "admin.sealed")
    assert (said["count"], said["reason"], said["root"]) == (300, "month end", done.segment.root)
    [made] = done.copied
    path = folder_of(db) / made.file
    with LedgerReader.open(db) as reader:
        lines = b"".join(line + b"\n" for _, _, line in reader.lines(0, 300))
    assert gzip.decompress(path.read_bytes()) == lines
    for each in folder_of(db).iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o400
    assert stat.S_IMODE(folder_of(db).stat().st_mode) == 0o700
    assert intact(db)


def test_the_next_segment_begins_where_the_last_one_ended(db: Path) -> None:
    """With the record that sealed it; where nothing else was recorded, there is nothing to seal."""
    with keeper(db) as keep:
        keep.seal(why=None)
        assert keep.seal(why=None).segment is None
    with reopen(db) as writer:
        writer.append(noted("more"))
    with keeper(db) as keep:
        second = keep.seal(why=None).segment
    assert second is not None
    assert (second.number, second.first, second.last) == (2, 300, 301)


def test_sealing_that_was_cut_short_is_finished_by_the_next_run(db: Path) -> None:
    """Between the record and the copy, in the middle of the copy, and between its two files."""
    with keeper(db) as keep:
        made = keep.seal(why=None).copied[0]
    name = segments.name_of(made.genesis, 1)
    folder = folder_of(db)
    for left in ((), (f".{name}.new",), (made.file, f".{name}.new")):
        segments.remove(folder, name)
        for each in left:
            (folder / each).write_bytes(b"half a copy")
        assert read_manifest(folder, made.genesis, 1) is None
        with keeper(db) as keep:
            again = keep.seal(why=None, fresh=False)
        assert again.segment is None
        assert [each.segment for each in again.copied] == [1]
        segments.verify(folder, made)


def test_a_copy_that_can_not_be_written_is_an_error_and_no_copy(db: Path) -> None:
    """A file where the folder should be; when it is gone, the next run makes the copy."""
    folder_of(db).write_text("in the way")
    with keeper(db) as keep, pytest.raises(RetentionError) as caught:
        keep.seal(why=None)
    assert caught.value.code == "retention.copy_unreadable"
    folder_of(db).unlink()
    with keeper(db) as keep:
        assert len(keep.seal(why=None, fresh=False).copied) == 1


def test_what_is_past_its_time_is_deleted_and_said(db: Path) -> None:
    """By whom, why, by which policy; then the log goes on, and what somebody kept still fits it."""
    with keeper(db) as keep:
        keep.seal(why=None)
    kept = head(db)
    with keeper(db, days=OLD) as keep:
        assert keep.prunable() == 300
        done = keep.prune(why="older than 400 days", given=[kept])
    assert (done.deleted, done.before, done.overwritten) == (299, 300, True)
    [said] = details(db, "admin.pruned")
    assert said["before"] == 300
    assert said["reason"] == "older than 400 days"
    assert said["policy"] == {"retention_days": 400, "floor_days": 183}
    assert held_bytes(db, b"text-150") == []
    assert intact(db, kept)


def test_nothing_is_deleted_before_its_time(db: Path) -> None:
    """A segment is past its time when its seal is; what is not sealed never is."""
    with keeper(db) as keep:
        keep.seal(why=None)
    kept = head(db)
    with keeper(db, days=399) as keep:
        assert keep.prune(why=None, given=[kept]).deleted == 0
    with reopen(db) as writer:
        writer.append(noted("not sealed"))
    with keeper(db, days=OLD) as keep:
        keep.prune(why=None, given=[kept])
    with LedgerReader.open(db) as reader:
        assert reader.query("SELECT min(seq) FROM record WHERE seq > 0") == [(300,)]


def test_each_reason_not_to_delete_has_its_code(db: Path, tmp_path: Path) -> None:
    """Settings below the floor, a hold, no copy, no archive, no head elsewhere, one that is too small, a stranger's."""
    with keeper(db) as keep:
        keep.seal(why=None)
    kept = [head(db)]
    archive = tmp_path / "archive"
    assert refused_with(db, {"days": 0}, kept) == "retention.for_ever"
    assert refused_with(db, {"days": 182}, kept) == "retention.below_floor"
    assert refused_with(db, {"days": 400, "floor_days": 401}, kept) == "retention.below_floor"
    assert refused_with(db, {"archive": archive}, kept) == "retention.not_archived"
    assert refused_with(db, {}, []) == "retention.not_anchored"
    assert refused_with(db, {}, [head(db, 299)]) == "retention.not_anchored"
    stranger = Keys.ephemeral(b"a stranger's seed, of 32 bytes..")
    assert refused_with(db, {}, [head(db, keys=stranger)]) == "retention.not_anchored"
    made = read_manifest(folder_of(db), _genesis(db), 1)
    assert made is not None
    segments.remove(folder_of(db), segments.name_of(made.genesis, 1))
    assert refused_with(db, {}, kept) == "retention.not_sealed"
    with keeper(db) as keep:
        keep.seal(why=None)
        keep.hold("case-1", add=True, why="court order")
    assert refused_with(db, {}, kept) == "retention.held"


def _genesis(db: Path) -> str:
    with keeper(db) as keep:
        return keep.facts().genesis


def test_a_ledger_that_a_kept_head_contradicts_is_not_pruned(tmp_path: Path) -> None:
    """Deleting would take the traces with it: a head of the same log's key over other records, or over more than there are."""
    db, other = tmp_path / "a" / "audit.db", tmp_path / "b" / "audit.db"
    for path, text in ((db, "one"), (other, "two")):
        path.parent.mkdir()
        build(path, 300, text=text)
        with keeper(path) as keep:
            keep.seal(why=None)
    with reopen(other) as writer:
        writer.append(noted("more"))
    assert refused_with(db, {}, [head(other, 301)]) == "retention.conflict"
    assert refused_with(db, {}, [head(other, 302)]) == "retention.conflict"


def test_what_the_anchors_have_counts(db: Path) -> None:
    """Their newest heads stand in a file beside the ledger, with the log key's signature."""
    with keeper(db) as keep:
        keep.seal(why=None)
    kept = head(db)
    write_state(state_path(db), State(LOG, {"file": AnchorState(size=300, note=str(kept))}))
    with keeper(db, days=OLD) as keep:
        assert keep.prune(why=None).deleted == 299
    assert intact(db, kept)


def test_a_copy_that_was_changed_keeps_the_records(db: Path) -> None:
    """What is left after pruning is the copy, so it is read in full before."""
    with keeper(db) as keep:
        made = keep.seal(why=None).copied[0]
    path = folder_of(db) / made.file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    os.chmod(path, 0o600)
    path.write_bytes(data)
    assert refused_with(db, {}, [head(db)]) == "retention.copy_wrong"


def test_a_record_that_is_younger_than_its_seal_says_is_kept(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the clock was wrong when the segment was sealed: the records' own times count too."""
    monkeypatch.setattr("guardrail.ledger.store.utc_now", lambda: "2020-01-01T00:00:00.000000Z")
    with keeper(db) as keep:
        keep.seal(why=None)
    monkeypatch.undo()
    with keeper(db) as keep, pytest.raises(RetentionError) as caught:
        keep.prune(why=None, given=[head(db)])
    assert caught.value.code == "retention.too_young"


def test_pruning_stops_before_what_is_still_needed(tmp_path: Path) -> None:
    """An open call, and a request that can still be approved; what comes before them goes."""
    db = tmp_path / "audit.db"
    with make(db) as writer:
        for number in range(10):
            writer.append(noted(str(number)))
        writer.append(decision(new_ulid(), writer.process, effect="require_approval"))
        for number in range(10):
            writer.append(noted(str(number)))
    with keeper(db) as keep:
        keep.seal(why=None)
    chosen = settings(db).override(approvals={"request_ttl_s": 31_536_000})
    with keeper(db, days=200, chosen=chosen.override(retention={"days": 190})) as keep:
        assert keep.prunable() == 11
        assert keep.prune(why=None, given=[head(db)]).deleted == 10
    with keeper(db, days=OLD, chosen=chosen) as keep:
        assert keep.prunable() == 22
    with reopen(db) as writer:
        writer.append(decision(new_ulid(), writer.process))
        writer.append(noted("x"))
        with keeper(db, days=0) as keep:
            keep.seal(why=None)
        with keeper(db, days=OLD) as keep:
            assert keep.prunable() == 24


def test_the_archive_gets_verified_copies_each_on_the_record(db: Path, tmp_path: Path) -> None:
    """Byte for byte; what is there is not copied again, and what is damaged is."""
    archive = tmp_path / "other" / "disk"
    with keeper(db, archive=archive) as keep:
        made = keep.seal(why=None).copied[0]
        [put] = keep.archive(why="weekly")
        assert keep.archive(why=None) == []
    assert (archive / put.file).read_bytes() == (folder_of(db) / made.file).read_bytes()
    assert details(db, "admin.archived") == [
        {"segment": 1, "file": put.file, "digest": made.digest, "reason": "weekly"}
    ]
    (archive / put.file).unlink()
    with keeper(db, archive=archive) as keep:
        assert len(keep.archive(why=None)) == 1


def test_copies_whose_time_is_over_are_deleted_on_the_record(db: Path, tmp_path: Path) -> None:
    """Those beside the ledger with the records, those in the archive after its own time; never under a hold."""
    archive = tmp_path / "archive"
    chosen = {"archive": archive, "archive_days": 1000}
    with keeper(db, **chosen) as keep:
        made = keep.seal(why=None).copied[0]
        keep.archive(why=None)
    kept = head(db)
    with keeper(db, days=OLD, **chosen) as keep:
        assert keep.expired() == []
        keep.prune(why=None, given=[kept])
        assert [folder for folder, _ in keep.expired()] == [folder_of(db)]
        keep.expire(why="old")
    assert list(folder_of(db).iterdir()) == []
    assert (archive / made.file).exists()
    with keeper(db, days=1001, **chosen) as keep:
        keep.hold("case-1", add=True, why="court order")
        assert keep.expired() == []
        keep.hold("case-1", add=False, why="over")
        assert [folder for folder, _ in keep.expire(why="old")] == [archive]
    assert list(archive.iterdir()) == []
    said = details(db, "admin.expired")
    assert [each["files"] for each in said] == [
        [{"segment": 1, "file": made.file, "digest": made.digest}]
    ] * 2
    assert intact(db, kept)


def test_a_copy_that_says_that_it_is_older_than_it_is_is_not_deleted(
    db: Path, tmp_path: Path
) -> None:
    """What stands beside it is not believed: its lines say how old they are."""
    archive = tmp_path / "archive"
    chosen = {"archive": archive, "archive_days": 1000}
    with keeper(db, **chosen) as keep:
        keep.seal(why=None)
        keep.archive(why=None)
    with keeper(db, days=OLD, **chosen) as keep:
        keep.prune(why=None, given=[head(db)])
        keep.expire(why=None)
        [beside] = archive.glob("*.json")
        os.chmod(beside, 0o600)
        said = json.loads(beside.read_text())
        beside.write_text(json.dumps({**said, "newest": "2001-01-01T00:00:00.000000Z"}))
        assert len(keep.expired()) == 1
        with pytest.raises(RetentionError) as caught:
            keep.expire(why=None)
    assert caught.value.code == "retention.copy_wrong"
    assert len(list(archive.glob("*.gz"))) == 1


def test_holds_stand_until_they_are_released(db: Path) -> None:
    """Each by its name; one that stands can't be begun again, one that does not can't be released."""
    with keeper(db) as keep:
        keep.hold("a", add=True, why="one")
        keep.hold("b", add=True, why="two")
        with pytest.raises(RetentionError):
            keep.hold("a", add=True, why="again")
        keep.hold("a", add=False, why="over")
        with pytest.raises(RetentionError):
            keep.hold("a", add=False, why="again")
        assert [(each.id, each.reason, each.who) for each in keep.facts().holds] == [
            ("b", "two", "tester")
        ]


def test_one_keeper_at_a_time(db: Path) -> None:
    """The other one is told, and does nothing."""
    with keeper(db), pytest.raises(RetentionError) as caught, keeper(db):
        pass
    assert caught.value.code == "retention.busy"


def test_the_life_of_three_segments_over_years(db: Path, tmp_path: Path) -> None:
    """Sealed, archived and pruned one after the other; heads kept at each stage fit what is left in the end."""
    archive = tmp_path / "archive"
    kept = []
    for number in range(3):
        with keeper(db, archive=archive) as keep:
            keep.seal(why=None)
            keep.archive(why=None)
        kept.append(head(db))
        with reopen(db) as writer:
            for each in range(100):
                writer.submit(noted(f"more-{number}-{each}"))
            writer.append(noted("last"))
    with keeper(db, days=OLD, archive=archive) as keep:
        assert [each.number for each in keep.facts().segments] == [1, 2, 3]
        done = keep.prune(why=None, given=kept)
        keep.expire(why=None)
        facts = keep.facts()
        assert facts.first == done.before
        assert facts.last_number == 3
        assert keep.seal(why=None).segment is not None
        assert [each.number for each in keep.facts().segments] == [4]
    manifest = json.loads(next(folder_of(db).glob("*-000004.json")).read_text())
    assert manifest["first"] == done.before
    assert intact(db, *kept)
