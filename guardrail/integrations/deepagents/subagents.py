"""Finds the sub-agents of a deep agent, and governs them by changing the specifications that
deepagents has completed.
"""

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
    """Return the middleware that starts the sub-agents of *agent*. Return None if there are no
    sub-agents, or if the program passed that middleware itself.

    Only this middleware has the specification of the general-purpose sub-agent, which deepagents
    derives from the model's profile.
    """
    offered = _offered(agent)
    for found in walk("", agent):
        # A compiled sub-agent may itself be a deep agent with such a middleware.
        starts = isinstance(found.thing, SubAgentMiddleware)
        if starts and any(id(item) in offered for item in found.thing.tools):
            return None if any(found.thing is item for item in given) else found.thing
    return None


def _offered(agent: Any) -> set[int]:
    """Return the ids of the main agent's own tools."""
    graph = graph_of(agent)
    nodes = [] if graph is None else [node.bound for node in graph.nodes.values()]
    return {
        id(item)
        for node in nodes
        if isinstance(node, ToolNode)
        for item in node.tools_by_name.values()
    }


def with_last(starter: Any, keeper: GuardMiddleware) -> Any:
    """Return a copy of *starter* in which *keeper* is the last middleware that wraps tool calls, in
    every sub-agent.

    This changes the completed specifications, not the built sub-agents, because deepagents rebuilds
    a sub-agent from its specification if a call requests a different response format.
    """
    copied = copy.copy(starter)
    try:
        specs = copied._subagents
    except AttributeError:
        raise UsageError(
            f"guardrail can't govern the sub-agents of deepagents {deepagents.__version__}",
            code="usage.ungoverned",
            hint="install a different version of deepagents, or upgrade guardrail",
        ) from None
    copied._subagents = [
        spec if "runnable" in spec else _with_last_in(spec, keeper) for spec in specs
    ]
    # Setting the keys rebuilds the task tool from the new specifications.
    copied.private_state_keys = starter.private_state_keys
    return copied


def _with_last_in(spec: Mapping[str, Any], keeper: GuardMiddleware) -> dict[str, Any]:
    changed = dict(spec)
    # A forked sub-agent inherits the main agent's guard, placed before its own middleware.
    middleware = [item for item in changed.get("middleware", ()) if item is not keeper]
    interrupts = changed.pop("interrupt_on", None)
    if interrupts:
        # Otherwise deepagents would add this middleware after the guard.
        middleware.append(HumanInTheLoopMiddleware(interrupt_on=interrupts))
    return {**changed, "middleware": [*middleware, keeper]}
