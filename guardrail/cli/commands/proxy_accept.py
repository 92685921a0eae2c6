"""Implements ``guardrail proxy accept``."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import config_option, settings_of
from guardrail.cli.output import Style, data, emit_json, remark
from guardrail.core.folding import folded
from guardrail.core.words import counted
from guardrail.errors import ConfigError, UsageError
from guardrail.review.terminal import clip, clock, one_line

if TYPE_CHECKING:
    from guardrail.model_apis.requested_tools import RequestedTool
    from guardrail.proxy.seen_tools import SeenTool

__all__ = ["accept"]

_LINES = 60
"""Maximum number of lines shown of a difference."""
_WIDTH = 160
"""Maximum width of text from a request, in columns."""
_SHORT = 16
"""Number of characters shown of a digest, and minimum length of a prefix for ``--digest``."""
_BY_NAME = frozenset({"patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value maps names to schemas."""
_VALUES = frozenset({"enum", "const", "default", "examples", "type", "required"})
"""Keywords whose value does not contain schemas."""
_PLAIN = re.compile(r"[A-Za-z0-9_.$-]+")
"""Text that can't be mistaken for guardrail's own."""


@click.command(short_help="Accept the tools in programs' requests.")
@config_option
@click.option("--all", "all_", is_flag=True, help="Accept every tool that is shown.")
@click.option("--list", "list_", is_flag=True, help="Show the accepted tools instead.")
@click.option(
    "--digest",
    metavar="PREFIX",
    help="Accept the schemas that were shown with this digest, without confirmation.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
def accept(
    *,
    config: Path | None,
    all_: bool,
    list_: bool,
    digest: str | None,
    as_json: bool,
    names: tuple[str, ...],
) -> int:
    """Show the tools in programs' requests that nobody has accepted yet, or accept some of them.

    For the policy, only a tool with exactly the accepted schema counts as declared. If a program
    sends a different schema, the tool is undeclared again, and the command shows the difference.
    The command asks for confirmation. With --digest, it does not ask, and accepts only the schemas
    that were shown with this digest. The accepted tools are stored in the file that [proxy] tools
    specifies. Keep that file under version control. A running proxy reloads it when it changes.
    """
    from guardrail.proxy.accepted_tools import read_accepted, write_accepted
    from guardrail.proxy.seen_tools import seen_path, waiting_tools
    from guardrail.system.ownership import find_denial

    settings = settings_of(config)
    path, sent = settings.proxy.tools, seen_path(settings.ledger.path)
    denied = find_denial([sent], like=settings.ledger.path, write=False)
    if denied is not None:
        raise ConfigError(
            f"permission denied: {denied.what}", code="config.permission", hint=denied.hint
        )
    accepted = read_accepted(path)
    if not accepted and not sent.exists():
        _check_project(settings.ledger.path)
    if list_:
        return _show_accepted(accepted, as_json=as_json)
    seen = waiting_tools(settings)
    chosen = _chosen(names, seen, accepted, all_=all_)
    if digest is not None and not chosen:
        raise UsageError("--digest requires the tools to accept", hint="pass their names, or --all")
    if not chosen or not as_json:
        _show(chosen or seen, accepted, as_json=as_json)
    if not chosen:
        if not as_json:
            _show_next(seen, accepted)
        return Exit.YES
    shown = _shown_digest(each.tool for each in chosen.values())
    if digest is not None:
        _check_digest(digest, shown)
    elif not _confirmed(len(chosen), None if as_json else shown):
        remark("nothing was accepted")
        return Exit.NO
    made = accepted | {name: each.tool for name, each in chosen.items()}
    write_accepted(path, made.values())
    if as_json:
        emit_json({"accepted": sorted(chosen), "file": str(path)})
    else:
        remark(f"accepted {counted(len(chosen), 'tool')}  {one_line(str(path))}")
    return Exit.YES


def _check_project(ledger: Path) -> None:
    """Raise ``LedgerOpenError`` if there is no ledger, as commands that read records do, because no
    proxy has run here. The ledger is not opened, because the command shows nothing from it.
    """
    from guardrail.ledger.files import missing_ledger

    if not ledger.exists():
        raise missing_ledger(ledger)


def _chosen(
    names: Collection[str],
    seen: Mapping[str, SeenTool],
    accepted: Mapping[str, RequestedTool],
    *,
    all_: bool,
) -> dict[str, SeenTool]:
    if all_ and names:
        raise UsageError("--all and NAME can't be used together")
    unknown = [name for name in names if name not in seen]
    if unknown:
        raise _not_waiting(unknown[0], seen, accepted)
    return {name: each for name, each in seen.items() if all_ or name in names}


def _not_waiting(
    name: str, seen: Mapping[str, SeenTool], accepted: Mapping[str, RequestedTool]
) -> UsageError:
    if name in accepted:
        return UsageError(
            f"{one_line(name)} is already accepted, and no program has sent it with a different "
            "schema",
            hint="guardrail proxy accept --list shows the accepted tools",
        )
    near = difflib.get_close_matches(name, seen, 1)
    return UsageError(
        f"no tool {one_line(name)} is waiting to be accepted",
        hint=(f"did you mean {_text(near[0])}? " if near else "")
        + "without names, guardrail proxy accept lists the tools that are waiting",
    )


def _shown_digest(tools: Iterable[RequestedTool]) -> str:
    """Return the digest for all schemas that are accepted together. For a single tool, this is the
    tool's own digest.
    """
    found = sorted((tool.name, tool.digest) for tool in tools)
    if len(found) == 1:
        return found[0][1]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _check_digest(given: str, shown: str) -> None:
    if len(given) < _SHORT:
        raise UsageError(
            f"--digest requires at least {_SHORT} characters",
            hint="guardrail proxy accept shows the digests",
        )
    if not shown.startswith(given):
        raise UsageError(
            "these tools differ from those shown with this digest: a program has sent new schemas",
            code="usage.changed",
            hint="guardrail proxy accept shows the tools again",
        )


def _confirmed(count: int, shown: str | None) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "the command can't ask you, because there is no terminal",
            hint="run guardrail proxy accept --json to get the digest, and pass it with --digest"
            if shown is None
            else f"to accept what is shown above, add --digest {shown[:_SHORT]}",
        )
    return click.confirm(f"Accept {counted(count, 'tool')}?", err=True)


def _show_accepted(accepted: Mapping[str, RequestedTool], *, as_json: bool) -> int:
    if as_json:
        from guardrail.proxy.accepted_tools import rejection_of, tool_document

        tools = [
            {**tool_document(tool), "rejected": rejection_of(tool) or None}
            for tool in accepted.values()
        ]
        emit_json({"tools": tools})
        return Exit.YES
    for tool in accepted.values():
        data(f"{_text(_as_word(tool.name))}  {_text(_as_word(tool.form))}  {tool.digest[:_SHORT]}")
        _show_tool(tool)
    if not accepted:
        remark("no tool is accepted", Style.DIM)
    return Exit.YES


def _show(
    seen: Mapping[str, SeenTool], accepted: Mapping[str, RequestedTool], *, as_json: bool
) -> None:
    if as_json:
        tools = [_document(each, accepted) for each in seen.values()]
        emit_json({"tools": tools, "digest": _shown_digest(each.tool for each in seen.values())})
        return
    for name, each in seen.items():
        data(
            f"{_text(_as_word(name))}  {_text(_as_word(each.tool.form))}  {_state(name, accepted)}"
        )
        data(
            f"  seen {counted(each.count, 'time')} since {_text(clock(each.first))}  digest"
            f" {each.tool.digest[:_SHORT]}"
        )
        _show_tool(each.tool)
        for other in _alike(name, [*accepted, *seen]):
            data(f"  looks like another tool: {_text(_as_word(other))}")
        if name in accepted:
            for line in _difference(accepted[name], each.tool):
                data(f"  {line}")


def _show_next(seen: Mapping[str, SeenTool], accepted: Mapping[str, RequestedTool]) -> None:
    if seen:
        shown = _shown_digest(each.tool for each in seen.values())[:_SHORT]
        remark(f"next:  guardrail proxy accept NAME, or --all (digest {shown})")
    elif accepted:
        remark("every tool that requests contained is accepted", Style.DIM)
    else:
        remark("no program has sent a tool through the proxy yet")
        remark("next:  guardrail run -- COMMAND")


def _state(name: str, accepted: Mapping[str, RequestedTool]) -> str:
    return "changed" if name in accepted else "new"


def _document(each: SeenTool, accepted: Mapping[str, RequestedTool]) -> dict[str, Any]:
    from guardrail.proxy.accepted_tools import rejection_of, tool_document

    name = each.tool.name
    return {
        **tool_document(each.tool),
        "rejected": rejection_of(each.tool) or None,
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
    """Yield the lines of a diff between two schemas."""
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


def _show_tool(tool: RequestedTool) -> None:
    """Show the arguments of a tool, the number of other keywords in its schema, and the reason if
    guardrail rejects the schema.
    """
    from guardrail.proxy.accepted_tools import rejection_of

    schema = tool.schema or {}
    data(f"  {_summary(schema)}")
    if rejected := rejection_of(tool):
        data(f"  {_text(f'stays undeclared, because guardrail rejects the schema: {rejected}')}")
    found = _keywords(schema)
    if found:
        parts = [f"{name} ({count})" if count > 1 else name for name, count in found.items()]
        data(f"  {_text('also in the schema: ' + ', '.join(parts))}")
    if tool.grammar is not None:
        data(f"  {_text('grammar: ' + json.dumps(tool.grammar, ensure_ascii=False))}")


def _summary(schema: Mapping[str, Any]) -> str:
    """Return the names and types of the arguments in one line."""
    properties = _object(schema.get("properties"))
    needed = schema.get("required")
    required = needed if isinstance(needed, list) else []
    parts = []
    for name, inner in properties.items():
        kind = inner.get("type", "any") if isinstance(inner, dict) else "any"
        optional = "" if name in required else " (optional)"
        parts.append(f"{_as_word(name)}: {_as_word(kind)}{optional}")
    parts += [
        f"{_as_word(name)}: not described" for name in required if str(name) not in properties
    ]
    return _text(", ".join(parts)) if parts else "no arguments"


def _as_word(value: object) -> str:
    """Return *value*, which comes from a request, as one word: unchanged if it is a plain word,
    otherwise as JSON.
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _keywords(schema: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the number of occurrences of each keyword in *schema*, except those that ``_summary``
    shows. Arguments inside arguments count as ``nested arguments``.
    """
    found: Counter[str] = Counter()
    nested = 0
    waiting: list[tuple[Any, bool]] = [(schema, True)]
    while waiting:
        each, is_top = waiting.pop()
        if isinstance(each, list):
            waiting += [(inner, False) for inner in each]
        for name, value in _object(each).items():
            if name == "properties" and isinstance(value, dict):
                nested += 0 if is_top else len(value)
                waiting += [(inner, False) for inner in value.values()]
                continue
            if not _is_shown(name, value, is_top=is_top):
                found[_as_word(name)] += 1
            if name in _BY_NAME:
                waiting += [(inner, False) for inner in _object(value).values()]
            elif name not in _VALUES:
                waiting.append((value, False))
    return dict(sorted({**found, **({"nested arguments": nested} if nested else {})}.items()))


def _is_shown(name: str, value: object, *, is_top: bool) -> bool:
    """Return True if ``_summary`` shows this keyword, or if the keyword does not affect the
    arguments.
    """
    if name in {"description", "title"}:
        return isinstance(value, str)
    if name == "required":
        return value == [] or (is_top and isinstance(value, list))
    return name == "type" and (value == "object" if is_top else _is_type(value))


def _is_type(value: object) -> bool:
    return all(isinstance(each, str) for each in (value if isinstance(value, list) else [value]))


def _text(text: str, *, strip: bool = True) -> str:
    """Return text from a request in a form that is safe to display. Truncated text ends with the
    original length.
    """
    shown = one_line(text[: 4 * _WIDTH])
    shown = shown.strip() if strip else shown
    cut = clip(shown, _WIDTH)
    if cut == shown and len(text) <= 4 * _WIDTH:
        return cut
    return f"{cut} (cut: {counted(len(text), 'character')})"
