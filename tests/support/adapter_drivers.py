"""Drivers of guardrail's own adapters, for ``guardrail.testing.conformance``."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

import deepagents
from anthropic.types import Message
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import Field

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.integrations.deepagents import create_deep_agent
from guardrail.integrations.langchain import GuardMiddleware, govern, tool_call_wrappers
from guardrail.integrations.openai import govern_client
from guardrail.testing.conformance import AdapterDriver, ModelCall, Reply
from tests.support.model_server import (
    MODEL,
    Call,
    Chat,
    Messages,
    ModelServer,
    Responses,
    Turn,
)
from tests.support.toolboxes import CHAT, Api


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
        return _replies(tools.invoke({"messages": [self.asked(calls)]}), calls)

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        if not self.asynchronous:
            return await super().arun(tools, calls)
        return _replies(await tools.ainvoke({"messages": [self.asked(calls)]}), calls)

    def asked(self, calls: Sequence[ModelCall]) -> BaseMessage:
        """Return the message that starts the graph."""
        return _message(calls)


class GovernDriver(LangGraphDriver):
    """``govern``, with the tools in a node of a graph."""

    exempt: ClassVar = {"unknown_tool": "the framework answers without asking a tool"}

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        return _graph(ToolNode(made if guard is None else govern(made, guard)))


class ToolNodeDriver(LangGraphDriver):
    """``tool_call_wrappers``, which govern the tools of a node."""

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        wrappers: Any = {} if guard is None else tool_call_wrappers(guard)
        return _graph(ToolNode(made, **wrappers))


class Obedient(FakeMessagesListChatModel):
    """A model that makes the calls that the question names, and then ends."""

    responses: list[BaseMessage] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        calls = messages[-1].additional_kwargs.get("calls")
        message = AIMessage("done") if calls is None else _message(calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


class MiddlewareDriver(LangGraphDriver):
    """``GuardMiddleware`` in an agent."""

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        middleware = [] if guard is None else [GuardMiddleware(guard)]
        return create_agent(Obedient(), made, middleware=middleware)

    def asked(self, calls: Sequence[ModelCall]) -> BaseMessage:
        return HumanMessage("go", additional_kwargs={"calls": calls})


class DeepAgentDriver(MiddlewareDriver):
    """A deep agent."""

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        made = [tool(each) for each in functions]
        if guard is None:
            return deepagents.create_deep_agent(Obedient(), made)
        return create_deep_agent(Obedient(), made, guard=guard)


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


class ToolBoxDriver(AdapterDriver):
    """A ToolBox, and responses as the official client makes them of a model's JSON."""

    def __init__(self, api: Api, *, asynchronous: bool) -> None:
        self.api = api
        self.adapter = api.adapter  # type: ignore[misc]
        self.takes_text = api.adapter == "openai"  # Anthropic's API has objects
        self.asynchronous = asynchronous

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        if guard is None:
            return {each.__name__: each for each in functions}
        box = self.api.box(guard)
        for each in functions:
            box.tool(each)
        return box

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        if isinstance(tools, dict):
            return [self._shown(partial(tools[call.name], **call.arguments)) for call in calls]
        return self._told(tools.run(self._response(calls)))

    async def arun(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        if not self.asynchronous:
            return await super().arun(tools, calls)
        if isinstance(tools, dict):
            return await asyncio.to_thread(self._awaited, tools, calls)
        return self._told(await tools.arun(self._response(calls)))

    def _awaited(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        def one(call: ModelCall) -> Any:
            return asyncio.run(tools[call.name](**call.arguments))

        return [self._shown(partial(one, call)) for call in calls]

    def _response(self, calls: Sequence[ModelCall]) -> Any:
        asked = [Call(call.name, call.arguments, id=call.id) for call in calls]
        render, kind = _RESPONSES[self.api.name]
        told = json.dumps(render().answer(Turn(calls=asked), {"model": MODEL}))
        return kind.construct(**json.loads(told))

    def _shown(self, body: Callable[[], Any]) -> Reply:
        """What a program without a guard sends back: text as it is, JSON of anything else, and how
        a body failed.
        """
        failed = False
        try:
            result = body()
            text = result
            if not isinstance(result, str):
                text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        except Exception as error:
            failed, text = True, f"failed: {type(error).__name__}: {error}"
        return Reply(text, failed if self.api.adapter == "anthropic" else None)

    def _told(self, appended: Any) -> Sequence[Reply]:
        return [Reply(told.text, told.failed) for told in self.api.told(appended)]


class ClientDriver(AdapterDriver):
    """A governed OpenAI client: the program runs what it releases, and tells the results in its
    next request.
    """

    adapter = "openai"
    enforcement = "release"
    takes_text = True
    exempt: ClassVar = {"nested_calls": "the guard does not see which body makes a request"}

    def open(self, functions: Sequence[Callable[..., Any]], guard: Guard | None) -> Any:
        if guard is not None:
            for each in functions:
                guard.tool(each)  # declares its schema
        return guard, {each.__name__: each for each in functions}

    def run(self, tools: Any, calls: Sequence[ModelCall]) -> Sequence[Reply]:
        guard, functions = tools
        asked = [Call(call.name, call.arguments, id=call.id) for call in calls]
        with ModelServer([Turn(calls=asked), Turn("done")]) as server, CHAT.client(server) as plain:
            client = plain if guard is None else govern_client(plain, guard)
            message = client.chat.completions.create(**CHAT.request).choices[0].message
            ran = {
                call.id: self._result(functions, call.function.name, call.function.arguments)
                for call in message.tool_calls or ()
            }
            if ran:
                told = [
                    {"role": "tool", "tool_call_id": id_, "content": text}
                    for id_, text in ran.items()
                ]
                history = [*CHAT.request["messages"], message, *told]
                client.chat.completions.create(**{**CHAT.request, "messages": history})
        refused = Reply(message.refusal or message.content, failed=True)
        return [Reply(ran[call.id]) if call.id in ran else refused for call in calls]

    @staticmethod
    def _result(functions: Any, name: str, arguments: str) -> str:
        try:
            result = functions[name](**json.loads(arguments))
        except Exception as error:
            return f"failed: {error}"
        return result if isinstance(result, str) else json.dumps(result)


_RESPONSES: dict[str, tuple[Any, Any]] = {
    "chat": (Chat, ChatCompletion),
    "responses": (Responses, Response),
    "messages": (Messages, Message),
}
"""What writes a response of each API, and the client's type of it."""
