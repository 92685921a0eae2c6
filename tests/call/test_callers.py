"""In whose name a call is made, and what is done with one that is made in nobody's."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import functools
import multiprocessing
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.call import scope
from guardrail.call.scope import SessionScope
from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.core.types import Agent, Assurance, Principal
from guardrail.errors import ConfigError, Denied, LedgerError, UsageError
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.review.reasons import reason_of
from guardrail.system.yielding import yields_inside
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, memory_guard
from tests.support.projects import new_project

KEYS = Keys.ephemeral().tenant("default")


@pytest.fixture
def strict() -> tuple[Guard, MemoryLedger]:
    """A guard with the settings of production."""
    return memory_guard(StaticPolicy(allow()), settings=Settings())


def called(guard: Guard, **how: Any) -> str:
    """Make a call; return whether it ran, or the detail of its denial."""
    try:
        guard.call("x", {"a": 1}, lambda a: None, **how)
    except Denied as denied:
        return "denied" if denied.code == "denied.identity" else denied.code
    return "ran"


def who(ledger: MemoryLedger) -> list[tuple[str, str]]:
    """Return principal, and detail of the decision, of each call."""
    return [
        (record["principal"]["id"], record["decision"]["detail"])
        for record in ledger.of("call.decision")
    ]


# -- nobody
# --------------------------------------------------------------------------------------------------


def test_a_call_of_nobody_is_denied_recorded_and_explained(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """The agent gets one short line; the program the usual reasons; the policy is not asked."""
    guard, ledger = strict
    with pytest.raises(Denied) as caught:
        guard.call("x", {"text": "very private"}, lambda text: pytest.fail("it ran"))
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["effect"], record["decision"]["cause"]) == ("deny", "identity")
    assert record["decision"]["detail"] == "absent"
    assert record["seq"] == caught.value.seq
    assert "very private" not in str(record)
    assert str(caught.value) == "denied: the caller's identity could not be established"
    for reason in ("thread", "dependency", "background task", "streaming", "session=", "bind"):
        assert reason in caught.value.hint
    assert f"guardrail why {caught.value.seq}" in caught.value.hint
    assert "with guard.session" in reason_of("identity", "absent").sentence
    assert ledger.of("call.outcome") == []


@pytest.mark.parametrize(
    "session",
    [
        {},
        {"agent": "bot"},
        {"principal": Principal("", assurance=Assurance.ABSENT, method="none"), "agent": "bot"},
        {"agent": Agent("bot"), "delegation": [{"sub": "alice"}], "attributes": {"user": "alice"}},
    ],
)
def test_a_session_without_a_principal_is_not_enough(
    strict: tuple[Guard, MemoryLedger], session: dict[str, Any]
) -> None:
    """An agent, a delegation or an attribute is no principal."""
    guard, ledger = strict
    with guard.session(**session):
        assert called(guard) == "denied"
    assert called(guard, session=guard.session(**session)) == "denied"
    assert who(ledger) == [("", "absent")] * 2


async def test_every_way_to_make_a_call_asks_for_a_principal(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Called, awaited, admitted, as a governed function; arguments that do not fit are not what is
    said.
    """
    guard, ledger = strict

    @guard.tool
    def add(a: int) -> int:
        return a

    @guard.tool
    async def later(a: int) -> int:
        return a

    calls: list[Callable[[], Any]] = [
        lambda: guard.call("x", {"a": object()}, lambda a: a),
        lambda: guard.admit("x", {}),
        lambda: add("no number"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(Denied):
            call()
    for awaited in (
        guard.acall("x", {}, lambda: None),
        guard.aadmit("x", {}),
        later(1),
    ):
        with pytest.raises(Denied):
            await awaited
    assert who(ledger) == [("", "absent")] * 6
    async with guard.session("alice"):
        assert (add(1), await later(2)) == (1, 2)


def test_calls_of_nobody_share_nothing() -> None:
    """Neither their session nor what is known to be sensitive in it, nor an approval."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("x", schema={"type": "object", "additionalProperties": True})
    secret = "hunter2-" + "again"
    guard.call("x", {"password": secret}, lambda **_: None)
    guard.call("x", {"text": secret}, lambda **_: None)
    guard.reject("x", "bad_arguments")
    first, second, third = (
        *ledger.of("call.decision"),
        *ledger.of("call.rejected"),
    )
    assert len({record["session"] for record in (first, second, third)}) == 3
    assert first["input"]["action"]["properties"]["args"]["password"] != secret
    assert second["input"]["action"]["properties"]["args"]["text"] == secret


def test_calls_of_nobody_are_the_policys_matter_where_the_settings_say_so() -> None:
    """It sees that the principal is absent."""
    policy = StaticPolicy(allow())
    guard, _ = memory_guard(policy, settings=Settings().override(identity={"require": "any"}))
    assert called(guard) == "ran"
    assert policy.inputs[0]["subject"]["properties"]["assurance"] == "absent"


def test_verified_principals_need_an_issuer(tmp_path: Path) -> None:
    """Without one, a guard that waits for one would look safe and deny everything."""
    settings = Settings().override(
        identity={"require": "verified"}, ledger={"path": tmp_path / "audit.db"}
    )
    for start in (
        lambda: Guard.open(settings),
        lambda: memory_guard(StaticPolicy(allow()), settings=settings),
    ):
        with pytest.raises(ConfigError, match="without an issuer") as caught:
            start()
        assert (caught.value.code, "asserted" in caught.value.hint) == ("config.identity", True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError):
        Settings().override(identity={"require": "some"})


def test_who_must_be_known_is_among_the_settings_whose_change_is_recorded() -> None:
    """It decides how calls are governed."""
    loose = Settings().override(identity={"require": "any"})
    assert loose.digest(KEYS) != Settings().digest(KEYS)
    assert Settings().governed()["identity"]["require"] == "asserted"


# -- session=
# --------------------------------------------------------------------------------------------------


async def test_a_session_that_is_passed_is_the_one_that_counts(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Inside another one, in a thread, in a task, after its own block."""
    guard, ledger = strict
    with guard.session("alice") as alice:
        pass
    with guard.session("bob"):
        assert called(guard, session=alice) == "ran"
        await guard.acall("x", {"a": 1}, lambda a: None, session=alice)
        guard.admit("x", {}, session=alice).settle()
        (await guard.aadmit("x", {}, session=alice)).settle()
        guard.reject("x", "bad_arguments", session=alice)
    thread = threading.Thread(target=called, args=(guard,), kwargs={"session": alice})
    thread.start()
    thread.join()
    found = [*ledger.of("call.decision"), *ledger.of("call.rejected")]
    assert [record["principal"]["id"] for record in found] == ["alice"] * 6
    assert {record["session"] for record in found} == {alice.id}


@pytest.mark.parametrize("session", ["alice", 5, {"principal": "alice"}, SessionScope, object()])
async def test_what_is_no_session_is_refused(
    strict: tuple[Guard, MemoryLedger], session: Any
) -> None:
    """Nothing is recorded, nothing runs; a name is no session."""
    guard, ledger = strict
    for call in (
        lambda: guard.call("x", {}, lambda: None, session=session),
        lambda: guard.admit("x", {}, session=session),
        lambda: guard.reject("x", "code", session=session),
        lambda: guard.bind(session),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "usage.session"
    with pytest.raises(UsageError):
        await guard.acall("x", {}, lambda: None, session=session)
    assert who(ledger) == []


def test_the_session_of_another_guard_is_refused(strict: tuple[Guard, MemoryLedger]) -> None:
    """Its keys, its memory and its log are others."""
    guard, ledger = strict
    other, _ = memory_guard(StaticPolicy(allow()))
    for call in (
        lambda: called(guard, session=other.session("alice")),
        lambda: guard.bind(other.session("alice")),
    ):
        with pytest.raises(UsageError, match="another guard") as caught:
            call()
        assert caught.value.code == "usage.session_guard"
    with other.session("alice"):
        assert called(guard) == "denied"
    assert who(ledger) == [("", "absent")]


def test_no_call_is_made_in_a_closed_session(strict: tuple[Guard, MemoryLedger]) -> None:
    """Passed, current, bound or entered again; opened by its id, it goes on."""
    guard, ledger = strict
    session = guard.session("alice", id="s-1")
    bound = guard.bind(session)(called)
    with session:
        assert called(guard) == "ran"
        session.close()
        session.close()
        assert called(guard) == "denied"
        with pytest.raises(UsageError):
            guard.bind()
    assert (called(guard, session=session), bound(guard)) == ("denied", "denied")
    with pytest.raises(UsageError) as caught, session:
        pytest.fail("it was entered")
    assert caught.value.code == "usage.session_closed"
    assert who(ledger) == [("alice", ""), *[("alice", "closed")] * 3]
    assert called(guard, session=guard.session("alice", id="s-1")) == "ran"
    assert "closed" in reason_of("identity", "closed").sentence


def test_a_session_that_is_closed_while_a_call_waits_for_approval_ends_it() -> None:
    """Who calls is asked again when the call is judged again."""
    guard, ledger = memory_guard(StaticPolicy(ask()), settings=Settings())
    session = guard.session("alice")
    closer = threading.Timer(0.2, session.close)
    closer.start()
    with pytest.raises(Denied) as caught:
        guard.call("x", {}, lambda: None, session=session, wait_for_approval=0.5, approval="none")
    closer.join()
    assert caught.value.code in ("denied.identity", "denied.approval.unknown")
    with pytest.raises(Denied):
        guard.call("x", {}, lambda: None, session=session, wait_for_approval=0.5)
    assert who(ledger)[-1] == ("alice", "closed")


def test_a_session_outlives_its_guard_by_no_call(tmp_path: Path) -> None:
    """The ledger is closed: nothing can be recorded, so nothing runs."""
    new_project(tmp_path)
    guard = Guard.open(policies=tmp_path / "policies", ledger=tmp_path / "audit.db")
    session = guard.session("alice")
    guard.close()
    with session, pytest.raises(LedgerError):
        guard.call("x", {}, lambda: pytest.fail("it ran"))
    with pytest.raises(LedgerError):
        guard.call("x", {}, lambda: pytest.fail("it ran"), session=session)


# -- where a session holds
# ------------------------------------------------------------------------------------------------


def test_a_new_thread_has_no_session_and_a_bound_one_has(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Started directly, or by an executor that was there before."""
    guard, ledger = strict
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: None).result()
        with guard.session("alice") as alice:
            assert pool.submit(called, guard).result() == "denied"
            assert pool.submit(guard.bind(alice)(called), guard).result() == "ran"
            assert pool.submit(guard.bind()(called), guard).result() == "ran"
            assert pool.submit(contextvars.copy_context().run, called, guard).result() == "ran"
        # What the pool's thread did for alice is over.
        assert pool.submit(called, guard).result() == "denied"
    assert [name for name, _ in who(ledger)] == ["", "alice", "alice", "alice", ""]


async def test_tasks_and_executors_on_an_event_loop(strict: tuple[Guard, MemoryLedger]) -> None:
    """A copy of the context takes the session with it; an executor takes none; one from outside has
    none.
    """
    guard, ledger = strict
    loop = asyncio.get_running_loop()

    async def work() -> str:
        return called(guard)

    gate = asyncio.Event()

    async def waiting() -> str:
        await gate.wait()
        return called(guard)

    outside = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    async with guard.session("alice"):
        gate.set()
        assert await outside == "denied"
        assert await asyncio.create_task(work()) == "ran"
        assert await asyncio.to_thread(called, guard) == "ran"
        assert await loop.run_in_executor(None, called, guard) == "denied"
        assert await loop.run_in_executor(None, guard.bind()(called), guard) == "ran"
    assert [name for name, _ in who(ledger)] == ["", "alice", "alice", "", "alice"]


@pytest.mark.parametrize("require", ["any", "asserted"])
async def test_what_outlives_the_block_does_not_go_on_in_its_name(require: str) -> None:
    """A task that one request starts and that then works for others, say; nor does it become nobody
    unseen.
    """
    guard, ledger = memory_guard(
        StaticPolicy(allow()), settings=Settings().override(identity={"require": require})
    )
    jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def worker() -> list[str]:
        done = []
        for _ in range(3):
            how = await jobs.get()
            done.append(called(guard, **how))
        return done

    async with guard.session("alice") as alice:
        task = asyncio.create_task(worker())
        await jobs.put({})
        while ledger.of("call.outcome") == []:
            await asyncio.sleep(0.001)
    async with guard.session("bob") as bob:
        await jobs.put({})
        await jobs.put({"session": bob})
        assert await task == ["ran", "denied", "ran"]
    assert who(ledger) == [("alice", ""), ("alice", "ended"), ("bob", "")]
    assert called(guard, session=alice) == "ran"
    assert "block had ended" in reason_of("identity", "ended").sentence


async def test_an_inner_session_that_has_ended_does_not_fall_back_to_the_outer_one(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """A task that was alice's is not bob's because alice's block is over."""
    guard, ledger = strict
    gate = asyncio.Event()

    async def waiting() -> str:
        await gate.wait()
        return called(guard)

    async with guard.session("bob"):
        async with guard.session("alice"):
            task = asyncio.create_task(waiting())
            await asyncio.sleep(0)
        gate.set()
        assert await task == "denied"
        assert called(guard) == "ran"
    assert who(ledger) == [("alice", "ended"), ("bob", "")]


def test_a_block_that_is_left_in_another_context_ends_where_it_was_entered(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """A dependency whose halves run in different threads must not leave its session to the next job
    of the first.
    """
    guard, ledger = strict
    other = guard.session("bob")
    with concurrent.futures.ThreadPoolExecutor(1) as first:

        @contextlib.contextmanager
        def request() -> Iterator[SessionScope]:
            with guard.session("alice") as session:
                yield session

        manager = request()
        session = first.submit(lambda: manager.__enter__()).result()
        with other:
            assert called(guard) == "ran"
            manager.__exit__(None, None, None)
            assert called(guard) == "ran"
        assert first.submit(called, guard).result() == "denied"
        assert called(guard, session=session) == "ran"
    assert who(ledger) == [("bob", ""), ("bob", ""), ("alice", "ended"), ("alice", "")]


def test_a_session_is_not_entered_as_the_whole_job_of_a_thread(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Nothing would run inside but whatever the thread does next, for somebody else."""
    guard, _ = strict

    @contextlib.contextmanager
    def request() -> Iterator[None]:
        with guard.session("alice"):
            yield

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for enter in (guard.session("alice").__enter__, request().__enter__):
            with pytest.raises(UsageError) as caught:
                pool.submit(enter).result()
            assert caught.value.code == "usage.session_thread"
        assert pool.submit(called, guard).result() == "denied"


class Entering:
    """A context manager of somebody's own."""

    def __init__(self, session: SessionScope) -> None:
        self.session = session

    def __enter__(self) -> None:
        self.session.__enter__()

    def __exit__(self, *about: object) -> None:
        self.session.__exit__(None, None, None)


def plainly(guard: Guard) -> Iterator[str]:
    with guard.session("alice"):
        yield called(guard)
        yield called(guard)


def by_a_stack(guard: Guard) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(guard.session("alice"))
        yield called(guard)


def by_a_manager(guard: Guard) -> Iterator[str]:
    @contextlib.contextmanager
    def alice() -> Iterator[None]:
        with guard.session("alice"):
            yield

    with alice():
        yield called(guard)


def by_a_class(guard: Guard) -> Iterator[str]:
    with Entering(guard.session("alice")):
        yield called(guard)


def by_another(guard: Guard) -> Iterator[str]:
    yield from plainly(guard)


@pytest.mark.parametrize("made", [plainly, by_a_stack, by_a_manager, by_a_class, by_another])
def test_a_generator_does_not_hand_its_session_to_who_runs_it(
    strict: tuple[Guard, MemoryLedger], made: Callable[[Guard], Iterator[str]]
) -> None:
    """Between two values the caller would be alice, and for good if it never asks for the next
    one.
    """
    guard, ledger = strict
    values = made(guard)
    with pytest.raises(UsageError) as caught:
        next(values)
    assert caught.value.code == "usage.session_generator"
    assert "session=" in caught.value.hint
    assert called(guard) == "denied"
    assert who(ledger) == [("", "absent")]


def in_a_loop(guard: Guard) -> Iterator[str]:
    for name in ("alice", "bob"):
        with guard.session(name) as session:
            try:
                yield called(guard)
            finally:
                assert session
    yield "after"


def delegating(guard: Guard) -> Iterator[str]:
    with contextlib.suppress(ValueError), guard.session("alice"):
        yield from ["a"]


def nested(guard: Guard) -> Iterator[str]:
    with guard.session("alice"):
        try:
            raise ValueError
        except ValueError:
            with contextlib.suppress(KeyError):
                yield called(guard)


@pytest.mark.parametrize("made", [in_a_loop, delegating, nested])
def test_it_is_found_wherever_in_the_block_it_yields(
    strict: tuple[Guard, MemoryLedger], made: Callable[[Guard], Iterator[str]]
) -> None:
    """In a loop, a handler, a block inside, and to another generator."""
    with pytest.raises(UsageError):
        next(made(strict[0]))
    assert called(strict[0]) == "denied"


async def test_a_generator_that_yields_after_the_block_may_enter_it(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Nobody but its own code is inside; what it awaits there is no yield."""
    guard, ledger = strict

    def plain() -> Iterator[str]:
        yield "before"
        for name in ("alice", "bob"):
            try:
                with guard.session(name), contextlib.suppress(KeyError):
                    result = called(guard)
            finally:
                yield "between"
            yield result

    async def awaited() -> AsyncIterator[str]:
        with contextlib.suppress(KeyError):
            yield "before"
            async with guard.session("carol") as session:
                await asyncio.sleep(0)
                result = called(guard, session=session)
                async with guard.session("dave"):
                    await asyncio.to_thread(called, guard)
            yield result

    assert list(plain()) == ["before", "between", "ran", "between", "ran"]
    assert [value async for value in awaited()] == ["before", "ran"]
    assert [name for name, _ in who(ledger)] == ["alice", "bob", "carol", "dave"]


def test_a_block_that_is_not_found_in_the_code_is_taken_to_yield() -> None:
    """At an offset where none begins, or in code that ends there."""

    def without() -> None:
        try:
            called(None)  # type: ignore[arg-type]
        finally:
            called(None)  # type: ignore[arg-type]

    code = without.__code__
    assert all(yields_inside(code, offset) for offset in range(-2, len(code.co_code) + 2, 2))


async def test_an_async_generator_does_not_either(strict: tuple[Guard, MemoryLedger]) -> None:
    """Entered with ``async with`` or ``with``."""
    guard, _ = strict

    async def awaited() -> AsyncIterator[int]:
        async with guard.session("alice"):
            yield 1

    async def plain() -> AsyncIterator[int]:
        with guard.session("alice"):
            yield 1

    for made in (awaited, plain):
        with pytest.raises(UsageError) as caught:
            await anext(made())
        assert caught.value.code == "usage.session_generator"
    assert called(guard) == "denied"


def test_generators_that_pass_their_session_do_not_act_for_each_other(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """However their steps are mixed."""
    guard, ledger = strict

    def values(session: SessionScope) -> Iterator[str]:
        for _ in range(2):
            yield called(guard, session=session)

    alice, bob = values(guard.session("alice")), values(guard.session("bob"))
    with guard.session("carol"):
        assert [next(alice), next(bob), next(alice), next(bob)] == ["ran"] * 4
    assert [name for name, _ in who(ledger)] == ["alice", "bob", "alice", "bob"]


async def test_context_managers_may_be_made_of_generators(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Who uses one is inside its block; one may use another; fixtures as well."""
    guard, ledger = strict

    @contextlib.contextmanager
    def acting(name: str) -> Iterator[None]:
        with guard.session(name):
            yield

    @contextlib.contextmanager
    def outer(name: str) -> Iterator[None]:
        with acting(name):
            yield

    @contextlib.asynccontextmanager
    async def awaited(name: str) -> AsyncIterator[None]:
        async with guard.session(name):
            yield

    with acting("alice"):
        assert called(guard) == "ran"
        with outer("bob"):
            assert called(guard) == "ran"
    async with awaited("carol"):
        assert called(guard) == "ran"
    assert called(guard) == "denied"
    assert [name for name, _ in who(ledger)] == ["alice", "bob", "carol", ""]


@pytest.fixture
def acting(strict: tuple[Guard, MemoryLedger]) -> Iterator[None]:
    """A fixture that acts for alice."""
    with strict[0].session("alice"):
        yield


def test_a_fixture_may_enter_a_session(strict: tuple[Guard, MemoryLedger], acting: None) -> None:
    """For the test that asks for it."""
    assert called(strict[0]) == "ran"


def test_two_guards_keep_their_sessions_apart(strict: tuple[Guard, MemoryLedger]) -> None:
    """Entered one inside the other, each guard finds its own."""
    guard, ledger = strict
    other, other_ledger = memory_guard(StaticPolicy(allow()), settings=Settings())
    with guard.session("alice"), other.session("bob"):
        assert (called(guard), called(other)) == ("ran", "ran")
    assert (who(ledger), who(other_ledger)) == ([("alice", "")], [("bob", "")])


# -- entered through a function
# -------------------------------------------------------------------------------------------


class Scopes(contextlib.ExitStack):
    """Somebody's own stack, which logs people in."""

    def login(self, session: SessionScope) -> None:
        self.enter_context(session)


def by_a_method(guard: Guard, name: str) -> Iterator[str]:
    with Scopes() as stack:
        stack.login(guard.session(name))
        for _ in range(2):
            yield called(guard)


def by_hand(guard: Guard, name: str) -> Iterator[str]:
    session = guard.session(name)

    def log_in() -> None:
        session.__enter__()

    log_in()
    try:
        for _ in range(2):
            yield called(guard)
    finally:
        session.__exit__(None, None, None)


def by_a_manager_in_a_function(guard: Guard, name: str) -> Iterator[str]:
    @contextlib.contextmanager
    def acting() -> Iterator[None]:
        with guard.session(name):
            yield

    def log_in(stack: contextlib.ExitStack) -> None:
        stack.enter_context(acting())

    with contextlib.ExitStack() as stack:
        log_in(stack)
        for _ in range(2):
            yield called(guard)


def by_a_class_with_a_method(guard: Guard, name: str) -> Iterator[str]:
    class Acting(Entering):
        def __enter__(self) -> None:
            self.log_in()

        def log_in(self) -> None:
            self.session.__enter__()

    with Acting(guard.session(name)):
        for _ in range(2):
            yield called(guard)


@pytest.mark.parametrize(
    "made", [by_a_method, by_hand, by_a_manager_in_a_function, by_a_class_with_a_method]
)
@pytest.mark.parametrize("outside", ["", "carol"])
def test_a_session_that_a_function_entered_for_a_generator_is_nobody_elses(
    strict: tuple[Guard, MemoryLedger], made: Callable[[Guard, str], Iterator[str]], outside: str
) -> None:
    """However two of them are mixed; whoever runs them is in neither, and in its own again when
    they have ended.
    """
    guard, ledger = strict
    with guard.session(outside) if outside else contextlib.nullcontext():
        alice, bob = made(guard, "alice"), made(guard, "bob")
        got = [next(alice), next(bob), called(guard), next(alice), next(bob)]
        with pytest.raises(UsageError):
            guard.bind()
        assert [*alice, *bob] == []
        got.append(called(guard))
    assert got == ["ran", "ran", "denied", "denied", "ran", "ran" if outside else "denied"]
    assert who(ledger) == [
        ("alice", ""),
        ("bob", ""),
        ("bob", "suspended"),
        ("bob", "suspended"),
        ("bob", ""),
        (outside, "" if outside else "absent"),
    ]
    assert "generator" in reason_of("identity", "suspended").sentence


async def test_nor_is_one_that_a_coroutine_entered_for_an_async_generator(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """In one task, in tasks and threads that are started between two values, and after it was given
    up.
    """
    guard, ledger = strict

    async def log_in(stack: contextlib.AsyncExitStack, name: str) -> None:
        await stack.enter_async_context(guard.session(name))

    async def values(name: str) -> AsyncIterator[str]:
        async with contextlib.AsyncExitStack() as stack:
            await log_in(stack, name)
            for _ in range(2):
                await asyncio.sleep(0)
                yield called(guard)

    async def work() -> str:
        return called(guard)

    alice, bob = values("alice"), values("bob")
    assert [await anext(alice), await anext(bob)] == ["ran", "ran"]
    assert await asyncio.create_task(work()) == "denied"
    assert await asyncio.to_thread(called, guard) == "denied"
    assert [await anext(alice), await anext(bob), called(guard)] == ["denied", "ran", "denied"]
    for each in (alice, bob):
        await each.aclose()  # type: ignore[attr-defined]
    assert called(guard) == "denied"
    ran = [name for name, detail in who(ledger) if not detail]
    assert ran == ["alice", "bob", "bob"]


async def test_a_function_that_enters_a_session_and_leaves_it_may_be_called_by_a_generator(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """By a block, by a stack of its own, or in a context manager or a fixture that uses a
    function.
    """
    guard, ledger = strict

    def by_a_block(name: str) -> str:
        with guard.session(name):
            return called(guard)

    def by_a_stack(name: str) -> str:
        with Scopes() as stack:
            stack.login(guard.session(name))
            return called(guard)

    @contextlib.contextmanager
    def acting(name: str) -> Iterator[None]:
        with Scopes() as stack:
            stack.login(guard.session(name))
            yield

    def in_a_manager(name: str) -> str:
        with acting(name):
            return called(guard)

    async def awaited(name: str) -> str:
        async with guard.session(name):
            await asyncio.sleep(0)
            return called(guard)

    def values() -> Iterator[str]:
        for name, work in (("alice", by_a_block), ("bob", by_a_stack), ("carol", in_a_manager)):
            yield work(name)

    async def later() -> AsyncIterator[str]:
        yield await awaited("dave")

    assert [*values(), *[value async for value in later()]] == ["ran"] * 4
    assert in_a_manager("erin") == "ran"
    assert called(guard) == "denied"
    assert [name for name, _ in who(ledger)] == ["alice", "bob", "carol", "dave", "erin", ""]


@pytest.fixture
def helped(strict: tuple[Guard, MemoryLedger]) -> Iterator[None]:
    """A fixture that acts for alice by a stack of its own."""
    with Scopes() as stack:
        stack.login(strict[0].session("alice"))
        yield


def test_a_fixture_may_enter_one_through_a_function(
    strict: tuple[Guard, MemoryLedger], helped: None
) -> None:
    """For the test that asks for it."""
    assert called(strict[0]) == "ran"


# -- bind
# --------------------------------------------------------------------------------------------------


async def test_every_kind_of_function_can_be_bound(strict: tuple[Guard, MemoryLedger]) -> None:
    """It keeps its name, arguments, result and exceptions; the session is over when it returns."""
    guard, ledger = strict
    alice = guard.session("alice")

    @guard.bind(alice)
    def plain(a: int, *, b: int = 2) -> int:
        assert called(guard) == "ran"
        return a + b

    @guard.bind(alice)
    async def awaited(a: int) -> int:
        await asyncio.sleep(0)
        assert called(guard) == "ran"
        return a

    @guard.bind(alice)
    def broken() -> None:
        raise ValueError("mine")

    class Callback:
        async def __call__(self) -> str:
            return called(guard)

    async def work() -> str:
        await asyncio.sleep(0)
        return called(guard)

    assert (plain(1, b=4), plain.__name__, await awaited(3)) == (5, "plain", 3)
    with pytest.raises(ValueError, match="mine"):
        broken()
    assert await guard.bind(alice)(Callback())() == "ran"
    assert await guard.bind(alice)(lambda: work())() == "ran"
    assert guard.bind(alice)(functools.partial(called, guard))() == "ran"
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_soon(guard.bind(alice)(lambda: answer.set_result(called(guard))))
    assert await answer == "ran"
    assert called(guard) == "denied"
    assert {name for name, _ in who(ledger)} == {"alice", ""}


def test_what_runs_after_it_has_returned_cannot_be_bound(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Nor what can't be called, nor nothing."""
    guard, _ = strict
    alice = guard.session("alice")

    def values() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for made in (values, later):
        with pytest.raises(UsageError) as caught:
            guard.bind(alice)(made)
        assert caught.value.code == "usage.session_generator"
    with pytest.raises(UsageError) as caught:
        guard.bind(alice)("work")  # type: ignore[arg-type]
    assert caught.value.code == "usage.bind"
    with pytest.raises(UsageError, match="no current session"):
        guard.bind()


# -- other processes
# --------------------------------------------------------------------------------------------------


def test_a_session_does_not_travel_to_another_process(strict: tuple[Guard, MemoryLedger]) -> None:
    """With its keys; copies in this one are itself."""
    session = strict[0].session("alice")
    with pytest.raises(UsageError) as caught:
        pickle.dumps(session)
    assert caught.value.code == "usage.pickle"
    assert copy.copy(session) is session
    assert copy.deepcopy({"session": session})["session"] is session


def in_a_child(folder: str, inherited: Guard | None, session: SessionScope | None) -> None:
    """Make calls in a process of its own: with the guard that it was forked with, or with one that
    it opens.
    """
    if inherited is not None:
        called(inherited)
        called(inherited, session=session)
        return
    with Guard.open(policies=f"{folder}/policies", ledger=f"{folder}/audit.db") as guard:
        called(guard)
        with guard.session("alice"):
            called(guard)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_for_jobs_has_no_session_but_one_that_it_is_given_or_opens(
    tmp_path: Path, method: str
) -> None:
    """It may outlive the block in which it was started, and work for others."""
    new_project(tmp_path)
    context = multiprocessing.get_context(method)
    with (
        Guard.open(policies=tmp_path / "policies", ledger=tmp_path / "audit.db") as guard,
        guard.session("alice") as session,
    ):
        given = (guard, session) if method == "fork" else (None, None)
        child = context.Process(target=in_a_child, args=(str(tmp_path), *given))  # type: ignore[attr-defined]
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert called(guard) == "ran"
    with LedgerReader.open(tmp_path / "audit.db") as reader:
        records = [decode(line) for _, _, line in reader.lines()]
    found = [
        (record["principal"]["id"], record["decision"]["detail"])
        for record in records
        if record["type"] == "call.decision"
    ]
    assert found == [("", "absent"), ("alice", ""), ("alice", "")]


def test_a_library_that_forks_for_jobs_is_told_from_a_fork_in_the_block(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """By the module that forks; what happens in the new process, here in a copy of the context."""
    guard, _ = strict
    for module, expected in (("multiprocessing.popen_fork", "denied"), (__name__, "ran")):
        space = {"__name__": module, "after": scope._after_fork}
        exec("def fork():\n    after()", space)

        def child(fork: Any = space["fork"]) -> str:
            fork()
            return called(guard)

        with guard.session("alice"):
            assert contextvars.copy_context().run(child) == expected
            assert called(guard) == "ran"


def test_the_bottom_of_a_thread_may_enter_a_session_for_itself(
    strict: tuple[Guard, MemoryLedger],
) -> None:
    """Without a frame of Python below; the thread ends, and its session with it."""
    session = strict[0].session("alice")
    _thread.start_new_thread(session.__enter__, ())
    while not session._entries:
        time.sleep(0.001)
    assert called(strict[0]) == "denied"
    session.__exit__(None, None, None)
    assert session._entries == []
    assert scope._owner(None) is None
