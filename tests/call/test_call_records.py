"""What the records of a call say, and what they leave out."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from guardrail.config import Settings
from guardrail.core.log.record import dumps
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.types import Agent, Principal
from guardrail.errors import Denied, GuardrailError, PolicyError, RedactionError
from guardrail.system import cpu_meter
from guardrail.testing import MemoryLedger, StaticPolicy, allow, deny, memory_guard
from tests.support.guards import OPEN

SECRET = "hunter2-" + "correct-horse-battery"


def decisions(ledger: MemoryLedger) -> list[dict[str, Any]]:
    """Return the decision records."""
    return ledger.of("call.decision")


def args_of(record: dict[str, Any]) -> Any:
    """Return the arguments as recorded."""
    return record["input"]["action"]["properties"]["args"]


def test_a_marked_value_is_in_no_record_of_the_session_from_then_on() -> None:
    """Arguments, result, error, session attributes, later calls: the value was marked once."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    for name in ("login", "later"):
        guard.declare(name, schema=OPEN, log_output=True)
    with guard.session(principal="alice", agent="bot", attributes={"note": f"uses {SECRET}"}):
        guard.call("login", {"password": SECRET}, lambda **_: {"echo": SECRET})
        after = len(ledger.lines)
        guard.call("later", {"text": f"try {SECRET} again"}, lambda **_: f"ok {SECRET}")
        with pytest.raises(ValueError, match="hunter2"):
            guard.call("later", {}, lambda **_: (_ for _ in ()).throw(ValueError(f"bad {SECRET}")))
    assert SECRET not in b"".join(ledger.lines).decode()
    assert len(ledger.lines) > after


def test_the_policy_sees_what_the_record_does_not() -> None:
    """Raw input by default; the record says what was removed and why."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.declare("login", schema=OPEN)
    guard.call("login", {"password": SECRET}, lambda **_: None)
    assert policy.inputs[0]["action"]["properties"]["args"]["password"] == SECRET
    assert policy.inputs[0]["action"]["properties"]["arg_classes"]["/password"] == ["secret"]
    (record,) = decisions(ledger)
    assert record["redaction"]["removed"]["/password"][0] == "secret"
    assert record["redaction"]["key"]


def test_with_recorded_input_the_policy_sees_exactly_the_record() -> None:
    """And then the decision can be derived again by construction."""
    policy = StaticPolicy(allow())
    settings = Settings().override(policy={"input": "recorded"}, identity={"require": "any"})
    guard, ledger = memory_guard(policy, settings=settings)
    guard.declare("login", schema=OPEN)
    guard.call("login", {"email": "bob@example.com"}, lambda **_: None)
    (record,) = decisions(ledger)
    assert record["input"] == policy.inputs[0]
    assert record["reproducible"] is True
    assert len(policy.inputs) == 1


def test_a_decision_that_nothing_was_removed_from_is_reproducible_at_once() -> None:
    """The recorded input is the input."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("add", schema=OPEN)
    guard.call("add", {"n": 5}, lambda n: n)
    assert decisions(ledger)[0]["reproducible"] is True
    assert ledger.of("call.outcome")[0]["reproducible"] is None


@pytest.mark.parametrize("verdict", [allow, deny])
async def test_a_call_whose_arguments_were_redacted_is_decided_once(verdict: Any) -> None:
    """Whether the recorded input leads to the same decision is open, and nobody waits for it."""
    policy = StaticPolicy(verdict())
    guard, ledger = memory_guard(policy)
    guard.declare("login", schema=OPEN)
    for _ in range(2):
        with contextlib.suppress(Denied):
            guard.call("login", {"password": SECRET}, lambda **_: None)
        with contextlib.suppress(Denied):
            await guard.acall("login", {"password": SECRET}, lambda **_: None)
    assert len(policy.inputs) == len(decisions(ledger)) == 4
    assert {
        record["reproducible"] for record in [*decisions(ledger), *ledger.of("call.outcome")]
    } == {None}


def test_a_value_that_is_hidden_outside_of_the_arguments_leaves_it_open_too() -> None:
    """The policy saw the session attribute, and the record does not contain it."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("add", schema=OPEN)
    with guard.session(principal="alice", agent="bot", attributes={"password": SECRET}):
        guard.call("add", {"n": 5}, lambda n: n)
    (record,) = decisions(ledger)
    assert SECRET not in str(record["input"])
    assert (record["redaction"]["removed"], record["reproducible"]) == ({}, None)


def test_the_policy_can_tighten_what_is_recorded() -> None:
    """Its pointers are redacted, and their values are known from then on."""
    guard, ledger = memory_guard(StaticPolicy(allow(redact=["/items/*/memo"])))
    guard.declare("order", schema=OPEN)
    with guard.session(principal="alice"):
        guard.call("order", {"items": [{"memo": "b1rthday surpr1se"}]}, lambda **_: None)
        guard.call("order", {"text": "about the b1rthday surpr1se"}, lambda **_: None)
    assert "b1rthday surpr1se" not in str(decisions(ledger))


def test_a_pointer_of_the_policy_that_is_none_denies() -> None:
    """What it wanted hidden is not known, so nothing may be recorded in clear."""
    guard, ledger = memory_guard(StaticPolicy(allow(redact=["no/slash"])))
    guard.declare("order", schema=OPEN)
    with pytest.raises(Denied):
        guard.call("order", {"memo": "birthday surprise"}, lambda **_: None)
    (record,) = decisions(ledger)
    assert (record["decision"]["cause"], record["decision"]["detail"]) == (
        "malformed",
        "redact_pointer",
    )
    assert "birthday" not in str(record)


def test_a_policy_message_that_quotes_a_secret_is_scrubbed_everywhere() -> None:
    """In the record and in what the agent reads."""

    def reply(asked: dict[str, Any]) -> dict[str, Any]:
        return deny(f"never send {SECRET}")

    guard, ledger = memory_guard(StaticPolicy(reply))
    guard.declare("login", schema=OPEN)
    with pytest.raises(Denied) as caught:
        guard.call("login", {"password": SECRET}, lambda **_: None)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(ledger.records)


def test_targets_are_recorded_as_the_arguments_are() -> None:
    """In clear where the argument is, as a token where it is not."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.declare("pay", schema=OPEN, target=["/account", "/card", "/missing"])
    card = "4111 1111 " + "1111 1111"
    guard.call("pay", {"account": "main", "card": card}, lambda **_: None)
    (record,) = decisions(ledger)
    assert record["target"][0] == "main"
    assert record["target"][1].startswith("gr1:payment:")
    assert record["target"][2] is None
    assert policy.inputs[0]["resource"]["properties"]["target"] == ["main", card, None]


def test_an_undeclared_tool_is_recorded_in_the_minimal_view() -> None:
    """No raw text; the policy is told that it is undeclared."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.call("mystery", {"text": "some words", "n": 5}, lambda **_: None)
    assert policy.inputs[0]["resource"]["properties"]["declared"] is False
    assert "some words" not in str(ledger.records)


def test_what_the_last_gate_finds_makes_the_record_bare_and_denies() -> None:
    """Every id as a token, no text, and the cause is the redactor."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("login", schema=OPEN)
    body: list[int] = []
    # A secret that becomes known and stands in the name of the server.
    with guard.session(principal="alice", agent="bot"), pytest.raises(Denied):
        guard.call("login", {"password": SECRET}, lambda **_: body.append(1), server=f"at {SECRET}")
    (record,) = decisions(ledger)
    assert body == []
    assert record["decision"]["cause"] == "redactor"
    assert record["omitted"].startswith("gate:")
    assert record["input"] is None
    assert record["principal"]["form"] == "token"
    assert SECRET not in str(ledger.records)


@pytest.mark.parametrize("where", ["argument", "result"])
def test_what_a_session_knows_strikes_no_identity(where: str) -> None:
    """Who acted stays in every record, whatever a tool or a model says; and the session goes on."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("login", schema=OPEN)
    told = {"password": SECRET}
    with guard.session(principal=SECRET, agent=SECRET, id=f"session-{SECRET}", tenant=SECRET):
        guard.call("login", told if where == "argument" else {}, lambda **_: told)
        guard.call("login", {"text": "x"}, lambda **_: None)
    later = ledger.records[1:]
    assert len(later) == 4
    assert {record["session"] for record in later} == {f"session-{SECRET}"}
    assert {(record["principal"]["id"], record["agent"]["id"]) for record in later} == {
        (SECRET, SECRET)
    }
    assert {record["tenant"] for record in later} == {SECRET}


class Hostile:
    """A result that fights back when it is looked at."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no str")

    def __len__(self) -> int:
        raise RuntimeError("no len")


class HostileError(Exception):
    """An exception without text."""

    def __str__(self) -> str:
        raise RuntimeError("no str")


@pytest.mark.parametrize("log_output", [True, False])
def test_a_result_that_cannot_be_recorded_is_released_with_an_outcome(log_output: bool) -> None:
    """Too large, hostile, endless: the guard goes on."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("get", schema=OPEN, log_output=log_output)
    endless: list[Any] = []
    endless.append(endless)
    for result in (
        Hostile(),
        endless,
        "x" * 50_000_000,
        {"k" * 70_000: 1},
        float("nan"),
        {1: 2},
        b"\xff" * 9,
        object(),
    ):
        assert guard.call("get", {}, lambda result=result: result) is result
    with pytest.raises(HostileError):
        guard.call("get", {}, lambda: (_ for _ in ()).throw(HostileError()))
    assert [record["status"] for record in ledger.of("call.outcome")] == ["ok"] * 8 + ["error"]


def test_a_result_is_released_if_memory_ends_while_it_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The body has run: its outcome is recorded without the result, and says so."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Redactor, "result", exhausted)
    assert guard.call("get", {}, lambda: "a result") == "a result"
    (record,) = ledger.of("call.outcome")
    assert (record["status"], record["result"], record["omitted"]) == ("ok", None, "redactor")


def test_a_record_that_is_too_large_is_bare_and_denies() -> None:
    """Rules and messages of the policy are not ours to cut."""
    many = [{**allow()["rules"][0], "rule": f"r{n}", "message": "m" * 4000} for n in range(30)]
    guard, ledger = memory_guard(StaticPolicy(allow(rules=many)))
    with pytest.raises(Denied):
        guard.call("x", {}, lambda: None)
    (record,) = decisions(ledger)
    assert (record["decision"]["cause"], record["omitted"]) == ("redactor", "size")


def test_arguments_that_are_cut_are_not_reproducible() -> None:
    """The record does not hold all that the policy saw."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("save", schema=OPEN)
    guard.call(
        "save", {"parts": [f"line {n} of a long letter" for n in range(9000)]}, lambda **_: None
    )
    (record,) = decisions(ledger)
    assert record["redaction"]["truncated"] is True
    assert record["reproducible"] is False


def test_identities_are_recorded_with_their_assurance() -> None:
    """And what the host adds to them is in the input."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    who = Principal(id="svc-1", type="service", roles=("ops",), attributes={"team": "blue"})
    with guard.session(
        principal=who,
        agent=Agent(id="bot", version="2"),
        tenant="acme",
        trace="ab" * 16,
        delegation=[{"sub": "carol"}],
    ):
        guard.call("x", {}, lambda: None)
    (record,) = decisions(ledger)
    assert record["principal"] == {
        "id": "svc-1",
        "form": "clear",
        "type": "service",
        "issuer": None,
        "assurance": "asserted",
        "method": "context",
    }
    assert record["agent"]["version"] == "2"
    assert (record["tenant"], record["trace"]) == ("acme", "ab" * 16)
    assert record["delegation"] == [{"sub": "carol"}]
    assert policy.inputs[0]["subject"]["properties"]["team"] == "blue"
    guard.call("x", {}, lambda: None)
    assert decisions(ledger)[1]["principal"]["assurance"] == "absent"


def test_a_tenant_can_have_principals_as_tokens() -> None:
    """Everywhere in the record; the policy still sees who it is."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(
        policy, settings=Settings().override(identity={"principal_form": "token"})
    )
    with guard.session(principal="alice", agent="bot"):
        guard.call("x", {}, lambda: None)
    (record,) = decisions(ledger)
    assert record["principal"]["form"] == "token"
    assert record["input"]["subject"]["id"] == record["principal"]["id"]
    assert policy.inputs[0]["subject"]["id"] == "alice"
    assert "alice" not in str(record)


def test_session_attributes_that_do_not_fit_are_refused_when_the_session_is_made() -> None:
    """Before any call, with a clear error."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(RedactionError):
        guard.session(
            principal="alice", attributes={f"k{n}": "long words " * 20 for n in range(2000)}
        )


def test_the_commitment_binds_the_arguments() -> None:
    """Equal calls of one session have equal commitments, others do not."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    with guard.session(principal="alice", agent="bot"):
        for text in ("a", "a", "b"):
            guard.call("x", {"t": text}, lambda t: None)
    first, second, third = (record["commitment"] for record in decisions(ledger))
    assert first == second != third


def test_no_public_error_of_a_call_quotes_an_argument() -> None:
    """Whatever is wrong with it."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    guard.declare(
        "login", schema={"properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    )
    for args in ({"n": SECRET}, {SECRET: 1}, {"n": {SECRET: SECRET}}):
        with pytest.raises(GuardrailError) as caught:
            guard.call("login", args, lambda **_: None)
        assert (
            SECRET not in f"{caught.value!r} {caught.value} {caught.value.args} {caught.value.hint}"
            f" {caught.value.__context__!r}"
        )


def test_a_redactor_that_mutates_the_callers_arguments_changes_nothing() -> None:
    """Record, policy and body use the snapshot, which the caller's object is no part of."""
    args: dict[str, Any] = {"to": "bob", "list": [1]}

    class Mutating(Redactor):
        def inspect(self, *found: Any, **how: Any) -> Any:
            args["to"] = "mallory"
            args["list"].append(2)
            return super().inspect(*found, **how)

    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.declare("send", schema=OPEN)
    scope = guard.session(principal="alice", agent="bot")
    scope.state.redactor = Mutating(token=scope.state.keys.token, mark=scope.state.keys.mark)
    got: list[Any] = []
    with scope:
        guard.call("send", args, lambda **found: got.append(found))
    assert got == [{"to": "bob", "list": [1]}]
    assert policy.inputs[0]["action"]["properties"]["args"] == got[0]
    assert "mallory" not in str(ledger.records)


def test_a_decision_by_an_unknown_policy_is_not_called_reproducible() -> None:
    """What was evaluated is not known, so nobody can evaluate it again; the server's own id of the
    decision is kept.
    """
    guard, ledger = memory_guard(StaticPolicy(allow(), digest=None, decision_id="d-1"))
    guard.declare("add", schema=OPEN)
    guard.call("add", {"n": 5}, lambda n: n)
    (record,) = decisions(ledger)
    assert record["reproducible"] is None
    assert record["policy"]["digest"] is None
    assert record["policy"]["decision_id"] == "d-1"
    assert ledger.of("call.outcome")[0]["reproducible"] is None


@pytest.mark.parametrize(
    "reply", [PolicyError("x", cause="timeout", detail="y"), {"effect": "allow"}, None]
)
def test_what_the_policy_would_hide_is_not_recorded_when_it_is_not_heard(reply: Any) -> None:
    """Its pointers are not known then: the record shows keys, types and lengths."""
    guard, ledger = memory_guard(StaticPolicy(reply))
    guard.declare("send", schema=OPEN)
    with pytest.raises(Denied):
        guard.call("send", {"body": "what people write to each other"}, lambda **_: None)
    (record,) = decisions(ledger)
    assert set(args_of(record)) == {"body"}
    assert "people write" not in str(record)


WORDS = "lorem ipsum dolor " * 200
LARGE: dict[str, dict[str, Any]] = {
    "one text": {"to": "bob", "text": WORDS * 12},
    "many texts": {f"t{number}": WORDS for number in range(10)},
    "many members": {f"k{number}": number for number in range(4_000)},
    "a list": {"to": "bob", "items": list(range(9_000))},
    "nested": {"a": {"b": {"c": [WORDS] * 12}}},
    "addresses": {f"k{number}": f"person{number}@example.com" for number in range(250)},
}


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize(
    "verdict", [deny("no"), PolicyError("late", cause="timeout", detail="x"), {"effect": "odd"}]
)
def test_a_denial_records_large_arguments_by_size_and_token(
    kind: str, verdict: Any, declared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is denied over and over does not fill the disk: the record stays small, and says what
    it leaves out.
    """
    monkeypatch.setattr(cpu_meter, "SECONDS", 60.0)  # a slow machine's, or coverage's
    guard, ledger = memory_guard(StaticPolicy(verdict))
    if declared:
        guard.declare("send", schema={"type": "object", "additionalProperties": True})
    with pytest.raises(Denied):
        guard.call("send", dict(LARGE[kind]), lambda **_: None)
    (record,) = ledger.of("call.decision")
    assert len(ledger.lines[-1]) < 9_000
    shown = record["input"]["action"]["properties"]["args"]
    assert len(dumps(shown)) <= 4_096
    if record["redaction"]["truncated"]:
        assert record["reproducible"] is False
    else:
        assert "$t" in str(shown), "the minimal view says sizes and tokens"
    assert len(record["commitment"]) == 64


def test_a_denial_by_rules_says_that_it_left_something_out() -> None:
    """``truncated`` and not reproducible; what is small stays readable, and an allowed call keeps
    its arguments.
    """
    for verdict in (deny("no"), allow("yes")):
        guard, ledger = memory_guard(StaticPolicy(verdict))
        guard.declare("send", schema={"type": "object", "additionalProperties": True})
        with contextlib.suppress(Denied):
            guard.call("send", {"to": "bob", "text": WORDS, "more": WORDS}, lambda **_: None)
        (record,) = ledger.of("call.decision")
        args = record["input"]["action"]["properties"]["args"]
        assert args["to"] == "bob"
        if verdict["effect"] == "allow":
            assert args["text"] == args["more"] == WORDS
            assert (record["redaction"]["truncated"], record["reproducible"]) == (False, True)
        else:
            assert set(args["text"]) == {"$t", "len", "tok"}
            assert args["more"] == WORDS
            assert (record["redaction"]["truncated"], record["reproducible"]) == (True, False)


def test_arguments_that_do_not_fit_are_recorded_by_size_and_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The schema refuses them: none of it is recorded, whatever its size."""
    monkeypatch.setattr(cpu_meter, "SECONDS", 60.0)  # a slow machine's, or coverage's
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("send", schema={"type": "object", "properties": {"to": {"type": "integer"}}})
    with pytest.raises(Denied):
        guard.call("send", {"to": "x", **LARGE["many members"]}, lambda **_: None)
    (record,) = ledger.of("call.decision")
    assert record["decision"]["cause"] == "arguments"
    assert len(ledger.lines[-1]) < 4_096
    assert (record["redaction"]["truncated"], record["reproducible"]) == (True, False)
