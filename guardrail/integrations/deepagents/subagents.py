"""The sub-agents of a deep agent, where deepagents has completed their specifications."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import deepagents
from deepagents import SubAgentMiddleware
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langgraph.prebuilt import ToolNode

from guardrail.errors import UsageError
from guardrail.integrations.langchain.walking import graph_of, walk

if TYPE_CHECKING:
    from guardrail.integrations.langchain.middleware import GuardMiddleware

__all__ = ["starter_of", "with_last"]


def starter_of(agent: Any, given: Sequence[Any]) -> Any:
    """Return the middleware that starts the sub-agents of *agent*, or None if there are none, or if
    the program gave one of its own.

    The general-purpose sub-agent is specified only there: deepagents makes it from its profile of
    the model.
    """
    offered = _offered(agent)
    for found in walk("", agent):
        # A compiled sub-agent may be a deep agent too, with a middleware of its own.
        starts = isinstance(found.thing, SubAgentMiddleware)
        if starts and any(id(item) in offered for item in found.thing.tools):
            return None if any(found.thing is item for item in given) else found.thing
    return None


def _offered(agent: Any) -> set[int]:
    """Return the ids of the tools that the main agent itself has."""
    graph = graph_of(agent)
    nodes = [] if graph is None else [node.bound for node in graph.nodes.values()]
    return {
        id(item)
        for node in nodes
        if isinstance(node, ToolNode)
        for item in node.tools_by_name.values()
    }


def with_last(starter: Any, keeper: GuardMiddleware) -> Any:
    """Return a copy of *starter* whose sub-agents have *keeper* as the last middleware that wraps
    tool calls.

    The completed specifications are changed, not the built sub-agents, because deepagents builds a
    sub-agent from its specification again if a call asks for another response format.
    """
    copied = copy.copy(starter)
    try:
        specs = copied._subagents
    except AttributeError:
        raise UsageError(
            f"guardrail can't govern the sub-agents of deepagents {deepagents.__version__}",
            code="usage.ungoverned",
            hint="install another version of deepagents, or upgrade guardrail",
        ) from None
    copied._subagents = [spec if "runnable" in spec else _last_in(spec, keeper) for spec in specs]
    # Setting the keys makes the task tool again, from the new specifications.
    copied.private_state_keys = starter.private_state_keys
    return copied


def _last_in(spec: Mapping[str, Any], keeper: GuardMiddleware) -> dict[str, Any]:
    changed = dict(spec)
    # A fork inherits the main agent's guard, in front of its own middleware.
    middleware = [item for item in changed.get("middleware", ()) if item is not keeper]
    interrupts = changed.pop("interrupt_on", None)
    if interrupts:
        # deepagents would add it after the guard.
        middleware.append(HumanInTheLoopMiddleware(interrupt_on=interrupts))
    return {**changed, "middleware": [*middleware, keeper]}
