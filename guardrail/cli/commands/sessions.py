"""Implements ``guardrail sessions``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from guardrail.cli.options import SUBJECT, json_option, settings_for
from guardrail.cli.output import (
    Align,
    Cell,
    Column,
    Progress,
    Style,
    columns,
    data,
    emit_json,
    paint,
    remark,
    table,
    wrap_items,
)
from guardrail.cli.render import clock
from guardrail.cli.sources import known_copies, open_records, report_pruned, source_options
from guardrail.core.log.suspensions import CallNames, SubjectKind
from guardrail.core.words import counted
from guardrail.errors import ConfigError, KeysError, LedgerError, UsageError
from guardrail.ledger.files import utc_timestamp
from guardrail.review.index.records import IndexedRecords
from guardrail.review.pruned import document
from guardrail.review.records import RecordReader, pruned_range
from guardrail.review.session_subjects import SubjectSessions
from guardrail.review.sessions import SessionSummary, recent_sessions
from guardrail.review.terminal import name

__all__ = ["sessions"]

_WIDE = 120
"""Minimum width for one row per session. If the output is narrower, a session's outcomes are on a
separate line.
"""


@click.command(short_help="List the sessions in the ledger, oldest first.")
@source_options
@json_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Show only the latest N.",
)
@click.option("--all", "everything", is_flag=True, help="Show all.")
@click.argument("subject", metavar="[SUBJECT]", required=False, type=SUBJECT)
def sessions(
    *,
    config: Path | None,
    ledger: Path | None,
    exported: Path | None,
    segment: Path | None,
    as_json: bool,
    limit: int,
    everything: bool,
    subject: str | None,
) -> None:
    """List the sessions in the ledger, oldest first, with their callers, the number of calls, and
    how the calls ended.

    SUBJECT is principal:ID or agent:ID, and selects the sessions of this principal or agent. An id
    that is recorded as a token is found by its plain text if the keys of the ledger can be read.

    APPROVAL counts calls that need a person's approval. REJECTED counts calls that were rejected
    before the policy was evaluated. OPEN counts calls that were allowed but have no recorded
    outcome: they are running, or their process died and no guard has opened the ledger since.
    """
    with open_records(config, ledger, exported, segment) as reader:
        progress = Progress("read")
        found = recent_sessions(
            reader,
            None if everything else limit,
            chosen=None if subject is None else _of_subject(subject, reader, config, ledger),
            progress=progress,
        )
        progress.clear()
        log, size = reader.log, reader.size()
        stops = _stops(reader, found.rows)
        lost = pruned_range(reader)
        copies = [] if lost is None else known_copies(reader, config, ledger)
    shown, throttled = found.rows, list(found.throttled)
    if as_json:
        from guardrail.review import documents

        listing = documents.sessions(log, shown, found.total, stops)
        refused = [{"seq": seq, "count": count} for seq, count in found.refused]
        others = {"throttled": throttled, "refused_tokens": refused}
        emit_json({**listing, **others, "pruned": document(lost, copies)})
        return
    if lost is not None:
        report_pruned(lost, copies)
    _report_outside(throttled, found.refused)
    if not shown:
        _report_none(size, subject)
        return
    _print_sessions(shown, stops, wide=columns() >= _WIDE)
    if len(shown) < found.total:
        remark(
            f"The latest {len(shown)} of {counted(found.total, 'session')}; --all shows the rest.",
            Style.DIM,
        )


def _report_none(size: int, subject: str | None) -> None:
    """Say that no session is listed, and the next step. *size* is the number of records."""
    if subject is not None:
        remark("No session of this subject. guardrail sessions lists the sessions of others.")
        return
    remark(
        f"No sessions yet: {counted(size, 'record')} in this ledger, but no calls.\nRun a "
        "program that opens guard.session(...), or see `guardrail demo`."
    )


def _report_outside(throttled: Sequence[int], refused: Sequence[tuple[int, int]]) -> None:
    """Print how many records belong to no session, and how to show the latest of each kind."""
    if throttled:
        remark(
            f"{counted(len(throttled), 'record')} outside sessions, for calls denied because of "
            f"[limits]; the latest: guardrail show {throttled[-1]}",
            Style.DIM,
        )
    if refused:
        tokens = sum(count for _, count in refused)
        was = "was" if tokens == 1 else "were"
        remark(
            f"{counted(tokens, 'token')} {was} refused; the latest: guardrail show "
            f"{refused[-1][0]}",
            Style.DIM,
        )


def _of_subject(
    text: str, reader: RecordReader, config: Path | None, ledger: Path | None
) -> SubjectSessions:
    """Return the filter for the sessions of the subject that *text* names. Raises
    ``UsageError``.
    """
    from guardrail.wiring.opening import load_keys
    from guardrail.wiring.suspending import subject_of

    subject = subject_of(text, "guardrail sessions agent:ID")
    if subject.kind not in {SubjectKind.PRINCIPAL, SubjectKind.AGENT}:
        raise UsageError(
            "a session belongs to a principal and an agent, so the subject must be principal:ID or "
            "agent:ID",
            hint="guardrail sessions principal:ID",
        )
    if not isinstance(reader, IndexedRecords):
        remark("ids recorded as tokens are not compared: the records come from a file", Style.WARN)
        return SubjectSessions(subject, None)
    try:
        keys = load_keys(settings_for(config, ledger))
    except (ConfigError, KeysError) as error:
        remark(
            f"ids recorded as tokens are not compared: the keys can't be read ({error.message})",
            Style.WARN,
        )
        return SubjectSessions(subject, None)
    return SubjectSessions(subject, keys.secrets)


def _print_sessions(
    shown: Sequence[SessionSummary], stops: Sequence[int | None], *, wide: bool
) -> None:
    spec, cells = _table_columns(wide=wide), [_row(row, wide=wide) for row in shown]
    if wide and len({row.key.tenant for row in shown}) == 1:
        at = [column.title for column in spec].index("TENANT")
        for each in (spec, *cells):
            del each[at]  # type: ignore[attr-defined]
    titles, *lines = _fitting_table(spec, cells)
    data(titles)
    for line, row, stop in zip(lines, shown, stops, strict=True):
        data(line)
        if stop is not None:
            data(f"  {paint('SUSPENDED', Style.WARN)} by record {stop}")
        for each in () if wide else wrap_items("  ", _counts(row)):
            data(each)


def _stops(reader: RecordReader, rows: Sequence[SessionSummary]) -> list[int | None]:
    """Return, for each session, the number of the suspension that stops its calls now, or None."""
    if not isinstance(reader, IndexedRecords):
        return [None] * len(rows)
    try:
        state, now = reader.suspensions(), utc_timestamp()
    except LedgerError as error:
        remark(f"the suspensions in force can't be read: {error.message}", Style.WARN)
        return [None] * len(rows)
    found = [
        state.find(CallNames((row.key.principal,), (row.key.agent,), ()), now)
        if len(state)
        else None
        for row in rows
    ]
    return [None if each is None else each.seq for each in found]


def _fitting_table(spec: list[Column], cells: list[list[Cell]]) -> list[str]:
    """Return the lines of the table. If it is too wide, omit the columns in which all counts are
    zero.
    """
    lines = list(table(spec, cells))
    if not any("…" in line for line in lines[1:]):
        return lines
    informative = [
        index
        for index, column in enumerate(spec)
        if column.title == "CALLS"
        or column.align is not Align.RIGHT
        or any(row[index][0] != "0" for row in cells)
    ]
    return list(
        table(
            [spec[index] for index in informative],
            [[row[at] for at in informative] for row in cells],
        )
    )


def _table_columns(*, wide: bool) -> list[Column]:
    who = [
        Column("STARTED (UTC)"),
        Column("SESSION", flexible=True, floor=12),
        Column("PRINCIPAL", flexible=True, floor=12),
        Column("AGENT", flexible=True, floor=8),
    ]
    if not wide:
        return who
    titles = ("CALLS", "DENIED", "APPROVAL", "REJECTED", "ERRORS", "OPEN")
    numbers = [Column(title, Align.RIGHT) for title in titles]
    return [*who, Column("TENANT", flexible=True, limit=16, floor=6), *numbers]


def _row(row: SessionSummary, *, wide: bool) -> list[Cell]:
    def hot(count: int, style: Style) -> Cell:
        return str(count), style if count else Style.DIM

    who: list[Cell] = [
        (clock(row.started).removesuffix(" UTC"), Style.PLAIN),
        (name(row.key.id), Style.STRONG),
        (name(row.key.principal), Style.PLAIN),
        (name(row.key.agent), Style.PLAIN),
    ]
    if not wide:
        return who
    return [
        *who,
        (name(row.key.tenant), Style.PLAIN),
        (str(row.calls), Style.PLAIN),
        hot(row.denied, Style.BAD),
        hot(row.approvals, Style.WARN),
        hot(row.rejected, Style.WARN),
        hot(row.errors, Style.BAD),
        hot(row.open, Style.WARN),
    ]


def _counts(row: SessionSummary) -> list[Cell]:
    """Return the cells with the number of calls, and the numbers of calls that did not end
    normally.
    """
    counts = (
        (row.denied, "denied", Style.BAD),
        (row.approvals, "needing approval", Style.WARN),
        (row.rejected, "rejected", Style.WARN),
        (row.errors, "failed", Style.BAD),
        (row.unknown, "unknown", Style.WARN),
        (row.open, "open", Style.WARN),
    )
    shown = [(f"{count:,} {word}", style) for count, word, style in counts if count]
    return [(counted(row.calls, "call"), Style.PLAIN), *shown]
