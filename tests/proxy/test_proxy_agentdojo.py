"""AgentDojo's banking suite through the proxy: the same decisions as through plain functions, and
for the allowed calls the same environments.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import openai
import pytest

from guardrail.config import ProxySettings
from guardrail.core.types import Principal
from guardrail.proxy.app import Proxy
from guardrail.proxy.callers import RequestIdentity
from tests.integrations.test_agentdojo import (
    Bodies,
    Suite,
    Verdict,
    differing,
    opened,
    run_way,
    state_of,
    suite,
    verdict,
)
from tests.support.guards import records
from tests.support.model_server import MODEL, Call, ModelServer, Turn
from tests.support.proxies import serving

pytestmark = pytest.mark.slow


def converse(client: openai.OpenAI, bodies: Bodies) -> None:
    """Ask the model, run the calls that it asks for, and tell it their results."""
    asked: list[Any] = [{"role": "user", "content": "go on"}]
    message = client.chat.completions.create(model=MODEL, messages=asked).choices[0].message
    for call in message.tool_calls or []:
        assert call.type == "function"
        result = bodies.made[call.function.name](**json.loads(call.function.arguments))
        told = {"role": "tool", "tool_call_id": call.id, "content": str(result)}
        client.chat.completions.create(model=MODEL, messages=[*asked, told])


def run_proxied(folder: Path, chosen: Suite) -> tuple[list[Verdict], list[Any]]:
    """Run every task; return the decisions, and what the environments are then."""
    bodies = Bodies(chosen.functions)
    left = []
    who = Principal("user")

    def answer(body: dict[str, Any]) -> Turn:
        return Turn("Done.") if body["messages"][-1]["role"] == "tool" else turn

    with opened(folder, chosen) as guard:
        for name, body in bodies.made.items():
            guard.tool(labels=[chosen.labels.get(name, "read")])(body)
        with ModelServer([answer], repeat=True) as upstream:
            settings = ProxySettings(approval_wait_s=0)
            app = Proxy(guard, upstream.openai, settings, identify=lambda _: RequestIdentity(who))
            with serving(app) as proxy, proxy.openai() as client:
                for task in chosen.tasks:
                    bodies.environment = task.environment.model_copy(deep=True)
                    who = Principal("user", attributes=task.attributes)
                    for call in task.calls:
                        turn = Turn(calls=[Call(call.function, dict(call.args))])
                        converse(client, bodies)
                    left.append(state_of(bodies.environment))
    db = folder / "audit" / "ledger.db"
    verdicts = [verdict(record) for record in records(db, "call.decision")]
    assert bodies.runs == [each.tool for each in verdicts if each.effect == "allow"]
    statuses = [each["status"] for each in records(db, "call.outcome")]
    assert statuses == ["returned"] * len(bodies.runs)
    return verdicts, left


def test_the_proxy_decides_as_plain_functions_do(tmp_path: Path) -> None:
    """Every ground-truth call of every user task and of every injection."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = suite("banking")
    verdicts, left = run_way(tmp_path / "functions", chosen, "functions")
    found, proxied_left = run_proxied(tmp_path / "proxy", chosen)
    assert len(found) == 45
    assert [each._replace(arguments=()) for each in found] == [
        each._replace(arguments=()) for each in verdicts
    ]
    assert differing(chosen, proxied_left, left) == []
