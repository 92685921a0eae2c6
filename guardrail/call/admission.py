"""An admitted call, and how it ends: steps (8) and (9)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from guardrail.core import decision as decisions
from guardrail.core.log import fields
from guardrail.core.log.record import Draft
from guardrail.core.redaction.foreign import outweighs
from guardrail.core.types import Decision, EngineReply, Receipt, Status
from guardrail.errors import LedgerError, PolicyError, RecordError, RedactionError, UsageError
from guardrail.identity.session import SessionState
from guardrail.system.cpu_meter import OVER_BUDGET, Meter
from guardrail.system.waiting import LARGE, Work, wait_async, work_async

if TYPE_CHECKING:
    from guardrail.call.journal import Journal
    from guardrail.tools.tool import Tool

__all__ = ["Admission", "same_verdict"]

R = TypeVar("R")

_CURRENT: ContextVar[str | None] = ContextVar("guardrail_call", default=None)

_AGAIN_LIMIT = 2.0
"""Seconds that an outcome waits for its decision to be derived a second time; after that, it
records that the result is unknown.
"""


def same_verdict(first: Decision, document: object) -> bool:
    """Return True if *document* leads to the effect, cause and rules of *first*."""
    second = decisions.parse(document)
    return (first.effect, first.cause, {rule.rule for rule in first.rules}) == (
        second.effect,
        second.cause,
        {rule.rule for rule in second.rules},
    )


class Admission:
    """A call that was allowed, and whose decision is durable. It owes exactly one outcome.

    The code that admitted it settles it exactly once. A call that is never settled is closed as
    ``unknown`` after its process has ended.
    """

    __slots__ = (
        "_again", "_journal", "_meter", "_origin", "_parent", "_pid", "_settled", "_state", "_tool",
        "_verdict", "arguments", "call", "seq",
    )  # fmt: skip

    def __init__(
        self,
        *,
        journal: Journal,
        state: SessionState,
        tool: Tool,
        call: str,
        parent: str | None,
        origin: Mapping[str, Any],
        seq: int,
        arguments: Mapping[str, Any],
        again: Future[EngineReply] | None,
        verdict: Decision,
        meter: Meter,
    ) -> None:
        """*meter* returns the cost of redacting this call so far."""
        self._meter = meter
        self._journal = journal
        self._state = state
        self._tool = tool
        self._parent = parent
        self._origin = origin
        self._again = again
        self._verdict = verdict
        self._pid = os.getpid()
        self._settled = False
        self.call = call
        """Call id (ULID)."""
        self.seq = seq
        """Sequence number of the decision."""
        self.arguments = arguments
        """The arguments of the body: the validated snapshot, not the caller's objects."""

    @staticmethod
    def current_call() -> str | None:
        """Return the id of the governed call whose body runs in this context, or None."""
        return _CURRENT.get()

    @contextlib.contextmanager
    def current(self) -> Generator[None]:
        """Make this call the parent of governed calls that its body makes."""
        token = _CURRENT.set(self.call)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def settle(
        self,
        status: Status | str = Status.OK,
        *,
        result: object = None,
        error: BaseException | None = None,
        seconds: float | None = None,
    ) -> Receipt:
        """Record how the call ended; durable when this returns.

        Raises ``LedgerError`` if it can't be written now: it stays pending and is written as soon
        as the ledger is writable. An outcome that arrives after the call was closed as ``unknown``
        is recorded as ``call.claim``. Raises ``UsageError`` for an unknown status, or if the call
        is settled twice.
        """
        return self._finish(_word(status), result, error, seconds)

    async def asettle(
        self,
        status: Status | str = Status.OK,
        *,
        result: object = None,
        error: BaseException | None = None,
        seconds: float | None = None,
    ) -> Receipt:
        """Async version of ``settle``. A cancellation waits until the outcome is durable."""
        return await self._afinish(_word(status), result, error, seconds)

    # -- for the guard -----------------------------------------------------------------------------

    def succeed(self, result: object, seconds: float) -> None:
        """Record that the body returned; raise ``LedgerError`` (and so withhold the result) if that
        fails.
        """
        self._finish(self._returned, result, None, seconds)

    async def asucceed(self, result: object, seconds: float) -> None:
        """Async version of ``succeed``."""
        await self._afinish(self._returned, result, None, seconds)

    def fail(
        self, error: BaseException, seconds: float, interrupts: tuple[type[BaseException], ...]
    ) -> None:
        """Record that the body raised *error*. Raises ``LedgerError`` from it if that fails."""
        try:
            self._finish(_status(error, interrupts), None, error, seconds)
        except LedgerError as problem:
            raise problem from error

    async def afail(
        self, error: BaseException, seconds: float, interrupts: tuple[type[BaseException], ...]
    ) -> None:
        """Async version of ``fail``."""
        try:
            await self._afinish(_status(error, interrupts), None, error, seconds)
        except LedgerError as problem:
            raise problem from error

    @property
    def _returned(self) -> Status:
        return Status.RETURNED if self._tool.unsafe_stream else Status.OK

    def _finish(
        self, status: Status, result: object, error: BaseException | None, seconds: float | None
    ) -> Receipt:
        stop: KeyboardInterrupt | None = None
        same: bool | None = None
        try:
            same = self._wait_again()
        except KeyboardInterrupt as interrupt:
            stop = interrupt  # re-raised once the pending outcome is durable
        draft = self._draft(status, result, error, seconds, same)
        try:
            receipt = self._journal.append(draft)
        except LedgerError as problem:
            receipt = self._journal.append(self._late(problem, status, result, error, seconds))
        if stop is not None:
            raise stop
        return receipt

    async def _afinish(
        self, status: Status, result: object, error: BaseException | None, seconds: float | None
    ) -> Receipt:
        # The outcome is written whatever happens to the task: cancellations are remembered, and
        # re-raised when it is durable.
        stops: list[asyncio.CancelledError] = []
        same = await self._await_again(stops)
        # Only the beginning of an exception's message is examined.
        size = LARGE + 1 if error is None and outweighs(result, LARGE) else 0

        async def made(make: Callable[[], Draft]) -> Draft:
            return cast("Draft", await work_async(Work(make, size), stops))

        if size:
            draft = await made(lambda: self._draft(status, result, error, seconds, same))
        else:
            draft = self._draft(status, result, error, seconds, same)
        try:
            receipt = await self._append_shielded(draft, stops)
        except LedgerError as problem:
            refused = problem
            late = await made(lambda: self._late(refused, status, result, error, seconds))
            receipt = await self._append_shielded(late, stops)
        if stops:
            raise stops[0]
        return receipt

    async def _append_shielded(self, draft: Draft, stops: list[asyncio.CancelledError]) -> Receipt:
        future = self._journal.submit(draft)
        try:
            return await _patiently(future, self._journal.deadline, stops)
        except TimeoutError:
            raise self._journal.expired(future) from None

    def _draft(
        self,
        status: Status,
        result: object,
        error: BaseException | None,
        seconds: float | None,
        same: bool | None,
    ) -> Draft:
        if os.getpid() != self._pid:
            # A body that forked returns twice; only the process that admitted the call may record
            # its outcome.
            raise LedgerError(
                "this call was admitted by the parent process, which records its outcome",
                code="ledger.forked",
                hint="end the child with os._exit, or use subprocess",
            )
        if self._settled:
            raise UsageError("this call is already settled", code="usage.settled")
        self._settled = True
        return self._outcome(status, result, error, seconds, same)

    def _late(
        self,
        problem: LedgerError,
        status: Status,
        result: object,
        error: BaseException | None,
        seconds: float | None,
    ) -> Draft:
        if problem.code != "ledger.closed_call":
            raise problem
        shown, failure, _omitted = self._parts(result, error)
        record = fields.claim(
            self._common("call.claim"),
            status,
            decision_seq=self.seq,
            result=shown,
            error=failure,
            milliseconds=_milliseconds(seconds),
        )
        return Draft.build(record)

    def _outcome(
        self,
        status: Status,
        result: object,
        error: BaseException | None,
        seconds: float | None,
        same: bool | None,
    ) -> Draft:
        shown, failure, omitted = self._parts(result, error)
        record = fields.outcome(
            self._common("call.outcome", bare=omitted is not None),
            status,
            decision_seq=self.seq,
            result=shown,
            error=failure,
            reproducible=same,
            milliseconds=_milliseconds(seconds),
            omitted=omitted,
        )
        try:
            return Draft.build(record)
        except RecordError as problem:
            reason = "size" if problem.code == "record.too_large" else "record"
        # Always fits: nothing in it comes from the tool or the user.
        record = fields.outcome(
            self._common("call.outcome", bare=True),
            status,
            decision_seq=self.seq,
            result=None,
            error=None,
            reproducible=same,
            milliseconds=_milliseconds(seconds),
            omitted=reason,
        )
        return Draft.build(record)

    def _common(self, type_: str, *, bare: bool = False) -> dict[str, Any]:
        if bare:
            origin = {**self._origin, "call_id": None}
            return self._state.bare.common(type_, call=self.call, parent=self._parent, where=origin)
        return self._state.fields.common(
            type_, call=self.call, parent=self._parent, where=self._state.origin(self._origin)
        )

    def _parts(
        self, result: object, error: BaseException | None
    ) -> tuple[dict[str, Any] | None, dict[str, str] | None, str | None]:
        """Return (result, error, omitted) as recorded. Never raises: the guard continues whatever a
        tool returns.
        """
        try:
            return self._meter.section(lambda: self._shown(result, error))
        except RedactionError as problem:
            return None, None, OVER_BUDGET if problem.code == OVER_BUDGET else "redactor"
        except BaseException:  # noqa: BLE001 - the tool border: a hostile object may raise anything when it is looked at
            return None, None, "redactor"

    def _shown(
        self, result: object, error: BaseException | None
    ) -> tuple[dict[str, Any] | None, dict[str, str] | None, str | None]:
        redactor, memory = self._state.redactor, self._state.memory
        shown: dict[str, Any] | None = None
        failure: dict[str, str] | None = None
        if error is not None:
            failure = redactor.error(error, memory)
            leaves = list(failure.values())
        else:
            shown = redactor.result(result, log_output=self._tool.log_output, memory=memory)
            # Apart from a logged value, only the type's name comes from the tool.
            leaves = fields.strings(shown) if self._tool.log_output else [str(shown["type"])]
        # Values that this result revealed as sensitive may also occur in the host's attributes.
        self._state.refresh()
        hit = redactor.gate(leaves, memory)
        return (shown, failure, None) if hit is None else (None, None, f"gate:{hit}")

    def _wait_again(self) -> bool | None:
        if self._again is None:
            return None
        try:
            return same_verdict(self._verdict, self._again.result(_AGAIN_LIMIT).document)
        except (PolicyError, FutureTimeoutError):
            return None

    async def _await_again(self, stops: list[asyncio.CancelledError]) -> bool | None:
        if self._again is None:
            return None
        try:
            reply = await _patiently(self._again, _AGAIN_LIMIT, stops)
            return same_verdict(self._verdict, reply.document)
        except (PolicyError, TimeoutError):
            return None


async def _patiently(future: Future[R], timeout: float, stops: list[asyncio.CancelledError]) -> R:
    """Wait for *future* even if the task is cancelled; add cancellations to *stops*. Raises
    ``TimeoutError``.
    """
    while True:
        try:
            return await wait_async(future, timeout)
        except asyncio.CancelledError as stop:
            stops.append(stop)


def _word(status: Status | str) -> Status:
    try:
        return Status(status)
    except ValueError:
        raise UsageError(f"status: one of {', '.join(Status)}", code="usage.status") from None


def _status(error: BaseException, interrupts: tuple[type[BaseException], ...]) -> Status:
    if interrupts and isinstance(error, interrupts):
        return Status.INTERRUPTED
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return Status.CANCELLED
    return Status.ERROR


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
