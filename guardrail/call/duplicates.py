"""Refuses to repeat a call that has already succeeded or is still running.

A graph that is resumed runs an interrupted node again from its start, including the calls that the
node has already made. Their bodies must not run twice.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, MutableSequence, Sequence
from typing import NoReturn, TypeAlias

from guardrail.call.journal import Journal
from guardrail.call.stages import Decided, DeniedEarly, Prepared
from guardrail.core import decision as decisions
from guardrail.core.repeats import Repeat, names_of
from guardrail.core.types import Cause
from guardrail.system.waiting import Steps

__all__ = ["Held", "refuse_repeated", "release"]

Held: TypeAlias = tuple[int, str]
"""A name of a call, with the process that decides the call."""

_PATIENCE = 600.0
"""Minimum number of seconds to wait for the ledger: the first search in a process reads the whole
ledger.
"""
_MESSAGES = {
    Repeat.SUCCEEDED: "this call has already succeeded, so it does not run again",
    Repeat.RUNNING: "this call is still running, so it does not run again",
}


def refuse_repeated(
    journal: Journal, prepared: Prepared, held: MutableSequence[Held]
) -> Steps[None]:
    """Raise ``DeniedEarly`` if a replayed call has already succeeded, is still running, or is being
    decided by this process. A call is identified by its framework's id, in its session or its
    thread.

    The call's names are added to *held*. Until the caller passes them to ``release``, no other call
    can hold them. A call that is not replayed returns immediately. Raises ``LedgerError``.
    """
    request = prepared.request
    if not request.options.replayed:
        return
    names = list(dict.fromkeys(_names(prepared)))
    if not names:
        return
    if not _hold(journal, names, held):
        _refuse(prepared, Repeat.RUNNING)
    yield from journal.released.wait_for_all()
    look = functools.partial(journal.requests.repeat, names)
    found = yield from journal.look_up(look, patience=_PATIENCE)
    if found is not None:
        _refuse(prepared, found)


def release(journal: Journal, held: Sequence[Held]) -> None:
    """Let other calls use the names in *held*, because the ledger now shows the call, or the call
    does not run.
    """
    for name in held:
        journal.deciding.pop(name, None)


def _refuse(prepared: Prepared, found: Repeat) -> NoReturn:
    denied = decisions.denied(Cause.DUPLICATE, found, message=_MESSAGES[found])
    raise DeniedEarly(Decided(prepared, denied))


def _hold(journal: Journal, names: Sequence[str], held: MutableSequence[Held]) -> bool:
    """Add *names* to *held* and return True, unless another call holds one of them."""
    for name in names:
        key = (os.getpid(), name)
        if key in held:  # held by an earlier attempt at this call
            continue
        if journal.deciding.setdefault(key, held) is not held:
            return False
        held.append(key)
    return True


def _names(prepared: Prepared) -> Iterator[str]:
    """Yield every name under which this call may already be recorded. Its ids may be recorded in
    plain form or as tokens, because the session can learn that an id is sensitive, and loses that
    knowledge on a restart.
    """
    request = prepared.request
    state, now = request.state, request.state.origin(request.origin)
    given = {"call_id": request.options.call_id, "thread": request.options.thread}
    ids, threads = (
        dict.fromkeys(
            [request.origin.get(name), now.get(name), text and state.keys.token("call", text)]
        )
        for name, text in given.items()
    )
    for call_id in ids:
        for thread in threads:
            yield from names_of(
                {
                    "tenant": state.fields.tenant,
                    "session": state.fields.session,
                    "origin": {"call_id": call_id, "thread": thread},
                }
            )
