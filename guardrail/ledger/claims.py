"""Checks the first record of each caller in a session, so that no session gets a second owner.

When a caller enters a session, guardrail compares the caller with the session's first record. But
two callers can enter before either has written a record. Each caller's first record is therefore
checked again in the transaction that appends it, in which no other record can intervene.
"""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.core.claims import BEHIND, Claim, owner_of
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, decode
from guardrail.errors import LedgerError
from guardrail.ledger.names import SessionNames
from guardrail.ledger.steps import hash_lines, is_start, misplaced
from guardrail.ledger.storage import AppendingStorage, Tail
from guardrail.ledger.tree import check_included, node_reader

__all__ = ["SESSION_TAKEN", "STARTED", "refused_drafts"]

STARTED = "ledger.start_taken"
"""Error code for the start of a guard that was not recorded because another guard started first."""
SESSION_TAKEN = "ledger.session_taken"
"""Error code for a first record in another caller's session. The record was not written."""


def refused_drafts(
    store: AppendingStorage, drafts: Sequence[Draft], tail: Tail, names: SessionNames
) -> dict[int, LedgerError]:
    """Return the error for each draft that must not be written, keyed by the draft's position. A
    draft that claims another caller's session gets ``ledger.session_taken``. A draft that starts a
    guard gets ``ledger.start_taken`` if another guard has started since the last lookup.

    *names* proves that a session is free. If reading the names up to the committed end of the log
    takes too long, the draft's error is ``ledger.session_behind``. Raises ``LedgerError``
    (``ledger.unproved``) if the signed head does not cover a record of the session, and any error
    from *store*.
    """
    refused: dict[int, LedgerError] = {}
    claimed: dict[str, Claim] = {}
    for place, draft in enumerate(drafts):
        if draft.type == "admin.start" and _has_other_start(store, draft, tail.committed):
            refused[place] = LedgerError("another guard has started", code=STARTED)
        claim = draft.claim
        if claim is None:
            continue
        found, problem = _check_claim(store, claim, tail)
        if claim.named and not found:
            problem = _check_index(store, claim, names, tail.committed)
        for name in claim.names:
            if problem is None and claimed.setdefault(name, claim).owner != claim.owner:
                # The other draft may still fail, so this one is refused for now and tried again.
                problem = LedgerError(
                    "two callers are starting this session at the same time", code=BEHIND
                )
        if problem is not None:
            refused[place] = problem
    return refused


def _has_other_start(store: AppendingStorage, draft: Draft, end: Edge) -> bool:
    """Return True if another guard has started since *draft* looked up the last start.

    Raises ``LedgerError``.
    """
    if draft.judged is None:
        return False
    starts = 0

    def look(line: bytes) -> None:
        nonlocal starts
        starts += is_start(line)

    hash_lines(store, Edge.decode(*draft.judged), end.size, end.encode(), look)
    return starts > 0


def _check_claim(
    store: AppendingStorage, claim: Claim, tail: Tail
) -> tuple[bool, LedgerError | None]:
    """Return True if the session already has a record, and the error if that record rules out
    *claim*, otherwise None.
    """
    any_ = False
    for name in claim.names:
        row = store.first_claim(name)
        if row is None:
            continue
        seq, line = row
        check_included(tail.edge, node_reader(store), seq, line)
        record = decode(line)
        found = owner_of(record)
        if found is None or record["session"] != name:
            raise misplaced(seq)
        if not claim.allows(found):
            return True, LedgerError(
                "the session belongs to another tenant, principal or agent", code=SESSION_TAKEN
            )
        any_ = True
    return any_, None


def _check_index(
    store: AppendingStorage, claim: Claim, names: SessionNames, end: Edge
) -> LedgerError | None:
    """Return an error unless the session is proved to be free, because the index could be hiding a
    record.
    """
    if names.catch_up(store, end) and all(map(names.is_absent, claim.names)):
        return None
    return LedgerError("the proof that this session has no owner must be repeated", code=BEHIND)
