"""Replaces the tools in calls that pass through a ToolNode with governed tools, and records calls
of tools that do not exist.

A guard around the framework's handler would make only one decision for a call that is retried
several times, and would not see changes made by an inner wrapper. The tool itself is therefore
governed: every request that is passed on contains a governed tool, even if a wrapper replaces the
tool.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest

from guardrail.errors import UsageError
from guardrail.integrations.langchain.adapter import govern
from guardrail.integrations.langchain.binding import KEY, Approvals, Binding
from guardrail.integrations.langchain.rejections import arecord_rejection, record_rejection

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["MiddlewareOrderWarning", "Swapping"]

UNKNOWN_TOOL = "unknown_tool"
"""Reason in ``call.rejected``: the model called a tool that does not exist."""

_MOST = 1024
"""Maximum number of cached tools. It limits the memory used by a program that creates tools for
each run.
"""


class MiddlewareOrderWarning(UsageError, UserWarning):
    """A wrapper of tool calls runs inside guardrail's wrapper, which must be the innermost wrapper.

    Tools that the inner wrapper puts into the request are still governed, but guardrail can't see
    tools that the wrapper runs itself.
    """

    default_code = "usage.middleware_order"


class Swapping:
    """Governs the tools of one middleware or ToolNode. Thread-safe."""

    def __init__(
        self, guard: Guard, *, strict: bool, approvals: Approvals | str, check_order: bool = True
    ) -> None:
        """If *strict* is True, a wrapper that runs inside this one causes an error instead of a
        warning. If *check_order* is False, it causes neither.
        """
        self.guard = guard
        self._strict = strict
        self._approvals = Approvals.of(approvals)
        self._lock = threading.Lock()
        self._known: OrderedDict[int, _GovernedCopy] = OrderedDict()
        self._told = not check_order

    def call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Call *handler* with a governed tool in *request*, and return its result."""
        self._check_order(handler)
        governed = self._governed_request(request)
        try:
            return handler(governed)
        finally:
            if not governed.tools:
                call = governed.tool_call
                record_rejection(self.guard, call["name"], UNKNOWN_TOOL, call["id"])

    async def acall(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """Async version of ``call``."""
        self._check_order(handler)
        governed = self._governed_request(request)
        try:
            return await handler(governed)
        finally:
            if not governed.tools:
                call = governed.tool_call
                await arecord_rejection(self.guard, call["name"], UNKNOWN_TOOL, call["id"])

    def governed(self, tool: BaseTool) -> BaseTool:
        """Return the governed copy of *tool*. The same copy is returned until *tool* is changed."""
        binding = tool.__dict__.get(KEY)
        if isinstance(binding, Binding) and binding.guard is self.guard:
            return tool
        with self._lock:
            known = self._known.get(id(tool))
            if known is None or not known.holds(tool):
                copied = govern(tool, self.guard, approvals=self._approvals)
                known = self._known[id(tool)] = _GovernedCopy(tool, dict(tool.__dict__), copied)
            self._known.move_to_end(id(tool))
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
            return known.governed

    def _governed_request(self, request: ToolCallRequest) -> _GovernedRequest:
        return _GovernedRequest(
            request.tool_call, request.tool, request.state, request.runtime, swapping=self
        )

    def _check_order(self, handler: Callable[..., Any]) -> None:
        # ToolNode's own handler is defined in ToolNode's module. Any other handler belongs to a
        # wrapper.
        if self._told or getattr(handler, "__module__", None) == ToolNode.__module__:
            return
        problem = MiddlewareOrderWarning(
            (
                "another wrapper of tool calls runs inside guardrail's wrapper, and could run a "
                "tool without the guard: GuardMiddleware must come last in middleware=[...]"
            ),
            hint="make GuardMiddleware the last middleware in the list",
        )
        if self._strict:
            raise problem
        self._told = True
        warnings.warn(problem, stacklevel=3)


@dataclass(frozen=True, slots=True, eq=False)
class _GovernedCopy:
    tool: BaseTool
    """A reference that keeps the tool alive, so that its id is not reused for a different tool."""
    state: dict[str, Any]
    """The tool's fields at the time when it was governed."""
    governed: BaseTool

    def holds(self, tool: BaseTool) -> bool:
        """Return True if the governed copy is still a copy of *tool*."""
        now = tool.__dict__
        return (
            self.tool is tool
            and len(now) == len(self.state)
            and all(now.get(name, self) is value for name, value in self.state.items())
        )


@dataclass
class _GovernedRequest(ToolCallRequest):
    """A request whose tool is always governed, even after ``override``."""

    swapping: Swapping = field(kw_only=True, repr=False, compare=False)
    tools: list[str] = field(default_factory=list, kw_only=True, repr=False, compare=False)
    """Names of all tools that the request has contained, in any of its versions."""

    def __post_init__(self) -> None:
        if self.tool is not None:
            self.tools.append(self.tool.name)
            object.__setattr__(self, "tool", self.swapping.governed(self.tool))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "tool" and "tools" in self.__dict__:
            self.__post_init__()
