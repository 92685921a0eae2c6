"""Prints how much the redactor finds and how much it removes needlessly: ``make redaction-report``.

Published corpora are read from the folder in ``GUARDRAIL_CORPORA``, if it is set. Exit code 1: a
figure misses its limit. The times are printed beside their aims and are not judged.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.core.redaction.corpora.benign import benign
from tests.core.redaction.corpora.measuring import measure_calls, measure_lines
from tests.core.redaction.corpora.personal import calls, sentences
from tests.core.redaction.corpora.published import excess, labelled, rows, secrets, touched_by
from tests.core.redaction.corpora.secret_lines import secret_lines
from tests.support.redaction import view

__all__ = ["CORPORA", "LIMITS", "Figure", "figures", "main"]

CORPORA = os.environ.get("GUARDRAIL_CORPORA", "")
"""The folder of the published corpora, or an empty string."""
LIMITS = {
    "tau_tool_calls": 0.99,
    "tau_tool_outputs": 0.99,
    "kingfisher_examples": 0.88,
    "bfcl_tool_calls_dev": 0.01,
    "bfcl_multi_turn_calls_dev": 0.02,
    "generated calls": 0.97,
    "generated sentences": 0.93,
    "generated lines": 0.93,
    "harmless strings": 0.005,
}
"""The least recall, or the most excess, that each corpus may have."""
_SEED = 20261130
_TYPICAL_MS = 0.2
_WORST_MS_PER_KB = 2.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured share."""

    corpus: str
    what: str
    share: float
    most: bool
    """True if the limit is the largest allowed value, False if it is the least."""
    note: str = ""

    @property
    def good(self) -> bool:
        """True if the figure keeps its limit."""
        limit = LIMITS[self.corpus]
        return self.share <= limit if self.most else self.share >= limit

    def line(self) -> str:
        """Return the row of the table."""
        limit = f"{'<=' if self.most else '>='} {LIMITS[self.corpus]:g}"
        verdict = "ok" if self.good else "MISSED"
        return (
            f"{self.corpus:26} {self.what:24} {self.share:7.4f}  {limit:9} {verdict:7} {self.note}"
        )


def figures(folder: Path | None) -> Iterator[Figure]:
    """Measure the generated corpora and, if *folder* is given, the published ones."""
    if folder is not None:
        for name, field in (("tau_tool_calls", "args"), ("tau_tool_outputs", "output")):
            found = labelled(folder, name, field)
            yield Figure(name, "values removed", found.share, most=False, note=found.classes())
        yield Figure("kingfisher_examples", "secrets removed", secrets(folder).share, most=False)
        for name in ("bfcl_tool_calls_dev", "bfcl_multi_turn_calls_dev"):
            over = excess(folder, name)
            note = f"{over.touched} of {over.calls} calls; {over.right} characters rightly"
            yield Figure(name, "characters wrongly", over.share, most=True, note=note)
    for name, table in (
        ("generated calls", measure_calls(calls(_SEED, rounds=1))),
        ("generated sentences", measure_calls(sentences(_SEED, rounds=2))),
        ("generated lines", measure_lines(secret_lines(_SEED, rounds=2))),
    ):
        yield Figure(name, "values removed", table.share(), most=False)
    strings = [text for _, text in benign(_SEED)]
    changed = sum(bool(view({"text": text}).removed) for text in strings)
    yield Figure("harmless strings", "strings changed", changed / len(strings), most=True)


def _times(folder: Path) -> Iterator[str]:
    """Yield the processor times of views of published calls."""
    spent: list[float] = []
    per_kb: list[float] = []
    for name, field in (("bfcl_tool_calls_dev", "args"), ("tau_tool_outputs", "output")):
        for row in rows(folder, name):
            value: Any = row[field]
            best = min(_time(value) for _ in range(3))
            spent.append(best)
            per_kb.append(best / max(1.0, len(json.dumps(value)) / 1024))
    worst = sorted(per_kb)[int(0.99 * len(per_kb))]
    yield f"typical call: {statistics.median(spent):.3f} ms (aim {_TYPICAL_MS} ms)"
    yield f"p99 per KB: {worst:.3f} ms (aim {_WORST_MS_PER_KB} ms)"


def _time(value: Any) -> float:
    began = time.thread_time()
    view(value)
    return 1000 * (time.thread_time() - began)


def main() -> int:
    """Print the table."""
    folder = Path(CORPORA) if CORPORA else None
    good = True
    for figure in figures(folder):
        good &= figure.good
        print(figure.line(), flush=True)
    if folder is None:
        print("NOT RUN: GUARDRAIL_CORPORA names no folder of published corpora")
        return 0 if good else 1
    rules = touched_by(folder, "agentdojo_calls_dev").most_common(8)
    print("agentdojo_calls_dev: " + ", ".join(f"{rule} {count}" for rule, count in rules))
    print(*_times(folder), sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
