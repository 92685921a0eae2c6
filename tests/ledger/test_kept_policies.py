"""The sources of policies that are kept next to a ledger."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import LedgerError
from guardrail.ledger.kept_policies import (
    MAX_SOURCE,
    KeptFile,
    KeptPolicies,
    PolicyHold,
    SourceFault,
    SourceKind,
)
from tests.support.full_disk import fill, small_disk

MODULES, DATA = b"8:a.rego" * 50, b'{"limits":{"most":5}}'
SOURCES = {SourceKind.MODULES: MODULES, SourceKind.DATA: DATA}


def file_of(content: bytes, kind: SourceKind = SourceKind.MODULES) -> KeptFile:
    return KeptFile(hashlib.sha256(content).hexdigest(), kind)


def none(_: frozenset[str]) -> Collection[str]:
    return ()


@pytest.fixture
def kept(tmp_path: Path) -> KeptPolicies:
    (tmp_path / "audit.db").touch()
    return KeptPolicies(tmp_path / "audit.db")


def test_sources_are_private_files_with_the_names_that_records_use(kept: KeptPolicies) -> None:
    kept.keep(SOURCES).release()
    assert kept.path.name == "audit.db-policies"
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o700
    files = kept.files()
    assert set(files) == {file_of(MODULES), file_of(DATA, SourceKind.DATA)}
    for file in files:
        found = kept.path / file.name
        assert stat.S_IMODE(found.stat().st_mode) == 0o600
        assert hashlib.sha256(found.read_bytes()).hexdigest() == file.digest
    assert kept.read(file_of(MODULES)) == MODULES
    assert sorted(os.listdir(kept.path)) == [file.name for file in files]


def test_keeping_again_writes_nothing(kept: KeptPolicies) -> None:
    kept.keep(SOURCES).release()
    before = {name: os.stat(kept.path / name).st_ino for name in os.listdir(kept.path)}
    kept.keep(SOURCES).release()
    assert {name: os.stat(kept.path / name).st_ino for name in os.listdir(kept.path)} == before


def test_a_changed_source_is_not_read_and_is_replaced_by_the_next_guard(kept: KeptPolicies) -> None:
    kept.keep(SOURCES).release()
    path = kept.path / file_of(MODULES).name
    for damage in (b"", MODULES[:-1], MODULES + b"x", b"y" * (1 << 20)):
        path.write_bytes(damage)
        assert kept.read(file_of(MODULES)) is SourceFault.CHANGED
        kept.keep(SOURCES).release()
        assert kept.read(file_of(MODULES)) == MODULES


@pytest.mark.parametrize("hostile", ["link", "fifo", "dangling", "unreadable"])
def test_a_name_that_leads_elsewhere_is_not_followed(
    kept: KeptPolicies, tmp_path: Path, hostile: str
) -> None:
    kept.keep(SOURCES).release()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(MODULES)
    path = kept.path / file_of(MODULES).name
    path.unlink()
    if hostile == "link":
        path.symlink_to(elsewhere)
    elif hostile == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif hostile == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"other")
        path.chmod(0)
    assert isinstance(kept.read(file_of(MODULES)), SourceFault)
    kept.keep(SOURCES).release()
    assert kept.read(file_of(MODULES)) == MODULES
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == MODULES
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_folder_that_is_none_is_refused_and_named(
    kept: KeptPolicies, tmp_path: Path, kind: str
) -> None:
    if kind == "link":
        (tmp_path / "other").mkdir()
        kept.path.symlink_to(tmp_path / "other")
    else:
        kept.path.touch()
    with pytest.raises(LedgerError, match=r"audit\.db-policies") as caught:
        kept.keep(SOURCES)
    assert caught.value.code == ("ledger.linked" if kind == "link" else "ledger.not_a_file")
    assert isinstance(kept.read(file_of(MODULES)), SourceFault)


def test_a_source_that_is_too_large_is_refused_before_anything_is_written(
    kept: KeptPolicies,
) -> None:
    with pytest.raises(LedgerError, match="too large"):
        kept.keep({SourceKind.DATA: bytes(MAX_SOURCE + 1)})
    assert not kept.path.exists()


def test_a_full_disk_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "128k") as disk:
        (disk / "audit.db").touch()
        kept = KeptPolicies(disk / "audit.db")
        kept.keep({SourceKind.DATA: DATA}).release()
        fill(disk / "filler")
        with pytest.raises(LedgerError, match="the disk is full") as caught:
            kept.keep({SourceKind.MODULES: MODULES * 100})
        assert caught.value.code == "ledger.reserve"
        assert caught.value.hint.startswith("make room")
        # A policy that is kept already needs no room.
        kept.keep({SourceKind.DATA: DATA}).release()
        assert kept.files() == [file_of(DATA, SourceKind.DATA)]
        (disk / "filler").unlink()
        kept.keep(SOURCES).release()
        assert kept.read(file_of(MODULES)) == MODULES


_KEEP = """
import sys
from pathlib import Path
from guardrail.ledger.kept_policies import KeptPolicies, SourceKind
content = sys.stdin.buffer.read()
KeptPolicies(Path(sys.argv[1])).keep({SourceKind.MODULES: content})
print("kept", flush=True)
sys.stdin.close()
import signal
signal.pause()
"""


@contextmanager
def keeper(kept: KeptPolicies, content: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that keeps *content* until it is killed."""
    db = str(kept.path.with_name("audit.db"))
    command = [sys.executable, "-c", _KEEP, db]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(content)
            process.stdin.close()
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"kept\n"


def test_four_processes_keep_one_policy(kept: KeptPolicies) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(keeper(kept, MODULES)) for _ in range(4)]
        for process in processes:
            wait_for(process)
        assert os.listdir(kept.path) == [file_of(MODULES).name]
        assert kept.read(file_of(MODULES)) == MODULES


def test_a_process_that_dies_half_way_leaves_nothing_that_counts(kept: KeptPolicies) -> None:
    kept.keep({SourceKind.DATA: DATA}).release()
    (kept.path / f".{file_of(MODULES).name}.new").write_bytes(MODULES[:100])
    assert kept.files() == [file_of(DATA, SourceKind.DATA)]
    kept.keep(SOURCES).release()
    assert len(os.listdir(kept.path)) == 2
    assert kept.read(file_of(MODULES)) == MODULES


def test_a_source_that_a_guard_uses_is_not_deleted_until_its_process_ends(
    kept: KeptPolicies,
) -> None:
    with keeper(kept, MODULES) as process:
        wait_for(process)
        kept.keep({SourceKind.DATA: DATA}).release()
        asked: list[frozenset[str]] = []

        def named(digests: frozenset[str]) -> Collection[str]:
            asked.append(digests)
            return ()

        assert kept.delete(kept.files(), named) == [file_of(DATA, SourceKind.DATA)]
        assert asked == [frozenset({file_of(DATA).digest})]
    assert kept.delete(kept.files(), none) == [file_of(MODULES)]
    assert os.listdir(kept.path) == []


def test_a_source_that_a_record_names_is_not_deleted(kept: KeptPolicies) -> None:
    kept.keep(SOURCES).release()
    gone = kept.delete(kept.files(), lambda digests: digests - {file_of(DATA).digest})
    assert gone == [file_of(DATA, SourceKind.DATA)]
    assert kept.files() == [file_of(MODULES)]


def test_a_guard_that_starts_during_a_deletion_has_its_source_afterwards(
    kept: KeptPolicies,
) -> None:
    kept.keep(SOURCES).release()
    inside, go, held = threading.Event(), threading.Event(), []

    def named(_: frozenset[str]) -> Collection[str]:
        inside.set()
        go.wait(10)
        return ()

    deleting = threading.Thread(target=lambda: kept.delete(kept.files(), named))
    deleting.start()
    inside.wait(10)
    starting = threading.Thread(target=lambda: held.append(kept.keep(SOURCES)))
    starting.start()
    go.set()
    deleting.join(10)
    starting.join(10)
    assert kept.read(file_of(MODULES)) == MODULES
    assert kept.delete(kept.files(), none) == []  # the guard holds both
    held[0].release()
    held[0].release()
    assert len(kept.delete(kept.files(), none)) == 2


def test_a_copy_holds_what_is_intact(kept: KeptPolicies, tmp_path: Path) -> None:
    kept.keep(SOURCES).release()
    (kept.path / file_of(DATA, SourceKind.DATA).name).write_bytes(b"{}")
    target = tmp_path / "copies" / "copy"
    assert kept.copy_to(target) == 1
    assert os.listdir(target) == [file_of(MODULES).name]
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert kept.copy_to(target) == 0


def test_without_a_folder_there_is_nothing_to_read_copy_or_delete(
    kept: KeptPolicies, tmp_path: Path
) -> None:
    assert kept.files() == []
    assert kept.read(file_of(MODULES)) is SourceFault.MISSING
    assert kept.copy_to(tmp_path / "copy") == 0
    assert not (tmp_path / "copy").exists()
    kept.keep({}).release()
    assert not kept.path.exists()


CONTENTS = [b"", b"1:a1:b", b"x" * 5000]
STEPS = st.tuples(
    st.sampled_from(["keep", "release", "damage", "delete"]),
    st.integers(0, len(CONTENTS) - 1),
    st.sets(st.integers(0, len(CONTENTS) - 1)),
)


@given(st.lists(STEPS, max_size=12))
def test_whatever_happens_a_source_is_its_content_or_nothing(
    steps: list[tuple[str, int, set[int]]],
) -> None:
    """Only what nobody holds and no record names is deleted, and only damage makes a kept source
    unreadable.
    """
    files = [file_of(content) for content in CONTENTS]
    with tempfile.TemporaryDirectory() as folder:
        kept = KeptPolicies(Path(folder) / "audit.db")
        there: set[int] = set()
        holds: dict[int, list[PolicyHold]] = {number: [] for number in range(len(CONTENTS))}
        for what, number, named in steps:
            if what == "keep":
                holds[number].append(kept.keep({SourceKind.MODULES: CONTENTS[number]}))
                there.add(number)
            elif what == "release" and holds[number]:
                holds[number].pop().release()
            elif what == "damage" and number in there:
                (kept.path / files[number].name).write_bytes(b"damaged")
                there.discard(number)
                for hold in holds.pop(number):
                    hold.release()
                holds[number] = []
            elif what == "delete" and kept.path.exists():
                digests = {files[each].digest for each in named}
                kept.delete(kept.files(), digests.intersection)
                there = {each for each in there if holds[each] or each in named}
            for each, file in enumerate(files):
                found = kept.read(file)
                assert found == CONTENTS[each] if each in there else isinstance(found, SourceFault)
        for each_of in holds.values():
            for hold in each_of:
                hold.release()
