"""Implements ``guardrail find``.

The value to find is read from standard input. It must never be in an argument, an error message or
a record, so errors about the command line do not quote its words.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, open_ledger, settings_for
from guardrail.cli.output import (
    Align,
    Cell,
    Column,
    Style,
    columns,
    data,
    emit_json,
    prose,
    remark,
    table,
    wrap_items,
)
from guardrail.cli.reading import limit_reads
from guardrail.cli.render import clock, verdict
from guardrail.cli.sources import known_copies, open_indexed, report_pruned
from guardrail.core.redaction.marks import is_class_name
from guardrail.core.words import counted
from guardrail.errors import KeysError, UsageError
from guardrail.review.lookup import (
    MAX_VALUE,
    CallMatch,
    FoundCalls,
    ValueTokens,
    check_value,
    find_calls,
)
from guardrail.review.records import RecordedCall, pruned_range
from guardrail.review.terminal import clip, escape, name

__all__ = ["find"]

_WIDE = 110
"""Minimum width for one row per call. If the output is narrower, the places are on a separate line.
"""
_INDENT = "    found in "
_TENANTS = 10
"""Maximum number of tenants that a warning lists."""
_KEYS = 10
"""Maximum number of keys that a warning names."""
_PLACES = 3
"""Maximum number of places shown for a call in the table."""
_LIMITS = (
    "A call can nevertheless have had the value. The search does not find values that a random "
    "mark replaced (class secret, and up to four digits in some classes), parts of a removed "
    "value, results of tools without log_output, the end of a very long string, and plain text "
    "such as principals (docs/reviewing.md)."
)
_EXPOSED = (
    "the value to find is read from standard input: an argument is visible to other users and "
    "stays in the history of your shell"
)
_MISSING = "guardrail find --value - reads the value from standard input, or asks for it"
_HINT = "remove the command from the history of your shell, then: guardrail find --value -"


class _QuietCommand(click.Command):
    """A command whose errors about its arguments do not quote them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args*. Raises ``click.UsageError``."""
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter:
            raise UsageError(
                "the option --value - is missing", code="find.argument", hint=_MISSING
            ) from None
        except click.BadParameter as error:
            named = "" if error.param is None else f" of {'/'.join(error.param.opts)}"
            problem = f"a value{named} is invalid; it is not shown here"
        except click.NoSuchOption:
            problem = "there is no such option; it is not shown here"
        except click.BadOptionUsage as error:
            problem = f"{error.option_name} needs a value"
        except click.UsageError:
            problem = "the arguments are invalid; they are not shown here"
        raise click.UsageError(problem, ctx) from None


def _only_dash(_: click.Context, __: click.Parameter, value: str) -> str:
    if value != "-":
        raise UsageError(_EXPOSED, code="find.argument", hint=_HINT)
    return value


def _no_words(_: click.Context, __: click.Parameter, value: Sequence[str]) -> None:
    if value:
        raise UsageError(_EXPOSED, code="find.argument", hint=_HINT)


def _class_names(
    _: click.Context, parameter: click.Parameter, value: Sequence[str]
) -> Sequence[str]:
    if not all(map(is_class_name, value)):
        raise click.BadParameter("not a class", param=parameter)
    return value


@click.command(
    cls=_QuietCommand, short_help="List the calls whose records contain a removed value."
)
@ledger_options
@json_option
@click.option(
    "--value",
    "source",
    required=True,
    metavar="-",
    callback=_only_dash,
    help="Always -: the value is read from standard input, without a final line break.",
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="CLASS",
    callback=_class_names,
    help="Look only in this class (contact, name, payment, ...). Can be repeated.",
)
@click.option(
    "--only-tenant",
    "tenants",
    multiple=True,
    metavar="ID",
    help="Look only for values of this tenant's calls, if tenants share the ledger. Repeatable.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Show only the latest N calls.",
)
@click.option("--all", "everything", is_flag=True, help="Show all.")
@click.option(
    "--before", type=click.IntRange(min=1), metavar="SEQ", help="Show only records before SEQ."
)
@click.argument("words", nargs=-1, expose_value=False, callback=_no_words, metavar="")
def find(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    source: str,  # noqa: ARG001 - always -
    classes: tuple[str, ...],
    tenants: tuple[str, ...],
    limit: int,
    everything: bool,
    before: int | None,
) -> int:
    """List the calls whose records contain a value that was removed from them, such as
    bob@example.com, oldest first.

    The value is read from standard input, and its tokens are computed under every live key. Values
    of class secret can't be found, because a random mark replaces each one. Results of tools
    without log_output, the end of a very long string, and plain text such as principals are not
    searched. The command runs only if it is recorded in the access log, which never contains the
    value, and a user can run it only a number of times in a minute ([review] finds_per_minute).
    """
    from guardrail.wiring.opening import load_keys

    settings = settings_for(config, ledger)
    limit_reads(settings.review.finds_per_minute)
    value = _value()
    check_value(value, classes)
    with open_ledger(config, ledger) as reader:
        from guardrail.review.proofs import log_key

        public = log_key(reader).public.hex()
    keys = load_keys(settings)
    if keys.public != public:
        raise KeysError(
            "the key folder contains the keys of a different log, not this ledger's keys",
            code="keys.other_log",
            hint="set [keys] path to the folder of this ledger's keys",
        )
    tokens = ValueTokens(value, keys.secrets, classes=classes, tenants=tenants)
    with open_indexed(config, ledger) as records:
        found = find_calls(records, tokens, before=before, limit=None if everything else limit)
        lost = pruned_range(records)
        copies = [] if lost is None else known_copies(records, config, ledger)
        log = records.log
    if as_json:
        from guardrail.review import documents
        from guardrail.review.pruned import document

        emit_json({**documents.found(log, found), "pruned": document(lost, copies)})
    else:
        if lost is not None:
            report_pruned(lost, copies)
        _print(found, before)
    return Exit.YES if found.records else Exit.NO


def _value() -> str:
    """Return the value from standard input. Raises ``UsageError``, without any part of it."""
    hint = "on a terminal, guardrail find --value - asks for the value; or redirect it from a file"
    if sys.stdin is not None and sys.stdin.isatty():
        from getpass import getpass

        content = getpass("value to find (not shown): ").encode("utf-8", "surrogateescape")
    else:
        content = sys.stdin.buffer.read(MAX_VALUE + 1) if sys.stdin is not None else b""
    if len(content) > MAX_VALUE:
        raise UsageError(
            f"a value to find may have at most {counted(MAX_VALUE, 'byte')}",
            code="find.size",
            hint="pass one value, such as an e-mail address, not a document",
        )
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        value = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("the value is not UTF-8", code="find.text", hint=hint) from None
    if not value.strip():
        raise UsageError("the value to find is empty", code="find.empty", hint=hint)
    return value


def _print(found: FoundCalls, before: int | None) -> None:
    _print_unknown_keys(found)
    _print_unknown(found)
    if not found.records:
        remark("No record contains a token of this value.")
        for line in prose(_LIMITS):
            remark(line, Style.DIM)
        return
    wide = columns() >= _WIDE
    if found.calls:
        titles, *lines = table(_spec(wide=wide), [_row(*each, wide=wide) for each in found.calls])
        data(titles)
        for line, (_, places) in zip(lines, found.calls, strict=True):
            data(line)
            for each in () if wide else wrap_items(_INDENT, _items(places)):
                data(each)
    for other in found.others:
        data(f"record {other.seq}  {clock(other.ts)}  {escape(other.type)}")
        for line in wrap_items(_INDENT, _items(other.places)):
            data(line)
    shown = f"{counted(len(found.calls), 'call')} shown; the value is in "
    earlier = "" if before is None else " (some may be later ones)"
    remark(f"{shown}{counted(found.records, 'record')}{earlier}", Style.DIM)
    remark("Other calls can have had it: docs/reviewing.md names the limits.", Style.DIM)
    if found.before is not None:
        remark(f"next:  guardrail find --value - --before {found.before}, or --all")


def _print_unknown_keys(found: FoundCalls) -> None:
    """Name the keys whose tokens were not searched: the answer is not complete."""
    lost = [key for key in found.unknown_keys if key not in found.destroyed_keys]
    for keys, single, several in (
        (found.destroyed_keys, "that was destroyed", "that were destroyed"),
        (lost, "that is not in the key folder", "that are not in the key folder"),
    ):
        if keys:
            names = ", ".join(keys[:_KEYS]) + (", ..." if len(keys) > _KEYS else "")
            which = single if len(keys) == 1 else several
            said = f"tokens that were made with {counted(len(keys), 'key')} {which}: {names}"
            remark(f"not searched: {said}", Style.WARN)
    if lost:
        remark("next:  restore the newest backup of the key folder, or run guardrail doctor")


def _print_unknown(found: FoundCalls) -> None:
    """Say that the ledger does not have a class or tenant of the command line. The words are not
    quoted, because one of them can be the value.
    """
    if found.unknown_classes:
        known = ", ".join(found.classes) or "none"
        remark(
            f"this ledger has no token of {counted(found.unknown_classes, 'class')} "
            f"given with --class; its classes: {known}",
            Style.WARN,
        )
    if found.unknown_tenants:
        more = len(found.tenants) - _TENANTS
        known = ", ".join(map(name, found.tenants[:_TENANTS])) or "none"
        remark(
            f"this ledger does not have {counted(found.unknown_tenants, 'tenant')} given with "
            f"--only-tenant; its tenants: {known}{f' and {more} more' if more > 0 else ''}",
            Style.WARN,
        )


def _spec(*, wide: bool) -> list[Column]:
    return [
        Column("WHEN (UTC)"),
        Column("SEQ", Align.RIGHT),
        *([Column("SESSION", limit=28, flexible=True, floor=10)] if wide else []),
        Column("PRINCIPAL", limit=28, flexible=True, floor=8),
        Column("VERDICT"),
        Column("TOOL", limit=28, flexible=True, floor=8),
        *([Column("FOUND IN", flexible=True, floor=12)] if wide else []),
    ]


def _row(call: RecordedCall, places: Sequence[CallMatch], *, wide: bool) -> list[Cell]:
    return [
        (clock(call.ts).removesuffix(" UTC"), Style.PLAIN),
        (str(call.seq), Style.PLAIN),
        *([(name(call.key.id), Style.PLAIN)] if wide else []),
        (name(call.key.principal), Style.PLAIN),
        verdict(call),
        (name(call.tool), Style.STRONG),
        *([(", ".join(text for text, _ in _items(places)), Style.PLAIN)] if wide else []),
    ]


def _items(places: Sequence[CallMatch]) -> list[Cell]:
    """Return the first places, each with its class."""
    shown = list(dict.fromkeys(_place(each) for each in places))
    more = len(shown) - _PLACES
    last = [f"and {more} more"] if more > 0 else []
    return [(text, Style.PLAIN) for text in (*shown[:_PLACES], *last)]


def _place(place: CallMatch) -> str:
    cls = f" ({place.cls})"
    room = columns() - len(_INDENT) - len(cls) - 1
    return f"{clip(escape(place.place), min(60, room))}{cls}"
