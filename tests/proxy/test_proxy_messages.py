"""Programs of the Messages API get decided calls only, whatever client they use."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.support.adapters import Bench
from tests.support.model_server import MODEL, Call, ModelServer, Turn
from tests.support.node import node
from tests.support.proxies import RunningProxy, proxied
from tests.support.wire import Wire

BOTH = Turn(
    "Grüezi.",
    [
        Call("weather", {"city": "Atlantis"}, "toolu_1"),
        Call("weather", {"city": "Bern"}, "toolu_2"),
    ],
)
ALONE = Turn(calls=[Call("weather", {"city": "Atlantis"}, "toolu_1")])
SUN = {"role": "user", "content": "Sun?"}


def create(proxy: RunningProxy, way: str, messages: Any = (SUN,)) -> Any:
    """Return the message that an official client gets in one of its ways."""
    asked = {"model": MODEL, "max_tokens": 99, "messages": list(messages)}
    with proxy.anthropic(default_headers={"x-guardrail-session": "s-1"}) as client:
        api = client.beta.messages if way.startswith("beta") else client.messages
        if way.endswith("stream"):
            with api.stream(**asked) as events:
                return events.get_final_message()
        return api.create(**asked)


WAYS = ["whole", "stream", "beta", "beta stream"]


@pytest.mark.parametrize("way", WAYS)
def test_a_denied_call_is_a_text_and_an_allowed_one_is_itself(bench: Bench, way: str) -> None:
    """In their places, with the usage."""
    with ModelServer([BOTH]) as server, proxied(bench.guard, server.url) as proxy:
        message = create(proxy, way)
    assert [block.type for block in message.content] == ["text", "text", "tool_use"]
    assert message.content[0].text == "Grüezi."
    assert message.content[1].text.startswith("weather: ")
    assert message.content[2].input == {"city": "Bern"}
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 7)
    assert [each["decision"]["effect"] for each in bench.decisions] == ["deny", "allow"]
    assert {each["enforcement"] for each in bench.decisions} == {"release"}


@pytest.mark.parametrize("way", WAYS)
def test_a_message_without_calls_left_ends_its_turn(bench: Bench, way: str) -> None:
    """The program has nothing to run."""
    with ModelServer([ALONE]) as server, proxied(bench.guard, server.url) as proxy:
        message = create(proxy, way)
    assert ([block.type for block in message.content], message.stop_reason) == (
        ["text"],
        "end_turn",
    )


def test_the_result_in_the_next_request_is_the_outcome(bench: Bench) -> None:
    """As the program claims it."""
    with (
        ModelServer([BOTH, Turn("Sun.")]) as server,
        proxied(bench.guard, server.url) as proxy,
    ):
        message = create(proxy, "stream")
        result = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "sun"}
        history = [
            SUN,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ]
        assert create(proxy, "stream", history).content[0].text == "Sun."
        assert [each["status"] for each in bench.outcomes] == ["returned"]


def test_input_with_a_key_twice_is_denied(bench: Bench) -> None:
    """With cause ``arguments``, streamed or not; the next call works."""
    twice = Call("weather", '{"city": "Bern", "city": "Atlantis"}')
    raw = (
        b'{"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": ['
        b'{"type": "tool_use", "id": "t", "name": "weather", "input": {"city": 1, "city": 2}}],'
        b'"stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}'
    )
    turns = [Turn(calls=[twice]), Turn(wire=Wire(body=raw)), BOTH]
    with ModelServer(turns) as server, proxied(bench.guard, server.url) as proxy:
        assert create(proxy, "stream").content[0].type == "text"
        assert create(proxy, "whole").content[0].type == "text"
        assert create(proxy, "whole").content[-1].type == "tool_use"
    found = [(each["decision"]["cause"], each["decision"]["detail"]) for each in bench.decisions]
    assert found[:2] == [("arguments", "duplicate_key")] * 2


def test_a_stream_that_breaks_off_is_an_error_of_the_client(bench: Bench) -> None:
    """And its calls are dropped."""
    cut = Turn("Grüezi.", BOTH.calls, cut=7)
    with ModelServer([cut, BOTH]) as server, proxied(bench.guard, server.url) as proxy:
        with pytest.raises(anthropic.APIError):
            create(proxy, "stream")
        assert create(proxy, "stream").content[-1].type == "tool_use"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["messages", "messages-events", "messages-stream"])
def test_node_reads_the_same(bench: Bench, way: str) -> None:
    """The official package, in each of its ways."""
    with ModelServer([BOTH, ALONE]) as server, proxied(bench.guard, server.url) as proxy:
        seen = node("anthropic", proxy.url, way)
        assert seen["calls"] == [["toolu_2", "weather", {"city": "Bern"}]]
        assert seen["text"].startswith("Grüezi.weather: ")
        seen = node("anthropic", proxy.url, way)
        assert (seen["calls"], seen["ending"]) == ([], "end_turn")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["messages-generate", "messages-stream"])
def test_the_ai_package_runs_allowed_calls_alone(bench: Bench, way: str) -> None:
    """It reads the events without the official package."""
    with (
        ModelServer([BOTH, Turn("Sun.")]) as server,
        proxied(bench.guard, server.url) as proxy,
    ):
        assert node("ai", f"{proxy.url}/v1", way)["ran"] == ["Bern"]
