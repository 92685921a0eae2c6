"""The identity of the agent, beside that of the person: what the record and the policy contain."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from guardrail import Agent, Guard
from guardrail.errors import IdentityError
from guardrail.identity.principal import MAX_CHARTER
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.tokens import token, token_guard

CHARTER = "You are a support bot.\nThe door code is 4711.\n"
DIGEST = "sha256:" + hashlib.sha256(CHARTER.encode()).hexdigest()


def recorded(ledger: MemoryLedger) -> list[dict[str, Any]]:
    """Return the agent in each decision."""
    return [record["agent"] for record in ledger.of("call.decision")]


def call(guard: Guard, **session: Any) -> None:
    with guard.session(principal="alice", **session):
        guard.call("x", {}, lambda: None)


def test_record_and_policy_name_every_part_of_the_agent() -> None:
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    call(guard, agent=Agent("bot", version="7", framework="own", instance="pod-3", charter=DIGEST))
    (agent,) = recorded(ledger)
    named = {"id": "bot", "version": "7", "framework": "own", "instance": "pod-3"}
    assert agent == {
        **named,
        "charter": DIGEST,
        "form": "clear",
        "assurance": "asserted",
        "method": "context",
    }
    seen = policy.inputs[0]["context"]["agent"]
    said = {"assurance": "asserted", "method": "context", "issuer": None}
    assert seen == {**named, **said, "charter": DIGEST}
    assert ledger.of("call.decision")[0]["input"]["context"]["agent"] == seen
    assert ledger.of("call.decision")[0]["reproducible"] is True


def test_an_agent_without_instance_and_charter_is_recorded_without_them() -> None:
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    call(guard, agent="bot")
    assert not {"instance", "charter"} & recorded(ledger)[0].keys()
    seen = policy.inputs[0]["context"]["agent"]
    assert (seen["instance"], seen["charter"], seen["issuer"]) == (None, None, None)


def test_of_the_text_of_a_charter_only_a_token_is_recorded() -> None:
    """The policy sees the token as well, so the decision can be derived again. A bare digest of a
    short text could be guessed.
    """
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    call(guard, agent=Agent("bot", charter=CHARTER))
    (agent,) = recorded(ledger)
    assert agent["charter"].startswith("gr1:charter:")
    assert policy.inputs[0]["context"]["agent"]["charter"] == agent["charter"]
    assert ledger.of("call.decision")[0]["reproducible"] is True
    written = b"".join(ledger.lines).decode()
    assert "4711" not in written
    assert hashlib.sha256(CHARTER.encode()).hexdigest() not in written
    assert CHARTER not in repr(Agent("bot", charter=CHARTER))


def test_equal_charters_have_equal_tokens_and_others_do_not() -> None:
    """A final line break makes no difference: files have one, and texts in programs do not."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    for text in (CHARTER, CHARTER.removesuffix("\n"), CHARTER.replace("4711", "4712")):
        call(guard, agent=Agent("bot", charter=text))
    first, second, other = (agent["charter"] for agent in recorded(ledger))
    assert first == second != other


def test_a_charter_that_is_already_a_token_is_kept() -> None:
    """As it comes from a record, for example."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    call(guard, agent=Agent("bot", charter=CHARTER))
    call(guard, agent=Agent("bot", charter=recorded(ledger)[0]["charter"]))
    assert recorded(ledger)[0] == recorded(ledger)[1]


@pytest.mark.parametrize(
    ("charter", "code"),
    [
        ("", "identity.length"),
        ("é" * (MAX_CHARTER // 2 + 1), "identity.length"),
        (5, "identity.type"),
    ],
)
def test_a_malformed_charter_is_refused(charter: Any, code: str) -> None:
    guard, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(IdentityError) as caught:
        call(guard, agent=Agent("bot", charter=charter))
    assert caught.value.code == code


def test_a_verified_actor_has_the_details_that_the_program_states(tmp_path: Path) -> None:
    guard, ledger = token_guard(tmp_path, StaticPolicy(allow()))
    agent = Agent("bot", instance="pod-3", charter=CHARTER)
    for _ in range(2):
        with guard.session(token=token(act={"sub": "bot"}), agent=agent, id="s"):
            guard.call("x", {}, lambda: None)
    first, second = recorded(ledger)
    assert first == second
    assert (first["assurance"], first["instance"]) == ("verified", "pod-3")
    assert first["charter"].startswith("gr1:charter:")


def test_a_new_charter_within_a_session_is_recorded_from_its_next_entry_on(
    tmp_path: Path,
) -> None:
    """Whether a token states the agent, or the program does."""
    who: list[tuple[tuple[Guard, MemoryLedger], dict[str, Any]]] = [
        (token_guard(tmp_path, StaticPolicy(allow())), {"token": token(act={"sub": "bot"})}),
        (memory_guard(StaticPolicy(allow())), {"principal": "bob"}),
    ]
    for (guard, ledger), caller in who:
        for charter in (CHARTER, CHARTER, "another"):
            with guard.session(**caller, agent=Agent("bot", charter=charter), id="s"):
                guard.call("x", {}, lambda: None)
        first, same, new = (json.dumps(agent) for agent in recorded(ledger))
        assert first == same != new
