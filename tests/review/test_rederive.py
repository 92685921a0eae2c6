"""Which decision counts as the recorded one."""

from __future__ import annotations

import pytest

from guardrail.core.types import Cause, Decision, Effect, Rule
from guardrail.review.records import call_of
from guardrail.review.rederive import agrees, decided_lines, rederive
from tests.support.records import decision

MARK = "gr1:secret:-:" + "a" * 24


def made(effect: Effect, *rules: str, cause: Cause = Cause.POLICY) -> Decision:
    return Decision(effect, cause, "", tuple(Rule(rule, rule, effect) for rule in rules))


def recorded(effect: str, *rules: str) -> dict[str, object]:
    entries = [{"rule": rule, "effect": effect} for rule in rules]
    return {
        **decision(),
        "seq": 1,
        "decision": {"effect": effect, "cause": "policy", "rules": entries},
    }


@pytest.mark.parametrize(
    ("derived", "same"),
    [
        (made(Effect.ALLOW, "b", "a"), True),
        (made(Effect.ALLOW, "a"), False),
        (made(Effect.ALLOW, "a", "b", "c"), False),
        (made(Effect.ALLOW, "a", "c"), False),
        (made(Effect.DENY, "a", "b"), False),
        (made(Effect.ALLOW, "a", "b", cause=Cause.OBLIGATION), False),
    ],
)
def test_the_order_of_rules_is_no_difference_and_anything_else_is(
    derived: Decision, same: bool
) -> None:
    assert agrees(call_of(recorded("allow", "a", "b")), derived) is same


@pytest.mark.parametrize(
    ("derived", "same"),
    [
        (made(Effect.DENY, "a", "no hunter2"), True),
        (made(Effect.DENY, "no hunter2"), False),
        (made(Effect.DENY, "a"), False),
        (made(Effect.DENY, "b", "no hunter2"), False),
    ],
)
def test_a_rule_whose_id_was_redacted_stands_for_any_other(derived: Decision, same: bool) -> None:
    assert agrees(call_of(recorded("deny", "a", f"no {MARK}")), derived) is same


def test_lines_of_other_types_are_no_decisions() -> None:
    """Even if they mention the type."""
    lines = [
        (1, b"", b'{"type":"call.outcome","seq":1}'),
        (2, b"", b'{"type":"admin.start","note":"call.decision","seq":2}'),
    ]
    assert [seq for seq, _ in decided_lines(lines)] == [2]
    found = rederive(decided_lines(lines), lambda _: pytest.fail("no policy is needed"))
    assert (found.calls, found.derived) == (0, 0)
