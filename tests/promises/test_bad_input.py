"""Bad input: each has a clear error or a recorded outcome, loses nothing, and the next call goes
on.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.core.log.record import MAX_LINE
from guardrail.errors import Denied, GuardrailError, SchemaWarning, UsageError
from guardrail.testing import StaticPolicy, allow
from tests.support.guards import (
    OPEN,
    Body,
    child,
    guarded,
    lines,
    records,
    ruled,
    verdicts,
    whole,
    write_policy,
)


def deep(levels: int, leaf: Any = 1) -> dict[str, Any]:
    value: Any = leaf
    for _ in range(levels):
        value = {"a": value}
    assert isinstance(value, dict)
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {"list": []}
    value["list"].append(value)
    return value


class Hostile(dict[str, Any]):
    """A dict that raises when it is read."""

    def items(self) -> Any:
        raise RuntimeError("no")

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no")


REFUSED: dict[str, tuple[Any, str]] = {
    "an object": ({"a": object()}, "not_json"),
    "bytes": ({"a": b"x"}, "not_json"),
    "a set": ({"a": {1}}, "not_json"),
    "a complex number": ({"a": 1j}, "not_json"),
    "a function": ({"a": len}, "not_json"),
    "NaN": ({"a": float("nan")}, "nan"),
    "infinity": ({"a": [float("-inf")]}, "nan"),
    "more than 64 bits": ({"a": 2**64}, "integer_range"),
    "less than 64 bits": ({"a": -(2**63) - 1}, "integer_range"),
    "10,000 digits": ({"a": 10**10_000}, "integer_range"),
    "a lone surrogate": ({"a": "x\ud800"}, "surrogate"),
    "a lone surrogate in a key": ({"\udfff": 1}, "surrogate"),
    "10 MB of text": ({"a": "x" * 10_000_000}, "size"),
    "10 MB of words": ({"a": ["word " * 1000] * 2_000}, "size"),
    "10,000 levels": (deep(10_000), "depth"),
    "10,000 lists": ({"a": json.loads("[" * 900 + "]" * 900)}, "depth"),
    "cyclic": (cyclic(), "cyclic"),
    "a number as a key": ({5: 1}, "key"),
    "a key that is None": ({"a": {None: 1}}, "key"),
    "a key that is a tuple": ({("a", "b"): 1}, "key"),
    "a list": ([1], "not_object"),
    "a text": ("a=1", "not_object"),
    "nothing": (None, "not_object"),
    "a million members": ({"a": list(range(1_000_000))}, "nodes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_arguments_that_are_not_plain_json_are_denied_and_recorded(
    tmp_path: Path, kind: str
) -> None:
    """Cause ``arguments``, with the detail; the policy is not asked, nothing runs, the next call
    goes on.
    """
    args, detail = REFUSED[kind]
    policy, body = StaticPolicy(allow()), Body()
    with guarded(tmp_path, policy) as guard:
        guard.declare("send", schema=OPEN)
        for name in ("send", "undeclared"):
            with pytest.raises(Denied) as caught:
                guard.call(name, args, body)
            assert caught.value.code == "denied.arguments"
        assert (body.runs, policy.inputs) == (0, [])
        guard.call("send", {"a": 1}, body)
    assert verdicts(tmp_path / "audit.db")[:2] == [("deny", "arguments", detail)] * 2
    assert all(len(line) <= MAX_LINE for line in lines(tmp_path / "audit.db"))
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize(
    "args", [Hostile(a=1), {"a": Hostile(b=1)}, type("M", (), {"keys": len})()]
)
def test_arguments_with_methods_of_their_own_are_denied_or_copied(
    tmp_path: Path, args: Any
) -> None:
    """Their methods are not trusted: refused, or copied as the plain values that they hold."""
    body = Body()
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        with pytest.raises(Denied):
            guard.call("send", args, body)
        guard.call("send", {}, body)
    assert body.runs == 1
    whole(tmp_path / "audit.db")


ACCEPTED: dict[str, dict[str, Any]] = {
    "the largest integers": {"a": 2**64 - 1, "b": -(2**63)},
    "keys that are no identifiers": {"a b": 1, "class": 2, "": 3, "ünïcode": 4, "a/b~c": 5, "*": 6},
    "control characters": {"a": "\x00\x1b[2J\u202e\r\n"},
    "60 levels": deep(60),
    "a megabyte": {"a": "word " * 200_000},
    "9,000 members": {"a": list(range(9_000))},
    "pairs of surrogates": {"a": "\U0001f600"},
    "floats": {"a": 1e308, "b": -0.0, "c": 5e-324},
    "empty": {},
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_odd_json_is_decided_recorded_and_run(tmp_path: Path, kind: str) -> None:
    """The body gets what was passed; what does not fit in a record is there by size and token."""
    args = ACCEPTED[kind]
    got: dict[str, Any] = {}
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        guard.call("send", args, lambda **kwargs: got.update(kwargs))
    assert got == args
    (record,) = records(tmp_path / "audit.db", "call.decision")
    assert record["decision"]["effect"] == "allow"
    assert all(len(line) <= MAX_LINE for line in lines(tmp_path / "audit.db"))
    whole(tmp_path / "audit.db")


def test_integers_that_the_embedded_engine_cannot_hold_deny(tmp_path: Path) -> None:
    """Through the real engine: beyond 64 bits is denied before it, the rest compares exactly."""
    body = Body()
    rego = 'allow contains "exact" if input.action.properties.args.n == 18446744073709551615'
    with ruled(tmp_path, rego) as guard:
        guard.declare("send", schema=OPEN)
        for n in (2**64 - 2, 2**64, 10**400, float(2**64), 2.0**63, 1e16):
            with pytest.raises(Denied):
                guard.call("send", {"n": n}, body)
        assert body.runs == 0
        guard.call("send", {"n": 2**64 - 1}, body)
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " send",
        "send ",
        "a\nb",
        "a\r",
        "\x1b[31mred",
        "a\x00b",
        "a\u202eb",
        "\ud800",
        "\u2028",
        "x" * 300,
        None,
        5,
        b"send",
        ["send"],
    ],
)
def test_names_that_cannot_be_shown_are_refused_before_anything_happens(
    tmp_path: Path, name: Any
) -> None:
    """By every way in: ``UsageError``, no record, nothing run."""
    body = Body()
    with guarded(tmp_path) as guard:
        before = len(lines(tmp_path / "audit.db"))
        ways: list[Callable[[], object]] = [
            lambda: guard.call(name, {}, body),
            lambda: guard.admit(name, {}),
            lambda: guard.declare(name),
            lambda: guard.reject(name, "bad_arguments"),
            lambda: guard.tool(name=name if name is not None else "")(lambda: None),
            lambda: guard.call("send", {}, body, server=name if name is not None else ""),
        ]
        for way in ways:
            with pytest.raises(UsageError):
                way()
        assert len(lines(tmp_path / "audit.db")) == before
        guard.call("send", {}, body)
    assert body.runs == 1
    whole(tmp_path / "audit.db")


async def test_names_are_refused_when_awaited_too(tmp_path: Path) -> None:
    """Before anything is awaited."""
    with guarded(tmp_path) as guard:
        with pytest.raises(UsageError):
            await guard.acall("a\nb", {}, Body())
        with pytest.raises(UsageError):
            await guard.aadmit("", {})
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize("run", [None, 5, "send", object(), {}, ()])
async def test_a_run_that_is_not_callable_is_refused(tmp_path: Path, run: Any) -> None:
    """Nothing is decided or recorded."""
    with guarded(tmp_path) as guard:
        before = len(lines(tmp_path / "audit.db"))
        with pytest.raises(UsageError):
            guard.call("send", {}, run)
        with pytest.raises(UsageError):
            await guard.acall("send", {}, run)
        assert len(lines(tmp_path / "audit.db")) == before
    whole(tmp_path / "audit.db")


async def test_a_coroutine_function_called_synchronously_is_refused(tmp_path: Path) -> None:
    """Its work would be done by nobody; a lambda that hides it is found when it has returned."""
    runs: list[int] = []

    async def body() -> None:
        runs.append(1)

    with guarded(tmp_path) as guard:
        with pytest.raises(UsageError):
            guard.call("send", {}, body)
        assert records(tmp_path / "audit.db", "call.decision") == []
        with pytest.raises(UsageError):
            guard.call("send", {}, lambda: body())
    assert runs == []
    assert [r["status"] for r in records(tmp_path / "audit.db", "call.outcome")] == ["error"]
    whole(tmp_path / "audit.db")


async def test_generators_are_refused_unless_declared(tmp_path: Path) -> None:
    """As functions before, as results after; a declared stream is released, and its record says
    ``returned``.
    """

    def generator() -> Any:
        yield 1

    async def agenerator() -> Any:
        yield 1

    with guarded(tmp_path) as guard:
        for run in (generator, agenerator):
            with pytest.raises(UsageError):
                guard.call("send", {}, run)
            with pytest.raises(UsageError):
                await guard.acall("send", {}, run)
        assert records(tmp_path / "audit.db", "call.decision") == []
        for hidden in (lambda: generator(), lambda: agenerator(), lambda: (n for n in "ab")):
            with pytest.raises(UsageError):
                guard.call("send", {}, hidden)
        guard.declare("stream", schema=OPEN, unsafe_stream=True)
        assert list(guard.call("stream", {}, generator)) == [1]
    statuses = [r["status"] for r in records(tmp_path / "audit.db", "call.outcome")]
    assert statuses == ["error", "error", "error", "returned"]
    whole(tmp_path / "audit.db")


class Stop(BaseException):
    """An exception that is no Exception."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Stop("x"), "error"),
        (SystemExit(2), "error"),
        (KeyboardInterrupt(), "cancelled"),
        (GeneratorExit(), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (MemoryError(), "error"),
        (RecursionError(), "error"),
        (StopIteration(5), "error"),
    ],
)
def test_a_base_exception_has_an_outcome_and_goes_on(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    """The caller gets the very exception, the next call goes on."""
    with guarded(tmp_path) as guard:
        with pytest.raises(type(error)) as caught:
            guard.call("send", {}, Body(error))
        assert caught.value is error
        guard.call("send", {}, Body())
    found = records(tmp_path / "audit.db", "call.outcome")
    assert [record["status"] for record in found] == [status, "ok"]
    whole(tmp_path / "audit.db")


async def test_a_base_exception_from_a_coroutine_has_an_outcome(tmp_path: Path) -> None:
    """Also one that ends the event loop."""

    async def body() -> None:
        raise Stop("x")

    with guarded(tmp_path) as guard:
        with pytest.raises(Stop):
            await guard.acall("send", {}, body)
        with pytest.raises(ValueError, match="x"):
            await guard.acall("send", {}, Body(ValueError("x")))
    assert [r["status"] for r in records(tmp_path / "audit.db", "call.outcome")] == ["error"] * 2
    whole(tmp_path / "audit.db")


def test_a_stack_that_is_used_up_inside_the_body_has_an_outcome(tmp_path: Path) -> None:
    """Recursion without end, also through the guard itself."""
    with guarded(tmp_path) as guard:

        def endless() -> None:
            endless()

        with pytest.raises(RecursionError):
            guard.call("send", {}, endless)
        guard.call("send", {}, Body())
    found = records(tmp_path / "audit.db", "call.outcome")
    assert [record["status"] for record in found] == ["error", "ok"]
    whole(tmp_path / "audit.db")


async def test_cancelled_calls_have_outcomes(tmp_path: Path) -> None:
    """By a task, a timeout and a task group; the body sees the cancellation, and so does the
    caller.
    """
    seen: list[str] = []
    begun = asyncio.Event()

    async def body() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with guarded(tmp_path) as guard:
        task = asyncio.ensure_future(guard.acall("send", {}, body))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await guard.acall("send", {}, body)

        async def together() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(guard.acall("send", {}, body))
                await asyncio.sleep(0.1)
                raise ValueError("x")

        with pytest.raises(ExceptionGroup):
            await together()
    assert seen == ["cancelled"] * 3
    found = records(tmp_path / "audit.db", "call.outcome")
    assert [record["status"] for record in found] == ["cancelled"] * 3
    whole(tmp_path / "audit.db")


async def test_nested_calls_name_their_parent(tmp_path: Path) -> None:
    """Sync in sync, awaited in awaited, through threads and tasks; inner denials are the body's to
    handle.
    """
    with guarded(tmp_path) as guard:

        def nest(levels: int) -> int:
            return (
                0
                if levels == 0
                else 1 + guard.call(f"level-{levels}", {}, lambda: nest(levels - 1))
            )

        assert nest(20) == 20

        async def inner() -> str:
            return "inner"

        async def outer() -> str:
            first, second = await asyncio.gather(
                guard.acall("inner", {}, inner), guard.acall("threaded", {}, lambda: "x")
            )
            return first + second

        assert await guard.acall("outer", {}, outer) == "innerx"
    found = records(tmp_path / "audit.db", "call.decision")
    by_name = {record["tool"]["name"]: record for record in found}
    for level in range(1, 20):
        assert by_name[f"level-{level}"]["parent"] == by_name[f"level-{level + 1}"]["call"]
    assert by_name["level-20"]["parent"] is None
    assert by_name["inner"]["parent"] == by_name["threaded"]["parent"] == by_name["outer"]["call"]
    whole(tmp_path / "audit.db")


def test_a_body_that_forks_has_one_outcome(tmp_path: Path) -> None:
    """Both processes come back from the body; only the one that was admitted says how it ended."""
    with child(tmp_path) as running:
        assert "ok" in running.ask("call")
        answer = running.ask("fork_in_body")
        assert answer["result"] == "parent"
        assert answer["child"] == "LedgerError ledger.forked"
        assert "ok" in running.ask("call")
        running.ask("stop")
    found = whole(tmp_path / "audit.db")
    assert [r["status"] for r in found if r["type"] == "call.outcome"] == ["ok"] * 3


@pytest.mark.parametrize("engine", ["static", "embedded"])
def test_a_forked_child_may_go_on_calling(tmp_path: Path, engine: str) -> None:
    """Before a body and inside one: with a lease of its own, a decision and an outcome, and the
    parent goes on.
    """
    write_policy(tmp_path, 'allow contains "any" if input.resource.id == "send"')
    with child(tmp_path, engine=engine) as running:
        assert "ok" in running.ask("call")
        answer = running.ask("fork_and_call")
        assert [each["ok"] for each in answer["children"]] == [True, True]
        assert answer["parent"] not in {each["process"] for each in answer["children"]}
        assert "ok" in running.ask("call")
        running.ask("stop")
    found = whole(tmp_path / "audit.db")
    assert [r["status"] for r in found if r["type"] == "call.outcome"] == ["ok"] * 5
    nested = [r for r in found if r["type"] == "call.decision" and r["parent"] is not None]
    assert len(nested) == 1


def test_a_session_belongs_to_its_context(tmp_path: Path) -> None:
    """Threads that were not handed a session have none; those that enter it share it."""
    with guarded(tmp_path) as guard:
        scope = guard.session(principal="alice", agent="bot")

        def bare() -> None:
            guard.call("bare", {}, Body())

        def handed() -> None:
            with scope:
                guard.call("handed", {}, Body())

        with scope:
            for target in (bare, handed):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
    who = {
        record["tool"]["name"]: record["principal"]["id"]
        for record in records(tmp_path / "audit.db", "call.decision")
    }
    assert who == {"bare": "", "handed": "alice"}


@pytest.mark.parametrize("call_id", ["", "x" * 100_000, "a\nb\x1b[2J", "\ud800", "\x00"])
def test_any_call_id_of_a_framework_is_recorded(tmp_path: Path, call_id: str) -> None:
    """It is the framework's, and never a reason to lose a call."""
    body = Body()
    with guarded(tmp_path) as guard:
        guard.call("send", {}, body, call_id=call_id)
    assert body.runs == 1
    assert all(len(line) <= MAX_LINE for line in lines(tmp_path / "audit.db"))
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize(
    "schema",
    [
        5,
        "object",
        [],
        {"type": 5},
        {"$ref": "https://example.com/x"},
        {"type": "object", "properties": {"a": {"pattern": "(a+)+$(?<!x)"}}},
        deep(5_000),
    ],
)
def test_a_schema_that_is_refused_leaves_the_tool_undeclared(tmp_path: Path, schema: Any) -> None:
    """It is still governed: the policy sees that nothing is known about it, and records take the
    minimal view.
    """
    policy = StaticPolicy(allow())
    with guarded(tmp_path, policy) as guard:
        try:
            with pytest.warns(SchemaWarning, match="'send'"):
                tool = guard.declare("send", schema=schema)
        except UsageError:
            return
        assert tool.refused
        guard.call("send", {"text": "plain words"}, Body())
    assert policy.inputs[0]["resource"]["properties"]["declared"] is False
    (decision,) = records(tmp_path / "audit.db", "call.decision")
    assert decision["tool"]["refused"] == tool.refused
    assert not [line for line in lines(tmp_path / "audit.db") if b"plain words" in line]


def test_a_guard_that_was_closed_runs_nothing(tmp_path: Path) -> None:
    """An error of guardrail's own, by every way in."""
    body = Body()
    with guarded(tmp_path) as guard:
        guard.call("send", {}, body)
    closed: Guard = guard
    with pytest.raises(GuardrailError):
        closed.call("send", {}, body)
    with pytest.raises(GuardrailError):
        closed.admit("send", {})
    closed.close()
    assert body.runs == 1
    whole(tmp_path / "audit.db")
