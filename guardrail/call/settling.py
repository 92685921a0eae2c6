"""Step (9) of a call: records its outcome, even if the caller has stopped waiting."""

from __future__ import annotations

import functools
from concurrent.futures import Future

from guardrail.call.journal import Journal
from guardrail.call.outcome_record import build_claim, build_outcome, check_process, status_of
from guardrail.call.stages import Admitted, Ended, Settled
from guardrail.core.decision import same_verdict
from guardrail.core.redaction.foreign import outweighs
from guardrail.core.types import Decision, EngineReply, Status
from guardrail.errors import LedgerError, PolicyError
from guardrail.system.waiting import LARGE, Shielded, Steps, Work

__all__ = ["settle"]

_AGAIN_LIMIT = 2.0
"""Seconds that an outcome waits for the second derivation of its decision. After that, it records
that the result is unknown.
"""


def settle(
    journal: Journal, admitted: Admitted, ended: Ended, status: Status | None = None
) -> Steps[Settled]:
    """Record how an admitted call ended. The record is durable when the steps end.

    The record is written even if the caller is interrupted or cancelled meanwhile. *status* is the
    status reported by a program that ran the body itself. Raises ``LedgerError`` if the record
    can't be written now: it stays pending and is written as soon as the ledger is writable.
    """
    check_process(admitted)
    if status is None:
        status = status_of(admitted, ended.error)
    same: bool | None = None
    stop: KeyboardInterrupt | None = None
    if admitted.rederived is not None:
        same, stop = yield from _await_rederived(admitted.rederived, admitted.verdict)
    # Only the beginning of an exception's message is examined.
    if ended.error is None and outweighs(ended.result, LARGE):
        draft = yield Work(
            functools.partial(build_outcome, admitted, status, ended, same), LARGE + 1
        )
    else:
        draft = build_outcome(admitted, status, ended, same)
    while True:
        future = journal.ledger.submit(draft)
        try:
            receipt = yield Shielded(future, journal.deadline)
            break
        except LedgerError as problem:
            if problem.code == "ledger.closed_call" and draft.type != "call.claim":
                draft = yield Work(
                    functools.partial(build_claim, admitted, status, ended), LARGE + 1
                )
            elif ended.error is None:
                raise
            else:
                raise problem from ended.error
        except BaseException as error:  # noqa: BLE001 - every way of no longer waiting; raised on
            raise journal.give_up(future, error) from ended.error
    if stop is not None:
        raise stop
    return Settled(receipt, ended)


def _await_rederived(
    rederived: Future[EngineReply], verdict: Decision
) -> Steps[tuple[bool | None, KeyboardInterrupt | None]]:
    """Return True if the second derivation gave the same verdict, None if that is not known; and
    the Ctrl-C that ended the wait, if any. The caller raises the latter once the outcome is
    durable.
    """
    try:
        reply: EngineReply = yield Shielded(rederived, _AGAIN_LIMIT)
    except (PolicyError, TimeoutError):
        return None, None
    except KeyboardInterrupt as interrupt:
        return None, interrupt
    return same_verdict(verdict, reply.document), None
