"""Implements ``guardrail verify``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.access_verify import (
    AccessLogVerification,
    access_log_verification,
    combined_exit_code,
)
from guardrail.cli.missing import is_other_file
from guardrail.cli.options import json_option, ledger_options, ledger_path, settings_for
from guardrail.cli.output import Progress, Style, data, emit_json, paint, prose, remark
from guardrail.cli.reading import access_log_incomplete, access_log_lost
from guardrail.cli.render import clock, recovery
from guardrail.cli.verify_anchors import configured_heads, origin_of, witness_ca, witness_heads
from guardrail.cli.verify_files import VerifySources, one_source, verify_file
from guardrail.cli.verify_memory import headline_end, remembered_heads
from guardrail.cli.verify_steps import left_notice, next_steps, way_to_check
from guardrail.core.words import counted, numbers
from guardrail.errors import GuardrailError
from guardrail.review.terminal import escape, name, one_line
from guardrail.system.host import usable_cores

if TYPE_CHECKING:
    from guardrail.review.verify import OutsideHead, VerifyReport

__all__ = ["verify"]

_PATH = click.Path(path_type=Path, readable=False)
_SHOWN = 10
_MOST_JOBS = 4
"""Number of processes that read a ledger if the command does not say how many."""
"""Maximum number of open calls of dead processes that are listed one by one."""


@click.command(short_help="Check that no record was changed, and report what that proves.")
@ledger_options
@json_option
@click.option(
    "--key",
    "key_text",
    metavar="PUB",
    help="The log's public key that you stored: 64 hex characters, a note key, or a file with "
    "either.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=_PATH,
    metavar="FILE",
    multiple=True,
    help="An external signed head, or an anchor file with several heads. May be repeated.",
)
@click.option(
    "--witness",
    "witnesses",
    metavar="'URL KEY'",
    multiple=True,
    help="Also compare with the newest head that this witness cosigned. May be repeated.",
)
@click.option(
    "--since",
    type=click.IntRange(min=0),
    default=0,
    metavar="SEQ",
    help="Read only the records from SEQ onwards. For earlier records, use only the stored hashes.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=min(_MOST_JOBS, usable_cores()),
    metavar="N",
    help=(
        "Number of processes that read a large ledger. Default: one for each processor core that "
        "may be used, at most 4."
    ),
)
@click.option(
    "--export",
    "exported",
    type=_PATH,
    metavar="FILE",
    help="Check this export (may be .gz) instead of a ledger.",
)
@click.option(
    "--segment",
    type=_PATH,
    metavar="FILE",
    help=(
        "Check this copy of a segment (may be .gz). If the ledger exists, compare the copy with the"
        " record that closed the segment."
    ),
)
@click.option(
    "--backup",
    type=_PATH,
    metavar="FILE",
    help="Check this older copy of the ledger. Later records in the log do not contradict it.",
)
def verify(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    key_text: str | None,
    checkpoints: tuple[Path, ...],
    witnesses: tuple[str, ...],
    since: int,
    jobs: int,
    exported: Path | None,
    segment: Path | None,
    backup: Path | None,
) -> int:
    """Check that no record was changed, and state what this proves and what it does not prove.

    The command recomputes every hash from the stored lines, and compares the hashes with the signed
    head in the ledger, with external heads (those on the command line, and those from the file and
    the witnesses in [anchors]), and with this machine's memory of the log. It also checks the
    access log. Exit code 0: intact, and covered by an external head; 1: changed, truncated or
    replaced, with the first record that differs; 3: could not be checked; 5: intact with a caveat,
    for example without an external head.
    """
    from guardrail.review.verify import load_heads, load_key

    one_source(exported, segment, backup, other=ledger is not None or config is not None)
    key = load_key(key_text) if key_text is not None else None
    heads = [each for path in checkpoints for each in load_heads(path)]
    progress = Progress("verified")
    notices: list[str] = []
    try:
        path, report, readers = _verify(
            VerifySources(config, ledger, exported, segment, backup),
            key=key,
            heads=heads,
            witnesses=witnesses,
            since=since,
            jobs=jobs,
            notices=notices,
            progress=progress,
        )
    finally:
        progress.clear()
    # An anchor that does not respond is reported only once, even if both logs use it.
    notices = list(dict.fromkeys(notices))
    lost = "" if exported is not None else _access_log_trouble(notices)
    code = 1 if lost else combined_exit_code(report.exit_code, readers)
    own = exported is None and segment is None and backup is None
    notices += left_notice(path) if own else []
    way = way_to_check(path, config, ledger) if own and report.exit_code == 3 else ""
    steps = next_steps(path, report, is_file=not own, backup=backup is not None, way=way)
    if as_json:
        access_part = None if readers is None else _access_log_document(readers)
        emit_json({**_document(path, report, notices, steps), "exit": code, "access": access_part})
    else:
        _print(path, report, notices)
        _print_next_steps(readers, steps)
    return code


def _verify(
    sources: VerifySources,
    *,
    key: str | None,
    heads: list[OutsideHead],
    witnesses: tuple[str, ...],
    since: int,
    jobs: int,
    notices: list[str],
    progress: Progress,
) -> tuple[Path, VerifyReport, AccessLogVerification | None]:
    """Verify one file, or a ledger and its access log. Return the path, the report and the access
    log.
    """
    from guardrail.review.verify import verify_ledger

    if any(each is not None for each in (sources.exported, sources.segment, sources.backup)):
        path, report = verify_file(
            sources,
            key=key,
            heads=heads,
            witnesses=witnesses,
            since=since,
            jobs=jobs,
            notices=notices,
            progress=progress,
        )
        return path, report, None
    config, ledger = sources.config, sources.ledger
    path = ledger_path(config, ledger)
    if witnesses:  # on a read-only mount, opening the ledger may copy it
        heads = heads + witness_heads(witnesses, origin_of(path), witness_ca(config, ledger))
    heads = heads + configured_heads(config, ledger, path, notices)
    notices += _retention_violations(config, ledger, path)
    readers = access_log_verification(path, heads)
    if readers is not None:
        heads = [each for each in heads if each not in readers.heads]
    heads += remembered_heads(config, ledger, path, notices)
    report = verify_ledger(path, key=key, heads=heads, since=since, jobs=jobs, progress=progress)
    if readers is not None:
        kept = configured_heads(config, readers.path, readers.path, notices, own=False)
        readers.verify(kept, jobs=jobs, progress=progress)
    return path, report, readers


def _access_log_trouble(notices: list[str]) -> str:
    """Add a notice if the access log is lost or incomplete. Return the reason if it is lost."""
    lost = access_log_lost()
    if lost:
        notices.append(f"It is not known who read the ledger: {lost}.")
    elif access_log_incomplete():
        notices.append(f"Reads of the ledger are not recorded: {access_log_incomplete()}.")
    return lost


def _retention_violations(config: Path | None, ledger: Path | None, path: Path) -> list[str]:
    """Describe the records that are overdue or were deleted too early according to the settings.
    Return an empty list if the settings or the records can't be read.
    """
    from guardrail.ledger.reader import LedgerReader
    from guardrail.retention.facts import read_facts
    from guardrail.retention.status import RetentionProblem, judge

    try:
        settings = settings_for(config, ledger)
        with LedgerReader.open(path) as reader, reader.snapshot():
            standing = judge(read_facts(reader), settings.retention, datetime.now(UTC))
    except GuardrailError:
        return []  # verify reports the reason, and works without settings
    wanted = (RetentionProblem.OVERDUE, RetentionProblem.UNDER_KEPT)
    return [each.text for each in standing.findings if each.trouble in wanted]


# -- the result ------------------------------------------------------------------------------------


def _access_log_document(readers: AccessLogVerification) -> dict[str, Any]:
    steps = next_steps(readers.path, readers.report, is_file=False)
    return _document(readers.path, readers.report, [], steps)


def _print_next_steps(readers: AccessLogVerification | None, steps: list[str]) -> None:
    if readers is not None:
        _print_readers(readers)
    for step in steps:
        remark(f"next:  {step}")


def _document(
    path: Path, report: VerifyReport, notices: list[str], steps: list[str]
) -> dict[str, Any]:
    return {
        "path": str(path),
        "state": report.state.value,
        "exit": report.exit_code,
        "detail": report.detail,
        "first_bad": report.first_bad,
        "differs": None if report.differs is None else report.differs.value,
        "log": report.log,
        "key": report.key or None,
        "key_pinned": report.key_pinned,
        "records": report.records,
        "last_seq": report.last_seq,
        "last_ts": report.last_ts or None,
        "first_bad_ts": report.first_bad_ts or None,
        "against": _contradicted_head(report),
        "pruned_before": report.pruned_before,
        "head": (
            {"size": report.records, "root": report.root, "note": report.note or None}
            if report.root
            else None
        ),
        "anchored_to": report.anchored_to,
        "anchored_by": report.anchored_by or None,
        "anchored_ts": report.anchored_ts or None,
        "memory": None if report.recall is None else report.recall.value,
        "remembered_to": report.remembered_to,
        "proven_to": report.proven_to,
        "dead_calls": [
            {"seq": call.seq, "call": call.call, "host": call.host, "pid": call.pid}
            for call in report.dead_calls
        ],
        "live_calls": report.live_calls,
        "approvals_used": report.approvals_used,
        "recovered": [recovery(each) for each in report.recovered],
        "uncovered": (
            None
            if report.uncovered is None
            else {"first": report.uncovered[0], "last": report.uncovered[1]}
        ),
        "heartbeats": report.heartbeats,
        "silences": report.silences,
        "notices": [*report.notices, *notices],
        "not_proved": list(report.not_proved),
        "next": steps,
    }


def _contradicted_head(report: VerifyReport) -> dict[str, Any] | None:
    """Describe the head that the log contradicts: where it is stored, the last record that it
    covers, and how long it has been stored there.
    """
    head = report.against
    if head is None or head.head is None:
        return None
    return {"by": head.source, "last": head.head.size - 1, "ts": head.seen or None}


def _headline(path: Path, report: VerifyReport) -> tuple[str, Style]:
    from guardrail.review.verify import VerifyState

    if report.exit_code == 3 and is_other_file(path, report.detail):
        return "NOT A LEDGER", Style.BAD
    where = "" if report.first_bad is None else f" at record {report.first_bad}"
    memory = "" if report.remembered_to is None else f", REMEMBERED up to {report.remembered_to}"
    pinned = "" if report.key_pinned else ", KEY NOT PINNED"
    recovered = ""
    if any(each.first <= each.last for each in report.recovered):
        recovered = ", RECOVERED RECORDS NOT COVERED"
    if any(each.lossy for each in report.recovered):
        recovered += ", RECORDS LOST" if any(each.lost for each in report.recovered) else ""
        recovered += "" if "LOST" in recovered else ", RECORDS MAY BE LOST"
    uncovered = "" if report.uncovered is None else ", NOT COVERED after that"
    return {
        VerifyState.ANCHORED: (
            f"INTACT, ANCHORED up to record {report.anchored_to}{recovered}{uncovered}{pinned}",
            Style.GOOD if report.exit_code == 0 else Style.WARN,
        ),
        VerifyState.NOT_ANCHORED: (f"INTACT, NOT ANCHORED{memory}{recovered}{pinned}", Style.WARN),
        VerifyState.PREFIX: (
            (
                "INTACT, A PREFIX of the log, proven up to record"
                f" {report.proven_to}{recovered}{pinned}"
            ),
            Style.WARN,
        ),
        VerifyState.OPEN_CALLS: (
            f"INTACT, with open calls of dead processes{recovered}{pinned}",
            Style.WARN,
        ),
        VerifyState.TAMPERED: (f"BROKEN{where}", Style.BAD),
        VerifyState.TRUNCATED: ("TRUNCATED", Style.BAD),
        VerifyState.ROLLED_BACK: ("ROLLED BACK", Style.BAD),
        VerifyState.FORKED: ("FORKED", Style.BAD),
        VerifyState.REPLACED: ("REPLACED by another log", Style.BAD),
        VerifyState.MISSING: (f"MISSING{headline_end(report)}", Style.BAD),
        VerifyState.DAMAGED: (f"TORN{headline_end(report)}", Style.BAD),
        VerifyState.KEY_UNKNOWN: ("NOT CHECKED: no known key signed the head", Style.WARN),
        VerifyState.HEAD_MALFORMED: ("NOT CHECKED: the head is malformed", Style.WARN),
        VerifyState.UNREADABLE: ("NOT CHECKED", Style.WARN),
    }[report.state]


def _print(path: Path, report: VerifyReport, notices: list[str]) -> None:
    word, style = _headline(path, report)
    data(paint(word, style))
    if report.detail:
        for line in prose(one_line(report.detail), indent=2):
            data(f"  {line}")
    data(f"  checked  {one_line(str(path))}")
    if report.log:
        data(f"  log      {name(report.log)}")
    if report.key:
        data(f"  key      {report.key}")
    if report.records:
        data(f"  records  {_describe_count(report)}")
    if _describe_time(report):
        data(f"  time     {_describe_time(report)}")
    if report.pruned_before:
        data(f"  pruned   {numbers(1, report.pruned_before - 1)}, with proof")
    if report.anchored_to is not None:
        when = f", recorded {clock(report.anchored_ts)}" if report.anchored_ts else ""
        data(f"  covered  up to record {report.anchored_to}{when}, by {name(report.anchored_by)}")
    if report.approvals_used:
        used = counted(report.approvals_used, "use")
        data(f"  approved {used} of approvals, each covered by its request and its approvers")
    if report.live_calls:
        data(f"  running  {counted(report.live_calls, 'call')} without an outcome yet")
    _list(
        "Open calls of dead processes (a guard closes them when it opens the ledger)",
        _list_dead_calls(report),
    )
    _list("Notices", [*report.notices, *notices])
    _list("Not proved", list(report.not_proved))


def _print_readers(readers: AccessLogVerification) -> None:
    """Summarize the verification of the access log. The limits of the proof are printed for the
    ledger only.
    """
    report = readers.report
    word, style = _headline(readers.path, report)
    data()
    data(paint("Who read it (the access log)", Style.STRONG))
    data(f"  {paint(word, style)}")
    for line in prose(one_line(report.detail), indent=4) if report.detail else ():
        data(f"    {line}")
    data(f"  checked  {one_line(str(readers.path))}")
    if report.records:
        data(f"  records  {_describe_count(report)}")
    for notice in report.notices:
        for line in prose(one_line(notice), indent=4):
            data(f"    {line}")
    if report.exit_code not in {0, 5}:
        remark(f"next:  guardrail verify --ledger {one_line(str(readers.path))}")


def _describe_count(report: VerifyReport) -> str:
    count = counted(report.records, "record")
    if report.first_bad is not None and report.first_bad >= report.records:
        return f"{count} before that, all valid"
    return f"{count}, " + ("linked to each other" if report.exit_code == 1 else "all valid")


def _describe_time(report: VerifyReport) -> str:
    """Describe when the problem occurred: the time of the first bad record if its line is
    well-formed, otherwise the time of the last good record.
    """
    if report.first_bad_ts:
        return f"record {report.first_bad} was written {clock(report.first_bad_ts)}"
    if not report.last_ts:
        return ""
    word = "last good" if report.first_bad is not None else "last"
    return f"record {report.last_seq}, the {word} one, was written {clock(report.last_ts)}"


def _list_dead_calls(report: VerifyReport) -> list[str]:
    shown = [
        f"record {call.seq}: call {escape(call.call)}, {name(call.host)} pid {call.pid}"
        for call in report.dead_calls[:_SHOWN]
    ]
    more = len(report.dead_calls) - len(shown)
    return [*shown, f"and {more:,} more"] if more > 0 else shown


def _list(title: str, lines: list[str]) -> None:
    if not lines:
        return
    data()
    data(paint(title, Style.STRONG))
    for entry in lines:
        first, *rest = prose(one_line(entry), indent=4)
        data(f"  - {first}")
        for line in rest:
            data(f"    {line}")
