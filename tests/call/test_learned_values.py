"""What a tool or a model says is learned and hidden later; it hides no fact from the host, the
policy or who reads the record.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from guardrail.config import Settings
from guardrail.core.types import EngineReply, Principal
from guardrail.errors import Denied
from guardrail.testing import MemoryLedger, StaticPolicy, allow, deny, memory_guard
from tests.support.guards import OPEN

VALUE = "Tr0ub4dor-9x-EVE"
ROLE = "4pprover-b7x"


def _args(document: dict[str, Any]) -> dict[str, Any]:
    args: dict[str, Any] = document["action"]["properties"]["args"]
    return args


def _last(ledger: MemoryLedger) -> dict[str, Any]:
    return ledger.of("call.decision")[-1]


@pytest.mark.parametrize("given", ["raw", "recorded"])
@pytest.mark.parametrize("how", ["result", "argument", "same call"])
def test_a_policy_decides_on_arguments_that_no_memory_has_touched(given: str, how: str) -> None:
    """Neither a value nor a name that a page or a model had remembered is missing for a rule."""

    def decide(document: dict[str, Any]) -> dict[str, Any]:
        args = _args(document)
        return deny("not to EVE") if VALUE in (args.get("to"), *args) else allow("others")

    policy = StaticPolicy(decide)
    guard, ledger = memory_guard(policy, settings=Settings().override(policy={"input": given}))
    for name in ("read", "pay"):
        guard.declare(name, schema=OPEN)
    told = {"password": VALUE}
    with guard.session(principal="alice", agent="bot"):
        if how != "same call":
            guard.call("read", told if how == "argument" else {}, lambda **_: told)
        more = told if how == "same call" else {}
        for args in ({"to": VALUE, **more}, {VALUE: 1, **more}):
            with pytest.raises(Denied):
                guard.call("pay", args, lambda **_: pytest.fail("the body ran"))
    assert VALUE not in str(ledger.records)
    value, key = (asked["action"]["properties"]["arg_classes"] for asked in policy.inputs[-2:])
    assert value["/to"] == ["secret"]
    # A key has its own name there, so that the policy finds its argument.
    assert key[f"/{VALUE}"] == ["secret"]
    assert f"/{VALUE}" not in _last(ledger)["input"]["action"]["properties"]["arg_classes"]


def test_a_value_learned_while_the_policy_is_evaluated_is_not_recorded() -> None:
    """Parts of the record are made during that time, and are then out of date."""

    class Reply(Future[EngineReply]):
        def result(self, timeout: float | None = None) -> EngineReply:
            session.state.memory.remember(VALUE, "secret")  # as another call in the session does
            return super().result(timeout)

    class Slow(StaticPolicy):
        def decide(
            self, policy_input: bytes, *, shard: str, deadline: float
        ) -> Future[EngineReply]:
            reply = Reply()
            reply.set_result(EngineReply(allow(), self.identity, 1.0))
            return reply

    guard, ledger = memory_guard(Slow(None))
    guard.declare("send", schema=OPEN)
    with guard.session(principal="alice", agent="bot") as session, pytest.raises(Denied):
        guard.call("send", {"note": f"is {VALUE}"}, lambda **_: pytest.fail("the body ran"))
    assert _last(ledger)["omitted"] == "gate:secret"
    assert VALUE not in str(ledger.records)


def test_with_recorded_input_marked_places_stay_hidden_from_the_policy() -> None:
    """Schema, key and detector hide as before, and a mark's class is told beside those of known
    values.
    """
    policy = StaticPolicy(allow("any"))
    guard, _ = memory_guard(policy, settings=Settings().override(policy={"input": "recorded"}))
    guard.declare("read", schema=OPEN)
    guard.declare("pay", schema=OPEN | {"properties": {"note": {"x-guardrail": "health"}}})
    with guard.session(principal="alice", agent="bot"):
        guard.call("read", {}, lambda: {"password": VALUE})
        args = {"note": "has the flu", "email": "bob@example.com", "to": VALUE, "n": f"is {VALUE}"}
        guard.call("pay", args, lambda **_: None)
    decided = policy.inputs[-1]
    seen = _args(decided)
    assert seen["note"].startswith("gr1:health:")
    assert seen["email"].startswith("gr1:contact:")
    assert (seen["to"], seen["n"]) == (VALUE, f"is {VALUE}")
    assert decided["action"]["properties"]["arg_classes"] == {
        "/note": ["health"],
        "/email": ["contact"],
        "/to": ["secret"],
        "/n": ["secret"],
    }


def test_with_recorded_input_the_policy_sees_the_session_as_the_host_told_it() -> None:
    """An attribute that became known goes from the record, and not from what is decided on."""
    policy = StaticPolicy(allow("any"))
    guard, ledger = memory_guard(policy, settings=Settings().override(policy={"input": "recorded"}))
    guard.declare("read", schema=OPEN)
    alice = Principal("alice", roles=(ROLE,), attributes={"unit": VALUE})
    step = {"sub": f"svc-{ROLE}"}
    with guard.session(principal=alice, agent="bot", delegation=[step]):
        guard.call("read", {}, lambda: {"passwords": [VALUE, ROLE]})
        guard.call("read", {}, lambda: None)
    for asked in policy.inputs[:2]:
        assert asked["subject"]["properties"]["unit"] == VALUE
        assert asked["subject"]["properties"]["roles"] == [ROLE]
    record = _last(ledger)
    assert VALUE not in str(record)
    assert record["input"]["subject"]["properties"]["roles"] == [ROLE]
    assert record["delegation"] == record["input"]["context"]["delegation"] == [step]


def test_names_that_host_and_policy_gave_stay_in_every_record() -> None:
    """The tool, its server, its labels, the arguments of its schema, rules and session labels,
    however improbable.
    """
    names = {
        "tool": "p4y-0ut-9x7",
        "server": "b4nk-srv-1x",
        "label": "m0ney-0ut-3x",
        "argument": "am0unt-3ur-x1",
        "constant": "curr3ncy-3ur-1",
        "rule": "PCI-3x9-k7",
        "severity": "h1gh-3st-9x",
        "session label": "t4inted-9x-1",
    }
    rule = allow("r")["rules"][0] | {"rule": names["rule"], "severity": names["severity"]}
    policy = StaticPolicy(allow("r", rules=[rule], labels=[names["session label"]]))
    guard, ledger = memory_guard(policy)
    properties = {names["argument"]: {}, "in": {"enum": [names["constant"]]}}
    guard.declare(
        names["tool"],
        server=names["server"],
        schema=OPEN | {"properties": properties},
        labels=[names["label"]],
    )
    guard.declare("read", schema=OPEN)
    with guard.session(principal="alice", agent="bot"):
        guard.call("read", {}, lambda: {"passwords": list(names.values())})
        args = {names["argument"]: 5, "in": names["constant"]}
        guard.call(names["tool"], args, lambda **_: None, server=names["server"])
    record = _last(ledger)
    assert (record["tool"]["name"], record["tool"]["server"]) == (names["tool"], names["server"])
    assert _args(record["input"]) == args
    assert record["input"]["resource"]["properties"]["labels"] == [names["label"]]
    assert record["decision"]["labels"] == [names["session label"]]
    (fired,) = record["decision"]["rules"]
    assert (fired["rule"], fired["severity"]) == (names["rule"], names["severity"])


def test_a_rule_that_is_its_own_message_stays_unless_it_quotes_an_argument() -> None:
    """One string for both is an id, and becomes a message where what is known in it stands in the
    arguments.
    """
    rule = "PCI-3x9-k7 forbids it"

    def decide(document: dict[str, Any]) -> dict[str, Any]:
        quoted = _args(document).get("quote")
        return allow(rule if quoted is None else f"says {quoted}")

    guard, ledger = memory_guard(StaticPolicy(decide))
    guard.declare("read", schema=OPEN)
    with guard.session(principal="alice", agent="bot"):
        guard.call("read", {"passwords": ["PCI-3x9-k7", VALUE]}, lambda **_: None)
        # Once seen without any argument in it, an argument that repeats it strikes nothing.
        for args in ({"note": "a"}, {"note": rule}, {"note": "PCI-3x9-k7"}):
            guard.call("read", args, lambda **_: None)
            (fired,) = _last(ledger)["decision"]["rules"]
            assert (fired["rule"], fired["message"]) == (rule, rule)
        for quoted, shown in ((VALUE, False), ("AKIA" + "Q7" * 8, False), ("nothing", True)):
            guard.call("read", {"quote": quoted}, lambda **_: None)
            (fired,) = _last(ledger)["decision"]["rules"]
            assert (quoted in str(_last(ledger))) is shown
            assert fired["rule"] == fired["message"]


def test_ids_that_are_messages_are_kept_in_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that writes times into its messages does not fill the memory."""
    import guardrail.call.decision_record

    monkeypatch.setattr(guardrail.call.decision_record, "MAX_TOOLS", 3)
    count = iter(range(99))
    guard, _ = memory_guard(StaticPolicy(lambda _: allow(f"rule at {next(count)}")))
    guard.declare("read", schema=OPEN)
    for _ in range(9):
        guard.call("read", {}, lambda: None)
    assert len(guard._recorder._ids) == 3


def test_what_a_model_calls_a_tool_that_nobody_declared_is_no_name_of_the_host() -> None:
    """What is known goes from it."""
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    guard.declare("read", schema=OPEN)
    with guard.session(principal="alice", agent="bot"):
        guard.call("read", {"password": VALUE}, lambda **_: None)
        guard.call(f"tool {VALUE}", {}, lambda: None)
    assert VALUE not in str(ledger.records)


def test_texts_of_host_and_policy_are_kept_in_bounded_room() -> None:
    """However many rules a policy makes up."""
    count = iter(range(9_999))
    guard, _ = memory_guard(StaticPolicy(lambda _: allow(f"rule at {next(count)}")))
    guard.declare("read", schema=OPEN)
    scope = guard.session(principal="alice", agent="bot")
    with scope:
        for _ in range(600):
            guard.call("read", {}, lambda: None)
    assert len(scope.state.supplied_texts) <= 512
