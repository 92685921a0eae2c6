"""P2: the decision is durable before the body starts; while it can't be, no body runs, and nothing
acknowledged is lost.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.core.log.record import decode, leaf_hash
from guardrail.errors import LedgerError, LedgerOpenError, LedgerPoisonedError, LedgerSealedError
from guardrail.keys.log_key import Keys, LogSigning
from guardrail.ledger.maintenance.recover import recover
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import VerifyState, verify_ledger
from tests.support.full_disk import fill, small_disk
from tests.support.guards import OPEN, Body, Child, child, guarded, lines, records, until_ok, whole
from tests.support.ledgers import ACTOR, FILE_FAULTS, Shim


def signing(folder: Path) -> LogSigning:
    """Return what a command signs with, of the keys beside the ledger in *folder*."""
    return Keys.load(folder / "audit.keys").signing(actor=ACTOR, epochs=False)


POISONED = "LedgerPoisonedError"


@pytest.fixture
def failing_guard(shim: Shim, tmp_path: Path) -> Iterator[Child]:
    """A process with a guard on a disk that can be made to fail; one call is made already."""
    shim.heal()
    with child(tmp_path, env=shim.env, deadline_ms=600) as running:
        assert "ok" in running.ask("call")
        yield running
        shim.heal()


def blocked(running: Child, count: int = 3, pad: int = 40) -> None:
    """Make *count* calls, each by another way in; each is refused and runs nothing."""
    for number in range(count):
        answer = running.ask("call", pad, ("call", "acall", "admit")[number % 3])
        assert answer.get("error") in (POISONED, "LedgerSealedError"), answer
        assert answer["ran"] == 0


def test_the_decision_is_in_the_file_before_the_body_runs(tmp_path: Path) -> None:
    """Another process that opens the ledger from within the body finds the decision, and no
    outcome.
    """
    db = tmp_path / "audit.db"
    script = (
        "import sys; from pathlib import Path; from guardrail.ledger.reader import LedgerReader\n"
        "with LedgerReader.open(Path(sys.argv[1])) as reader:\n"
        "    print(*[line.decode() for _, _, line in reader.lines()], sep='\\n')\n"
    )

    def body(**_: Any) -> bytes:
        return subprocess.run(
            [sys.executable, "-c", script, str(db)], capture_output=True, check=True
        ).stdout

    with guarded(tmp_path) as guard:
        seen = [decode(line) for line in guard.call("send", {}, body).splitlines()]
    assert [record["type"] for record in seen] == ["genesis", "call.decision"]
    whole(db)


def test_the_body_waits_for_the_sync(failing_guard: Child, shim: Shim, tmp_path: Path) -> None:
    """While the sync of its decision hangs the body has not begun."""
    shim.want("sync", "HANG")
    failing_guard.send("call")
    time.sleep(0.3)
    with LedgerReader.open(tmp_path / "audit.db") as reader:
        assert reader.size() >= 3
    shim.heal()
    answer = failing_guard.answer()
    assert answer.get("ok") or answer["ran"] == 0
    failing_guard.ask("stop")
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize(
    ("function", "what"),
    [("sync", "EIO"), ("write", "EIO"), ("write", "ENOSPC"), ("write", "EROFS"), ("sync", "HANG")],
)
def test_a_failing_disk_runs_no_body_and_the_same_process_goes_on(
    failing_guard: Child, shim: Shim, tmp_path: Path, function: str, what: str
) -> None:
    """Errors and hangs of writes and syncs: refused by every way in; healed, it goes on by
    itself.
    """
    known = lines(tmp_path / "audit.db")
    shim.want(function, what)
    blocked(failing_guard)
    shim.heal()
    assert "ok" in until_ok(failing_guard)
    assert failing_guard.ask("state")["bodies"] == 2
    failing_guard.ask("stop")
    whole(tmp_path / "audit.db")
    assert lines(tmp_path / "audit.db")[: len(known)] == known


def test_a_file_size_limit_runs_no_body_and_the_same_process_goes_on(tmp_path: Path) -> None:
    """Files that may not grow are a full disk."""
    with child(tmp_path, deadline_ms=1000) as running:
        for _ in range(3):
            assert "ok" in running.ask("call")
        known = lines(tmp_path / "audit.db")
        running.ask("limit", 1000)
        blocked(running, 6, pad=3000)
        assert running.ask("state")["bodies"] == 3
        running.ask("limit", -1)
        assert "ok" in until_ok(running)
        assert running.ask("state")["bodies"] == 4
        running.ask("stop")
    whole(tmp_path / "audit.db")
    assert lines(tmp_path / "audit.db")[: len(known)] == known


def test_a_full_disk_runs_no_body_and_the_same_process_goes_on(tmp_path: Path) -> None:
    """A small tmpfs that someone else fills."""
    with small_disk(tmp_path / "disk", "40m") as disk, child(disk, deadline_ms=1000) as running:
        assert "ok" in running.ask("call")
        fill(disk / "filler")
        refused = 0
        for _ in range(60):
            # A decision that still fits is durable, and then its body runs; in the end nothing fits
            # any more.
            answer = running.ask("call", 30_000)
            refused = refused + 1 if "error" in answer and not answer["ran"] else 0
            if refused == 4:
                break
        assert refused == 4
        ran = running.ask("state")["bodies"]
        known = lines(disk / "audit.db")
        (disk / "filler").unlink()
        assert "ok" in until_ok(running)
        running.ask("stop")
        found = whole(disk / "audit.db")
        assert lines(disk / "audit.db")[: len(known)] == known
        assert sum(record.get("status") == "ok" for record in found) == ran + 1


def test_a_result_whose_outcome_cannot_be_written_is_withheld_and_recorded_later(
    tmp_path: Path,
) -> None:
    """The disk fills while the body runs: the caller gets ``LedgerError``, and the outcome comes by
    itself.
    """
    with child(tmp_path, deadline_ms=2000) as running:
        running.ask("begin_slow")
        running.ask("limit", 1000)
        running.ask("end_slow")
        assert running.ask("state")["owed"] == 1
        running.ask("limit", -1)
        assert "ok" in until_ok(running)
        assert running.ask("state")["owed"] == 0
        running.ask("stop")
    found = whole(tmp_path / "audit.db")
    assert [record["status"] for record in found if record["type"] == "call.outcome"] == [
        "ok",
        "ok",
    ]


def test_a_read_only_file_system_gives_no_guard(tmp_path: Path) -> None:
    """Mounted read-only, the ledger can be verified, and no guard opens on it."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        with guarded(disk) as guard:
            guard.call("send", {}, Body())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(LedgerError), guarded(disk):
            pass
        report = verify_ledger(disk / "audit.db")
    assert (report.state, report.records) == (VerifyState.NOT_ANCHORED, 4)


def test_a_lock_held_by_a_stopped_process_runs_no_body(tmp_path: Path) -> None:
    """Stopped in the middle of its commits, it blocks the others until it goes on or dies; nothing
    is lost.
    """
    with (
        child(tmp_path, deadline_ms=4000) as stuck,
        child(tmp_path, deadline_ms=300) as other,
    ):
        assert "ok" in other.ask("call")
        stuck.ask("flood")
        time.sleep(0.2)
        refused = False
        for step in range(40):
            stuck.process.send_signal(signal.SIGSTOP)
            before = other.ask("state")["bodies"]
            answer = other.ask("call")
            refused = "error" in answer and answer["ran"] == 0
            if refused:
                assert other.ask("state")["bodies"] == before
                break
            stuck.process.send_signal(signal.SIGCONT)
            time.sleep(0.003 * step)
        assert refused, "the process was never stopped while it held the lock"
        stuck.kill()
        assert "ok" in until_ok(other)
        other.ask("stop")
    with guarded(tmp_path):
        pass
    whole(tmp_path / "audit.db")


# --- files that are not what they were ---


@pytest.mark.parametrize("how", FILE_FAULTS)
@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
def test_a_file_changed_under_the_open_guard_runs_no_body(
    tmp_path: Path, part: str, how: Callable[[Path], None]
) -> None:
    """Whatever happens to whichever file: the next call runs nothing; then the guard, or
    ``recover``, goes on.

    Every record that was acknowledged and still exists on disk is there afterwards, and ``verify``
    passes.
    """
    db = tmp_path / "audit.db"
    body = Body()
    with guarded(tmp_path, ledger={"append_deadline_ms": 3000}) as guard:
        for _ in range(5):
            guard.call("send", {}, body)
        known = lines(db)
        how(Path(f"{db}{part}"))
        with pytest.raises(LedgerError):
            guard.call("send", {}, body)
        assert body.runs == 5
        goes_on = _goes_on(guard, body)
        runs = body.runs
        if part == "-shm":
            assert goes_on
        if part == "":
            assert not goes_on
        if not goes_on:
            for _ in range(3):
                with pytest.raises(LedgerSealedError) as caught:
                    guard.call("send", {}, body)
                assert caught.value.hint.endswith("guardrail recover")
            with pytest.raises(LedgerError):
                guard.admit("send", {})
            assert body.runs == runs
    if not goes_on:
        with pytest.raises(LedgerError), guarded(tmp_path):
            pass
        survivors = _on_disk(tmp_path, known)
        recover(db, who=ACTOR, signing=signing(tmp_path), reason="a test")
        # What still exists stays: in the log that goes on, or set aside beside it.
        assert survivors <= _on_disk(tmp_path, known)
    else:
        assert lines(db)[: len(known)] == known
    with guarded(tmp_path) as guard:
        guard.call("send", {}, body)
    assert body.runs == runs + 1
    whole(db)


def _goes_on(guard: Guard, body: Body, tries: int = 20) -> bool:
    for _ in range(tries):
        before = body.runs
        try:
            guard.call("send", {}, body)
        except LedgerSealedError:
            assert body.runs == before
            return False
        except LedgerPoisonedError:
            assert body.runs == before
            continue
        return True
    return False


def _on_disk(folder: Path, known: list[bytes]) -> set[bytes]:
    """Return which of *known* stand in any file of the ledger, in one piece."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".new"]
    data = [path.read_bytes() for path in files if "-shm" not in path.name]
    return {line for line in known if any(line in content for content in data)}


def test_a_removed_folder_runs_no_body(tmp_path: Path) -> None:
    """With everything gone the guard is sealed; it does not make a new log by itself."""
    folder = tmp_path / "home"
    folder.mkdir()
    body = Body()
    with guarded(folder) as guard:
        guard.call("send", {}, body)
        shutil.rmtree(folder)
        for _ in range(3):
            with pytest.raises(LedgerSealedError):
                guard.call("send", {}, body)
        folder.mkdir()
        with pytest.raises(LedgerSealedError):
            guard.call("send", {}, body)
        assert body.runs == 1
        assert not (folder / "audit.db").exists()


def test_a_moved_folder_runs_no_body_until_it_is_back(tmp_path: Path) -> None:
    """Renamed away, the ledger is not where it was opened; sealed, it goes on after ``recover``
    with every record.
    """
    folder = tmp_path / "home"
    folder.mkdir()
    body = Body()
    with guarded(folder) as guard:
        guard.call("send", {}, body)
        known = lines(folder / "audit.db")
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(LedgerError):
            guard.call("send", {}, body)
        assert body.runs == 1
        (tmp_path / "elsewhere").rename(folder)
    recover(folder / "audit.db", who=ACTOR, signing=signing(folder), reason="a test")
    with guarded(folder) as guard:
        guard.call("send", {}, body)
    assert lines(folder / "audit.db")[: len(known)] == known
    whole(folder / "audit.db")


def test_a_folder_of_another_user_is_refused_at_open(tmp_path: Path) -> None:
    """Where this process may not write, there is no guard at all."""
    with guarded(tmp_path):
        pass
    (tmp_path / "elsewhere").mkdir()
    for path in tmp_path.rglob("*"):
        path.chmod(0o500 if path.is_dir() else 0o400)
    (tmp_path / "elsewhere").chmod(0o700)
    tmp_path.chmod(0o555)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.support import guards\n"
        "from guardrail.errors import GuardrailError\n"
        "with guards.guarded(Path(sys.argv[1]) / 'elsewhere'): pass  # everything is imported now\n"
        "os.getuid() or os.setuid(65534)\n"
        "try:\n"
        "    with guards.guarded(Path(sys.argv[1])): print('opened')\n"
        "except GuardrailError as error: print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    tmp_path.chmod(0o755)
    for path in tmp_path.rglob("*"):
        path.chmod(0o700)
    assert done.stdout.strip() not in ("", "opened"), done.stderr


def test_no_body_runs_while_the_decision_is_uncertain_and_the_ledger_says_so(
    failing_guard: Child, shim: Shim, tmp_path: Path
) -> None:
    """A decision that turns out durable after its caller was refused is closed as
    ``not_started``.
    """
    shim.want("sync", "HANG")
    answer = failing_guard.ask("call")
    assert (answer["error"], answer["ran"]) == (POISONED, 0)
    shim.heal()
    assert "ok" in until_ok(failing_guard)
    failing_guard.ask("stop")
    outcomes = [r for r in whole(tmp_path / "audit.db") if r["type"] == "call.outcome"]
    assert [(r["status"], (r["error"] or {}).get("class")) for r in outcomes].count(
        ("cancelled", "not_started")
    ) == 1
    assert sum(record["status"] == "ok" for record in outcomes) == 2


def test_what_was_acknowledged_is_what_the_record_says(tmp_path: Path) -> None:
    """The seq in a denial and in an admission is the line that can be read, by its leaf too."""
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        admission = guard.admit("send", {"text": "x"})
        receipt = admission.settle()
        with LedgerReader.open(tmp_path / "audit.db") as reader:
            line = reader.record(receipt.seq)
            decision = decode(reader.record(admission.seq) or b"")
    assert line is not None
    assert leaf_hash(line) == receipt.leaf
    assert (decision["call"], decode(line)["call"]) == (admission.call, admission.call)


def test_threads_that_wait_together_are_refused_together(
    failing_guard: Child, shim: Shim, tmp_path: Path
) -> None:
    """Many callers in one commit: one failed sync refuses them all, and none runs."""
    shim.want("sync", "EIO")
    answer = failing_guard.ask("load", 8, 2)
    assert len(answer["failures"]) == 16
    assert answer["bodies"] == 1
    shim.heal()
    assert "ok" in until_ok(failing_guard)
    failing_guard.ask("stop")
    whole(tmp_path / "audit.db")


def test_a_second_guard_in_the_process_is_stopped_by_the_same_fault(tmp_path: Path) -> None:
    """Two guards on one ledger: the file deleted under both runs no body of either."""
    body = Body()
    with guarded(tmp_path) as one, guarded(tmp_path) as two:
        one.call("send", {}, body)
        two.call("send", {}, body)
        (tmp_path / "audit.db").unlink()
        for guard in (one, two, one):
            with pytest.raises(LedgerSealedError):
                guard.call("send", {}, body)
        assert body.runs == 2


def test_a_ledger_that_cannot_be_opened_gives_no_guard(tmp_path: Path) -> None:
    """Half of what belongs together: keys without ledger, ledger without keys, traces, a foreign
    file.
    """
    with guarded(tmp_path) as guard:
        guard.call("send", {}, Body())
    (tmp_path / "audit.db").rename(tmp_path / "away")
    with pytest.raises(LedgerOpenError), guarded(tmp_path):
        pass
    (tmp_path / "audit.db").write_bytes(b"not a ledger")
    with pytest.raises(LedgerError), guarded(tmp_path):
        pass
    (tmp_path / "away").replace(tmp_path / "audit.db")
    (tmp_path / "audit.keys").rename(tmp_path / "keys")
    with pytest.raises(LedgerOpenError), guarded(tmp_path):
        pass
    (tmp_path / "keys").rename(tmp_path / "audit.keys")
    with guarded(tmp_path) as guard:
        guard.call("send", {}, Body())
    assert len(records(tmp_path / "audit.db", "call.outcome")) == 2
    assert verify_ledger(tmp_path / "audit.db").state is VerifyState.NOT_ANCHORED


def test_interrupting_the_wait_runs_no_body(tmp_path: Path) -> None:
    """Ctrl-C while the decision is being written: no body, and no call that stays open."""
    body = Body()
    with guarded(tmp_path, ledger={"append_deadline_ms": 5000}) as guard:
        guard.call("send", {}, body)
        held = os.open(tmp_path / "audit.db-lock", os.O_RDWR)
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        main = threading.main_thread()
        assert threading.current_thread() is main
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            guard.call("send", {}, body)
        os.close(held)
        assert body.runs == 1
        guard.call("send", {}, body)
    found = whole(tmp_path / "audit.db")
    assert sum(record.get("status") == "ok" for record in found) == 2
