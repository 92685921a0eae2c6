"""What happens at the edges: records that don't fit, redaction that fails, names that are many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import guardrail
from guardrail.call import quoted_arguments
from guardrail.core.redaction import redactor as redactor_module
from guardrail.core.redaction.redactor import Inspection, Redactor
from guardrail.core.redaction.replacements import Replacer
from guardrail.core.redaction.walk import Walk
from guardrail.errors import Denied, LedgerError, RedactionError, UsageError
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import OPEN

SECRET = "hunter2-" + "over-the-edge"


class Broken(Redactor):
    """A redactor in which everything that matters fails."""

    def inspect(self, *_: Any, **__: Any) -> Any:
        raise RedactionError("can't")

    def result(self, *_: Any, **__: Any) -> Any:
        raise RedactionError("can't")


def test_the_public_names_are_listed_and_nothing_else_is_there() -> None:
    """Resolved when they are first used."""
    assert set(dir(guardrail)) == set(guardrail.__all__)
    for name in guardrail.__all__:
        assert getattr(guardrail, name) is not None
    with pytest.raises(AttributeError):
        guardrail.nonsense  # noqa: B018


def test_arguments_that_cannot_be_redacted_deny() -> None:
    """The call can't be recorded safely, so it does not run."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", agent="bot")
    scope.state.redactor = Broken(token=scope.state.keys.token, mark=scope.state.keys.mark)
    runs: list[int] = []
    with scope, pytest.raises(Denied):
        guard.call("x", {"a": "words"}, lambda **_: runs.append(1))
    (record,) = ledger.of("call.decision")
    assert runs == []
    assert record["decision"]["cause"] == "redactor"
    assert "words" not in str(record)


def test_a_result_that_cannot_be_redacted_has_a_bare_outcome() -> None:
    """And is released: the call was admitted."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", agent="bot")
    with scope:
        admission = guard.admit("x", {}, call_id="c-1")
        scope.state.redactor = Broken(token=scope.state.keys.token, mark=scope.state.keys.mark)
        admission.settle(result="words")
    (record,) = ledger.of("call.outcome")
    assert (record["omitted"], record["status"]) == ("redactor", "ok")
    assert record["origin"]["call_id"] is None
    assert record["principal"]["form"] == "token"


def test_an_outcome_that_is_too_large_is_bare() -> None:
    """A logged result beside a long chain of delegation."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("x", schema=OPEN, log_output=True)
    chain = [{"sub": f"step-{n}", "note": "plain words " * 300} for n in range(8)]
    with guard.session(principal="alice", agent="bot", delegation=chain):
        guard.call("x", {}, lambda: ["line of a letter, in clear"] * 1350)
    (record,) = ledger.of("call.outcome")
    assert (record["omitted"], record["result"], record["delegation"]) == ("size", None, [])


def test_attributes_that_no_longer_fit_once_they_are_tokens_deny(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was short in clear can be long as tokens; the call is not recorded in part."""
    monkeypatch.setattr("guardrail.system.cpu_meter.SECONDS", 60)  # the limit on size is meant
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("login", schema=OPEN)
    attributes = {f"k{n}": "s3cr9t" for n in range(900)}
    with (
        guard.session(principal="alice", agent="bot", attributes=attributes),
        pytest.raises(Denied),
    ):
        guard.call("login", {"password": "s3cr9t"}, lambda **_: None)
    (record,) = ledger.of("call.decision")
    assert record["decision"]["cause"] == "redactor"
    assert record["omitted"] in ("redactor", "size")


def test_many_names_and_many_tools_do_not_fill_the_memory() -> None:
    """What is kept from call to call is bounded."""

    def reply(asked: dict[str, Any]) -> dict[str, Any]:
        return allow(f"rule {asked['action']['properties']['args'].get('n')}")

    guard, ledger = memory_guard(StaticPolicy(reply))
    guard.declare("x", schema=OPEN)
    scope = guard.session(principal="alice", agent="bot")
    with scope:
        for n in range(600):
            guard.call("x", {"n": n}, lambda n: n)
    assert len(scope.state.texts) <= 512
    assert len(ledger.of("call.outcome")) == 600
    guard._recorder._parts.clear()
    import guardrail.call.decision_record

    limit, guardrail.call.decision_record.MAX_TOOLS = guardrail.call.decision_record.MAX_TOOLS, 1
    try:
        for name in ("a", "b", "c"):
            guard.call(name, {}, lambda: None)
    finally:
        guardrail.call.decision_record.MAX_TOOLS = limit
    assert len(guard._recorder._parts) == 1


def test_a_text_that_becomes_sensitive_is_not_taken_from_what_was_kept() -> None:
    """A rule's message that was recorded in clear before."""
    rule = allow("r")["rules"][0] | {"message": f"about {SECRET}"}
    guard, ledger = memory_guard(StaticPolicy(allow("r", rules=[rule])))
    guard.declare("login", schema=OPEN)
    with guard.session(principal="alice", agent="bot"):
        guard.call("login", {"password": SECRET}, lambda **_: None)
        guard.call("login", {}, lambda **_: None)
    assert SECRET not in str(ledger.records)


class Gated(Redactor):
    """A redactor whose last gate finds something in every result."""

    def gate(self, *_: Any) -> str | None:
        return "secret"


def test_a_result_in_which_the_last_gate_finds_something_has_a_bare_outcome() -> None:
    """Nothing of it is written, and it is released."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", agent="bot")
    with scope:
        admission = guard.admit("x", {})
        scope.state.redactor = Gated(token=scope.state.keys.token, mark=scope.state.keys.mark)
        admission.settle(result="words")
    (record,) = ledger.of("call.outcome")
    assert (record["omitted"], record["result"]) == ("gate:secret", None)


def test_a_call_is_settled_by_the_process_that_admitted_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another one, a forked child, gets an error, and the call stays owed."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    admission = guard.admit("x", {})
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(LedgerError) as caught:
        admission.settle()
    assert caught.value.code == "ledger.forked"
    assert not ledger.of("call.outcome")


def test_sessions_that_are_left_in_another_order_than_they_were_entered() -> None:
    """Each leaves its own place, and the other stays current."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    outer, inner = (guard.session(principal="alice", id=name) for name in ("outer", "inner"))
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    guard.call("x", {}, lambda: None)
    inner.__exit__(None, None, None)
    assert ledger.of("call.decision")[0]["session"] == "inner"


async def test_a_governed_tool_is_no_body_of_another_call() -> None:
    """It would be decided twice: an approval would be used up by the outer call, and the inner one
    ask again.
    """
    guard, ledger = memory_guard(StaticPolicy(allow()))

    @guard.tool
    def plain(n: int) -> int:
        return n

    @guard.tool
    async def awaited(n: int) -> int:
        return n

    for call in (
        lambda: guard.call("plain", {"n": 1}, plain),
        lambda: guard.call("awaited", {}, awaited),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "usage.governed"
    with pytest.raises(UsageError):
        await guard.acall("awaited", {"n": 1}, awaited)
    assert ledger.of("call.decision") == []
    assert guard.call("plain", {"n": 1}, plain.__wrapped__) == 1


FAULTS: dict[str, tuple[Any, str]] = {
    "the walk": (Walk, "value"),
    "the classes of values": (Inspection, "_collect_classes"),
    "the view": (Replacer, "fitted"),
    "the last gate": (redactor_module, "scan_all"),
    "the search for quoted values": (quoted_arguments, "QuotedValues"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_redactor_that_raises_anything_denies_the_call(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On any way into a guard, and the record has no arguments. The exception, which may contain a
    value, is not in the error's context. The next call goes on.
    """
    guard, ledger = memory_guard(StaticPolicy(allow("any", f"about {SECRET}")))
    guard.declare("send", schema=OPEN)
    args = {"password": SECRET, "text": "x"}

    def fail(*_: object, **__: object) -> Any:
        raise ZeroDivisionError(SECRET)

    def body(**_: object) -> None:
        pytest.fail("the body ran")

    scope = guard.session("alice", "bot")
    ways: list[Callable[[], object]] = [
        lambda: guard.call("send", args, body, session=scope),
        lambda: asyncio.run(guard.acall("send", args, body, session=scope)),
        lambda: (
            ThreadPoolExecutor(1).submit(guard.call, "send", args, body, session=scope).result()
        ),
        lambda: guard.admit("send", args, session=scope),
    ]
    owner, name = FAULTS[fault]
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fail)
        for way in ways:
            with pytest.raises(Denied) as caught:
                way()
            assert caught.value.code == "denied.redactor"
            assert SECRET not in repr(caught.getrepr(chain=True, style="short"))
    for record in ledger.of("call.decision"):
        assert record["decision"]["detail"] == record["omitted"] == "redaction.fault"
        assert SECRET not in str(record)
        assert "password" not in str(record["input"])
    assert len(ledger.of("call.decision")) == len(ways)
    assert guard.call("send", args, lambda **_: "ok", session=scope) == "ok"


def test_an_outcome_that_can_not_be_redacted_is_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body ran, so the result is released and its end is recorded."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("send", schema=OPEN, log_output=True)

    def body(**_: object) -> str:
        monkeypatch.setattr(Walk, "value", lambda *_: 1 // 0)
        return SECRET

    with guard.session("alice", "bot"):
        assert guard.call("send", {}, body) == SECRET
    (record,) = ledger.of("call.outcome")
    assert (record["status"], record["omitted"], record["result"]) == ("ok", "redactor", None)
