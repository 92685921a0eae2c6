"""One connection to an OPA server: a request and its whole reply before a deadline, or a
``PolicyError`` that says where it ended.

The HTTP client is ``guardrail.system.http``, whose ``TransportError`` becomes a ``PolicyError``
here.
"""

from __future__ import annotations

from typing import Protocol

from guardrail.errors import PolicyError
from guardrail.policy.opa.target import Target
from guardrail.system import http
from guardrail.system.http import HttpReply, TransportCause, TransportError

__all__ = ["MAX_REPLY", "UNREACHABLE", "Connection", "Transport"]

MAX_REPLY = 1 << 20
"""Bytes of the body of a reply to a decision."""
UNREACHABLE = "see that the OPA server runs, and that [opa] url is right"
"""What to do about a server that can't be reached."""
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
_MESSAGES = {
    "name": "the OPA server's name has no address",
    "certificate": "the OPA server's certificate does not lead to a trusted one",
    "tls": "no TLS connection to the OPA server",
}
"""By detail, for the ``unreachable`` failures whose words differ from the client's."""


class Transport(Protocol):
    """Something that can ask: a ``Connection``, or a stand-in."""

    def ask(
        self, method: str, path: str, body: bytes, end: float, limit: int = MAX_REPLY
    ) -> HttpReply:
        """See ``Connection.ask``."""


class Connection:
    """A connection, kept for the next question if a reply leaves no doubt where it ended. For one
    thread at a time.
    """

    def __init__(self, target: Target, *, keep: bool = True) -> None:
        """Without *keep* each question gets a connection of its own: its answer does not say what
        it answers.
        """
        self._target = target
        self._connection = http.Connection(target.endpoint, headers=_HEADERS, keep=keep)

    def close(self) -> None:
        """Close it. The next question opens it again."""
        self._connection.close()

    def ask(
        self, method: str, path: str, body: bytes, end: float, limit: int = MAX_REPLY
    ) -> HttpReply:
        """Return the server's reply, whatever its status.

        *end* is a time of ``time.monotonic``: nothing is waited for beyond it. Raises
        ``PolicyError``: ``timeout`` with the stage as its detail, ``unreachable``, or ``malformed``
        if no whole HTTP reply of at most *limit* bytes came.
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
            raise _policy_error(error) from None


def _policy_error(error: TransportError) -> PolicyError:
    """Return what *error* means for a decision: its cause and its detail, in words about the OPA
    server.
    """
    unreachable = error.cause is TransportCause.UNREACHABLE
    words = _MESSAGES.get(error.detail) if unreachable else None
    return PolicyError(
        words or f"the OPA server {error.message}",
        cause=error.cause.value,
        detail=error.detail,
        hint=UNREACHABLE if unreachable else "",
    )
