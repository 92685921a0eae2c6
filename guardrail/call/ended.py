"""How the body of a call ended: what is known after step (8)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

__all__ = ["Early", "Ended"]


class Early(NamedTuple):
    """The end of a call before the end of its body."""

    timed_out: bool
    """True if the tool's timeout ended it, False if the caller was interrupted."""
    running: bool
    """True if the body may still run: it could not be stopped."""
    body: Future[Ended] | None
    """The end of the body, to be recorded as a claim; None if the body was stopped."""


class Ended(NamedTuple):
    """The end of the body, after step (8)."""

    result: object
    error: BaseException | None
    """The exception that the body raised."""
    seconds: float | None
    """Duration of the body in seconds, if known."""
    early: Early | None = None
    """None if the body has ended."""
