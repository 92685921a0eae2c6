"""Calls of one principal beyond its limit: denied, counted in one record a minute, and never
without a record.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from guardrail.call.throttle import Throttle
from guardrail.config import Settings
from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import ApprovalRequired, Denied, LedgerError, LedgerPoisonedError
from guardrail.guard import Guard
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, memory_guard
from tests.support.guards import journal_of


def limited(limit: int) -> tuple[Guard, MemoryLedger, StaticPolicy]:
    """Return a guard that decides *limit* calls a minute."""
    policy = StaticPolicy(allow())
    settings = Settings().override(limits={"calls_per_minute": limit}, identity={"require": "any"})
    guard, ledger = memory_guard(policy, settings=settings)
    return guard, ledger, policy


class Clock:
    """A clock that is never set, one of the wall that may be, and the throttle that reads them."""

    throttle: Throttle

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wall = 1_700_000_000.0
        self.throttle: Throttle | None = None

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


def timed(guard: Guard, limit: int) -> Clock:
    """Give *guard* a throttle on a clock of the test's own."""
    clock = Clock()
    throttle = Throttle(journal_of(guard), limit, now=lambda: clock.now, wall=lambda: clock.wall)
    guard._throttle = guard.calls._throttle = clock.throttle = throttle
    return clock


def call(guard: Guard, times: int, tool: str = "send") -> int:
    """Call *tool* so often and return how many of the calls ran."""
    ran = 0
    for _ in range(times):
        with contextlib.suppress(Denied):
            guard.call(tool, {}, lambda: None)
            ran += 1
    return ran


def test_calls_beyond_the_limit_are_denied_and_counted_in_one_record() -> None:
    """The policy is not asked about them, and each denial names a record that is there."""
    guard, ledger, policy = limited(3)
    with guard.session(principal="alice", agent="bot"):
        assert call(guard, 3) == 3
        with pytest.raises(Denied) as caught:
            guard.call("send", {"text": "x" * 40_000}, lambda **_: None)
        assert caught.value.code == "denied.quota"
        assert caught.value.message == "denied: more than 3 calls in a minute"
        begun = ledger.records[caught.value.seq]
        assert begun["type"] == "admin.quota_reached"
        assert begun["detail"]["principal"]["id"] == "alice"
        assert begun["detail"]["calls_per_minute"] == 3
        before = len(ledger.lines)
        assert call(guard, 20) + call(guard, 20, "pay") == 0
        assert len(ledger.lines) == before
    guard.close()
    assert len(policy.inputs) == len(ledger.of("call.decision")) == 3
    (record,) = ledger.of("call.throttled")
    assert (record["count"], record["tools"]) == (41, {"send": 21, "pay": 20})
    assert (record["tenant"], record["principal"]["id"]) == ("default", "alice")
    assert (record["calls_per_minute"], record["begun"]) == (3, caught.value.seq)
    assert record["since"] == begun["detail"]["since"]
    assert record["origin"]["pid"] == os.getpid()


def test_large_requests_for_approval_use_up_more_of_the_limit() -> None:
    """Whoever answers must see the arguments, so they are recorded whole: 40 kB count as ten
    calls.
    """
    settings = Settings().override(limits={"calls_per_minute": 20})
    guard, ledger = memory_guard(StaticPolicy(ask("person")), settings=settings)
    args = {"text": "word " * 8_000}
    with guard.session(principal="eve"):
        for _ in range(2):
            with pytest.raises(ApprovalRequired):
                guard.call("pay", args, lambda **_: None)
        with pytest.raises(Denied) as caught:
            guard.call("pay", args, lambda **_: None)
    assert caught.value.code == "denied.quota"
    with guard.session(principal="bob"), pytest.raises(ApprovalRequired):
        guard.call("pay", {"text": "short"}, lambda **_: None)
    assert len(ledger.of("call.decision")) == 3


def test_no_limit_is_kept_where_it_is_zero() -> None:
    """As the settings say."""
    guard, ledger, _ = limited(0)
    assert call(guard, 50) == 50
    guard.close()
    assert ledger.of("call.throttled") == []
    assert Settings().limits.calls_per_minute == 6000


def test_each_way_to_call_counts() -> None:
    """call, acall, admit, aadmit and what a framework refuses."""
    guard, ledger, _ = limited(5)

    async def later() -> None:
        await guard.acall("send", {}, lambda: None)
        (await guard.aadmit("send", {})).settle()
        for each in (guard.acall("send", {}, lambda: None), guard.aadmit("send", {})):
            with pytest.raises(Denied):
                await each

    guard.call("send", {}, lambda: None)
    guard.admit("send", {}).settle()
    guard.reject("send", "bad_arguments")
    asyncio.run(later())
    with pytest.raises(Denied):
        guard.admit("send", {})
    seq = guard.reject("send", "bad_arguments")
    assert ledger.records[seq]["type"] == "admin.quota_reached"
    guard.close()
    assert len(ledger.of("call.rejected")) == 1
    assert [record["count"] for record in ledger.of("call.throttled")] == [4]


def test_principals_are_counted_each_by_itself() -> None:
    """By tenant, issuer and id; what a person's other sessions and agents call is the same
    person's.
    """
    guard, ledger, _ = limited(2)
    for who in ({"tenant": "one"}, {"tenant": "two"}):
        with guard.session(principal="alice", agent="bot", **who):
            assert call(guard, 2) == 2
        with guard.session(principal="alice", agent="other", **who):
            assert call(guard, 2) == 0
    with guard.session(principal="bob"):
        assert call(guard, 3) == 2
    guard.close()
    counts = {
        (record["tenant"], record["principal"]["id"]): record["count"]
        for record in ledger.of("call.throttled")
    }
    assert counts == {("one", "alice"): 2, ("two", "alice"): 2, ("default", "bob"): 1}


def test_the_next_minute_begins_anew_and_the_count_is_written_by_itself() -> None:
    """Nobody need call for it; one record for each minute in which calls were denied."""
    guard, ledger, _ = limited(2)
    clock = timed(guard, 2)
    assert call(guard, 5) == 2
    clock.pass_(61)
    clock.throttle.write_finished_minutes()
    assert [record["count"] for record in ledger.of("call.throttled")] == [3]
    assert call(guard, 4) == 2
    clock.pass_(61)
    assert call(guard, 1) == 1
    clock.throttle.write_finished_minutes()
    clock.throttle.write_finished_minutes()
    assert [record["count"] for record in ledger.of("call.throttled")] == [3, 2]
    first, second = ledger.of("call.throttled")
    assert second["since"] > first["since"]
    guard.close()
    assert len(ledger.of("call.throttled")) == 2


def test_a_timer_writes_the_count_when_the_minute_is_over(monkeypatch: Any) -> None:
    """In the guard's own time, here with a minute that is short."""
    monkeypatch.setattr("guardrail.call.throttle.MINUTE", 0.3)
    guard, ledger, _ = limited(1)
    while call(guard, 2) == 2:
        pass  # a minute ended between the two
    for _ in range(500):
        if ledger.of("call.throttled"):
            break
        threading.Event().wait(0.02)
    assert sum(record["count"] for record in ledger.of("call.throttled")) >= 1
    guard.close()


def test_setting_the_clock_gives_nobody_a_fresh_start() -> None:
    """Minutes are those of a clock that is never set."""
    guard, ledger, _ = limited(2)
    clock = timed(guard, 2)
    assert call(guard, 3) == 2
    for jump in (3_600, -90_000, 61):
        clock.wall += jump
        assert call(guard, 2) == 0
    guard.close()
    assert [record["count"] for record in ledger.of("call.throttled")] == [7]


def test_a_crowd_of_principals_gives_nobody_a_fresh_start(monkeypatch: Any) -> None:
    """The table is bounded; who called most stays in it, and strangers are not denied for the
    crowd.
    """
    monkeypatch.setattr("guardrail.call.throttle.MAX_PRINCIPALS", 50)
    guard, _, _ = limited(20)
    clock = timed(guard, 20)
    throttle = clock.throttle

    def count(name: str) -> Any:
        with guard.session(principal=name) as scope:
            return throttle.count(scope.state, "send")

    for _ in range(15):
        assert count("mallory") is None
    for number in range(300):
        assert count(f"forged-{number}") is None
    assert len(throttle._counts) <= 50
    assert [count("mallory") is None for _ in range(6)][-1] is False
    assert count("honest") is None
    clock.pass_(61)
    assert count("mallory") is None
    guard.close()


def test_spellings_of_one_name_are_counted_as_one_principal() -> None:
    """Case, blanks, width and look-alikes give nobody a limit of their own."""
    guard, _, _ = limited(3)
    names = ["alice", "Alice", " alice", "alice ", "\uff41lice", "\u0430lice", "bob"]
    taken = []
    for name in names:
        with guard.session(principal=name):
            taken.append(call(guard, 2))
    assert taken == [2, 1, 0, 0, 0, 0, 2]
    guard.close()


def test_invented_principals_use_up_nobody_else_s_small_limit(monkeypatch: Any) -> None:
    """However many names somebody makes up, and uses up to the limit, a stranger has calls of their
    own.
    """
    monkeypatch.setattr("guardrail.call.throttle.MAX_PRINCIPALS", 50)
    guard, _, _ = limited(3)
    clock = timed(guard, 3)

    def count(name: str) -> bool:
        with guard.session(principal=name) as scope:
            return clock.throttle.count(scope.state, "send") is None

    for number in range(300):
        assert [count(f"forged-{number}") for _ in range(3)] == [True] * 3
    assert [count(f"honest-{number}") for number in range(20) for _ in range(3)] == [True] * 60
    assert not any(count(f"forged-{number}") for number in range(300))
    guard.close()


def test_more_principals_than_can_be_named_share_one_record(monkeypatch: Any) -> None:
    """Their calls are denied and counted all the same."""
    monkeypatch.setattr("guardrail.call.throttle.MAX_EXCEEDED", 3)
    guard, ledger, _ = limited(1)
    for number in range(8):
        with guard.session(principal=f"forged-{number}"):
            assert call(guard, 3) == 1
    guard.close()
    records = ledger.of("call.throttled")
    assert [record["count"] for record in records] == [2, 2, 2, 10]
    assert records[-1]["principal"] is None
    assert records[-1]["tools"] == {}
    assert len(ledger.of("admin.quota_reached")) == 4


def test_calls_without_a_principal_are_counted_together() -> None:
    """Each is denied for want of one, and beyond the limit counted like any other."""
    settings = Settings().override(limits={"calls_per_minute": 2})
    guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings)
    assert call(guard, 5) == 0
    guard.close()
    assert [record["decision"]["cause"] for record in ledger.of("call.decision")] == [
        "identity"
    ] * 2
    assert [record["count"] for record in ledger.of("call.throttled")] == [3]


def test_many_threads_are_counted_exactly() -> None:
    """None is lost between them, and they wait for one announcement."""
    guard, ledger, _ = limited(40)
    ran: list[int] = []
    with guard.session(principal="alice") as scope:

        def work() -> None:
            with scope:
                ran.append(call(guard, 25))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    guard.close()
    assert sum(ran) == 40
    assert [record["count"] for record in ledger.of("call.throttled")] == [160]
    assert len(ledger.of("admin.quota_reached")) == 1


def test_a_fork_counts_its_own_calls() -> None:
    """The parent records what was counted before it."""
    guard, ledger, _ = limited(2)
    throttle = timed(guard, 2).throttle
    assert call(guard, 5) == 2
    throttle._pid -= 1  # as a child finds it
    throttle.close()
    assert ledger.of("call.throttled") == []
    assert call(guard, 3) == 2
    guard.close()
    assert [record["count"] for record in ledger.of("call.throttled")] == [1]


def test_a_secret_in_a_principal_or_a_tool_is_not_written() -> None:
    """Neither in the announcement nor in the count."""
    secret = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    guard, ledger, _ = limited(1)
    with guard.session(principal=f"token {secret}"):
        call(guard, 3, f"tool {secret}")
    guard.close()
    assert [record["count"] for record in ledger.of("call.throttled")] == [2]
    assert secret not in b"\n".join(ledger.lines).decode()


BREAKS = ("raises", "fails", "cancelled", "hangs")


class Broken:
    """A ledger that takes no announcement, and tells how."""

    def __init__(self, ledger: MemoryLedger, how: str) -> None:
        self._ledger = ledger
        self.how = how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def submit(self, draft: Draft) -> Future[Receipt]:
        if draft.type == "admin.quota_reached" and self.how in BREAKS:
            future: Future[Receipt] = Future()
            if self.how == "raises":
                raise LedgerPoisonedError("broken")
            if self.how == "fails":
                future.set_exception(LedgerPoisonedError("broken"))
            if self.how == "cancelled":
                future.cancel()
            return future
        return self._ledger.submit(draft)

    def expired(self, future: Future[Receipt]) -> LedgerError:
        future.cancel()
        return LedgerPoisonedError("late")

    def append(self, draft: Draft, timeout: float | None = None) -> Receipt:
        if draft.type == "call.throttled" and self.how == "no count":
            raise LedgerPoisonedError("broken")
        return self._ledger.append(draft, timeout)


@pytest.mark.parametrize("how", BREAKS)
def test_a_denial_that_can_t_be_recorded_is_a_ledger_error(how: str) -> None:
    """No call is denied without a record; the next one tries again."""
    guard, ledger, _ = limited(1)
    broken = Broken(ledger, how)
    journal_of(guard).ledger = broken  # type: ignore[assignment]
    journal_of(guard).deadline = 0.1
    call(guard, 1)
    for _ in range(2):
        with pytest.raises(LedgerError):
            guard.call("send", {}, lambda: None)
    assert ledger.of("admin.quota_reached") == []
    broken.how = ""
    with pytest.raises(Denied):
        guard.call("send", {}, lambda: None)
    guard.close()
    assert len(ledger.of("admin.quota_reached")) == 1
    assert [record["count"] for record in ledger.of("call.throttled")] == [1]


def test_a_count_that_can_t_be_written_is_written_later() -> None:
    """The ledger is away for a while when the minute ends."""
    guard, ledger, _ = limited(1)
    clock = timed(guard, 1)
    broken = Broken(ledger, "no count")
    journal_of(guard).ledger = broken  # type: ignore[assignment]
    call(guard, 3)
    clock.pass_(61)
    clock.throttle.write_finished_minutes()
    assert ledger.of("call.throttled") == []
    broken.how = ""
    clock.throttle.write_finished_minutes()
    assert [record["count"] for record in ledger.of("call.throttled")] == [2]
    guard.close()


PROGRAM = """
import os
from guardrail import Denied, Guard
guard = Guard.open("guardrail.toml")
with guard.session(principal="alice", agent="bot"):
    for _ in range(9):
        try:
            guard.call("send", {}, lambda: None)
        except Denied as error:
            print(error.seq, flush=True)
if os.environ["HOW"] == "killed":
    os._exit(9)
guard.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_process_that_is_killed_leaves_a_record_of_its_denials(tmp_path: Any, how: str) -> None:
    """How many there were is known only where the guard was closed; that there were some,
    always.
    """
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.rego").write_text(
        'package guardrail.policy\n\nallow contains "all" if input.resource.id == "send"\n'
    )
    (tmp_path / "guardrail.toml").write_text("[limits]\ncalls_per_minute = 4\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "HOW": how},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (9 if how == "killed" else 0), done.stderr
    seqs = {int(line) for line in done.stdout.split()}
    with contextlib.closing(sqlite3.connect(tmp_path / "audit" / "ledger.db")) as database:
        records = [json.loads(line) for (line,) in database.execute("SELECT line FROM record")]
    found = [record for record in records if record["type"] == "admin.quota_reached"]
    counts = [record for record in records if record["type"] == "call.throttled"]
    # The minute may have ended between two calls.
    assert seqs == {record["seq"] for record in found}
    if how == "closed":
        denied = 9 - sum(record["type"] == "call.decision" for record in records)
        assert sum(record["count"] for record in counts) == denied
    assert _cli(tmp_path, "verify").returncode == 5
    for record in (*found, *counts):
        shown = _cli(tmp_path, "show", str(record["seq"])).stdout
        assert "DENIED" in shown
        assert "alice: more than 4 in the minute" in shown
        why = _cli(tmp_path, "why", str(record["seq"])).stderr
        assert "exceeded [limits] calls_per_minute" in why


def _cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from guardrail.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_tenant_has_a_limit_of_its_own() -> None:
    """Above it, all of its principals are denied, and those of other tenants are not. Calls above a
    principal's limit do not count for the tenant.
    """
    settings = Settings().override(limits={"calls_per_minute": 3, "tenant_calls": 5})
    guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings)

    def call(principal: str, tenant: str, times: int) -> list[str]:
        said = []
        with guard.session(principal, tenant=tenant):
            for _ in range(times):
                try:
                    guard.call("t", {}, lambda: None)
                except Denied as denial:
                    said.append(str(denial))
        return said

    assert call("alice", "acme", 9) == ["denied: more than 3 calls in a minute"] * 6
    assert call("bob", "acme", 3) == ["denied: more than 5 calls in a minute"]
    assert call("carol", "acme", 1) == ["denied: more than 5 calls in a minute"]
    assert call("alice", "globex", 3) == []
    guard.close()
    found = [json.loads(line) for line in ledger.lines]
    counts = [
        (
            each["tenant"],
            (each["principal"] or {}).get("id"),
            each["calls_per_minute"],
            each["count"],
        )
        for each in found
        if each["type"] == "call.throttled"
    ]
    assert counts == [("acme", "alice", 3, 6), ("acme", None, 5, 2)]
    reached = [each["detail"] for each in found if each["type"] == "admin.quota_reached"]
    assert [each["principal"] is None for each in reached] == [False, True]
