"""A guard whose ledger is anchored: heads that leave, heartbeats, and calls that are denied where
too little has left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard
from guardrail.anchoring import LedgerHeads
from guardrail.anchors.lines import HeadLine, parse_lines
from guardrail.anchors.state import read_state, state_path, write_state
from guardrail.config import Settings
from guardrail.core.log.checkpoint import Checkpoint, NoteKey
from guardrail.core.log.record import decode
from guardrail.errors import ConfigError, LedgerError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.ledger.reader import LedgerReader
from tests.support.projects import new_project
from tests.support.waiting import until


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a policy that allows everything, beside one for the anchor file."""
    (tmp_path / "away").mkdir()
    return new_project(tmp_path / "home")


def settings(home: Path, **anchors: Any) -> Settings:
    """Settings of a ledger in *home*."""
    return Settings().override(
        ledger={"path": home / "audit.db"},
        policy={"path": home / "policies"},
        anchors={"heartbeat_s": 0, **anchors},
        identity={"require": "any"},
    )


def heads(home: Path) -> list[HeadLine]:
    """The heads in the anchor file."""
    path = home.parent / "away" / "heads"
    return parse_lines(path.read_bytes()) if path.exists() else []


def records(home: Path) -> list[dict[str, Any]]:
    """Return every record on disk."""
    with LedgerReader.open(home / "audit.db") as reader:
        return [decode(line) for _, _, line in reader.lines()]


def test_a_ledger_that_an_anchor_contradicts_is_denied_from_the_first_call(home: Path) -> None:
    """Also if no limit is set: each call would go into a fork. Nothing has to be waited for."""
    chosen = settings(home, file=home.parent / "away" / "heads", interval_s=3600, memory=False)
    with Guard.open(chosen) as guard:
        guard.call("f", {}, lambda: None)
    shutil.copytree(home, home.parent / "old")
    with Guard.open(chosen) as guard:
        guard.call("f", {}, lambda: None)
    shutil.rmtree(home)
    shutil.copytree(home.parent / "old", home)
    with Guard.open(chosen) as guard:
        with pytest.raises(Denied) as caught:
            guard.call("f", {}, lambda: None)
        assert caught.value.code == "denied.anchor"
    (denied,) = [each for each in records(home)[-4:] if each["type"] == "call.decision"]
    assert denied["decision"]["detail"] == "conflict"


def test_heads_leave_signed_by_the_log_key_and_the_last_covers_the_stop(home: Path) -> None:
    """Whoever holds the anchor file and the public key needs no key of a process."""
    chosen = settings(home, file=home.parent / "away" / "heads")
    with Guard.open(chosen) as guard:
        until(lambda: heads(home))
        guard.call("f", {}, lambda: None)
    found = heads(home)
    written = records(home)
    assert "admin.stop" in [each["type"] for each in written[-2:]]
    assert found[-1].head.size == len(written)
    key = NoteKey(written[0]["log"], bytes.fromhex(written[0]["key"]["public"]))
    assert all(each.note.signed_by(key, verify_signature) for each in found)
    state = read_state(state_path(home / "audit.db"), key.name)
    assert state.of("file").size == len(written)


def test_heartbeats_are_records_of_the_log(home: Path) -> None:
    """With how far the anchors had come, and anchored themselves."""
    with Guard.open(settings(home, file=home.parent / "away" / "heads", heartbeat_s=1)):
        until(lambda: records(home)[-1]["type"] == "admin.heartbeat")
        beat = records(home)[-1]
        until(lambda: heads(home)[-1].head.size > beat["seq"])
    assert beat["detail"]["interval_s"] == 1
    (told,) = beat["detail"]["anchors"]
    assert told["name"] == "file"
    assert 0 < told["size"] <= beat["seq"]


def test_past_the_limit_calls_are_denied_and_recorded_and_run_again_when_it_has_caught_up(
    home: Path,
) -> None:
    """The body does not run, the cause is ``anchor``, and nobody has to restart anything."""
    away = home.parent / "away"
    away.rename(home.parent / "gone")
    chosen = settings(home, file=away / "heads", records=1, max_lag_records=6)
    ran: list[int] = []
    with Guard.open(chosen) as guard:
        for number in range(3):
            with contextlib.suppress(Denied):
                guard.call("f", {}, lambda number=number: ran.append(number))
        with pytest.raises(Denied) as denied:
            guard.call("f", {}, lambda: ran.append(3))
        assert denied.value.code == "denied.anchor"
        assert "could not be anchored" in str(denied.value)
        before = len(ran)
        assert before < 4
        record = records(home)[denied.value.seq]
        assert record["decision"]["cause"] == "anchor"
        assert record["decision"]["detail"] == "lag"
        assert record["input"]["action"]["properties"]["args"] == {}
        (home.parent / "gone").rename(away)

        def again() -> bool:
            try:
                guard.call("f", {}, lambda: ran.append(99))
            except Denied:
                return False
            return True

        until(again)
    assert ran[before:] == [99]


def test_a_dead_witness_neither_delays_nor_fails_a_call_where_no_limit_is_set(home: Path) -> None:
    """It is visible in the state, and that is all."""
    key = "w.example/1+a37062ec+BL5mrg/xCDzeXVxqYPm6vb4GFkqJ8mD6iIuFEdWZRr9Q"
    with Guard.open(settings(home, witness=(f"http://127.0.0.1:1 {key}",))) as guard:
        for _ in range(20):
            guard.call("f", {}, lambda: None)
        log = records(home)[0]["log"]
        until(
            lambda: (
                read_state(state_path(home / "audit.db"), log).of("witness:w.example/1").code
                == "anchor.unreachable"
            )
        )


def test_settings_of_anchors_that_cannot_work_leave_no_start_in_the_ledger(home: Path) -> None:
    """The guard does not open, and says why."""
    with Guard.open(settings(home)):
        pass
    before = len(records(home))
    with pytest.raises(ConfigError):
        Guard.open(settings(home, file=home / "heads"))
    assert all(each["type"] == "admin.key_rotated" for each in records(home)[before:])


def test_a_head_that_no_holder_of_the_keys_wrote_is_not_signed(home: Path) -> None:
    """Else a forged end would leave with an honest signature."""
    with Guard.open(settings(home)):
        pass
    keys = Keys.load(home / "audit.keys")
    signing = keys.signing(actor={}, epochs=False)
    log = records(home)[0]["log"]
    made = LedgerHeads(home / "audit.db", log, signing)
    assert Checkpoint.parse(made.head().text).size == made.size() == len(records(home))
    assert made.head() is made.head()
    other = Keys.ephemeral().signing(actor={}, epochs=False)
    with pytest.raises(LedgerError) as refused:
        LedgerHeads(home / "audit.db", log, other).head()
    assert refused.value.code == "ledger.head"
    with pytest.raises(LedgerError, match="a different log"):
        LedgerHeads(home / "audit.db", "other", signing).head()
    with pytest.raises(LedgerError, match="not have enough records"):
        made.prove(2, 1000)
    assert made.prove(2, 3)
    made.heartbeat({})


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_anchors_when_its_parent_has_gone(home: Path) -> None:
    """As pre-forking servers do."""
    chosen = settings(home, file=home.parent / "away" / "heads", records=2)
    guard = Guard.open(chosen)
    until(lambda: heads(home))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(read, 1)
            guard.call("f", {}, lambda: None)
            size = len(records(home))
            until(lambda: heads(home)[-1].head.size >= size)
            code = 0
        finally:
            os._exit(code)
    guard.close()
    os.write(write, b"x")
    _, status = os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_state_that_promises_too_much_does_not_stop_the_heads(home: Path) -> None:
    """Whoever writes a larger size into the file beside the ledger is found out by the anchor, or
    outrun.
    """
    chosen = settings(home, file=home.parent / "away" / "heads")
    with Guard.open(chosen):
        until(lambda: heads(home))
    log = records(home)[0]["log"]
    path = state_path(home / "audit.db")
    state = read_state(path, log)
    forged = state.with_anchor("file", type(state.of("file"))(size=10**9))
    write_state(path, forged)
    with Guard.open(chosen) as guard:
        guard.call("f", {}, lambda: None)
    assert heads(home)[-1].head.size == len(records(home))
