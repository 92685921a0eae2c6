"""GuardMiddleware governs every tool of an agent, and ToolNode's wrappers every tool of a node: one
decision and one outcome for each body that ran.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from guardrail import LedgerError, UsageError
from guardrail.errors import ConfigError
from guardrail.integrations.langchain import (
    GuardMiddleware,
    LedgerStop,
    MiddlewareOrderWarning,
    govern,
    tool_call_wrappers,
)
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.langchain import RUNS, Scripted, WeatherClass, weather, weather_async


@tool
def added(city: str) -> str:
    """Belong to a middleware."""
    RUNS.append(f"added {city}")
    return f"added {city}"


class Adding(AgentMiddleware[Any, Any, Any]):
    """A middleware with a tool of its own."""

    tools = [added]  # noqa: RUF012 - as LangChain's own middleware declares it


def ask(*cities: str, name: str = "weather") -> AIMessage:
    calls = [
        {"name": name, "args": {"city": city}, "id": f"call-{city}", "type": "tool_call"}
        for city in cities
    ]
    return AIMessage("", tool_calls=calls)


def messages(result: dict[str, Any]) -> list[ToolMessage]:
    return [message for message in result["messages"] if isinstance(message, ToolMessage)]


async def run(agent: Any, awaited: bool) -> dict[str, Any]:
    question = {"messages": [HumanMessage("weather?")]}
    found: dict[str, Any] = await agent.ainvoke(question) if awaited else agent.invoke(question)
    return found


def graph(node: ToolNode) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    return builder.compile()


both = pytest.mark.parametrize("awaited", [False, True])


@pytest.mark.call_path(
    "LangGraph",
    "`create_agent` with `GuardMiddleware`",
    "tools that other middleware adds",
    result="governed",
)
@both
async def test_every_tool_of_an_agent_is_governed(bench: Any, awaited: bool) -> None:
    """Its own, of every shape, and those that another middleware adds."""
    shapes = {"weather": weather, "weather_async": weather_async, "weather_class": WeatherClass()}
    if not awaited:
        del shapes["weather_async"]
    asked = [ask("Bern", name=name) for name in (*shapes, "added")]
    agent = create_agent(
        Scripted(responses=[*asked, AIMessage("done")]),
        tools=list(shapes.values()),
        middleware=[Adding(), GuardMiddleware(bench.guard)],
    )
    result = await run(agent, awaited)
    assert {message.status for message in messages(result)} == {"success"}
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == len(shapes) + 1
    assert {record["status"] for record in bench.outcomes} == {"ok"}
    assert {record["tool"]["name"] for record in bench.decisions} == {*shapes, "added"}
    assert {record["origin"]["call_id"] for record in bench.decisions} == {"call-Bern"}


@pytest.mark.call_path("LangGraph", "parallel calls", result="governed")
@both
async def test_a_denied_call_of_an_agent_does_not_run_and_the_others_do(
    bench: Any, awaited: bool
) -> None:
    agent = create_agent(
        Scripted(responses=[ask("Bern", "Atlantis", "Basel"), AIMessage("done")]),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard)],
    )
    result = await run(agent, awaited)
    assert [message.status for message in messages(result)] == ["success", "error", "success"]
    assert messages(result)[1].content == "denied by policy: no_such_place"
    assert sorted(RUNS) == ["Basel", "Bern"]
    assert (len(bench.decisions), len(bench.outcomes)) == (3, 2)


@pytest.mark.call_path(
    "LangGraph",
    "an unknown tool",
    "arguments that are not JSON",
    result="refused",
    note="`call.rejected`, reasons `unknown_tool` and `not_json`; the framework answers",
)
@both
async def test_an_agent_gives_the_same_messages_with_and_without_a_guard(
    bench: Any, awaited: bool
) -> None:
    """If nothing is denied; an unknown tool and unreadable arguments are answered as before."""
    asked = [
        ask("Bern", "Basel"),
        ask("Bern", name="climate"),
        AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "bad"}]),
        AIMessage(
            "",
            invalid_tool_calls=[
                {"name": "weather", "args": '{"city": ', "id": "broken", "error": "cut off"}
            ],
        ),
        AIMessage("done"),
    ]

    def told(result: dict[str, Any]) -> list[Any]:
        return [message.model_dump(exclude={"id"}) for message in result["messages"]]

    results = []
    for middleware in ([], [GuardMiddleware(bench.guard)]):
        agent = create_agent(Scripted(responses=asked), tools=[weather], middleware=middleware)
        results.append(told(await run(agent, awaited)))
    assert results[0] == results[1]
    assert [(item["tool"]["name"], item["reason"]) for item in bench.rejected] == [
        ("climate", "unknown_tool"),
        ("weather", "arguments"),
        ("weather", "not_json"),
    ]
    assert [item["origin"]["call_id"] for item in bench.rejected] == ["call-Bern", "bad", "broken"]
    assert len(bench.decisions) == len(bench.outcomes) == 2


@pytest.mark.call_path("LangGraph", "`ToolRetryMiddleware`", result="governed")
@both
async def test_each_attempt_of_a_retry_is_decided(bench: Any, awaited: bool) -> None:
    """Whichever side of the guard the retry is on."""

    @tool
    def fails(city: str) -> str:
        """Fail."""
        RUNS.append(city)
        raise ValueError("no")

    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    guarding = GuardMiddleware(bench.guard)
    for order in ([retry, guarding], [guarding, retry]):
        RUNS.clear()
        before = len(bench.decisions)
        agent = create_agent(
            Scripted(responses=[ask("Bern", name="fails"), AIMessage("done")]),
            tools=[fails],
            middleware=order,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MiddlewareOrderWarning)
            await run(agent, awaited)
        assert len(RUNS) == len(bench.decisions) - before == 3
    assert [record["status"] for record in bench.outcomes] == ["error"] * 6


class Rewriting(AgentMiddleware[Any, Any, Any]):
    """Change the call, or the tool, before it runs."""

    def __init__(self, city: str | None = None, other: BaseTool | None = None) -> None:
        super().__init__()
        self.city, self.other = city, other

    def _changed(self, request: Any) -> Any:
        if self.city is not None:
            request = request.override(tool_call={**request.tool_call, "args": {"city": self.city}})
        return request if self.other is None else request.override(tool=self.other)

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(self._changed(request))

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(self._changed(request))


@pytest.mark.call_path(
    "LangGraph", "middleware that changes the arguments or the tool", result="governed"
)
@both
@pytest.mark.parametrize("last", [True, False])
async def test_the_policy_sees_the_call_that_runs(bench: Any, awaited: bool, last: bool) -> None:
    """Another middleware rewrites the arguments, or puts in another tool, even inside the guard."""
    changing, guarding = Rewriting("Atlantis"), GuardMiddleware(bench.guard)
    swapping = Rewriting(other=added)
    for other in (changing, swapping):
        agent = create_agent(
            Scripted(responses=[ask("Bern"), AIMessage("done")]),
            tools=[weather],
            middleware=[other, guarding] if last else [guarding, other],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MiddlewareOrderWarning)
            await run(agent, awaited)
    assert bench.asked == [{"city": "Atlantis"}, {"city": "Bern"}]
    assert RUNS == ["added Bern"]
    assert [record["tool"]["name"] for record in bench.decisions] == ["weather", "added"]
    assert [record["call"] for record in bench.outcomes] == [bench.decisions[1]["call"]]


def test_setting_the_tool_of_a_request_governs_it_too(bench: Any) -> None:
    """LangGraph deprecates it, and still allows it."""

    class Setting(AgentMiddleware[Any, Any, Any]):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            request.tool = added
            return handler(request)

    agent = create_agent(
        Scripted(responses=[ask("Bern"), AIMessage("done")]),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard), Setting()],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent.invoke({"messages": [HumanMessage("?")]})
    assert (RUNS, len(bench.decisions)) == (["added Bern"], 1)


def test_a_tool_that_only_a_later_middleware_knows_is_governed_and_not_rejected(
    bench: Any,
) -> None:
    """Tools registered while the agent runs."""
    agent = create_agent(
        Scripted(responses=[ask("Bern", name="dynamic"), AIMessage("done")]),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard), Rewriting(other=added)],
    )
    with pytest.warns(MiddlewareOrderWarning):
        agent.invoke({"messages": [HumanMessage("?")]})
    assert (RUNS, len(bench.decisions), bench.rejected) == (["added Bern"], 1, [])


@pytest.mark.call_path(
    "LangGraph",
    "middleware inside `GuardMiddleware(strict=True)`",
    result="refused",
    note="it could run its own tool; without `strict`, `MiddlewareOrderWarning` reports it",
)
@both
async def test_a_middleware_that_is_not_last_says_so(bench: Any, awaited: bool) -> None:
    """Once; and before a tool runs if it is strict."""
    asked = [ask("Bern"), ask("Basel"), AIMessage("done")]
    agent = create_agent(
        Scripted(responses=asked),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard), Rewriting()],
    )
    with pytest.warns(MiddlewareOrderWarning, match="must come last") as seen:
        await run(agent, awaited)
    assert len([item for item in seen if item.category is MiddlewareOrderWarning]) == 1
    assert sorted(RUNS) == ["Basel", "Bern"]
    RUNS.clear()
    strict = create_agent(
        Scripted(responses=asked),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard, strict=True), Rewriting()],
    )
    with pytest.raises(MiddlewareOrderWarning) as raised:
        await run(strict, awaited)
    assert "last middleware" in raised.value.hint
    assert RUNS == []


@both
async def test_a_middleware_that_is_last_says_nothing(bench: Any, awaited: bool) -> None:
    """Also if those after it don't wrap tool calls, or come before it."""
    agent = create_agent(
        Scripted(responses=[ask("Bern"), AIMessage("done")]),
        tools=[weather],
        middleware=[Rewriting(), GuardMiddleware(bench.guard, strict=True), Adding()],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await run(agent, awaited)
    assert RUNS == ["Bern"]


@both
async def test_a_tool_that_is_governed_already_is_decided_once(bench: Any, awaited: bool) -> None:
    """With its own options."""
    agent = create_agent(
        Scripted(responses=[ask("Bern"), AIMessage("done")]),
        tools=govern([weather], bench.guard, target=["/city"], log_output=True),
        middleware=[GuardMiddleware(bench.guard, approvals="interrupt")],
    )
    await run(agent, awaited)
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1
    assert bench.decisions[0]["target"] == ["Bern"]


def test_a_tool_is_governed_once_and_again_if_it_changes(bench: Any) -> None:
    """The governed copy is cached, and never runs a body that the tool no longer has."""
    from guardrail.integrations.langchain.swapping import Swapping

    swapping = Swapping(bench.guard, strict=False, approvals="error")

    @tool
    def changing(city: str) -> str:
        """Change."""
        return "old"

    first = swapping.governed(changing)
    assert swapping.governed(changing) is first is swapping.governed(first)
    changing.func = lambda city: "new"  # type: ignore[attr-defined]
    assert swapping.governed(changing).invoke({"city": "Bern"}) == "new"


WEB = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
PROVIDER: list[tuple[dict[str, Any], str]] = [
    (WEB, "web_search_20250305"),
    ({"type": "code_interpreter", "container": {"type": "auto"}}, "code_interpreter"),
    ({"type": "mcp", "server_label": "files", "server_url": "x"}, "mcp"),
    ({"google_search": {}}, "google_search"),
]


@pytest.mark.call_path(
    "LangGraph",
    "a tool that the provider runs (a dict)",
    result="not governed",
    note="the provider runs its body; `call.rejected`, reason `provider_tool`, is recorded before"
    " the model is called",
)
@both
@pytest.mark.parametrize(("given", "name"), PROVIDER)
async def test_a_tool_that_runs_at_the_provider_is_recorded(
    bench: Any, awaited: bool, given: dict[str, Any], name: str
) -> None:
    """Its body is out of reach, so its name is on record before the model can use it."""
    agent = create_agent(
        Scripted(responses=[AIMessage("done")]),
        tools=[weather, given],
        middleware=[GuardMiddleware(bench.guard)],
    )
    await run(agent, awaited)
    assert [(item["tool"]["name"], item["reason"]) for item in bench.rejected] == [
        (name, "provider_tool")
    ]


@pytest.mark.call_path(
    "LangGraph",
    "a tool that the provider runs, with `strict=True`",
    result="refused",
    note="`UsageError` before the model is called",
)
@both
@pytest.mark.parametrize(("given", "name"), PROVIDER)
async def test_strict_mode_refuses_a_tool_that_runs_at_the_provider(
    bench: Any, awaited: bool, given: dict[str, Any], name: str
) -> None:
    """Before the model is asked, and with a record."""

    class Asked(Scripted):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            RUNS.append("model")
            return super()._generate(*args, **kwargs)

    agent = create_agent(
        Asked(responses=[AIMessage("done")]),
        tools=[weather, given],
        middleware=[GuardMiddleware(bench.guard, strict=True)],
    )
    with pytest.raises(UsageError, match=name) as raised:
        await run(agent, awaited)
    assert raised.value.code == "usage.provider_tool"
    assert (RUNS, len(bench.rejected)) == ([], 1)


class Settled(Scripted):
    """A model whose own settings bring a tool."""

    model_kwargs: dict[str, Any] = {"tools": [WEB]}  # noqa: RUF012 - a field of a pydantic model


class Setting(AgentMiddleware[Any, Any, Any]):
    """Add a tool to the settings of each request, or to its tools."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        settings, tools = {"tools": [WEB]}, [*request.tools, WEB]
        if self.where == "settings":
            return handler(request.override(model_settings=settings))
        return handler(request.override(tools=tools))


@pytest.mark.parametrize("where", ["model", "settings", "tools"])
def test_a_tool_of_the_provider_is_found_wherever_it_comes_from(bench: Any, where: str) -> None:
    """The model's own settings, and what another middleware puts into the request."""
    agent = create_agent(
        (Settled if where == "model" else Scripted)(responses=[AIMessage("done")]),
        tools=[weather],
        middleware=[
            *([] if where == "model" else [Setting(where)]),
            GuardMiddleware(bench.guard, strict=True),
        ],
    )
    with pytest.raises(UsageError, match="web_search"):
        agent.invoke({"messages": [HumanMessage("?")]})
    assert [item["reason"] for item in bench.rejected] == ["provider_tool"]


@pytest.mark.parametrize(
    "given",
    [
        {"type": "function", "function": {"name": "a", "parameters": {}}},
        {"type": "custom", "name": "a"},
        {"name": "a", "description": "b", "input_schema": {}},
        {"name": "a", "description": "b", "parameters": {}},
        {"title": "a", "type": "object", "properties": {}},
    ],
)
def test_the_description_of_a_local_tool_is_no_tool_of_the_provider(
    bench: Any, given: dict[str, Any]
) -> None:
    """A call of it comes back to the agent, and is recorded as one of an unknown tool."""
    agent = create_agent(
        Scripted(responses=[ask("Bern", name="a"), AIMessage("done")]),
        tools=[weather, given],
        middleware=[GuardMiddleware(bench.guard, strict=True)],
    )
    agent.invoke({"messages": [HumanMessage("?")]})
    assert [item["reason"] for item in bench.rejected] == ["unknown_tool"]


@pytest.mark.parametrize("name", ["a\u202eb", "x" * 300, " padded", "line\nbreak"])
def test_an_unknown_tool_with_a_name_that_cannot_be_recorded_is_recorded(
    bench: Any, name: str
) -> None:
    """A model chooses the name, so it may be anything."""
    agent = create_agent(
        Scripted(responses=[ask("Bern", name=name), AIMessage("done")]),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard)],
    )
    result = agent.invoke({"messages": [HumanMessage("?")]})
    assert messages(result)[0].status == "error"
    assert [item["tool"]["name"] for item in bench.rejected] == ["(not a tool name)"]
    assert name not in bench.text


# -- ToolNode


@pytest.mark.call_path("LangGraph", "`ToolNode` with `tool_call_wrappers`", result="governed")
@both
async def test_a_hand_built_node_governs_its_tools(bench: Any, awaited: bool) -> None:
    """The allowed call runs, the denied, the malformed and the unknown one don't."""
    node = ToolNode([weather], **tool_call_wrappers(bench.guard))  # type: ignore[arg-type]
    calls = [*ask("Bern", "Atlantis").tool_calls, *ask("Rome", name="climate").tool_calls]
    calls.append({"name": "weather", "args": {}, "id": "bad", "type": "tool_call"})
    asked = {"messages": [AIMessage("", tool_calls=calls)]}
    app = graph(node)
    result = await app.ainvoke(asked) if awaited else app.invoke(asked)
    found = {message.tool_call_id: message.status for message in messages(result)}
    assert found == {
        "call-Bern": "success",
        "call-Atlantis": "error",
        "call-Rome": "error",
        "bad": "error",
    }
    assert RUNS == ["Bern"]
    assert (len(bench.decisions), len(bench.outcomes)) == (2, 1)
    assert sorted(item["reason"] for item in bench.rejected) == ["arguments", "unknown_tool"]


@both
@pytest.mark.parametrize("handle", [True, "sorry", Exception, lambda error: "sorry"])
async def test_a_ledger_that_fails_stops_a_node_whatever_it_handles(
    bench: Any, awaited: bool, handle: Any
) -> None:
    """No body runs, and the program gets the LedgerError: for a call, and for an unknown tool."""
    node = ToolNode(
        [weather],
        handle_tool_errors=handle,
        **tool_call_wrappers(bench.guard),  # type: ignore[arg-type]
    )
    app = graph(node)
    bench.ledger.fail = lambda _: LedgerError("full", code="ledger.full")
    for name in ("weather", "climate"):
        asked = {"messages": [ask("Bern", name=name)]}
        with pytest.raises(LedgerStop):
            await app.ainvoke(asked) if awaited else app.invoke(asked)
    assert RUNS == []


@both
async def test_a_ledger_that_fails_stops_an_agent_under_a_retry(bench: Any, awaited: bool) -> None:
    """A retry acts on the errors of tools, not on this one."""
    agent = create_agent(
        Scripted(responses=[ask("Bern"), AIMessage("done")]),
        tools=[weather],
        middleware=[
            ToolRetryMiddleware(max_retries=3, initial_delay=0),
            GuardMiddleware(bench.guard),
        ],
    )
    bench.ledger.fail = lambda _: LedgerError("full", code="ledger.full")
    with pytest.raises(LedgerStop):
        await run(agent, awaited)
    assert RUNS == []


def test_the_middleware_and_the_node_take_the_same_options(bench: Any) -> None:
    """A misspelt one is refused when the agent is built."""
    with pytest.raises(UsageError, match="approvals"):
        GuardMiddleware(bench.guard, approvals="interupt")
    with pytest.raises(UsageError, match="approvals"):
        tool_call_wrappers(bench.guard, approvals="interupt")


def test_a_program_without_agents_does_not_load_them() -> None:
    """The middleware needs langchain and LangGraph; ``govern`` needs neither."""
    code = (
        "import sys\n"
        "from guardrail.integrations.langchain import govern, tool_call_wrappers\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'langchain', 'langgraph'}, loaded\n"
        "from guardrail.integrations.langchain import GuardMiddleware\n"
        "assert 'langchain' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_two_agents_with_two_guards_record_in_their_own_ledgers(bench: Any) -> None:
    """The same tool objects, governed twice."""
    other, ledger = memory_guard(StaticPolicy(allow("anywhere")))
    for guard in (bench.guard, other):
        agent = create_agent(
            Scripted(responses=[ask("Bern"), AIMessage("done")]),
            tools=[weather],
            middleware=[GuardMiddleware(guard)],
        )
        agent.invoke({"messages": [HumanMessage("?")]})
    assert len(bench.decisions) == len(ledger.of("call.decision")) == 1


def test_two_tools_with_one_name_are_refused_by_name(bench: Any) -> None:
    """The guard can't know which of them a call means; the next agent works."""

    @tool("weather")
    def other(place: int) -> str:
        """Take something else."""
        return str(place)

    with pytest.raises(ConfigError, match="weather") as refused:
        govern([weather, other], bench.guard)
    assert refused.value.code == "config.tool"
    govern(weather, bench.guard).invoke({"city": "Bern"})
    assert RUNS == ["Bern"]


def test_arguments_of_a_megabyte_are_decided_or_refused_with_a_record(bench: Any) -> None:
    """And the next call works."""
    large = {"name": "weather", "args": {"city": "x" * 1_000_000}, "id": "1", "type": "tool_call"}
    asked = [AIMessage("", tool_calls=[large]), ask("Bern"), AIMessage("done")]
    agent = create_agent(
        Scripted(responses=asked), tools=[weather], middleware=[GuardMiddleware(bench.guard)]
    )
    agent.invoke({"messages": [HumanMessage("?")]})
    allowed = [item for item in bench.decisions if item["decision"]["effect"] == "allow"]
    assert len(bench.decisions) == 2
    assert len(RUNS) == len(allowed) == len(bench.outcomes)
    assert RUNS[-1] == "Bern"
