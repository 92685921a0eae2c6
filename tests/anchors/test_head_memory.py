"""The memory of heads: a lost folder, a wiped ledger and an older copy are noticed without any
configuration.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.anchors import memory as memories
from guardrail.anchors.memory import HeadMemory, memory_folder, memory_of
from guardrail.config import AnchorSettings, Settings
from guardrail.core.log.checkpoint import SignedNote
from guardrail.errors import AnchorError, ConfigError, LedgerOpenError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.files import utc_timestamp
from guardrail.review.doctor.memory import memory as check
from guardrail.review.doctor.result import CheckState
from guardrail.system import state_folder as states
from guardrail.wiring.suspending import open_suspender, subject_of
from tests.support.projects import new_project


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a project whose memory is a folder beside it."""
    text = '[ledger]\npath = "audit.db"\n[anchors]\nmemory = "../heads"\n'
    project = new_project(tmp_path / "p", text)
    return Settings.load(project / "guardrail.toml", environment={})


def remembering(settings: Settings) -> HeadMemory:
    """Return the memory of the project's ledger."""
    found = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    assert found is not None
    return found


def calls(settings: Settings, count: int = 3) -> None:
    """Open a guard, make calls, close it."""
    with Guard.open(settings) as guard, guard.session(principal="alice"):
        for _ in range(count):
            guard.call("x", {}, lambda: None)


def size(settings: Settings) -> int:
    """Return how many records the remembered head covers."""
    remembered = remembering(settings).read()
    assert remembered is not None
    return remembered.head.size


def refused(settings: Settings) -> str:
    """Open a guard, which is refused; return the code."""
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open(settings)
    assert "guardrail anchor forget" in caught.value.hint
    return caught.value.code


def ledger_files(settings: Settings) -> list[Path]:
    """Return everything that belongs to the ledger: files, keys, leases."""
    return sorted(settings.ledger.path.parent.glob("audit*"))


def remove(settings: Settings) -> None:
    """Remove the ledger and its keys, as a lost volume does."""
    for path in ledger_files(settings):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def copy(settings: Settings, target: Path) -> None:
    """Copy the ledger and its keys to *target*."""
    target.mkdir()
    for path in ledger_files(settings):
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, target / path.name)


def restore(settings: Settings, source: Path) -> None:
    """Put a copy in place of the ledger."""
    remove(settings)
    for path in source.iterdir():
        target = settings.ledger.path.parent / path.name
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, target)


def test_each_guard_leaves_the_newest_head(settings: Settings) -> None:
    """At the latest when it is closed; the file and its folder are the owner's alone."""
    calls(settings)
    first = size(settings)
    calls(settings)
    assert size(settings) > first
    memory = remembering(settings)
    assert stat.S_IMODE(memory.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(memory.folder.stat().st_mode) == 0o700
    assert check(settings).state is CheckState.OK
    assert f"{size(settings):,} records" in check(settings).found


def test_a_removed_folder_does_not_begin_a_new_log_in_silence(settings: Settings) -> None:
    """Ledger and keys are gone, as on a new volume: without the memory this is a first start."""
    calls(settings)
    remove(settings)
    assert refused(settings) == "ledger.missing"
    assert ledger_files(settings) == []
    found = check(settings)
    assert found.state is CheckState.FAIL
    assert "does not exist" in found.found


def test_a_ledger_that_was_removed_on_purpose_is_forgotten(settings: Settings) -> None:
    """Then a new log begins."""
    calls(settings)
    remove(settings)
    assert remembering(settings).forget()
    assert not remembering(settings).forget()
    calls(settings)


def test_an_older_copy_is_refused_before_anything_is_written_to_it(
    settings: Settings, tmp_path: Path
) -> None:
    """A record on the older copy would make a fork of it."""
    calls(settings)
    copy(settings, tmp_path / "old")
    calls(settings)
    restore(settings, tmp_path / "old")
    before = settings.ledger.path.read_bytes()
    assert refused(settings) == "ledger.rolled_back"
    assert settings.ledger.path.read_bytes() == before
    assert check(settings).state is CheckState.FAIL


def test_a_copy_from_before_a_suspension_does_not_lift_it(settings: Settings) -> None:
    """Also if no guard has run since, so that only the command knows of the suspension."""
    calls(settings)
    folder = settings.ledger.path.parent
    copies = {path: path.read_bytes() for path in folder.glob("audit.db*") if path.is_file()}
    with open_suspender(settings) as (suspender, _):
        subject = subject_of("principal:alice")
        suspender.suspend(subject, reason="x", until=None, now=utc_timestamp)
    assert remembering(settings).read() is not None
    for path in folder.glob("audit.db*"):
        if path.is_file():
            path.unlink()
    for path, content in copies.items():
        path.write_bytes(content)
    with pytest.raises(LedgerOpenError, match="truncated or rolled back"):
        calls(settings)
    assert check(settings).state is CheckState.FAIL


def test_an_older_copy_that_was_written_on_is_refused(settings: Settings, tmp_path: Path) -> None:
    """It has more records than the head remembered, and other ones."""
    calls(settings)
    copy(settings, tmp_path / "old")
    calls(settings)
    restore(settings, tmp_path / "old")
    calls(settings.override(anchors={"memory": False}), 20)
    assert refused(settings) == "ledger.forked"


def test_another_log_at_the_same_path_is_refused(settings: Settings) -> None:
    """Same name and same path, made anew with other keys."""
    calls(settings)
    remove(settings)
    calls(settings.override(anchors={"memory": False}), 20)
    assert refused(settings) == "ledger.replaced"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"{"),
        lambda file: file.write_bytes(b'{"v": 1}'),
        lambda file: file.write_bytes(b"[" * 100_000),
        lambda file: file.write_text(file.read_text().replace('"v": 1', '"v": 2')),
        lambda file: file.write_text(file.read_text().replace("audit.db", "other.db")),
        lambda file: _edit(file, lambda head: head.replace("\n", "\n1", 1)),
        lambda file: _edit(file, lambda head: head[:-20] + "A" * 19 + "\n"),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
        lambda file: (file.unlink(), os.mkfifo(file)),
        lambda file: os.truncate(file, 2**40),
    ],
)
def test_a_memory_that_holds_nonsense_is_reported_and_refuses_nothing(
    settings: Settings, spoil: Callable[[Path], Any]
) -> None:
    """It is within reach of the same user: whoever could spoil it could remove it. Nothing hangs on
    what is there.
    """
    calls(settings)
    memory = remembering(settings)
    spoil(memory.file)
    with pytest.raises(AnchorError) as caught:
        memory.read()
    assert caught.value.code == "anchor.memory"
    calls(settings)
    assert check(settings).state is CheckState.NOTE


def _edit(file: Path, change: Callable[[str], str]) -> None:
    document = json.loads(file.read_text())
    document["head"] = change(document["head"])
    file.write_text(json.dumps(document))


def test_a_folder_that_can_not_be_written_is_a_remark(settings: Settings, tmp_path: Path) -> None:
    """Calls do not depend on it."""
    (tmp_path / "heads").write_text("a file where the folder belongs")
    calls(settings)
    assert check(settings).state is CheckState.NOTE
    assert "can't write to" in check(settings).found


def test_a_folder_that_nobody_can_make_is_a_remark_whatever_the_rights_say(
    settings: Settings,
) -> None:
    """Root may write everywhere, and can't make a folder there either."""
    nowhere = settings.override(anchors={"memory": "/proc/nowhere"})
    calls(nowhere)
    assert check(nowhere).state is CheckState.NOTE
    assert "this user can't write to /proc/nowhere" in check(nowhere).found


def test_looking_at_the_memory_leaves_nothing_in_its_folder(settings: Settings) -> None:
    """Neither a folder that was not there yet, nor a file in one that is."""
    folder = remembering(settings).folder
    assert check(settings).state is CheckState.OK
    assert not folder.exists()
    calls(settings)
    before = sorted(folder.iterdir())
    assert check(settings).state is CheckState.OK
    assert sorted(folder.iterdir()) == before


def test_a_smaller_head_never_replaces_a_larger_one(settings: Settings, tmp_path: Path) -> None:
    """Two processes keep heads in any order."""
    calls(settings)
    memory = remembering(settings)
    small = memory.read()
    calls(settings)
    large = memory.read()
    assert small is not None
    assert large is not None
    with pytest.raises(AnchorError) as caught:
        memory.keep(small.note, small.key, lambda first, size: ())
    assert caught.value.code == "anchor.conflict"
    assert memory.read() == large
    memory.keep(large.note, large.key, lambda first, size: ())
    forged = SignedNote(large.note.text.replace(str(large.head.size), "99999"), ())
    with pytest.raises(AnchorError):
        memory.keep(forged, large.key, lambda first, size: ())
    assert memory.read() == large
    memory.replace(small.note, small.key)
    assert memory.read() == small


def test_processes_that_end_together_leave_the_largest_head(settings: Settings) -> None:
    """Four of them, on one ledger."""
    program = (
        "import sys; from guardrail import Guard\n"
        "with Guard.open(sys.argv[1]) as guard, guard.session(principal='alice'):\n"
        "    for _ in range(10): guard.call('x', {}, lambda: None)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(settings.source)]) for _ in range(4)
    ]
    assert [process.wait(120) for process in running] == [0] * 4
    assert size(settings) >= 4 * 20
    calls(settings)


def test_ledgers_in_temporary_directories_have_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are expected to vanish; a folder that is set is used all the same, and false turns it
    off.
    """
    standard = AnchorSettings()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr(states, "TEMPORARY", ())
    (tmp_path / "t").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "t")
    assert memory_of(standard, tmp_path / "t" / "a" / "audit.db", verify_signature) is None
    assert memory_of(standard, tmp_path / "link" / "audit.db", verify_signature) is None
    assert memory_of(standard, tmp_path / "kept" / "audit.db", verify_signature) is not None
    here = AnchorSettings(memory=tmp_path / "heads")
    assert memory_of(here, tmp_path / "t" / "audit.db", verify_signature) is not None
    off = AnchorSettings(memory=False)
    assert memory_of(off, tmp_path / "kept" / "audit.db", verify_signature) is None


def test_the_memory_is_in_the_users_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG Base Directory Specification: relative values do not count. Root's is one for the
    machine.
    """
    monkeypatch.setattr(memories.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/alice")
    state = AnchorSettings()
    assert memory_folder(state, {}) == Path("/home/alice/.local/state/guardrail/heads")
    assert memory_folder(state, {"XDG_STATE_HOME": "/s"}) == Path("/s/guardrail/heads")
    assert memory_folder(state, {"XDG_STATE_HOME": "s"}) == memory_folder(state, {})
    monkeypatch.setattr(memories.os, "geteuid", lambda: 0)
    assert memory_folder(state, {"XDG_STATE_HOME": "/s"}) == Path("/var/lib/guardrail/heads")


@pytest.mark.parametrize("value", ["5", '""', "[]", "1.5"])
def test_the_setting_is_a_switch_or_a_folder(tmp_path: Path, value: str) -> None:
    """Anything else is refused."""
    (tmp_path / "guardrail.toml").write_text(f"[anchors]\nmemory = {value}\n")
    with pytest.raises(ConfigError) as caught:
        Settings.load(tmp_path / "guardrail.toml", environment={})
    assert caught.value.code == "config.type"


def test_recover_records_the_break_and_remembers_the_new_log(settings: Settings) -> None:
    """After it guards open again, and the memory is that of the log as it is now."""
    calls(settings)
    old = remembering(settings).read()
    assert old is not None
    settings.ledger.path.write_bytes(b"no database")
    for beside in ("-wal", "-shm"):
        settings.ledger.path.with_name(settings.ledger.path.name + beside).unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from guardrail.cli import main; main()", "recover"),
            *("--config", str(settings.source), "--yes", "--reason", "lost"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 5, done
    new = remembering(settings).read()
    assert new is not None
    assert new.key.name != old.key.name
    calls(settings)


def verified(settings: Settings, *more: object) -> tuple[int, dict[str, Any], str]:
    """Return the exit code of ``guardrail verify --json``, its document, and what it says to
    people.
    """
    command = [
        *(sys.executable, "-c", "from guardrail.cli import main; main()", "verify"),
        *("--config", str(settings.source), *(str(each) for each in more)),
    ]
    done, told = (
        subprocess.run([*command, *flags], check=False, capture_output=True, text=True)
        for flags in (["--json"], [])
    )
    assert done.returncode == told.returncode, (done, told)
    return done.returncode, json.loads(done.stdout), told.stdout + told.stderr


def test_verify_says_remembered_and_never_anchored_for_a_ledger_that_agrees(
    settings: Settings,
) -> None:
    """Whoever can change the ledger can change the memory, so the exit code stays 5, pinned or
    not.
    """
    calls(settings)
    key = settings.ledger.path.with_suffix(".keys") / "log.pub"
    last = size(settings) - 1
    code, document, told = verified(settings, "--key", key)
    assert (code, document["state"], document["anchored_to"]) == (5, "not_anchored", None)
    assert (document["memory"], document["remembered_to"]) == ("agrees", last)
    assert told.startswith(f"INTACT, NOT ANCHORED, REMEMBERED up to {last}\n")
    assert "can change that memory too" in " ".join(told.split())


def test_an_anchored_ledger_that_is_remembered_is_anchored(
    settings: Settings, tmp_path: Path
) -> None:
    """The memory takes nothing away from a head that was kept elsewhere."""
    calls(settings)
    key = settings.ledger.path.with_suffix(".keys") / "log.pub"
    remembered = remembering(settings).read()
    assert remembered is not None
    (tmp_path / "head").write_text(str(remembered.note))
    code, document, told = verified(settings, "--key", key, "--checkpoint", tmp_path / "head")
    assert (code, document["state"], document["memory"]) == (0, "anchored", "agrees")
    assert told.startswith("INTACT, ANCHORED up to record")


def _removed(settings: Settings, _: Path) -> None:
    remove(settings)


def _exchanged(settings: Settings, _: Path) -> None:
    remove(settings)
    calls(settings.override(anchors={"memory": False}))


def _exchanged_for_one_of_another_name(settings: Settings, _: Path) -> None:
    remove(settings)
    calls(settings.override(anchors={"memory": False}, ledger={"log": "other"}))


def _older(settings: Settings, old: Path) -> None:
    restore(settings, old)


def _older_and_written_on(settings: Settings, old: Path) -> None:
    restore(settings, old)
    calls(settings.override(anchors={"memory": False}), 20)


def _no_database(settings: Settings, _: Path) -> None:
    settings.ledger.path.write_bytes(b"no database")
    for beside in ("-wal", "-shm"):
        settings.ledger.path.with_name(settings.ledger.path.name + beside).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (_removed, "missing"),
        (_exchanged, "replaced"),
        (_exchanged_for_one_of_another_name, "replaced"),
        (_older, "rolled_back"),
        (_older_and_written_on, "forked"),
        (_no_database, "torn"),
    ],
)
def test_verify_exits_1_for_a_ledger_that_contradicts_the_memory(
    settings: Settings, tmp_path: Path, change: Callable[[Settings, Path], None], state: str
) -> None:
    """It says that this machine's memory is what speaks against it, and how to go on if that is
    meant.
    """
    calls(settings)
    copy(settings, tmp_path / "old")
    calls(settings)
    change(settings, tmp_path / "old")
    code, document, told = verified(settings)
    assert (code, document["state"], document["memory"]) == (1, state, "contradicts")
    assert document["remembered_to"] is None
    assert "this machine" in told
    assert f"guardrail anchor forget {settings.ledger.path}" in told
    code, document, _ = verified(settings.override(), "--ledger", settings.ledger.path)
    assert (code, document["state"]) == (1, state)
    remembering(settings).forget()
    code, document, told = verified(settings)
    assert (code, document["memory"]) == (3 if state in {"missing", "torn"} else 5, None)
    assert "REMEMBERED" not in told


@pytest.mark.parametrize("raw", ["", "[]", "{}", "null"])
def test_verify_tells_of_a_memory_that_can_not_be_read(settings: Settings, raw: str) -> None:
    """It is a notice: the answer is that of a ledger without a memory."""
    calls(settings)
    remembering(settings).file.write_text(raw)
    code, document, told = verified(settings)
    assert (code, document["state"], document["memory"]) == (5, "not_anchored", None)
    assert any("stores the heads it has seen" in each for each in document["notices"])
    assert "REMEMBERED" not in told


def test_a_forged_memory_speaks_neither_for_a_ledger_nor_against_it(settings: Settings) -> None:
    """A head that claims more records than the key signed does not count, and is a notice."""
    calls(settings)
    count = size(settings)
    _edit(
        remembering(settings).file, lambda text: text.replace(f"\n{count}\n", f"\n{count + 9}\n", 1)
    )
    code, document, _ = verified(settings)
    assert (code, document["state"], document["memory"]) == (5, "not_anchored", None)
    assert any("no signed head" in each for each in document["notices"])


def test_records_that_verify_did_not_read_are_not_remembered(settings: Settings) -> None:
    """With --since the stored hashes of a head before that record do not speak for it."""
    calls(settings)
    last = size(settings) - 1
    calls(settings.override(anchors={"memory": False}))
    code, document, _ = verified(settings, "--since", last + 2)
    assert (code, document["memory"], document["remembered_to"]) == (5, None, None)
    code, document, _ = verified(settings)
    assert (code, document["memory"], document["remembered_to"]) == (5, "agrees", last)
