"""``guardrail proxy accept``."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import config_option, settings_of
from guardrail.cli.output import Style, data, emit_json, remark
from guardrail.core.folding import folded
from guardrail.core.words import counted
from guardrail.errors import UsageError
from guardrail.review.terminal import clip, one_line

if TYPE_CHECKING:
    from guardrail.model_apis.requested_tools import RequestedTool
    from guardrail.proxy.seen_tools import SeenTool

__all__ = ["accept"]

_LINES = 60
"""Lines of a difference that are shown."""
_WIDTH = 160
"""Columns of text from a request."""


@click.command(short_help="Accept the tools in programs' requests.")
@config_option
@click.option("--all", "all_", is_flag=True, help="Accept every tool that is shown.")
@click.option("--list", "list_", is_flag=True, help="Show the accepted tools instead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.argument("names", nargs=-1, metavar="NAME...")
def accept(
    *,
    config: Path | None,
    all_: bool,
    list_: bool,
    yes: bool,
    as_json: bool,
    names: tuple[str, ...],
) -> int:
    """Show the tools that requests contained and nobody has accepted, or accept some of them.

    For the policy, only a tool with exactly the accepted schema counts as declared. If a program
    sends a different schema, the tool is undeclared again, and the command shows the difference.
    The file [proxy] tools contains the accepted tools. Keep it under version control. A running
    proxy reads it again when it changes.
    """
    from guardrail.proxy.accepted_tools import read_accepted, write_accepted
    from guardrail.proxy.seen_tools import read_seen, seen_path

    settings = settings_of(config)
    path = settings.proxy.tools
    accepted = read_accepted(path)
    if list_:
        return _show_accepted(accepted, as_json=as_json)
    seen = {
        each.tool.name: each
        for each in read_seen(seen_path(settings.ledger.path))
        if _digest(accepted.get(each.tool.name)) != each.tool.digest
    }
    chosen = _chosen(names, seen, all_=all_)
    if not chosen or not as_json:
        _show(chosen or seen, accepted, as_json=as_json)
    if not chosen:
        if not as_json:
            _show_next(seen)
        return Exit.YES
    if not yes and not _confirmed(len(chosen)):
        remark("nothing was accepted")
        return Exit.NO
    made = accepted | {name: each.tool for name, each in chosen.items()}
    write_accepted(path, made.values())
    if as_json:
        emit_json({"accepted": sorted(chosen), "file": str(path)})
    else:
        remark(f"accepted {counted(len(chosen), 'tool')}  {one_line(str(path))}")
    return Exit.YES


def _digest(tool: RequestedTool | None) -> str | None:
    return None if tool is None else tool.digest


def _chosen(
    names: Collection[str], seen: Mapping[str, SeenTool], *, all_: bool
) -> dict[str, SeenTool]:
    if all_ and names:
        raise UsageError("--all and NAME can't be used together")
    unknown = [name for name in names if name not in seen]
    if unknown:
        raise UsageError(
            f"no tool {one_line(unknown[0])} is waiting to be accepted",
            hint="without names, guardrail proxy accept lists the tools that are waiting",
        )
    return {name: each for name, each in seen.items() if all_ or name in names}


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "the command can't ask you, because there is no terminal",
            hint="add --yes to accept without a question",
        )
    return click.confirm(f"Accept {counted(count, 'tool')}?", err=True)


def _show_accepted(accepted: Mapping[str, RequestedTool], *, as_json: bool) -> int:
    if as_json:
        from guardrail.proxy.accepted_tools import tool_document

        emit_json({"tools": [tool_document(tool) for tool in accepted.values()]})
        return Exit.YES
    for tool in accepted.values():
        data(f"{_text(tool.name)}  {_text(tool.form)}  {tool.digest[:16]}")
        data(f"  {_summary(tool.schema)}")
    if not accepted:
        remark("no tool is accepted", Style.DIM)
    return Exit.YES


def _show(
    seen: Mapping[str, SeenTool], accepted: Mapping[str, RequestedTool], *, as_json: bool
) -> None:
    if as_json:
        emit_json({"tools": [_document(each, accepted) for each in seen.values()]})
        return
    for name, each in seen.items():
        data(
            f"{_text(name)}  {_text(each.tool.form)}  {_state(name, accepted)}  seen"
            f" {counted(each.count, 'time')} since {_text(each.first)}"
        )
        data(f"  {_summary(each.tool.schema)}")
        if each.tool.description:
            data(f"  {_text(each.tool.description)}")
        for other in _alike(name, [*accepted, *seen]):
            data(f"  looks like another tool: {_text(other)}")
        if name in accepted:
            for line in _difference(accepted[name], each.tool):
                data(f"  {line}")


def _show_next(seen: Mapping[str, SeenTool]) -> None:
    if seen:
        remark("next:  guardrail proxy accept NAME ..., or --all")
    else:
        remark("every tool that requests contained is accepted", Style.DIM)


def _state(name: str, accepted: Mapping[str, RequestedTool]) -> str:
    return "changed" if name in accepted else "new"


def _document(each: SeenTool, accepted: Mapping[str, RequestedTool]) -> dict[str, Any]:
    from guardrail.proxy.accepted_tools import tool_document

    name = each.tool.name
    return {
        **tool_document(each.tool),
        "description": each.tool.description,
        "state": _state(name, accepted),
        "accepted": accepted[name].schema if name in accepted else None,
        "count": each.count,
        "first": each.first,
        "last": each.last,
    }


def _alike(name: str, others: Iterable[str]) -> list[str]:
    """Return the names that look like *name*."""
    form = folded(name)
    return sorted({other for other in others if other != name and folded(other) == form})


def _difference(before: RequestedTool, after: RequestedTool) -> Iterator[str]:
    """Yield the lines in which two schemas differ."""
    one, two = (
        json.dumps(
            {"form": tool.form, "schema": tool.schema, "grammar": tool.grammar},
            indent=1,
            sort_keys=True,
        ).split("\n")
        for tool in (before, after)
    )
    lines = list(difflib.unified_diff(one, two, lineterm="", n=1))[2:]
    for line in lines[:_LINES]:
        yield _text(line, strip=False)
    if len(lines) > _LINES:
        yield f"... and {counted(len(lines) - _LINES, 'more line')}: --json shows both schemas"


def _summary(schema: Mapping[str, Any] | None) -> str:
    """Return the names and types of the arguments in one line."""
    found = (schema or {}).get("properties")
    properties = found if isinstance(found, dict) else {}
    needed = (schema or {}).get("required")
    required = needed if isinstance(needed, list) else []
    parts = []
    for name, inner in properties.items():
        kind = inner.get("type", "any") if isinstance(inner, dict) else "any"
        parts.append(f"{name}: {kind}{'' if name in required else ' (optional)'}")
    return _text(", ".join(parts)) if parts else "no arguments"


def _text(text: str, *, strip: bool = True) -> str:
    """Return text from a request in a form that can be shown."""
    shown = one_line(text[: 4 * _WIDTH])
    return clip(shown.strip() if strip else shown, _WIDTH)
