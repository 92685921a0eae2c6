"""The context of a call reaches its policy and its records, and stops no call."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import CallContext
from guardrail.call.asserted import as_said
from guardrail.config import Settings
from guardrail.core.types import Status
from guardrail.errors import Denied, UsageError
from guardrail.guard import Guard
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, deny, memory_guard
from tests.support.guards import OPEN

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FULL = CallContext(
    model="gpt-5-2026-08-07",
    response="chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    trace=TRACE,
    framework="langgraph",
    framework_version="1.0.2",
)
MODEL = {
    "name": "gpt-5-2026-08-07",
    "response": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "assurance": "asserted",
}
FRAMEWORK = {"name": "langgraph", "version": "1.0.2", "assurance": "asserted"}
SECRET = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
PASSWORD = "hunter2-" + "correct-horse-battery"


def opened(reply: Any = None, **sections: Any) -> tuple[Guard, MemoryLedger, StaticPolicy]:
    """Return a guard with one declared tool, ``send``."""
    policy = StaticPolicy(allow() if reply is None else reply)
    settings = Settings().override(**{"identity": {"require": "any"}, **sections})
    guard, ledger = memory_guard(policy, settings=settings)
    guard.declare("send", schema=OPEN)
    return guard, ledger, policy


def said(record: dict[str, Any]) -> tuple[Any, Any]:
    """Return the model and the framework of a record or a policy input."""
    context = record.get("input", record)["context"]
    return context["model"], context["origin"]["framework"]


def nothing(**_: object) -> None:
    """Do nothing."""


def test_the_policy_and_the_record_see_model_and_framework_as_asserted() -> None:
    """And every record of the call names its trace."""
    guard, ledger, policy = opened()
    guard.call("send", {"n": 1}, nothing, context=FULL)
    decision, outcome = ledger.records[1:]
    assert said(policy.inputs[0]) == said(decision) == (MODEL, FRAMEWORK)
    assert decision["trace"] == outcome["trace"] == TRACE
    assert decision["reproducible"] is True


def test_what_is_not_said_is_null() -> None:
    """Each of the two objects is complete, or null."""
    guard, ledger, _ = opened()
    guard.call("send", {}, nothing)
    guard.call("send", {}, nothing, context=CallContext())
    guard.call("send", {}, nothing, context=CallContext(response="r1"))
    guard.call("send", {}, nothing, context=CallContext(framework="crewai"))
    assert [said(record) for record in ledger.of("call.decision")] == [
        (None, None),
        (None, None),
        ({"name": None, "response": "r1", "assurance": "asserted"}, None),
        (None, {"name": "crewai", "version": None, "assurance": "asserted"}),
    ]


async def test_every_way_to_make_a_call_takes_a_context() -> None:
    """Run, awaited, admitted and rejected."""
    guard, ledger, policy = opened()

    async def body() -> None:
        return None

    guard.call("send", {}, nothing, context=FULL)
    await guard.acall("send", {}, body, context=FULL)
    guard.admit("send", {}, context=FULL).settle(Status.OK)
    (await guard.aadmit("send", {}, context=FULL)).settle(Status.OK)
    guard.reject("send", "invalid", context=FULL)
    assert [record["trace"] for record in ledger.records[1:]] == [TRACE] * 9
    assert [said(asked) for asked in policy.inputs] == [(MODEL, FRAMEWORK)] * 4


def test_the_trace_of_a_call_comes_before_that_of_its_session() -> None:
    """The session's is used for calls without one."""
    guard, ledger, _ = opened()
    with guard.session(principal="alice", trace="of-the-session"):
        guard.call("send", {}, nothing, context=FULL)
        guard.call("send", {}, nothing, context=CallContext(model="m"))
        guard.call("send", {}, nothing)
    traces = [record["trace"] for record in ledger.of("call.outcome")]
    assert traces == [TRACE, "of-the-session", "of-the-session"]


def test_denied_calls_are_recorded_with_their_context() -> None:
    """By a rule, for an approval, and before the policy is asked."""
    for reply in (deny("no"), ask("person")):
        guard, ledger, _ = opened(reply)
        with contextlib.suppress(Exception):
            guard.call("send", {}, nothing, context=FULL)
        (record,) = ledger.of("call.decision")
        assert said(record) == (MODEL, FRAMEWORK)
        assert record["trace"] == TRACE
    guard, ledger, _ = opened(identity={"require": "asserted"})
    with pytest.raises(Denied):
        guard.call("send", {}, nothing, context=FULL)
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], said(record)) == ("identity", (MODEL, FRAMEWORK))


@pytest.mark.parametrize("context", ["gpt-5", {"model": "gpt-5"}, CallContext, object()])
def test_anything_else_is_no_context(context: Any) -> None:
    """Nothing happens: the program is wrong."""
    guard, ledger, _ = opened()
    with pytest.raises(UsageError, match="context must be a guardrail") as caught:
        guard.call("send", {}, nothing, context=context)
    assert caught.value.code == "usage.context"
    assert len(ledger.lines) == 1


@pytest.mark.parametrize("field", ["model", "response", "framework", "framework_version"])
@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (SECRET, SECRET),
        ("password=" + PASSWORD, PASSWORD),
        ('{"password": "' + PASSWORD + '"}', PASSWORD),
        ("for alice@example.com", "alice@example.com"),
        ("4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("x" * 480 + " " + SECRET + " " + "y" * 1_000_000, SECRET),
        ("x" * 508 + " " + SECRET, SECRET),
    ],
)
def test_sensitive_text_is_for_the_policy_and_not_for_the_record(
    field: str, text: str, hidden: str
) -> None:
    """The decision can then be derived again from the record."""
    guard, ledger, policy = opened()
    guard.call("send", {}, nothing, context=CallContext(**{field: text}))
    decision, outcome = ledger.records[1:]
    assert hidden.split(maxsplit=1)[0][:8] not in b"".join(ledger.lines).decode()
    assert len(policy.inputs) == 1
    assert said(policy.inputs[0]) != said(decision)
    assert decision["decision"]["effect"] == "allow"
    assert (decision["reproducible"], outcome["reproducible"]) == (None, None)


def test_a_policy_on_recorded_data_sees_the_context_as_recorded() -> None:
    """One decision is enough."""
    guard, ledger, policy = opened(policy={"input": "recorded"})
    long = "x" * 600 + SECRET
    context = CallContext(SECRET, "resp_67cb71b351908190a308f3859487620d", None, long)
    guard.call("send", {}, nothing, context=context)
    (record,) = ledger.of("call.decision")
    assert said(policy.inputs[0])[0]["response"] == said(record)[0]["response"]
    assert "sk_live" not in str(policy.inputs) + str(ledger.records)


def test_an_id_of_a_response_may_look_random() -> None:
    """Every id does; the same text in a name is a token."""
    guard, ledger, _ = opened()
    ids = [
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "resp_67cb71b351908190a308f3859487620d06981a8637e6bc44",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
    ]
    for each in ids:
        guard.call("send", {}, nothing, context=CallContext(response=each))
        guard.call("send", {}, nothing, context=CallContext(model=each))
    models = [said(record)[0] for record in ledger.of("call.decision")]
    assert [model["response"] for model in models[::2]] == ids
    assert all(model["name"].startswith("gr1:opaque:") for model in models[1::2])


def test_an_id_that_the_session_has_seen_as_a_value_is_a_token() -> None:
    """An argument that looks random is hidden, also where it is the id of a response."""
    guard, ledger, _ = opened()
    with guard.session(principal="alice"):
        guard.call("send", {"note": FULL.response}, nothing)
        guard.call("send", {}, nothing, context=FULL)
    assert str(FULL.response) not in b"".join(ledger.lines).decode()


def test_a_value_that_the_session_knows_is_in_no_field_of_the_context() -> None:
    """As an id, a name and a trace, from then on."""
    guard, ledger, _ = opened()
    key = "9f86d081884c7d659a2feaa0c55ad015"
    context = CallContext(f"m-{key}", key, f"00-{key}-00f067aa0ba902b7-01", key, "1")
    with guard.session(principal="alice"):
        guard.call("send", {"password": key}, nothing)
        guard.call("send", {}, nothing, context=context)
        guard.reject("send", "invalid", context=context)
    assert key not in b"".join(ledger.lines).decode()
    assert ledger.records[-1]["trace"].startswith("gr1:trace:")
    assert ledger.records[-1]["trace"] == ledger.records[-2]["trace"]


def test_arguments_of_the_same_call_are_known_before_its_context_is_recorded() -> None:
    """The model's name may quote them."""
    guard, ledger, _ = opened()
    with guard.session(principal="alice"):
        guard.call(
            "send", {"password": PASSWORD}, nothing, context=CallContext(model=f"m {PASSWORD}")
        )
    assert PASSWORD not in b"".join(ledger.lines).decode()


@pytest.mark.parametrize("raw", [True, False])
def test_a_context_that_reveals_an_argument_stops_no_call(raw: bool) -> None:
    """A model's server could otherwise deny any call whose arguments it has chosen."""
    guard, ledger, _ = opened(policy={"input": "raw" if raw else "recorded"})
    context = CallContext(f"about {PASSWORD}", PASSWORD, None, PASSWORD, f"password={PASSWORD}")
    with guard.session(principal="alice", attributes={"note": f"has {PASSWORD}"}):
        assert guard.call("send", {"note": PASSWORD}, lambda note: note, context=context)
        guard.call("made-up", {PASSWORD: 1}, nothing, context=context)
    assert PASSWORD not in b"".join(ledger.lines).decode()


def test_text_that_is_too_long_is_cut() -> None:
    """For the policy and for the record."""
    guard, ledger, policy = opened()
    context = CallContext(*["v" * 1_000_000] * 2, None, *["w" * 1_000_000] * 2)
    guard.call("send", {}, nothing, context=context)
    (record,) = ledger.of("call.decision")
    model, framework = said(record)
    assert model["name"] == model["response"] == "v" * 512 + "..."
    assert framework["name"] == framework["version"] == "w" * 512 + "..."
    assert said(policy.inputs[0]) == (model, framework)
    assert record["reproducible"] is True


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.text(st.characters(), max_size=40) | st.none(), min_size=4, max_size=4),
    raw=st.booleans(),
)
def test_no_text_stops_a_call(texts: list[str | None], raw: bool) -> None:
    """Control characters, lone surrogates, marks of guardrail's own: the call runs, and its policy
    sees what is recorded, unless something was removed.
    """
    guard, ledger, policy = opened(policy={"input": "raw" if raw else "recorded"})
    first, second, third, fourth = texts
    context = CallContext(first, second, None, third, fourth)
    assert guard.call("send", {}, lambda: 5, context=context) == 5
    (record,) = ledger.of("call.decision")
    assert said(policy.inputs[-1]) == said(record)


def test_a_bare_record_holds_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trace is a token."""
    guard, ledger, _ = opened()
    monkeypatch.setattr(
        "guardrail.core.redaction.redactor.Redactor.gate", lambda *_, **__: "secret"
    )
    with pytest.raises(Denied):
        guard.call("send", {}, nothing, context=FULL)
    (record,) = ledger.of("call.decision")
    assert record["input"] is None
    assert record["omitted"] == "gate:secret"
    assert record["trace"].startswith("gr1:trace:")


@pytest.mark.parametrize("field", ["model", "response", "framework", "framework_version"])
def test_a_value_that_becomes_known_while_the_record_is_made_stops_it(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last scan looks at the context, too."""
    guard, ledger, _ = opened()
    monkeypatch.setattr(
        "guardrail.call.decision_record.as_recorded", lambda given, _: as_said(given)
    )
    with guard.session(principal="alice"):
        guard.call("send", {"password": SECRET}, nothing)
        for text in (SECRET, f"with {SECRET}"):
            with pytest.raises(Denied):
                guard.call("send", {}, nothing, context=CallContext(**{field: text}))
            assert ledger.records[-1]["omitted"] == "gate:secret"
