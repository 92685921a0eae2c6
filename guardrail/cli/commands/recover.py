"""``guardrail recover``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, settings_for
from guardrail.cli.output import Style, data, emit_json, note, paint, prose
from guardrail.cli.render import clock, counted
from guardrail.errors import AnchorError, KeysError, LedgerOpenError, UsageError
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.keys import Signing
    from guardrail.ledger.recover import RecoveryPlan, RecoveryReport

__all__ = ["recover"]


@click.command(short_help="Bring a sealed or damaged ledger back into use.")
@ledger_options
@json_option
@click.option("--reason", metavar="TEXT", help="Why, in your words: it goes into the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what is wrong and what would be done.")
def recover(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    reason: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Bring a sealed or damaged ledger back into use, by your decision and on the record.

    Says what is wrong and what will be done, and asks. Nothing that can be read is deleted or changed: a ledger whose
    chain is intact goes on in the same file; one that is not is set aside as it is, and a new one begins that names the
    last intact head of the old one. Either way an admin.recovered record says who did it, why, and what was found.
    """
    from guardrail.keys import verify_signature
    from guardrail.ledger.recover import Action, inspect

    settings = _located(config, ledger)
    path = settings.ledger.path
    try:
        plan = inspect(path, signing=_signing(settings), verify=verify_signature)
    except LedgerOpenError as error:
        raise LedgerOpenError(
            f"{path}: {error.message}", code=error.code, hint=error.hint or "guardrail doctor"
        ) from None
    nothing = plan.action is Action.NOTHING
    if nothing and not settings.key_path.exists():
        raise KeysError(
            f"the ledger is whole, but its keys in {settings.key_path} are gone; without them it can't be continued",
            code="keys.missing",
            hint=f"restore that folder from a backup. If there is none: move the ledger and every file whose name begins with its name to another folder, run guardrail anchor forget {path}, and open a guard: it makes a new ledger with new keys",
        )
    if not as_json:
        _explain(path, plan)
    if nothing or dry_run:
        if as_json:
            emit_json(_document(path, plan, None))
        return Exit.YES if nothing else Exit.NO
    words = _reason(reason, yes=yes)
    if not yes and not click.confirm("Do this?", err=True):
        note("nothing was changed")
        return Exit.NO
    report = _act(settings, plan, words)
    _remember(settings)
    if as_json:
        emit_json(_document(path, plan, report))
    else:
        _tell(report)
    whole = plan.action is not Action.RESTART and not plan.lost
    return Exit.YES if whole else Exit.RESERVED


def _located(config: Path | None, ledger: Path | None) -> Settings:
    """Return the settings of the ledger that is meant. Raises ``LedgerOpenError`` where there is not even a trace of one."""
    from guardrail.ledger.files import traces

    settings = settings_for(config, ledger)
    path = settings.ledger.path
    if not traces(path) and not settings.key_path.exists():
        # A new log at a mistyped path would look like a recovered one.
        raise LedgerOpenError(
            f"{path}: there is no ledger at this path, and nothing is left of one",
            code="ledger.missing",
            hint="guardrail init",
        )
    return settings


def _signing(settings: Settings) -> Signing | None:
    """Return what tells whether a holder of the keys wrote the head, or None where the keys can't be had."""
    from guardrail.journal import actor
    from guardrail.opening import load_keys

    with contextlib.suppress(KeysError):
        return load_keys(settings).signing(actor=actor(), epochs=False)
    return None


def _reason(reason: str | None, *, yes: bool) -> str:
    """Return the words for the record; asked for on a terminal, required elsewhere."""
    if not sys.stdin.isatty() and (reason is None or not yes):
        raise UsageError(
            "there is no terminal to ask on; nothing was changed",
            hint='guardrail recover --yes --reason "..."',
        )
    words = reason if reason is not None else click.prompt("Why? It goes into the ledger", err=True)
    if not words.strip() or len(words) > 1000:
        raise UsageError(
            "the reason must say something, in at most 1000 characters",
            hint="guardrail recover --reason",
        )
    return str(words)


def _act(settings: Settings, plan: RecoveryPlan, words: str) -> RecoveryReport:
    from guardrail.core import fields
    from guardrail.core.memory import Memory
    from guardrail.core.redact import Redactor
    from guardrail.journal import actor
    from guardrail.keys import TenantKeys, verify_signature
    from guardrail.ledger.recover import recover as act
    from guardrail.ledger.recover import successor
    from guardrail.opening import default_log_name, load_keys

    mark = TenantKeys.mark
    # No token is needed in the reason: what looks sensitive in it gets a random mark.
    clean = Redactor(token=lambda cls, _: mark(cls), mark=mark).text(words, Memory())
    genesis: Mapping[str, object] | None = None
    log: str | None = None
    keys = load_keys(settings)
    if not plan.genesis:
        genesis = fields.genesis(
            nonce="", public_key=keys.public, config_digest=settings.digest(), predecessor=None
        )
        log = successor(default_log_name(settings))
    return act(
        settings.ledger.path,
        who=actor(),
        reason=clean,
        signing=keys.signing(actor=actor(), epochs=False),
        verify=verify_signature,
        genesis=genesis,
        log=log,
    )


def _remember(settings: Settings) -> None:
    """Have this machine remember the log as it is now: the break is on record."""
    from guardrail.access_memory import AccessMemory
    from guardrail.anchoring import renew_memory
    from guardrail.journal import actor
    from guardrail.opening import load_keys

    try:
        renew_memory(settings, load_keys(settings).signing(actor=actor(), epochs=False))
        AccessMemory(settings, settings.ledger.path.absolute()).forget()  # if it is one
    except AnchorError as error:
        note(f"warning: {one_line(error.message)}", Style.WARN)
        note(f"next:  {one_line(error.hint)}")


def _explain(path: Path, plan: RecoveryPlan) -> None:
    from guardrail.ledger.recover import Action

    style = Style.GOOD if plan.action is Action.NOTHING else Style.WARN
    data(paint(one_line(plan.found[:1].upper() + plan.found[1:]), style))
    data(f"  ledger   {one_line(str(path))}")
    if plan.log:
        data(f"  log      {name(plan.log)}")
    if plan.seal is not None and plan.seal.when:
        data(f"  sealed   {clock(plan.seal.when)}, last acknowledged record {plan.seal.last_seq}")
    if plan.intact is not None:
        data(
            f"  intact   {counted(plan.intact.size, 'record')}, up to record {plan.intact.size - 1}"
        )
    if plan.first_bad is not None:
        data(f"  broken   from record {plan.first_bad} on")
    if plan.head:
        data(f"  head     {one_line(plan.head)}")
    if plan.caches:
        data(f"  rebuilt  {', '.join(plan.caches)}: made anew from the records")
    if plan.lost:
        data(f"  lost     {counted(plan.lost, 'record')} that had been acknowledged")
    if plan.untold:
        data(f"  unclear  {counted(len(plan.untold), 'open call')} whose process can't be found")
    if plan.alive:
        data(f"  in use   by {counted(len(plan.alive), 'process', 'processes')}: end them first")
    for line in _steps(path, plan):
        data(line)


def _steps(path: Path, plan: RecoveryPlan) -> list[str]:
    from guardrail.ledger.recover import Action

    text = {
        Action.NOTHING: "Nothing has to be done. Programs that were blocked come back by themselves.",
        Action.CONTINUE: (
            "The chain is intact. "
            + (
                "The seal is lifted, a record says so, "
                if plan.seal is not None
                else "A record says what was found, "
            )
            + (
                "what is not right beside the records is kept in a file and made anew from them, with a new signed head, "
                if plan.head or plan.caches
                else ""
            )
            + "and the log goes on in this file."
        ),
        Action.CLOSE_CALLS: "These calls are recorded as unknown: nobody can say how they ended.",
        Action.RESTART: (
            f"The old files are kept beside the ledger, renamed to {path.name}-broken-..., and a new log begins. "
            "Its first record names the last intact head of the old one. It has a name of its own, which witnesses have to be told."
        ),
    }[plan.action]
    return ["", *(one_line(line) for line in prose(text))]


def _tell(report: RecoveryReport) -> None:
    data()
    if report.receipt is not None:
        data(paint(f"Recovered: record {report.receipt.seq} of log {name(report.log)}", Style.GOOD))
    for path in report.set_aside:
        data(f"  kept  {one_line(str(path))}")
    if report.closed:
        data(f"  closed {counted(report.closed, 'open call')} as unknown")
    note("next:  guardrail verify")


def _document(path: Path, plan: RecoveryPlan, report: RecoveryReport | None) -> dict[str, Any]:
    intact = plan.intact
    return {
        "path": str(path),
        "action": plan.action.value,
        "found": plan.found,
        "log": plan.log,
        "sealed": None
        if plan.seal is None
        else {"when": plan.seal.when, "why": plan.seal.why, "last_seq": plan.seal.last_seq},
        "intact": None
        if intact is None
        else {"log": intact.log, "size": intact.size, "leaf": intact.leaf.hex()},
        "first_bad": plan.first_bad,
        "lost": plan.lost,
        "head": plan.head or None,
        "rebuilt": list(plan.caches),
        "unclear_calls": [call.seq for call in plan.untold],
        "processes": len(plan.alive),
        "done": None
        if report is None
        else {
            "seq": None if report.receipt is None else report.receipt.seq,
            "log": report.log,
            "set_aside": [str(item) for item in report.set_aside],
            "closed": report.closed,
        },
    }
