"""With ``input = "recorded"`` nobody hides an argument from the policy by filling up the rest of
the call.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.config import Settings
from guardrail.errors import Denied
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import OPEN

BAD = "acct-blocked"


def _deep(levels: int) -> Any:
    value: Any = BAD
    for _ in range(levels):
        value = {"k": value}
    return value


def _nested(levels: int) -> str:
    text = json.dumps(BAD)
    for _ in range(levels):
        text = json.dumps([text])
    return text


PADDED = {
    "members": ({"to": ["team"] * 5_001 + [BAD]}, "the argument to has more than 5,000 members"),
    "names": ({"o": {f"k{at}": 1 for at in range(5_001)} | {"to": BAD}}, "the argument o has more"),
    "length": ({"body": "echo hi; " * 2_000 + BAD}, "the argument body is longer than 16,384"),
    "length of JSON": (
        {"body": json.dumps(["echo hi"] * 2_000 + [BAD])},
        "the argument body is longer than 16,384",
    ),
    "depth": ({"a": {"o": _deep(41)}}, "the argument a has more than"),
    "arguments": ({f"k{at}": 1 for at in range(5_001)} | {"to": BAD}, "the call has more than"),
    "repeated key": (
        {"body": f'{{"a": "{BAD}", "a": "x"}}'},
        "the argument body is JSON with a repeated key",
    ),
    "many JSON levels": ({"body": _nested(6), "deep": [json.dumps([_nested(1)])]}, ""),
    "encoded": ({"body": BAD + "-" * 200}, "the argument body looks like encoded data"),
    "data URL": ({"body": "data:," + "x" * 130 + f" {BAD}"}, "looks like encoded data"),
    "bytes in all": (
        {"body": "x y " * 4_000, "o": ["y z " * 4_000, "z x " * 4_000], "to": [BAD] * 30},
        "the arguments take more than 40,960 bytes",
    ),
}


@pytest.mark.parametrize("name", PADDED)
def test_a_call_of_which_the_policy_would_see_a_part_is_denied(name: str) -> None:
    """Whichever limit it is: the policy sees the value, or it is not asked and the body does not
    run.
    """
    args, said = PADDED[name]
    policy = StaticPolicy(lambda _: allow("any"))
    guard, ledger = memory_guard(policy, settings=Settings().override(policy={"input": "recorded"}))
    guard.declare("pay", schema=OPEN)
    with guard.session(principal="alice", agent="bot"):
        if not said:
            guard.call("pay", args, lambda **_: None)
            assert BAD in str(policy.inputs[0])
            return
        with pytest.raises(Denied) as caught:
            guard.call("pay", args, lambda **_: pytest.fail("the body ran"))
    assert said in caught.value.message
    assert not policy.inputs
    decision = ledger.of("call.decision")[-1]["decision"]
    assert (decision["cause"], decision["detail"]) == ("redactor", "redaction.limit")


def test_what_a_schema_marks_may_be_of_any_size() -> None:
    """It is hidden because it is sensitive, and the host said so."""
    policy = StaticPolicy(lambda _: allow("any"))
    guard, _ = memory_guard(policy, settings=Settings().override(policy={"input": "recorded"}))
    marked = {"type": "string", "writeOnly": True}
    guard.declare("pay", schema={"type": "object", "properties": {"key": marked}})
    ran: list[int] = []
    with guard.session(principal="alice", agent="bot"):
        for size in (200, 20_000):
            guard.call("pay", {"key": "Ab3-" * (size // 4)}, lambda **given: ran.append(len(given)))
    assert ran == [1, 1]


def test_the_policy_sees_all_of_a_long_text_and_the_record_shows_what_it_saw() -> None:
    """An ordinary letter is not denied for its length, although a record is shorter otherwise."""
    text = "words of a letter " * 600 + BAD
    for mode, head in (("recorded", None), ("raw", text[:4_096])):
        policy = StaticPolicy(lambda _: allow("any"))
        guard, ledger = memory_guard(policy, settings=Settings().override(policy={"input": mode}))
        guard.declare("pay", schema=OPEN)
        with guard.session(principal="alice", agent="bot", attributes={"note": text}):
            guard.call("pay", {"body": text}, lambda **_: None)
        record = ledger.of("call.decision")[-1]
        shown = record["input"]["action"]["properties"]["args"]["body"]
        assert (shown if head is None else shown["head"]) == (head or text)
        assert policy.inputs[0]["action"]["properties"]["args"]["body"] == text
        assert record["redaction"]["truncated"] is (head is not None)
        assert record["reproducible"] is (False if head is not None else record["reproducible"])


def test_a_tool_that_is_not_declared_shows_no_string_whatever_its_length() -> None:
    """The policy sees kinds and sizes only, and names: what hides those is denied."""
    policy = StaticPolicy(lambda _: allow("any"))
    guard, _ = memory_guard(policy, settings=Settings().override(policy={"input": "recorded"}))
    with guard.session(principal="alice", agent="bot"):
        guard.call("t", {"body": "word " * 4_000}, lambda **_: None)
        guard.call("t", {"body": BAD + "-" * 200}, lambda **_: None)
        with pytest.raises(Denied):
            guard.call("t", {"o": _deep(41)}, lambda **_: pytest.fail("the body ran"))


def test_a_value_that_the_session_knows_does_not_let_padding_through() -> None:
    """The facts of a call that holds a known value are made apart, by the same rule."""
    policy = StaticPolicy(lambda _: allow("any"))
    guard, _ = memory_guard(policy, settings=Settings().override(policy={"input": "recorded"}))
    guard.declare("pay", schema=OPEN)
    known = "Tr0ub4dor-9x-EVE"
    with guard.session(principal="alice", agent="bot"):
        guard.call("pay", {"password": known}, lambda **_: None)
        args = {"to": known, "body": "echo hi; " * 2_000}
        with pytest.raises(Denied):
            guard.call("pay", args, lambda **_: pytest.fail("the body ran"))


def test_with_raw_input_the_policy_sees_all_of_it() -> None:
    """What the record leaves out is then nothing that the policy misses."""
    policy = StaticPolicy(lambda _: allow("any"))
    guard, _ = memory_guard(policy)
    guard.declare("pay", schema=OPEN)
    with guard.session(principal="alice", agent="bot"):
        guard.call("pay", {"body": "echo hi; " * 2_000 + BAD}, lambda **_: None)
    assert BAD in str(policy.inputs[0])
