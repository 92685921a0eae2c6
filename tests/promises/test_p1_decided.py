"""P1: no tool body runs without a well-formed ``allow``; every failure to get one denies, each with
its own cause.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.errors import ApprovalRequired, Denied, PolicyError
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.sources import load_policies
from guardrail.testing import StaticPolicy, allow, ask, deny, document
from tests.support.guards import (
    OPEN,
    Body,
    engine_of,
    guarded,
    records,
    ruled,
    verdicts,
    whole,
    write_policy,
)
from tests.support.paths import PROGRAMS

RULE: dict[str, Any] = allow()["rules"][0]

MALFORMED: dict[str, Any] = {
    "null": None,
    "a list": [allow()],
    "a text": "allow",
    "true": True,
    "empty": {},
    "another effect": allow(effect="ALLOW"),
    "effect as a list": allow(effect=["allow"]),
    "effect missing": {key: value for key, value in allow().items() if key != "effect"},
    "an unknown key": allow(admin=True),
    "another contract": allow(contract="guardrail/2"),
    "no contract": {key: value for key, value in allow().items() if key != "contract"},
    "no rule": allow(rules=[]),
    "rules as an object": allow(rules={"0": RULE}),
    "a rule of another effect": allow(rules=[RULE | {"effect": "require_approval"}]),
    "an allow with a deny in it": allow(rules=[RULE, RULE | {"effect": "deny"}]),
    "a rule with an unknown key": allow(rules=[RULE | {"extra": 1}]),
    "a rule without a message": allow(rules=[RULE | {"message": ""}]),
    "a rule with a number for its id": allow(rules=[RULE | {"rule": 1}]),
    "no approvers": allow(rules=[RULE | {"approvers": 0}]),
    "approvers that are true": allow(rules=[RULE | {"approvers": True}]),
    "needs as a text": allow(rules=[RULE | {"needs": "/a"}]),
    "redact as a text": allow(redact="/a"),
    "redact with a number": allow(redact=[1]),
    "redact that is no pointer": allow(redact=["card"]),
    "labels as null": allow(labels=None),
    "obligations as null": allow(obligations=None),
    "ten thousand rules": allow(rules=[RULE] * 10_000),
    "a message of a megabyte": allow(rules=[RULE | {"message": "x" * (1 << 20)}]),
}


def refused(
    guard: Guard,
    body: Body,
    args: dict[str, Any] | None = None,
    principal: str = "alice",
    **session: Any,
) -> Denied:
    """Call, and make sure that it is denied without running; return the denial."""
    with (
        guard.session(principal=principal, agent="bot", **session),
        pytest.raises(Denied) as caught,
    ):
        guard.call("send", {} if args is None else args, body)
    assert body.runs == 0
    return caught.value


@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_reply_denies(tmp_path: Path, reply: Any) -> None:
    """Whatever is wrong with it: cause ``malformed``, a detail, a record, no body."""
    with guarded(tmp_path, StaticPolicy(lambda _: reply)) as guard:
        guard.declare("send", schema=OPEN)
        denial = refused(guard, Body())
    ((effect, cause, detail),) = verdicts(tmp_path / "audit.db")
    assert (effect, cause) == ("deny", "malformed")
    assert detail
    assert denial.code == "denied.malformed"
    whole(tmp_path / "audit.db")


def test_an_obligation_denies(tmp_path: Path) -> None:
    """The contract knows none, so what is asked for can't be met."""
    with guarded(tmp_path, StaticPolicy(allow(obligations=[{"notify": "someone"}]))) as guard:
        refused(guard, Body())
    assert verdicts(tmp_path / "audit.db") == [("deny", "obligation", "unknown")]


@pytest.mark.parametrize(
    ("reply", "error"), [(deny("no"), Denied), (ask("person"), ApprovalRequired)]
)
async def test_a_verdict_that_does_not_allow_runs_nothing_by_any_way_in(
    tmp_path: Path, reply: dict[str, Any], error: type[Exception]
) -> None:
    """call, acall, admit, aadmit and decorated functions, sync and async."""
    body = Body()
    with guarded(tmp_path, StaticPolicy(reply)) as guard:
        guard.declare("send", schema=OPEN)

        @guard.tool
        def sync_tool(text: str) -> Any:
            """Do it."""
            return body(text=text)

        @guard.tool
        async def async_tool(text: str) -> Any:
            """Do it."""
            return body(text=text)

        with pytest.raises(error):
            guard.call("send", {}, body)
        with pytest.raises(error):
            await guard.acall("send", {}, body)
        with pytest.raises(error):
            guard.admit("send", {})
        with pytest.raises(error):
            await guard.aadmit("send", {})
        with pytest.raises(error):
            sync_tool("x")
        with pytest.raises(error):
            await async_tool("x")
    assert body.runs == 0
    assert len(records(tmp_path / "audit.db", "call.decision")) == 6
    whole(tmp_path / "audit.db")


MIRROR = """
# This policy hands on what it should have checked: the caller's `reply` becomes a rule as it is.
allow contains input.action.properties.args.reply if input.resource.id == "send"

redact contains input.action.properties.args.redact if input.resource.id == "send"

obligation contains input.action.properties.args.obligation if input.resource.id == "send"
"""

REAL_MALFORMED: dict[str, dict[str, Any]] = {
    "a number": {"reply": 5},
    "null": {"reply": None},
    "true": {"reply": True},
    "a list": {"reply": ["allow"]},
    "an empty text": {"reply": ""},
    "an empty object": {"reply": {}},
    "no message": {"reply": {"rule": "r"}},
    "an unknown key": {"reply": {"rule": "r", "message": "m", "allow": True}},
    "an id that is a list": {"reply": {"rule": ["r"], "message": "m"}},
    "approvers that are a text": {"reply": {"rule": "r", "message": "m", "approvers": "1"}},
    "needs that are an object": {"reply": {"rule": "r", "message": "m", "needs": {}}},
    "a redact pointer that is a number": {"reply": "ok", "redact": 1},
    "a redact pointer that is none": {"reply": "ok", "redact": "card"},
}


def test_rego_that_produces_a_malformed_decision_denies(tmp_path: Path) -> None:
    """Through the real engine and composition: thirteen ways, one recorded denial each; a
    well-formed one runs.
    """
    body = Body()
    with ruled(tmp_path, MIRROR) as guard:
        guard.declare("send", schema=OPEN)
        for args in REAL_MALFORMED.values():
            refused(guard, body, args)
        found = verdicts(tmp_path / "audit.db")
        assert [(effect, cause) for effect, cause, _ in found] == [("deny", "malformed")] * len(
            REAL_MALFORMED
        )
        assert all(detail for _, _, detail in found)
        refused(guard, body, {"reply": "ok", "obligation": {"notify": "x"}})
        assert verdicts(tmp_path / "audit.db")[-1] == ("deny", "obligation", "unknown")
        refused(guard, body, {})
        assert verdicts(tmp_path / "audit.db")[-1] == ("deny", "policy", "")
        assert guard.call("send", {"reply": "ok"}, body) == "done"
    whole(tmp_path / "audit.db")


TROUBLE = """
allow contains "any" if input.resource.id == "send"

mode := input.action.properties.args.mode

# Two values for one function: an error while it is evaluated, for some arguments only.
pick(x) := 1 if x == "conflict"

pick(x) := 2 if startswith(x, "conf")

allow contains "conflict" if pick(mode) > 0

allow contains "slow" if {
	mode == "slow"
	some a in numbers.range(1, 3000)
	some b in numbers.range(1, 3000)
	[a, b] == ["never", "so"]
}

allow contains "memory" if {
	mode == "memory"
	count([[a, b] | some a in numbers.range(1, 4000); some b in numbers.range(1, 4000)]) < 0
}

redact contains sprintf("/%v/%v", [number, input.action.properties.args.text]) if {
	mode == "huge"
	some number in numbers.range(1, 1000)
}
"""


def test_trouble_inside_the_policy_denies_with_its_own_cause(tmp_path: Path) -> None:
    """Conflicting values, an evaluation over its time, over its memory, and a reply of
    megabytes.
    """
    body = Body()
    with ruled(
        tmp_path, TROUBLE, policy={"memory_mb": 256, "eval_limit_ms": 400, "deadline_ms": 4000}
    ) as guard:
        guard.declare("send", schema=OPEN)
        assert guard.call("send", {"mode": "none"}, Body()) == "done"
        wanted = {
            "conflict": ("error", {"evaluation"}),
            "slow": ("timeout", {"eval_limit"}),
            "huge": ("malformed", {"too_large"}),
        }
        for mode, (cause, details) in wanted.items():
            refused(guard, body, {"mode": mode, "text": "x" * 3000})
            effect, found, detail = verdicts(tmp_path / "audit.db")[-1]
            assert (effect, found) == ("deny", cause), (mode, found, detail)
            assert detail in details
        assert guard.call("send", {"mode": "none"}, Body()) == "done"
    whole(tmp_path / "audit.db")


def test_a_policy_that_takes_all_memory_denies(tmp_path: Path) -> None:
    """Before its time is over, by the limit on the worker's address space; the next call is
    decided.
    """
    body = Body()
    with ruled(
        tmp_path,
        TROUBLE,
        policy={"memory_mb": 128, "eval_limit_ms": 20_000, "deadline_ms": 30_000},
    ) as guard:
        guard.declare("send", schema=OPEN)
        refused(guard, body, {"mode": "memory"})
        ((effect, cause, detail),) = verdicts(tmp_path / "audit.db")
        assert (effect, cause) == ("deny", "crashed")
        assert detail
        assert guard.call("send", {"mode": "none"}, Body()) == "done"
    whole(tmp_path / "audit.db")


BROKEN: dict[str, tuple[str, str]] = {
    "undefined": ("undefined", "no_decision"),
    "not_json": ("malformed", "not_json"),
    "nan": ("malformed", "not_json"),
    "too_large": ("malformed", "too_large"),
    "error": ("error", "evaluation"),
    "wrong_id": ("crashed", "wrong_id"),
    "huge": ("crashed", "bad_frame"),
    "announces_huge": ("crashed", "bad_frame"),
    "half": ("crashed", "exited"),
    "exits": ("crashed", "exited"),
    "killed": ("crashed", ""),
    "hangs": ("timeout", "eval_limit"),
    "unknown_kind": ("error", "evaluation"),
}


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Guard]:
    """A guard whose worker breaks its protocol where the call asks for it."""
    write_policy(tmp_path, 'allow contains "any" if input.resource.id == "send"')
    with Workbench() as bench:
        compiled = compile_policies(load_policies([tmp_path / "policies"]), bench)
    engine = EmbeddedEngine(compiled, eval_limit=0.2, worker_script=PROGRAMS / "broken_worker.py")
    with guarded(tmp_path, engine) as guard:
        guard.declare("send", schema=OPEN)
        yield guard


@pytest.mark.parametrize(("how", "expected"), BROKEN.items(), ids=BROKEN)
def test_a_worker_that_breaks_its_protocol_or_dies_denies(
    broken: Guard, tmp_path: Path, how: str, expected: tuple[str, str]
) -> None:
    """Cause and detail are recorded, and the next call is decided by a worker that is whole."""
    refused(broken, Body(), {"how": how})
    ((effect, cause, detail),) = verdicts(tmp_path / "audit.db")
    assert (effect, cause) == ("deny", expected[0])
    assert detail == expected[1] or (not expected[1] and detail)
    with broken.session(principal="bob", agent="bot"):
        assert broken.call("send", {}, Body()) == "done"
    whole(tmp_path / "audit.db")


def test_an_answer_too_many_allows_nothing(broken: Guard, tmp_path: Path) -> None:
    """A second answer to one question is not taken for the answer to the next one."""
    body = Body()
    with broken.session(principal="alice", agent="bot"):
        broken.call("send", {"how": "twice"}, Body())
        with pytest.raises(Denied):
            broken.call("send", {"how": "undefined"}, body)
    assert body.runs == 0
    whole(tmp_path / "audit.db")


def test_a_worker_killed_or_stopped_from_outside_denies_and_is_replaced(tmp_path: Path) -> None:
    """SIGKILL in the middle of an evaluation is ``crashed``, SIGSTOP is ``timeout``; both are
    recorded.
    """
    body = Body()
    with ruled(tmp_path, TROUBLE, policy={"eval_limit_ms": 1500, "deadline_ms": 10_000}) as guard:
        guard.declare("send", schema=OPEN)
        engine: Any = engine_of(guard)
        threading.Timer(0.1, lambda: os.kill(engine._lanes[0].pid, signal.SIGKILL)).start()
        refused(guard, body, {"mode": "slow"})
        assert verdicts(tmp_path / "audit.db")[-1][:2] == ("deny", "crashed")
        with guard.session(principal="bob", agent="bot"):
            assert guard.call("send", {}, Body()) == "done"
        os.kill(engine._lanes[0].pid, signal.SIGSTOP)
        refused(guard, body, {"mode": "none"}, "dave")
        assert verdicts(tmp_path / "audit.db")[-1] == ("deny", "timeout", "eval_limit")
        with guard.session(principal="carol", agent="bot"):
            assert guard.call("send", {}, Body()) == "done"
    whole(tmp_path / "audit.db")


def test_a_policy_that_is_gone_denies(tmp_path: Path) -> None:
    """An engine that was closed, or that can't start a worker any more."""
    with ruled(tmp_path, 'allow contains "any" if input.resource.id == "send"') as guard:
        guard.declare("send", schema=OPEN)
        engine_of(guard).close()
        refused(guard, Body())
    assert verdicts(tmp_path / "audit.db") == [("deny", "unreachable", "closed")]


def test_an_engine_that_raises_at_once_denies(tmp_path: Path) -> None:
    """Also where it breaks its protocol and raises instead of ending the future."""

    class Raising(StaticPolicy):
        def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Any:
            raise PolicyError("no", cause="unreachable", detail="gone")

    with guarded(tmp_path, Raising(None)) as guard:
        refused(guard, Body())
    assert verdicts(tmp_path / "audit.db") == [("deny", "unreachable", "gone")]


POISON = """
allow contains "any" if input.resource.id == "send"

allow contains "poison" if {
	input.action.properties.args.mode == "poison"
	some a in numbers.range(1, 5000)
	some b in numbers.range(1, 5000)
	[a, b] == ["never", "so"]
}
"""


def test_a_poisonous_session_delays_no_other_beyond_the_deadline(tmp_path: Path) -> None:
    """While twelve threads of one session kill the only worker, every call of another is decided in
    time.

    A call that waited longer than the deadline would be denied with ``timeout``: none is.
    """
    stop = threading.Event()
    poisoned, clean = Body(), Body()
    with ruled(tmp_path, POISON, policy={"eval_limit_ms": 150, "deadline_ms": 1000}) as guard:
        guard.declare("send", schema=OPEN)

        # Another tool each time, which makes a shard of its own: the breaker alone would not save
        # the others.
        def poison(thread: int) -> None:
            with guard.session(principal="mallory", agent="bot", id="poison"):
                for number in range(200):
                    if stop.is_set():
                        return
                    with pytest.raises(Denied):
                        guard.call(f"tool-{thread}-{number}", {"mode": "poison"}, poisoned)

        threads = [threading.Thread(target=poison, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        try:
            with guard.session(principal="alice", agent="bot", id="clean"):
                for _ in range(150):
                    guard.call("send", {"mode": "none"}, clean)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert (clean.runs, poisoned.runs) == (150, 0)
    found = records(tmp_path / "audit.db", "call.decision")
    causes = {record["decision"]["cause"] for record in found if record["session"] == "poison"}
    assert causes == {"timeout"}
    whole(tmp_path / "audit.db")


def test_only_an_allow_runs_the_body(tmp_path: Path) -> None:
    """Of every effect the contract knows, in one run, for contrast."""
    body = Body()
    replies = iter([document(effect) for effect in ("deny", "require_approval", "allow")])
    with guarded(tmp_path, StaticPolicy(lambda _: next(replies))) as guard:
        for expected in (Denied, ApprovalRequired):
            with pytest.raises(expected):
                guard.call("send", {}, body)
        guard.call("send", {}, body)
    assert body.runs == 1
    assert [effect for effect, _, _ in verdicts(tmp_path / "audit.db")] == [
        "deny",
        "require_approval",
        "allow",
    ]
