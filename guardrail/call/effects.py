"""Denies a call whose effect another call may already have had."""

from __future__ import annotations

import functools
from typing import Protocol

from guardrail.call.journal import Journal
from guardrail.call.stages import Decided, DeniedEarly, Prepared, Request
from guardrail.core import decision as decisions
from guardrail.core.effect_values import effect_text
from guardrail.core.log.effects import EffectStep
from guardrail.core.repeats import names_of
from guardrail.core.types import Cause
from guardrail.ledger.effects import EFFECT_BEHIND, EFFECT_HELD
from guardrail.system.waiting import Steps

__all__ = ["OVERTAKEN", "effect_key", "refuse_held_effect"]

OVERTAKEN = frozenset(
    {EFFECT_BEHIND, EFFECT_HELD, "ledger.approval_taken", "ledger.suspensions_changed"}
)
"""Error codes after which the call must be decided again. Nothing was written."""
_PATIENCE = 600.0
"""Minimum number of seconds to wait for the ledger: the first look in a process reads the whole
ledger.
"""


class Commitments(Protocol):
    """Makes the commitments of calls. ``Recorder`` implements it."""

    def commitment(self, request: Request, encoded: bytes | None) -> str | None:
        """Return the commitment to the call with the *encoded* arguments."""


def effect_key(prepared: Prepared) -> str | None:
    """Return the key of the call's effect, an HMAC, or None if the tool declares no effect key or
    the arguments are not known.
    """
    request = prepared.request
    tool = request.tool
    if not tool.effect_key or prepared.encoded is None:
        return None
    text = effect_text(tool.server, tool.name, prepared.args, tool.effect_key)
    return request.state.keys.token("effect", text)


def refuse_held_effect(
    journal: Journal,
    prepared: Prepared,
    commitments: Commitments,
) -> Steps[None]:
    """Raise ``DeniedEarly`` if another call holds the key of the call's effect. A tool without an
    effect key returns immediately. Raises ``LedgerError``.
    """
    key = effect_key(prepared)
    if key is None:
        return
    state, request = prepared.request.state, prepared.request
    recorded = {
        "tenant": state.fields.tenant,
        "session": state.fields.session,
        "origin": state.origin(request.origin),
    }
    commitment = commitments.commitment(request, prepared.encoded)
    step = EffectStep(key, commitment, tuple(names_of(recorded)))
    look = functools.partial(journal.requests.effect_holder, step)
    holder = yield from journal.look_up(look, patience=_PATIENCE)
    if holder is None:
        return
    places = ", ".join(request.tool.effect_key)
    denied = decisions.denied(
        Cause.EFFECT,
        str(holder.seq),
        message=f"an earlier call of this tool with the same {places} has run or may have run, so "
        "this call does not run; a person can resolve the earlier call",
    )
    raise DeniedEarly(Decided(prepared, denied))
