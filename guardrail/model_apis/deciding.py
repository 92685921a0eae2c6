"""Decides the tool calls in one model response for a program that runs them itself."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from guardrail.call.admission import Admission
from guardrail.call.scope import SessionScope
from guardrail.core.call_context import CallContext
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.types import NOT_REQUESTED, Status
from guardrail.errors import ApprovalRequired, ArgumentsError, Denied, LedgerError, UsageError
from guardrail.model_apis.asked_again import AskedAgain
from guardrail.model_apis.asking import Asked, Deciding
from guardrail.model_apis.calls import AskedCall, CallKind, Refusal, id_refusal
from guardrail.model_apis.claims import legacy_key
from guardrail.model_apis.denials import recorded_tool, refusal_text
from guardrail.model_apis.offered_tools import NOTHING_OFFERED, OfferedTools
from guardrail.model_apis.open_calls import OpenCalls, Owner, owner_of
from guardrail.tools.as_written import as_written
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["Decider", "adrive_deciding", "drive_deciding"]

R = TypeVar("R")

_STILL_WAITING = frozenset({"denied.approval.pending", "denied.approval.approvers_missing"})
"""Codes of refusals after which a call can still be approved."""
_WRAPPED = "tool_uses"
"""The argument that contains the calls in a call of ``parallel`` or ``multi_tool_use.parallel``."""


def drive_deciding(steps: Deciding[R], decide: Callable[[Asked], list[str | None]]) -> R:
    """Run *steps* to the end, using *decide* to decide the calls that it yields."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(decide(asked))
    except StopIteration as end:
        result: R = end.value
        return result


async def adrive_deciding(
    steps: Deciding[R], decide: Callable[[Asked], Awaitable[list[str | None]]]
) -> R:
    """Async version of ``drive_deciding``."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(await decide(asked))
    except StopIteration as end:
        result: R = end.value
        return result


def _ignore(_call: AskedCall, _response: object) -> None:
    """Do nothing with a released call."""


class Decider:
    """Decides the calls in one response. Admitted calls are withdrawn unless they are released."""

    def __init__(
        self,
        guard: Guard,
        open_calls: OpenCalls,
        session: SessionScope | None,
        wait_for_approval: float | None,
        *,
        adapter: str,
        context: CallContext,
        owner: Owner | None = None,
        again: AskedAgain | None = None,
        tools: Mapping[str, Tool] | None = None,
        offered: OfferedTools = NOTHING_OFFERED,
        knows_all: bool = False,
        released: Callable[[AskedCall, object], None] = _ignore,
    ) -> None:
        """*adapter* and *context* are recorded with each call. *context* does not contain the model
        and the response id, which are taken from the response. *owner* is allowed to report the
        results of the calls; the default is ``owner_of(session)``. *again* lets a repeated call use
        the approval that its first attempt waited for. *tools* are the tools in the request, keyed
        by name; other names are looked up in the guard's own tools. *offered* is the result of
        ``offered_tools`` for the request. *knows_all* is True if the model was not offered any
        other tools. *released* is called with each call that the program has received or that the
        provider has run after an approval, and with the id of the response.
        """
        self._tools = {} if tools is None else tools
        self._knows_all = knows_all
        self._offered = offered
        self._guard = guard
        self._adapter = adapter
        self._context = context
        self._open = open_calls
        self._session = session
        self._owner = owner_of(session) if owner is None else owner
        self._wait = wait_for_approval
        self._again = again
        self._released = released
        self._seen: set[str] = set()
        self._admitted: list[tuple[AskedCall, Admission, object]] = []

    def decide(self, asked: Asked) -> list[str | None]:
        """Decide each call. Return, for each call, the text of the refusal, or None if the call is
        allowed. Raises ``LedgerError``; the caller must then not release any call in *asked*.
        """
        rulings: list[str | None] = []
        for call in asked.calls:
            tool, options = self._options(call, asked)
            refusal = self._refusal(call)
            if refusal is not None:
                self._guard.reject(tool, refusal.reason, **options)
                if call.approval is not None:
                    self._released(call, asked.response)
                rulings.append(refusal.text)
                continue
            try:
                admission = self._guard.admit(
                    tool,
                    _arguments(call, tool),
                    approval=self._approval(call),
                    wait_for_approval=self._wait,
                    **options,
                )
            except (Denied, ApprovalRequired) as refused:
                rulings.append(self._refused(call, tool, refused))
            else:
                self._admit(call, admission, asked)
                rulings.append(None)
        return rulings

    async def adecide(self, asked: Asked) -> list[str | None]:
        """Async version of ``decide``."""
        rulings: list[str | None] = []
        for call in asked.calls:
            tool, options = self._options(call, asked)
            refusal = self._refusal(call)
            if refusal is not None:
                await self._guard.areject(tool, refusal.reason, **options)
                if call.approval is not None:
                    self._released(call, asked.response)
                rulings.append(refusal.text)
                continue
            try:
                admission = await self._guard.aadmit(
                    tool,
                    _arguments(call, tool),
                    approval=self._approval(call),
                    wait_for_approval=self._wait,
                    **options,
                )
            except (Denied, ApprovalRequired) as refused:
                rulings.append(self._refused(call, tool, refused))
            else:
                self._admit(call, admission, asked)
                rulings.append(None)
        return rulings

    def _approval(self, call: AskedCall) -> str | None:
        return None if self._again is None else self._again.approval(self._owner, call)

    def _admit(self, call: AskedCall, admission: Admission, asked: Asked) -> None:
        self._admitted.append((call, admission, asked.response))
        if self._again is not None:
            self._again.forget(self._owner, call)

    def _refused(self, call: AskedCall, tool: Tool, refused: Denied | ApprovalRequired) -> str:
        """Return the text of the refusal. If the model can request the call again, remember the
        call's approval.
        """
        if tool.refused == NOT_REQUESTED and isinstance(refused, Denied):
            return f"{refusal_text(refused)} (the request did not contain this tool)"
        if self._again is None:
            return refusal_text(refused)
        if isinstance(refused, ApprovalRequired):
            self._again.note(self._owner, call, refused.approval)
        elif refused.code not in _STILL_WAITING:
            self._again.forget(self._owner, call)
            return refusal_text(refused)
        return refusal_text(refused, again=True)

    @property
    def holds(self) -> bool:
        """True if there are admitted calls that the program has not received."""
        return bool(self._admitted)

    def release(self) -> list[str]:
        """Mark the admitted calls as received by the program. Return the keys of their results."""
        keys = []
        for call, admission, response in self._admitted:
            key = call.id if call.has_id and call.id is not None else legacy_key(call.name)
            self._open.add(self._owner, key, admission)
            self._released(call, response)
            keys.append(key)
        self._admitted.clear()
        return keys

    def withdraw(self) -> None:
        """Record that the program never received the calls admitted since the last release."""
        while self._admitted:
            _, admission, _ = self._admitted.pop()
            with contextlib.suppress(LedgerError):  # the outcome stays pending
                admission.settle(Status.CANCELLED)

    async def awithdraw(self) -> None:
        """Async version of ``withdraw``."""
        while self._admitted:
            _, admission, _ = self._admitted.pop()
            with contextlib.suppress(LedgerError):
                await admission.asettle(Status.CANCELLED)

    def _options(self, call: AskedCall, asked: Asked) -> tuple[Tool, dict[str, Any]]:
        options = {
            "adapter": self._adapter,
            "call_id": call.id,
            "session": self._session,
            "context": replace(self._context, model=asked.model, response=asked.response),
        }
        known = self._tools.get(call.name) if isinstance(call.name, str) else None
        if known is not None and call.server is None:
            return as_written(known), options
        try:
            found = self._guard.find_tool(call.name, call.server)  # type: ignore[arg-type]
        except UsageError:
            return recorded_tool(call.name, call.server), options
        if self._knows_all and call.server is None and not (found.declared or found.refused):
            found = replace(found, refused=NOT_REQUESTED)
        return as_written(found), options

    def _refusal(self, call: AskedCall) -> Refusal | None:
        if call.refusal is not None:
            return call.refusal
        if not isinstance(call.name, str) or recorded_tool(call.name).name != call.name:
            return Refusal("unknown_tool", "this is not the name of a tool")
        if call.space is not None and not self._offered.has_member(call.space, call.member):
            # The program might run the tool that has this name but no namespace.
            return Refusal(
                "unknown_namespace", "the request does not contain this tool in this namespace"
            )
        if call.name not in self._offered.names and _wraps_calls(call.arguments):
            return Refusal(
                "unknown_kind", "it contains other calls: request each of them separately"
            )
        refusal = id_refusal(call, self._seen)
        if call.id is not None:
            self._seen.add(call.id)
        return refusal


def _wraps_calls(arguments: object) -> bool:
    """Return True if *arguments* contain calls of other tools. Models invent such calls, and some
    clients run the calls inside.
    """
    if isinstance(arguments, JsonArguments):
        try:
            arguments = arguments.parse()
        except ArgumentsError:
            return False  # the call is denied
    inner = arguments.get(_WRAPPED) if isinstance(arguments, dict) else None
    return isinstance(inner, list) and bool(inner)


def _arguments(call: AskedCall, tool: Tool) -> Any:
    """Return the arguments of a call. The only argument of a custom tool is the text."""
    if call.kind is not CallKind.CUSTOM:
        return call.arguments
    properties = {} if tool.schema is None else tool.schema.schema.get("properties", {})
    name = next(iter(properties)) if len(properties) == 1 else "input"
    return {name: call.arguments}
