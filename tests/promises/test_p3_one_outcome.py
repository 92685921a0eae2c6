"""P3: never more than one outcome per allowed call, and exactly one once its process has ended and
a writer has looked.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import LedgerError, UsageError
from guardrail.testing import StaticPolicy, allow
from tests.support.forked import ForkedProgram, forked
from tests.support.guards import OPEN, Body, child, guarded, journal_of, records, whole

BEFORE_DURABLE = [
    "before:begin",
    "after:begin",
    "before:snapshot",
    "after:snapshot",
    "before:classify",
    "after:classify",
    "before:input",
    "after:input",
    "before:ask",
    "after:ask",
    "before:parse",
    "after:parse",
    "before:submit-decision",
    "before:insert-decision",
    "after:insert-decision",
    "before:commit-decision",
]
"""Here the call leaves no trace."""

DURABLE = [
    "after:commit-decision",
    "before:admitted",
    "after:admitted",
    "in:body",
    "before:settle",
    "after:settle",
    "before:insert-outcome",
    "after:insert-outcome",
    "before:commit-outcome",
]
"""Here the decision is on disk and the outcome is not: ``unknown``."""

ENDED = ["after:commit-outcome", "after:release"]
"""Here both are on disk."""

RAN = frozenset([*DURABLE[DURABLE.index("in:body") :], *ENDED])


@pytest.fixture(scope="module")
def killed_guard() -> Iterator[ForkedProgram]:
    """A program that kills itself at a point of a call."""
    with forked("tests.support.programs.killed_guard") as program:
        yield program


def killed_at(program: ForkedProgram, folder: Path, point: str, *how: str) -> None:
    """Run the program that kills itself at *point*; make sure that it did."""
    assert program.run(str(folder), point, *how) == -signal.SIGKILL, point


def ends(folder: Path) -> list[str]:
    """Open the ledger with a new writer, and return the status of every outcome."""
    with guarded(folder):
        pass
    found = whole(folder / "audit.db")
    return [record["status"] for record in found if record["type"] == "call.outcome"]


@pytest.mark.parametrize("point", [*BEFORE_DURABLE, *DURABLE, *ENDED])
def test_a_process_killed_at_any_step_leaves_one_outcome_per_allowed_call(
    tmp_path: Path, killed_guard: ForkedProgram, point: str
) -> None:
    """SIGKILL before and after each numbered step; then one outcome for each decision that is
    durable.
    """
    killed_at(killed_guard, tmp_path, point, "call")
    expected = ["ok"] if point in BEFORE_DURABLE else ["ok", "ok" if point in ENDED else "unknown"]
    assert ends(tmp_path) == expected
    runs = len((tmp_path / "bodies").read_text())
    assert runs == (2 if point in RAN else 1)
    decisions = records(tmp_path / "audit.db", "call.decision")
    assert runs <= len(decisions), "a body ran without a durable decision"


@pytest.mark.parametrize("point", ["before:commit-decision", "in:body", "before:commit-outcome"])
@pytest.mark.parametrize("how", ["acall", "admit"])
def test_the_same_holds_for_awaited_and_handed_over_calls(
    tmp_path: Path, killed_guard: ForkedProgram, point: str, how: str
) -> None:
    """At the three points that tell the cases apart."""
    killed_at(killed_guard, tmp_path, point, how)
    assert ends(tmp_path) == (["ok"] if point in BEFORE_DURABLE else ["ok", "unknown"])


@pytest.mark.parametrize(
    ("point", "how", "expected"),
    [
        ("before:commit-decision", "call", ["unknown"]),  # both outcomes wait for this commit
        ("after:commit-decision", "acall", ["ok", "unknown"]),
        ("after:settle", "call", ["ok", "unknown"]),
        ("after:release", "call", ["ok", "unknown"]),
        ("after:release", "acall", ["ok", "unknown"]),
        ("after:release", "admit", ["ok", "ok"]),  # a settled admission is durable
    ],
)
def test_a_call_whose_result_was_released_soon_is_unknown_if_its_outcome_was_not_durable(
    killed_guard: ForkedProgram, tmp_path: Path, point: str, how: str, expected: list[str]
) -> None:
    """``outcome = "soon"``: killed between the release and the commit. The first call ends with the
    decision of the second.
    """
    killed_at(killed_guard, tmp_path, point, how, "soon")
    assert ends(tmp_path) == expected
    runs = len((tmp_path / "bodies").read_text())
    assert runs <= len(records(tmp_path / "audit.db", "call.decision"))


def test_a_call_of_a_dead_process_is_closed_by_a_writer_that_runs_on(tmp_path: Path) -> None:
    """Not only at open: the next sweep of any process closes it, once, and later sweeps find
    nothing.
    """
    with child(tmp_path) as alive, child(tmp_path) as victim:
        victim.ask("begin_slow")
        assert alive.ask("sweep")["swept"] == 0
        victim.kill()
        assert alive.ask("sweep")["swept"] == 1
        assert alive.ask("sweep")["swept"] == 0
        alive.ask("stop")
    assert [r["status"] for r in records(tmp_path / "audit.db", "call.outcome")] == ["unknown"]
    whole(tmp_path / "audit.db")


def test_racing_sweeps_close_each_call_once(tmp_path: Path) -> None:
    """Many processes that find the same dead calls at the same time write one outcome each."""
    with child(tmp_path) as first, child(tmp_path) as second, child(tmp_path) as third:
        with child(tmp_path) as one, child(tmp_path) as two, child(tmp_path) as three:
            for victim in (one, two, three):
                victim.ask("begin_slow")
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda each: each.ask("sweep", 5), [first, second, third]))
        assert sum(answer["swept"] for answer in answers) == 3
        for running in (first, second, third):
            running.ask("stop")
    outcomes = records(tmp_path / "audit.db", "call.outcome")
    assert [record["status"] for record in outcomes] == ["unknown"] * 3
    whole(tmp_path / "audit.db")


def test_a_slow_call_is_never_swept(tmp_path: Path) -> None:
    """However often others look, the call of a live process stays open until it ends, as ``ok``."""
    with child(tmp_path) as slow, child(tmp_path) as other:
        slow.ask("begin_slow")
        assert other.ask("sweep", 10)["swept"] == 0
        assert slow.ask("sweep", 3)["swept"] == 0
        other.ask("stop")
        with guarded(tmp_path):
            pass
        whole(tmp_path / "audit.db", still_open=1)
        slow.ask("end_slow")
        slow.ask("stop")
    assert [r["status"] for r in records(tmp_path / "audit.db", "call.outcome")] == ["ok"]
    whole(tmp_path / "audit.db")


def test_a_stopped_process_is_slow_and_not_dead(tmp_path: Path) -> None:
    """SIGSTOP keeps its lease: nobody closes its call."""
    with child(tmp_path) as slow, child(tmp_path) as other:
        slow.ask("begin_slow")
        slow.process.send_signal(signal.SIGSTOP)
        assert other.ask("sweep", 3)["swept"] == 0
        slow.process.send_signal(signal.SIGCONT)
        slow.ask("end_slow")
        slow.ask("stop")
        other.ask("stop")
    assert [r["status"] for r in records(tmp_path / "audit.db", "call.outcome")] == ["ok"]


def test_four_processes_with_four_threads_lose_nothing(tmp_path: Path) -> None:
    """4 x 4 x 60 calls beside a slow tool: every record, an intact chain, and no record waits a
    second.

    A record that is not durable within one second of waiting, lock included, fails its call: none
    does.
    """
    with child(tmp_path) as slow:
        slow.ask("begin_slow")
        running = [child(tmp_path, deadline_ms=1000) for _ in range(4)]
        opened = [each.__enter__() for each in running]
        try:
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda one: one.ask("load", 4, 60), opened))
            assert [answer["failures"] for answer in answers] == [[]] * 4
            assert [answer["bodies"] for answer in answers] == [240] * 4
            assert opened[0].ask("sweep")["swept"] == 0
            for one in opened:
                one.ask("stop")
        finally:
            for each in running:
                each.__exit__(None, None, None)
        found = whole(tmp_path / "audit.db", still_open=1)
        slow.ask("end_slow")
        slow.ask("stop")
    decisions = [
        r for r in found if r["type"] == "call.decision" and r["principal"]["id"] == "alice"
    ]
    assert len(decisions) == 4 * 4 * 60
    assert len({record["origin"]["process"] for record in decisions}) == 4
    whole(tmp_path / "audit.db")


def test_an_admission_is_settled_once(tmp_path: Path) -> None:
    """A second settlement is refused, also when both come at the same moment."""
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        for _ in range(20):
            admission = guard.admit("send", {})
            gate = threading.Barrier(4)

            def settle(_: int, admission: Any = admission, gate: Any = gate) -> str:
                gate.wait()
                try:
                    admission.settle()
                except (UsageError, LedgerError) as error:
                    return error.code
                return "settled"

            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(settle, range(4)))
            assert answers.count("settled") == 1, answers
    found = whole(tmp_path / "audit.db")
    assert sum(record["type"] == "call.outcome" for record in found) == 20


def test_an_outcome_after_unknown_is_a_claim(tmp_path: Path) -> None:
    """The other side's word comes late: recorded as what it is, beside the outcome."""
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        admission = guard.admit("send", {})
        # As after a lease that was lost: someone else has closed the call.
        from guardrail.ledger.reader import LedgerReader
        from guardrail.ledger.writing.outcomes import unknown

        with LedgerReader.open(tmp_path / "audit.db") as reader:
            line = reader.record(admission.seq)
        assert line is not None
        journal_of(guard).append(unknown(line))
        admission.settle()
    found = whole(tmp_path / "audit.db")
    assert [r["status"] for r in found if r["type"] == "call.outcome"] == ["unknown"]
    assert [r["status"] for r in found if r["type"] == "call.claim"] == ["ok"]


@pytest.mark.parametrize("kind", ["plain", "derived again"])
async def test_a_cancelled_call_has_one_outcome_at_every_moment(tmp_path: Path, kind: str) -> None:
    """Cancelled after every small delay: an outcome for each durable decision, and none for the
    others.

    Also where redaction changed the arguments, so that the decision is derived again meanwhile.
    """
    bodies = Body()

    async def body(**_: Any) -> None:
        bodies()
        await asyncio.sleep(0.004)

    args: dict[str, Any] = {}
    engine = StaticPolicy(allow())
    if kind == "derived again":
        args["password"] = "quiet-otter-42"
        engine = StaticPolicy(allow(), delay=0.003)
    with guarded(tmp_path, engine) as guard:
        guard.declare("send", schema=OPEN)
        for step in range(60):
            task = asyncio.ensure_future(guard.acall("send", args, body))
            await asyncio.sleep(step * 0.0003)
            task.cancel()
            await asyncio.wait([task])
        await guard.acall("send", args, body)
    found = whole(tmp_path / "audit.db")
    outcomes = [record for record in found if record["type"] == "call.outcome"]
    ran = [r for r in outcomes if (r["error"] or {}).get("class") != "not_started"]
    assert len(ran) == bodies.runs
    assert {record["status"] for record in outcomes} <= {"ok", "cancelled"}


def test_closing_the_guard_under_a_running_call_leaves_it_one_outcome(tmp_path: Path) -> None:
    """The call fails where its outcome can't be written any more; the next process closes it."""
    begun, go = threading.Event(), threading.Event()
    problem: list[BaseException] = []

    def body() -> str:
        begun.set()
        go.wait()
        return "done"

    with child(tmp_path) as running:
        running.ask("begin_slow")
        running.ask("stop")
        running.kill()
    assert ends(tmp_path) == ["unknown"]
    with guarded(tmp_path) as guard:

        def call() -> None:
            try:
                guard.call("send", {}, body)
            except LedgerError as error:
                problem.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        begun.wait()
    go.set()
    thread.join()
    assert problem
    found = whole(tmp_path / "audit.db", still_open=1)
    assert sum(record["type"] == "call.outcome" for record in found) == 1
