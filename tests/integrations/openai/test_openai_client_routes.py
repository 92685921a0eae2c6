"""Routes that carry tool calls and can't be governed are refused; those without calls pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import openai
import pytest

from guardrail.errors import UsageError
from guardrail.integrations.openai.client import govern_client
from guardrail.model_apis.api import Api
from guardrail.model_apis.openai.routes import check_socket, route_of
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.openai_clients import ASKED_MCP, RESPONSES, client_for

REFUSED: dict[str, Callable[[Any], Any]] = {
    "realtime": lambda client: client.realtime.connect(model="m"),
    "realtime sessions": lambda client: client.realtime.client_secrets.create(),
    "live": lambda client: client.live,
    "beta realtime": lambda client: client.beta.realtime.connect(model="m"),
    "responses over a WebSocket": lambda client: client.responses.connect(),
    "beta responses over a WebSocket": lambda client: client.beta.responses.connect(),
    "a copy's WebSocket": lambda client: client.copy().responses.connect(),
    "a response that was made before": lambda client: client.responses.retrieve("resp_1"),
    "its stream": lambda client: client.responses.retrieve("resp_1", stream=True),
    "a background response": lambda client: client.responses.create(**RESPONSES, background=True),
    "its cancellation": lambda client: client.responses.cancel("resp_1"),
    "stored completions": lambda client: client.chat.completions.retrieve("chatcmpl_1"),
    "a conversation with items": lambda client: client.conversations.create(items=[ASKED_MCP]),
    "a conversation": lambda client: client.conversations.retrieve("conv_1"),
    "a model of another API": lambda client: client.post(
        "/models/gemini:generateContent", cast_to=object, body={}
    ),
    "items of a conversation": lambda client: client.conversations.items.list("conv_1"),
    "batches": lambda client: client.batches.list(),
    "assistants": lambda client: client.beta.threads.runs.create("thread_1", assistant_id="a"),
    "decisions": lambda client: client.decisions.create(input="x", model="m", questions=[]),
    "an unknown route": lambda client: client.post("/agents/run", cast_to=object, body={}),
    "another host": lambda client: client.post("http://localhost:9/x", cast_to=object, body={}),
    "a raw response": lambda client: client.responses.with_raw_response.retrieve("resp_1"),
}

PASSED: dict[str, Callable[[Any], Any]] = {
    "embeddings": lambda client: client.embeddings.create(input="x", model="m"),
    "moderations": lambda client: client.moderations.create(input="x"),
    "images": lambda client: client.images.generate(prompt="x"),
    "completions": lambda client: client.completions.create(model="m", prompt="x"),
    "input tokens": lambda client: client.responses.input_tokens.count(input="x"),
    "models": lambda client: client.models.list(),
    "the end of a conversation": lambda client: client.conversations.delete("conv_1"),
}


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "realtime, live and WebSocket connections",
    "`responses.retrieve`, background responses, stored completions, conversations",
    "batches, assistants, unknown routes",
    result="refused",
    note="`UsageError` names the route, before a request is sent",
)
@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_a_route_that_can_not_be_governed_is_refused(
    bench: Bench, use: Callable[[Any], Any]
) -> None:
    """Before a request is sent, with the name of the route."""
    with ModelServer([]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with pytest.raises(UsageError) as raised:
                use(client)
        assert server.requests == []
    assert raised.value.code == "usage.route"
    assert "can carry tool calls" in str(raised.value)


@pytest.mark.parametrize("use", PASSED.values(), ids=PASSED)
def test_a_route_without_calls_passes(bench: Bench, use: Callable[[Any], Any]) -> None:
    """With the answer that the client gets without guardrail. The scripted server does not have
    all of them, and then says so.
    """

    def answer(client: Any) -> str:
        try:
            return repr(use(client))
        except openai.NotFoundError as error:
            return str(error)

    with ModelServer([Turn(), Turn()]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        assert answer(client) == answer(plain)
        assert len(server.requests) == 2


async def test_an_async_client_refuses_the_same(bench: Bench) -> None:
    """And a background response."""
    with ModelServer([]) as server:
        async with client_for(server, asynchronous=True) as plain:
            client = govern_client(plain, bench.guard)
            for use in (
                lambda: client.responses.retrieve("resp_1"),
                lambda: client.responses.create(**RESPONSES, background=True),
                lambda: client.batches.create(
                    completion_window="24h", endpoint="/v1/responses", input_file_id="f"
                ),
            ):
                with pytest.raises(UsageError, match="can carry tool calls"):
                    await use()
            with pytest.raises(UsageError, match="realtime"):
                client.realtime.connect(model="m")
            assert (await client.embeddings.create(input="x", model="m")).data


@pytest.mark.parametrize(
    ("method", "path", "base", "api"),
    [
        ("POST", "/v1/chat/completions", "/v1/", Api.CHAT),
        ("POST", "/v1/responses", "/v1", Api.RESPONSES),
        ("POST", "/openai/deployments/gpt/chat/completions", "/openai/", Api.CHAT),
        ("POST", "/openai/v1/responses", "/openai/v1/", Api.RESPONSES),
        ("POST", "/chat/completions", "/", Api.CHAT),
        ("GET", "/v1/models", "/v1/", None),
        ("GET", "/v1/files/f/content", "/v1/", None),
        ("DELETE", "/v1/responses/resp_1", "/v1/", None),
        ("POST", "/openai/deployments/gpt/embeddings", "/openai/", None),
    ],
)
def test_a_route_is_found_below_any_base_url(
    method: str, path: str, base: str, api: Api | None
) -> None:
    """Azure's names the deployment."""
    assert route_of(method, path, base) is api


def test_a_web_socket_of_a_resource_that_guardrail_does_not_know_is_refused() -> None:
    """All of them prepare their URL with the client."""
    check_socket("/chat/completions")
    check_socket("https://example.com/")
    with pytest.raises(UsageError, match="WebSocket"):
        check_socket("wss://example.com/v1/live")
