"""Drivers of guardrail's own adapters, for ``guardrail.testing.conformance``."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.integrations.langchain import GuardMiddleware, govern, tool_call_wrappers
from guardrail.testing.conformance import AdapterDriver, ModelCall, Reply
from tests.support.langchain import Scripted


class FunctionDriver(AdapterDriver):
    """Functions that ``guard.tool`` governs, in a loop that a program writes."""

    adapter = "python"
    exempt: ClassVar = {"unknown_tool": "a program can't call a function that does not exist"}

    def __init__(self, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        return {each.__name__: each if guard is None else guard.tool(each) for each in functions}

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        def one(call: ModelCall) -> Reply:
            try:
                return Reply(tools[call.name](**call.arguments))
            except (Denied, ApprovalRequired) as refusal:
                return Reply(str(refusal), failed=True)

        with ThreadPoolExecutor(8) as pool:
            context = contextvars.copy_context
            return [
                future.result()
                for future in [pool.submit(context().run, one, call) for call in calls]
            ]

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        if not self.asynchronous:
            return await super().arun(tools, calls)

        async def one(call: ModelCall) -> Reply:
            try:
                return Reply(await tools[call.name](**call.arguments))
            except (Denied, ApprovalRequired) as refusal:
                return Reply(str(refusal), failed=True)

        return await asyncio.gather(*map(one, calls))


class LangGraphDriver(AdapterDriver):
    """A LangGraph that runs the calls of one message. ``open`` returns the graph."""

    adapter = "langchain"

    def __init__(self, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        return _replies(tools(calls).invoke({"messages": [_message(calls)]}), calls)

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        if not self.asynchronous:
            return await super().arun(tools, calls)
        return _replies(await tools(calls).ainvoke({"messages": [_message(calls)]}), calls)


class GovernDriver(LangGraphDriver):
    """``govern``, with the tools in a node of a graph."""

    exempt: ClassVar = {"unknown_tool": "the framework answers without asking a tool"}

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        app = _graph(ToolNode(made if guard is None else govern(made, guard)))
        return lambda _: app


class ToolNodeDriver(LangGraphDriver):
    """``tool_call_wrappers``, which govern the tools of a node."""

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        wrappers: Any = {} if guard is None else tool_call_wrappers(guard)
        app = _graph(ToolNode(made, **wrappers))
        return lambda _: app


class MiddlewareDriver(LangGraphDriver):
    """``GuardMiddleware`` in an agent, whose model asks for the calls and then ends."""

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        middleware = [] if guard is None else [GuardMiddleware(guard)]

        def agent(calls: Sequence[ModelCall]) -> Any:
            model = Scripted(responses=[_message(calls), AIMessage("done")])
            return create_agent(model, made, middleware=middleware)

        return agent


def _message(calls: Sequence[ModelCall]) -> AIMessage:
    message = AIMessage("")
    message.tool_calls = [
        {"name": call.name, "args": call.arguments, "id": call.id, "type": "tool_call"}
        for call in calls
    ]
    return message


def _graph(node: ToolNode) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    return builder.compile()


def _replies(result: dict[str, Any], calls: Sequence[ModelCall]) -> Sequence[Reply]:
    found = {
        each.tool_call_id: Reply(each.content, each.status == "error")
        for each in result["messages"]
        if isinstance(each, ToolMessage)
    }
    return [found[call.id] for call in calls]
