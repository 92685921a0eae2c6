"""Implements ``guardrail resolve``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.approvals.resolving import HeldEffect, held_effect, may_resolve, resolve_effect
from guardrail.approvals.rules import RejectionReason
from guardrail.cli.app import Exit
from guardrail.cli.commands.approvals import answering_person
from guardrail.cli.options import json_option, ledger_options, open_ledger, settings_of
from guardrail.cli.output import Style, data, emit_json, paint, remark, sentence
from guardrail.cli.proved import proved_reader
from guardrail.cli.retention_ledger import redacted_reason
from guardrail.core.types import Assurance
from guardrail.review.approval_words import REASONS
from guardrail.review.terminal import name

if TYPE_CHECKING:
    from guardrail.call.journal import Journal
    from guardrail.config import Settings
    from guardrail.keys.log_key import Keys

__all__ = ["resolve"]


@click.command(short_help="State whether a call ran, to free or confirm its effect key.")
@ledger_options
@json_option
@click.option("--reason", metavar="TEXT", help="Required. Reason, in your own words; recorded.")
@click.argument("seq", metavar="SEQ", type=click.IntRange(min=1))
@click.argument("outcome", metavar="OUTCOME", type=click.Choice(["ran", "not-run"]))
def resolve(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    reason: str | None,
    seq: int,
    outcome: str,
) -> int:
    """State that the call of decision SEQ ran, or did not run: OUTCOME is `ran` or `not-run`.

    After `not-run`, another call with the same effect key may run. After `ran`, the key stays held,
    and the record says who confirmed it. The detail of a denial with cause `effect` is SEQ. You
    need the rights of `guardrail approve`, and can't resolve a call that you requested. Exit code
    0: recorded; 1: you may not resolve this call, and nothing was written; 3: the call does not
    hold an effect key, or has no outcome yet.
    """
    from guardrail.approvals.views import terms_of

    words = redacted_reason(reason, needed=f"guardrail resolve {seq} {outcome}")
    assert words is not None
    settings = settings_of(config, ledger)
    with open_ledger(config, ledger) as reader:
        effect = held_effect(seq, (proved_reader(reader, settings) or reader).record(seq))
    person = answering_person(settings, effect.tenant)
    with _opened(settings) as (journal, keys):
        token = keys.tenant(effect.tenant).token
        rejected = may_resolve(effect, person, terms=terms_of(settings.approvals), token=token)
        if rejected is not None:
            return _turned_down(effect, rejected, as_json=as_json)
        receipt, before = resolve_effect(
            effect,
            ran=outcome == "ran",
            person=person,
            reason=words,
            log=journal.log,
            where=journal.where("cli"),
            read=journal.requests.effect_holder,
            append=journal.append,
        )
    ran = outcome == "ran"
    if as_json:
        emit_json(
            {
                "decision": seq,
                "done": True,
                "seq": receipt.seq,
                "ran": ran,
                "outcome": before.state,
                "reason": words,
            }
        )
        return Exit.YES
    says = "it ran; its effect key stays held" if ran else "it did not run; its effect key is free"
    data(f"{paint('RESOLVED', Style.GOOD)}  {name(effect.tool)}: {says}")
    data(f"  record  {receipt.seq}")
    if person.assurance is not Assurance.VERIFIED:
        remark("your identity was not verified: the record says so", Style.WARN)
    return Exit.YES


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Journal, Keys]]:
    from guardrail.wiring.opening import open_journal

    journal, keys = open_journal(settings, epochs=False)
    with contextlib.closing(journal):
        yield journal, keys


def _turned_down(effect: HeldEffect, rejected: RejectionReason, *, as_json: bool) -> Exit:
    if as_json:
        emit_json({"decision": effect.seq, "done": False, "code": str(rejected)})
        return Exit.NO
    words = f"  {name(effect.tool)}: {REASONS[rejected]}"
    for line in sentence(("NOT RESOLVED", Style.BAD), (words, Style.PLAIN)):
        data(line)
    return Exit.NO
