"""Supervision: workers that are killed, hang, lie or run out of memory cost the call they were on,
and no other.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from guardrail.core.types import EngineReply
from guardrail.errors import PolicyError
from guardrail.policy.embedded import pipe
from guardrail.policy.embedded.breaker import ShardBreaker
from guardrail.policy.embedded.compiled import CompiledPolicies
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.request import EngineRequest
from tests.support.paths import PROGRAMS
from tests.support.policies import ALLOW, call_input, compiled, write
from tests.support.waiting import until

FAULTY = PROGRAMS / "faulty_worker.py"
SLOW = """
slow contains [a, b, c] if {
	some a in numbers.range(1, 400)
	some b in numbers.range(1, 400)
	some c in numbers.range(1, 400)
	a == b
	b == c
}

deny contains "slow" if {
	input.action.properties.args.slow
	count(slow) < 0
}

# Doubles a text with each step, as no argument could do in one.
big := [x | some i in numbers.range(1, 9000); x := concat("", [y | some j in numbers.range(1, 200); y := input.action.properties.args.memory])]

deny contains "memory" if {
	input.action.properties.args.memory
	count(big) < 0
}
"""


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicies:
    """Policies that allow the sample, and can be made slow or greedy."""
    return compiled(write(tmp_path_factory.mktemp("policies"), {"p.rego": ALLOW + SLOW}))


Start = Callable[..., EmbeddedEngine]


@pytest.fixture
def start(policies: CompiledPolicies) -> Iterator[Start]:
    """Starts engines, and closes them."""
    started: list[EmbeddedEngine] = []

    def start_one(**options: object) -> EmbeddedEngine:
        engine = EmbeddedEngine(policies, **options)  # type: ignore[arg-type]
        started.append(engine)
        return engine

    yield start_one
    for engine in started:
        engine.close()


def ask(
    engine: EmbeddedEngine, session: str = "s", deadline: float = 10, **args: object
) -> Future[EngineReply]:
    """Ask about a call of *session* with *args*."""
    return engine.decide(call_input(**args), shard=f"t\0{session}\0server\0tool", deadline=deadline)


def failure(future: Future[EngineReply]) -> tuple[str, str]:
    """Return cause and detail of a future that fails."""
    error = future.exception(20)
    assert isinstance(error, PolicyError)
    return error.cause, error.detail


def worker_pid(engine: EmbeddedEngine) -> int:
    """Process id of the worker that serves."""
    pid = engine._lanes[0].pid
    assert pid is not None
    return pid


def spare_pid(engine: EmbeddedEngine) -> int:
    """Process id of the spare worker, which is started once the first one is ready."""
    until(lambda: engine._spares.pid is not None, "the spare worker")
    pid = engine._spares.pid
    assert pid is not None
    return pid


def gone(pid: int) -> bool:
    """Whether a process has ended and been reaped, waiting a little for it."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("hang", ("timeout", "eval_limit")),
        ("exit", ("crashed", "exited")),
        ("kill", ("crashed", "killed")),
        ("wrong_id", ("crashed", "wrong_id")),
        ("huge", ("crashed", "bad_frame")),
        ("garbage", ("crashed", "bad_frame")),
        ("stall", ("timeout", "eval_limit")),
    ],
)
def test_a_worker_that_misbehaves_fails_the_call_it_was_on(
    start: Start, fault: str, expected: tuple[str, str]
) -> None:
    """With its cause; calls before and behind it, from others, get their answers."""
    engine = start(worker_script=FAULTY, eval_limit=2.0)
    before = [ask(engine, f"before {index}") for index in range(5)]
    bad = ask(engine, "bad", fault=fault)
    behind = [ask(engine, f"behind {index}") for index in range(5)]
    assert failure(bad) == expected
    assert all(future.result(10) for future in before + behind)


def test_a_slow_policy_is_ended(start: Start) -> None:
    """Rego itself, not a fault: 64 million steps."""
    assert failure(ask(start(), slow=True)) == ("timeout", "eval_limit")


def test_a_greedy_policy_is_ended(start: Start) -> None:
    """Gigabytes from one argument, under a limit of 256 MiB."""
    engine = start(memory_limit=256 << 20, eval_limit=20.0)
    assert failure(ask(engine, memory="x" * 10_000)) == ("crashed", "memory")
    assert ask(engine, "other").result(10)


def test_a_worker_killed_from_outside_is_replaced(start: Start) -> None:
    """The call that was on it fails or is answered; the next one is answered."""
    engine = start()
    first = worker_pid(engine)
    slow = ask(engine, slow=True)
    os.kill(first, signal.SIGKILL)
    assert failure(slow) == ("crashed", "killed")
    assert ask(engine, "other").result(10)
    assert worker_pid(engine) != first


def test_an_idle_worker_that_dies_is_replaced_before_it_is_needed(start: Start) -> None:
    """Nobody is blamed, and the next call waits for nothing."""
    engine = start()
    first = worker_pid(engine)
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert ask(engine).result(10)
    assert worker_pid(engine) != first


def test_a_spare_takes_over(start: Start) -> None:
    """The worker that serves after a kill is the one that was kept warm."""
    engine = start(worker_script=FAULTY)
    assert ask(engine).result(10)
    spare = spare_pid(engine)
    assert failure(ask(engine, "bad", fault="exit")) == ("crashed", "exited")
    assert ask(engine).result(10)
    assert worker_pid(engine) == spare
    until(lambda: engine._spares.pid not in {None, spare}, "the next spare worker")


def test_a_spare_that_died_is_not_missed(start: Start) -> None:
    """A fresh worker is started instead."""
    engine = start(worker_script=FAULTY)
    assert ask(engine).result(10)
    spare = spare_pid(engine)
    os.kill(spare, signal.SIGKILL)
    assert failure(ask(engine, "bad", fault="exit")) == ("crashed", "exited")
    assert ask(engine).result(10)


def test_time_in_the_queue_does_not_count_as_evaluation(start: Start) -> None:
    """Each call has its own limit, from when it is its turn."""
    engine = start(worker_script=FAULTY, eval_limit=0.4)
    bad = [ask(engine, f"bad {index}", fault="hang") for index in range(2)]
    good = ask(engine, "good")
    assert [failure(future) for future in bad] == [("timeout", "eval_limit")] * 2
    assert good.result(10)


def test_calls_that_are_each_in_time_are_answered_however_many_wait(start: Start) -> None:
    """Six slow ones in a row take longer together than one may, and none of them did anything
    wrong.
    """
    engine = start(worker_script=FAULTY, eval_limit=0.5)
    futures = [ask(engine, f"s{index}", fault="slow") for index in range(6)]
    assert all(future.result(10) for future in futures)


def test_a_call_that_waits_too_long_is_undecided(start: Start) -> None:
    """The deadline is the caller's, whatever the worker is at."""
    engine = start(worker_script=FAULTY, eval_limit=2.0)
    ask(engine, "bad", fault="hang")
    started = time.monotonic()
    assert failure(ask(engine, "late", deadline=0.1)) == ("timeout", "deadline")
    assert time.monotonic() - started < 1.5


def test_deadlines_hold_while_a_worker_that_closed_its_output_ends(start: Start) -> None:
    """Both for the call that the worker was on, and for one that waits behind it. The worker's end
    would decide the first, and its successor the second.
    """
    engine = start(worker_script=FAULTY)
    assert ask(engine).result(10)
    calls = [
        ask(engine, "first", deadline=0.1, fault="shut"),
        ask(engine, "second", deadline=0.1),
    ]
    assert [failure(call) for call in calls] == [("timeout", "deadline")] * 2


@pytest.mark.parametrize("deadline", [0.0, 0.05])
def test_an_answer_that_comes_after_its_deadline_does_not_count(
    start: Start, deadline: float
) -> None:
    """Also right after another call, and between two looks at the time."""
    engine = start(worker_script=FAULTY)
    for _ in range(3):
        assert ask(engine).result(10)
        late = ask(engine, deadline=deadline, **({"fault": "slow"} if deadline else {}))
        assert failure(late) == ("timeout", "deadline")


def test_a_poisonous_session_delays_others_once(start: Start) -> None:
    """After its first kill a session's calls go to a worker of their own: 20 hanging calls cost
    others one limit.
    """
    engine = start(worker_script=FAULTY, eval_limit=0.3)
    poison = [ask(engine, "bad", deadline=30, fault="hang") for _ in range(20)]
    good = [ask(engine, f"good {index}", deadline=1.0) for index in range(20)]
    assert all(future.result(5) for future in good)
    assert not any(future.done() and future.exception() is None for future in poison)


def test_a_shard_that_kills_three_times_is_not_asked_for(start: Start) -> None:
    """Its calls fail at once; those of other shards go on."""
    engine = start(worker_script=FAULTY)
    for _ in range(3):
        assert failure(ask(engine, "bad", fault="exit")) == ("crashed", "exited")
    assert failure(ask(engine, "bad")) == ("crashed", "breaker_open")
    assert ask(engine, "other").result(10)


def test_requests_that_wait_behind_their_own_sessions_kills_end_too(start: Start) -> None:
    """Every future ends, also those that were under way when the breaker opened."""
    engine = start(worker_script=FAULTY)
    futures = [ask(engine, "bad", fault="exit") for _ in range(12)]
    found = {failure(future) for future in futures}
    assert ("crashed", "exited") in found
    assert found <= {("crashed", "exited"), ("crashed", "breaker_open")}


def test_the_breaker_forgets_after_a_while() -> None:
    """Three kills within the window open it; the first one's age closes it."""
    breaker = ShardBreaker(limit=3, window=60)
    for now in (0.0, 10.0, 20.0):
        breaker.record("t\0s\0tool", "timeout", now)
    harm = breaker.open("t\0s\0tool", 21.0)
    assert harm is not None
    assert harm.cause == "timeout"
    assert breaker.open("t\0s\0other tool", 21.0) is None
    assert breaker.suspect("t\0s\0other tool", 21.0)
    assert not breaker.suspect("t\0another\0tool", 21.0)
    assert breaker.open("t\0s\0tool", 61.0) is None
    assert not breaker.suspect("t\0s\0tool", 81.0)


def test_a_principal_that_kills_with_ever_new_tools_is_not_asked_for_either() -> None:
    """Names of tools and agents cost nothing: four times what one of them may do is enough for all
    of them.
    """
    breaker = ShardBreaker(limit=3, window=60)
    for index in range(12):
        assert breaker.open(f"t\0eve\0agent\0tool {index}", 1.0) is None
        breaker.record(f"t\0eve\0agent\0tool {index}", "timeout", 1.0)
    assert breaker.open("t\0eve\0another\0new", 2.0) is not None
    assert breaker.open("t\0bob\0agent\0tool 1", 2.0) is None
    assert breaker.open("u\0eve\0agent\0tool 1", 2.0) is None
    assert breaker.open("t\0eve\0another\0new", 62.0) is None


def test_principals_take_turns_however_much_one_of_them_asks(start: Start) -> None:
    """A question behind five hundred of somebody else's is answered with their first ones."""
    engine = start()
    many = [ask(engine, "eve") for _ in range(500)]
    waiting = sum(not future.done() for future in many)
    left: list[int] = []
    late = ask(engine, "bob")
    # Counted as the answer comes: this thread may wake up much later.
    late.add_done_callback(lambda _: left.append(sum(not future.done() for future in many)))
    for future in (late, *many):
        future.result(30)
    assert 2 * left[0] > waiting > 50, (left, waiting)


def test_a_principal_that_was_alone_gives_way_to_others(start: Start) -> None:
    """Fast answers let more of its questions into the pipe. If these turn out to be slow, a
    question of somebody else does not wait for all of them, and none is lost.
    """
    engine = start(worker_script=FAULTY)
    first = ask(engine, "eve")
    assert isinstance(first, EngineRequest)
    busy = first.source
    assert isinstance(busy, pipe.Pipe)
    for _ in range(100):
        for future in [ask(engine, "eve") for _ in range(40)]:
            future.result(30)
        if busy.most_of_one >= 8:
            break
    many = [ask(engine, "eve", fault="slow") for _ in range(8)]
    assert len(busy.sent) > pipe.IN_PIPE_OF_ONE
    done: list[int] = []
    late = ask(engine, "bob")
    late.add_done_callback(lambda _: done.append(sum(future.done() for future in many)))
    for future in (late, *many):
        future.result(30)
    assert done[0] <= pipe.IN_PIPE_OF_ONE


def test_a_principal_that_fills_the_queue_keeps_nobody_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes is the last of the one with the most in it."""
    monkeypatch.setattr(pipe, "MAX_WAITING", 20)
    engine = start(worker_script=FAULTY, eval_limit=5.0)
    held = ask(engine, "eve", fault="hang")
    flood = [ask(engine, "eve") for _ in range(40)]
    assert ("timeout", "queue_full") in [failure(each) for each in flood if each.done()]
    late = ask(engine, "bob")
    assert not late.done()
    engine.close()
    assert failure(late) == ("unreachable", "closed")
    assert failure(held) == ("unreachable", "closed")


def test_the_breaker_is_bounded() -> None:
    """A flood of names costs no memory without end."""
    breaker = ShardBreaker(capacity=10)
    for index in range(1000):
        breaker.record(f"t\0s{index}\0tool", "timeout", float(index))
    assert len(breaker._shards) == 10
    assert len(breaker._parties) == 10


def test_closing_ends_what_is_open(start: Start) -> None:
    """Every future ends, and no process is left."""
    engine = start(worker_script=FAULTY, eval_limit=30.0)
    futures = [ask(engine, f"s{index}", fault="hang") for index in range(3)]
    pids = [worker_pid(engine), spare_pid(engine)]
    engine.close()
    engine.close()
    assert [failure(future) for future in futures] == [("unreachable", "closed")] * 3
    assert failure(ask(engine)) == ("unreachable", "closed")
    assert all(gone(pid) for pid in pids)


def test_no_zombie_is_left_by_kills(start: Start) -> None:
    """Each worker that ended was waited for."""
    engine = start(worker_script=FAULTY)
    pids = []
    for index in range(4):
        pids.append(worker_pid(engine))
        failure(ask(engine, f"bad {index}", fault="exit"))
        assert ask(engine, f"good {index}").result(10)
    assert all(gone(pid) for pid in pids)


def test_a_worker_that_never_gets_ready_is_given_up(
    policies: CompiledPolicies, tmp_path: Path
) -> None:
    """Starting ends with an error that says so."""
    script = tmp_path / "mute.py"
    script.write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(PolicyError) as caught:
        EmbeddedEngine(policies, worker_script=script, start_limit=0.2)
    assert (caught.value.cause, caught.value.detail) == ("unreachable", "worker_start")


def test_a_worker_that_can_not_start_fails_calls_at_once(
    policies: CompiledPolicies, tmp_path: Path
) -> None:
    """Once the spare is used up and no other one starts, calls fail, and go on when it is
    repaired.
    """
    script = tmp_path / "worker.py"
    script.write_text(f"import runpy\nrunpy.run_path({str(FAULTY)!r}, run_name='__main__')\n")
    engine = EmbeddedEngine(policies, worker_script=script)
    try:
        assert ask(engine).result(10)
        script.rename(tmp_path / "away.py")
        for index in range(2):
            failure(ask(engine, f"bad {index}", fault="exit"))
        assert failure(ask(engine, "good")) in {
            ("unreachable", "worker_start"),
            ("timeout", "deadline"),
        }
        (tmp_path / "away.py").rename(script)
        for _ in range(50):
            if ask(engine, "again").exception(20) is None:
                break
            time.sleep(0.2)
        assert ask(engine, "again").result(20)
    finally:
        engine.close()


def test_a_call_has_its_deadline_also_while_no_worker_can_be_started(
    policies: CompiledPolicies, tmp_path: Path
) -> None:
    """The pause before the next start is longer, and no call waits for its end."""
    script = tmp_path / "worker.py"
    script.write_text(f"import runpy\nrunpy.run_path({str(FAULTY)!r}, run_name='__main__')\n")
    engine = EmbeddedEngine(policies, worker_script=script)
    try:
        assert ask(engine).result(10)
        script.unlink()
        for index in range(2):
            failure(ask(engine, f"bad {index}", fault="exit"))
        longest, end = 0.0, time.monotonic() + 4
        while time.monotonic() < end:
            asked = time.monotonic()
            assert failure(ask(engine, "good", deadline=0.05))[0] in {"timeout", "unreachable"}
            longest = max(longest, time.monotonic() - asked)
        assert longest < 1.0
    finally:
        engine.close()


def test_a_forked_child_gets_workers_of_its_own(start: Start) -> None:
    """And the parent's go on serving the parent."""
    engine = start()
    assert ask(engine).result(10)
    parent_pid = worker_pid(engine)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - the child
        code = 1
        try:
            if ask(engine, "child").result(20) and worker_pid(engine) != parent_pid:
                code = 0
            engine.close()
        finally:
            os.write(writer, b"x")
            os._exit(code)
    os.close(writer)
    assert ask(engine).result(10)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask(engine).result(10)
    assert worker_pid(engine) == parent_pid


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    """Also where the parent is killed in the middle of an evaluation, and a child of it lives
    on.
    """
    write(tmp_path / "policies", {"p.rego": ALLOW + SLOW})
    program = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from guardrail.policy.embedded.engine import EmbeddedEngine
        engine = EmbeddedEngine.load([Path(sys.argv[1])])
        while engine._spares.pid is None:
            time.sleep(0.01)
        engine.decide(sys.argv[2].encode(), shard="t", deadline=9)
        child = os.fork()
        if child == 0:
            os.close(1)
            time.sleep(60)
            os._exit(0)
        print(child, engine._lanes[0].pid, engine._spares.pid, flush=True)
        os.kill(os.getpid(), 9)
    """)
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "policies"), call_input(slow=True).decode()],
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
        text=True,
    )
    assert found.returncode == -signal.SIGKILL
    child, *workers = (int(pid) for pid in found.stdout.split())
    try:
        assert len(workers) == 2
        assert all(gone(pid) for pid in workers)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_worker_inherits_nothing(start: Start, tmp_path: Path) -> None:
    """No descriptor, no environment, no controlling session, no core dumps."""
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(secret, True)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        pid = worker_pid(start())
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        assert not any("secret" in link for link in links)
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert [item for item in environment if item] == [b"RUST_BACKTRACE=0"]
        assert os.getsid(pid) == pid
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert any(
            line.split()[4] == "0" for line in limits.splitlines() if line.startswith("Max core")
        )
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
        os.close(secret)


def test_large_inputs_do_not_block_the_caller(start: Start) -> None:
    """A pipe that is full while the worker hangs holds up nobody's thread."""
    engine = start(worker_script=FAULTY, eval_limit=1.0)
    bad = ask(engine, "bad", fault="hang")
    started = time.monotonic()
    large = [ask(engine, f"s{index}", text="x" * 200_000) for index in range(20)]
    assert time.monotonic() - started < 0.9
    assert failure(bad) == ("timeout", "eval_limit")
    assert all(future.result(10) for future in large)


def test_two_workers_share_the_calls(start: Start) -> None:
    """A slow call on one does not hold up calls on the other."""
    engine = start(worker_script=FAULTY, workers=2, eval_limit=5.0)
    ask(engine, "bad", fault="hang")
    assert ask(engine, "good", deadline=4).result(4)


def test_many_threads_survive_kills(start: Start) -> None:
    """16 threads ask while workers are killed: every call ends, and nearly all get an answer."""
    engine = start(worker_script=FAULTY)
    ended: list[BaseException | None] = []
    lock = threading.Lock()

    def calls(number: int) -> None:
        for index in range(30):
            future = (
                ask(engine, f"bad {number}", fault="exit")
                if number < 2 and index == 5
                else ask(engine, f"s{number}")
            )
            error = future.exception(20)
            with lock:
                ended.append(error)

    threads = [threading.Thread(target=calls, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 16 * 30
    assert sum(error is not None for error in ended) == 2
