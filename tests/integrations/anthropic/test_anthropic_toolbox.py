"""What only Anthropic's API has: one message with every result, and tools of the provider."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from guardrail.integrations.anthropic import ToolBox
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.toolboxes import MESSAGES, asking, run_either, weather


def test_the_results_are_in_one_message(bench: Bench, how: str) -> None:
    """The API takes them in the message after the calls, or not at all; errors are marked."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    assert run_either(box, MESSAGES.ask(asking("Bern", "Atlantis")), how) == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "id0", "content": "sun in Bern"},
                {
                    "type": "tool_result",
                    "tool_use_id": "id1",
                    "content": "denied by policy: no_such_place",
                    "is_error": True,
                },
            ],
        }
    ]


def test_the_tools_have_the_form_of_the_api(bench: Bench) -> None:
    """And can be sent."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    (tool,) = box.tools()
    assert tool == {
        "name": "weather",
        "description": "Tell the weather.",
        "input_schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "city": {"type": "string", "description": "Where."},
                "days": {"type": "integer", "default": 1},
            },
            "required": ["city"],
        },
    }
    with ModelServer([Turn("Sun.")]) as server, MESSAGES.client(server) as client:
        client.messages.create(**MESSAGES.request, tools=box.tools())
    assert server.bodies[0]["tools"] == [tool]


HOSTED: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Bern"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srv_1",
        "content": [],
    },
    {
        "type": "mcp_tool_use",
        "id": "mcp_1",
        "name": "transfer",
        "server_name": "bank",
        "input": {"amount": 100},
    },
    {"type": "mcp_tool_result", "tool_use_id": "mcp_1", "is_error": False, "content": []},
]


@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "tools that the provider has run (`server_tool_use`, `mcp_tool_use`)",
    result="not governed",
    note="they ran before the response; recorded as `call.rejected`, reason `provider_tool`",
)
def test_tools_that_the_provider_ran_are_recorded(bench: Bench, how: str) -> None:
    """Nobody decided them, and the record says so; the program's own calls run."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    message = MESSAGES.ask(Turn(calls=asking("Bern").calls, items=HOSTED))
    assert MESSAGES.texts(run_either(box, message, how)) == ["sun in Bern"]
    told = [
        (each["reason"], each["tool"]["name"], each["tool"]["server"], each["origin"]["call_id"])
        for each in bench.rejected
    ]
    assert sorted(told) == [
        ("provider_tool", "transfer", "bank", "mcp_1"),
        ("provider_tool", "web_search", "anthropic", "srv_1"),
    ]
    assert run_either(box, MESSAGES.ask(Turn(items=HOSTED[:2])), how) == []


@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "a call of an unknown type",
    result="refused",
    note="`call.rejected`, reason `unknown_kind`",
)
def test_a_call_of_an_unknown_type_is_refused(bench: Bench, how: str) -> None:
    """The model reads it, and it is on record."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    item = {"type": "teleport_use", "id": "te_1", "name": "weather", "input": {"city": "Bern"}}
    (told,) = MESSAGES.told(run_either(box, MESSAGES.ask(Turn(items=[item])), how))
    assert told == (
        "te_1",
        "not run: weather: a tool can't have the type teleport_use",
        True,
    )
    assert [each["reason"] for each in bench.rejected] == ["unknown_kind"]
    assert bench.decisions == []


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded", "refusal"])
def test_a_message_that_did_not_end_runs_nothing(bench: Bench, how: str, reason: str) -> None:
    """Whatever cut it off."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    message = MESSAGES.ask(Turn(calls=asking("Bern").calls, finish=reason))
    (told,) = MESSAGES.told(run_either(box, message, how))
    assert told.text == f"not run: weather: the response was truncated (stop_reason: {reason})"
    assert bench.decisions == []


@pytest.mark.call_path(
    "Anthropic, ToolBox", "a stream that broke off", result="refused", note="none of its calls run"
)
def test_a_stream_that_broke_off_runs_nothing(bench: Bench) -> None:
    """Half an argument parses: ``{"city": "Be`` is a city for the client."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    turn = Turn(calls=asking("Bern in the mountains").calls, cut=7)
    with (
        ModelServer([turn]) as server,
        MESSAGES.client(server) as client,
        client.messages.stream(**MESSAGES.request) as stream,
    ):
        message = stream.get_final_message()
    assert message.content[0].input == {} or "city" in message.content[0].input
    (told,) = MESSAGES.told(box.run(message))
    assert told.text == "not run: weather: the response was truncated (stop_reason: None)"
    assert bench.decisions == []


def test_messages_of_the_beta_resource_work_as_well(bench: Bench, how: str) -> None:
    """They have types of their own."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    with ModelServer([asking("Bern")] * 2) as server, MESSAGES.client(server) as client:
        plain = client.beta.messages.create(**MESSAGES.request)
        with client.beta.messages.stream(**MESSAGES.request) as stream:
            streamed = stream.get_final_message()
    for message in (plain, streamed):
        assert MESSAGES.texts(run_either(box, message, how)) == ["sun in Bern"]


def test_the_anthropic_client_itself_is_named_if_it_is_missing() -> None:
    """In the words of pip."""
    program = "import sys; sys.modules['anthropic'] = None; import guardrail.integrations.anthropic"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "install guardrail with the 'anthropic' extra (README.md)" in done.stderr
