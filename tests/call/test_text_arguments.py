"""Calls whose arguments are the text that a model wrote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from guardrail import JsonArguments
from guardrail.core.types import Status
from guardrail.errors import ApprovalRequired, Denied
from guardrail.guard import Guard
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, memory_guard

SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "n": {"type": "integer", "default": 3}},
    "additionalProperties": False,
}
SECRET = "tRue-maroon-Otter-93"


def opened(reply: Any = None) -> tuple[Guard, MemoryLedger, StaticPolicy]:
    """Return a guard with one declared tool, ``send``."""
    policy = StaticPolicy(allow() if reply is None else reply)
    guard, ledger = memory_guard(policy)
    guard.declare("send", schema=SCHEMA)
    return guard, ledger, policy


def args_of(record: dict[str, Any]) -> Any:
    """Return the arguments as recorded."""
    return record["input"]["action"]["properties"]["args"]


def test_a_text_is_the_same_call_as_the_object_that_it_holds() -> None:
    """The same snapshot for policy, record and body."""
    guard, ledger, policy = opened()
    made = [
        guard.call("send", args, lambda **given: given)
        for args in ({"to": "bob"}, JsonArguments('{"to": "bob"}'), JsonArguments(b' {"to":"bob"}'))
    ]
    assert made == [{"to": "bob", "n": 3}] * 3
    inputs = [asked["action"]["properties"]["args"] for asked in policy.inputs]
    assert inputs == [args_of(record) for record in ledger.of("call.decision")] == made


@pytest.mark.parametrize("text", ["", b"", " \n\t\r"])
def test_no_text_is_a_call_without_arguments(text: str | bytes) -> None:
    """Models write none for a tool that takes none."""
    guard, _, _ = opened()
    assert guard.call("send", JsonArguments(text), lambda **given: given) == {"n": 3}


async def test_every_way_to_make_a_call_takes_a_text() -> None:
    """Large ones are read off the event loop."""
    guard, _, _ = opened()
    text = JsonArguments('{"to": "' + "x" * 5000 + '"}')
    assert guard.call("send", text, lambda **given: len(given["to"])) == 5000
    assert await guard.acall("send", text, lambda **given: len(given["to"])) == 5000
    for admission in (guard.admit("send", text), await guard.aadmit("send", text)):
        assert len(admission.arguments["to"]) == 5000
        admission.settle(Status.OK)


class Transfer(BaseModel):
    """Money to send."""

    amount: int


def test_a_model_coerces_a_text_as_it_coerces_an_object() -> None:
    """Text is read first, and then handed to the model."""
    guard, _, _ = opened()
    guard.declare("transfer", schema=Transfer)
    for args in ({"amount": "5"}, JsonArguments('{"amount": "5"}')):
        assert guard.call("transfer", args, lambda amount: amount + 1) == 6


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("send it to bob", "not_json"),
        ('{"to": "bob"', "not_json"),
        (b'{"to": "\xff"}', "not_json"),
        (None, "not_json"),
        ('{"to": "bob"} and more', "trailing"),
        ('{"to": "bob", "to": "eve"}', "duplicate_key"),
        ('["bob"]', "not_object"),
        ('"' + "x" * 3_000_000 + '"', "too_large"),
        ('{"n": NaN}', "nan"),
        ('{"n": 1e999}', "nan"),
        ('{"n": ' + "9" * 30 + "}", "integer_range"),
        ('{"n": ' + "9" * 5_000 + "}", "integer_range"),
        ('{"n": ' + "[" * 100 + "]" * 100 + "}", "depth"),
        ("[" * 1_000_000, "depth"),
        ('{"to": "\\ud800"}', "surrogate"),
        ('{"to": "\ud800"}', "surrogate"),
        ('{"to": 5}', "type"),
        ('{"x": 5}', "unknown_argument"),
    ],
)
def test_a_text_that_does_not_fit_is_denied_on_the_record(text: Any, detail: str) -> None:
    """Without a value; the policy is not asked, the body does not run, and the next call works."""
    guard, ledger, policy = opened()
    with pytest.raises(Denied) as caught:
        guard.call("send", JsonArguments(text), lambda **_: pytest.fail("it ran"))
    (record,) = ledger.of("call.decision")
    assert caught.value.code == "denied.arguments"
    assert record["decision"]["effect"] == "deny"
    assert (record["decision"]["cause"], record["decision"]["detail"]) == ("arguments", detail)
    assert "bob" not in ledger.lines[-1].decode() + caught.value.message
    assert not policy.inputs
    assert guard.call("send", JsonArguments("{}"), lambda **given: given) == {"n": 3}


@pytest.mark.parametrize("text", ["send it", "{} {}", '{"a": 1, "a": 1}', "5", "9" * 5000])
def test_the_message_for_the_model_names_the_tool(text: str) -> None:
    """The record does not: a model may have made the name up."""
    guard, ledger, _ = opened()
    for tool in ("send", "made up"):
        with pytest.raises(Denied, match=f"; {tool} takes exactly one JSON object") as caught:
            guard.call(tool, JsonArguments(text), lambda **_: None)
        message = ledger.records[-1]["decision"]["message"]
        assert message in caught.value.message
        assert tool not in message


def test_a_secret_in_the_name_of_a_tool_is_not_in_the_message() -> None:
    """It is text of a model, like any other."""
    guard, ledger, _ = opened()
    with guard.session(principal="alice"), pytest.raises(Denied) as caught:
        guard.call(f"password={SECRET}", JsonArguments("{"), lambda **_: None)
    assert SECRET not in caught.value.message
    assert SECRET not in b"".join(ledger.lines).decode()


def test_a_text_of_an_unknown_caller_is_recorded_in_outline() -> None:
    """As an object would be; a text that is none is not recorded."""
    from guardrail.config import Settings

    guard, ledger = memory_guard(StaticPolicy(allow()), settings=Settings())
    for text in ('{"to": "bob"}', '{"to": "' + "b" * 5000 + '"}', "bob", ""):
        with pytest.raises(Denied):
            guard.call("send", JsonArguments(text), lambda **_: None)
    first, second, third, fourth = ledger.of("call.decision")
    assert args_of(first)["to"]["len"] == 3
    assert args_of(second)["to"]["len"] == 5000
    assert (args_of(third), third["omitted"]) == ({}, "arguments")
    assert (args_of(fourth), fourth["omitted"]) == ({}, None)


def test_an_argument_that_the_program_injects_does_not_come_in_a_text() -> None:
    """It is denied as it is in an object."""
    guard, ledger, _ = opened()
    with pytest.raises(Denied):
        guard.call("other", JsonArguments('{"user": 5}'), lambda **_: None, extra={"user": 1})
    assert ledger.of("call.decision")[0]["decision"]["detail"] == "injected"


def test_a_call_that_waits_for_an_approval_may_be_a_text() -> None:
    """The approval is for the arguments, however they are written."""
    guard, _, _ = opened(lambda asked: allow() if asked["context"]["approval"] else ask("person"))
    with guard.session(principal="alice", agent="bot"):
        with pytest.raises(ApprovalRequired) as caught:
            guard.call("send", JsonArguments('{"to": "bob"}'), lambda **_: None)
        from guardrail.approvals.request import Approver

        guard.approvals.approve(caught.value.approval, Approver("carol@example.com"), "she may")


@settings(deadline=None, max_examples=60)
@given(text=st.text(st.characters(), max_size=60) | st.binary(max_size=60))
def test_any_text_ends_in_one_record_or_two(text: str | bytes) -> None:
    """An allowed call with its outcome, or a denial."""
    guard, ledger, _ = opened()
    try:
        guard.call("other", JsonArguments(text), lambda **given: given)
    except Denied:
        assert [record["type"] for record in ledger.records[1:]] == ["call.decision"]
    else:
        assert len(ledger.records) == 3
