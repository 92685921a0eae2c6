"""Every way in which a program gets an answer from an official OpenAI client, in one view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import openai
from pydantic import BaseModel

from guardrail.guard import Guard
from guardrail.integrations.openai.client import govern_client
from tests.support.model_server import MODEL, Call, ModelServer, Turn

CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Sun?"}]}
RESPONSES: Any = {"model": MODEL, "input": "Sun?"}
ASKED_MCP: Any = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "crm",
    "name": "look",
    "arguments": '{"city": "Bern"}',
}
APPROVED: Any = {
    "type": "mcp_approval_response",
    "approval_request_id": "mcpr_1",
    "approve": True,
}
RAN_MCP: Any = {
    **{name: ASKED_MCP[name] for name in ("server_label", "name", "arguments")},
    "type": "mcp_call",
    "id": "mcp_1",
    "approval_request_id": "mcpr_1",
    "output": "sun",
}


TEXT = '{"city": "Bern"}'
"""What the model says next to its calls: also an answer in the form that a program asked for."""


class Seen(NamedTuple):
    """What a program sees of an answer."""

    calls: list[tuple[str | None, str, str]]
    """Id, name and arguments of each call."""
    refusals: list[str]
    text: str
    ending: str | None


class Weather(BaseModel):
    """Where to look."""

    city: str


def of_chat(completion: Any) -> Seen:
    choice = completion.choices[0]
    message = choice.message
    calls = []
    for call in message.tool_calls or []:
        inner = call.custom if call.type == "custom" else call.function
        calls.append(
            (call.id, inner.name, inner.input if call.type == "custom" else inner.arguments)
        )
    if message.function_call is not None:
        calls.append((None, message.function_call.name, message.function_call.arguments))
    refusals = (message.refusal or "").split("\n") if message.refusal else []
    return Seen(calls, refusals, message.content or "", choice.finish_reason)


def of_chunks(chunks: list[Any]) -> Seen:
    """Put a stream together as a simple program does, and check that its calls have no gap."""
    calls: dict[int, list[Any]] = {}
    text, refusal, ending = "", "", None
    legacy = None
    for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            text += delta.content or ""
            refusal += delta.refusal or ""
            for call in delta.tool_calls or []:
                found = calls.setdefault(call.index, [None, "", ""])
                inner = (
                    call.function
                    if call.function is not None
                    else _Custom(**call.model_extra["custom"])
                )
                found[0] = call.id or found[0]
                found[1] += inner.name or ""
                found[2] += inner.arguments or ""
            if delta.function_call is not None:
                legacy = legacy or [None, "", ""]
                legacy[1] += delta.function_call.name or ""
                legacy[2] += delta.function_call.arguments or ""
            ending = choice.finish_reason or ending
    assert list(calls) == list(range(len(calls)))
    made = [tuple(call) for call in [*calls.values(), *([legacy] if legacy else [])]]
    return Seen(made, refusal.split("\n") if refusal else [], text, ending)  # type: ignore[arg-type]


class _Custom:
    def __init__(self, name: str = "", input: str = "") -> None:  # noqa: A002 - the API's name
        self.name, self.arguments = name, input


def of_response(response: Any) -> Seen:
    messages = [item for item in response.output if item.type == "message"]
    texts = [part.text for item in messages for part in item.content if part.type == "output_text"]
    seen = Seen([], [], "".join(texts), response.status)
    for item in response.output:
        if item.type == "function_call":
            seen.calls.append((item.call_id, item.name, item.arguments))
        elif item.type == "custom_tool_call":
            seen.calls.append((item.call_id, item.name, item.input))
        elif item.type == "message":
            seen.refusals.extend(part.refusal for part in item.content if part.type == "refusal")
    return seen


def of_events(events: list[Any]) -> Seen:
    """Read a stream as a simple program does, and check it against its own end."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    calls: dict[int, list[Any]] = {}
    refusals: dict[int, str] = {}
    for event in events:
        if event.type == "response.output_item.done" and event.item.type.endswith("_call"):
            item = event.item
            text = getattr(item, "arguments", None) or getattr(item, "input", "")
            assert calls[event.output_index][2] == text
            calls[event.output_index][:2] = [item.call_id, item.name]
        elif event.type == "response.output_item.added" and event.item.type.endswith("_call"):
            calls[event.output_index] = [None, "", ""]
        elif event.type.endswith(("arguments.delta", "input.delta")):
            calls[event.output_index][2] += event.delta
        elif event.type == "response.refusal.delta":
            refusals[event.output_index] = refusals.get(event.output_index, "") + event.delta
    whole = of_response(events[-1].response)
    assert [tuple(call) for call in calls.values()] == whole.calls
    assert list(refusals.values()) == whole.refusals
    return whole


@dataclass(frozen=True)
class Way:
    """One method of the official client."""

    name: str
    ask: Callable[[Any, dict[str, Any]], Any]
    asynchronous: bool = False
    chat: bool = True

    def seen(self, client: Any, **more: Any) -> Seen:
        """Ask with *client*, and return what the program sees."""
        made = self.ask(client, {**(CHAT if self.chat else RESPONSES), **more})
        return asyncio.run(made) if self.asynchronous else made


def _chat_stream(client: Any, asked: Any) -> Seen:
    with client.chat.completions.stream(**asked) as stream:
        return of_chat(stream.get_final_completion())


async def _achat_stream(client: Any, asked: Any) -> Seen:
    async with client, client.chat.completions.stream(**asked) as stream:
        return of_chat(await stream.get_final_completion())


def _chat_raw_stream(client: Any, asked: Any) -> Seen:
    with client.chat.completions.with_streaming_response.create(**asked, stream=True) as raw:
        return of_chunks(list(raw.parse()))


def _chat_streaming(client: Any, asked: Any) -> Seen:
    with client.chat.completions.with_streaming_response.create(**asked) as raw:
        return of_chat(raw.parse())


async def _achat(client: Any, asked: Any) -> Seen:
    async with client:
        return of_chat(await client.chat.completions.create(**asked))


async def _achat_chunks(client: Any, asked: Any) -> Seen:
    async with client:
        stream = await client.chat.completions.create(**asked, stream=True)
        return of_chunks([chunk async for chunk in stream])


async def _achat_raw(client: Any, asked: Any) -> Seen:
    async with client:
        raw = await client.chat.completions.with_raw_response.create(**asked)
        return of_chat(raw.parse())


async def _achat_streaming(client: Any, asked: Any) -> Seen:
    async with (
        client,
        client.chat.completions.with_streaming_response.create(**asked) as raw,
    ):
        return of_chat(await raw.parse())


def _responses_stream(client: Any, asked: Any) -> Seen:
    with client.responses.stream(**asked) as stream:
        return of_response(stream.until_done().get_final_response())


async def _aresponses(client: Any, asked: Any) -> Seen:
    async with client:
        return of_response(await client.responses.create(**asked))


async def _aresponses_stream(client: Any, asked: Any) -> Seen:
    async with client, client.responses.stream(**asked) as stream:
        return of_response(await stream.get_final_response())


async def _aresponses_events(client: Any, asked: Any) -> Seen:
    async with client:
        stream = await client.responses.create(**asked, stream=True)
        return of_events([event async for event in stream])


def _responses_streaming(client: Any, asked: Any) -> Seen:
    with client.responses.with_streaming_response.create(**asked) as raw:
        return of_response(raw.parse())


WAYS = [
    Way("chat", lambda c, a: of_chat(c.chat.completions.create(**a))),
    Way("chat-parse", lambda c, a: of_chat(c.chat.completions.parse(**a, response_format=Weather))),
    Way("chat-chunks", lambda c, a: of_chunks(list(c.chat.completions.create(**a, stream=True)))),
    Way("chat-stream", _chat_stream),
    Way("chat-raw", lambda c, a: of_chat(c.chat.completions.with_raw_response.create(**a).parse())),
    Way("chat-streaming", _chat_streaming),
    Way("chat-streaming-chunks", _chat_raw_stream),
    Way("chat-copy", lambda c, a: of_chat(c.copy().chat.completions.create(**a))),
    Way(
        "chat-options",
        lambda c, a: of_chat(c.with_options(timeout=30).chat.completions.create(**a)),
    ),
    Way(
        "chat-post",
        lambda c, a: of_chat(
            c.post("/chat/completions", body=a, cast_to=openai.types.chat.ChatCompletion)
        ),
    ),
    Way("achat", _achat, asynchronous=True),
    Way("achat-chunks", _achat_chunks, asynchronous=True),
    Way("achat-stream", _achat_stream, asynchronous=True),
    Way("achat-raw", _achat_raw, asynchronous=True),
    Way("achat-streaming", _achat_streaming, asynchronous=True),
    Way("responses", lambda c, a: of_response(c.responses.create(**a)), chat=False),
    Way(
        "responses-parse",
        lambda c, a: of_response(c.responses.parse(**a, text_format=Weather)),
        chat=False,
    ),
    Way(
        "responses-events",
        lambda c, a: of_events(list(c.responses.create(**a, stream=True))),
        chat=False,
    ),
    Way("responses-stream", _responses_stream, chat=False),
    Way(
        "responses-raw",
        lambda c, a: of_response(c.responses.with_raw_response.create(**a).parse()),
        chat=False,
    ),
    Way("responses-streaming", _responses_streaming, chat=False),
    Way("responses-beta", lambda c, a: of_response(c.beta.responses.create(**a)), chat=False),
    Way("aresponses", _aresponses, asynchronous=True, chat=False),
    Way("aresponses-events", _aresponses_events, asynchronous=True, chat=False),
    Way("aresponses-stream", _aresponses_stream, asynchronous=True, chat=False),
]
"""The methods of the official clients that return a model's answer."""


def client_for(server: ModelServer, *, asynchronous: bool = False, **options: Any) -> Any:
    """Return an official client of *server* that is not governed."""
    kind: Any = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(**{"base_url": server.openai, "api_key": "none", "max_retries": 0, **options})


@contextmanager
def governed(guard: Guard, *turns: Turn, way: Way, **options: Any) -> Iterator[Any]:
    """Run a server with *turns*, and yield a governed client for *way*."""
    with ModelServer(turns) as server:
        plain = client_for(server, asynchronous=way.asynchronous)
        client = govern_client(plain, guard, **options)
        try:
            yield client
        finally:
            if not way.asynchronous:
                client.close()


def asking(*cities: str) -> Turn:
    """Return an answer that asks for the weather in each city at once."""
    return Turn(TEXT, [Call("weather", {"city": city}, f"call_{city}") for city in cities])
