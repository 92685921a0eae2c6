"""One view of the three APIs that a ToolBox is for, and functions that note their runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import anthropic
import openai

from guardrail.integrations.anthropic import ToolBox as AnthropicBox
from guardrail.integrations.openai import ToolBox as OpenAIBox
from tests.support.model_server import MODEL, Call, ModelServer, Turn


class Told(NamedTuple):
    """What the model reads about one call."""

    id: str | None
    text: Any
    failed: bool | None
    """None if the API does not say it."""


def _chat_told(message: dict[str, Any]) -> Iterator[Told]:
    assert message["role"] == "tool"
    yield Told(message["tool_call_id"], message["content"], None)


def _response_told(item: dict[str, Any]) -> Iterator[Told]:
    assert item["type"] in {"function_call_output", "custom_tool_call_output"}
    yield Told(item["call_id"], item["output"], None)


def _message_told(message: dict[str, Any]) -> Iterator[Told]:
    assert message["role"] == "user"
    for block in message["content"]:
        assert block["type"] == "tool_result"
        yield Told(block["tool_use_id"], block["content"], block.get("is_error", False))


@dataclass(frozen=True)
class Api:
    """An API of a provider: how it is asked, and how the answers of a ToolBox are read."""

    name: str
    adapter: str
    box: Any
    client: Callable[[ModelServer], Any]
    aclient: Callable[[ModelServer], Any]
    resource: Callable[[Any], Any]
    final: str
    request: dict[str, Any]
    one: Callable[[dict[str, Any]], Iterator[Told]]
    incomplete: str

    def ask(self, script: Turn, *, streamed: bool = False) -> Any:
        """Return the model's response, as the official client gives it."""
        with ModelServer([script]) as server, self.client(server) as client:
            resource = self.resource(client)
            if not streamed:
                return resource.create(**self.request)
            with resource.stream(**self.request) as stream:
                if self.name == "responses":
                    stream.until_done()
                return getattr(stream, self.final)()

    async def aask(self, script: Turn, *, streamed: bool = False) -> Any:
        """Return the same from the async client."""
        with ModelServer([script]) as server:
            async with self.aclient(server) as client:
                resource = self.resource(client)
                if not streamed:
                    return await resource.create(**self.request)
                async with resource.stream(**self.request) as stream:
                    return await getattr(stream, self.final)()

    def told(self, appended: Sequence[dict[str, Any]]) -> list[Told]:
        """Return what the model reads, call by call."""
        json.dumps(appended)  # it can be sent
        return [told for each in appended for told in self.one(each)]

    def texts(self, appended: Sequence[dict[str, Any]]) -> list[Any]:
        return [told.text for told in self.told(appended)]


_KEY: Any = {"api_key": "none", "max_retries": 0}
_MESSAGES: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Sun?"}]}
CHAT = Api(
    "chat",
    "openai",
    OpenAIBox,
    lambda server: openai.OpenAI(base_url=server.openai, **_KEY),
    lambda server: openai.AsyncOpenAI(base_url=server.openai, **_KEY),
    lambda client: client.chat.completions,
    "get_final_completion",
    _MESSAGES,
    _chat_told,
    "length",
)
RESPONSES = Api(
    "responses",
    "openai",
    OpenAIBox,
    CHAT.client,
    CHAT.aclient,
    lambda client: client.responses,
    "get_final_response",
    {"model": MODEL, "input": "Sun?"},
    _response_told,
    "incomplete",
)
MESSAGES = Api(
    "messages",
    "anthropic",
    AnthropicBox,
    lambda server: anthropic.Anthropic(base_url=server.anthropic, **_KEY),
    lambda server: anthropic.AsyncAnthropic(base_url=server.anthropic, **_KEY),
    lambda client: client.messages,
    "get_final_message",
    {**_MESSAGES, "max_tokens": 100},
    _message_told,
    "max_tokens",
)
APIS = (CHAT, RESPONSES, MESSAGES)


@contextmanager
def conversation(api: Api, script: Sequence[Turn]) -> Iterator[tuple[Any, ModelServer]]:
    """Open a client of *api* on a server that follows *script*."""
    with ModelServer(script) as server, api.client(server) as client:
        yield api.resource(client), server


def run_either(box: Any, response: Any, how: str) -> list[dict[str, Any]]:
    """Run the calls of *response* with ``run`` or with ``arun``."""
    if how == "run":
        return list(box.run(response))
    return list(asyncio.run(box.arun(response)))


def weather(city: str, days: int = 1) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"sun in {city}"


def asking(*cities: Any, name: str = "weather") -> Turn:
    """Return a turn that asks for the weather in each city."""
    return Turn(calls=[Call(name, {"city": city}, id=f"id{i}") for i, city in enumerate(cities)])
