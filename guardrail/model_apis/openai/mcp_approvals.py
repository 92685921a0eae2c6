"""Checks the approvals of MCP calls in requests to the Responses API.

The provider runs such a call when a request approves it, so a program can approve only the calls
that were admitted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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
_PARTS_OF_ANSWER = frozenset({"approval_request_id", "approve"})


class AdmittedApprovals:
    """The MCP calls that their owners can approve, as often as they send their history.
    Thread-safe and bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: OrderedDict[tuple[Owner, str], str] = OrderedDict()

    def add(self, owner: Owner, call: AskedCall) -> None:
        """Keep an admitted call that *owner* has received. Calls that need no approval are
        ignored.
        """
        if not call.approvable or call.id is None:
            return
        with self._lock:
            self._digests[owner, call.id] = digest_of(call)
            while len(self._digests) > _MOST:
                self._digests.popitem(last=False)

    def invented(self, owner: Owner, body: Mapping[str, Any]) -> AskedCall | None:
        """Return a call that the request *body* approves although it was not admitted for *owner*,
        or that the request repeats with another name, server or arguments. Return None if there is
        no such call.
        """
        given = body.get("input")
        given = given if isinstance(given, list) else []
        items = [item for item in given if isinstance(item, dict)]
        repeated: dict[str | None, AskedCall] = {}
        for item in items:
            if item.get("type") == APPROVAL:
                call = call_of(item, ItemKind.CALL)
                known = None if call.id is None else self._digests.get((owner, call.id))
                if known is not None and known != digest_of(call):
                    return _refused(call)
                repeated[call.id] = call
        for item in items:
            if _approves(item):
                name = text_or_none(item.get("approval_request_id"))
                if name is None or (owner, name) not in self._digests:
                    return _refused(repeated.get(name) or AskedCall(None, None, name, None))
        return None


def _approves(item: Mapping[str, Any]) -> bool:
    if item.get("type") != _ANSWER and not item.keys() >= _PARTS_OF_ANSWER:
        return False
    return item.get("approve") is not False


def _refused(call: AskedCall) -> AskedCall:
    return replace(call, refusal=Refusal(_CODE, ""))


def approval_error() -> ModelRequestError:
    """Return the error for a request with a call that ``AdmittedApprovals.invented`` returns."""
    return ModelRequestError(
        "the request approves an MCP call that was not allowed for this caller, or that was allowed"
        " with another name, server or arguments",
        code=_CODE,
        hint="let the model ask for the call again; approvals from before a restart are not known",
    )
