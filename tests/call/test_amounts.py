"""The amounts that a tool declares reach the policy and the record, or the call is denied."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.errors import ApprovalRequired, Denied, UsageError
from guardrail.testing import StaticPolicy, allow, ask, deny, memory_guard
from guardrail.tools.tool import declare

PAY = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "fee": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
        "to": {"type": "string"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        "any": {},
    },
    "$defs": {"part": {"type": "object", "properties": {"size": {"type": ["integer", "null"]}}}},
}


def test_amounts_and_labels_reach_policy_and_record() -> None:
    """With the pointers as they were declared."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.declare("pay", schema=PAY, labels=["money", "money"], amounts=["/amount", "/fee"])
    guard.call("pay", {"amount": 12.5, "fee": 1}, lambda **_: None)
    seen = policy.inputs[0]["resource"]["properties"]
    assert seen["amounts"] == {"/amount": 12.5, "/fee": 1}
    assert seen["labels"] == ["money"]
    (record,) = ledger.of("call.decision")
    assert record["amounts"] == {"/amount": 12.5, "/fee": 1}
    assert record["input"]["resource"]["properties"] == seen


def test_a_tool_without_amounts_records_none() -> None:
    """The field is missing, and the policy sees an empty object."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.declare("pay", schema=PAY)
    guard.call("pay", {"amount": -1}, lambda **_: None)
    assert policy.inputs[0]["resource"]["properties"]["amounts"] == {}
    assert "amounts" not in ledger.of("call.decision")[0]


@pytest.mark.parametrize("amount", [-5, -0.01, 2**53 + 1, 1e300, None])
def test_an_amount_that_a_sum_cannot_rely_on_is_denied(amount: Any) -> None:
    """Before any policy sees the call; the agent learns which argument is wrong."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    guard.declare("pay", schema=PAY, amounts=["/any"])
    given = {} if amount is None else {"any": amount}
    with pytest.raises(Denied, match="/any must be a number"):
        guard.call("pay", given, lambda **_: None)
    assert policy.inputs == []
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["decision"]["detail"]) == ("arguments", "amount")
    assert record["amounts"] == {}


def test_a_function_declares_amounts_too() -> None:
    """And a text is not converted to a number behind the policy's back."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    @guard.tool(amounts=["/amount"])
    def pay(amount: float) -> str:
        return f"paid {amount}"

    assert pay(amount=2) == "paid 2.0"
    assert ledger.of("call.decision")[0]["amounts"] == {"/amount": 2.0}
    with pytest.raises(Denied):
        pay(amount=-2)


@pytest.mark.parametrize("reply", [allow(redact=["/amount"]), ask(redact=["/amount"])])
def test_an_amount_that_the_policy_removes_stops_the_call(reply: Any) -> None:
    """Otherwise sums over the records would be too low."""
    guard, ledger = memory_guard(StaticPolicy(reply))
    guard.declare("pay", schema=PAY, amounts=["/amount"])
    with pytest.raises(Denied) as caught:
        guard.call("pay", {"amount": 5}, lambda **_: None)
    assert not isinstance(caught.value, ApprovalRequired)
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["decision"]["detail"]) == ("redactor", "amount")


def test_a_denied_call_may_lack_its_amounts() -> None:
    """It counts in no sum."""
    guard, ledger = memory_guard(StaticPolicy(deny(redact=["/amount"])))
    guard.declare("pay", schema=PAY, amounts=["/amount", "/fee"])
    with pytest.raises(Denied):
        guard.call("pay", {"amount": 5, "fee": 2}, lambda **_: None)
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["amounts"]) == ("policy", {"/fee": 2})


@pytest.mark.parametrize(
    "amounts", [["/amount", "/fee"], ["/parts/0/size"], ["/any"], ["/amount", "/amount"], []]
)
def test_numbers_of_the_schema_can_be_amounts(amounts: list[str]) -> None:
    """Also through references, alternatives and lists, and where no type is given."""
    assert declare("pay", schema=PAY, amounts=amounts).amounts == tuple(dict.fromkeys(amounts))


@pytest.mark.parametrize("amounts", ["/amount", ["amount"], ["/to"], ["/other"], ["/parts/0/x"]])
def test_other_amounts_are_refused_at_declaration(amounts: Any) -> None:
    """A wrong pointer would deny every call."""
    with pytest.raises(UsageError) as caught:
        declare("pay", schema=PAY, amounts=amounts)
    assert caught.value.code == "usage.amounts"


@pytest.mark.parametrize("label", ["Money", "9x", "a b", "x" * 65, "café"])
def test_labels_have_one_form(label: str) -> None:
    """Rules compare them, so two spellings of one label would be two labels."""
    with pytest.raises(UsageError) as caught:
        declare("pay", labels=[label])
    assert caught.value.code == "usage.labels"
    with pytest.raises(UsageError):
        declare("pay", labels=[f"a{number}" for number in range(17)])
