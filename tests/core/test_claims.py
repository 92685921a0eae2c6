"""Which records make a session somebody's, and who is the same owner."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.claims import Claim, Owner, owner_of, session_of


def record(**more: Any) -> dict[str, Any]:
    return {
        "type": "call.decision",
        "session": "s",
        "tenant": "t",
        "principal": {"id": "alice", "issuer": None},
        "agent": {"id": "bot"},
        "decision": {"effect": "allow", "cause": "policy", "detail": ""},
        **more,
    }


def test_the_first_decision_or_rejection_says_whose_a_session_is() -> None:
    """Whatever was decided."""
    owner = ("t", "alice", "bot", "")
    assert owner_of(record()) == owner
    assert owner_of(record(type="call.rejected", decision=None)) == owner
    absent = {"effect": "deny", "cause": "identity", "detail": "absent"}
    assert owner_of(record(decision=absent)) == owner
    assert owner_of(record(principal={"id": "alice", "issuer": "corp"})) == (*owner[:3], "corp")


@pytest.mark.parametrize(
    "other",
    [
        {"type": "call.outcome"},
        {"type": "admin.start"},
        {"session": None},
        {"decision": {"effect": "deny", "cause": "identity", "detail": "session"}},
    ],
)
def test_other_records_say_nothing_about_it(other: dict[str, Any]) -> None:
    """Least of all a denial because the session is somebody else's."""
    assert session_of(record(**other)) is None
    assert owner_of(record(**other)) is None


@pytest.mark.parametrize(
    ("found", "same"),
    [
        (("t", "alice", "bot", ""), True),
        (("tenant:t", "principal:alice", "agent:bot", ""), True),
        (("t", "Alice", "bot", ""), False),
        (("t", "alice", "bot2", ""), False),
        (("u", "alice", "bot", ""), False),
        (("t", "alice", "bot", "corp"), False),
        (("t", "alice", "bot", "issuer:"), False),
        (("t", "agent:alice", "bot", ""), False),
    ],
)
def test_owners_are_compared_exactly(found: Owner, same: bool) -> None:
    """A token of a value is that value, and of no other kind; nobody's token is nobody."""
    claim = Claim(("s",), ("t", "alice", "bot", ""), True, lambda kind, value: f"{kind}:{value}")
    assert claim.allows(found) is same
