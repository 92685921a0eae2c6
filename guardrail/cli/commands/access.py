"""Implements ``guardrail access``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from guardrail.cli.options import json_option, ledger_options, open_ledger
from guardrail.cli.output import Cell, Column, Style, columns, data, emit_json, paint, remark, table
from guardrail.cli.reading import access_log
from guardrail.cli.render import clock
from guardrail.core.words import counted
from guardrail.review.access import AccessEntry, document, list_accesses
from guardrail.review.terminal import arguments, escape, name

__all__ = ["access"]

_WIDE = 110
_WORDS = re.compile(r"[a-z-]+( [a-z-]+)*")


@click.command(short_help="Show who read the ledger.")
@ledger_options
@json_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Show only the latest N.",
)
@click.option("--all", "everything", is_flag=True, help="Show all.")
def access(
    *,
    config: Path | None,  # noqa: ARG001 - the access log of these was found when this was recorded
    ledger: Path | None,  # noqa: ARG001
    as_json: bool,
    limit: int,
    everything: bool,
) -> None:
    """Show who read the ledger with guardrail, oldest first, with the time, command, arguments and
    reason of each read.

    Every command that reads the ledger writes a record to the access log before it shows anything.
    This command does so too: the last line is its own record. Reads by other programs do not
    appear.
    """
    with open_ledger(None, access_log()) as reader:
        found = list_accesses(reader, None if everything else limit)
    if as_json:
        emit_json(document(found))
        return
    logs = Counter(entry.log for entry in found.shown if entry.log)
    log = logs.most_common(1)[0][0] if logs else None
    if log:
        remark(
            f"Unless a row names another one, these are reads of the log {name(log)}.", Style.DIM
        )
    for line in (_table if columns() >= _WIDE else _cards)(found.shown, log):
        data(line)
    if not found.shown:
        remark("no reads are recorded")
    elif len(found.shown) < found.total:
        remark(
            f"The latest {len(found.shown)} of {found.total:,}; --all shows the rest.", Style.DIM
        )


def _table(entries: tuple[AccessEntry, ...], log: str | None) -> Iterator[str]:
    spec = [
        Column("WHEN (UTC)"),
        Column("WHO", limit=40),
        Column("FROM", limit=28, flexible=True, floor=10),
        Column("COMMAND", flexible=True, floor=14),
        Column("LEDGER", limit=32, flexible=True, floor=10),
        Column("WHY", flexible=True, floor=8),
    ]
    yield from table(spec, [_row(entry, log) for entry in entries]) if entries else ()


def _row(entry: AccessEntry, log: str | None) -> list[Cell]:
    return [
        (clock(entry.ts).removesuffix(" UTC"), Style.PLAIN),
        (_describe_user(entry), Style.STRONG),
        (_describe_host(entry), Style.DIM),
        (_describe_command(entry), Style.PLAIN),
        (_ledger(entry, log), Style.WARN if entry.problem else Style.PLAIN),
        (escape(entry.purpose) or "-", Style.PLAIN),
    ]


def _cards(entries: tuple[AccessEntry, ...], log: str | None) -> Iterator[str]:
    for entry in entries:
        user = paint(_describe_user(entry), Style.STRONG)
        yield f"{clock(entry.ts)}  {user}  {_describe_command(entry)}"
        yield paint(f"  {_ledger(entry, log)}, from {_describe_host(entry)}", Style.DIM)
        if entry.purpose:
            yield f"  {escape(entry.purpose)}"


def _describe_user(entry: AccessEntry) -> str:
    other = entry.login if entry.login != entry.os_user else ""
    about = [f"login {name(other)}"] if other else []
    if entry.assurance == "verified":
        about = ["verified", *about]
    return name(entry.user, "?") + (f" ({', '.join(about)})" if about else "")


def _describe_host(entry: AccessEntry) -> str:
    pid = "" if entry.pid is None else f" pid {entry.pid}"
    terminal = f" {escape(entry.terminal)}" if entry.terminal else ""
    return f"{name(entry.host, '?')}{pid}{terminal}"


def _describe_command(entry: AccessEntry) -> str:
    """Return the command as it was typed, as far as the record contains it: the subject without
    its label, and no empty values.
    """
    given = {key: value for key, value in entry.selector.items() if value is not None}
    words = [entry.command if _WORDS.fullmatch(entry.command) else name(entry.command, "?")]
    subject = given.pop("subject", None)
    if isinstance(subject, str):
        words.append(name(subject))
    elif subject is not None:
        given["subject"] = subject
    if given:
        words.append(arguments(given, 200))
    return " ".join(words)


def _ledger(entry: AccessEntry, log: str | None) -> str:
    """Return the state of the ledger at the time of the read, with its name unless it is *log*."""
    if entry.problem:
        return f"{escape(entry.path) or '?'}: {escape(entry.problem)}"
    size = counted(entry.size or 0, "record")
    return size if log is not None and entry.log == log else f"{name(entry.log, '?')}, {size}"
