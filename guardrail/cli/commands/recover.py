"""Implements ``guardrail recover``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, settings_for
from guardrail.cli.output import Style, data, emit_json, field, paint, prose, remark, sentence
from guardrail.cli.render import clock
from guardrail.core.words import counted
from guardrail.errors import AnchorError, ConfigError, LedgerOpenError, UsageError
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.ledger.maintenance.recover import RecoveryReport
    from guardrail.ledger.maintenance.recovery_plan import RecoveryPlan
    from guardrail.wiring.diagnosis import Diagnosis

__all__ = ["recover"]


@click.command(short_help="Bring a sealed or damaged ledger back into use.")
@ledger_options
@json_option
@click.option("--reason", metavar="TEXT", help="Reason, in your own words; recorded in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--backup",
    "backups",
    type=click.Path(path_type=Path, readable=False),
    multiple=True,
    metavar="FILE",
    help=(
        "A copy of this log that guardrail backup made, so its records are not lost. May be "
        "repeated."
    ),
)
@click.option("--dry-run", is_flag=True, help="Only show the problem and the planned steps.")
def recover(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    reason: str | None,
    yes: bool,
    backups: tuple[Path, ...],
    dry_run: bool,
) -> int:
    """Bring a sealed or damaged ledger back into use, after you confirm the planned steps.

    The command shows the problem and the planned steps, and asks for confirmation. It does not
    delete or change readable data. If the chain is intact, the ledger continues in the same file.
    If the chain is broken, the ledger contradicts an external head, or its keys are gone, the
    command sets the ledger aside unchanged and starts a new log, whose first record contains the
    last known head of the old log. In both cases, an admin.recovered record states who recovered
    the ledger, the reason, and the findings.
    """
    from guardrail.ledger.maintenance.recovery_plan import Action
    from guardrail.wiring.diagnosis import diagnose

    settings = settings_for(config, ledger)
    path = settings.ledger.path
    try:
        found = diagnose(settings, backups)
    except LedgerOpenError as error:
        message = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise LedgerOpenError(
            message, code=error.code, hint=error.hint or "guardrail doctor"
        ) from None
    plan = found.plan
    nothing = plan.action is Action.NOTHING
    conflicts = _conflicts(settings, plan) if nothing else []
    if not as_json:
        _print_plan(path, found, denied=bool(conflicts))
        for each in conflicts:
            what = "calls are denied" if each["denies"] else "an anchor can't be used"
            remark(f"but {what}: {one_line(each['message'])}", Style.WARN)
            remark(f"next:  {one_line(each['hint'])}")
    if nothing or dry_run:
        if as_json:
            emit_json({**_document(path, found, None), "conflicts": conflicts})
        if conflicts:
            return Exit.RESERVED
        return Exit.YES if nothing else Exit.NO
    words = _require_reason(reason, yes=yes)
    if not yes and not click.confirm("Do this?", err=True):
        remark("nothing was changed")
        return Exit.NO
    report = _carry_out(settings, found, words)
    if as_json:
        emit_json({**_document(path, found, report), "conflicts": []})
    else:
        _print_result(report)
    whole = plan.action is not Action.RESTART and not plan.lost
    return Exit.YES if whole else Exit.RESERVED


def _conflicts(settings: Settings, plan: RecoveryPlan) -> list[dict[str, Any]]:
    """Return the anchor conflict that causes every call to be denied although the ledger itself is
    intact, or the reason why the anchor file can't be used.

    The conflict was reported by guards earlier. The check for a missing anchor file is made now.
    """
    from guardrail.anchors.state import read_state, state_path

    path = settings.ledger.path
    state = read_state(state_path(Path(os.path.realpath(path))), plan.log)
    found = [
        {"anchor": name, "message": f"{name}: {each.message}", "hint": each.hint, "denies": True}
        for name, each in state.anchors.items()
        if each.code == "anchor.conflict"
    ]
    if found:
        return found
    at_file = state.anchors.get("file")
    if at_file is not None and at_file.code:  # guards could not use it; calls are not denied
        given = {"anchor": "file", "message": f"file: {at_file.message}", "hint": at_file.hint}
        return [{**given, "denies": False}]
    return list(_missing_heads(settings, plan))


def _missing_heads(settings: Settings, plan: RecoveryPlan) -> Iterator[dict[str, Any]]:
    from guardrail.anchoring import anchors_at
    from guardrail.cli.verify_anchors import MOVE, missing_head

    if settings.anchors.file is None:
        return
    public = str(plan.genesis.get("key", {}).get("public", ""))
    try:
        for anchor in anchors_at(settings, public, plan.log):
            if anchor.name == "file":
                notes = anchor.heads(plan.log)
                missing = missing_head(anchor, settings.ledger.path, plan.log, notes)
                if missing:
                    given = {"anchor": anchor.name, "message": missing, "hint": MOVE}
                    yield {**given, "denies": True}
    except (AnchorError, ConfigError) as error:
        given = {"anchor": "file", "message": error.message, "hint": error.hint}
        yield {**given, "denies": False}


def _require_reason(reason: str | None, *, yes: bool) -> str:
    """Return the reason to record. Prompts for it on a terminal; otherwise, ``--reason`` is
    required.
    """
    if not sys.stdin.isatty() and (reason is None or not yes):
        if yes:
            missing = "--reason is"
        else:
            missing = "--yes is" if reason is not None else "--yes and --reason are"
        raise UsageError(
            f"there is no terminal for prompts, and {missing} missing; nothing was changed",
            hint='guardrail recover --yes --reason "..."',
        )
    words = (
        reason if reason is not None else click.prompt("Reason (recorded in the ledger)", err=True)
    )
    if not words.strip() or len(words) > 1000:
        raise UsageError(
            "the reason must not be longer than 1000 characters",
            hint="guardrail recover --yes --reason TEXT",
        )
    return str(words)


def _carry_out(settings: Settings, found: Diagnosis, words: str) -> RecoveryReport:
    from guardrail.core.redaction.redactor import Redactor
    from guardrail.core.redaction.session_memory import Memory
    from guardrail.identity.actor import current_actor
    from guardrail.keys.tenant_keys import TenantKeys
    from guardrail.wiring.recovery import carry_out

    mark = TenantKeys.mark
    # No tokens are needed, because sensitive-looking text in the reason is replaced with random
    # marks.
    clean = Redactor(token=lambda cls, _: mark(cls), mark=mark).text(words, Memory())
    report, problem = carry_out(settings, found, who=current_actor(), reason=clean)
    if problem is not None:
        remark(f"warning: {one_line(problem.message)}", Style.WARN)
        remark(f"next:  {one_line(problem.hint)}")
    return report


def _print_plan(path: Path, found: Diagnosis, *, denied: bool) -> None:
    from guardrail.ledger.maintenance.recovery_plan import Action

    plan = found.plan
    style = Style.GOOD if plan.action is Action.NOTHING else Style.WARN
    for line in sentence((one_line(plan.found[:1].upper() + plan.found[1:]), style), indent=2):
        data(line)
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
        _print_field("head", plan.head)
    if plan.caches:
        _print_field("rebuilt", f"{', '.join(plan.caches)}: will be rebuilt from the records")
    if _describe_loss(plan):
        _print_field("lost", _describe_loss(plan))
    if plan.unclear_calls:
        data(
            f"  unclear  {counted(len(plan.unclear_calls), 'open call')} whose process can't be "
            "identified"
        )
    if plan.alive:
        data(f"  in use   by {counted(len(plan.alive), 'process')}: end them first")
    for line in (*_describe_known(found), *([] if denied else _planned_steps(path, found))):
        data(line)


def _print_field(label: str, text: str) -> None:
    for line in field(f"  {label:<9}", one_line(text)):
        data(line)


def _describe_loss(plan: RecoveryPlan) -> str:
    """Describe how many records are known to be lost. Return an empty string if none are."""
    from guardrail.core.log.recovered import Loss
    from guardrail.ledger.maintenance.recovery_plan import Action

    if plan.lost:
        return (
            f"at least {counted(plan.lost, 'record')}: acknowledged, but gone or changed; later "
            "records may be lost as well"
        )
    if plan.action is not Action.RESTART:
        return ""
    if plan.loss is Loss.UNKNOWN:
        return "unknown: nothing shows how many records there were"
    return "none, as far as is known"


def _describe_known(found: Diagnosis) -> list[str]:
    """Return lines with the facts about the log that are known from outside the ledger."""
    judged = found.plan.judged
    lines = []
    if judged.last is not None:
        last = judged.last
        lines.append(
            f"  known    {counted(last.size, 'record')} of log {name(last.log)}, by"
            f" {name(last.source)}"
        )
    if found.plan.known and judged.proven:
        lines.append(
            f"  proven   the first {counted(judged.proven, 'record')}, by an external head"
        )
    elif found.plan.known:
        lines.append("  proven   no record: no external head covers the remaining records")
    return lines


def _nothing_to_do(path: Path) -> str:
    from guardrail.system.disk import WORK, free_bytes, make_room, no_room

    free = free_bytes(path)
    back = "Blocked programs continue automatically"
    if free is not None and free < WORK:
        return (
            f"There is nothing to recover. But {no_room(path, WORK)}. {back} then: "
            f"{make_room(path)}"
        )
    return f"There is nothing to do. {back}."


def _planned_steps(path: Path, found: Diagnosis) -> list[str]:
    from guardrail.ledger.half_moved import way_to_finish
    from guardrail.ledger.maintenance.recovery_plan import Action
    from guardrail.wiring.diagnosis import BACK

    plan = found.plan
    moved = "" if found.is_away else way_to_finish(path)
    back = f"Or: {BACK}. " if found.is_away else ""
    if moved:
        back = f"Instead, {moved}. The log then probably needs no recovery. Otherwise: "
    keys = (
        ""
        if found.keys is not None or moved
        else (
            "The keys are gone, so new keys are created; any remaining old keys are renamed and "
            "kept. If there is a backup of the key folder, restore it instead: the log may then "
            "be able to continue. "
        )
    )
    text = {
        Action.NOTHING: _nothing_to_do(path),
        Action.CONTINUE: (
            "The chain is intact. "
            + (
                "The seal is lifted, a record says so, "
                if plan.seal is not None
                else "A record states the findings, "
            )
            + (
                "incorrect derived data is copied to a file and rebuilt from the records, with a "
                "new signed head, "
                if plan.head or plan.caches
                else ""
            )
            + "and the log continues in this file."
        ),
        Action.CLOSE_CALLS: (
            "These calls are recorded as unknown, because it can't be determined how they ended."
        ),
        Action.RESTART: (
            f"{back}{keys}The old files are kept next to the ledger, renamed to "
            f"{path.name}-broken-..., and a new log begins. Its first record contains the last "
            f"known head of the old log. Its name is {found.next_log or 'made from its new key'}, "
            "which must be registered with each witness."
        ),
    }[plan.action]
    return ["", *(one_line(line) for line in prose(text))]


def _print_result(report: RecoveryReport) -> None:
    data()
    if report.receipt is not None:
        data(paint(f"Recovered: record {report.receipt.seq} of log {name(report.log)}", Style.GOOD))
    for path in report.set_aside:
        data(f"  kept  {one_line(str(path))}")
    if report.closed:
        data(f"  closed {counted(report.closed, 'open call')} as unknown")
    remark("next:  guardrail verify")


def _document(path: Path, found: Diagnosis, report: RecoveryReport | None) -> dict[str, Any]:
    from guardrail.ledger.maintenance.recover import predecessor
    from guardrail.ledger.maintenance.recovery_plan import Action

    plan: RecoveryPlan = found.plan
    intact = plan.intact
    return {
        "path": str(path),
        "action": plan.action.value,
        "found": plan.found,
        "log": plan.log,
        "sealed": (
            None
            if plan.seal is None
            else {"when": plan.seal.when, "why": plan.seal.why, "last_seq": plan.seal.last_seq}
        ),
        "intact": (
            None
            if intact is None
            else {"log": intact.log, "size": intact.size, "leaf": intact.leaf.hex()}
        ),
        "first_bad": plan.first_bad,
        "lost": plan.lost,
        "loss": plan.loss.value,
        "proven": plan.judged.proven,
        "known": [{"source": each.source, **each.document} for each in plan.known],
        "predecessor": predecessor(plan) if plan.action is Action.RESTART else None,
        "new_log": found.next_log or None if plan.action is Action.RESTART else None,
        "new_keys": found.keys is None,
        "head": plan.head or None,
        "rebuilt": list(plan.caches),
        "unclear_calls": [call.seq for call in plan.unclear_calls],
        "processes": len(plan.alive),
        "done": (
            None
            if report is None
            else {
                "seq": None if report.receipt is None else report.receipt.seq,
                "log": report.log,
                "set_aside": [str(item) for item in report.set_aside],
                "closed": report.closed,
            }
        ),
    }
