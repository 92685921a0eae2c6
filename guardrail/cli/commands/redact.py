"""Implements ``guardrail redact``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.commands.missed import document_of, exit_code, line_of, report_failures
from guardrail.cli.detectors import detector_option, load_detectors
from guardrail.cli.json_values import STDIN, parse_value, read_bytes
from guardrail.cli.options import config_option, json_option, settings_of
from guardrail.cli.output import Style, data, emit_json, field, paint, prose, remark
from guardrail.core.words import agree, counted
from guardrail.errors import ConfigError, SchemaError
from guardrail.review.terminal import escape, json_text, one_line, tree

if TYPE_CHECKING:
    from guardrail.authoring.redaction_preview import RedactionPreview
    from guardrail.core.schema.compiled import CompiledSchema
    from guardrail.core.types import Json
    from guardrail.review.missed import MissedValue

__all__ = ["redact"]

_MAX_INPUT = 4 * 1024 * 1024
_HINT = 'pass the arguments of a call, such as {"account": "..."}, or any other JSON value'
_LINES_HINT = "with --lines, each line is one JSON value"


@click.command(short_help="Show how a value would be recorded, and which rules matched.")
@click.argument(
    "source",
    metavar="[FILE]",
    default=STDIN,
    type=click.Path(path_type=Path, readable=False, dir_okay=False, allow_dash=True),
)
@click.option("--explain", is_flag=True, help="Also list the removed values with their rules.")
@click.option("--tool", metavar="NAME", help="Name of the called tool, whose schema is in --tools.")
@click.option("--undeclared", is_flag=True, help="The guard does not know the tool.")
@click.option("--lines", is_flag=True, help="Read one value per line, all in one session.")
@click.option(
    "--tools",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    metavar="FILE",
    help='JSON schemas of the tools\' arguments, as {"tool": schema}.',
)
@detector_option(
    "Also search the recorded form with this detector: presidio, or one of an installed package. "
    "Can be repeated."
)
@config_option
@json_option
def redact(
    *,
    source: Path,
    explain: bool,
    tool: str | None,
    undeclared: bool,
    lines: bool,
    tools: Path | None,
    names: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> int:
    """Read JSON from standard input or FILE, and show how it would be recorded. With --explain,
    also list each removed value with its class and with every rule that matched.

    An object counts as the arguments of a call, and any other value as the result of a tool with
    log_output. The rules in [redaction] of the settings apply. Without --tools, the tool's schema
    has no annotations. Tokens in the output are made
    with a random key, so they differ from the tokens in a ledger and from run to run. The command
    writes nothing to disk. With --detector, it lists the values that the detector finds in the
    recorded form; the recorded form does not change.

    Exit code 0: every value can be recorded; 1: a guard would deny a call with these arguments,
    because they do not match the schema, or because they can't be redacted in time; 3: the input
    can't be read, or is not JSON, or a detector failed; 5: a detector found values.
    """
    from guardrail.authoring.redaction_preview import preview
    from guardrail.config.redaction_rules import redaction_limits, redaction_rules
    from guardrail.review.missed import Search

    settings = settings_of(config)
    rules, limits = redaction_rules(settings.redaction), redaction_limits(settings.policy)
    search = Search(load_detectors(names, settings.redaction))
    schema = _schema(tool, tools, undeclared=undeclared)
    declared = not undeclared and (tools is None or schema is not None)
    if source == STDIN and sys.stdin.isatty():
        remark("reading JSON from standard input; press Ctrl-D at the end", Style.DIM)
    values = _values(source, lines=lines)
    previews = preview(values, rules=rules, limits=limits, schema=schema, declared=declared)
    denied, left = False, 0
    found: list[dict[str, Any]] = []
    for index, each in enumerate(previews):
        denied = denied or bool(each.refused or each.unfit)
        missed = [*search.missed(each.recorded)] if names else []
        left += len(missed)
        if as_json:
            more = {"missed": [document_of(one) for one in missed]} if names else {}
            found.append({**asdict(each), **more})
            continue
        if index:
            data()
        _print(each, missed, explain=explain)
    code = exit_code(search, left > 0)
    if denied and code is not Exit.UNKNOWN:
        code = Exit.NO
    if as_json:
        failures = {"failures": dict(search.failures)} if names else {}
        emit_json({"exit": int(code), "values": found, **failures})
    report_failures(search)
    return code


def _schema(tool: str | None, tools: Path | None, *, undeclared: bool) -> CompiledSchema | None:
    """Return the schema of *tool*, or None if the tool counts as undeclared: the file *tools* does
    not contain it, or a guard rejects its schema. Raises ``click.UsageError`` if the options do not
    make sense together.
    """
    if (tool is None) != (tools is None):
        raise click.UsageError("--tool names a tool in the file --tools: pass both, or neither")
    if tool is None or tools is None:
        return None
    if undeclared:
        raise click.UsageError("--undeclared means a tool without a schema: omit --tools")
    from guardrail.authoring.tools_file import read_tools
    from guardrail.core.schema.compiled import compile_schema

    schema = read_tools(tools).get(tool)
    if schema is None:
        remark(f"{tools} does not contain this tool, so it counts as undeclared", Style.WARN)
        return None
    try:
        return compile_schema(schema)
    except SchemaError as error:
        remark(f"a guard rejects the schema of this tool: {one_line(error.message)}", Style.WARN)
        remark(f"next:  correct the schema; {error.hint}")
        return None


def _values(source: Path, *, lines: bool) -> Iterator[Json]:
    raw = read_bytes(source, _MAX_INPUT)
    if not raw.strip():
        raise ConfigError("the input is empty", code="config.args", hint=_HINT)
    if not lines:
        yield parse_value(raw, source, hint=_HINT)
        return
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield parse_value(line, source, hint=_LINES_HINT, line=number)


def _print(found: RedactionPreview, missed: list[MissedValue], *, explain: bool) -> None:
    _print_recorded(found, explain=explain)
    if missed:
        data(paint("Left by redaction", Style.STRONG))
    for each in missed:
        data(f"  {line_of(each)}")


def _print_recorded(found: RedactionPreview, *, explain: bool) -> None:
    if found.refused:
        data(f"{paint('DENIED', Style.BAD)}  {one_line(found.refused)}")
        return
    if not explain:
        data(escape(json_text(found.recorded)))
        if found.unfit:
            remark(f"a guard denies this call: {found.unfit}", Style.WARN)
        return
    if found.unfit:
        for line in field(f"{paint('DENIED', Style.BAD)}  ", one_line(found.unfit)):
            data(line)
    data(paint("Recorded", Style.STRONG))
    for line in tree(found.recorded, indent=2):
        data(line)
    data(paint("Removed", Style.STRONG))
    for pointer, (cls, *rules) in found.removed.items():
        head = f"  {escape(pointer) or '(the whole value)'}  {escape(cls)}"
        for line in prose(f"{head}: {escape(', '.join(rules))}", indent=2):
            data(line)
    data(_summary(found))


def _summary(found: RedactionPreview) -> str:
    count = len(found.removed)
    longer = "; of a part that exceeds a limit, not all is recorded" if found.truncated else ""
    if not count:
        return f"  nothing{longer}"
    return paint(f"  {counted(count, 'place')} {agree(count, 'is')} redacted{longer}", Style.DIM)
