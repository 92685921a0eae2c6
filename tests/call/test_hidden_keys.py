"""A key that the policy hides is in no byte of a record: not as a key, not in a pointer, not among
the classes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.config import Settings
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import OPEN


@pytest.mark.parametrize("given", ["raw", "recorded"])
def test_a_key_below_a_pointer_of_the_policy_is_in_no_record(given: str) -> None:
    """Also where rules of guardrail's own hit below it, and elsewhere in the arguments."""
    policy = StaticPolicy(allow(redact=["/patients"]))
    settings = Settings().override(policy={"input": given}, identity={"require": "any"})
    guard, ledger = memory_guard(policy, settings=settings)
    guard.declare("admit", schema=OPEN)
    args: dict[str, Any] = {
        "patients": {"K4rl 9x": {"email": "x@y.example", "pin": "1234"}},
        "other": {"K4rl 9x": {"email": "x@y.example"}},
    }
    assert guard.call("admit", args, lambda **given: len(given)) == 2
    (record,) = ledger.of("call.decision")
    assert "/patients/K4rl 9x/email" in policy.inputs[0]["action"]["properties"]["arg_classes"]
    assert b"K4rl" not in b"".join(ledger.lines)
    recorded = record["input"]["action"]["properties"]
    (name,) = recorded["args"]["patients"]
    assert set(recorded["arg_classes"]) <= set(record["redaction"]["removed"])
    assert json.dumps(recorded["arg_classes"]).count(name) > 2
