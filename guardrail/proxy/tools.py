"""Looks up the tools of a request in the policy, and removes those that the policy hides from the
model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.model_apis.requests import ToolRequest
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard
    from guardrail.proxy.sessions import ProxyCaller

__all__ = ["RequestTools"]

_MOST = 1_024
"""Maximum number of callers whose sessions for listings are kept."""


class RequestTools:
    """Looks up the tools in requests, and removes hidden ones."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._subjects: OrderedDict[tuple[str, ...], SessionScope] = OrderedDict()

    def known(self, tools: Mapping[str, RequestedTool]) -> dict[str, Tool]:
        """Return the tools of a request as the policy sees them, by name."""
        return {name: self._guard.find_tool(name) for name in tools}

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
