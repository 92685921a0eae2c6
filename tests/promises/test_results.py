"""Whatever a tool hands back: the outcome is recorded, bare or truncated where it must be, and the
next call goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.core.log.record import MAX_LINE
from guardrail.testing import StaticPolicy, allow
from tests.support.canaries import learn, plain, prepare
from tests.support.guards import OPEN, Body, appearances, guarded, lines, records, whole


class Raises:
    """Everything that can be asked of it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__

    def __len__(self) -> int:
        raise RuntimeError("no")

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        raise RuntimeError("no")


class Liar:
    """Says that it is of another class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


class Text(str):
    """A text whose methods do what they like."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")

    def encode(self, *_: Any) -> bytes:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 10**12


class Mapping(dict[str, Any]):
    """A dict that gives something else to everyone who asks."""

    def items(self) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Any:
        while True:
            yield "x"

    def __len__(self) -> int:
        return -1  # noqa: PLE0303 - that is the point


class Exits:
    """Ends the program where its attributes are looked at."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise SystemExit(3)


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value]
    return value


RESULTS: dict[str, Callable[[], Any]] = {
    "50 MB of text": lambda: "x" * 50_000_000,
    "50 MB of words": lambda: "lorem ipsum " * 4_200_000,
    "50 MB of bytes": lambda: b"\xff" * 50_000_000,
    "a million members": lambda: list(range(1_000_000)),
    "a long key": lambda: {"k" * 5_000_000: 1},
    "cyclic": cyclic,
    "100,000 levels": lambda: deep(100_000),
    "an object that raises": Raises,
    "objects that raise": lambda: {"a": [Raises(), Liar()]},
    "an object without a class": Liar,
    "an object that ends the program": Exits,
    "a text of its own kind": lambda: Text("hello"),
    "a dict of its own kind": lambda: Mapping(a=1),
    "a lone surrogate": lambda: "\ud800",
    "lone surrogates as keys": lambda: {"\udfff": ["\ud800"]},
    "NaN": lambda: [float("nan"), float("inf")],
    "a huge number": lambda: 10**50_000,
    "a class": lambda: Raises,
    "a function": lambda: deep,
    "a set of things": lambda: {1, "a", None, (2, 3)},
    "a memory view": lambda: memoryview(b"abc"),
    "an exception": lambda: ValueError("x"),
    "None": lambda: None,
    "not implemented": lambda: NotImplemented,
}


@pytest.mark.parametrize("log_output", [False, True])
@pytest.mark.parametrize("kind", RESULTS)
def test_any_result_is_recorded_and_released(tmp_path: Path, kind: str, log_output: bool) -> None:
    """One outcome, of status ok, that fits in a record; the caller gets the very object; the next
    call goes on.
    """
    with guarded(tmp_path) as guard:
        guard.declare("make", schema=OPEN, log_output=log_output)
        result = RESULTS[kind]()
        got = guard.call("make", {}, lambda: result)
        assert got is result
        guard.call("make", {}, Body())
    found = [r for r in whole(tmp_path / "audit.db") if r["type"] == "call.outcome"]
    assert [record["status"] for record in found] == ["ok", "ok"]
    assert all(len(line) <= MAX_LINE for line in lines(tmp_path / "audit.db"))
    assert (found[0]["omitted"] is None) != (found[0]["result"] is None)
    assert found[1]["omitted"] is None


@pytest.mark.parametrize("kind", RESULTS)
async def test_any_result_is_recorded_when_awaited(tmp_path: Path, kind: str) -> None:
    """From a coroutine and from a thread."""
    result = RESULTS[kind]()

    async def body() -> Any:
        return result

    with guarded(tmp_path) as guard:
        guard.declare("make", schema=OPEN)
        assert await guard.acall("make", {}, body) is result
        assert await guard.acall("make", {}, lambda: result) is result
    found = [r for r in whole(tmp_path / "audit.db") if r["type"] == "call.outcome"]
    assert [record["status"] for record in found] == ["ok", "ok"]


class Quiet(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Loud(Exception):
    """An exception of megabytes."""

    def __str__(self) -> str:
        return "e" * 5_000_000


class Odd(Exception):
    """An exception whose text is none, and whose cause is itself."""

    def __str__(self) -> Any:  # type: ignore[override]
        return 5  # noqa: PLE0307 - that is the point


def looped() -> Exception:
    error = ValueError("x")
    error.__cause__ = other = KeyError("y")
    other.__context__ = error
    return error


@pytest.mark.parametrize(
    "make",
    [
        Quiet,
        Loud,
        Odd,
        looped,
        lambda: type("N" * 5_000, (Exception,), {})("x"),
        lambda: ExceptionGroup("g", [ValueError("a")] * 500),
    ],
)
def test_any_exception_is_recorded_and_goes_on(
    tmp_path: Path, make: Callable[[], BaseException]
) -> None:
    """The caller gets the very exception, whatever it does when it is looked at."""
    error = make()
    with guarded(tmp_path) as guard:
        with pytest.raises(type(error)) as caught:
            guard.call("make", {}, Body(error))
        assert caught.value is error
        guard.call("make", {}, Body())
    found = [r for r in whole(tmp_path / "audit.db") if r["type"] == "call.outcome"]
    assert [record["status"] for record in found] == ["error", "ok"]


def test_a_result_that_calls_an_id_a_secret_ends_no_session(tmp_path: Path) -> None:
    """A password that equals a name of the host: the name stays, and the calls go on."""
    secret = plain().replace('"', "").replace("/", "")
    with guarded(tmp_path) as guard:
        prepare(guard)
        guard.declare("logged", schema=OPEN, log_output=True)
        with guard.session(principal=secret, agent="bot"):
            guard.call("logged", {}, lambda: {"password": secret})
            guard.call("logged", {"password": "default"}, lambda **_: "the default tenant's name")
            guard.call("send", {}, lambda **_: 1)
    outcomes = [r for r in whole(tmp_path / "audit.db") if r["type"] == "call.outcome"]
    assert [(r["status"], r["omitted"]) for r in outcomes] == [("ok", None)] * 3
    assert {record["principal"]["id"] for record in outcomes} == {secret}
    assert secret not in str([record["result"] for record in outcomes])


def test_a_result_that_names_everything_known_is_scrubbed(tmp_path: Path) -> None:
    """Thousands of known values in one logged result: recorded without any, truncated where it is
    too much.
    """
    secrets = [plain() for _ in range(300)]
    with guarded(tmp_path) as guard:
        prepare(guard)
        guard.declare("logged", schema=OPEN, log_output=True)
        with guard.session(principal="alice", agent="bot"):
            for secret in secrets[:40]:
                learn(guard, secret)
            guard.call("logged", {}, lambda: [f"see {secret}" for secret in secrets[:40]] * 20)
    line = lines(tmp_path / "audit.db")[-2]
    assert not [secret for secret in secrets[:40] if appearances(secret, line)]
    whole(tmp_path / "audit.db")


def test_a_decision_that_cannot_be_recorded_denies_and_the_guard_goes_on(tmp_path: Path) -> None:
    """Where the last gate hits before the body: bare, denied, not run."""
    from guardrail.errors import Denied

    body = Body()
    secret = plain().replace('"', "").replace("/", "")
    with guarded(tmp_path) as guard:
        prepare(guard)
        with guard.session(principal="alice", agent="bot"):
            learn(guard, secret)
            with pytest.raises(Denied):
                guard.call("t", {}, body, server=secret)
            guard.call("send", {}, lambda **_: 1)
    assert body.runs == 0
    denied = [
        record
        for record in records(tmp_path / "audit.db", "call.decision")
        if record["decision"]["effect"] == "deny"
    ]
    assert [(r["decision"]["cause"], r["input"], r["omitted"]) for r in denied] == [
        ("redactor", None, "gate:secret")
    ]
    whole(tmp_path / "audit.db")


def test_session_attributes_that_cannot_be_recorded_give_no_session(tmp_path: Path) -> None:
    """Too large, cyclic, or no JSON: refused at once, with one of guardrail's own errors."""
    from guardrail.errors import GuardrailError

    def session(guard: Guard, attributes: Any) -> None:
        guard.session(principal="alice", attributes=attributes)

    with guarded(tmp_path) as guard:
        for attributes in (
            {"x": "words " * 50_000},
            {"x": cyclic()},
            {"x": deep(5_000)},
            {"x": object()},
            {"x": float("nan")},
            {"x": 2**70},
            {"x": "\ud800"},
            {5: "x"},
            {"x": Raises()},
        ):
            with pytest.raises(GuardrailError):
                session(guard, attributes)
        guard.call("send", {}, Body())
    whole(tmp_path / "audit.db")


def test_what_the_host_changes_after_the_session_began_changes_nothing(tmp_path: Path) -> None:
    """Attributes, roles and delegation are copied once: what the policy sees is what is
    recorded.
    """
    attributes: dict[str, Any] = {"list": [1], "password": "quiet-otter-42"}
    step: dict[str, Any] = {"sub": "bob", "more": []}
    policy = StaticPolicy(allow())
    with guarded(tmp_path, policy) as guard:
        guard.declare("send", schema=OPEN)
        with guard.session(principal="alice", attributes=attributes, delegation=[step]):
            guard.call("send", {}, Body())
            attributes["list"].append("changed")
            attributes["late"] = "changed"
            step["more"].append("changed")
            guard.call("send", {}, Body())
    assert "changed" not in str(policy.inputs)
    assert not [line for line in lines(tmp_path / "audit.db") if b"changed" in line]
