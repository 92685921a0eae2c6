"""A call whose approval does not count is recorded as its request was, or by shape where that could
show something new.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from guardrail.approvals.rules import RejectionReason
from guardrail.config import Settings
from guardrail.errors import ApprovalRequired, Denied
from guardrail.testing import StaticPolicy, memory_guard
from tests.support.approvals import BOB, SCHEMA, UNSAFE, Asks, Bench, bench

CARD = "4111111111111111"
LEARNT, EARLIER = "Kx93vQz7Lm2Tp8Rw4", "bW5tH8cYq2Zd6NfJ1"


def refused(made: Bench, approval: str, args: Any = None, **how: Any) -> dict[str, Any]:
    """Make a call whose approval does not count; return its record."""
    with pytest.raises(Denied):
        made.call(args, approval=approval, **how)
    record: dict[str, Any] = made.last
    assert record["decision"]["cause"] == "approval"
    return record


def shown(record: dict[str, Any]) -> Any:
    """Return the recorded arguments."""
    return record["input"]["action"]["properties"]["args"]


def found(record: dict[str, Any]) -> bool:
    """Tell whether the value that is learnt stands in *record*, in clear or as base64 or hex."""
    text, value = json.dumps(record), LEARNT.encode()
    return any(form in text for form in (LEARNT, b64encode(value).decode(), value.hex()))


def written(made: Bench) -> str:
    """Return all that is in the ledger."""
    return json.dumps(made.ledger.records)


class Hides(Asks):
    """Asks for a person, and hides what stands at some pointers."""

    def __init__(self, *redact: str) -> None:
        super().__init__()
        self.redact = list(redact)

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any]:
        return super().__call__(asked) | {"redact": self.redact}


def test_the_same_call_is_recorded_as_its_request_was() -> None:
    """Argument for argument, with what was hidden, the classes, the rules, and the tool as
    declared.
    """
    made = bench(Hides("/to"))
    args = {"amount": 5, "to": "CH93 0076", "card": CARD, "note": "for the flowers"}
    approval = made.ask(args)
    request = made.last
    record = refused(made, approval, args)
    assert shown(record) == shown(request)
    assert shown(record)["note"] == "for the flowers"
    assert shown(record)["to"].startswith("gr1:")
    assert record["redaction"] == request["redaction"]
    assert record["tool"] == request["tool"]
    assert record["tool"]["declared"] is True
    called, asked = (each["input"]["action"]["properties"] for each in (record, request))
    assert called["arg_classes"] == asked["arg_classes"]
    assert [
        entry for entry in request["decision"]["rules"] if entry["effect"] != "allow"
    ] == record["decision"]["rules"]
    assert "differs" not in record
    assert CARD not in written(made)
    assert "CH93 0076" not in written(made)


@pytest.mark.parametrize("when", ["used", "refused", "expired"])
def test_that_holds_whatever_became_of_the_approval(when: str) -> None:
    """Used up, refused, or too old."""
    made = bench()
    approval = made.ask()
    request = made.last
    if when == "refused":
        made.guard.approvals.refuse(approval, BOB, "no")
    else:
        made.guard.approvals.approve(approval, BOB, "yes")
    if when == "used":
        made.call(approval=approval)
    made.later(seconds=901)
    record = refused(made, approval)
    assert shown(record) == shown(request) == {"amount": 5}


@pytest.mark.parametrize(
    "args",
    [
        {"amount": 5, "note": f"ask for {LEARNT} there"},
        {"amount": 5, "note": ["x", {"y": LEARNT}]},
        {"amount": 5, LEARNT: "a name"},
        {"amount": 5, "note": json.dumps({"held": LEARNT})},
        {"amount": 5, "note": f"jane@example.com and {LEARNT}"},
    ],
)
def test_what_the_session_learnt_since_is_not_written_again(args: dict[str, Any]) -> None:
    """A value that was shown, became known as sensitive, and comes again: in a text, a list, a key,
    a JSON text.
    """
    made = bench()
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        with pytest.raises(ApprovalRequired) as asked:
            made.guard.call("pay", args, made.body)
        assert found(made.last), "the request shows it: nothing was known about it"
        with pytest.raises(ApprovalRequired):
            made.guard.call("pay", {"password": LEARNT}, made.body)
        with pytest.raises(Denied) as denied:
            made.guard.call("pay", args, made.body, approval=asked.value.approval)
    record = made.last
    assert denied.value.code == "denied.approval.pending"
    assert record["redaction"]["removed"][""] == ["undecided", "minimal"]
    assert not found(record)


def test_a_second_value_that_is_learnt_in_a_text_is_not_written_again() -> None:
    """A part of the text was hidden in the request already, as a value that was known then."""
    made = bench()
    args = {"amount": 5, "note": f"{EARLIER} and {LEARNT}"}
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        with pytest.raises(ApprovalRequired):
            made.guard.call("pay", {"password": EARLIER}, made.body)
        with pytest.raises(ApprovalRequired) as asked:
            made.guard.call("pay", args, made.body)
        assert EARLIER not in json.dumps(made.last)
        assert found(made.last)
        with pytest.raises(ApprovalRequired):
            made.guard.call("pay", {"password": LEARNT}, made.body)
        with pytest.raises(Denied):
            made.guard.call("pay", args, made.body, approval=asked.value.approval)
    assert not found(made.last)
    assert EARLIER not in json.dumps(made.last)


@pytest.mark.parametrize("digest", ["f" * 64, None])
def test_another_policy_may_hide_more_so_its_view_is_not_the_requests(digest: str | None) -> None:
    """After a reload, or if nobody can say which policy it is, the arguments are recorded by
    shape.
    """
    policy = StaticPolicy(Asks())
    guard, ledger = memory_guard(policy, settings=Settings().override(**UNSAFE))
    guard.declare("pay", schema=SCHEMA)
    made = Bench(guard, ledger, Asks())
    args = {"amount": 5, "to": "CH93 0076"}
    approval = made.ask(args)
    policy._identity = replace(policy._identity, digest=digest)
    record = refused(made, approval, args)
    assert record["redaction"]["removed"][""] == ["undecided", "minimal"]
    assert "CH93 0076" not in json.dumps(record)


def test_a_policy_that_nobody_can_name_is_no_policy_twice() -> None:
    """Two unknown ones are not one."""
    policy = StaticPolicy(Asks(), digest=None)
    guard, ledger = memory_guard(policy, settings=Settings().override(**UNSAFE))
    guard.declare("pay", schema=SCHEMA)
    made = Bench(guard, ledger, Asks())
    record = refused(made, made.ask({"amount": 5}))
    assert record["redaction"]["removed"][""] == ["undecided", "minimal"]


def test_other_arguments_are_named_by_place_and_not_shown() -> None:
    """In clear texts and numbers, in lists, and under tokens; names that the schema does not hold
    are not written.
    """
    made = bench(Hides("/to"))
    asked = {"amount": 5, "to": "CH93 0076", "lines": ["a", "b"], "made-up": 1}
    approval = made.ask(asked)
    for changed, differs in (
        (asked | {"amount": 6}, ["/amount"]),
        (asked | {"to": "DE02 1203"}, ["/to"]),
        (asked | {"made-up": True}, ["/*"]),
        (asked | {"made-up": {"x": 1}}, ["/*"]),
        (asked | {"lines": ["a", "c"]}, ["/*/1"]),
        (asked | {"lines": ["a"]}, ["/*"]),
        (asked | {"Wq7-secret-name": "x"}, ["/*"]),
        ({"amount": 5, "to": "CH93 0076"}, ["/*"]),
        ({"amount": 6, "to": "DE02 1203"}, ["/*", "/amount", "/to"]),
    ):
        record = refused(made, approval, changed)
        assert record["decision"]["detail"] == RejectionReason.OTHER_ARGUMENTS
        assert sorted(record["differs"]) == differs, changed
        assert record["redaction"]["removed"][""] == ["undecided", "minimal"]
        assert [entry["rule"] for entry in record["decision"]["rules"]] == ["large"]
    assert "DE02 1203" not in written(made)


def test_arguments_that_differ_in_what_is_hidden_are_said_to_differ_there() -> None:
    """A secret has a random mark: nobody can tell from the record whether it is the same."""
    made = bench()
    approval = made.ask({"amount": 5, "card": CARD})
    record = refused(made, approval, {"amount": 5, "card": "5500005555555559"})
    assert record["differs"] == []
    assert "5500005555555559" not in written(made)


def test_very_many_differences_are_named_up_to_a_limit() -> None:
    """So that a record stays small."""
    made = bench()
    approval = made.ask({"amount": 5, "list": list(range(100))})
    record = refused(made, approval, {"amount": 6, "list": list(range(1, 101))})
    assert len(record["differs"]) == 20


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"session": "s-2"}, RejectionReason.OTHER_SESSION),
        ({"principal": "eve", "session": "s-3"}, RejectionReason.OTHER_SESSION),
        ({"tool": "give"}, RejectionReason.OTHER_TOOL),
    ],
)
def test_nothing_of_the_request_is_told_to_another_session_or_tool(
    how: dict[str, str], reason: RejectionReason
) -> None:
    """Neither its arguments nor its rules: what is known to be sensitive here need not be known
    there.
    """
    made = bench()
    approval = made.ask({"amount": 5, "to": "CH93 0076"})
    record = refused(made, approval, {"amount": 5, "to": "CH93 0076"}, **how)
    assert record["decision"]["detail"] == reason
    assert record["decision"]["rules"] == []
    assert "differs" not in record
    assert "CH93 0076" not in json.dumps(record)
    assert record["redaction"]["removed"][""] == ["undecided", "minimal"]


def test_a_rule_that_quotes_what_became_known_since_is_left_out() -> None:
    """Its id and its message were written when nothing was known about it."""
    made = bench(Asks(rules=(f"pays {LEARNT}",)))
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        with pytest.raises(ApprovalRequired) as asked:
            made.guard.call("pay", {"amount": 5}, made.body)
        assert found(made.last)
        made.policy.rules = ("large",)
        with pytest.raises(ApprovalRequired):
            made.guard.call("pay", {"password": LEARNT}, made.body)
        with pytest.raises(Denied):
            made.guard.call("pay", {"amount": 5}, made.body, approval=asked.value.approval)
    assert made.last["decision"]["rules"] == []
    assert not found(made.last)


def test_what_is_denied_over_and_over_stays_small() -> None:
    """The request holds all that a person must see; its repetition does not."""
    made = bench()
    args = {"amount": 5, **dict.fromkeys(("note", "more", "last"), "many words " * 370)}
    approval = made.ask(args)
    assert len(json.dumps(made.last)) > 10_000
    record = refused(made, approval, args)
    assert len(json.dumps(record)) < 8_000
    assert shown(record)["amount"] == 5


@pytest.mark.parametrize(
    ("tool", "args", "cls"),
    [("pay", {"amount": "five"}, "unfit"), ("nobody-declared", {"amount": 5}, "undeclared")],
)
def test_the_class_of_a_minimal_view_says_why_it_is_minimal(
    tool: str, args: dict[str, Any], cls: str
) -> None:
    """Only a tool that nobody declared is called undeclared."""
    made = bench()
    with pytest.raises((Denied, ApprovalRequired)):
        made.call(args, tool=tool)
    assert made.last["redaction"]["removed"][""] == [cls, "minimal"]
    assert made.last["tool"]["declared"] is (cls != "undeclared")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abé@: ", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)


@examples(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), _JSON, max_size=3))
def test_whatever_was_asked_is_recorded_the_same_again(args: dict[str, Any]) -> None:
    """For any arguments; and they differ nowhere from themselves."""
    made = bench()
    approval = made.ask(args)
    request = made.last
    record = refused(made, approval, args)
    assert shown(record) == shown(request)
    assert "differs" not in record
