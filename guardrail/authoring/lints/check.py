"""Finds likely mistakes in policies: constructs that can let a call through despite a rule that
should stop it.

``docs/writing-policies.md`` lists the codes. Only ``lints.tested`` evaluates policies: it runs
their tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from guardrail.authoring.lints import (
    always,
    arguments,
    compare,
    fallible,
    heads,
    needs,
    negations,
    never,
    tools,
    zones,
)
from guardrail.authoring.lints.comments import Suppression, ignores, misplaced
from guardrail.authoring.lints.findings import MUTATION, Code, Lint, Severity
from guardrail.authoring.lints.flow import ValueFlow
from guardrail.authoring.lints.shape import InputShape
from guardrail.authoring.lints.walk import walk
from guardrail.policy.rego.replaced import supplied
from guardrail.policy.rego.tree import Module

__all__ = ["Code", "Lint", "LintReport", "Severity", "SuppressionFilter", "lint_modules"]

_EVENTS = (
    arguments.check,
    compare.check,
    negations.check,
    fallible.check,
    never.check_read,
)
_RULES = (heads.check, never.check, always.check, needs.check, tools.check)


@dataclass(frozen=True, slots=True)
class LintReport:
    """Findings of the lints."""

    lints: tuple[Lint, ...]
    """The findings, sorted by file and line."""
    ignored: int
    """Number of findings suppressed by ``guardrail:ignore``."""


class SuppressionFilter:
    """Separates suppressed findings from all others."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self._ignores: dict[str, list[Suppression]] = {
            module.source.name: ignores(module) for module in modules if not module.source.installed
        }

    def ignored(self, file: str, line: int, code: str, detail: str = "") -> bool:
        """Return True if a comment in *file* suppresses *code* on *line*."""
        return any(ignore.covers(line, code, detail) for ignore in self._ignores.get(file, ()))

    def filter(self, lints: Iterable[Lint]) -> LintReport:
        """Return *lints* in order, without duplicates and without suppressed lints."""
        unique = sorted(
            set(lints), key=lambda item: (item.file, item.line, item.code, item.message)
        )
        kept = tuple(
            item for item in unique if not self.ignored(item.file, item.line, str(item.code))
        )
        return LintReport(kept, len(unique) - len(kept))


def lint_modules(
    modules: Sequence[Module],
    data: str,
    shape: InputShape,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Lint]:
    """Return the findings of all lints that do not evaluate policies. Suppressed findings are
    included; a ``SuppressionFilter`` removes them. *progress* is called after each rule.

    *modules* includes guardrail's own modules and tests, but only the authors' rules are checked.
    """
    served = [module for module in modules if not module.test]
    flow = ValueFlow(
        served, json.loads(data), supplied(module for module in modules if module.test)
    )
    found = [
        lint for event in walk(flow) for check in _EVENTS for lint in check(event, flow, shape)
    ]
    own = [
        definition
        for definitions in flow.definitions.values()
        for definition in definitions
        if not definition.module.source.installed
    ]
    for done, definition in enumerate(own):
        for judge in _RULES:
            found += judge(definition, flow, shape)
        if progress is not None:
            progress(done + 1, len(own))
    found += [*zones.check(modules, data), *_comments(modules)]
    if flow.exhausted:
        authors = [module for module in served if not module.source.installed]
        found.append(
            Lint(
                authors[0].source.name if authors else "-",
                1,
                Code.INCOMPLETE,
                "these policies are too complex to be checked completely: there may be more "
                "warnings",
                "reduce the number of rules that depend on many others",
            )
        )
    return found


def _comments(modules: Sequence[Module]) -> Iterator[Lint]:
    known = {*map(str, Code), MUTATION}
    for module in modules:
        if module.source.installed:
            continue
        for line, message in misplaced(module, known):
            yield Lint(
                module.source.name,
                line,
                Code.IGNORE,
                message,
                "write # guardrail:ignore CODE and the reason",
            )
