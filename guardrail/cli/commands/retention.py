"""Implements ``guardrail retention``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.commands.prune import print_pruned, pruned_document
from guardrail.cli.commands.seal import (
    archived_document,
    closed_document,
    print_archived,
    print_closed,
)
from guardrail.cli.entries import CommandActor, CommandEntry
from guardrail.cli.options import json_option, ledger_options, open_ledger, settings_for
from guardrail.cli.output import Style, data, emit_json, paint, prose, remark
from guardrail.cli.retention_ledger import open_for_retention, reason_option, redacted_reason
from guardrail.core.words import counted, numbers
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.retention.actions import RetentionManager
    from guardrail.retention.facts import RetentionFacts
    from guardrail.retention.status import RetentionStatus

__all__ = ["retention", "run", "status"]

_HERE = "guardrail.cli.commands.retention"


@click.group(
    cls=LazyGroup,
    entries={
        "run": CommandEntry(
            _HERE,
            "run",
            "Close segments, archive and delete everything that is due. Run this from a timer.",
            actor=CommandActor.OPERATOR,
        ),
        "status": CommandEntry(
            _HERE, "status", "Show records that are due, overdue or were deleted too early."
        ),
    },
    short_help="Keep and delete records according to the retention policy.",
)
def retention() -> None:
    """Keep and delete records according to the retention policy in the settings."""


@click.command(short_help="Show records that are due, overdue or were deleted too early.")
@ledger_options
@json_option
def status(*, config: Path | None, ledger: Path | None, as_json: bool) -> int:
    """Show the age of the oldest record, the records that are due for deletion, and violations of
    [retention]. The command does not change anything.
    """
    from guardrail.retention.facts import read_facts
    from guardrail.retention.missing_copies import missing_copies
    from guardrail.retention.status import judge

    settings = settings_for(config, ledger)
    with open_ledger(config, ledger) as reader, reader.snapshot():
        facts = read_facts(reader)
    status = judge(facts, settings.retention, datetime.now(UTC))
    status = replace(status, findings=(*status.findings, *missing_copies(settings, facts)))
    if as_json:
        emit_json(_document(facts, status))
    else:
        _print_status(facts, status)
    return Exit.RESERVED if status.findings else Exit.YES


@click.command(
    short_help="Close segments, archive and delete everything that is due. Run this from a timer."
)
@ledger_options
@json_option
@reason_option
@click.option("--dry-run", is_flag=True, help="Only show what is due.")
def run(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    reason: str | None,
    dry_run: bool,
) -> int:
    """Do all work that is due according to [retention]: close a segment, archive segments without a
    copy, and delete expired records and copies.

    Run this command from a timer. It reports work that it can't do, and retries that work in the
    next run. While a legal hold is in force, it does not delete anything, which is not a failure.
    """
    words = redacted_reason(reason)
    with open_for_retention(config, ledger) as manager:
        if dry_run:
            return _print_due(manager, as_json=as_json)
        report, problems, failed = _carry_out_due(manager, words, quiet=as_json)
    if as_json:
        emit_json({**report, "problems": problems})
    else:
        for each in problems:
            remark(f"not done: {one_line(each['message'])}", Style.WARN)
            if each["hint"]:
                remark(f"next:  {one_line(each['hint'])}")
    return Exit.RESERVED if failed else Exit.YES


def _carry_out_due(
    manager: RetentionManager, words: str | None, *, quiet: bool
) -> tuple[dict[str, Any], list[dict[str, str]], bool]:
    """Do and report all work that is due. Return the result, the problems, and True if any of the
    problems is a failure.
    """
    from guardrail.retention.due import carry_out

    done = carry_out(manager, why=words)
    expired: list[dict[str, Any]] = [
        {"segment": each.segment, "file": each.file} for _, each in done.expired
    ]
    report: dict[str, Any] = {
        **closed_document(done.closed),
        "archived": archived_document(done.archived),
        "pruned": pruned_document(done.pruned) if done.pruned is not None else None,
        "expired": expired,
    }
    problems = [
        {"code": each.code, "message": each.message, "hint": each.hint} for each in done.problems
    ]
    if not quiet:
        did = print_closed(done.closed)
        did |= print_archived(done.archived)
        did |= done.pruned is not None and print_pruned(done.pruned)
        for each in expired:
            data(f"{paint('deleted', Style.GOOD)}   copy {one_line(each['file'])}")
        if not did and not expired and not problems:
            data("Nothing is due.")
    return report, problems, bool(done.failures)


def _print_due(manager: RetentionManager, *, as_json: bool) -> int:
    facts, status = manager.facts(), manager.status()
    seal, before = manager.is_segment_due(), manager.prunable()
    expire = [each.file for _, each in manager.expired()]
    if as_json:
        due = {
            "seal": seal,
            "archive": list(status.unarchived),
            "prune_before": before,
            "held": list(status.held),
            "expire": expire,
        }
        emit_json({"due": due})
        return Exit.YES
    going = before - facts.first if not status.held else 0
    lines = [
        "a segment is due to be closed" if seal else "",
        f"{counted(len(status.unarchived), 'segment')} to be archived" if status.unarchived else "",
        f"{counted(going, 'record')} to be deleted" if going > 0 else "",
        f"{counted(len(expire), 'copy')} to be deleted" if expire else "",
    ]
    shown = [line for line in lines if line] or ["Nothing is due."]
    for line in shown:
        data(line)
    for each in status.held:
        data(f"held by {name(each)}: nothing is deleted")
    return Exit.YES


def _print_status(facts: RetentionFacts, status: RetentionStatus) -> None:
    age = "none" if status.age_days is None else f"{counted(round(status.age_days), 'day')} old"
    data(f"oldest    {age}")
    data(
        f"segments  {len(facts.segments):,} closed; "
        f"{counted(max(0, facts.size - facts.first_open), 'record')} not in a segment yet"
    )
    if facts.first > 1:
        data(f"pruned    {numbers(1, facts.first - 1)}")
    if status.due_before > facts.first:
        data(f"due       records up to {status.due_before - 1:,} are past their retention period")
    for each in status.held:
        data(f"held      {name(each)}: nothing is deleted")
    for finding in status.findings:
        for line in prose(finding.text[:1].upper() + finding.text[1:]):
            data(paint(one_line(line), Style.WARN))
        remark(f"next:  {one_line(finding.fix)}")


def _document(facts: RetentionFacts, status: RetentionStatus) -> dict[str, Any]:
    return {
        "log": facts.log,
        "records": facts.size,
        "first": facts.first,
        "oldest": facts.oldest or None,
        "age_days": status.age_days,
        "segments": [
            {"segment": each.number, "first": each.first, "last": each.last}
            for each in facts.segments
        ],
        "unarchived": list(status.unarchived),
        "due_before": status.due_before,
        "held": list(status.held),
        "findings": [
            {"trouble": str(each.trouble), "text": each.text, "fix": each.fix}
            for each in status.findings
        ],
    }
