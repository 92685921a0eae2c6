"""Measures how much of a corpus the redactor finds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

from guardrail.core.redaction.session_memory import Memory
from tests.core.redaction.corpora.personal import Case
from tests.support.redaction import MEASURED, REDACTOR, view

__all__ = ["Table", "measure_calls", "measure_lines"]

_MARK = re.compile(r"gr1:[a-z_]+:[\w-]+:[a-z2-7]{24}")


class Table:
    """Counts of found values by kind and form."""

    def __init__(self) -> None:
        self.found: Counter[tuple[str, str]] = Counter()
        self.total: Counter[tuple[str, str]] = Counter()
        self.missed: list[tuple[str, str, object, str]] = []

    def add(
        self, kind: str, form: str, found: bool, source: object = None, value: str = ""
    ) -> None:
        self.total[kind, form] += 1
        self.found[kind, form] += found
        if not found:
            self.missed.append((kind, form, source, value))

    def share(self, kind: str | None = None, form: str | None = None) -> float:
        chosen = [
            key for key in self.total if (kind in {None, key[0]}) and (form in {None, key[1]})
        ]
        return sum(self.found[key] for key in chosen) / max(
            1, sum(self.total[key] for key in chosen)
        )

    def lines(self) -> Iterable[str]:
        for which in (0, 1):
            for name in sorted({key[which] for key in self.total}):
                share = self.share(*((name, None) if which == 0 else (None, name)))
                count = sum(self.total[key] for key in self.total if key[which] == name)
                yield f"{name:18} {share:.3f} of {count}"


def _left(value: str, shown: str) -> bool:
    return value in shown or json.dumps(value)[1:-1] in shown


def measure_calls(cases: Iterable[Case]) -> Table:
    """Return the counts of *cases*, each recorded with a memory of its own."""
    table = Table()
    for case in cases:
        shown = _MARK.sub(
            " ", json.dumps(view(case.args, memory=Memory(), by=MEASURED).value, ensure_ascii=False)
        )
        table.add(case.kind, case.form, not _left(case.value, shown), case.args, case.value)
    return table


def measure_lines(lines: Iterable[tuple[str, str, str]]) -> Table:
    """Return the counts of labelled lines."""
    table = Table()
    for form, line, secret in lines:
        shown = _MARK.sub(" ", REDACTOR.text(line, Memory()))
        table.add("secret", form, secret not in shown, line, secret)
    return table
