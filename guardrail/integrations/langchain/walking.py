"""Finds everything that a compiled graph can call: nodes, tools, middleware, and the agents inside
tools.

LangGraph's own list of subgraphs is not enough: a sub-agent is only a value in the closure of the
tool that starts it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteGraph

__all__ = ["Found", "Where", "graph_of", "middleware_class", "walk"]

_FRAMEWORK = frozenset(
    {
        "deepagents",
        "guardrail",
        "langchain",
        "langchain_classic",
        "langchain_core",
        "langgraph",
        "langsmith",
    }
)
"""Packages whose functions refer to tools only to describe them to a model."""
_UNNAMED = "LangGraph"
"""Name for a graph that has no name."""


class Where(StrEnum):
    """The kind of code in which an object was found."""

    NODE = "node"
    """A node of a graph, in the framework's code."""
    CODE = "code"
    """A node of a graph, in the program's code."""
    BODY = "body"
    """The body of a tool, or a middleware."""


@dataclass(frozen=True, slots=True)
class Found:
    """One object that a graph can reach."""

    agent: str
    """The name of the agent that can reach the object."""
    thing: Any
    where: Where


def walk(agent: str, root: object) -> Iterator[Found]:
    """Yield the graphs, tool nodes, tools and middleware that *root* can reach, without running
    them. An object is yielded once for each kind of code that refers to it.
    """
    queue = [Found(agent, root, Where.BODY)]
    seen: dict[tuple[int, Where], object] = {}
    reported = (Pregel, RemoteGraph, ToolNode, BaseTool, *middleware_class())
    while queue:
        found = queue.pop()
        key = (id(found.thing), found.where)
        if key in seen:
            continue
        seen[key] = found.thing
        if isinstance(found.thing, reported):
            yield found
        queue.extend(_inside(found))


def graph_of(runnable: object) -> Pregel[Any] | None:
    """Return the compiled graph in *runnable*, which may be a configured runnable, or None if it
    does not contain a graph.
    """
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return runnable if isinstance(runnable, Pregel) else None


@functools.cache
def middleware_class() -> tuple[type, ...]:
    """Return LangChain's middleware class in a tuple, which is empty if LangChain's agents are not
    installed.
    """
    try:
        from langchain.agents.middleware import AgentMiddleware
    except ImportError:
        return ()
    return (AgentMiddleware,)


def _inside(found: Found) -> Iterator[Found]:
    """Yield the objects that *found* refers to."""
    thing, agent, where = found.thing, found.agent, found.where
    if isinstance(thing, Pregel):
        for node in thing.nodes.values():
            for part in (node.bound, *node.writers):
                yield Found(_name(thing, agent), part, Where.NODE)
    elif isinstance(thing, dict):
        for key, value in thing.items():
            named = isinstance(key, str) and graph_of(value) is not None
            yield Found(key if named else agent, value, where)
    elif isinstance(thing, types.FunctionType):
        inside = where
        if where is Where.NODE and not _framework(thing):
            inside = Where.CODE
        yield from (Found(agent, value, inside) for value in _values(thing, inside))
    elif isinstance(thing, (BaseTool, *middleware_class())):
        yield from (Found(agent, value, Where.BODY) for value in _fields(thing))
    else:
        yield from (Found(agent, value, where) for value in _components(thing))


def _components(thing: object) -> Iterable[object]:
    if isinstance(thing, list | tuple | set | frozenset):
        return thing
    if isinstance(thing, functools.partial):
        return (thing.func, thing.args, thing.keywords)
    if isinstance(thing, types.MethodType):
        return (thing.__func__, thing.__self__, *_fields(thing.__self__))
    if isinstance(thing, Runnable) and not isinstance(thing, BaseLanguageModel):
        return _fields(thing)
    return ()


def _name(graph: Pregel[Any], agent: str) -> str:
    name = graph.get_name()
    return agent if name == _UNNAMED else name


def _fields(thing: object) -> list[object]:
    return [] if isinstance(thing, type) else list(getattr(thing, "__dict__", {}).values())


def _framework(function: types.FunctionType) -> bool:
    return (function.__module__ or "").split(".")[0] in _FRAMEWORK


def _values(function: types.FunctionType, where: Where) -> Iterator[object]:
    """Yield the values that *function* can use: those in its closure, and the graphs in its module
    that it refers to. For a node's code, also yield the tools that it refers to.
    """
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield getattr(function, "__wrapped__", None)
    if _framework(function):
        return
    wanted = (Runnable, list, tuple, dict) if where is Where.CODE else (Runnable,)
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, wanted) and (where is Where.CODE or graph_of(value) is not None):
            yield value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
