"""A program can approve a call of an MCP server only if its governed client allowed it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guardrail.errors import GuardrailError
from guardrail.integrations.openai.client import govern_client
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.openai_clients import APPROVED, ASKED_MCP, RAN_MCP, RESPONSES, client_for

TURNS = [Turn(items=[ASKED_MCP]), Turn("Sun.", items=[RAN_MCP]), Turn("Sun.")]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_only_an_allowed_call_can_be_approved(bench: Bench, *, asynchronous: bool) -> None:
    """It can be approved once. Its history can be sent again with its result."""
    with ModelServer(TURNS) as server:
        client = govern_client(client_for(server, asynchronous=asynchronous), bench.guard)

        async def ask(*items: Any) -> None:
            given = {**RESPONSES, "input": list(items)} if items else RESPONSES
            made = client.responses.create(**given)
            if asynchronous:
                await made

        async def work() -> None:
            with pytest.raises(GuardrailError, match="was not allowed") as raised:
                await ask(ASKED_MCP, APPROVED)
            assert raised.value.code == "model_request.approval"
            await ask()
            await ask(ASKED_MCP, APPROVED)
            with pytest.raises(GuardrailError, match="already been approved"):
                await ask(ASKED_MCP, APPROVED)
            await ask(ASKED_MCP, APPROVED, RAN_MCP)
            with pytest.raises(GuardrailError, match="a different name"):
                await ask({**ASKED_MCP, "name": "delete"}, APPROVED)
            closed = client.close()
            if asynchronous:
                await closed

        asyncio.run(work())
    assert len(server.bodies) == 3
    reasons = [each["reason"] for each in bench.rejected]
    assert reasons.count("model_request.approval") == 3
