"""The error of the HTTP client. It states why there is no response, and which stage the request
reached.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "RequestStage",
    "TransportCause",
    "TransportError",
    "deadline_passed",
    "malformed",
    "no_address",
    "unreachable",
]


class TransportCause(StrEnum):
    """The reason that there is no response."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"


class RequestStage(StrEnum):
    """The stage that a request had reached when it failed."""

    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    REPLY = "reply"


class TransportError(Exception):
    """No complete response arrived. The message contains no part of the request or of the
    response.
    """

    def __init__(
        self,
        cause: TransportCause,
        detail: str,
        message: str,
        *,
        stage: RequestStage,
        reason: str = "",
    ) -> None:
        """Describe a failure. *detail* distinguishes failures with the same cause; adapters pass it
        on to programs.

        *detail* is the stage if the cause is ``timeout``; ``name``, ``connect``, ``tls``,
        ``certificate`` or ``disconnected`` if the cause is ``unreachable``; and the detail of the
        ``ReplyError`` if the cause is ``malformed``.
        """
        super().__init__(f"the server {message}")
        self.cause = cause
        self.detail = detail
        self.message = message
        """The end of a sentence that begins with the name of the server."""
        self.stage = stage
        self.reason = reason
        """The operating system's message for its error. Empty if the server closed the connection
        normally.
        """


def deadline_passed(stage: RequestStage) -> TransportError:
    """Return the error for a request whose deadline passed during *stage*."""
    return TransportError(
        TransportCause.TIMEOUT,
        stage.value,
        f"did not answer before the deadline ({stage})",
        stage=stage,
    )


def no_address(reason: str) -> TransportError:
    """Return the error for a host name without an address."""
    return unreachable("name", "has a host name without an address", RequestStage.NAME, reason)


def unreachable(detail: str, message: str, stage: RequestStage, reason: str) -> TransportError:
    """Return the error for a request to which no byte of a response arrived."""
    return TransportError(TransportCause.UNREACHABLE, detail, message, stage=stage, reason=reason)


def malformed(detail: str, message: str, reason: str = "") -> TransportError:
    """Return the error for a response that is incomplete, too large or not HTTP."""
    return TransportError(
        TransportCause.MALFORMED, detail, message, stage=RequestStage.REPLY, reason=reason
    )
