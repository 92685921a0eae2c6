"""Every shape of tool that LangChain has is governed: of a retriever, a toolkit, a runnable, an MCP
server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import (
    BaseTool,
    BaseToolkit,
    StructuredTool,
    Tool,
    create_retriever_tool,
    tool,
)
from langchain_mcp_adapters.client import MultiServerMCPClient

from guardrail import UsageError
from guardrail.integrations.langchain import GuardMiddleware, govern
from tests.support.langchain import RUNS, Scripted, WeatherClass, weather
from tests.support.paths import PROGRAMS


class Places(BaseRetriever):
    """Find documents about a place."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        RUNS.append(query)
        return [Document(f"sun in {query}")]


class Kit(BaseToolkit):
    """Two tools."""

    def get_tools(self) -> list[BaseTool]:
        return [weather, WeatherClass()]


def _single(city: str) -> str:
    RUNS.append(city)
    return f"sun in {city}"


@tool(return_direct=True)
def direct(city: str) -> str:
    """Answer without the model."""
    RUNS.append(city)
    return f"sun in {city}"


JSON = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

SHAPES: dict[str, tuple[Any, str]] = {
    "retriever": (lambda: create_retriever_tool(Places(), "find", "Find a place."), "query"),
    "single": (lambda: Tool("single", _single, "Tell the weather."), "__arg1"),
    "structured": (lambda: StructuredTool.from_function(_single, description="w"), "city"),
    "schema": (
        lambda: StructuredTool(name="schema", description="w", func=_single, args_schema=JSON),
        "city",
    ),
    "runnable": (
        lambda: RunnableLambda(lambda given: _single(given["city"])).as_tool(
            name="runnable", description="w", arg_types={"city": str}
        ),
        "city",
    ),
    "class": (WeatherClass, "city"),
    "kit": (lambda: Kit().get_tools()[0], "city"),
    "direct": (lambda: direct, "city"),
}


def asks(name: str, argument: str, city: str) -> AIMessage:
    call = {"name": name, "args": {argument: city}, "id": "c-1", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


async def conversation(
    tools: list[BaseTool], middleware: list[Any], message: AIMessage, awaited: bool
) -> list[Any]:
    agent = create_agent(
        Scripted(responses=[message, AIMessage("done")]), tools=tools, middleware=middleware
    )
    question = {"messages": [HumanMessage("weather?")]}
    result = await agent.ainvoke(question) if awaited else agent.invoke(question)
    return [message.model_dump(exclude={"id"}) for message in result["messages"]]


@pytest.mark.call_path(
    "LangChain",
    "retriever tools",
    "`Tool`, `StructuredTool`, JSON Schema tools, `as_tool`",
    "tools of a toolkit",
    "`return_direct`",
    result="governed",
)
@pytest.mark.filterwarnings("ignore:This API is in beta")
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("how", ["middleware", "governed"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_tool_of_each_shape_is_governed_and_its_results_stay_the_same(
    bench: Any, shape: str, how: str, awaited: bool
) -> None:
    """The allowed call gives the messages of an ungoverned run; the denied one does not run."""
    make, argument = SHAPES[shape]
    made = make()
    message = asks(made.name, argument, "Bern")
    plain = await conversation([made], [], message, awaited)
    assert RUNS == ["Bern"]
    RUNS.clear()
    tools = govern([made], bench.guard) if how == "governed" else [made]
    middleware = [GuardMiddleware(bench.guard)] if how == "middleware" else []
    assert await conversation(tools, middleware, message, awaited) == plain
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1
    refused = await conversation(tools, middleware, asks(made.name, argument, "Atlantis"), awaited)
    assert refused[2]["content"] == "denied by policy: no_such_place"
    assert (len(RUNS), len(bench.decisions), len(bench.outcomes)) == (1, 2, 1)


@pytest.mark.call_path(
    "LangChain",
    "a toolkit",
    result="refused",
    note="it creates new tools each time; the error suggests `govern(toolkit.get_tools(), guard)`",
)
def test_a_toolkit_is_governed_by_its_tools(bench: Any) -> None:
    """The toolkit itself makes new, ungoverned tools each time, so it is refused with the way."""
    with pytest.raises(UsageError) as refused:
        govern(Kit(), bench.guard)  # type: ignore[call-overload]
    assert refused.value.hint == "govern(toolkit.get_tools(), guard)"
    first, second = govern(Kit().get_tools(), bench.guard)
    first.invoke({"city": "Bern"})
    second.invoke({"city": "Bern"})
    assert len(RUNS) == len(bench.decisions) == 2


# -- a real MCP server


def servers(notes: Path) -> MultiServerMCPClient:
    program = str(PROGRAMS / "mcp_places.py")
    return MultiServerMCPClient(
        {"places": {"command": sys.executable, "args": [program, str(notes)], "transport": "stdio"}}
    )


@pytest.mark.call_path("LangChain", "tools loaded by `langchain-mcp-adapters`", result="governed")
@pytest.mark.slow
@pytest.mark.parametrize("how", ["middleware", "governed"])
async def test_the_tools_of_an_mcp_server_are_governed(
    bench: Any, tmp_path: Path, how: str
) -> None:
    """Allowed, denied, failed at the server, and with arguments that don't fit its schema."""
    notes = tmp_path / "notes"
    tools = await servers(notes).get_tools()
    if how == "governed":
        tools = govern(tools, bench.guard)
    names = [("weather", "Bern"), ("weather", "Atlantis"), ("broken", "Rome"), ("weather", 5)]
    calls = [
        {"name": name, "args": {"city": city}, "id": f"c-{number}", "type": "tool_call"}
        for number, (name, city) in enumerate(names)
    ]
    agent = create_agent(
        Scripted(responses=[AIMessage("", tool_calls=calls), AIMessage("done")]),
        tools=tools,
        middleware=[GuardMiddleware(bench.guard)] if how == "middleware" else [],
    )
    result = await agent.ainvoke({"messages": [HumanMessage("weather?")]})
    answers = [message for message in result["messages"] if isinstance(message, ToolMessage)]
    assert "sun in Bern" in answers[0].text
    assert [message.status for message in answers] == ["success", "error", "error", "error"]
    assert answers[1].text == "denied by policy: no_such_place"
    assert "no weather in Rome" in answers[2].text
    assert sorted(notes.read_text().split()) == ["Bern", "Rome"]
    causes = sorted(record["decision"]["cause"] for record in bench.decisions)
    assert causes == ["arguments", "policy", "policy", "policy"]
    assert sorted(record["status"] for record in bench.outcomes) == ["error", "ok"]
