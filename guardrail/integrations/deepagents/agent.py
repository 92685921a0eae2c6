"""Creates a governed deep agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import deepagents
from deepagents import AsyncSubAgentMiddleware
from langchain_core.tools import BaseTool, tool

from guardrail.errors import UsageError
from guardrail.integrations.deepagents.subagents import starter_of, with_last
from guardrail.integrations.langchain.adapter import govern
from guardrail.integrations.langchain.binding import Approvals
from guardrail.integrations.langchain.checking import check_governed
from guardrail.integrations.langchain.middleware import GuardMiddleware
from guardrail.integrations.langchain.walking import graph_of

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["create_deep_agent"]


class _DeepAgentGuard(GuardMiddleware):
    """The guard's middleware in a deep agent. deepagents adds its own middleware after it, but that
    middleware changes only the request, which stays governed.
    """

    check_order = False

    @property
    def name(self) -> str:
        """The name of this middleware in traces."""
        return GuardMiddleware.__name__


def create_deep_agent(
    model: Any = None,
    tools: Sequence[Any] | None = None,
    *,
    guard: Guard,
    strict: bool = False,
    approvals: Approvals | str = Approvals.ERROR,
    middleware: Sequence[Any] = (),
    subagents: Sequence[Mapping[str, Any]] | None = None,
    **options: Any,
) -> Any:
    """Create a deep agent with ``deepagents.create_deep_agent``, with every tool governed: a body
    runs only after a durable, well-formed ``allow``.

    This covers *tools*, the file tools, ``execute``, ``task``, the tools from *middleware* and from
    skills, and the tools of every sub-agent, including the general-purpose sub-agent. In records,
    the ``parent`` of a sub-agent's call is the ``task`` call that started the sub-agent.
    *approvals* has the same meaning as in ``govern``. If *strict* is True, a tool that the model's
    provider would run causes a ``UsageError`` before the model is called. All other arguments are
    passed to deepagents.

    The finished agent is checked with ``check_governed``. Raises ``UsageError``
    (``usage.ungoverned``) with the sub-agent's name if a sub-agent can't be governed because it
    runs on a different server, is a runnable but not a compiled graph, or has a tool that bypasses
    the guard.
    """
    declared = [_declared(spec, guard, approvals) for spec in subagents or ()]
    for item in middleware:
        _check_middleware(item)
    chosen = {**options, "subagents": declared if subagents is not None else None}
    local = _governed(tools, guard, approvals)
    keeper = _DeepAgentGuard(guard, strict=strict, approvals=approvals)
    stack = [*middleware, keeper]
    agent = deepagents.create_deep_agent(model, local, middleware=stack, **chosen)
    starter = starter_of(agent, middleware)
    if starter is not None:
        stack.insert(-1, with_last(starter, keeper))
        agent = deepagents.create_deep_agent(model, local, middleware=stack, **chosen)
    check_governed(agent, guard)
    return agent


def _governed(tools: Sequence[Any] | None, guard: Guard, approvals: Approvals | str) -> Any:
    """Return governed copies of *tools*, so that code that takes a tool from the agent gets a
    governed tool. Provider tools, which are mappings, are left to the middleware.
    """
    if tools is None:
        return None
    return [
        item
        if isinstance(item, Mapping)
        else govern(item if isinstance(item, BaseTool) else tool(item), guard, approvals=approvals)
        for item in tools
    ]


def _declared(spec: Mapping[str, Any], guard: Guard, approvals: Approvals | str) -> dict[str, Any]:
    """Return the sub-agent's specification with governed tools. Raises ``UsageError`` if guardrail
    can't find the sub-agent's tools.
    """
    name = spec.get("name")
    if "graph_id" in spec:
        raise UsageError(
            f'sub-agent "{name}" runs on a different server, so guardrail can\'t govern it',
            code="usage.ungoverned",
            hint="remove it, and govern its tools on that server",
        )
    if "runnable" in spec:
        if graph_of(spec["runnable"]) is None:
            raise UsageError(
                f'sub-agent "{name}" is not a compiled graph, so its tools can\'t be found',
                code="usage.ungoverned",
                hint=("pass the result of create_agent(..., middleware=[GuardMiddleware(guard)])"),
            )
        return dict(spec)
    for item in spec.get("middleware", ()):
        _check_middleware(item)
    if spec.get("tools") is None:
        return dict(spec)
    return {**spec, "tools": _governed(spec["tools"], guard, approvals)}


def _check_middleware(item: object) -> None:
    if isinstance(item, GuardMiddleware):
        raise UsageError(
            "create_deep_agent adds GuardMiddleware itself",
            code="usage.governed",
            hint="remove it from middleware=",
        )
    if isinstance(item, AsyncSubAgentMiddleware):
        raise UsageError(
            "the sub-agents of AsyncSubAgentMiddleware run on a different server, so guardrail "
            "can't govern them",
            code="usage.ungoverned",
            hint="remove it, and govern their tools on that server",
        )
