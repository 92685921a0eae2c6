"""The end of a call's body, as known after step (8)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from guardrail.core.hidden import hidden

__all__ = ["Early", "Ended"]


class Early(NamedTuple):
    """The end of a call whose body had not ended yet."""

    timed_out: bool
    """True if the tool's timeout ended the call, False if the caller was interrupted."""
    running: bool
    """True if the body may still be running because it could not be stopped."""
    body: Future[Ended] | None
    """Completes when the body ends; its end is then recorded as a claim. None if the body was
    stopped.
    """


@hidden
class Ended(NamedTuple):
    """The end of the body, after step (8)."""

    result: object
    error: BaseException | None
    """The exception that the body raised."""
    seconds: float | None
    """Duration of the body in seconds, if known."""
    early: Early | None = None
    """Set if the call ended before its body. None if the body ended first."""
