"""A connection to an OPA server: sends a request and returns the complete response before a
deadline. On failure, the ``PolicyError`` contains the stage that failed.

The HTTP client is ``guardrail.system.http``, whose ``TransportError`` is converted to a
``PolicyError`` here.
"""

from __future__ import annotations

from typing import Protocol

from guardrail.errors import PolicyError
from guardrail.policy.opa.target import OpaTarget
from guardrail.system import http
from guardrail.system.http import HttpReply, TransportCause, TransportError

__all__ = ["MAX_REPLY", "OpaConnection", "OpaTransport"]

MAX_REPLY = 1 << 20
"""Maximum size of the response to a decision request in bytes."""
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
_MESSAGES = {
    "name": "the OPA server's host name has no address",
    "process": "the process that listens on the private OPA's socket is not the one that "
    "guardrail started",
    "certificate": "the OPA server's certificate is not trusted",
    "tls": "the TLS handshake with the OPA server failed",
}
"""Messages for some details of ``unreachable``, in place of the HTTP client's messages."""
_HINTS = {
    "process": "if the program is a script, start opa in its last line with exec; or set [opa] "
    "program or GUARDRAIL_OPA to opa itself"
}
"""Hints for some details, in place of the target's."""


class OpaTransport(Protocol):
    """An object that can send requests: an ``OpaConnection``, or a replacement in tests."""

    def ask(
        self, method: str, path: str, body: bytes, end: float, limit: int = MAX_REPLY
    ) -> HttpReply:
        """See ``OpaConnection.ask``."""


class OpaConnection:
    """A connection that is reused for the next request if the end of the response is unambiguous.
    Used by one thread at a time.
    """

    def __init__(self, target: OpaTarget, *, keep: bool = True) -> None:
        """If *keep* is False, each request gets its own connection. Use this if responses do not
        identify their requests.
        """
        self._target = target
        self._connection = http.HttpConnection(target.endpoint, headers=_HEADERS, keep=keep)

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        self._connection.close()

    def ask(
        self, method: str, path: str, body: bytes, end: float, limit: int = MAX_REPLY
    ) -> HttpReply:
        """Return the server's response, regardless of its status.

        *end* is the deadline by ``time.monotonic``. Raises
        ``PolicyError``: ``timeout`` with the stage as its detail, ``unreachable``, or ``malformed``
        if no complete HTTP response of at most *limit* bytes arrives.
        """
        token = self._target.token
        try:
            return self._connection.ask(
                method,
                path,
                body,
                end=end,
                limit=limit,
                authorization=None if token is None else token.header(),
            )
        except TransportError as error:
            raise _policy_error(error, self._target.unreachable_hint) from None


def _policy_error(error: TransportError, hint: str) -> PolicyError:
    """Convert *error* to a ``PolicyError`` about the OPA server, with its cause and detail."""
    unreachable = error.cause is TransportCause.UNREACHABLE
    words = _MESSAGES.get(error.detail) if unreachable else None
    return PolicyError(
        words or f"the OPA server {error.message}",
        cause=error.cause.value,
        detail=error.detail,
        hint=_HINTS.get(error.detail, hint) if unreachable else "",
    )
