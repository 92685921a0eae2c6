"""A request to the embedded engine, which is also the future of its reply."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from guardrail.core.types import EngineReply
from guardrail.errors import PolicyError
from guardrail.policy.embedded.process import Frame
from guardrail.system.futures import BatchedFuture

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["EngineRequest"]


class ReplySource(Protocol):
    """The source of the reply to a request: a lane's pipe."""

    def read(self, request: EngineRequest, until: float | None) -> None:
        """Read the reply in this thread if no other thread does, or have the lane's thread read
        it.
        """

    def attend(self) -> None:
        """Have the reply read by the lane's thread."""


class EngineRequest(BatchedFuture[EngineReply]):
    """A request, and the future of its reply.

    A caller that blocks on the future reads its reply from the pipe itself if possible, which
    avoids waking another thread (``Pipe.read``). In every other case, the lane's thread completes
    the future. It starts to do so when a caller waits for this future or calls ``done``.

    This future can't be cancelled, because a request that was sent can't be recalled.
    """

    def __init__(
        self,
        rid: bytes,
        data: bytes,
        shard: str,
        started: float,
        deadline: float,
        *,
        settle: Callable[[EngineRequest, Frame], None],
        party: str = "",
    ) -> None:
        """*data* is the complete frame, with the id *rid*; *started* is the time of dispatch, and
        *deadline* is the latest time for a reply (``time.monotonic``). *settle* completes this
        future with the worker's answer. *party* is the principal that sent the request; principals
        take turns (``fair_queue.party``).
        """
        self.source: ReplySource | None = None
        """The source of the reply, set once the request has been submitted."""
        super().__init__()
        self.set_running_or_notify_cancel()
        self.rid = rid
        self.data = data
        self.shard = shard
        self.started = started
        self.deadline = deadline
        self.settle = settle
        self.party = party

    def fail(self, error: PolicyError) -> None:
        """Complete this future with *error*, unless it is already done."""
        if not super().done():
            self.set_exception(error)

    @property
    def is_done(self) -> bool:
        """True if this future is done. Unlike ``done``, this does not trigger reading the reply."""
        return super().done()

    # -- called by callers that wait ---------------------------------------------------------------

    def done(self) -> bool:
        """Return True if this future is done."""
        if super().done():
            return True
        if self.source is not None:
            self.source.attend()
        return super().done()

    def result(self, timeout: float | None = None) -> EngineReply:
        """Return the reply, or raise the ``PolicyError``. Raises ``TimeoutError`` after *timeout*
        seconds.
        """
        return super().result(self._read(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the ``PolicyError``, or None if there is a reply. Raises ``TimeoutError`` after
        *timeout* seconds.
        """
        return super().exception(self._read(timeout))

    def _read(self, timeout: float | None) -> float | None:
        """Read the reply if possible. Return the remaining part of *timeout*."""
        if self.source is None or super().done():
            return timeout
        until = None if timeout is None else time.monotonic() + timeout
        self.source.read(self, until)
        return None if until is None else max(0.0, until - time.monotonic())

    def add_done_callback(self, fn: Callable[[Future[EngineReply]], Any]) -> None:
        """Call *fn* with this future when it is done."""
        super().add_done_callback(fn)
        if self.source is not None:
            self.source.attend()
