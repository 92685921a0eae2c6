"""Which tools are offered to a model."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from guardrail.call import listings
from guardrail.core.types import EngineReply, PolicyIdentity
from guardrail.errors import LedgerError, PolicyError, UsageError
from guardrail.guard import Guard
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard

NAMES = ["read", "pay", "send"]
HIDE = """package guardrail.policy

allow contains "all" if input.action.name == "tools/call"

hide contains "money" if input.resource.id == "pay"

hide contains "guests" if {
	input.resource.id == "send"
	input.subject.id == "guest"
}
"""


class Asking(StaticPolicy):
    """Counts the questions about listings, and answers with *reply* if it is given."""

    def __init__(
        self, reply: Any = None, *, late: float = 0.0, failure: Any = None, **options: Any
    ) -> None:
        super().__init__(failure or allow(), **options)
        self.reply = reply
        self.late = late
        self.questions: list[bytes] = []

    def listing(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        self.questions.append(policy_input)
        if self.reply is None:
            return super().listing(policy_input, shard=shard, deadline=deadline)
        if isinstance(self.reply, Exception):
            raise self.reply
        future: Future[EngineReply] = Future()
        if self.reply != "nothing":
            future.set_result(EngineReply(self.reply, self.identity, self.late * 1000))
        return future


class Changing(Asking):
    """Has another identity after a reload."""

    digest = "00" * 32

    @property
    def identity(self) -> PolicyIdentity:
        return PolicyIdentity("static", "1", self.digest)

    def listing(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        reply = super().listing(policy_input, shard=shard, deadline=deadline).result()
        future: Future[EngineReply] = Future()
        future.set_result(EngineReply(reply.document, self.identity, 0.0))
        return future


def names(guard: Guard, asked: list[str] = NAMES, **options: Any) -> list[str]:
    return [tool.name for tool in guard.listed(asked, **options)]


@pytest.fixture
def real(tmp_path: Path) -> Guard:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "hide.rego").write_text(HIDE)
    return Guard.open(policies=tmp_path / "policies", ledger=tmp_path / "audit.db")


def test_tools_that_the_policy_hides_are_not_listed(real: Guard) -> None:
    """The list depends on the subject, and a hidden tool can be called: a listing decides
    nothing.
    """
    with real:
        with real.session(principal="alice"):
            assert names(real) == ["read", "send"]
            assert [tool.name for tool in asyncio.run(real.alisted(NAMES))] == ["read", "send"]
            assert real.call("pay", {}, run=lambda: "paid") == "paid"
        guest = real.session(principal="guest")
        assert names(real, session=guest) == ["read"]


def test_nothing_is_recorded_about_a_list() -> None:
    """It is no decision."""
    guard, ledger = memory_guard(Asking(hidden={"pay"}))
    assert names(guard) == ["read", "send"]
    assert [each["type"] for each in ledger.records if each["type"].startswith("call")] == []
    assert ledger.of("admin.listing_failed") == []


def test_the_policy_is_asked_once_for_each_tool_and_subject() -> None:
    """In all sessions of the subject."""
    policy = Asking(hidden={"pay"})
    guard, _ = memory_guard(policy)
    for _ in range(3):
        assert names(guard, session=guard.session(principal="alice")) == ["read", "send"]
    assert len(policy.questions) == 3
    assert names(guard, ["read", "other"], session=guard.session(principal="bob"))
    assert len(policy.questions) == 5
    schema = {"type": "object", "properties": {"file": {"type": "string"}}}
    guard.declare("read", schema=schema)
    assert names(guard, session=guard.session(principal="alice")) == ["read", "send"]
    assert len(policy.questions) == 6


def test_the_answers_of_other_policies_are_not_used() -> None:
    """After a reload, the policy is asked again."""
    hidden: set[str] = set()
    policy = Changing(hidden=hidden)
    guard, _ = memory_guard(policy)
    assert names(guard) == NAMES
    hidden.add("send")
    assert names(guard) == NAMES
    policy.digest = "11" * 32
    assert names(guard) == ["read", "pay"]


def test_answers_are_kept_for_a_limited_time_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule may depend on the time, and memory is bounded."""
    policy = Asking()
    guard, _ = memory_guard(policy)
    monkeypatch.setattr(listings, "MOST_KEPT", 2)
    assert names(guard) == NAMES
    assert names(guard, ["pay", "send"]) == ["pay", "send"]
    assert len(policy.questions) == 3
    assert names(guard, ["read"]) == ["read"]
    assert len(policy.questions) == 4
    monkeypatch.setattr(listings, "KEPT_S", -1.0)
    guard, _ = memory_guard(policy)
    assert names(guard) == names(guard) == NAMES
    assert len(policy.questions) == 10


BROKEN = [
    (
        {"failure": PolicyError("no", cause="unreachable", detail="breaker")},
        ("unreachable", "breaker"),
    ),
    ({"reply": PolicyError("no", cause="crashed", detail="exited")}, ("crashed", "exited")),
    ({"reply": RuntimeError("no")}, ("error", "engine")),
    ({"reply": {"offered": True}}, ("malformed", "keys")),
]


@pytest.mark.parametrize(("options", "wanted"), BROKEN, ids=str)
def test_a_policy_without_an_answer_hides_the_tool(options: Any, wanted: tuple[str, str]) -> None:
    """It is recorded, once a minute."""
    guard, ledger = memory_guard(Asking(**options))
    assert names(guard) == []
    assert names(guard) == []
    (record,) = ledger.of("admin.listing_failed")
    assert record["detail"] == {"cause": wanted[0], "detail": wanted[1], "hidden": 3}


def test_after_a_failure_the_next_list_asks_again() -> None:
    """Failures are not kept."""
    policy = Asking({})
    guard, _ = memory_guard(policy)
    assert names(guard) == []
    policy.reply = None
    assert names(guard) == NAMES


def test_an_answer_that_is_late_hides_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it never comes."""
    guard, ledger = memory_guard(Asking({}, late=60.0))
    assert names(guard) == []
    assert ledger.of("admin.listing_failed")[0]["detail"]["cause"] == "timeout"
    monkeypatch.setattr(listings, "ENGINE_GRACE", -0.2)
    guard, ledger = memory_guard(Asking("nothing"))
    assert names(guard) == []
    assert ledger.of("admin.listing_failed")[0]["detail"]["detail"] == "engine"


def test_a_list_that_takes_too_long_ends_without_further_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest is hidden. So is the rest after several failures."""
    many = [f"tool_{number}" for number in range(100)]
    policy = Asking()
    guard, ledger = memory_guard(policy)
    monkeypatch.setattr(listings, "LONGEST_S", -1.0)
    assert names(guard, many) == []
    assert ledger.of("admin.listing_failed")[0]["detail"] == {
        "cause": "timeout",
        "detail": "list",
        "hidden": 100,
    }
    monkeypatch.undo()
    policy.reply = {}
    guard, ledger = memory_guard(policy)
    assert names(guard, many) == []
    assert len(policy.questions) < 100
    assert ledger.of("admin.listing_failed")[0]["detail"]["hidden"] == 100


def test_a_list_needs_no_ledger() -> None:
    """Calls do. The failure is recorded as soon as it can be."""
    guard, ledger = memory_guard(Asking({}))
    ledger.fail = lambda _: LedgerError("no")
    assert names(guard) == []
    ledger.fail = MemoryLedger().fail
    assert names(guard) == []
    assert len(ledger.of("admin.listing_failed")) == 1


def test_a_session_of_another_guard_gets_no_list() -> None:
    """Its subject may be somebody else."""
    guard, _ = memory_guard(Asking())
    other, _ = memory_guard(Asking())
    with pytest.raises(UsageError):
        guard.listed(NAMES, session=other.session(principal="alice"))


def test_a_thousand_tools_are_listed_in_bounded_time(real: Guard) -> None:
    """And at once, when the answers are known."""
    many = [f"tool_{number}" for number in range(1_000)]
    with real:
        assert len(names(real, many)) == 1_000
        began = time.process_time()
        assert len(names(real, many)) == 1_000
        assert time.process_time() - began < 5
