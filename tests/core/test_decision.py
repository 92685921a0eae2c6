"""A reply becomes a decision, whatever it is, and only a well-formed allow allows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core import decision as decisions
from guardrail.core.types import Cause, Effect
from guardrail.testing import allow, ask, deny, document

RULE = allow()["rules"][0]
LABELS = ["untrusted", "a" * 64, "x_1.y:z-2", *(f"l{n}" for n in range(13))]


def test_a_well_formed_reply_gives_its_own_effect() -> None:
    """Effect, rules, pointers and labels arrive as the policy wrote them."""
    for make, effect in (
        (allow, Effect.ALLOW),
        (deny, Effect.DENY),
        (ask, Effect.REQUIRE_APPROVAL),
    ):
        verdict = decisions.parse(make("r1", "r2", redact=["/a"], labels=LABELS))
        assert (verdict.effect, verdict.cause, verdict.detail) == (effect, Cause.POLICY, "")
        assert [rule.rule for rule in verdict.rules] == ["r1", "r2"]
        assert (verdict.redact, verdict.labels) == (("/a",), tuple(LABELS))


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (None, "not_object"),
        (True, "not_object"),
        ([], "not_object"),
        ("allow", "not_object"),
        ({}, "missing_key"),
        ({"effect": "allow"}, "missing_key"),
        (allow() | {"extra": 1}, "unknown_key"),
        (allow(contract="guardrail/2"), "contract"),
        (allow(contract=None), "contract"),
        (document("permit"), "effect"),
        (allow(effect=True), "effect"),
        (allow(effect=["allow"]), "effect"),
        (allow(rules={}), "rules"),
        (allow(rules="allow"), "rules"),
        (allow(rules=[]), "no_reason"),
        (deny(rules=[]), "no_reason"),
        (allow(rules=["allow"]), "rule_not_object"),
        (allow(rules=[{"rule": "a"}]), "rule_keys"),
        (allow(rules=[RULE | {"more": 1}]), "rule_keys"),
        (allow(rules=[RULE | {"rule": ""}]), "empty_reason"),
        (allow(rules=[RULE | {"message": ""}]), "empty_reason"),
        (allow(rules=[RULE | {"rule": 5}]), "rule_id"),
        (allow(rules=[RULE | {"message": None}]), "rule_message"),
        (allow(rules=[RULE | {"message": "x" * 4097}]), "rule_message"),
        (allow(rules=[RULE | {"severity": 1}]), "rule_severity"),
        (allow(rules=[RULE | {"effect": "yes"}]), "rule_effect"),
        (allow(rules=[RULE | {"needs": "x"}]), "rule_needs"),
        (allow(rules=[RULE | {"approvers": 0}]), "rule_approvers"),
        (allow(rules=[RULE | {"approvers": True}]), "rule_approvers"),
        (allow(rules=[RULE | {"approvers": 1.0}]), "rule_approvers"),
        (allow(rules=[RULE] * 257), "rules"),
        (allow(redact="/a"), "redact"),
        (allow(redact=[1]), "redact"),
        (allow(labels=None), "labels"),
        (allow(labels=[f"l{n}" for n in range(17)]), "labels"),
        (allow(labels=[""]), "labels"),
        (allow(labels=[5]), "labels"),
        (allow(labels=["Untrusted"]), "labels"),
        (allow(labels=["0day"]), "labels"),
        (allow(labels=["a b"]), "labels"),
        (allow(labels=["a\n"]), "labels"),
        (allow(labels=["\u00e9"]), "labels"),
        (allow(labels=["a" * 65]), "labels"),
        (allow(obligations={}), "obligations"),
        (allow(effect="deny"), "no_reason"),
        (allow(rules=[RULE, RULE | {"effect": "deny"}]), "contradiction"),
        (ask(rules=[*ask()["rules"], RULE | {"effect": "deny"}]), "contradiction"),
    ],
)
def test_a_malformed_reply_denies_and_says_what_is_wrong(reply: object, detail: str) -> None:
    """Each way of being wrong is a denial with cause malformed and its own detail."""
    verdict = decisions.parse(reply)
    assert (verdict.effect, verdict.cause, verdict.detail) == (Effect.DENY, Cause.MALFORMED, detail)


def test_an_obligation_denies_since_none_is_known() -> None:
    """A guard that can't do what the policy asks for must not run the call."""
    verdict = decisions.parse(allow(obligations=[{"id": "x"}]))
    assert (verdict.effect, verdict.cause) == (Effect.DENY, Cause.OBLIGATION)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(JSON)
def test_nothing_else_is_ever_an_allow(reply: Any) -> None:
    """No JSON value that is not the contract's own shape allows, and none raises."""
    assert decisions.parse(reply).effect is Effect.DENY


@given(st.sampled_from(sorted(allow())), JSON)
def test_replacing_any_part_never_turns_a_denial_into_an_allow(key: str, value: Any) -> None:
    """Whatever stands in one key of a denial, it stays one."""
    reply = copy.deepcopy(deny())
    reply[key] = value
    assert decisions.parse(reply).effect is not Effect.ALLOW


def test_the_public_message_says_little() -> None:
    """An agent reads the message of the rule, never an id, a cause's detail or a value."""
    assert (
        decisions.public_message(decisions.parse(deny("too much"))) == "denied by policy: too much"
    )
    assert (
        decisions.public_message(decisions.parse(ask("a person must agree")))
        == "a person must agree"
    )
    for cause in Cause:
        assert "detail" not in decisions.public_message(decisions.denied(cause, "detail"))


def test_the_public_message_is_that_of_the_first_rule_with_the_verdicts_effect() -> None:
    """Rules that only would have asked a person say nothing to the agent when another denies."""
    mixed = deny(
        rules=[*ask("ask somebody")["rules"], *allow("fine")["rules"], *deny("no")["rules"]]
    )
    assert decisions.public_message(decisions.parse(mixed)) == "denied by policy: no"


@pytest.mark.parametrize(
    "detail",
    [
        "pending",
        "approvers_missing",
        "refused",
        "expired",
        "already_used",
        "approver_is_requester",
        "approver_looks_alike",
        "approver_counted",
        "approver_unknown",
        "answer_changed",
        "asserted",
        "needs_hidden",
    ],
)
def test_the_public_message_of_an_approval_says_what_is_missing(detail: str) -> None:
    """The agent can tell waiting from a refusal; of any other detail it learns nothing."""
    said = decisions.public_message(decisions.denied(Cause.APPROVAL, detail))
    other = decisions.public_message(decisions.denied(Cause.APPROVAL, "internal_detail"))
    assert said != other
    assert said.startswith("denied: ")
    assert "internal" not in other
