"""The requests of a lane: those sent to its worker, and those that wait for their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from guardrail.core.types import EngineReply
from guardrail.errors import PolicyError
from guardrail.policy.embedded.process import Frame
from guardrail.policy.fair_queue import FairQueue

__all__ = ["IN_PIPE", "MAX_WAITING", "MAX_WAITING_BYTES", "EngineRequest", "Pipe"]

MAX_WAITING = 10_000
"""Maximum number of requests in one lane. Further requests could not be decided before their
deadlines.
"""
MAX_WAITING_BYTES = 64 << 20
IN_PIPE = 16
IN_PIPE_OF_ONE = 2
"""Maximum number of a principal's requests in the pipe: one that is evaluated, and the next one.
More would delay the requests of others.
"""


@dataclass(slots=True, eq=False)
class EngineRequest:
    """One request to the engine."""

    rid: bytes
    data: bytes
    """The complete frame."""
    shard: str
    future: Future[EngineReply]
    started: float
    """Time of dispatch (``time.monotonic``)."""
    deadline: float
    """Deadline (``time.monotonic``)."""
    settle: Callable[[EngineRequest, Frame], None]
    """Completes the future with the worker's answer."""
    party: str = ""
    """The principal that the request belongs to. Principals take turns (``fair_queue.party``)."""

    def fail(self, error: PolicyError) -> None:
        """Fail the future with *error*, unless it is already done."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class Pipe:
    """The part of a lane's state that is protected by the lane's lock."""

    pipe: deque[EngineRequest] = field(default_factory=deque)
    """Sent requests, in order. The first is being evaluated."""
    parties: dict[str, int] = field(default_factory=dict)
    """Number of requests in the pipe per principal."""
    queue: FairQueue[EngineRequest] = field(
        default_factory=lambda: FairQueue(most=MAX_WAITING, most_bytes=MAX_WAITING_BYTES)
    )
    """Requests that were not sent yet."""
    ready: bool = False
    head_since: float = 0.0
    """Time at which the current first request became the first, or at which the worker became
    ready, whichever is later.
    """
    asleep: bool = False
    """True if the thread is waiting without a time limit and must be woken."""
    closed: bool = False

    def busy(self) -> bool:
        """True if any request is waiting or being evaluated."""
        return bool(self.pipe or self.queue)

    def accepts(self, who: str) -> bool:
        """Return True if a request of *who* may enter the pipe now."""
        return len(self.pipe) < IN_PIPE and self.parties.get(who, 0) < IN_PIPE_OF_ONE

    def drain(self) -> list[EngineRequest]:
        """Remove all requests, and return them in order."""
        found = [*self.pipe, *self.queue.take(lambda _: True)]
        self.pipe.clear()
        self.parties.clear()
        return found
