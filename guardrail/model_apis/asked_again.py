"""Remembers the approvals that refused calls wait for, so that the model can request these calls
again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict

from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.errors import ArgumentsError
from guardrail.model_apis.calls import AskedCall
from guardrail.model_apis.open_calls import Owner

__all__ = ["AskedAgain", "digest_of"]

_MOST = 4_096
"""Maximum number of stored approvals."""


class AskedAgain:
    """The ids of approvals for calls that were refused because they were not approved in time. The
    guard itself checks that an approval covers the call. Thread-safe and bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._approvals: OrderedDict[tuple[Owner, str], str] = OrderedDict()

    def approval(self, owner: Owner, call: AskedCall) -> str | None:
        """Return the id of the approval that an equal call from *owner* waits for, or None if there
        is none.
        """
        if not self._approvals:
            return None
        return self._approvals.get((owner, digest_of(call)))

    def note(self, owner: Owner, call: AskedCall, approval: str) -> None:
        """Remember the approval that a refused call waits for."""
        with self._lock:
            self._approvals[owner, digest_of(call)] = approval
            while len(self._approvals) > _MOST:
                self._approvals.popitem(last=False)

    def forget(self, owner: Owner, call: AskedCall) -> None:
        """Forget a call's approval, because the approval was used, was refused, or has expired."""
        with self._lock:
            self._approvals.pop((owner, digest_of(call)), None)


def digest_of(call: AskedCall) -> str:
    """Return a digest of the tool and the arguments, equal for equal calls."""
    given = call.arguments
    if isinstance(given, JsonArguments):
        try:
            given = given.parse()
        except ArgumentsError:
            given = given.text
    what = [str(call.kind), call.server, call.name, given]
    text = json.dumps(what, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
