"""Finds the tools of a compiled agent that its guard does not govern.

::

    from guardrail.integrations.langchain import check_governed

    check_governed(agent, guard)
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel.remote import RemoteGraph

from guardrail.errors import UsageError
from guardrail.integrations.langchain.binding import KEY, Binding
from guardrail.integrations.langchain.swapping import Swapping
from guardrail.integrations.langchain.walking import (
    Found,
    Where,
    graph_of,
    middleware_class,
    walk,
)

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["check_governed", "governs"]

MAIN = "main agent"
"""The name for an unnamed agent in messages."""


def check_governed(agent: Any, guard: Guard) -> None:
    """Check that *guard* governs every tool that the compiled graph *agent* can reach, including
    the tools of its sub-agents. Otherwise, raises ``UsageError``, which lists the ungoverned tools
    and their agents.

    The check follows nodes, tools, middleware, closures, and agents that a tool's function refers
    to in its module. A tool is governed if ``govern`` created it, or if its ``ToolNode`` has
    ``GuardMiddleware`` or ``tool_call_wrappers``. In the program's own nodes and middleware, every
    tool must have been created by ``govern``. The check does not run any code. It can't see
    anything else that the program's own code does.
    """
    if graph_of(agent) is None:
        raise UsageError(
            f"{type(agent).__name__} is not a compiled graph, so its tools can't be found",
            code="usage.ungoverned",
            hint="pass the agent that create_agent or StateGraph.compile returned",
        )
    problems = list(dict.fromkeys(_problems(agent, guard)))
    if problems:
        raise UsageError(
            f"not governed: {'; '.join(problems)}",
            code="usage.ungoverned",
            hint=(
                "make GuardMiddleware(guard) the last middleware of each of these agents, or "
                "govern its tools with govern(tools, guard)"
            ),
        )


def _problems(agent: Any, guard: Guard) -> Iterator[str]:
    for found in walk(MAIN, agent):
        place = f'agent "{found.agent}"'
        for name in _ungoverned(found, guard):
            yield f'{place}: tool "{name}"'
        if isinstance(found.thing, middleware_class()):
            for name in _ungoverned_in(found.thing, guard):
                yield f'{place}: tool "{name}" of {type(found.thing).__name__}'
        if isinstance(found.thing, RemoteGraph):
            yield f"{place}: it runs on a different server"


def _ungoverned(found: Found, guard: Guard) -> list[str]:
    """Return the names of the tools in *found* that would run without the guard."""
    if isinstance(found.thing, ToolNode):
        if _is_wrapped(found.thing, guard):
            return []
        tools = found.thing.tools_by_name.values()
        return [tool.name for tool in tools if not _governed(tool, guard)]
    if found.where is Where.CODE and isinstance(found.thing, BaseTool):
        return [] if _governed(found.thing, guard) else [found.thing.name]
    return []


def _governed(tool: BaseTool, guard: Guard) -> bool:
    binding = tool.__dict__.get(KEY)
    return isinstance(binding, Binding) and binding.guard is guard


def _is_wrapped(node: ToolNode, guard: Guard) -> bool:
    """Return True if every call through *node*, sync or async, goes through the guard."""
    # LangGraph does not guarantee these names. If they are missing, nothing counts as governed.
    sync = getattr(node, "_wrap_tool_call", None)
    awaited = getattr(node, "_awrap_tool_call", None)
    return _passes(sync, guard) and (awaited is None or _passes(awaited, guard))


def _passes(wrapper: object, guard: Guard) -> bool:
    """Return True if the guard is in the chain of functions that make up *wrapper*."""
    if isinstance(wrapper, types.MethodType):
        return governs(wrapper.__self__, guard)
    if isinstance(wrapper, functools.partial):
        return _passes(wrapper.func, guard)
    if not isinstance(wrapper, types.FunctionType):
        return False
    cells = (_content(cell) for cell in wrapper.__closure__ or ())
    return any(_passes(value, guard) for value in cells)


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def governs(thing: object, guard: Guard) -> bool:
    """Return True if *thing* is a middleware or wrapper that governs tool calls for *guard*."""
    swapping = thing if isinstance(thing, Swapping) else getattr(thing, "swapping", None)
    return isinstance(swapping, Swapping) and swapping.guard is guard


def _ungoverned_in(middleware: Any, guard: Guard) -> list[str]:
    """Return the names of the ungoverned tools that *middleware* refers to. It may run these tools,
    or pass them to an agent that it creates later.
    """
    offered = {id(tool) for tool in getattr(middleware, "tools", ())}
    held: list[Any] = []
    for value in vars(middleware).values():
        held.extend(value if isinstance(value, list | tuple | set | frozenset) else [value])
    if any(governs(item, guard) for item in held):
        return []
    return [
        item.name
        for item in held
        if isinstance(item, BaseTool) and id(item) not in offered and not _governed(item, guard)
    ]
