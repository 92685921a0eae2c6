"""Prints the output of ``guardrail policy test --mutate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.app import Exit
from guardrail.cli.findings import print_finding
from guardrail.cli.output import Progress, Style, data, prose, sentence
from guardrail.core.words import counted
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.authoring.mutate import Hole, MutationReport

__all__ = ["code_of", "run", "show"]

_SHOWN = 300
"""Maximum number of characters of arguments shown per line."""


def run(paths: Sequence[Path], tools: Path | None, limit: float) -> MutationReport:
    """Mutate the calls in the tests, and show progress on a terminal."""
    from guardrail.authoring.mutate import mutate
    from guardrail.authoring.tools_file import load_tools

    progress = Progress("changed calls tried:")
    try:
        return mutate(
            paths,
            tools=load_tools(tools) if tools is not None else None,
            total=limit,
            progress=progress,
        )
    finally:
        progress.clear()


def code_of(report: MutationReport) -> Exit:
    """Return the exit code for *report*."""
    if not report.ok:
        return Exit.NO
    return Exit.YES if report.complete and not report.untried else Exit.RESERVED


def show(report: MutationReport) -> None:
    """Print the changed calls that are allowed, grouped by rule, and the rules that could not be
    tried.
    """
    for _, found in groupby(report.holes, key=lambda hole: (hole.file, hole.line, hole.rule)):
        _rule(list(found))
    for rule in report.untried:
        place = one_line(f"{rule.file}:{rule.line}")
        title = (
            f"{rule.effect} {name(rule.rule)} does not fire in any test, so there is no call to "
            "change"
        )
        print_finding(place, title, ("[untried]", Style.WARN), "")
    verdict = (
        ("HOLES", Style.BAD)
        if report.holes
        else ("OK", Style.GOOD)
        if report.complete
        else ("NOT FINISHED", Style.WARN)
    )
    parts = [
        counted(report.rules, "rule"),
        counted(report.calls, "call"),
        counted(report.tried, "changed call"),
        f"{len(report.holes):,} allowed",
    ]
    if report.ignored:
        parts.append(f"{report.ignored:,} ignored")
    if report.unfit:
        parts.append(f"{report.unfit:,} that a schema refuses")
    if not report.complete:
        parts.append("not all tried: the limit was reached")
    for line in sentence(verdict, ("", Style.PLAIN), (", ".join(parts), Style.PLAIN)):
        data(line)


def _rule(holes: Sequence[Hole]) -> None:
    first = holes[0]
    place = one_line(f"{first.file}:{first.line}" if first.line else first.file)
    title = f"{first.effect} {name(first.rule)} no longer stops"
    print_finding(place, title, ("[mutation]", Style.BAD), "")
    for hole in holes:
        args = json.dumps(hole.args, ensure_ascii=True)
        shown = args if len(args) <= _SHOWN else args[:_SHOWN] + "..."
        for line in prose(
            f"{name(hole.pointer)} {hole.mutation}: {name(hole.tool)} {shown}, from"
            f" {name(hole.test)}",
            indent=4,
        ):
            data(f"    {line}")
