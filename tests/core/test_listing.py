"""The policy's answer about a tool in a listing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.listing import parse_listing

RULE = {"rule": "no-money", "message": "m", "effect": "deny"}


def answer(*rules: Any, **parts: Any) -> dict[str, Any]:
    return {"contract": "guardrail/1", "offered": not rules, "rules": list(rules), **parts}


def test_a_tool_is_offered_if_no_rule_hides_it() -> None:
    """Nothing else says so."""
    assert parse_listing(answer()) == (True, "")
    assert parse_listing(answer(RULE)) == (False, "")


MALFORMED = [
    (None, "not_object"),
    (True, "not_object"),
    ({}, "keys"),
    (answer(more=1), "keys"),
    (answer(contract="guardrail/2"), "contract"),
    (answer(offered=1), "offered"),
    (answer(offered="true"), "offered"),
    (answer(rules=None), "rules"),
    (answer(*[RULE] * 257), "rules"),
    (answer(None), "rules"),
    (answer("no-money"), "rules"),
    (answer({}), "rules"),
    (answer({"rule": ""}), "rules"),
    (answer({"rule": "x" * 4_097}), "rules"),
    (answer({"rule": 1}), "rules"),
    (answer(RULE, offered=True), "contradiction"),
    (answer(offered=False), "contradiction"),
]


@pytest.mark.parametrize(("document", "problem"), MALFORMED, ids=str)
def test_an_answer_that_is_not_well_formed_hides_the_tool(document: object, problem: str) -> None:
    """And says why."""
    assert parse_listing(document) == (False, problem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.builds(lambda **parts: answer(**parts), offered=JSON, rules=JSON) | JSON)
def test_no_answer_raises(document: object) -> None:
    """Only one of them offers the tool."""
    assert parse_listing(document).offered is (document == answer())
