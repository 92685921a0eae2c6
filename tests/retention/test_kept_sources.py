"""Kept sources of policies are deleted with the last record that names them, and copied with the
records.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from guardrail.errors import RetentionError
from guardrail.ledger.kept_policies import KeptFile, KeptPolicies, SourceKind
from guardrail.retention import kept_sources
from guardrail.retention.kept_sources import delete_unnamed, sources_of
from tests.support.retention import build, cut, head, noted, open_manager, reopen, settings

OLD = 500.0
FIRST, SECOND, DATA = b"1:a5:first", b"1:a6:second", b'{"x":1}'


def file_of(content: bytes) -> KeptFile:
    kind = SourceKind.DATA if content == DATA else SourceKind.MODULES
    return KeptFile(hashlib.sha256(content).hexdigest(), kind)


def name_in(db: Path, content: bytes, others: int = 0) -> None:
    """Add a record that names *content*, and so many others."""
    with reopen(db) as writer:
        writer.append(noted(f"policy {file_of(content).digest}"))
        for number in range(others):
            writer.submit(noted(f"other {number}"))
        writer.append(noted("end"))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "audit.db"
    build(path, 3)
    return path


def keep(db: Path, *contents: bytes) -> KeptPolicies:
    kept = KeptPolicies(db)
    for content in contents:
        kept.keep({file_of(content).kind: content}).release()
    return kept


@pytest.mark.parametrize("others", [0, 700])
def test_a_source_is_deleted_with_the_last_record_that_names_it(db: Path, others: int) -> None:
    name_in(db, FIRST, others)
    name_in(db, SECOND, others)
    name_in(db, DATA, others)
    kept = keep(db, FIRST, SECOND, DATA)
    assert delete_unnamed(db) == 0
    cut(db, 4)  # record 3 named the first
    assert delete_unnamed(db) == 1
    assert set(kept.files()) == {file_of(SECOND), file_of(DATA)}
    assert delete_unnamed(db) == 0


def test_a_source_is_found_by_whatever_record_names_it(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the log the only one is, also if the first look misses it."""
    monkeypatch.setattr(kept_sources, "PROBES", 4)
    for place in (3, 30, 60):
        while_before = [noted(f"x {number}") for number in range(place)]
        with reopen(db) as writer:
            for draft in while_before:
                writer.submit(draft)
            writer.append(noted("end"))
        name_in(db, FIRST, 5)
        kept = keep(db, FIRST)
        assert delete_unnamed(db) == 0
        assert kept.files() == [file_of(FIRST)]


def test_a_record_that_is_written_meanwhile_saves_its_source(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard starts, records its policy and ends, between the search and the deletion."""
    kept = keep(db, FIRST)
    delete = KeptPolicies.delete

    def late(self: KeptPolicies, files: list[KeptFile], named: object) -> list[KeptFile]:
        name_in(db, FIRST)
        return delete(self, files, named)  # type: ignore[arg-type]

    monkeypatch.setattr(KeptPolicies, "delete", late)
    assert delete_unnamed(db) == 0
    assert kept.files() == [file_of(FIRST)]


def test_pruning_deletes_them_and_the_copies_keep_them_until_they_expire(
    db: Path, tmp_path: Path
) -> None:
    """The copy of a segment, and the one in the archive, have the policies that their records name:
    otherwise nothing could be derived from them.
    """
    archive = tmp_path / "archive"
    name_in(db, FIRST)
    kept = keep(db, FIRST)
    chosen = settings(db, days=400, archive=archive)
    with open_manager(db, chosen=chosen) as manager:
        manager.close_segment(why=None)
        manager.archive(why=None)
    beside = tmp_path / "audit.db-segments"
    for folder in (beside, archive):
        copied = KeptPolicies(folder, sources_of(folder))
        assert copied.read(file_of(FIRST)) == FIRST
    with open_manager(db, days=OLD, chosen=chosen) as manager:
        done = manager.prune(why=None, given=[head(db)])
        assert done.deleted
    assert kept.files() == []
    assert KeptPolicies(beside, sources_of(beside)).files() == [file_of(FIRST)]
    with open_manager(db, days=OLD, chosen=chosen) as manager:
        assert len(manager.expire(why=None)) == 2
    for folder in (beside, archive):
        assert os.listdir(sources_of(folder)) == []


def test_pruning_that_was_killed_before_the_deletion_is_finished_by_the_next_one(db: Path) -> None:
    """Nothing is left to prune then, and the source goes nevertheless."""
    name_in(db, FIRST)
    kept = keep(db, FIRST)
    cut(db, 4)
    assert kept.files() == [file_of(FIRST)]
    with open_manager(db, days=400) as manager:
        assert manager.prune(why=None).deleted == 0
    assert kept.files() == []


def test_a_folder_that_cannot_be_read_is_an_error_with_a_next_step(db: Path) -> None:
    KeptPolicies(db).path.touch()
    with pytest.raises(RetentionError, match="can't be deleted") as caught:
        delete_unnamed(db)
    assert caught.value.hint == "guardrail retention run"
