"""Finds the changes that make policies check better, without writing them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from guardrail.authoring.fixes.edits import FixContext, fix, removes_line
from guardrail.errors import Finding
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import ModuleSource, PolicySet

__all__ = ["ChangedFile", "Find", "FixPlan", "plan_fixes"]

_ROUNDS = 8
"""A fix can show findings that were hidden before, so fixes are sought several times."""
_SYNTAX = frozenset({"syntax", "rego_parse_error"})
_EVALUATED = frozenset({"evaluation", "contract", "order"})
"""Codes of findings that are made only if there are no others."""

Find: TypeAlias = Callable[[PolicySet], Sequence[Finding]]
Score: TypeAlias = "tuple[int, int, int, int]"


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """The changes of one file."""

    file: str
    before: str
    after: str
    fixed: tuple[Finding, ...]
    """The findings that the changes remove, with the lines of the text in which each was found."""

    @property
    def diff(self) -> str:
        """The changes as a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            self.file,
            self.file,
        )
        missing = "\n\\ No newline at end of file\n"
        return "".join(line if line.endswith("\n") else f"{line}{missing}" for line in lines)


@dataclass(frozen=True, slots=True)
class FixPlan:
    """All changes, and the findings that remain after them."""

    files: tuple[ChangedFile, ...]
    remaining: tuple[Finding, ...]
    found: int
    """Number of findings before the changes."""


@dataclass(slots=True)
class _State:
    """The policies with the changes so far."""

    policies: PolicySet
    found: Sequence[Finding]
    fixed: dict[str, list[Finding]] = field(default_factory=dict)


def plan_fixes(policies: PolicySet, find: Find, opa: OpaProgram | None) -> FixPlan:
    """Return the changes to the authors' files that remove findings of *find*.

    A file is changed only if it checks better afterwards: it has fewer findings, and the policies
    as a whole don't have more. Findings about syntax count first, and findings of evaluations last,
    because each hides the next.
    """
    state = _State(policies, find(policies))
    found = len(state.found)
    for _ in range(_ROUNDS):
        if not _round(state, find, opa):
            break
    originals = {source.name: source.text for source in _authors(policies)}
    files = tuple(
        ChangedFile(source.name, originals[source.name], source.text, tuple(fixed))
        for source in _authors(state.policies)
        if (fixed := state.fixed.get(source.name)) is not None
    )
    return FixPlan(files, tuple(state.found), found)


def _round(state: _State, find: Find, opa: OpaProgram | None) -> bool:
    """Change what can be changed: all files at once or, if that is no improvement, one file or one
    finding at a time.
    """
    grouped: dict[str, list[Finding]] = {}
    for finding in state.found:
        grouped.setdefault(finding.file, []).append(finding)
    if _try(state, grouped, find, opa):
        return True
    changed = False
    for file, findings in grouped.items():
        if len(grouped) > 1 and _try(state, {file: findings}, find, opa):
            changed = True
            continue
        for finding in findings if len(findings) > 1 else ():
            if finding in state.found:
                changed = _try(state, {file: [finding]}, find, opa) or changed
    return changed


def _try(
    state: _State, wanted: Mapping[str, Sequence[Finding]], find: Find, opa: OpaProgram | None
) -> bool:
    """Make the changes for the *wanted* findings, if they are an improvement."""
    texts = {source.name: source.text for source in _authors(state.policies)}
    changed: set[str] = set()
    for file, findings in wanted.items():
        for finding in _in_order(findings) if file in texts else ():
            text = fix(texts[file], finding, FixContext(texts, opa))
            if text is not None:
                texts[file] = text
                changed.add(file)
    if not changed:
        return False
    policies = replace(
        state.policies,
        modules=_with_texts(state.policies.modules, texts),
        tests=_with_texts(state.policies.tests, texts),
    )
    found = find(policies)
    better = all(_score(found, file) < _score(state.found, file) for file in changed)
    if not better or _score(found) >= _score(state.found):
        return False
    for file in changed:
        state.fixed.setdefault(file, []).extend(_removed(state.found, found, file))
    state.policies, state.found = policies, found
    return True


def _in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings about syntax alone, or all findings, in an order in which no change moves the
    lines of a later one: from the first line to the last, and then, from the last line to the
    first, those whose lines are removed.
    """
    syntax = [finding for finding in findings if finding.code in _SYNTAX]
    kept: list[Finding] = []
    removed: list[Finding] = []
    for finding in sorted(syntax or findings, key=lambda each: each.line):
        (removed if removes_line(finding) else kept).append(finding)
    return [*kept, *reversed(removed)]


def _score(findings: Iterable[Finding], file: str | None = None) -> Score:
    """Return a number of findings that is lower if *file*, or all files, check better.

    The parser reports only the first error in a file, so a later error counts as better.
    """
    syntax = line = evaluated = other = 0
    for finding in findings:
        if file not in {None, finding.file}:
            continue
        if finding.code in _SYNTAX:
            syntax, line = syntax + 1, line + finding.line
        elif finding.code in _EVALUATED:
            evaluated += 1
        else:
            other += 1
    return syntax, -line, other, evaluated


def _removed(before: Iterable[Finding], after: Iterable[Finding], file: str) -> list[Finding]:
    """Return the findings about *file* in *before* that are not in *after*, on any line."""
    left = Counter((each.code, each.message) for each in after if each.file == file)
    removed = []
    for finding in before:
        if finding.file != file:
            continue
        left[finding.code, finding.message] -= 1
        if left[finding.code, finding.message] < 0:
            removed.append(finding)
    return removed


def _authors(policies: PolicySet) -> list[ModuleSource]:
    return [each for each in (*policies.modules, *policies.tests) if not each.installed]


def _with_texts(
    sources: Sequence[ModuleSource], texts: Mapping[str, str]
) -> tuple[ModuleSource, ...]:
    return tuple(
        each if each.installed else replace(each, text=texts[each.name]) for each in sources
    )
