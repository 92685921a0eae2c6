"""Refuses a call that a framework makes again although it has succeeded, or still runs.

A graph that is resumed runs an interrupted node from its start, with the calls of it that were
done. Their bodies must not run twice.
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
"""A name of a call, in the process that decides the call."""

_PATIENCE = 600.0
"""Least number of seconds to wait for the ledger: the first look of a process reads all of it."""
_MESSAGES = {
    Repeat.SUCCEEDED: "this call has succeeded before, so it does not run again",
    Repeat.RUNNING: "this call is still running, so it does not run again",
}


def refuse_repeated(
    journal: Journal, prepared: Prepared, held: MutableSequence[Held]
) -> Steps[None]:
    """Raise ``DeniedEarly`` if a replayed call has already succeeded, is still running, or is being
    decided by this process. It is known by its framework's id, in its session or its thread.

    The names of the call are added to *held*: until the caller passes them to ``release``, no other
    call has them. Calls that are not replayed return immediately. Raises ``LedgerError``.
    """
    request = prepared.request
    if not request.options.replayed:
        return
    names = list(dict.fromkeys(_names(prepared)))
    if not names:
        return
    if not _hold(journal, names, held):
        _refuse(prepared, Repeat.RUNNING)
    look = functools.partial(journal.requests.repeat, names)
    found = yield from journal.look_up(look, patience=_PATIENCE)
    if found is not None:
        _refuse(prepared, found)


def release(journal: Journal, held: Sequence[Held]) -> None:
    """Let other calls have the names in *held*: the ledger shows the call, or it does not run."""
    for name in held:
        journal.deciding.pop(name, None)


def _refuse(prepared: Prepared, found: Repeat) -> NoReturn:
    denied = decisions.denied(Cause.DUPLICATE, found, message=_MESSAGES[found])
    raise DeniedEarly(Decided(prepared, denied))


def _hold(journal: Journal, names: Sequence[str], held: MutableSequence[Held]) -> bool:
    """Add *names* to *held* and return True, unless another call holds one of them."""
    for name in names:
        key = (os.getpid(), name)
        if key in held:  # by an earlier attempt at this call
            continue
        if journal.deciding.setdefault(key, held) is not held:
            return False
        held.append(key)
    return True


def _names(prepared: Prepared) -> Iterator[str]:
    """Yield the names of the call with its ids in each form in which they can be recorded: the
    session may have learned since that one is sensitive, or have forgotten it in a restart.
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
