"""Values behind the cut of a long string: their tokens stay in the record, so that the call can be
found.
"""

from __future__ import annotations

import json

import pytest

from guardrail import Guard
from guardrail.core.redaction.replacements import MOST_UNSHOWN
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.guards import OPEN

FILLER = "words of a letter " * 300


def redaction(**arguments: object) -> dict[str, object]:
    """Return ``redaction`` in the decision record of a call."""
    guard: Guard
    ledger: MemoryLedger
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.declare("send", schema=OPEN)
    with guard.session(principal="alice"):
        guard.call("send", arguments, lambda **_: None)
        guard.call("send", {"to": "bob@example.com"}, lambda **_: None)
    record, other = ledger.of("call.decision")
    token = other["input"]["action"]["properties"]["args"]["to"]
    found: dict[str, object] = record["redaction"]
    assert "bob@example.com" not in json.dumps(record)
    return {**found, "bob": token}


@pytest.mark.parametrize(
    "body",
    [
        f"{FILLER} write to bob@example.com",
        f"{FILLER} write to bob@example.com, or to bob@example.com",
        f"anna@example.com {FILLER} write to bob@example.com",
        json.dumps({"text": FILLER, "to": "bob@example.com", "password": "Tr0ub4dorX9"}),
        json.dumps([{"line": "words of a letter"} for _ in range(300)] + ["bob@example.com"]),
    ],
)
def test_a_value_behind_the_cut_leaves_its_token(body: str) -> None:
    """Once, and the same token that another call with this value has."""
    found = redaction(body=body)
    assert found["unshown"] == [found["bob"]]


@pytest.mark.parametrize(
    "body",
    [
        "write to bob@example.com",
        f"bob@example.com {FILLER}",
        FILLER,
        f"{FILLER} password: Tr0ub4dorX9",
    ],
)
def test_other_records_have_no_such_list(body: str) -> None:
    """Not if the value is shown by its token, and no secret has a token."""
    assert "unshown" not in redaction(body=body)


def test_the_list_is_limited() -> None:
    """A mail to thousands must fit into a record."""
    body = FILLER + " ".join(f"user{number}@example.com" for number in range(100))
    unshown = redaction(body=body)["unshown"]
    assert isinstance(unshown, list)
    assert len(unshown) == len(set(unshown)) == MOST_UNSHOWN
