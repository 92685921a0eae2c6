"""The scripted model provider of the tests speaks as the real ones do: their own clients read every
answer, streamed or not, sync or async.
"""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.support.model_server import Call, ModelServer, Received, Turn

CALLS = [Call("weather", {"city": "Bern", "days": 3}), Call("news", '{"topic": "é"}', id="call_x")]
ASKED: Any = {"model": "scripted-1", "messages": [{"role": "user", "content": "Sun?"}]}
INPUT: Any = {"model": "scripted-1", "input": "Sun?"}
MESSAGE: Any = {**ASKED, "max_tokens": 100}


def chat(server: ModelServer, how: str) -> Any:
    with openai.OpenAI(base_url=server.openai, api_key="none", max_retries=0) as client:
        if how == "plain":
            return client.chat.completions.create(**ASKED)
        with client.chat.completions.stream(**ASKED) as stream:
            return stream.get_final_completion()


def responses(server: ModelServer, how: str) -> Any:
    with openai.OpenAI(base_url=server.openai, api_key="none", max_retries=0) as client:
        if how == "plain":
            return client.responses.create(**INPUT)
        with client.responses.stream(**INPUT) as stream:
            return stream.until_done().get_final_response()


def messages(server: ModelServer, how: str) -> Any:
    with anthropic.Anthropic(base_url=server.anthropic, api_key="none", max_retries=0) as client:
        if how == "plain":
            return client.messages.create(**MESSAGE)
        with client.messages.stream(**MESSAGE) as stream:
            return stream.get_final_message()


@pytest.mark.parametrize("how", ["plain", "streamed"])
def test_chat_completions_are_read_by_the_official_client(how: str) -> None:
    """Parallel calls, text, and two choices."""
    two = Turn(choices=[Turn("Sun."), Turn(calls=CALLS[:1])])
    with ModelServer([Turn("Let me see.", CALLS), two]) as server:
        message = chat(server, how).choices[0]
        assert message.finish_reason == "tool_calls"
        assert message.message.content == "Let me see."
        first, second = message.message.tool_calls
        assert json.loads(first.function.arguments) == CALLS[0].arguments
        assert (first.id[:5], second.id, second.function.name) == ("call_", "call_x", "news")
        one, other = chat(server, how).choices
        assert (one.message.content, one.finish_reason) == ("Sun.", "stop")
        assert other.message.tool_calls[0].function.name == "weather"
        assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 2
        assert server.bodies[0]["messages"] == ASKED["messages"]


def test_custom_and_legacy_calls_are_read_by_the_official_client() -> None:
    """A custom call's arguments are free text; a legacy call has no id."""
    turns = [
        Turn(calls=[Call("shell", "ls -l", kind="custom")]),
        Turn(calls=[Call("weather", {"city": "Bern"}, kind="legacy")]),
    ]
    with ModelServer([*turns, turns[1]]) as server:
        custom = chat(server, "plain").choices[0].message.tool_calls[0]
        assert (custom.type, custom.custom.input) == ("custom", "ls -l")
        for how in ("plain", "streamed"):
            choice = chat(server, how).choices[0]
            assert choice.finish_reason == "function_call"
            assert choice.message.function_call.name == "weather"
            assert json.loads(choice.message.function_call.arguments) == {"city": "Bern"}


@pytest.mark.parametrize("how", ["plain", "streamed"])
def test_responses_are_read_by_the_official_client(how: str) -> None:
    """Reasoning, text, a refusal, function and custom calls, and an incomplete response."""
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
    custom = Call("shell", "ls -l", kind="custom")
    turns = [
        Turn("Let me see.", [*CALLS, custom], items=[reasoning], id="resp_1"),
        Turn(refusal="No."),
        Turn(calls=[Call("weather", '{"ci')], finish="incomplete"),
    ]
    with ModelServer(turns) as server:
        first = responses(server, how)
        assert (first.id, first.status, first.output_text) == ("resp_1", "completed", "Let me see.")
        kinds = ["reasoning", "message", "function_call", "function_call", "custom_tool_call"]
        assert [item.type for item in first.output] == kinds
        assert first.output[0].encrypted_content == "abc"
        assert json.loads(first.output[2].arguments) == CALLS[0].arguments
        assert first.output[4].input == "ls -l"
        refused = responses(server, how)
        assert refused.output[0].content[0].refusal == "No."
        if how == "plain":
            cut = responses(server, how)
            assert (cut.status, cut.incomplete_details.reason) == (
                "incomplete",
                "max_output_tokens",
            )
            assert cut.output[0].arguments == '{"ci'


@pytest.mark.parametrize("how", ["plain", "streamed"])
def test_messages_are_read_by_the_official_client(how: str) -> None:
    """Text and two tool uses; a tool of the provider comes as a block of its own."""
    hosted = {"type": "server_tool_use", "id": "s_1", "name": "web_search", "input": {"q": "Bern"}}
    with ModelServer([Turn("Let me see.", CALLS), Turn("Sun.", items=[hosted])]) as server:
        message = messages(server, how)
        assert message.stop_reason == "tool_use"
        assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
        assert message.content[1].input == CALLS[0].arguments
        assert message.content[2].input == {"topic": "é"}
        other = messages(server, how)
        assert other.stop_reason == "end_turn"
        assert [block.type for block in other.content] == ["server_tool_use", "text"]


async def test_the_async_clients_read_the_same() -> None:
    """Each API, streamed and not."""
    with ModelServer([Turn(calls=CALLS)], repeat=True) as server:
        async with openai.AsyncOpenAI(base_url=server.openai, api_key="none") as client:
            plain = await client.chat.completions.create(**ASKED)
            assert plain.choices[0].message.tool_calls is not None
            async with client.chat.completions.stream(**ASKED) as chunks:
                final = await chunks.get_final_completion()
            assert len(final.choices[0].message.tool_calls or []) == 2
            response = await client.responses.create(**INPUT)
            assert [item.type for item in response.output] == ["function_call"] * 2
            async with client.responses.stream(**INPUT) as events:
                assert len((await events.get_final_response()).output) == 2
        async with anthropic.AsyncAnthropic(base_url=server.anthropic, api_key="none") as other:
            assert len((await other.messages.create(**MESSAGE)).content) == 2
            async with other.messages.stream(**MESSAGE) as blocks:
                assert len((await blocks.get_final_message()).content) == 2


def test_errors_and_broken_streams_are_served_too() -> None:
    """A script may fail, and may depend on the request."""
    with ModelServer(
        [Turn(status=503), lambda body: Turn(body["model"]), Turn("x" * 50, cut=3)]
    ) as (server):
        with pytest.raises(openai.InternalServerError):
            chat(server, "plain")
        assert chat(server, "plain").choices[0].message.content == "scripted-1"
        with openai.OpenAI(base_url=server.openai, api_key="none", max_retries=0) as client:
            assert len(list(client.chat.completions.create(**ASKED, stream=True))) == 3
        with pytest.raises(openai.InternalServerError):  # the script is at its end
            chat(server, "plain")
        assert isinstance(server.requests[0], Received)
