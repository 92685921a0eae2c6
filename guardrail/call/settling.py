"""Step (9) of a call: records its outcome, even if the caller has stopped waiting.

A result is released once its outcome is durable. With ``[ledger] outcome = "soon"``, the result of
a body that has ended is released once its outcome is queued (docs/adr/0028).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from guardrail.call.bodies import CallGenerator, Run, check_result
from guardrail.call.journal import Journal
from guardrail.call.outcome_record import build_claim, build_outcome, check_process, status_of
from guardrail.call.stages import Admitted, Ended, Settled
from guardrail.call.timed_bodies import TimedBody
from guardrail.core.log.record import Draft
from guardrail.core.redaction.foreign import outweighs
from guardrail.core.types import Receipt, Status
from guardrail.errors import LedgerError, UsageError
from guardrail.system.waiting import LARGE, Shielded, Steps, Work, in_background

__all__ = ["claim", "run_and_settle", "settle"]

_Sent = tuple[Draft, Future[Receipt]]
"""A record that the ledger has received, and the future that completes when the record is durable.
"""

_CLOSED = "ledger.closed_call"

_ENDED = frozenset({Status.OK, Status.ERROR, Status.RETURNED})
"""Statuses of bodies that have ended. After any other status, the run is paused or cancelled and
often continues in another process, which must see the outcome.
"""


def run_and_settle(
    journal: Journal, admitted: Admitted, run: Callable[..., Any]
) -> CallGenerator[Settled]:
    """Run *run* as the body of an admitted call, and record how it ended in the same way as
    ``settle``. If the call ends before its body does, the end of the body is recorded as a claim.
    """
    ended: Ended | None = None
    sent: list[_Sent] = []
    request = admitted.request
    timed = None if request.tool.timeout is None else TimedBody(request.tool)
    try:
        try:
            extra = request.options.extra
            ended = yield Run(request.id, request.tool, run, admitted.arguments, extra, timed)
            return (yield from _settle(journal, admitted, ended, None, sent, body=True))
        except LedgerError:
            raise
        except BaseException as error:
            if sent or (ended is None and isinstance(error, GeneratorExit)):
                raise
            stop = error
        if ended is None:
            ended = Ended(None, stop, None) if timed is None else timed.interrupted(stop)
        if ended.error is stop:
            return (yield from _settle(journal, admitted, ended, None, sent))
        return (yield from _settle(journal, admitted, ended, None, sent, stop=stop))
    finally:
        if ended is not None and ended.early is not None and ended.early.body is not None:
            ended.early.body.add_done_callback(functools.partial(_claim_end, journal, admitted))


def settle(
    journal: Journal, admitted: Admitted, ended: Ended, status: Status | None = None
) -> Steps[Settled]:
    """Record how an admitted call ended. The record is durable when the steps end.

    The record is written even if the caller is interrupted or cancelled in the meantime: Ctrl-C can
    arrive between any two instructions, and is raised once the record is durable. *status* is the
    status reported by a program that ran the body itself. Raises ``LedgerError`` if the record
    can't be written now: it stays pending and is written as soon as the ledger is writable.
    """
    sent: list[_Sent] = []
    try:
        return (yield from _settle(journal, admitted, ended, status, sent))
    except LedgerError:
        raise
    except BaseException as error:
        if sent:
            raise
        stop = error
    return (yield from _settle(journal, admitted, ended, status, sent, stop=stop))


def claim(journal: Journal, admitted: Admitted, ended: Ended, status: Status) -> Steps[Settled]:
    """Record an outcome that arrives after the call was closed as ``unknown``; the claim is durable
    when the steps end. Raises ``LedgerError`` if it can't be written now: it stays pending.
    """
    check_process(admitted)
    request = admitted.request
    journal.unsent[request.id] = request.origin["pid"]
    try:
        draft = yield Work(functools.partial(build_claim, admitted, status, ended), LARGE + 1)
        sent = draft, journal.ledger.submit(draft)
    finally:
        journal.unsent.pop(request.id, None)
    receipt = yield from _durable(journal, admitted, status, ended, sent, claims=False)
    return Settled(receipt, ended)


def _settle(
    journal: Journal,
    admitted: Admitted,
    ended: Ended,
    status: Status | None,
    sent: list[_Sent],
    *,
    stop: BaseException | None = None,
    body: bool = False,
) -> Steps[Settled]:
    """Record the outcome, and add it to *sent* as soon as the ledger has received it. *stop* is the
    interrupt that ended an earlier attempt: the result is then not examined again, and *stop* is
    raised at the end. *body* is True if guardrail ran the body, and no interrupt ended it.
    """
    check_process(admitted)
    request = admitted.request
    journal.unsent[request.id] = request.origin["pid"]
    try:
        if status is None:
            status = status_of(admitted, ended.error)
        omitted = None if stop is None else "redactor"
        soon = body and journal.released.soon and _has_ended(status, ended)

        def send() -> None:
            draft = build_outcome(admitted, status, ended, omitted=omitted)
            ledger = journal.ledger
            sent.append((draft, ledger.submit(draft, later=True) if soon else ledger.submit(draft)))

        # Only the beginning of an exception's message is examined.
        if ended.error is None and omitted is None and outweighs(ended.result, LARGE):
            yield Work(send, LARGE + 1)
        else:
            send()
        if soon and _released(journal, admitted, ended, sent[-1]):
            return Settled(None, ended)
    finally:
        journal.unsent.pop(request.id, None)
    try:
        claims = omitted is None  # otherwise it may have been recorded when the interrupt arrived
        receipt = yield from _durable(journal, admitted, status, ended, sent[-1], claims=claims)
    except LedgerError as problem:
        if omitted is None or problem.code != _CLOSED:
            raise
    if stop is not None:
        raise _caused_by(stop, ended.error)
    return Settled(receipt, ended)


def _has_ended(status: Status, ended: Ended) -> bool:
    return status in _ENDED and ended.early is None and isinstance(ended.error, Exception | None)


def _released(journal: Journal, admitted: Admitted, ended: Ended, sent: _Sent) -> bool:
    """Return True if the result may be released now, while its outcome is queued. If the call was
    closed in the meantime, a claim is recorded later.
    """

    def replace(problem: LedgerError) -> bool:
        closed = problem.code == _CLOSED
        if closed:
            _claim_later(journal, admitted, lambda: ended)
        return closed

    return journal.released.add(sent[1], replace)


def _durable(
    journal: Journal, admitted: Admitted, status: Status, ended: Ended, last: _Sent, *, claims: bool
) -> Steps[Receipt]:
    """Wait until the outcome is durable. If the call was closed in the meantime, and *claims* is
    True, record a claim.
    """
    draft, future = last
    while True:
        try:
            receipt: Receipt = yield Shielded(future, journal.deadline)
            return receipt
        except LedgerError as problem:
            if claims and problem.code == _CLOSED and draft.type != "call.claim":
                draft = yield Work(
                    functools.partial(build_claim, admitted, status, ended), LARGE + 1
                )
                future = journal.ledger.submit(draft)
            elif ended.error is None:
                raise
            else:
                raise problem from ended.error
        except BaseException as error:  # noqa: BLE001 - any reason to stop waiting; re-raised
            raise journal.give_up(future, _caused_by(error, ended.error)) from ended.error


def _caused_by(stop: BaseException, error: BaseException | None) -> BaseException:
    """Return *stop*, with the body's exception as its cause if there is one."""
    if error is not None and error is not stop:
        stop.__cause__ = error
    return stop


def _claim_end(journal: Journal, admitted: Admitted, body: Future[Ended]) -> None:
    """Record how the body ended, after its call has already ended."""
    _claim_later(journal, admitted, lambda: _complete(admitted, body.result()))


def _claim_later(journal: Journal, admitted: Admitted, find: Callable[[], Ended]) -> None:
    """Record the end of the body that *find* returns as a claim, in the background. A guard that is
    being closed waits for this.
    """
    request = admitted.request
    journal.unsent[request.id] = request.origin["pid"]

    def send() -> None:
        try:
            check_process(admitted)
            ended = find()
            status = status_of(admitted, ended.error)
            journal.ledger.submit(build_claim(admitted, status, ended))
        finally:
            journal.unsent.pop(request.id, None)

    try:
        in_background(send)  # an event loop does not wait for this thread
    except RuntimeError:  # no thread can be started
        send()


def _complete(admitted: Admitted, ended: Ended) -> Ended:
    """Return *ended*. If the body returned something that will never be awaited, return it with an
    error instead.
    """
    try:
        check_result(admitted.request.tool, ended.result, awaited=False)
    except UsageError as error:
        return Ended(None, error, ended.seconds)
    return ended
