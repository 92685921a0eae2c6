"""Runs and shows the fixes of ``guardrail policy check --fix``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.findings import print_findings
from guardrail.cli.output import Style, data, paint, sentence
from guardrail.core.words import agree, counted
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.authoring.fixes.run import FixReport
    from guardrail.policy.opa.program import OpaProgram

__all__ = ["run", "show"]

_STYLES = {"+": Style.GOOD, "-": Style.BAD}


def run(
    paths: Sequence[Path], opa: OpaProgram | None, *, opa_serves: bool, dry_run: bool
) -> FixReport:
    """Fix the policies below *paths* so that the engine that will evaluate them has fewer findings:
    *opa* if *opa_serves* is True, otherwise the embedded engine. See ``fix_policies``.
    """
    from guardrail.authoring.check import findings_of
    from guardrail.authoring.fixes.run import fix_policies

    serving = opa if opa_serves else None
    return fix_policies(
        paths,
        find=lambda changed: findings_of(changed, paths, opa=serving),
        opa=opa,
        dry_run=dry_run,
    )


def show(report: FixReport, *, dry_run: bool) -> None:
    """Print the changes of each file, and whether it was written."""
    for file in report.files:
        for line in file.diff.split("\n")[:-1]:
            data(paint(one_line(line.expandtabs(4)), _STYLES.get(line[:1], Style.PLAIN)))
        found = f"{one_line(file.file)}: {counted(len(file.fixed), 'finding')}"
        verdict = ("would fix" if dry_run else "fixed", Style.GOOD)
        if file.reason:
            verdict = ("not changed", Style.BAD)
            found = f"{one_line(file.file)}: {one_line(file.reason)}"
        for line in sentence(verdict, ("", Style.PLAIN), (found, Style.PLAIN)):
            data(line)
    if not report.files:
        data("nothing to fix: no finding has a mechanical fix that makes the policies check better")
    elif dry_run:
        _show_remaining(report)


def _show_remaining(report: FixReport) -> None:
    """Print the findings that the changes would leave, with the lines of the changed text."""
    hidden = report.hidden
    if hidden > 0:
        shown = counted(hidden, "finding")
        data(f"{shown} {agree(hidden, 'appears')} only after other changes")
    left = counted(len(report.remaining), "finding")
    data(
        f"nothing was written; with these changes, {left} would remain"
        f"{':' if report.remaining else ''}"
    )
    print_findings(report.remaining, Style.BAD)
    data("the policies without these changes:")
