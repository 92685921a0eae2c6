"""The policy input is complete, and pointers find what they name."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.policy_input import build, resolve, session_input, targets, tool_input
from guardrail.core.types import Agent, Assurance, Principal, Session


def _input(**attributes: Any) -> dict[str, Any]:
    session = Session(
        id="s", tenant="t", principal=Principal(id="alice", roles=("admin",)), agent=Agent(id="bot")
    )
    constant = session_input(
        session, principal_id="alice", agent_id="bot", attributes=attributes, delegation=[]
    )
    return build(
        constant,
        tool_name="send",
        tool=tool_input(declared=True, server=None, schema_digest="d", labels=("mail",)),
        target=["x"],
        amounts={},
        args={"to": "x"},
        arg_classes={"/to": ["contact"]},
        time="2026-01-01T00:00:00.000000Z",
        adapter="python",
    )


def test_every_documented_key_exists() -> None:
    """An absent key would leave a deny rule undefined, so unknown things are null or empty."""
    made = _input()
    assert set(made) == {"subject", "action", "resource", "context"}
    assert set(made["subject"]["properties"]) == {
        "assurance",
        "authenticated_at",
        "issuer",
        "method",
        "roles",
        "tenant",
    }
    assert set(made["action"]["properties"]) == {"args", "arg_classes"}
    assert set(made["resource"]["properties"]) == {
        "declared",
        "server",
        "schema_digest",
        "labels",
        "target",
        "amounts",
    }
    assert set(made["context"]) == {
        "agent",
        "delegation",
        "session",
        "time",
        "zones",
        "model",
        "approval",
        "origin",
        "contract",
    }
    assert set(made["context"]["session"]) == {"id"}


def test_the_host_cannot_override_what_guardrail_says_about_an_identity() -> None:
    """An attribute called assurance stays what it is: an attribute, and loses."""
    properties = _input(assurance="verified", tenant="other", team="blue")["subject"]["properties"]
    assert properties["assurance"] == str(Assurance.ASSERTED)
    assert properties["tenant"] == "t"
    assert properties["team"] == "blue"


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", {"a": [1, {"b/c": 2, "~": 3}], "": 4}),
        ("/a/0", 1),
        ("/a/1/b~1c", 2),
        ("/a/1/~0", 3),
        ("/", 4),
        ("/missing", None),
        ("/a/9", None),
        ("/a/-1", None),
        ("/a/x", None),
        ("/a/0/deeper", None),
        ("/a/\u0661", None),
    ],
)
def test_pointers_are_those_of_rfc_6901(pointer: str, value: Any) -> None:
    """Escapes, indexes and places that do not exist."""
    assert resolve({"a": [1, {"b/c": 2, "~": 3}], "": 4}, pointer) == value


def test_targets_keep_the_order_of_their_pointers() -> None:
    """A missing one leaves its place empty."""
    assert targets({"a": 1, "b": 2}, ["/b", "/c", "/a"]) == [2, None, 1]
