"""Sessions, tools, admissions and reloading."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from typing import Any

import pytest

from guardrail.core.types import Status
from guardrail.errors import ConfigError, Denied, IdentityError, LedgerError, UsageError
from guardrail.testing import MemoryLedger, StaticPolicy, allow, deny, memory_guard


def sessions_of(ledger: MemoryLedger) -> list[str]:
    """Return the session of each decision."""
    return [record["session"] for record in ledger.of("call.decision")]


def test_calls_belong_to_the_innermost_session() -> None:
    """And to the outer one again after it was left."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    with guard.session(principal="alice", id="outer"):
        guard.call("x", {}, lambda: None)
        with guard.session(principal="alice", id="inner"):
            guard.call("x", {}, lambda: None)
        guard.call("x", {}, lambda: None)
    assert sessions_of(ledger) == ["outer", "inner", "outer"]


def test_two_guards_do_not_see_each_others_sessions() -> None:
    """A session belongs to the guard that made it."""
    first, _ = memory_guard(StaticPolicy(allow()))
    second, ledger = memory_guard(StaticPolicy(allow()))
    with first.session(principal="alice", id="s"):
        second.call("x", {}, lambda: None)
    assert ledger.of("call.decision")[0]["principal"]["assurance"] == "absent"


def test_a_session_can_be_handed_to_threads() -> None:
    """Each enters it for itself."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", id="s")
    assert (scope.id, scope.session.principal.id, dict(scope.attributes)) == ("s", "alice", {})

    def work() -> None:
        with scope:
            guard.call("x", {}, lambda: None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions_of(ledger) == ["s"] * 4


async def test_tasks_have_sessions_of_their_own() -> None:
    """Entering in one task does not change another."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    async def work(name: str) -> None:
        async with guard.session(principal="alice", id=name):
            await asyncio.sleep(0.001)
            await guard.acall("x", {}, lambda: None)

    await asyncio.gather(*(work(f"s{n}") for n in range(6)))
    assert sorted(sessions_of(ledger)) == [f"s{n}" for n in range(6)]


def test_leaving_a_session_that_is_not_entered_here_harms_nothing() -> None:
    """For example in another context than it was entered in."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", id="s")
    contextvars.copy_context().run(scope.__enter__)
    scope.__exit__(None, None, None)


def test_a_session_id_of_someone_else_is_refused() -> None:
    """In this process, and by what the ledger says."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    with guard.session(principal="alice", id="s"):
        guard.call("x", {}, lambda: None)
    with pytest.raises(IdentityError):
        guard.session(principal="eve", id="s")
    other, other_ledger = memory_guard(StaticPolicy(allow()))
    other_ledger.lines = ledger.lines
    with pytest.raises(IdentityError):
        other.session(principal="eve", id="s")
    assert other.session(principal="alice", id="s").id == "s"


def test_the_same_session_keeps_what_it_knows() -> None:
    """Entering it again does not forget sensitive values."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("x", schema={"type": "object", "additionalProperties": True})
    secret = "hunter2-" + "again"
    for args in ({"password": secret}, {"text": secret}):
        with guard.session(principal="alice", id="s"):
            guard.call("x", args, lambda **_: None)
    assert secret not in str(ledger.records)


def test_a_decorated_function_is_a_governed_tool() -> None:
    """Name and schema from its signature; positional and keyword arguments alike."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    @guard.tool
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    @guard.tool(name="other", labels=["math"], target=["/a"])
    def sub(a: int, b: int) -> int:
        return a - b

    assert (add(1), add(1, 3), add(b=4, a=1), sub(5, b=1)) == (3, 4, 5, 4)
    assert add.__name__ == "add"
    assert [record["tool"]["name"] for record in ledger.of("call.decision")] == ["add"] * 3 + [
        "other"
    ]
    assert ledger.of("call.decision")[0]["tool"]["declared"] is True


@pytest.mark.parametrize(
    "arguments", [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"zz": 1}), (("x",), {})]
)
def test_a_decorated_function_called_wrongly_is_a_recorded_denial(arguments: Any) -> None:
    """Not a TypeError that nobody sees; and the body does not run."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    runs: list[int] = []

    @guard.tool
    def add(a: int) -> None:
        runs.append(a)

    args, kwargs = arguments
    with pytest.raises(Denied):
        add(*args, **kwargs)
    assert runs == []
    assert ledger.of("call.decision")[0]["decision"]["cause"] == "arguments"


async def test_a_decorated_coroutine_function_is_awaited() -> None:
    """As it was before."""
    guard, _ = memory_guard(StaticPolicy(allow()))

    @guard.tool
    async def double(n: int) -> int:
        return 2 * n

    assert await double(n=4) == 8


def test_a_tool_is_not_declared_twice_differently() -> None:
    """Two meanings of one name can't both be what the policy allowed."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    tool = guard.declare("x", schema={"type": "object"})
    assert guard.register(tool) is tool
    with pytest.raises(ConfigError):
        guard.declare("x", schema={"type": "object", "required": ["a"], "properties": {"a": {}}})


def test_an_admission_is_settled_once() -> None:
    """By who ran the call; the record says release."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    admission = guard.admit("x", {"a": 1})
    assert ledger.of("call.decision")[0]["enforcement"] == "release"
    assert admission.arguments == {"a": 1}
    receipt = admission.settle("ok", result=5, seconds=0.5)
    assert ledger.records[receipt.seq]["ms"] == 500
    with pytest.raises(UsageError):
        admission.settle(Status.OK)
    with pytest.raises(UsageError, match="one of ok"):
        guard.admit("x", {}).settle("nonsense")


@pytest.mark.parametrize("seconds", ["1", True, -1, float("nan"), float("inf")])
def test_an_impossible_duration_is_refused_and_the_call_can_still_be_settled(
    seconds: Any,
) -> None:
    """A mistake of the program does not cost the call its outcome."""
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    with guard.session(principal="alice", agent="bot"):
        admission = guard.admit("x", {})
        with pytest.raises(UsageError) as refused:
            admission.settle(seconds=seconds)
        assert refused.value.code == "usage.seconds"
        admission.settle(seconds=1)
    (record,) = ledger.of("call.outcome")
    assert record["ms"] == 1000


async def test_an_admission_can_be_awaited() -> None:
    """Admitted and settled on an event loop."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    admission = await guard.aadmit("x", {})
    await admission.asettle(Status.ERROR, error=ValueError("x"))
    assert ledger.of("call.outcome")[0]["status"] == "error"
    denied, _ = memory_guard(StaticPolicy(deny()))
    with pytest.raises(Denied):
        await denied.aadmit("x", {})


async def test_a_result_that_is_told_after_unknown_is_a_claim() -> None:
    """A program that passes calls on closes them as unknown if nobody tells their results in time;
    the first result that is told later counts.
    """
    guard, ledger = memory_guard(StaticPolicy(allow()))
    admission = guard.admit("x", {})
    admission.settle(Status.UNKNOWN)
    with pytest.raises(UsageError):
        admission.settle(Status.UNKNOWN)
    await admission.asettle(Status.RETURNED, result="late")
    with pytest.raises(UsageError):
        admission.settle(Status.RETURNED, result="later")
    assert [each["status"] for each in ledger.of("call.outcome")] == ["unknown"]
    (claim,) = ledger.of("call.claim")
    assert (claim["status"], claim["decision_seq"]) == ("returned", admission.seq)


def test_a_claim_that_cannot_be_recorded_is_an_error() -> None:
    guard, ledger = memory_guard(StaticPolicy(allow()))
    admission = guard.admit("x", {})
    admission.settle(Status.UNKNOWN)
    ledger.fail = lambda draft: (
        LedgerError("gone", code="ledger.io") if draft.type == "call.claim" else None
    )
    with pytest.raises(LedgerError):
        admission.settle(Status.RETURNED)
    assert not ledger.of("call.claim")


@pytest.mark.parametrize("awaited", [False, True])
async def test_an_outcome_that_comes_after_unknown_is_a_claim(awaited: bool) -> None:
    """The other side's word, beside the outcome that is there already."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    admission = guard.admit("x", {})
    ledger.fail = lambda draft: (
        LedgerError("closed", code="ledger.closed_call") if draft.type == "call.outcome" else None
    )
    if awaited:
        await admission.asettle(result="late")
    else:
        admission.settle(result="late")
    (claim,) = ledger.of("call.claim")
    assert (claim["status"], claim["decision_seq"], claim["call"]) == (
        "ok",
        admission.seq,
        admission.call,
    )
    assert claim["result"]["type"] == "str"


def test_a_body_that_forks_has_one_outcome_and_the_child_gets_an_error() -> None:
    """Only the process that admitted the call says how it ended."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    reader, writer = os.pipe()

    def body() -> int:
        return os.fork()

    try:
        child = guard.call("x", {}, body)
    except LedgerError as error:
        os.write(writer, error.code.encode())
        os._exit(0)
    if child == 0:
        os._exit(1)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 100) == b"ledger.forked"
    os.close(reader)
    assert len(ledger.of("call.outcome")) == 1


def test_closing_records_the_stop_and_ends_the_engine() -> None:
    """Once; a ledger that can't be written does not keep the guard open."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    with guard:
        pass
    guard.close()
    assert policy.closed
    assert len(ledger.of("admin.stop")) == 1
    broken_policy = StaticPolicy(allow())
    broken, broken_ledger = memory_guard(broken_policy)
    broken_ledger.fail = lambda _: LedgerError("full")
    broken.close()
    assert broken_policy.closed
