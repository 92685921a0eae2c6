"""A deep agent is governed in every tool, and so is each of its sub-agents; one that can't be is
refused.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepagents
import pytest
from deepagents import RubricMiddleware
from deepagents.backends import FilesystemBackend, LocalShellBackend
from deepagents.middleware.skills import SkillsMiddleware
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core._api import LangChainBetaWarning
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from guardrail import LedgerError, UsageError
from guardrail.integrations.deepagents import create_deep_agent
from guardrail.integrations.langchain import (
    GuardMiddleware,
    LedgerStop,
    check_governed,
    govern,
    tool_call_wrappers,
)
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.langchain import RUNS, Scripted, weather

both = pytest.mark.parametrize("awaited", [False, True])

RESPONSE_FORMAT = "__deepagents_subagent_response_format"
"""Key with which deepagents makes a sub-agent again, for another response format."""


@tool
def added(city: str) -> str:
    """Belong to a middleware."""
    RUNS.append(f"added {city}")
    return f"added {city}"


class Adding(AgentMiddleware[Any, Any, Any]):
    """A middleware with a tool of its own."""

    tools = [added]  # noqa: RUF012 - as LangChain's own middleware declares it


def plain_function(city: str) -> str:
    """Tell the weather."""
    RUNS.append(f"plain {city}")
    return f"rain in {city}"


def call(name: str, ident: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": ident}])


def start(agent: str, ident: str = "start") -> AIMessage:
    return call("task", ident, description="do it", subagent_type=agent)


def scripted(*said: AIMessage) -> Scripted:
    return Scripted(responses=list(said))


def sub(name: str, *said: AIMessage, **more: Any) -> dict[str, Any]:
    """A declared sub-agent that follows a script of its own."""
    model = scripted(*said, AIMessage("sub-agent done"))
    return {"name": name, "description": "helps", "system_prompt": "", "model": model, **more}


async def run(agent: Any, awaited: bool, config: Any = None) -> dict[str, Any]:
    question = {"messages": [HumanMessage("go")]}
    given: Any = (question, config)
    found: dict[str, Any] = await agent.ainvoke(*given) if awaited else agent.invoke(*given)
    return found


def answers(result: dict[str, Any]) -> list[ToolMessage]:
    return [item for item in result["messages"] if isinstance(item, ToolMessage)]


def parents(bench: Any) -> list[tuple[str, str | None]]:
    """The tool of each decision, with the tool whose body made the call."""
    tools = {record["call"]: record["tool"]["name"] for record in bench.decisions}
    return [(item["tool"]["name"], tools.get(item["parent"])) for item in bench.decisions]


@pytest.mark.call_path(
    "deepagents",
    "tools of the program",
    "tools of middleware",
    "file tools",
    "the shell",
    result="governed",
)
@both
async def test_every_tool_of_a_deep_agent_has_a_decision_and_an_outcome(
    bench: Any, tmp_path: Path, awaited: bool
) -> None:
    """Those of the program, of a middleware, of the file system and the shell."""
    note, mark = tmp_path / "note.txt", tmp_path / "shell.txt"
    said = [
        call("weather", "1", city="Bern"),
        call("plain_function", "2", city="Bern"),
        call("added", "3", city="Bern"),
        call("write_file", "4", file_path=str(note), content="written"),
        call("execute", "5", command=f"echo run > {mark}"),
        AIMessage("done"),
    ]
    agent = create_deep_agent(
        scripted(*said),
        [weather, plain_function],
        guard=bench.guard,
        middleware=[Adding()],
        backend=LocalShellBackend(root_dir=tmp_path, virtual_mode=False),
    )
    result = await run(agent, awaited)
    assert {item.status for item in answers(result)} == {"success"}
    assert RUNS == ["Bern", "plain Bern", "added Bern"]
    assert (note.read_text(), mark.read_text()) == ("written", "run\n")
    assert [item["origin"]["call_id"] for item in bench.decisions] == list("12345")
    assert [item["status"] for item in bench.outcomes] == ["ok"] * 5


@pytest.mark.call_path(
    "deepagents", "sub-agents: general-purpose, declared, compiled", result="governed"
)
@both
async def test_the_calls_of_every_sub_agent_are_governed_and_name_the_task_call_as_their_parent(
    bench: Any, awaited: bool
) -> None:
    """The general-purpose one, a declared one with its own middleware, and a compiled one."""
    compiled = create_agent(
        scripted(call("weather", "c", city="Chur"), AIMessage("compiled done")),
        tools=[weather],
        middleware=[GuardMiddleware(bench.guard)],
    )
    said = [
        start("general-purpose"),
        call("weather", "g", city="Genf"),
        AIMessage("general done"),
        start("declared"),
        start("compiled"),
        AIMessage("done"),
    ]
    declared = sub(
        "declared",
        call("added", "d", city="Davos"),
        call("write_file", "f", file_path="/a.txt", content="x"),
        tools=[],
        middleware=[Adding()],
    )
    agent = create_deep_agent(
        scripted(*said),
        [weather],
        guard=bench.guard,
        subagents=[
            declared,
            {"name": "compiled", "description": "helps", "runnable": compiled},
        ],
    )
    result = await run(agent, awaited)
    texts = [item.content for item in answers(result)]
    assert texts == ["general done", "sub-agent done", "compiled done"]
    assert RUNS == ["Genf", "added Davos", "Chur"]
    assert parents(bench) == [
        ("task", None),
        ("weather", "task"),
        ("task", None),
        ("added", "task"),
        ("write_file", "task"),
        ("task", None),
        ("weather", "task"),
    ]
    assert [item["status"] for item in bench.outcomes] == ["ok"] * 7


@both
async def test_a_denied_call_of_a_sub_agent_does_not_run(bench: Any, awaited: bool) -> None:
    declared = sub(
        "declared",
        call("weather", "1", city="Atlantis"),
        call("write_file", "2", file_path="Atlantis", content="x"),
        call("weather", "3", city="Bern"),
    )
    said = [
        start("general-purpose"),
        call("weather", "4", city="Atlantis"),
        AIMessage("told"),
        start("declared"),
        AIMessage("done"),
    ]
    agent = create_deep_agent(scripted(*said), [weather], guard=bench.guard, subagents=[declared])
    await run(agent, awaited)
    assert RUNS == ["Bern"]
    assert len(bench.decisions) == 6
    assert len(bench.outcomes) == 3


@pytest.fixture
def beta() -> Iterator[None]:
    """Without the warnings about what LangChain may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        yield


@pytest.mark.call_path("deepagents", "a forked sub-agent", result="governed")
@pytest.mark.usefixtures("beta")
async def test_a_forked_sub_agent_is_governed(bench: Any) -> None:
    """It has the tools and middleware of the main agent, and a task tool of its own."""
    fork = {"name": "fork", "description": "helps", "mode": "fork", "middleware": [Retrying()]}
    said = [
        start("fork"),
        call("weather", "1", city="Bern"),
        call("added", "2", city="Atlantis"),
        start("fork", "again"),
        AIMessage("fork done"),
        AIMessage("done"),
    ]
    agent = create_deep_agent(
        scripted(*said),
        [weather],
        guard=bench.guard,
        middleware=[Adding()],
        subagents=[fork],
    )
    await run(agent, awaited=False)
    assert RUNS == ["Bern", "Bern"]
    assert parents(bench) == [
        ("task", None),
        ("weather", "task"),
        ("weather", "task"),
        ("added", "task"),
        ("added", "task"),
        ("task", "task"),
        ("task", "task"),
    ]
    assert len(bench.outcomes) == len(bench.decisions) - 2  # two were denied


class Retrying(AgentMiddleware[Any, Any, Any]):
    """A middleware that runs each call of a tool two times."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        handler(request)
        return handler(request)


@pytest.mark.call_path(
    "deepagents", "a sub-agent rebuilt for a different response format", result="governed"
)
async def test_a_sub_agent_made_again_for_another_response_format_is_governed(bench: Any) -> None:
    schema = {
        "title": "Found",
        "description": "found",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    found = call("Found", "found", city="Bern")
    asked = [call("weather", city, city=city) for city in ("Bern", "Atlantis")]
    declared = sub("declared", *asked, found)
    agent = create_deep_agent(
        scripted(start("declared"), AIMessage("done")),
        [weather],
        guard=bench.guard,
        subagents=[declared],
    )
    result = await run(agent, False, {"configurable": {RESPONSE_FORMAT: schema}})
    assert answers(result)[0].content == '{"city": "Bern"}'
    assert RUNS == ["Bern"]
    assert parents(bench) == [("task", None), ("weather", "task"), ("weather", "task")]
    assert (len(bench.decisions), len(bench.outcomes)) == (3, 2)


async def test_the_policy_decides_the_arguments_that_a_person_has_edited(bench: Any) -> None:
    """In the main agent, and in a sub-agent."""
    edit = {
        "decisions": [
            {"type": "edit", "edited_action": {"name": "weather", "args": {"city": "Atlantis"}}}
        ]
    }
    declared = sub("declared", call("weather", "2", city="Bern"))
    agent = create_deep_agent(
        scripted(call("weather", "1", city="Bern"), start("declared"), AIMessage("")),
        [weather],
        guard=bench.guard,
        subagents=[declared],
        interrupt_on={"weather": True},
        checkpointer=InMemorySaver(),
    )
    config: Any = {"configurable": {"thread_id": "edited"}}
    await run(agent, False, config)
    agent.invoke(Command(resume=edit), config)
    agent.invoke(Command(resume=edit), config)
    assert RUNS == []
    args = [item["action"]["properties"]["args"] for item in bench.policy.inputs]
    assert [item["city"] for item in args if "city" in item] == ["Atlantis", "Atlantis"]


async def test_a_deep_agent_gives_the_same_messages_with_and_without_a_guard(bench: Any) -> None:
    def told(result: dict[str, Any]) -> list[Any]:
        return [item.model_dump(exclude={"id"}) for item in result["messages"]]

    def agent(make: Any, **more: Any) -> Any:
        said = [
            call("ls", "1", path="/"),
            call("climate", "2", city="Bern"),
            call("weather", "3"),
            start("general-purpose"),
            call("weather", "4", city="Bern"),
            AIMessage("general done"),
            AIMessage("done"),
        ]
        return make(scripted(*said), [weather], system_prompt="be brief", **more)

    plain = await run(agent(deepagents.create_deep_agent), awaited=False)
    governed = await run(agent(create_deep_agent, guard=bench.guard), awaited=False)
    assert told(plain) == told(governed)
    assert [item["reason"] for item in bench.rejected] == ["unknown_tool", "arguments"]


@both
async def test_a_deep_agent_can_be_the_compiled_sub_agent_of_another(
    bench: Any, awaited: bool
) -> None:
    """It has sub-agents of its own, so its task tool has another description."""
    inside = [call("weather", "1", city="Bern"), AIMessage("general said")]
    inner = create_deep_agent(
        scripted(start("general-purpose"), *inside, AIMessage("inner done")),
        [weather],
        guard=bench.guard,
    )
    compiled = {"name": "inner", "description": "helps", "runnable": inner}
    agent = create_deep_agent(
        scripted(start("inner", "outer"), AIMessage("done")),
        [weather],
        guard=bench.guard,
        subagents=[compiled],
    )
    await run(agent, awaited)
    assert RUNS == ["Bern"]
    assert parents(bench) == [("task", None), ("task", "task"), ("weather", "task")]
    assert len(bench.outcomes) == 3


@both
async def test_a_ledger_that_fails_in_a_sub_agent_stops_the_program(
    bench: Any, awaited: bool
) -> None:
    def failing(draft: Any) -> LedgerError | None:
        text = b"".join(draft.segments)
        return LedgerError("gone") if b'"name":"weather"' in text else None

    bench.ledger.fail = failing
    agent = create_deep_agent(
        scripted(start("general-purpose"), call("weather", "1", city="Bern"), AIMessage("said")),
        [weather],
        guard=bench.guard,
    )
    with pytest.raises(LedgerStop, match="gone"):
        await run(agent, awaited)
    assert RUNS == []


@pytest.mark.call_path("deepagents", "tools from a skill", result="governed")
@both
async def test_a_tool_that_a_skill_brings_is_governed(
    bench: Any, tmp_path: Path, awaited: bool
) -> None:
    """The tool node does not have it, and deepagents' middleware for skills runs inside the guard
    of the main agent.
    """
    skill = tmp_path / "skills" / "travel"
    skill.mkdir(parents=True)
    head = "name: travel\ndescription: Adds cities.\nmetadata:\n  include_tools: added"
    (skill / "SKILL.md").write_text(f"---\n{head}\n---\nAdd a city.\n")
    backend = FilesystemBackend(root_dir=tmp_path, virtual_mode=True)

    def script(city: str) -> list[AIMessage]:
        read = call("read_file", f"read {city}", file_path="/skills/travel/SKILL.md")
        asked = [call("added", each, city=each) for each in (city, "Atlantis")]
        return [read, *asked]

    def skills() -> Any:
        return SkillsMiddleware(backend=backend, sources=["/skills/"], tools=[added])

    agent = create_deep_agent(
        scripted(*script("Bern"), start("declared"), AIMessage("done")),
        guard=bench.guard,
        middleware=[skills()],
        subagents=[sub("declared", *script("Basel"), middleware=[skills()])],
        backend=backend,
    )
    result = await run(agent, awaited)
    assert [item.status for item in answers(result)] == ["success", "success", "error", "success"]
    assert RUNS == ["added Bern", "added Basel"]
    names = [item["tool"]["name"] for item in bench.decisions]
    assert names == ["read_file", "added", "added", "task", "read_file", "added", "added"]
    assert len(bench.outcomes) == 5


# -- refusals


def bad_tools() -> Any:
    return create_agent(scripted(AIMessage("")), tools=[weather])


def bad_node(state: MessagesState) -> Any:
    return weather.invoke({"city": "Bern"})


def bad_code() -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("work", bad_node)
    builder.add_edge(START, "work")
    return builder.compile()


def bad_subgraph() -> Any:
    """An agent with a guard whose tool asks an agent without one."""
    inner = bad_tools()

    @tool
    def ask(question: str) -> str:
        """Ask."""
        return str(inner.invoke({"messages": [HumanMessage(question)]}))

    return ask


@pytest.mark.call_path(
    "deepagents",
    "a compiled sub-agent without a guard",
    result="refused",
    note="`UsageError` when the agent is created",
)
@pytest.mark.parametrize(
    ("runnable", "message"),
    [
        (bad_tools(), 'not governed: agent "researcher": tool "weather"'),
        (bad_tools().with_config(tags=["x"]), 'agent "researcher": tool "weather"'),
        (bad_code(), 'not governed: agent "researcher": tool "weather"'),
        (RunnableLambda(lambda state: state), 'sub-agent "researcher" is not a compiled graph'),
    ],
)
def test_a_compiled_sub_agent_that_is_not_governed_is_refused(
    bench: Any, runnable: Any, message: str
) -> None:
    compiled = {"name": "researcher", "description": "helps", "runnable": runnable}
    with pytest.raises(UsageError) as refused:
        create_deep_agent(scripted(), [weather], guard=bench.guard, subagents=[compiled])
    assert message in refused.value.message
    assert refused.value.code == "usage.ungoverned"
    assert "GuardMiddleware(guard)" in (refused.value.hint or "")


def test_a_compiled_sub_agent_of_another_guard_is_refused(bench: Any) -> None:
    other, _ = memory_guard(StaticPolicy(lambda _: allow("any")))
    runnable = create_agent(scripted(), tools=[weather], middleware=[GuardMiddleware(other)])
    compiled = {"name": "researcher", "description": "helps", "runnable": runnable}
    with pytest.raises(UsageError, match='agent "researcher": tool "weather"'):
        create_deep_agent(scripted(), guard=bench.guard, subagents=[compiled])


@pytest.mark.call_path(
    "deepagents",
    "a sub-agent on another server",
    result="refused",
    note="its tools run on a server without a guard",
)
def test_a_sub_agent_on_another_server_is_refused(bench: Any) -> None:
    remote = {"name": "remote", "description": "helps", "graph_id": "x", "url": "http://127.0.0.1"}
    with pytest.raises(UsageError, match='sub-agent "remote" runs on a different server'):
        create_deep_agent(scripted(), guard=bench.guard, subagents=[remote])
    middleware = deepagents.AsyncSubAgentMiddleware(async_subagents=[remote])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="run on a different server"):
        create_deep_agent(scripted(), guard=bench.guard, middleware=[middleware])


def test_sub_agents_in_a_middleware_of_the_program_are_refused_unless_they_are_governed(
    bench: Any,
) -> None:
    def middleware(*own: Any) -> Any:
        spec = sub("researcher", tools=[weather], middleware=list(own))
        return deepagents.SubAgentMiddleware(backend=deepagents_backend(), subagents=[spec])  # type: ignore[list-item]

    with pytest.raises(UsageError, match='agent "researcher": tool "weather"'):
        create_deep_agent(scripted(), guard=bench.guard, middleware=[middleware()])
    create_deep_agent(
        scripted(),
        guard=bench.guard,
        middleware=[middleware(GuardMiddleware(bench.guard))],
    )


def deepagents_backend() -> Any:
    from deepagents.backends import StateBackend

    return StateBackend()


@pytest.mark.call_path(
    "deepagents",
    "ungoverned tools of a grader (`RubricMiddleware`)",
    result="refused",
    note="`UsageError` when the agent is created",
)
@pytest.mark.usefixtures("beta")
def test_a_grader_with_ungoverned_tools_is_refused(bench: Any) -> None:
    """deepagents makes the grader only when the agent runs."""

    def made(**more: Any) -> Any:
        rubric = RubricMiddleware(model=scripted(), **more)
        return create_deep_agent(scripted(), guard=bench.guard, middleware=[rubric])

    with pytest.raises(UsageError, match='tool "weather" of RubricMiddleware'):
        made(tools=[weather])
    made(tools=govern([weather], bench.guard))
    made(tools=[weather], grader_middleware=[GuardMiddleware(bench.guard)])
    made()


@pytest.mark.call_path(
    "deepagents",
    "a tool that calls an ungoverned agent",
    result="refused",
    note="`UsageError` when the agent is created",
)
def test_a_tool_that_asks_an_ungoverned_agent_is_refused(bench: Any) -> None:
    with pytest.raises(UsageError, match='agent "main agent": tool "weather"'):
        create_deep_agent(scripted(), [bad_subgraph()], guard=bench.guard)


def test_a_profile_that_removes_the_guard_is_refused(bench: Any) -> None:
    class Profiled(Scripted):
        def _get_ls_params(self, *_: Any, **__: Any) -> Any:
            return {"ls_provider": "guardrail-test", "ls_model_name": "x"}

    from deepagents import HarnessProfile, register_harness_profile

    profile = HarnessProfile(excluded_middleware=frozenset({"GuardMiddleware"}))
    register_harness_profile("guardrail-test", profile)
    with pytest.raises(UsageError, match='agent "main agent": tool "ls"'):
        create_deep_agent(Profiled(responses=[]), guard=bench.guard)


def test_a_second_guard_middleware_is_refused(bench: Any) -> None:
    with pytest.raises(UsageError, match="adds GuardMiddleware itself"):
        create_deep_agent(
            scripted(),
            guard=bench.guard,
            middleware=[GuardMiddleware(bench.guard)],
        )


def test_the_check_of_a_graph_names_each_tool_that_is_not_governed(bench: Any) -> None:
    def graph(node: Any) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("tools", node)
        builder.add_edge(START, "tools")
        return builder.compile(name="helper")

    guard = bench.guard
    with pytest.raises(UsageError, match='not governed: agent "helper": tool "added"\n'):
        check_governed(graph(ToolNode([govern(weather, guard), added])), guard)
    check_governed(graph(ToolNode([govern(weather, guard)])), guard)
    check_governed(graph(ToolNode([weather, added], **tool_call_wrappers(guard))), guard)
    half: Any = {"wrap_tool_call": tool_call_wrappers(guard)["wrap_tool_call"]}
    check_governed(graph(ToolNode([weather], **half)), guard)
    half = {"awrap_tool_call": tool_call_wrappers(guard)["awrap_tool_call"]}
    with pytest.raises(UsageError, match='agent "helper": tool "weather"'):
        check_governed(graph(ToolNode([weather], **half)), guard)
    with pytest.raises(UsageError, match="not a compiled graph"):
        check_governed(weather, guard)


@pytest.mark.call_path(
    "deepagents",
    "sub-agents of `deepagents.create_deep_agent` itself",
    result="not governed",
    note="they do not inherit middleware; use guardrail's function",
)
def test_the_general_purpose_agent_of_plain_deepagents_is_not_governed(bench: Any) -> None:
    """The reason for this integration."""
    agent = deepagents.create_deep_agent(
        scripted(), [weather], middleware=[GuardMiddleware(bench.guard)]
    )
    with pytest.raises(UsageError, match='agent "general-purpose": tool "weather"'):
        check_governed(agent, bench.guard)


def test_without_deepagents_the_integration_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['deepagents'] = None\n"
        "try:\n    import guardrail.integrations.deepagents\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("install guardrail with the 'deepagents' extra (README.md)")
