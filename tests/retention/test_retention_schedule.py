"""What is due is done once a day by a running guard: in a process of its own, alongside the calls,
with a record.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.actions import retention_lock
from guardrail.retention.process import RetentionWorker
from guardrail.retention.schedule import RetentionWatch
from guardrail.retention.state import RetentionState, read_state, state_path, write_state
from guardrail.review.doctor.result import CheckState
from guardrail.review.doctor.retention import retention
from guardrail.review.verify import VerifyState, verify_ledger
from tests.support.waiting import until

DAY = 86_400.0
REPO = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a project with a file anchor on "another disk"; its ledger is not there yet."""
    for name in ("work", "elsewhere"):
        (tmp_path / name).mkdir()
    policy = tmp_path / "work" / "policy.rego"
    policy.write_text('package guardrail.policy\nallow contains "all"\n')
    return Settings().override(
        ledger={"path": tmp_path / "work" / "audit.db"},
        policy={"path": [policy], "workers": 1},
        identity={"require": "any"},
        anchors={"file": tmp_path / "elsewhere" / "heads", "memory": False},
        retention={"days": 200, "archive": tmp_path / "elsewhere" / "archive"},
    )


def calls(settings: Settings, count: int) -> None:
    """A guard's life with so many calls, today; what closes it sends its head to the anchor."""
    today = settings.override(retention={"auto": False})
    with Guard.open(today) as guard, guard.session(principal="a", agent="b"):
        for number in range(count):
            guard.call("tool", {"n": number}, run=lambda n: n)


def details(settings: Settings, type_: str) -> list[dict[str, object]]:
    """The details of the records of a type."""
    with LedgerReader.open(settings.ledger.path) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record["detail"] for record in found if record["type"] == type_]


def whole(settings: Settings) -> bool:
    """Whether the log verifies."""
    return verify_ledger(settings.ledger.path).state is VerifyState.NOT_ANCHORED


@contextlib.contextmanager
def opening_takes_long(settings: Settings) -> Iterator[None]:
    """Whoever opens the ledger waits meanwhile, as behind another process that opens it."""
    folder = os.open(settings.ledger.path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


def state(settings: Settings) -> RetentionState:
    return read_state(state_path(settings.ledger.path))


@contextlib.contextmanager
def watching(settings: Settings, days: float, tick: float = 0.05) -> Iterator[RetentionWatch]:
    """A watch so many days from now."""
    watch = RetentionWatch(settings, clock=lambda: time.time() + days * DAY, tick=tick)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()


def run_once(settings: Settings, days: float) -> RetentionState:
    """The state after a watch has had done what was due so many days from now."""
    before = state(settings).tried
    with watching(settings, days):
        until(lambda: state(settings).tried != before)
    return state(settings)


def started(settings: Settings, days: float) -> subprocess.Popen[bytes]:
    """Another process with a watch, which ends a moment after what was due is done."""
    program = """
        import sys, time, pickle
        from guardrail.retention.schedule import RetentionWatch
        from guardrail.retention.state import read_state, state_path
        settings, days = pickle.load(sys.stdin.buffer)
        watch = RetentionWatch(settings, clock=lambda: time.time() + days * 86400, tick=0.05)
        watch.start()
        while read_state(state_path(settings.ledger.path)).done is None:
            time.sleep(0.02)
        time.sleep(0.5)
        watch.close()
    """
    made = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert made.stdin is not None
    made.stdin.write(pickle.dumps((settings, days)))
    made.stdin.close()
    return made


def worker_of(settings: Settings) -> int | None:
    """The process id of a worker that runs for this ledger's lock, or None."""
    lock = f"{settings.ledger.path}-retention-lock"
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"guardrail.wiring.retention_worker" in (each / "cmdline").read_bytes() and any(
                os.readlink(link) == lock for link in (each / "fd").iterdir()
            ):
                return int(each.name)
    return None


def test_records_are_sealed_archived_and_deleted_when_they_are_due(settings: Settings) -> None:
    """Without any command, each act on the record; calls go on, and what is left verifies."""
    calls(settings, 30)
    assert run_once(settings, 40).code == ""
    [sealed] = details(settings, "admin.sealed")
    assert sealed["reason"] == "due by [retention], done by a guard"
    assert len(details(settings, "admin.archived")) == 1
    calls(settings, 5)
    done = run_once(settings, 300)
    assert (done.code, done.failures) == ("", 0)
    assert len(details(settings, "admin.pruned")) >= 1
    with LedgerReader.open(settings.ledger.path) as reader:
        first = reader.first()
    assert first > 60
    calls(settings, 5)
    assert whole(settings)


def test_a_guard_does_it_itself_unless_it_is_turned_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Guard.open`` begins it and ``close`` ends it, whatever it is at."""
    calls(settings, 3)
    later = functools.partial(RetentionWatch, clock=lambda: time.time() + 40 * DAY)
    monkeypatch.setattr("guardrail.wiring.opening.RetentionWatch", later)
    with Guard.open(settings.override(retention={"auto": False})):
        assert "guardrail-retention" not in [each.name for each in threading.enumerate()]
    with Guard.open(settings):
        assert "guardrail-retention" in [each.name for each in threading.enumerate()]
        until(lambda: state(settings).done)
    assert "guardrail-retention" not in [each.name for each in threading.enumerate()]
    assert len(details(settings, "admin.sealed")) == 1


def test_on_the_first_day_and_twice_a_day_nothing_is_started(settings: Settings) -> None:
    """A program that starts often costs no process each time."""
    calls(settings, 3)
    started: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RetentionWorker, "__init__", lambda *_, **__: started.append(1))
        for days in (0.0, 0.9):
            with watching(settings, days):
                time.sleep(0.3)
        write_state(state_path(settings.ledger.path), RetentionState(done=time.time() + 5 * DAY))
        with watching(settings, 5.9):
            time.sleep(0.3)
    assert started == []


def test_one_process_per_log_does_it(settings: Settings) -> None:
    """Four that start at once seal one segment; the others leave it to the first."""
    calls(settings, 30)
    running = [started(settings, 40) for _ in range(4)]
    assert [each.wait(60) for each in running] == [0, 0, 0, 0]
    assert len(details(settings, "admin.sealed")) == 1
    assert state(settings).failures == 0


def test_a_person_who_is_at_it_is_not_disturbed(settings: Settings) -> None:
    """While somebody holds the lock nothing is started, and it is no failure; then it is done."""
    calls(settings, 3)
    lock = retention_lock(settings.ledger.path)
    assert lock.try_acquire()
    with watching(settings, 40):
        time.sleep(0.5)
        assert state(settings) == RetentionState()
        lock.close()
        until(lambda: state(settings).done)


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.6, 0.9])
def test_a_worker_that_is_killed_leaves_a_whole_log_and_is_run_again(
    settings: Settings, moment: float
) -> None:
    """At several points of its life; the next run goes on, an hour later."""
    calls(settings, 120)
    run_once(settings, 40)
    calls(settings, 3)
    with watching(settings, 300):
        until(lambda: worker_of(settings))
        time.sleep(moment)
        pid = worker_of(settings)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        until(lambda: (state(settings).tried or 0) > time.time() + 299 * DAY)
    assert whole(settings)
    found = state(settings)
    assert found.failures <= 1
    if found.failures:
        assert found.code == "retention.died"
        assert retention(settings).state is CheckState.NOTE
        with watching(settings, 300.02):
            time.sleep(0.3)
            assert state(settings).failures == 1
        # What the worker wrote before it died is anchored by the next guard, as everything is.
        calls(settings, 3)
        run_once(settings, 300.05)
    assert state(settings).failures == 0
    assert details(settings, "admin.pruned")
    calls(settings, 3)
    assert whole(settings)


def test_closing_ends_a_worker_within_seconds(settings: Settings) -> None:
    """What it left is told by doctor, with the command for programs that end too soon."""
    calls(settings, 3)
    with opening_takes_long(settings), watching(settings, 40) as watch:
        until(lambda: worker_of(settings))
        began = time.monotonic()
        watch.close()
        watch.close()
        assert time.monotonic() - began < 5
        assert worker_of(settings) is None
    assert state(settings).code == "retention.interrupted"
    assert "guardrail retention run" in retention(settings).fix


def test_a_worker_ends_with_the_guard_that_started_it(settings: Settings) -> None:
    """A guard that is killed can't end it; nothing goes on without a guard."""
    calls(settings, 3)
    with opening_takes_long(settings):
        guard = started(settings, 40)
        until(lambda: worker_of(settings))
        guard.kill()
        guard.wait()
        until(lambda: worker_of(settings) is None)
    assert details(settings, "admin.sealed") == []
    assert run_once(settings, 40).failures == 0


def test_a_fork_leaves_one_worker_and_both_can_be_closed(settings: Settings) -> None:
    """The child looks for itself, the lock keeps it out, and its end does not end the parent's
    worker.
    """
    calls(settings, 120)
    run_once(settings, 40)
    calls(settings, 3)
    with watching(settings, 300) as watch:
        until(lambda: watch._worker)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                time.sleep(0.3)
                watch.close()
                code = 0 if watch._worker is None else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        until(lambda: (state(settings).done or 0) > time.time() + 299 * DAY)
    assert state(settings).failures == 0
    assert details(settings, "admin.pruned")
    assert whole(settings)


def test_failing_again_and_again_is_tried_less_and_less(settings: Settings) -> None:
    """After one hour, four, a day; doctor shows the last failure, its code and what to do."""
    calls(settings, 3)
    archive = settings.retention.archive
    assert archive is not None
    archive.write_text("in the way")
    days = 40.0
    assert run_once(settings, days).failures == 1
    for failures, hours in ((1, 1), (2, 4), (3, 24), (4, 24)):
        with watching(settings, days + 0.9 * hours / 24):
            time.sleep(0.2)
        assert state(settings).failures == failures
        days += 1.1 * hours / 24
        assert run_once(settings, days).failures == failures + 1
    check = retention(settings)
    assert check.state is CheckState.FAIL
    assert "5 times in a row" in check.found
    assert "retention.copy_unreadable" in check.found
    assert "guardrail retention run" in check.fix
    archive.unlink()
    assert run_once(settings, days + 2).failures == 0
    assert retention(settings).state is CheckState.OK


def test_a_clock_that_jumps_is_not_believed_at_once(settings: Settings) -> None:
    """By years, for an hour: what a wrong clock would delete can't be brought back."""
    calls(settings, 3)
    now = [time.time(), 0.0]
    watch = RetentionWatch(settings, clock=lambda: now[0], monotonic=lambda: now[1], tick=0.02)
    watch.start()
    try:
        time.sleep(0.2)
        now[0] += 3650 * DAY
        time.sleep(0.3)
        assert state(settings) == RetentionState()
        now[0] -= 3650 * DAY
        time.sleep(0.2)
        now[:] = [now[0] + 7300, 7300.0]
        time.sleep(0.2)
        assert state(settings) == RetentionState()  # the right time again, and nothing is due
        now[:] = [now[0] + 40 * DAY, now[1] + 40 * DAY]
        until(lambda: state(settings).done)
    finally:
        watch.close()
    assert len(details(settings, "admin.sealed")) == 1


def test_a_clock_that_went_back_keeps_nothing_waiting(settings: Settings) -> None:
    """A time to come in the file, of a clock that was ahead, or written by somebody."""
    calls(settings, 3)
    ahead = time.time() + 4000 * DAY
    for told in (RetentionState(done=ahead, tried=ahead), RetentionState(tried=ahead, failures=9)):
        write_state(state_path(settings.ledger.path), told)
        assert run_once(settings, 40).failures == 0


@pytest.mark.parametrize(
    "text", ["", "junk", "[]", '{"v": 1}', '{"v": 2}', '{"v": 1, "done": 1e400}', "x" * 100_000]
)
def test_nonsense_in_the_file_is_no_state(settings: Settings, text: str) -> None:
    """It is read as nothing, and written again."""
    calls(settings, 3)
    path = state_path(settings.ledger.path)
    path.write_text(text)
    assert read_state(path) == RetentionState()
    if text == "junk":
        assert run_once(settings, 40).done is not None
        assert json.loads(path.read_text())["failures"] == 0


def test_a_fifo_in_the_place_of_the_file_holds_nobody_up(settings: Settings) -> None:
    """Neither a guard nor doctor."""
    calls(settings, 3)
    os.mkfifo(state_path(settings.ledger.path))
    assert read_state(state_path(settings.ledger.path)) == RetentionState()
    assert retention(settings).state is CheckState.OK


def test_a_state_that_can_not_be_written_is_remembered_by_the_process(settings: Settings) -> None:
    """A full disk: it is not tried again at each look."""
    calls(settings, 3)
    folder = state_path(settings.ledger.path)
    folder.mkdir()
    (folder / "in the way").write_text("x")
    with watching(settings, 40) as watch:
        until(lambda: watch._state.done)
        time.sleep(0.3)
        assert watch._worker is None
    assert len(details(settings, "admin.sealed")) == 1


def test_a_program_that_can_not_be_started_is_a_failure_that_doctor_shows(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process, a folder that is gone: calls go on all the same."""
    calls(settings, 3)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert run_once(settings, 40).code == "retention.worker"
    check = retention(settings)
    assert (check.state, check.fix) == (CheckState.NOTE, "guardrail retention run")
    monkeypatch.undo()
    calls(settings, 3)


def test_a_ledger_that_is_gone_is_not_made_again(settings: Settings) -> None:
    """What is due on it is nothing."""
    calls(settings, 3)
    with LedgerReader.open(settings.ledger.path):
        pass
    write_state(state_path(settings.ledger.path), RetentionState(done=1.0))
    for each in settings.ledger.path.parent.glob("audit.db*"):
        if each.is_file() and "retention" not in each.name:
            each.unlink()
    assert run_once(settings, 40).code == "ledger.missing"
    assert not settings.ledger.path.exists()
