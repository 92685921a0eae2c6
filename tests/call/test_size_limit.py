"""A ledger with a limit of its size: at the limit, calls are denied, and everything else is still
recorded.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard
from guardrail.config import Settings
from guardrail.core.log.record import Draft
from guardrail.ledger.size_limit import bytes_used
from guardrail.review.doctor.result import CheckState
from guardrail.review.doctor.room import room
from guardrail.wiring.opening import load_keys
from tests.support.guards import guarded, journal_of, settings, whole
from tests.support.projects import ALLOW_ALL
from tests.support.retention import ACTOR, cut
from tests.support.waiting import until

MB = 1 << 20
LIMITS = {"ledger_mb": 1, "calls_per_minute": 0}
TEXT = {"text": "word " * 1_000}


def fill(guard: Guard, args: dict[str, str] = TEXT) -> tuple[int, Denied]:
    """Make calls until one is denied; return the number of those that ran, and the denial."""
    for number in range(10_000):
        try:
            guard.call("send", args, lambda **_: None)
        except Denied as denied:
            return number, denied
    raise AssertionError("no call was denied")


def test_at_the_limit_calls_are_denied_and_everything_else_is_recorded(tmp_path: Path) -> None:
    """The body does not run, the denial is durable, and a call that runs already gets its
    outcome.
    """
    db = tmp_path / "audit.db"
    ran = []
    with guarded(tmp_path, limits=LIMITS) as guard, guard.session("alice"):
        waiting = [guard.admit("send", TEXT) for _ in range(20)]
        made, denied = fill(guard)
        assert made > 20
        assert (denied.code, str(denied)) == (
            "denied.quota",
            "denied: the ledger has reached its limit of 1 MB",
        )
        assert "ledger_mb" in denied.hint
        assert bytes_used(db) <= MB
        with pytest.raises(Denied):
            guard.call("send", TEXT, lambda **_: ran.append(1))
        guard.reject("send", "arguments")
        # No attempt to write was made for a while, so this one is made in a transaction again.
        until(lambda: not journal_of(guard).ledger.full)
        guard.reject("send", "arguments")
        for admission in waiting:
            admission.settle(result=TEXT)
        for _ in range(3):
            journal_of(guard).append(note(guard))
        assert bytes_used(db) > MB
        with pytest.raises(Denied):
            guard.call("send", TEXT, lambda **_: ran.append(1))
        until(lambda: not journal_of(guard).ledger.full)
        guard.reject("send", "arguments")
    found = whole(db)
    (reached,) = {each["seq"] for each in found if each["type"] == "admin.quota_reached"} & {
        denied.seq
    }
    assert found[reached]["detail"] == {
        "calls_per_minute": None,
        "ledger_mb": 1,
        "since": found[reached]["detail"]["since"],
        "tenant": None,
        "principal": None,
    }
    counts = [each for each in found if each["type"] == "call.throttled"]
    # Small records can still fit in the last bytes below the limit.
    written = sum(each["type"] == "call.rejected" for each in found)
    assert written <= 2
    assert sum(each["count"] for each in counts) == 6 - written
    assert {each["ledger_mb"] for each in counts} == {1}
    assert next(each["tools"] for each in counts if each["begun"] == reached)["send"] > 0
    assert sum(each["type"] == "call.outcome" for each in found) == made + 20
    assert ran == []


def test_deleting_records_makes_room(tmp_path: Path) -> None:
    """For the same guard, without a restart."""
    db = tmp_path / "audit.db"
    with guarded(tmp_path, limits=LIMITS) as guard, guard.session("alice"):
        made, denied = fill(guard)
        keys = load_keys(settings(tmp_path))
        cut(db, denied.seq - 10, signing=keys.signing(actor=ACTOR, epochs=False))
        assert bytes_used(db) < MB // 2
        until(lambda: not journal_of(guard).ledger.full)
        again, _ = fill(guard)
        assert made // 2 < again
        assert bytes_used(db) <= MB
    whole(db)


def test_a_full_ledger_stops_no_other_tenant(tmp_path: Path) -> None:
    """Each has its own limit."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.rego").write_text(ALLOW_ALL)
    file = tmp_path / "guardrail.toml"
    file.write_text(
        "[limits]\ncalls_per_minute = 0\n[tenants.acme.limits]\nledger_mb = 1\n[tenants.globex]\n"
    )
    with Guard.open(file) as guard:
        guard.declare("send", schema={"type": "object"})
        acme, globex = (guard.session("alice", tenant=name) for name in ("acme", "globex"))
        with acme:
            made, _ = fill(guard)
        with globex:
            for _ in range(made + 20):
                guard.call("send", TEXT, lambda **_: None)
        with acme, pytest.raises(Denied):
            guard.call("send", TEXT, lambda **_: None)


PROGRAM = """
import sys
from guardrail import Denied
from tests.support.guards import guarded
from tests.call.test_size_limit import LIMITS, fill
from pathlib import Path
with guarded(Path(sys.argv[1]), limits=LIMITS) as guard, guard.session(sys.argv[2]):
    print("ready", flush=True)
    sys.stdin.readline()
    print(fill(guard)[0], flush=True)
    sys.stdin.readline()
"""


def test_four_processes_share_one_limit(tmp_path: Path) -> None:
    """The decisions of all together stay below it, and each allowed call has its outcome."""
    db = tmp_path / "audit.db"
    with guarded(tmp_path, limits=LIMITS):
        pass
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), f"p{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    with contextlib.ExitStack() as ends:
        for each in running:
            ends.enter_context(each)
            assert each.stdin is not None
            ends.callback(each.stdin.close)
        say(running, "ready")
        made = sum(int(line) for line in say(running))
        used = bytes_used(db)
        say(running, wait=False)
    assert [each.returncode for each in running] == [0] * 4
    found = whole(db)
    assert sum(each["type"] == "call.outcome" for each in found) == made
    assert used > MB - (128 << 10)
    # What was written at the limit: an outcome and a count of each process.
    assert used < MB + 4 * (32 << 10)


def say(running: list[subprocess.Popen[str]], word: str = "", *, wait: bool = True) -> list[str]:
    """Send a line to each process unless it has to say *word* first, and return their lines."""
    for each in running:
        assert each.stdin is not None
        if not word:
            each.stdin.write("\n")
            each.stdin.flush()
    heard = []
    for each in running:
        assert each.stdout is not None
        if wait:
            heard.append(each.stdout.readline().strip())
    assert not word or heard == [word] * len(running)
    return heard


@pytest.mark.parametrize(
    ("mb", "state", "words"),
    [
        (0, CheckState.OK, "MB free"),
        (10, CheckState.OK, "of 10 MB"),
        (3, CheckState.OK, "of 3 MB"),
        (2, CheckState.NOTE, "of 2 MB ([limits] ledger_mb); at the limit"),
        (1, CheckState.FAIL, "so new calls are denied"),
    ],
)
def test_doctor_warns_before_a_ledger_is_full(
    tmp_path: Path, mb: int, state: CheckState, words: str
) -> None:
    """From 80 % of the limit on."""
    db = tmp_path / "audit.db"
    with guarded(tmp_path) as guard:
        while bytes_used(db) < 1.7 * MB:
            journal_of(guard).append(note(guard))
    chosen = Settings().override(
        ledger={"path": db, "warn_free_mb": 0, "reserve_mb": 0}, limits={"ledger_mb": mb}
    )
    check = room(chosen)
    assert (check.state, words in check.found) == (state, True)
    assert bool(check.fix) is (state is not CheckState.OK)


def test_doctor_leaves_a_missing_ledger_to_other_checks(tmp_path: Path) -> None:
    """Its size is not known."""
    chosen = Settings().override(
        ledger={"path": tmp_path / "no.db", "warn_free_mb": 0}, limits={"ledger_mb": 1}
    )
    assert "ledger_mb" not in room(chosen).found


def note(guard: Guard) -> Draft:
    """Return a large administrative record."""
    detail: dict[str, Any] = {"text": "x" * 60_000}
    return Draft.build(
        {
            "v": 1,
            "log": journal_of(guard).log,
            "type": "admin.note",
            "actor": {},
            "origin": {},
            "detail": detail,
        }
    )
