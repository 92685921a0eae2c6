"""Node's clients read every answer of the scripted model server, whatever a network does to it."""

from __future__ import annotations

import pytest

from tests.support.model_server import Call, ModelServer, Turn
from tests.support.node import RUNNERS, base_url, node
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

CALLS = [Call("weather", {"city": "Bern"}, "call_1"), Call("weather", {"city": "Zürich"}, "call_2")]
CHAT = ["chat", "chat-chunks", "chat-stream"]
RESPONSES = ["responses", "responses-events", "responses-stream"]
MESSAGES = ["messages", "messages-events", "messages-stream"]
WIRES = {
    "as it is": Wire(),
    "gzip": Wire(gzip=True),
    "crlf and comments": Wire(newline="\r\n", comments=True),
    "byte by byte": Wire(piece=1),
}


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@pytest.mark.parametrize("way", [*CHAT, *RESPONSES])
def test_openai_reads_parallel_calls(way: str, wire: Wire) -> None:
    with ModelServer([Turn("Grüezi.", CALLS, wire=wire)]) as server:
        seen = node("openai", server.openai, way)
    assert seen["text"] == "Grüezi."
    assert [(each[0], each[1]) for each in seen["calls"]] == [(c.id, c.name) for c in CALLS]
    assert seen["ending"] == ("tool_calls" if way in CHAT else "completed")


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@pytest.mark.parametrize("way", MESSAGES)
def test_anthropic_reads_parallel_calls(way: str, wire: Wire) -> None:
    with ModelServer([Turn("Grüezi.", CALLS, wire=wire)]) as server:
        seen = node("anthropic", server.anthropic, way)
    assert seen == {
        "text": "Grüezi.",
        "calls": [[each.id, each.name, each.arguments] for each in CALLS],
        "ending": "tool_use",
    }


@pytest.mark.parametrize(("client", "way"), RUNNERS, ids=str)
def test_programs_that_run_the_tools_themselves_get_them(client: str, way: str) -> None:
    with ModelServer([Turn(calls=CALLS), Turn("Sun.")]) as server:
        seen = node(client, base_url(server.anthropic, client), way)
        assert len(server.requests) == 2
    assert (seen["ran"], seen["text"]) == (["Bern", "Zürich"], "Sun.")


def test_an_error_of_the_provider_is_an_error_of_the_client() -> None:
    wire = Wire(headers={"retry-after": "0"})
    with ModelServer([Turn("slow down", status=429, wire=wire), Turn("Sun.")]) as server:
        seen = node("openai", server.openai, "chat")
        assert (seen["error"]["status"], "slow down" in seen["error"]["message"]) == (429, True)
        assert node("openai", server.openai, "models") == {"models": ["scripted-1"]}
    with ModelServer([Turn("slow down", status=429, wire=wire), Turn("Sun.")]) as server:
        assert node("openai", server.openai, "chat", retries=1)["text"] == "Sun."
