"""Checks MCP call approvals in requests to the Responses API.

The provider runs such a call when a request approves it, so a program can approve only the calls
that were admitted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from guardrail.model_apis.asked_again import digest_of
from guardrail.model_apis.calls import AskedCall, Refusal, text_or_none
from guardrail.model_apis.open_calls import Owner
from guardrail.model_apis.openai.response_items import APPROVAL, ItemKind, call_of
from guardrail.model_apis.requested_tools import ModelRequestError

__all__ = ["AdmittedApprovals", "approval_error"]

_MOST = 8_192
"""Maximum number of calls that are kept."""
_CODE = "model_request.approval"
_ANSWER = "mcp_approval_response"
_RESULT = "mcp_call"
_PARTS_OF_ANSWER = frozenset({"approval_request_id", "approve"})


class _Admitted(NamedTuple):
    digest: str
    session: str
    used: bool


class AdmittedApprovals:
    """The MCP calls that their owners can approve, each of them once, in the call's session.
    Thread-safe and bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: OrderedDict[tuple[Owner, str], _Admitted] = OrderedDict()

    def add(self, owner: Owner, session: str, call: AskedCall) -> None:
        """Keep an admitted call that *owner* has received. *session* is the id of its session.
        Calls that need no approval are ignored.
        """
        if not call.approvable or call.id is None:
            return
        with self._lock:
            self._calls[owner, call.id] = _Admitted(digest_of(call), session, used=False)
            while len(self._calls) > _MOST:
                self._calls.popitem(last=False)

    def use(self, owner: Owner, session: str, body: Mapping[str, Any]) -> AskedCall | None:
        """Use the approvals in the request *body*, and return None.

        If an approval is not for a call that was admitted for *owner* in *session*, or has already
        been used, return its call and use none of the approvals. The same applies if the request
        repeats a call with another name, server or arguments. A request that contains the results
        of the calls repeats its history: the provider does not run them again.
        """
        items = _items(body)
        ran = _ran(items)
        repeated: dict[str | None, AskedCall] = {}
        used: list[str] = []
        with self._lock:
            for item in items:
                if item.get("type") == APPROVAL:
                    call = call_of(item, ItemKind.CALL)
                    known = None if call.id is None else self._calls.get((owner, call.id))
                    if known is not None and known.digest != digest_of(call):
                        return _refused(call)
                    repeated[call.id] = call
            for item in filter(_approves, items):
                name = text_or_none(item.get("approval_request_id"))
                known = None if name is None else self._calls.get((owner, name))
                if (
                    name is None
                    or known is None
                    or known.session != session
                    or (known.used and name not in ran)
                    or name in used
                ):
                    return _refused(repeated.get(name) or AskedCall(None, None, name, None))
                used.append(name)
            self._mark(owner, used, used=True)
        return None

    def give_back(self, owner: Owner, body: Mapping[str, Any]) -> None:
        """Make the approvals used by *body* usable again, because the provider has rejected the
        request and has not run any call.
        """
        items = _items(body)
        names = [text_or_none(item.get("approval_request_id")) for item in filter(_approves, items)]
        ran = _ran(items)
        with self._lock:
            self._mark(owner, [name for name in names if name and name not in ran], used=False)

    def _mark(self, owner: Owner, names: Iterable[str], *, used: bool) -> None:
        for name in names:
            known = self._calls.get((owner, name))
            if known is not None:
                self._calls[owner, name] = known._replace(used=used)


def _items(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = body.get("input")
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def _ran(items: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the approvals whose calls have run, according to *items*."""
    return {
        item["approval_request_id"]
        for item in items
        if item.get("type") == _RESULT and isinstance(item.get("approval_request_id"), str)
    }


def _approves(item: Mapping[str, Any]) -> bool:
    if item.get("type") != _ANSWER and not item.keys() >= _PARTS_OF_ANSWER:
        return False
    return item.get("approve") is not False


def _refused(call: AskedCall) -> AskedCall:
    return replace(call, refusal=Refusal(_CODE, ""))


def approval_error() -> ModelRequestError:
    """Return the error for a request with a call that ``AdmittedApprovals.use`` returns."""
    return ModelRequestError(
        "the request approves an MCP call that was not allowed for this caller in this session, was"
        " allowed with another name, server or arguments, or has been approved before",
        code=_CODE,
        hint="let the model ask for the call again; approvals from before a restart are not known",
    )
