"""Looks up the tools of a request in the policy, and removes those that the policy hides from the
model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.model_apis.requests import ToolRequest
from guardrail.proxy.accepted_tools import AcceptedTools
from guardrail.proxy.seen_tools import SeenTools
from guardrail.system.waiting import in_background
from guardrail.tools.tool import Tool, declare

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard
    from guardrail.proxy.sessions import ProxyCaller

__all__ = ["RequestTools"]

_MOST = 1_024
"""Maximum number of callers whose sessions for listings are kept."""


class RequestTools:
    """Looks up the tools in requests, and removes hidden ones."""

    def __init__(self, guard: Guard, accepted: AcceptedTools, seen: SeenTools | None) -> None:
        """*seen* notes the tools that are not accepted."""
        self._guard = guard
        self._accepted = accepted
        self._declared: dict[str, Tool] = {}
        """The accepted tools that were used, by name."""
        self._seen = seen
        self._subjects: OrderedDict[tuple[str, ...], SessionScope] = OrderedDict()

    def known(self, tools: Mapping[str, RequestedTool]) -> dict[str, Tool]:
        """Return the tools of a request as the policy sees them, by name.

        A tool is declared if the guard knows it, or if it was accepted with this schema.
        """
        if self._accepted.refresh():
            self._declared.clear()
        made = {name: self._known(tool) for name, tool in tools.items()}
        if self._seen is not None and self._seen.due:
            in_background(self._seen.save)
        return made

    def _known(self, tool: RequestedTool) -> Tool:
        own = self._guard.find_tool(tool.name)
        if own.declared or own.refused:
            return own
        accepted = self._accepted.find(tool)
        if accepted is None:
            if self._seen is not None:
                self._seen.note(tool)
            return own
        found = self._declared.get(tool.name)
        if found is None:
            found = self._declared[tool.name] = declare(
                tool.name, schema=accepted.schema, unknown=self._guard.unknown_arguments
            )
        return found

    def close(self) -> None:
        """Write the collected tools to their file."""
        if self._seen is not None:
            self._seen.save()

    async def offering(
        self, request: ToolRequest, known: Mapping[str, Tool], caller: ProxyCaller
    ) -> Mapping[str, Any]:
        """Return the request without the tools that the policy hides from *caller*. Raises
        ``ModelRequestError`` if it demands a call of one of them.
        """
        if not known:
            return request.offering(())
        offered = await self._guard.alisted(
            known.values(), session=self._subject(caller), adapter="proxy"
        )
        return request.offering({tool.name for tool in offered})

    def _subject(self, caller: ProxyCaller) -> SessionScope:
        """Return a session of *caller* without calls. A listing depends on the caller, but not on
        the session of the request.
        """
        found = self._subjects.pop(caller.key, None)
        if found is None:
            found = self._guard.session(caller.principal)
        self._subjects[caller.key] = found
        if len(self._subjects) > _MOST:
            self._subjects.popitem(last=False)
        return found
