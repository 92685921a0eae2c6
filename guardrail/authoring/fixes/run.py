"""Fixes the policies in files: plans the changes, and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.authoring.fixes.plan import Find, FixPlan, plan_fixes
from guardrail.authoring.fixes.writing import replace_policy, require_unsigned
from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import load_policies

__all__ = ["FixReport", "FixedFile", "fix_policies"]


@dataclass(frozen=True, slots=True)
class FixedFile:
    """One file for which there are changes."""

    file: str
    diff: str
    """The changes as a unified diff."""
    fixed: tuple[Finding, ...]
    """The findings that the changes remove, with the lines of the text in which each was found."""
    written: bool
    reason: str
    """Why the file was not changed, or an empty string."""


@dataclass(frozen=True, slots=True)
class FixReport:
    """The result of fixing policies."""

    files: tuple[FixedFile, ...]
    remaining: tuple[Finding, ...]
    """The findings that would remain if every file were written."""
    found: int
    """Number of findings before the changes."""

    @property
    def hidden(self) -> int:
        """Number of findings that were made only after other findings were removed."""
        return sum(len(file.fixed) for file in self.files) + len(self.remaining) - self.found

    @property
    def complete(self) -> bool:
        """True if no file had to stay as it was."""
        return not any(file.reason for file in self.files)


def fix_policies(
    paths: Sequence[Path],
    *,
    find: Find,
    opa: OpaProgram | None = None,
    dry_run: bool = False,
) -> FixReport:
    """Make every mechanical change that lets the policies below *paths* check better, and report
    the changes. If *dry_run* is True, nothing is written.

    *find* returns the findings about policies, and *opa* converts old syntax. A file that was
    changed meanwhile, that is read-only, or that is outside the folder stays as it was. Raises
    ``ConfigError`` if the policies belong to a signed bundle.
    """
    for path in paths:
        require_unsigned(path)
    try:
        policies = load_policies(paths)
    except PolicyLoadError as error:
        return FixReport((), tuple(error.findings), len(error.findings))
    plan = plan_fixes(policies, find, opa)
    return FixReport(tuple(_written(plan, paths, dry_run=dry_run)), plan.remaining, plan.found)


def _written(plan: FixPlan, paths: Sequence[Path], *, dry_run: bool) -> list[FixedFile]:
    roots = [path if path.is_dir() else path.parent for path in paths]
    made = []
    for file in plan.files:
        place = Path(file.file)
        root = next(each for each in roots if place.is_relative_to(each))
        reason = "" if dry_run else replace_policy(place, root, file.before, file.after)
        written = not dry_run and not reason
        made.append(FixedFile(file.file, file.diff, file.fixed, written, reason))
    return made
