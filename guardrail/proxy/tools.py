"""Asks the policy about the tools in a request, and removes tools that the policy hides from the
model.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guardrail.core.words import agree, counted
from guardrail.model_apis.open_calls import Owner
from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.model_apis.requests import ToolRequest
from guardrail.proxy.accepted_tools import AcceptedTools, Tools, accepted_as
from guardrail.proxy.errors import ProxyError
from guardrail.proxy.notices import Notices
from guardrail.proxy.seen_tools import SeenTools
from guardrail.system.caller_tokens import UNUSABLE_FILE
from guardrail.system.waiting import in_background
from guardrail.tools.tool import Tool, declare

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard
    from guardrail.proxy.sessions import ProxyCaller

__all__ = ["RequestTools"]

_MOST = 1_024
"""Maximum number of callers whose sessions for listings are stored."""
_FEW = 8
"""Maximum number of schemas that are compiled on the event loop. More schemas are compiled in a
thread, so that other requests are served in the meantime.
"""


class RequestTools:
    """Looks up the tools in requests, and removes hidden tools."""

    def __init__(
        self,
        guard: Guard,
        accepted: AcceptedTools,
        seen: SeenTools | None,
        notices: Notices,
        notify: Callable[[str], None],
    ) -> None:
        """*seen* collects the tools that have not been accepted; *notices* tells the operator about
        them. *notify* is called with a line if the file of accepted tools becomes unreadable.
        """
        self._guard = guard
        self._notices = notices
        self._notify = notify
        self._accepted = accepted
        self._declared: dict[str, Tool] = {}
        """The accepted tools that have been used, keyed by name. Replaced together with the
        accepted tools.
        """
        self._recorded: Tools = {}
        """The accepted tools according to the ledger's latest record of them."""
        self._changing = asyncio.Lock()
        self._seen = seen
        self._subjects: OrderedDict[Owner, SessionScope] = OrderedDict()

    async def known(self, tools: Mapping[str, RequestedTool]) -> dict[str, Tool]:
        """Return the tools in a request as the policy sees them, keyed by name.

        A tool is declared if the guard has declared it, or if it was accepted with this schema. A
        change to the accepted tools is durable in the ledger before it takes effect. Raises
        ``LedgerError``, and ``ProxyError`` while the file of accepted tools can't be read.
        """
        if not tools:
            return {}
        async with self._changing:
            if self._accepted.refresh():
                self._declared = {}
                self._tell_of_problem()
            accepted = self._accepted.tools
            if accepted is not self._recorded:
                await asyncio.to_thread(self._record_change)
                self._recorded = accepted
            declared = self._declared
            unusable = self._accepted.problem is not None
        if unusable:
            raise ProxyError(
                503,
                UNUSABLE_FILE.format("accepted tools"),
                code="proxy.accepted_tools",
                retry=False,
            )
        if len(accepted.keys() & tools.keys() - declared.keys()) > _FEW:
            made = await asyncio.to_thread(self._all_known, tools, accepted, declared)
        else:
            made = self._all_known(tools, accepted, declared)
        if self._seen is not None and self._seen.due:
            in_background(self._seen.save)
        self._tell_of_undeclared(made, tools)
        return made

    def _tell_of_undeclared(
        self, made: Mapping[str, Tool], tools: Mapping[str, RequestedTool]
    ) -> None:
        """Tell the operator about tools that nobody has accepted, and tools whose schema guardrail
        rejects.
        """
        missing = [
            tool
            for name, tool in made.items()
            if not tool.declared and tools[name].schema is not None
        ]
        new = [tool for tool in missing if not tool.refused]
        if new and self._seen is not None:
            said = f"{counted(len(new), 'tool')} in a request {agree(len(new), 'is')} not accepted"
            self._notices.tell("tools", f"{said}; next: guardrail proxy accept")
        rejected = [tool for tool in missing if tool.refused]
        if rejected:
            said = (
                f"{counted(len(rejected), 'tool')} in a request {agree(len(rejected), 'stays')}"
                " undeclared, because guardrail rejects the schema:"
                f" {rejected[0].name} ({rejected[0].refused})"
            )
            self._notices.tell("schemas", f"{said}; next: guardrail proxy accept --list")

    def _tell_of_problem(self) -> None:
        problem = self._accepted.problem
        if problem is not None:
            with contextlib.suppress(OSError):  # requests are refused in any case
                self._notify(f"{problem.message}; {problem.hint}")

    def _record_change(self) -> None:
        change = self._accepted.change_since(self._recorded)
        if change["digest"] != change["previous"]:
            self._guard.record_admin("tools_accepted", change)

    def _all_known(
        self, tools: Mapping[str, RequestedTool], accepted: Tools, declared: dict[str, Tool]
    ) -> dict[str, Tool]:
        return {name: self._known_tool(tool, accepted, declared) for name, tool in tools.items()}

    def _known_tool(self, tool: RequestedTool, accepted: Tools, declared: dict[str, Tool]) -> Tool:
        own = self._guard.find_tool(tool.name)
        if own.declared or own.refused:
            return own
        found = accepted_as(accepted, tool)
        if found is None:
            if self._seen is not None:
                self._seen.note(tool)
            return own
        known = declared.get(tool.name)
        if known is None:
            known = declared[tool.name] = declare(
                tool.name, schema=found.schema, unknown=self._guard.unknown_arguments
            )
        return known

    def close(self) -> None:
        """Write the collected tools to their file."""
        if self._seen is not None:
            self._seen.save()

    async def offering(
        self, request: ToolRequest, known: Mapping[str, Tool], caller: ProxyCaller
    ) -> Mapping[str, Any]:
        """Return the request without the tools that the policy hides from *caller*. Raises
        ``ModelRequestError`` if the request forces a call of a hidden tool.
        """
        if not known:
            return request.offering(())
        offered = await self._guard.alisted(
            known.values(), session=self._subject(caller), adapter="proxy"
        )
        return request.offering({tool.name for tool in offered})

    def _subject(self, caller: ProxyCaller) -> SessionScope:
        """Return a session of *caller* that has no calls. A listing depends on the caller, but not
        on the session of the request.
        """
        if caller.identity.session is not None:
            return caller.identity.session
        found = self._subjects.pop(caller.key, None)
        if found is None:
            found = self._guard.session(**caller.identity.opening)
        self._subjects[caller.key] = found
        if len(self._subjects) > _MOST:
            self._subjects.popitem(last=False)
        return found
