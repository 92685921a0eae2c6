"""What the framework injects travels beside the arguments: the body gets it, policy and ledger
never see it.
"""

from typing import Annotated, Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel

from guardrail.integrations.langchain import govern
from tests.support.langchain import RUNS

MARK = "beside-" + "x" * 12
"""Stands in everything that is injected; it may be in no record."""


class State(MessagesState):
    note: str


@tool
def with_state(city: str, state: Annotated[dict, InjectedState]) -> str:
    """Use the graph's state."""
    RUNS.append(state["note"])
    return city


@tool
def with_field(city: str, note: Annotated[str, InjectedState("note")]) -> str:
    """Use one field of the state."""
    RUNS.append(note)
    return city


@tool
def with_store(city: str, store: Annotated[Any, InjectedStore()]) -> str:
    """Use the store."""
    RUNS.append(store.get(("notes",), "note").value["text"])
    return city


@tool
def with_runtime(city: str, runtime: ToolRuntime) -> str:
    """Use the runtime."""
    RUNS.append(runtime.state["note"])
    RUNS.append(runtime.tool_call_id)
    return city


@tool
async def with_runtime_async(city: str, runtime: ToolRuntime) -> str:
    """Use the runtime."""
    RUNS.append(runtime.state["note"])
    return city


@tool
def with_config(city: str, config: RunnableConfig) -> str:
    """Use the config."""
    RUNS.append(config["configurable"]["note"])
    return city


class WithRuntime(BaseTool):
    name: str = "class_with_runtime"
    description: str = "Use the runtime."

    def _run(
        self, city: str, runtime: ToolRuntime, run_manager: CallbackManagerForToolRun | None = None
    ) -> str:
        RUNS.append(runtime.state["note"])
        assert run_manager is not None
        return city


class CityAndState(BaseModel):
    city: str
    note: Annotated[str, InjectedState("note")]


class WithSchema(BaseTool):
    name: str = "class_with_schema"
    description: str = "Use one field of the state."
    args_schema: Any = CityAndState

    def _run(self, city: str, note: str) -> str:
        RUNS.append(note)
        return city


INJECTED: list[BaseTool] = [
    with_state,
    with_field,
    with_store,
    with_runtime,
    with_runtime_async,
    with_config,
    WithRuntime(),
    WithSchema(),
]


def graph(made: BaseTool) -> Any:
    store = InMemoryStore()
    store.put(("notes",), "note", {"text": MARK})
    builder = StateGraph(State)
    builder.add_node("tools", ToolNode([made]))
    builder.add_edge(START, "tools")
    builder.add_edge("tools", END)
    return builder.compile(store=store)


def state(made: BaseTool, **args: Any) -> dict[str, Any]:
    call = {
        "name": made.name,
        "args": {"city": "Bern", **args},
        "id": "call-1",
        "type": "tool_call",
    }
    return {"messages": [AIMessage("", tool_calls=[call])], "note": MARK}


@pytest.mark.parametrize("original", INJECTED, ids=lambda item: item.name)
async def test_injected_values_reach_the_body_and_no_record(bench: Any, original: BaseTool) -> None:
    """State, store, runtime and config, in functions and classes, in a real ToolNode."""
    made = govern(original, bench.guard)
    result = await graph(made).ainvoke(state(made), {"configurable": {"note": MARK}})
    assert result["messages"][-1].content == "Bern"
    assert RUNS[0] == MARK
    assert bench.asked == [{"city": "Bern"}]
    assert len(bench.decisions) == len(bench.outcomes) == 1
    assert MARK not in bench.text


@pytest.mark.parametrize(
    "original", [with_state, with_field, WithSchema()], ids=lambda item: item.name
)
def test_a_forged_injected_value_is_replaced_by_the_framework(
    bench: Any, original: BaseTool
) -> None:
    """The model names an injected argument: ToolNode overrides it, and the policy is not asked
    about it.
    """
    made = govern(original, bench.guard)
    name = "state" if original is with_state else "note"
    graph(made).invoke(state(made, **{name: {"note": "forged"}}))
    assert RUNS == [MARK]
    assert bench.asked == [{"city": "Bern"}]


def test_the_tool_call_id_is_injected_and_not_judged(bench: Any) -> None:
    """It stands in origin.call_id, where the guard puts it, and in no argument."""

    @tool
    def remember(city: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Remember a city."""
        RUNS.append(call_id)
        return city

    made = govern(remember, bench.guard)
    result = made.invoke(
        {"type": "tool_call", "id": "call-9", "name": "remember", "args": {"city": "Bern"}}
    )
    assert isinstance(result, ToolMessage)
    assert RUNS == ["call-9"]
    assert bench.asked == [{"city": "Bern"}]


def test_a_value_that_the_host_injects_is_not_judged(bench: Any) -> None:
    """InjectedToolArg: the program passes it, the model does not know it."""

    @tool
    def notes(city: str, user: Annotated[str, InjectedToolArg]) -> str:
        """Read notes."""
        RUNS.append(user)
        return city

    made = govern(notes, bench.guard)
    assert made.invoke({"city": "Bern", "user": MARK}) == "Bern"
    assert RUNS == [MARK]
    assert bench.asked == [{"city": "Bern"}]
    assert MARK not in bench.text


def test_the_config_of_a_class_without_schema_is_not_an_argument(bench: Any) -> None:
    """LangChain lists it as one; the guard's declaration leaves it out, and the body gets it."""

    class WithConfig(BaseTool):
        name: str = "with_config"
        description: str = "Use the config."

        def _run(self, city: str, config: RunnableConfig) -> str:
            RUNS.append(config["configurable"]["note"])
            return city

    made = govern(WithConfig(), bench.guard)
    assert made.invoke({"city": "Bern"}, {"configurable": {"note": MARK}}) == "Bern"
    assert RUNS == [MARK]
    assert bench.asked == [{"city": "Bern"}]
    assert MARK not in bench.text


def test_callbacks_reach_a_function_that_asks_for_them(bench: Any) -> None:
    """As before, and beside the arguments."""

    def weather(city: str, callbacks: Any = None) -> str:
        """Tell the weather."""
        RUNS.append(callbacks)
        return city

    made = govern(StructuredTool.from_function(weather), bench.guard)
    assert made.invoke({"city": "Bern"}) == "Bern"
    assert RUNS[0] is not None
    assert bench.asked == [{"city": "Bern"}]


def test_an_argument_that_is_only_called_like_an_injected_one_is_judged(bench: Any) -> None:
    """With a schema of its own a tool may take "callbacks" from the model: no name alone passes the
    policy by.
    """

    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "callbacks": {"type": "string"}},
    }

    class Odd(BaseTool):
        name: str = "odd"
        description: str = "Has an argument with an odd name."
        args_schema: Any = schema

        def _run(self, city: str, callbacks: str) -> str:
            RUNS.append(callbacks)
            return city

    govern(Odd(), bench.guard).invoke({"city": "Bern", "callbacks": "from the model"})
    assert bench.asked == [{"city": "Bern", "callbacks": "from the model"}]


def test_an_argument_that_the_schema_refuses_is_denied(bench: Any) -> None:
    """LangChain passes it on to a tool with a JSON Schema; the guard takes no unknown name for an
    injected one.
    """
    made = govern(
        StructuredTool(
            name="open",
            description="Takes anything.",
            args_schema={
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "additionalProperties": False,
            },
            func=lambda **kwargs: RUNS.append(kwargs),
        ),
        bench.guard,
    )
    result = made.invoke(
        {"type": "tool_call", "id": "1", "name": "open", "args": {"city": "Bern", "extra": MARK}}
    )
    assert result.status == "error"
    assert RUNS == []
    assert bench.decisions[0]["decision"]["cause"] == "arguments"
    assert MARK not in bench.text
