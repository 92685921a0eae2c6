"""Implements ``guardrail hold``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.entries import CommandActor, CommandEntry
from guardrail.cli.options import json_option, ledger_options, open_ledger
from guardrail.cli.output import Style, data, emit_json, paint
from guardrail.cli.render import clock
from guardrail.cli.retention_ledger import open_for_retention, reason_option, redacted_reason
from guardrail.errors import UsageError
from guardrail.review.terminal import name as shown
from guardrail.review.terminal import one_line

__all__ = ["add", "hold", "holds", "release"]

_HERE = "guardrail.cli.commands.hold"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.group(
    cls=LazyGroup,
    entries={
        "add": CommandEntry(
            _HERE,
            "add",
            "Place a hold: nothing is deleted until it is released.",
            actor=CommandActor.OPERATOR,
        ),
        "release": CommandEntry(_HERE, "release", "Release a hold.", actor=CommandActor.OPERATOR),
        "list": CommandEntry(_HERE, "holds", "List the holds in force."),
    },
    short_help="Protect records from deletion, for a legal hold.",
)
def hold() -> None:
    """Protect records from deletion, for a legal hold."""


@click.command(short_help="Place a hold: nothing is deleted until it is released.")
@ledger_options
@json_option
@reason_option
@click.argument("name", metavar="NAME")
def add(
    *, config: Path | None, ledger: Path | None, as_json: bool, reason: str | None, name: str
) -> int:
    """Place the legal hold NAME. While it is in force, guardrail does not delete any records or
    copies. A record states who placed the hold, and the reason.
    """
    return _change_hold(config, ledger, name, reason, begins=True, as_json=as_json)


@click.command(short_help="Release a hold.")
@ledger_options
@json_option
@reason_option
@click.argument("name", metavar="NAME")
def release(
    *, config: Path | None, ledger: Path | None, as_json: bool, reason: str | None, name: str
) -> int:
    """Release the legal hold NAME. A record states who released the hold, and the reason."""
    return _change_hold(config, ledger, name, reason, begins=False, as_json=as_json)


@click.command("list", short_help="List the holds in force.")
@ledger_options
@json_option
def holds(*, config: Path | None, ledger: Path | None, as_json: bool) -> int:
    """List the legal holds in force, with the start, user and reason of each."""
    from guardrail.retention.facts import read_facts

    with open_ledger(config, ledger) as reader:
        standing = read_facts(reader).holds
    if as_json:
        emit_json(
            {
                "holds": [
                    {
                        "name": e.id,
                        "since": e.ts,
                        "who": e.who,
                        "assurance": e.assurance,
                        "reason": e.reason,
                        "seq": e.seq,
                    }
                    for e in standing
                ]
            }
        )
        return Exit.YES
    if not standing:
        data("No hold is in force.")
    for each in standing:
        known = f" ({shown(each.assurance)})" if each.assurance else ""
        data(
            f"{shown(each.id)}  since {clock(each.ts)}, by {shown(each.who)}{known}:"
            f" {one_line(each.reason)}"
        )
    return Exit.YES


def _change_hold(
    config: Path | None,
    ledger: Path | None,
    name: str,
    reason: str | None,
    *,
    begins: bool,
    as_json: bool,
) -> int:
    word = "add" if begins else "release"
    words = redacted_reason(reason, needed=f"guardrail hold {word} NAME")
    assert words is not None
    if not _NAME.fullmatch(name) or redacted_reason(name) != name:
        raise UsageError(
            (
                "a hold name may contain only letters, digits, dots, dashes and underscores, up "
                "to 64 characters, and must not contain sensitive data"
            ),
            hint=f"guardrail hold {word} case-2026-7",
        )
    with open_for_retention(config, ledger) as manager:
        manager.hold(name, add=begins, why=words)
    if as_json:
        emit_json({"hold": name, "action": word})
    elif begins:
        data(f"{paint('held', Style.WARN)}  nothing is deleted while {shown(name)} is in force")
    else:
        data(f"{paint('released', Style.GOOD)}  {shown(name)}")
    return Exit.YES
