"""Records name the framework, its version, the model and its response, and the trace: asserted."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from typing_extensions import TypedDict

from guardrail.integrations.langchain import GuardMiddleware, govern
from tests.support.langchain import Scripted, weather

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CALL = {"name": "weather", "args": {"city": "Bern"}, "id": "c-1", "type": "tool_call"}
UNKNOWN = {"name": "climate", "args": {}, "id": "c-2", "type": "tool_call"}


def answer(calls: list[Any], **about: Any) -> AIMessage:
    return AIMessage("", tool_calls=calls, **about)


def said(record: dict[str, Any]) -> tuple[Any, Any]:
    """Return the model and the framework of a decision."""
    context = record["input"]["context"]
    return context["model"], context["origin"]["framework"]


def framework(name: str) -> dict[str, Any]:
    return {"name": name, "version": metadata.version(name), "assurance": "asserted"}


def run(bench: Any, message: AIMessage, how: str) -> None:
    middleware: list[Any] = [GuardMiddleware(bench.guard)] if how == "middleware" else []
    tools = [weather] if middleware else govern([weather], bench.guard)
    model = Scripted(responses=[message, AIMessage("done")])
    agent = create_agent(model, tools=tools, middleware=middleware)
    agent.invoke({"messages": [HumanMessage("weather?")]})


@pytest.mark.parametrize("how", ["middleware", "governed"])
@pytest.mark.parametrize(
    ("about", "model", "response"),
    [
        (
            {"response_metadata": {"model_name": "gpt-5", "id": "chatcmpl-1"}, "id": "run-7"},
            "gpt-5",
            "chatcmpl-1",
        ),
        ({"response_metadata": {"model": "claude-5"}, "id": "msg_01"}, "claude-5", "msg_01"),
        ({"response_metadata": {"model_name": "local"}, "id": "lc_run--7"}, "local", None),
    ],
)
def test_the_message_that_asks_names_model_and_response(
    bench: Any, how: str, about: dict[str, Any], model: str, response: str | None
) -> None:
    """For governed tools as for a middleware, as the official model classes fill it in."""
    run(bench, answer([CALL], **about), how)
    (decision,) = bench.decisions
    named = {"name": model, "response": response, "assurance": "asserted"}
    assert said(decision) == (named, framework("langgraph"))
    assert bench.policy.inputs[0]["context"]["model"] == named


def test_each_call_names_the_message_that_asked_for_it(bench: Any) -> None:
    """Also if an earlier message of the same conversation made other calls."""
    second = {**CALL, "id": "c-3"}
    model = Scripted(
        responses=[
            answer([CALL], response_metadata={"model_name": "first"}),
            answer([second], response_metadata={"model_name": "second"}),
            AIMessage("done", response_metadata={"model_name": "third"}),
        ]
    )
    agent = create_agent(model, tools=[weather], middleware=[GuardMiddleware(bench.guard)])
    agent.invoke({"messages": [HumanMessage("weather?")]})
    names = [said(decision)[0]["name"] for decision in bench.decisions]
    assert names == ["first", "second"]


@pytest.mark.parametrize("told", [{}, {"model_name": 5, "id": ["x"]}, {"model_name": ""}])
def test_what_a_model_does_not_say_is_not_recorded(bench: Any, told: dict[str, Any]) -> None:
    """Its metadata may hold anything."""
    run(bench, answer([CALL], response_metadata=told), "middleware")
    assert said(bench.decisions[0])[0] is None


def test_without_a_graph_only_the_framework_is_known(bench: Any) -> None:
    """A loop of the program's own invokes the tool."""
    govern(weather, bench.guard).invoke(CALL)
    assert said(bench.decisions[0]) == (None, framework("langchain-core"))


def test_a_graph_without_messages_makes_calls_too(bench: Any) -> None:
    """Its state is the program's own."""

    class State(TypedDict):
        calls: list[Any]

    node = ToolNode(govern([weather], bench.guard), messages_key="calls")
    builder = StateGraph(State)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    builder.compile().invoke({"calls": [answer([CALL])]})
    assert said(bench.decisions[0]) == (None, framework("langgraph"))


def test_a_record_names_the_current_span(bench: Any) -> None:
    """Of OpenTelemetry, if the program uses it."""
    ids = (0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
    span = NonRecordingSpan(SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        run(bench, answer([CALL, UNKNOWN]), "middleware")
    records = [*bench.decisions, *bench.outcomes, *bench.rejected]
    assert [record["trace"] for record in records] == [TRACE] * 3


def test_a_record_names_the_trace_of_its_process(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not one that is malformed."""
    for given, found in ((TRACE, TRACE), ("00-zz", None)):
        monkeypatch.setenv("TRACEPARENT", given)
        govern(weather, bench.guard).invoke(CALL)
        assert bench.decisions[-1]["trace"] == found
