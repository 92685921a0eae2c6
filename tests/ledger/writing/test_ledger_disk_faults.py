"""A disk that is full, read-only, failing or hanging, in real processes: no body runs, and the same
process goes on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log import chain
from guardrail.core.log.record import decode
from guardrail.errors import LedgerOpenError, LedgerPoisonedError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.full_disk import fill, small_disk
from tests.support.ledgers import FAST, SIGNING, Driver, Shim, decision, driven, make, note


@pytest.fixture
def failing_driver(shim: Shim, tmp_path: Path) -> Iterator[Driver]:
    """A process on whose disk faults can be had, one call already made."""
    shim.heal()
    with driven(tmp_path / "a.db", "0.6", env=shim.env) as driver:
        assert driver.ask("call")["ok"] == 1
        yield driver
        shim.heal()


def test_a_file_size_limit_blocks_and_its_end_lets_the_same_process_go_on(tmp_path: Path) -> None:
    """Files that may not grow are a full disk: no body runs; then every acknowledged record is
    there.
    """
    with driven(tmp_path / "a.db") as driver:
        for _ in range(5):
            assert "ok" in driver.ask("call")
        driver.ask("limit", 1000)
        answers = [driver.ask("call", 3000) for _ in range(5)]
        assert all(answer["error"] == "LedgerPoisonedError" for answer in answers)
        assert driver.ask("state")["bodies"] == 5
        driver.ask("limit", -1)
        assert "ok" in _until_ok(driver)
        driver.ask("stop")
    _assert_whole(tmp_path / "a.db", calls=6)


def test_a_full_disk_blocks_and_its_end_lets_the_same_process_go_on(tmp_path: Path) -> None:
    """On a full tmpfs no body runs; with space again the same process goes on."""
    with small_disk(tmp_path / "disk", "2m") as disk, driven(disk / "a.db") as driver:
        assert "ok" in driver.ask("call")
        fill(disk / "filler")
        answers = [driver.ask("call", 30000) for _ in range(4)]
        bodies = driver.ask("state")["bodies"]
        assert all(answer["error"] == "LedgerPoisonedError" for answer in answers[-3:])
        assert bodies == 1 + sum("error" not in answer for answer in answers)
        (disk / "filler").unlink()
        assert "ok" in _until_ok(driver)
        driver.ask("stop")
        _assert_whole(disk / "a.db", calls=bodies + 1)


def test_an_outcome_that_met_a_full_disk_is_written_by_itself(tmp_path: Path) -> None:
    """The result is withheld, the outcome owed, and written once without anyone calling."""
    with driven(tmp_path / "a.db") as driver:
        opened = driver.ask("decide")
        driver.ask("limit", 1000)
        assert driver.ask("settle", opened["call"], opened["ok"])["error"] == "LedgerPoisonedError"
        assert driver.ask("state")["owed"] == 1
        driver.ask("limit", -1)
        _until(lambda: driver.ask("state")["owed"] == 0)
        driver.ask("stop")
    _assert_whole(tmp_path / "a.db", calls=1)


@pytest.mark.parametrize(
    ("function", "what"),
    [("sync", "EIO"), ("write", "EIO"), ("write", "ENOSPC"), ("write", "EROFS")],
)
def test_a_failing_disk_runs_no_body(
    failing_driver: Driver, shim: Shim, tmp_path: Path, function: str, what: str
) -> None:
    """While writes or syncs fail every call is refused; healed, the same process goes on with every
    record.
    """
    shim.want(function, what)
    answers = [failing_driver.ask("call") for _ in range(4)]
    assert [answer["error"] for answer in answers] == ["LedgerPoisonedError"] * 4
    assert failing_driver.ask("state")["bodies"] == 1
    shim.heal()
    assert "ok" in _until_ok(failing_driver)
    failing_driver.ask("stop")
    _assert_whole(tmp_path / "a.db", calls=2, refused=[answer["call"] for answer in answers])


def test_a_hung_sync_returns_its_callers_and_goes_on_when_it_ends(
    failing_driver: Driver, shim: Shim, tmp_path: Path
) -> None:
    """Callers get their error at the deadline; the decision that turns out durable is closed as not
    started.
    """
    shim.want("sync", "HANG")
    began = time.monotonic()
    first = failing_driver.ask("call")
    second = failing_driver.ask("call")
    assert first["error"] == second["error"] == "LedgerPoisonedError"
    assert time.monotonic() - began < 10
    assert failing_driver.ask("state")["trouble"]
    shim.heal()
    assert "ok" in _until_ok(failing_driver)
    assert failing_driver.ask("state")["bodies"] == 2
    failing_driver.ask("stop")
    _assert_whole(tmp_path / "a.db", calls=2, refused=[first["call"], second["call"]])
    with LedgerReader.open(tmp_path / "a.db") as reader:
        ending = decode(list(reader.by_call(first["call"]))[1])
        assert list(reader.by_call(second["call"])) == []
    assert (ending["status"], ending["error"]["class"]) == ("cancelled", "not_started")


def test_an_outcome_caught_in_a_hung_sync_is_written_once(
    failing_driver: Driver, shim: Shim, tmp_path: Path
) -> None:
    """Its caller gets the error, its record is there."""
    opened = failing_driver.ask("decide")
    shim.want("sync", "HANG")
    assert (
        failing_driver.ask("settle", opened["call"], opened["ok"])["error"] == "LedgerPoisonedError"
    )
    shim.heal()
    _until(lambda: not failing_driver.ask("state")["trouble"] or "ok" in failing_driver.ask("call"))
    failing_driver.ask("stop")
    with LedgerReader.open(tmp_path / "a.db") as reader:
        assert [decode(line)["type"] for line in reader.by_call(opened["call"])] == [
            "call.decision",
            "call.outcome",
        ]


def test_after_a_failed_sync_everything_is_written_anew(
    failing_driver: Driver, shim: Shim, tmp_path: Path
) -> None:
    """What the kernel may have dropped is rewritten: all records are in the database file before
    anything is new.
    """
    shim.want("sync", "EIO")
    assert "error" in failing_driver.ask("call")
    shim.heal()
    assert "ok" in _until_ok(failing_driver)
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "a.db").read_bytes())
    with LedgerReader.open(copy) as reader:
        assert reader.size() >= 3
        assert chain.verify(reader.lines()).first_bad is None


def test_a_lock_held_by_a_stuck_process_blocks_until_it_is_let_go(tmp_path: Path) -> None:
    """Callers return at their deadline without running anything; nothing that they gave up is
    written later.
    """
    with driven(tmp_path / "a.db", "0.4") as driver:
        assert "ok" in driver.ask("call")
        held = os.open(tmp_path / "a.db-lock", os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        answers = [driver.ask("call") for _ in range(2)]
        assert [answer["error"] for answer in answers] == ["LedgerPoisonedError"] * 2
        assert driver.ask("state")["bodies"] == 1
        os.close(held)
        assert "ok" in driver.ask("call")
        driver.ask("stop")
    _assert_whole(tmp_path / "a.db", calls=2, refused=[answer["call"] for answer in answers])


def test_a_stopped_process_that_holds_the_lock_blocks_the_others(tmp_path: Path) -> None:
    """A writer stopped in the middle of a flood delays others no longer than their deadline, and
    loses nothing.
    """
    with driven(tmp_path / "a.db") as stuck, driven(tmp_path / "a.db", "0.4") as other:
        stuck.ask("flood", tmp_path / "acknowledged")
        time.sleep(0.2)
        for _ in range(20):
            stuck.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            answer = other.ask("call")
            assert time.monotonic() - began < 5
            stuck.process.send_signal(signal.SIGCONT)
            if "error" in answer:
                break
            time.sleep(0.01)
        stuck.kill()
        assert "ok" in _until_ok(other)
        other.ask("stop")
        with LedgerReader.open(tmp_path / "a.db") as reader:
            assert chain.verify(reader.lines()).first_bad is None


def test_a_read_only_folder_is_refused_at_open(tmp_path: Path) -> None:
    """On a read-only mount the ledger does not open for writing, and can still be read."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        make(disk / "a.db").close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(LedgerOpenError) as caught:
            LedgerWriter.open(disk / "a.db", signing=SIGNING, settings=FAST)
        assert caught.value.code == "ledger.unreadable"


def test_a_folder_without_permission_is_refused_at_open() -> None:
    """A user who may not write there gets an error at open, not at the first call."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from guardrail.errors import LedgerOpenError\n"
        "from guardrail.keys.log_key import Keys\n"
        "from guardrail.ledger.writing.writer import LedgerWriter\n"
        "signing = Keys.ephemeral().signing(actor={}, epochs=False)\n"
        "try: os.setuid(65534)\n"
        "except PermissionError: pass\n"  # not root, so permissions count as they are
        "try: LedgerWriter.open(Path(sys.argv[1]), signing=signing)\n"
        "except LedgerOpenError as error: print(error.code)\n"
    )
    folder = Path(tempfile.mkdtemp())
    try:
        make(folder / "a.db").close()
        (folder / "a.db").chmod(0o400)
        folder.chmod(0o555)
        ran = subprocess.run(
            [sys.executable, "-c", script, str(folder / "a.db")],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
        )
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
    assert ran.stdout.strip() == "ledger.permission", ran.stderr


def test_closing_says_when_outcomes_could_not_be_written(tmp_path: Path) -> None:
    """Close raises where something stays owed, instead of forgetting it silently."""
    with driven(tmp_path / "a.db") as driver:
        opened = driver.ask("decide")
        driver.ask("limit", 1000)
        driver.ask("settle", opened["call"], opened["ok"])
        assert driver.ask("stop") == {"error": "LedgerPoisonedError"}


def test_closing_ends_although_the_lock_is_elsewhere(tmp_path: Path) -> None:
    """A stuck process can't keep this one from ending."""
    writer = make(tmp_path / "a.db")
    held = os.open(tmp_path / "a.db-lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(LedgerPoisonedError):
        writer.close(timeout=0.1)
    os.close(held)


def test_opening_ends_although_the_lock_is_elsewhere(tmp_path: Path) -> None:
    """Opening has a deadline of its own, and leaves nothing behind that writes later."""
    make(tmp_path / "a.db").close()
    held = os.open(tmp_path / "a.db-lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(LedgerOpenError) as caught:
        LedgerWriter.open(
            tmp_path / "a.db", signing=SIGNING, settings=replace(FAST, open_deadline=0.1)
        )
    assert caught.value.code == "ledger.timeout"
    os.close(held)
    with LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as writer:
        writer.append(note())


def _until_ok(driver: Driver, seconds: float = 20) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while True:
        answer: dict[str, Any] = driver.ask("call")
        if "ok" in answer or time.monotonic() > end:
            return answer
        time.sleep(0.01)


def _until(condition: Any, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def _assert_whole(db: Path, *, calls: int, refused: list[str] | None = None) -> None:
    """The chain is intact, *calls* calls ran to their end, and a refused one is absent or closed as
    not started.
    """
    with LedgerReader.open(db) as reader:
        report = chain.verify(reader.lines())
        assert report.first_bad is None, report
        assert not report.open_calls
        ended = [decode(line) for _, _, line in reader.lines() if b'"type":"call.outcome"' in line]
        assert sum(record["status"] == "ok" for record in ended) == calls
        for call in refused or []:
            lines = [decode(line) for line in reader.by_call(call)]
            assert [line.get("status") for line in lines] in ([], [None, "cancelled"])


@pytest.mark.parametrize("reserve", [0, 1 << 20])
def test_a_running_writer_says_in_plain_words_that_the_disk_is_full(
    tmp_path: Path, reserve: int
) -> None:
    """With and without a reserve: one code, the file, what is free and what is needed, and no name
    of an error.
    """
    with (
        small_disk(tmp_path / "disk", "8m") as disk,
        make(disk / "a.db", replace(FAST, reserve=reserve)) as writer,
    ):
        writer.append(note())
        fill(disk / "filler")
        said = []
        while len(said) < 3:
            try:
                writer.append(decision(new_ulid(), writer.process, pad=30_000))
            except LedgerPoisonedError as error:
                said.append(error)
        for error in said:
            assert error.code == "ledger.reserve"
            assert "the disk is full" in error.message
            assert "are needed" in error.message
            assert "are free" in error.message
            assert "SQLITE" not in error.message
            assert "make room" in error.hint
        (disk / "filler").unlink()
        _until(lambda: writer.trouble == "" or _appends(writer))


def _appends(writer: LedgerWriter) -> bool:
    try:
        writer.append(note())
    except LedgerPoisonedError:
        return False
    return True
