"""What happens to the tools in a request that goes through the proxy."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from guardrail.integrations.openai.client import govern_client
from guardrail.testing import StaticPolicy, memory_guard
from tests.support.adapters import Bench, judge
from tests.support.model_server import MODEL, Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, client_for
from tests.support.proxies import RunningProxy, proxied

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
MESSAGES: Any = {"model": MODEL, "max_tokens": 9, "messages": CHAT["messages"]}


def hiding(*names: str) -> Bench:
    """Return a bench whose policy hides the tools *names*."""
    policy = StaticPolicy(judge, hidden=names)
    guard, ledger = memory_guard(policy)
    return Bench(guard, ledger, policy)


def tool(api: str, name: str, schema: Any = SCHEMA) -> Any:
    if api == "chat":
        return {"type": "function", "function": {"name": name, "parameters": schema}}
    if api == "responses":
        return {"type": "function", "name": name, "parameters": schema}
    return {"name": name, "input_schema": schema}


def ask(proxy: RunningProxy, api: str, **more: Any) -> Any:
    """Send a request of an official client."""
    with proxy.anthropic() if api == "messages" else proxy.openai() as client:
        if api == "chat":
            return client.chat.completions.create(**{**CHAT, **more})
        if api == "responses":
            return client.responses.create(**{**RESPONSES, **more})
        return client.messages.create(**{**MESSAGES, **more})


apis = pytest.mark.parametrize("api", ["chat", "responses", "messages"])


@apis
def test_the_model_is_not_offered_what_the_policy_hides(api: str) -> None:
    """The other tools are sent as they came, and a call of a hidden one is decided all the same."""
    bench = hiding("pay")
    tools = [tool(api, name) for name in ("weather", "pay")]
    call = Turn(calls=[Call("pay", {"city": "Bern"}, "call_1")])
    with (
        ModelServer([Turn("Sun."), call, Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        ask(proxy, api, tools=tools)
        assert "call_1" in ask(proxy, api, tools=tools[1:]).to_json()
        ask(proxy, api, tools=tools[:1])
    assert upstream.bodies[0]["tools"] == tools[:1]
    assert "tools" not in upstream.bodies[1]
    assert upstream.bodies[2]["tools"] == tools[:1]
    (decision,) = bench.decisions
    assert (decision["tool"]["name"], decision["tool"]["declared"]) == ("pay", False)


def test_a_denied_call_says_that_the_request_did_not_contain_its_tool(bench: Bench) -> None:
    """Not if a stored prompt can hold it. The policy decides in all cases."""
    call = Turn(calls=[Call("weather", {"city": "Atlantis"}, "call_1")])
    with (
        ModelServer([call], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, hosted_tools=("prompt",)) as proxy,
    ):
        told = [
            "the request did not contain this tool" in ask(proxy, "responses", **more).to_json()
            for more in (
                {"tools": [tool("responses", "other")]},
                {"tools": [tool("responses", "weather")]},
                {"prompt": {"id": "pmpt_1"}},
            )
        ]
    assert told == [True, False, False]
    found = [each["tool"].get("refused") for each in bench.decisions]
    assert found == ["not_requested", None, None]


HOSTED = [
    ("chat", {"web_search_options": {}}),
    ("responses", {"tools": [{"type": "web_search"}]}),
    ("responses", {"tools": [{"type": "new"}]}),
    ("responses", {"background": True}),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("messages", {"extra_body": {"mcp_servers": [{"type": "url", "name": "x", "url": "y"}]}}),
    ("chat", {"tools": [tool("chat", f"t{number}") for number in range(10_000)]}),
]


@pytest.mark.parametrize(("api", "more"), HOSTED, ids=lambda each: str(each)[:60])
def test_what_can_not_be_governed_is_refused_before_it_is_sent(
    bench: Bench, api: str, more: Any
) -> None:
    """In the format of the API, and the next request works."""
    kind: Any = anthropic.BadRequestError if api == "messages" else openai.BadRequestError
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        with pytest.raises(kind) as raised:
            ask(proxy, api, **more)
        assert "model_request" in str(raised.value.body)
        assert upstream.requests == []
        assert "Sun." in ask(proxy, api).to_json()


def test_a_setting_lets_the_provider_run_a_tool(bench: Bench) -> None:
    """Its calls are recorded."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    with (
        ModelServer([Turn("Sun.", items=[search])]) as upstream,
        proxied(bench.guard, upstream.openai, hosted_tools=("web_search",)) as proxy,
    ):
        ask(proxy, "responses", tools=[{"type": "web_search"}])
    assert upstream.bodies[0]["tools"] == [{"type": "web_search"}]
    assert [each["reason"] for each in bench.rejected] == ["provider_tool"]


CONTAINER = {"type": "shell", "environment": {"type": "container_auto"}}
OWN_SHELL = {"type": "shell", "environment": {"type": "local"}}


@pytest.mark.parametrize("way", ["proxy", "client"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("output", [False, True])
@pytest.mark.parametrize(
    ("tools", "ran"),
    [
        ([CONTAINER], True),
        ([OWN_SHELL], False),
        ([{"type": "shell"}], False),
        ([], False),
        ([CONTAINER, OWN_SHELL], False),
    ],
    ids=["container", "local", "plain", "none", "both"],
)
def test_only_the_request_says_that_the_provider_runs_a_shell(
    bench: Bench, way: str, tools: list[Any], *, ran: bool, streamed: bool, output: bool
) -> None:
    """Otherwise, the call is decided, although the answer claims that it has run."""
    call: Any = {"type": "shell_call", "call_id": "c1", "note": "Atlantis"}
    items = [call, {"type": "shell_call_output", "call_id": "c1", "output": []}]
    if not output or streamed:
        items = [{**call, "environment": {"type": "container_reference"}}, *items[1:]]
    with (
        ModelServer([Turn("Sun.", items=items)]) as upstream,
        proxied(bench.guard, upstream.openai, hosted_tools=("shell",)) as proxy,
        client_for(upstream) as plain,
    ):
        client = proxy.openai() if way == "proxy" else govern_client(plain, bench.guard)
        made = client.responses.create(**RESPONSES, tools=tools, stream=streamed)
        if streamed:
            seen = [each.item.type for each in made if each.type == "response.output_item.done"]
        else:
            seen = [each.type for each in made.output]
    assert seen[0] == ("shell_call" if ran else "message")
    assert len(bench.decisions) == (0 if ran else 1)
    assert [each["reason"] for each in bench.rejected] == (["provider_tool"] if ran else [])


def test_each_call_of_an_mcp_server_is_decided(bench: Bench) -> None:
    """It comes back as a request for approval."""
    server = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example"}
    request = {
        "type": "mcp_approval_request",
        "id": "mcpr_1",
        "server_label": "crm",
        "name": "look",
        "arguments": '{"city": "Atlantis"}',
    }
    with (
        ModelServer([Turn(items=[request])]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        made = ask(proxy, "responses", tools=[{**server, "require_approval": "never"}])
    assert upstream.bodies[0]["tools"] == [{**server, "require_approval": "always"}]
    assert [each.type for each in made.output] == ["message"]
    assert [each["tool"]["server"] for each in bench.decisions] == ["crm"]


@apis
def test_a_request_that_demands_a_hidden_tool_is_refused(api: str) -> None:
    """Nothing is sent."""
    named = {"type": "tool", "name": "pay"} if api == "messages" else tool(api, "pay")
    bench = hiding("pay")
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as raised:
            ask(proxy, api, tools=[tool(api, "pay")], tool_choice=named)
        assert "hidden_tool" in str(raised.value.body)
    assert upstream.requests == []
