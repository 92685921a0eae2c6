"""Resolves held effect keys: a person states that a call ran, or that it did not.

The rules about people are those of approvals: a statement that a payment did not run permits
another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.approvals.rules import ApprovalTerms, Approver, RejectionReason, folded, is_person_of
from guardrail.core.log import fields
from guardrail.core.log.effects import EffectStep, KeyHolder
from guardrail.core.log.record import Draft, decode
from guardrail.core.look_alikes import look_alike
from guardrail.core.types import Assurance, Receipt
from guardrail.errors import LedgerError
from guardrail.ledger.effects import EFFECT_BEHIND

__all__ = ["HeldEffect", "held_effect", "may_resolve", "resolve_effect"]

_TRIES = 32
"""Maximum number of attempts to write the record while other processes write many records."""


@dataclass(frozen=True, slots=True)
class HeldEffect:
    """The decision of a call that took an effect key."""

    seq: int
    call: str
    key: str
    tenant: str
    tool: str
    people: tuple[str, ...]
    """Ids of the principal, the agent and the identities in the delegation, as recorded."""


def held_effect(seq: int, line: bytes | None) -> HeldEffect:
    """Return the facts in *line*, record *seq*. Raises ``LedgerError`` if it is not the decision of
    an allowed call that took an effect key.
    """
    record = {} if line is None else decode(line)
    effect = record.get("effect")
    allowed = record.get("type") == "call.decision" and record["decision"]["effect"] == "allow"
    if not allowed or effect is None:
        raise LedgerError(
            f"record {seq} is not the decision of a call that took an effect key"
            if line is not None
            else f"there is no record {seq}, or it was pruned",
            code="effect.unknown",
            hint="use the number in the detail of the denied call: guardrail why last",
        )
    people = [record["principal"]["id"], record["agent"]["id"]]
    people += [str(step.get("sub", "")) for step in record["delegation"]]
    return HeldEffect(
        seq,
        str(record["call"]),
        str(effect["key"]),
        str(record["tenant"]),
        str(record["tool"]["name"]),
        tuple(map(str, people)),
    )


def may_resolve(
    effect: HeldEffect,
    person: Approver,
    *,
    terms: ApprovalTerms,
    token: Callable[[str, str], str],
) -> RejectionReason | None:
    """Return the reason that *person* may not resolve *effect*, or None if they may. *token* makes
    the tokens of the call's tenant.
    """
    if not folded(person.id):
        return RejectionReason.APPROVER_UNKNOWN
    if is_person_of(effect.people, person, token):
        return RejectionReason.APPROVER_IS_REQUESTER
    if any(look_alike(person.id, id_) for id_ in effect.people):
        return RejectionReason.APPROVER_LOOKS_ALIKE
    if person.assurance is not Assurance.VERIFIED and not terms.unsafe_asserted:
        return RejectionReason.ASSERTED
    return None


def resolve_effect(
    effect: HeldEffect,
    *,
    ran: bool,
    person: Approver,
    reason: str,
    log: str,
    where: Mapping[str, Any],
    read: Callable[[EffectStep], KeyHolder | None],
    append: Callable[[Draft], Receipt],
) -> tuple[Receipt, KeyHolder]:
    """Record that the call of *effect* ran, or that it did not; then its key is free. Return the
    receipt, and the holder as it was before.

    Raises ``LedgerError``, also if the call does not hold its key, or has no outcome yet.
    """
    step = EffectStep(effect.key, resolves=effect.seq)
    for _ in range(_TRIES):
        holder = read(step)
        if holder is None or holder.seq != effect.seq:
            raise LedgerError(
                f"the call of record {effect.seq} does not hold its effect key any longer",
                code="effect.not_held",
                hint=f"guardrail show {effect.seq}",
            )
        if holder.state == "running":
            raise LedgerError(
                f"the call of record {effect.seq} has no outcome yet, so it may still be running",
                code="effect.running",
                hint="if its process has ended, start a guard, or run guardrail doctor",
            )
        detail = {
            "decision": effect.seq,
            "call": effect.call,
            "key": effect.key,
            "tenant": effect.tenant,
            "ran": ran,
            "outcome": holder.state,
            "reason": reason,
        }
        record = fields.admin(log, "resolved", actor=person.document(), where=where, detail=detail)
        try:
            return append(Draft.build(record)), holder
        except LedgerError as error:
            if error.code != EFFECT_BEHIND:
                raise
    raise LedgerError(
        "other processes keep writing records; nothing was changed",
        code=EFFECT_BEHIND,
        hint="try again",
    )
