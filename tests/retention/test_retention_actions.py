"""Sealing, archiving, pruning and holding: what is due is done, what must not be done is refused,
each on the record.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from guardrail.anchors.file import FileAnchor
from guardrail.anchors.lines import head_line
from guardrail.anchors.state import AnchorState, AnchorStates, state_path, write_state
from guardrail.anchors.witness.client import WitnessAnchor
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode, dumps, leaf_hash
from guardrail.errors import LedgerError, RetentionError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.ledger.reader import LedgerReader
from guardrail.retention import segments
from guardrail.retention.facts import FactCollector
from guardrail.retention.segments import Manifest, read_manifest
from guardrail.system.ids import new_ulid
from tests.support.anchors import witness
from tests.support.retention import (
    LOG,
    SIGNING,
    build,
    cut,
    decision,
    head,
    held_bytes,
    intact,
    make,
    noted,
    open_manager,
    reopen,
    settings,
)

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


def execute(db: Path, statement: str) -> None:
    """Change the ledger as somebody does who can write the file."""
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute(statement)
    connection.close()


def details(db: Path, type_: str) -> list[dict[str, object]]:
    """The details of the records of a type."""
    with LedgerReader.open(db) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record["detail"] for record in found if record["type"] == type_]


def refused_with(db: Path, retention: dict[str, object], given: Sequence[SignedNote]) -> str:
    """The code with which pruning is refused; nothing is deleted then."""
    with LedgerReader.open(db) as reader:
        before = reader.first()
    chosen = settings(db, **retention)
    with (
        open_manager(db, days=OLD, chosen=chosen) as manager,
        pytest.raises(RetentionError) as caught,
    ):
        manager.prune(why="old", given=given)
    with LedgerReader.open(db) as reader:
        assert reader.first() == before
    return caught.value.code


def test_a_segment_is_sealed_and_its_copy_is_what_an_export_is(db: Path) -> None:
    """A record says what it holds; the copy holds the same bytes, is read-only, and nobody else can
    read it.
    """
    with open_manager(db) as manager:
        done = manager.close_segment(why="month end")
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
    with open_manager(db) as manager:
        manager.close_segment(why=None)
        assert manager.close_segment(why=None).segment is None
    with reopen(db) as writer:
        writer.append(noted("more"))
    with open_manager(db) as manager:
        second = manager.close_segment(why=None).segment
    assert second is not None
    assert (second.number, second.first, second.last) == (2, 300, 301)


def test_sealing_that_was_cut_short_is_finished_by_the_next_run(db: Path) -> None:
    """Between the record and the copy, in the middle of the copy, and between its two files."""
    with open_manager(db) as manager:
        made = manager.close_segment(why=None).copied[0]
    name = segments.name_of(made.genesis, 1)
    folder = folder_of(db)
    for left in ((), (f".{name}.new",), (made.file, f".{name}.new")):
        segments.remove(folder, name)
        for each in left:
            (folder / each).write_bytes(b"half a copy")
        assert read_manifest(folder, made.genesis, 1) is None
        with open_manager(db) as manager:
            again = manager.close_segment(why=None, fresh=False)
        assert again.segment is None
        assert [each.segment for each in again.copied] == [1]
        segments.verify(folder, made)


def test_a_copy_that_can_not_be_written_is_an_error_and_no_copy(db: Path) -> None:
    """A file where the folder should be; when it is gone, the next run makes the copy."""
    folder_of(db).write_text("in the way")
    with open_manager(db) as manager, pytest.raises(RetentionError) as caught:
        manager.close_segment(why=None)
    assert caught.value.code == "retention.copy_unreadable"
    folder_of(db).unlink()
    with open_manager(db) as manager:
        assert len(manager.close_segment(why=None, fresh=False).copied) == 1


def test_what_is_past_its_time_is_deleted_and_said(db: Path) -> None:
    """By whom, why, by which policy; then the log goes on, and what somebody kept still fits it."""
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    kept = head(db)
    with open_manager(db, days=OLD) as manager:
        assert manager.prunable() == 300
        done = manager.prune(why="older than 400 days", given=[kept])
    assert (done.deleted, done.before, done.overwritten) == (299, 300, True)
    [said] = details(db, "admin.pruned")
    assert said["before"] == 300
    assert said["reason"] == "older than 400 days"
    assert said["policy"] == {"retention_days": 400, "floor_days": 183}
    assert held_bytes(db, b"text-150") == []
    assert intact(db, kept)


def test_nothing_is_deleted_before_its_time(db: Path) -> None:
    """A segment is past its time when its seal is; what is not sealed never is."""
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    kept = head(db)
    with open_manager(db, days=399) as manager:
        assert manager.prune(why=None, given=[kept]).deleted == 0
    with reopen(db) as writer:
        writer.append(noted("not sealed"))
    with open_manager(db, days=OLD) as manager:
        manager.prune(why=None, given=[kept])
    with LedgerReader.open(db) as reader:
        assert reader.first() == 300


def test_each_reason_not_to_delete_has_its_code(db: Path, tmp_path: Path) -> None:
    """Settings below the floor, a hold, no copy, no archive, no head elsewhere, one that is too
    small, a stranger's.
    """
    with open_manager(db) as manager:
        manager.close_segment(why=None)
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
    with open_manager(db) as manager:
        manager.close_segment(why=None)
        manager.hold("case-1", add=True, why="court order")
    assert refused_with(db, {}, kept) == "retention.held"


def _genesis(db: Path) -> str:
    with open_manager(db) as manager:
        return manager.facts().genesis


def test_a_ledger_that_a_kept_head_contradicts_is_not_pruned(tmp_path: Path) -> None:
    """Deleting would take the traces with it: a head of the same log's key over other records, or
    over more than there are.
    """
    db, other = tmp_path / "a" / "audit.db", tmp_path / "b" / "audit.db"
    for path, text in ((db, "one"), (other, "two")):
        path.parent.mkdir()
        build(path, 300, text=text)
        with open_manager(path) as manager:
            manager.close_segment(why=None)
    with reopen(other) as writer:
        writer.append(noted("more"))
    assert refused_with(db, {}, [head(other, 301)]) == "retention.conflict"
    assert refused_with(db, {}, [head(other, 302)]) == "retention.conflict"


def test_a_head_counts_where_an_anchor_gives_it_back(db: Path, tmp_path: Path) -> None:
    """What stands in a file beside the ledger is nobody's word: whoever changes the one can change
    the other.
    """
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    kept = head(db)
    remembered = {name: AnchorState(size=300, note=str(kept)) for name in ("file", "witness:w/1")}
    write_state(state_path(db), AnchorStates(LOG, remembered))
    assert refused_with(db, {}, []) == "retention.not_anchored"
    elsewhere = tmp_path / "elsewhere" / "heads.jsonl"
    elsewhere.parent.mkdir()
    chosen = settings(db).override(anchors={"file": elsewhere})
    with (
        open_manager(db, days=OLD, chosen=chosen) as manager,
        pytest.raises(RetentionError) as caught,
    ):
        manager.prune(why=None)
    assert caught.value.code == "retention.not_anchored"
    file = FileAnchor(elsewhere, key=SIGNING.log_key(LOG).key, verify=verify_signature)
    file.publish(kept, lambda *_: ())
    with open_manager(db, days=OLD, chosen=chosen) as manager:
        assert manager.prune(why=None).deleted == 299
    assert intact(db, kept)


def test_a_head_that_a_person_gives_counts_if_an_anchor_vouches_for_it(
    db: Path, tmp_path: Path
) -> None:
    """``guardrail checkpoint`` prints one of any ledger: the error says why it does not count, and
    what makes it count.
    """
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    elsewhere = tmp_path / "elsewhere" / "heads.jsonl"
    elsewhere.parent.mkdir()
    key = SIGNING.log_key(LOG)
    seen = head(db)
    printed = SignedNote.sign(seen.text, key.key, key.sign)
    witness, file, none = (
        settings(db),
        settings(db).override(anchors={"witness": (), "file": elsewhere}),
        settings(db).override(anchors={"witness": ()}),
    )
    for chosen, given, why in (
        (none, printed, "no file or witness in [anchors]"),
        (none, seen, "no file or witness in [anchors]"),
        (witness, printed, "w.example/1 did not cosign it"),
        (file, printed, "the anchor file does not hold it"),
        (file, seen, "the anchor file does not hold it"),
        (witness, head(db, keys=Keys.ephemeral(b"s" * 32)), "not a head of this log"),
    ):
        with (
            open_manager(db, days=OLD, chosen=chosen) as manager,
            pytest.raises(RetentionError) as caught,
        ):
            manager.prune(why=None, given=[given])
        assert caught.value.code == "retention.not_anchored"
        assert why in caught.value.message
        assert "guardrail anchor" in caught.value.hint
    elsewhere.write_bytes(head_line(printed, 1.0))
    with open_manager(db, days=OLD, chosen=file) as manager:
        assert manager.prune(why=None, given=[printed]).deleted == 299


def test_a_head_that_nobody_vouches_for_can_still_contradict_the_ledger(
    db: Path, tmp_path: Path
) -> None:
    """The log's key signed it over other records: nothing is deleted, whatever the anchors say."""
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    key = SIGNING.log_key(LOG)
    other = SignedNote.sign(Checkpoint(LOG, 200, bytes(32)).text, key.key, key.sign)
    assert refused_with(db, {}, [head(db), other]) == "retention.conflict"
    larger = SignedNote.sign(Checkpoint(LOG, 9999, bytes(32)).text, key.key, key.sign)
    assert refused_with(db, {}, [larger]) == "retention.conflict"


def test_every_head_in_an_anchor_file_must_be_of_this_ledger(db: Path, tmp_path: Path) -> None:
    """A line that was added behind does not hide the ones before."""
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    elsewhere = tmp_path / "elsewhere" / "heads.jsonl"
    elsewhere.parent.mkdir()
    key = SIGNING.log_key(LOG)
    other = SignedNote.sign(Checkpoint(LOG, 200, bytes(32)).text, key.key, key.sign)
    elsewhere.write_bytes(head_line(other, 1.0) + head_line(head(db), 2.0))
    chosen = settings(db).override(anchors={"file": elsewhere})
    with (
        open_manager(db, days=OLD, chosen=chosen) as manager,
        pytest.raises(RetentionError) as caught,
    ):
        manager.prune(why=None)
    assert caught.value.code == "retention.conflict"


def test_a_witness_vouches_by_its_signature(db: Path, tmp_path: Path) -> None:
    """It need not answer: what it signed stands in the file beside the ledger, and nobody else can
    have made it.
    """
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    key = SIGNING.log_key(LOG).key
    with witness(tmp_path, Known(key)) as server:  # type: ignore[arg-type]
        anchor = WitnessAnchor(server.url, key=server.key, verify=verify_signature)
        put = anchor.publish(head(db), lambda *_: ())
        told = f"{server.url} {server.key}"
        name = anchor.name
    chosen = settings(db).override(anchors={"witness": (told,)})
    write_state(
        state_path(db), AnchorStates(LOG, {name: AnchorState(size=300, note=str(head(db)))})
    )
    with (
        open_manager(db, days=OLD, chosen=chosen) as manager,
        pytest.raises(RetentionError) as caught,
    ):
        manager.prune(why=None)
    assert caught.value.code == "retention.not_anchored"
    write_state(
        state_path(db), AnchorStates(LOG, {name: AnchorState(size=300, note=str(put.note))})
    )
    with open_manager(db, days=OLD, chosen=chosen) as manager:
        assert manager.prune(why=None).deleted == 299


@dataclass(frozen=True, slots=True)
class Known:
    """A log that the witness knows."""

    key: NoteKey


def forged(folder: Path, manifest: Manifest, lines: list[bytes], first: int) -> None:
    """Put a copy of other lines in the place of a segment's, whole in itself: no key is needed for
    that.
    """
    edge = Edge()
    for line in lines:
        edge.append(leaf_hash(line))
    data = gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0)
    records = [json.loads(line) for line in lines]
    said = {
        **asdict(manifest),
        "first": first,
        "last": first + len(lines) - 1,
        "root": edge.root().hex(),
        "leaf": leaf_hash(lines[-1]).hex(),
        "prev": records[0]["prev"],
        "edge": [],
        "digest": hashlib.sha256(data).hexdigest(),
        "newest": max(each["ts"] for each in records),
    }
    name = segments.name_of(manifest.genesis, manifest.segment)
    segments.remove(folder, name)
    (folder / manifest.file).write_bytes(data)
    (folder / f"{name}.json").write_text(json.dumps(said))
    made = read_manifest(folder, manifest.genesis, manifest.segment)
    assert made is not None
    segments.verify(folder, made)


@pytest.mark.parametrize("where", ["beside", "archive"])
@pytest.mark.parametrize("what", ["short", "edited"])
def test_a_copy_that_is_whole_and_not_what_was_sealed_keeps_the_records(
    db: Path, tmp_path: Path, where: str, what: str
) -> None:
    """Each copy is compared with the record that sealed it, not with what stands beside it."""
    archive = tmp_path / "archive"
    with open_manager(db, archive=archive) as manager:
        made = manager.close_segment(why=None).copied[0]
        manager.archive(why=None)
    with LedgerReader.open(db) as reader:
        lines = [line for _, _, line in reader.lines(0, 300)]
    if what == "short":
        lines = lines[:1]
    else:
        for at in range(1, 300):
            record = {**json.loads(lines[at]), "prev": leaf_hash(lines[at - 1]).hex()}
            lines[at] = dumps({**record, "detail": {"text": "another"}})
    forged(folder_of(db) if where == "beside" else archive, made, lines, 0)
    assert refused_with(db, {"archive": archive}, [head(db)]) == "retention.copy_wrong"
    with open_manager(db, archive=archive) as manager:
        if where == "beside":
            with pytest.raises(RetentionError) as caught:
                manager.archive(why=None)
            assert caught.value.code == "retention.copy_wrong"
        else:
            assert len(manager.archive(why=None)) == 1, "it is made anew from the good one"


def test_an_archived_copy_is_the_one_that_was_recorded(db: Path, tmp_path: Path) -> None:
    """The same lines in another file are another copy: its digest is in no record."""
    archive = tmp_path / "archive"
    with open_manager(db, archive=archive) as manager:
        made = manager.close_segment(why=None).copied[0]
        manager.archive(why=None)
    data = gzip.compress(gzip.decompress((archive / made.file).read_bytes()), 1, mtime=0)
    [said] = archive.glob("*.json")
    for path in (archive / made.file, said):
        os.chmod(path, 0o600)
    (archive / made.file).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    said.write_text(json.dumps({**json.loads(said.read_text()), "digest": digest}))
    assert refused_with(db, {"archive": archive}, [head(db)]) == "retention.copy_wrong"


@pytest.mark.parametrize("how", ["same", "link", "file"])
def test_an_archive_that_is_the_segments_own_folder_is_refused(
    db: Path, tmp_path: Path, how: str
) -> None:
    """Named twice, through a link, or with the copy linked into it: there would be one copy, and it
    would expire.
    """
    archive = tmp_path / "archive"
    with open_manager(db) as manager:
        made = manager.close_segment(why=None).copied[0]
    if how == "same":
        archive = folder_of(db)
    elif how == "link":
        archive.symlink_to(folder_of(db), target_is_directory=True)
    else:
        with open_manager(db, archive=archive) as manager:
            manager.archive(why=None)
        (archive / made.file).unlink()
        os.link(folder_of(db) / made.file, archive / made.file)
    assert refused_with(db, {"archive": archive}, [head(db)]) == "retention.one_copy"
    if how != "file":
        with open_manager(db, archive=archive) as manager:
            for act in (manager.archive, manager.expire):
                with pytest.raises(RetentionError) as caught:
                    act(why=None)
                assert caught.value.code == "retention.one_copy"


def test_a_ledger_that_is_not_whole_is_not_pruned_and_nothing_expires(
    db: Path, tmp_path: Path
) -> None:
    """What was changed would go with the rest: a line, a stored hash, the head, kept hashes."""
    archive = tmp_path / "archive"
    with open_manager(db, archive=archive) as manager:
        manager.close_segment(why=None)
        manager.archive(why=None)
    kept = head(db)
    for change in (
        "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0",
        "INSERT INTO tile VALUES (0, 1, zeroblob(64))",
        "INSERT INTO call VALUES (1, 'x', 5, NULL, 'p', 'h', 1)",
    ):
        tampered = db.parent.with_name("other") / "audit.db"
        shutil.rmtree(tampered.parent, ignore_errors=True)
        shutil.copytree(db.parent, tampered.parent)
        execute(tampered, change)
        assert refused_with(tampered, {"archive": archive}, [kept]) == "retention.not_whole"
    with open_manager(db, days=OLD, archive=archive) as manager:
        manager.prune(why=None, given=[kept])
    first = "CAST(zeroblob(32) || substr(hashes, 33) AS BLOB)"
    execute(db, f"UPDATE tile SET hashes = {first} WHERE level = 0 AND number = 0")
    with (
        open_manager(db, days=OLD, archive=archive) as manager,
        pytest.raises(RetentionError) as caught,
    ):
        manager.expire(why=None)
    assert caught.value.code == "retention.not_whole"
    assert len(list(folder_of(db).glob("*.gz"))) == 1


def test_a_seal_is_never_over_a_tree_that_the_lines_do_not_make(db: Path) -> None:
    """It says for ever what its segment must be."""
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    with reopen(db) as writer:
        for number in range(40):
            writer.submit(noted(f"more-{number}"))
        writer.append(noted("last"))
    execute(db, "UPDATE tile SET hashes = zeroblob(32) WHERE level = 1")
    with open_manager(db) as manager, pytest.raises(LedgerError) as caught:
        manager.close_segment(why=None)
    assert caught.value.code == "ledger.damaged"
    assert len(details(db, "admin.sealed")) == 1


def test_a_seal_that_is_hidden_for_a_moment_is_not_made_again(db: Path) -> None:
    """No record gets into two segments: the lines are read before a seal is written."""
    with open_manager(db) as manager:
        before = manager.facts()
        manager.close_segment(why=None)
    with reopen(db) as writer:
        writer.append(noted("more"))
    hide = (
        "REPLACE INTO record (seq, leaf, line) SELECT seq, leaf, replace(line, '{}', '{}') "
        "FROM record WHERE json_extract(line, '$.type') = '{}'"
    )
    with open_manager(db) as manager:
        execute(db, hide.format('"admin.sealed"', '"admin.hidden"', "admin.sealed"))
        with pytest.raises(LedgerError) as caught:
            manager.close_segment(why=None)
        assert caught.value.code == "ledger.damaged"
        execute(db, hide.format('"admin.hidden"', '"admin.sealed"', "admin.hidden"))
        with pytest.raises(LedgerError) as caught:
            manager._record_segment(before, None)  # it is back before the lines are read
        assert caught.value.code == "ledger.unproved"
        assert len(details(db, "admin.sealed")) == 1
        manager.close_segment(why=None)
    assert [each["segment"] for each in details(db, "admin.sealed")] == [1, 2]


def test_a_segment_whose_pruning_has_begun_needs_a_copy_too(db: Path, tmp_path: Path) -> None:
    """It can't be made anew: the one beside the ledger, or the one in the archive."""
    archive = tmp_path / "archive"
    with open_manager(db, archive=archive) as manager:
        made = manager.close_segment(why=None).copied[0]
        manager.archive(why=None)
    kept = [head(db)]
    cut(db, 100)
    segments.remove(folder_of(db), segments.name_of(made.genesis, 1))
    assert refused_with(db, {}, kept) == "retention.not_sealed"
    with open_manager(db, days=OLD, archive=archive) as manager:
        assert manager.prune(why=None, given=kept).deleted == 200


def test_a_copy_that_was_changed_keeps_the_records(db: Path) -> None:
    """What is left after pruning is the copy, so it is read in full before."""
    with open_manager(db) as manager:
        made = manager.close_segment(why=None).copied[0]
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
    monkeypatch.setattr(
        "guardrail.ledger.sqlite.appending.utc_timestamp", lambda: "2020-01-01T00:00:00.000000Z"
    )
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    monkeypatch.undo()
    with open_manager(db) as manager, pytest.raises(RetentionError) as caught:
        manager.prune(why=None, given=[head(db)])
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
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    chosen = settings(db).override(approvals={"request_ttl_s": 31_536_000})
    with open_manager(db, days=200, chosen=chosen.override(retention={"days": 190})) as manager:
        assert manager.prunable() == 11
        assert manager.prune(why=None, given=[head(db)]).deleted == 10
    with open_manager(db, days=OLD, chosen=chosen) as manager:
        assert manager.prunable() == 22
    with reopen(db) as writer:
        writer.append(decision(new_ulid(), writer.process))
        writer.append(noted("x"))
        with open_manager(db, days=0) as manager:
            manager.close_segment(why=None)
        with open_manager(db, days=OLD) as manager:
            assert manager.prunable() == 24


def test_the_archive_gets_verified_copies_each_on_the_record(db: Path, tmp_path: Path) -> None:
    """Byte for byte; what is there is not copied again, and what is damaged is."""
    archive = tmp_path / "other" / "disk"
    with open_manager(db, archive=archive) as manager:
        made = manager.close_segment(why=None).copied[0]
        [put] = manager.archive(why="weekly")
        assert manager.archive(why=None) == []
    assert (archive / put.file).read_bytes() == (folder_of(db) / made.file).read_bytes()
    assert details(db, "admin.archived") == [
        {"segment": 1, "file": put.file, "digest": made.digest, "reason": "weekly"}
    ]
    (archive / put.file).unlink()
    with open_manager(db, archive=archive) as manager:
        assert len(manager.archive(why=None)) == 1


def test_copies_whose_time_is_over_are_deleted_on_the_record(db: Path, tmp_path: Path) -> None:
    """Those beside the ledger with the records, those in the archive after its own time; never
    under a hold.
    """
    archive = tmp_path / "archive"
    chosen = {"archive": archive, "archive_days": 1000}
    with open_manager(db, **chosen) as manager:
        made = manager.close_segment(why=None).copied[0]
        manager.archive(why=None)
    kept = head(db)
    with open_manager(db, days=OLD, **chosen) as manager:
        assert manager.expired() == []
        manager.prune(why=None, given=[kept])
        assert [folder for folder, _ in manager.expired()] == [folder_of(db)]
        manager.expire(why="old")
    assert list(folder_of(db).iterdir()) == []
    assert (archive / made.file).exists()
    with open_manager(db, days=1001, **chosen) as manager:
        manager.hold("case-1", add=True, why="court order")
        assert manager.expired() == []
        manager.hold("case-1", add=False, why="over")
        assert [folder for folder, _ in manager.expire(why="old")] == [archive]
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
    with open_manager(db, **chosen) as manager:
        manager.close_segment(why=None)
        manager.archive(why=None)
    with open_manager(db, days=OLD, **chosen) as manager:
        manager.prune(why=None, given=[head(db)])
        manager.expire(why=None)
        [beside] = archive.glob("*.json")
        os.chmod(beside, 0o600)
        said = json.loads(beside.read_text())
        beside.write_text(json.dumps({**said, "newest": "2001-01-01T00:00:00.000000Z"}))
        assert len(manager.expired()) == 1
        with pytest.raises(RetentionError) as caught:
            manager.expire(why=None)
    assert caught.value.code == "retention.copy_wrong"
    assert len(list(archive.glob("*.gz"))) == 1


def test_holds_stand_until_they_are_released(db: Path) -> None:
    """Each by its name; one that stands can't be begun again, one that does not can't be
    released.
    """
    with open_manager(db) as manager:
        manager.hold("a", add=True, why="one")
        manager.hold("b", add=True, why="two")
        with pytest.raises(RetentionError):
            manager.hold("a", add=True, why="again")
        manager.hold("a", add=False, why="over")
        with pytest.raises(RetentionError):
            manager.hold("a", add=False, why="again")
        assert [(each.id, each.reason, each.who) for each in manager.facts().holds] == [
            ("b", "two", "tester")
        ]


def test_reading_for_long_keeps_no_wal_from_being_written_anew(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls go on meanwhile: what is sealed, and what deleting is grounded on, is read in short
    transactions.
    """
    busy: list[int] = []

    def look() -> None:
        connection = sqlite3.connect(db, isolation_level=None, timeout=0)
        busy.append(connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0])
        connection.close()

    def hashed(line: bytes) -> bytes:
        if not busy:
            look()
        return leaf_hash(line)

    monkeypatch.setattr("guardrail.retention.closing.leaf_hash", hashed)
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    real = FactCollector.take

    def take(self: FactCollector, seq: int, record: dict[str, object]) -> None:
        if seq == 100:
            look()
        real(self, seq, record)

    monkeypatch.setattr(FactCollector, "take", take)
    with open_manager(db, days=OLD) as manager:
        assert manager.prune(why=None, given=[head(db)]).deleted == 299
    assert busy == [0, 0]
    assert intact(db)


def test_one_process_at_a_time_works_on_the_records(db: Path) -> None:
    """The other one is told, and does nothing."""
    with open_manager(db), pytest.raises(RetentionError) as caught, open_manager(db):
        pass
    assert caught.value.code == "retention.busy"


def test_the_life_of_three_segments_over_years(db: Path, tmp_path: Path) -> None:
    """Sealed, archived and pruned one after the other; heads kept at each stage fit what is left in
    the end.
    """
    archive = tmp_path / "archive"
    kept = []
    for number in range(3):
        with open_manager(db, archive=archive) as manager:
            manager.close_segment(why=None)
            manager.archive(why=None)
        kept.append(head(db))
        with reopen(db) as writer:
            for each in range(100):
                writer.submit(noted(f"more-{number}-{each}"))
            writer.append(noted("last"))
    with open_manager(db, days=OLD, archive=archive) as manager:
        assert [each.number for each in manager.facts().segments] == [1, 2, 3]
        done = manager.prune(why=None, given=kept)
        manager.expire(why=None)
        facts = manager.facts()
        assert facts.first == done.before
        assert facts.last_number == 3
        assert manager.close_segment(why=None).segment is not None
        assert [each.number for each in manager.facts().segments] == [4]
    manifest = json.loads(next(folder_of(db).glob("*-000004.json")).read_text())
    assert manifest["first"] == done.before
    assert intact(db, *kept)
