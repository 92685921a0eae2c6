"""``guardrail verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.options import json_option, ledger_options, ledger_path
from guardrail.cli.output import Progress, Style, data, emit_json, note, paint, prose
from guardrail.cli.render import counted
from guardrail.review.terminal import escape, json_text, name, one_line

if TYPE_CHECKING:
    from guardrail.review.verify import VerifyReport

__all__ = ["verify"]

_PATH = click.Path(path_type=Path)
_SHOWN = 10
"""Open calls of dead processes that are listed one by one."""


@click.command(short_help="Check that nothing recorded was changed, and say what that proves.")
@ledger_options
@json_option
@click.option(
    "--head",
    "head_file",
    type=_PATH,
    metavar="FILE",
    help='A head that was kept elsewhere: {"log", "size", "leaf"} as JSON.',
)
@click.option(
    "--export",
    "exported",
    type=_PATH,
    metavar="FILE",
    help="Check this export instead of a ledger.",
)
def verify(
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    head_file: Path | None,
    exported: Path | None,
) -> int:
    """Check that nothing recorded was changed, and say what that proves and what not.

    Recomputes every hash from the stored lines, and compares what queries see with the lines. Exit code 0: intact, and
    covered by the head that you kept elsewhere; 5: intact with a reservation, for example no such head; 1: changed, cut
    or replaced, with the first record that differs; 3: could not be checked.
    """
    from guardrail.review.verify import load_head, verify_export, verify_ledger

    if exported is not None and (ledger is not None or config is not None):
        raise click.UsageError(
            "--export names a file: give neither --ledger nor --config with it",
            click.get_current_context(),
        )
    head = load_head(head_file) if head_file is not None else None
    progress = Progress("verified")
    try:
        if exported is not None:
            path = exported
            report = verify_export(path, head=head, progress=progress)
        else:
            path = ledger_path(config, ledger)
            report = verify_ledger(path, head=head, progress=progress)
    finally:
        progress.clear()
    if as_json:
        emit_json(_document(path, report))
    else:
        _print(path, report)
    return report.exit_code


def _document(path: Path, report: VerifyReport) -> dict[str, Any]:
    return {
        "path": str(path),
        "state": report.state.value,
        "exit": report.exit_code,
        "detail": report.detail,
        "first_bad": report.first_bad,
        "differs": None if report.differs is None else report.differs.value,
        "log": report.log,
        "records": report.records,
        "last_seq": report.last_seq,
        "head": _head(report),
        "anchored_to": report.anchored_to,
        "dead_calls": [
            {"seq": call.seq, "call": call.call, "host": call.host, "pid": call.pid}
            for call in report.dead_calls
        ],
        "live_calls": report.live_calls,
        "notices": list(report.notices),
        "not_proved": list(report.not_proved),
    }


def _head(report: VerifyReport) -> dict[str, Any] | None:
    if not report.records:
        return None
    return {"log": report.log, "size": report.records, "leaf": report.leaf}


def _headline(report: VerifyReport) -> tuple[str, Style]:
    from guardrail.review.verify import VerifyState

    where = "" if report.first_bad is None else f" at record {report.first_bad}"
    although = ", and the head that you gave covers records of it" if report.exit_code == 1 else ""
    return {
        VerifyState.ANCHORED: ("INTACT, and it contains the head that you gave", Style.GOOD),
        VerifyState.NOT_ANCHORED: ("INTACT, NOT ANCHORED", Style.WARN),
        VerifyState.OPEN_CALLS: ("INTACT, with open calls of dead processes", Style.WARN),
        VerifyState.TAMPERED: (f"BROKEN{where}", Style.BAD),
        VerifyState.MISSING: (f"MISSING{although}", Style.BAD),
        VerifyState.DAMAGED: (f"DAMAGED{although}", Style.BAD),
        VerifyState.UNREADABLE: ("NOT CHECKED", Style.WARN),
    }[report.state]


def _print(path: Path, report: VerifyReport) -> None:
    word, style = _headline(report)
    data(paint(word, style))
    if report.detail:
        for line in prose(one_line(report.detail), indent=2):
            data(f"  {line}")
    data(f"  checked  {one_line(str(path))}")
    if report.log:
        data(f"  log      {name(report.log)}")
    if report.records:
        data(f"  records  {_counted(report)}")
    if report.anchored_to is not None:
        data(f"  covered  up to record {report.anchored_to}, by the head that you gave")
    if report.live_calls:
        data(f"  running  {counted(report.live_calls, 'call')} without an end yet")
    _list(
        "Open calls of dead processes (a guard closes them when it opens the ledger)", _dead(report)
    )
    _list("Notices", list(report.notices))
    _list("Not proved", list(report.not_proved))
    head = _head(report)
    if report.exit_code in {0, 5} and head is not None:
        _list("Head, to keep where whoever writes this ledger can't", [])
        data(f"  {json_text(head)}")
    _next(report)


def _counted(report: VerifyReport) -> str:
    count = counted(report.records, "record")
    if report.first_bad is not None:
        return f"{count} before that, all of them good"
    return f"{count}, " + ("linked to each other" if report.exit_code == 1 else "all of them good")


def _dead(report: VerifyReport) -> list[str]:
    shown = [
        f"record {call.seq}: call {escape(call.call)}, {name(call.host)} pid {call.pid}"
        for call in report.dead_calls[:_SHOWN]
    ]
    more = len(report.dead_calls) - len(shown)
    return [*shown, f"and {more:,} more"] if more > 0 else shown


def _list(title: str, lines: list[str]) -> None:
    if not lines and not title.startswith("Head"):
        return
    data()
    data(paint(title, Style.STRONG))
    for entry in lines:
        first, *rest = prose(one_line(entry), indent=4)
        data(f"  - {first}")
        for line in rest:
            data(f"    {line}")


def _next(report: VerifyReport) -> None:
    if report.exit_code == 1:
        note(
            "next:  keep the file as it is, make a copy, and compare that with a backup or an export"
        )
    elif report.exit_code == 3:
        note("next:  guardrail doctor")
