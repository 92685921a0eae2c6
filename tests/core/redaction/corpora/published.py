"""Measures recall and excess on calls and strings that others published."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import MEASURED, REDACTOR, view

__all__ = ["Excess", "Recall", "excess", "labelled", "rows", "secrets", "touched_by"]

_MARK = re.compile(r"gr1:[a-z_]+:[\w-]+:[a-z2-7]{24}")
_RIGHT = ("password", "api_key", "access_token", "card_id", "card_number", "verification_number")
_EMAIL = re.compile(r"[^@\s]@[^@\s]+\.[a-z]")


@dataclass(frozen=True, slots=True)
class Recall:
    """How many labelled values were removed, by class."""

    found: Counter[str]
    total: Counter[str]

    @property
    def share(self) -> float:
        """The share of all values that were removed."""
        return self.found.total() / max(1, self.total.total())

    def classes(self) -> str:
        """The share of each class, the least complete first."""
        shares = {cls: self.found[cls] / count for cls, count in self.total.items()}
        return ", ".join(
            f"{cls} {shares[cls]:.3f}" for cls in sorted(shares, key=shares.__getitem__)
        )


@dataclass(slots=True)
class Excess:
    """How much of calls without secrets and personal data was changed."""

    calls: int = 0
    touched: int = 0
    characters: int = 0
    """Characters of values."""
    changed: int = 0
    right: int = 0
    """Characters whose change is right: passwords, tokens, API keys, cards, e-mail addresses."""

    @property
    def share(self) -> float:
        """The share of the characters whose change is not right."""
        return (self.changed - self.right) / max(1, self.characters)


def rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a corpus."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def labelled(folder: Path, name: str, field: str) -> Recall:
    """Measure the corpus *name*, whose calls or outputs are in *field*."""
    recall = Recall(Counter(), Counter())
    for row in rows(folder, name):
        shown = _shown(view(row[field], by=MEASURED).value)
        for label in row["labels"]:
            recall.total[label["class"]] += 1
            recall.found[label["class"]] += not _left(str(label["value"]), shown)
    return recall


def secrets(folder: Path) -> Recall:
    """Measure the examples of secrets."""
    recall = Recall(Counter(), Counter())
    for row in rows(folder, "kingfisher_examples"):
        recall.total["secret"] += 1
        recall.found["secret"] += row["secret"] not in _shown(REDACTOR.text(row["text"], Memory()))
    return recall


def excess(folder: Path, name: str) -> Excess:
    """Measure the benign calls in the corpus *name*."""
    found = Excess()
    for row in rows(folder, name):
        seen = view(row["args"], by=MEASURED)
        found.calls += 1
        found.touched += seen.changed
        before, after = _leaves(row["args"]), _leaves(seen.value)
        for pointer, value in before.items():
            found.characters += len(value)
            if after.get(pointer) != value:
                lost = len(value) - _kept(value, after.get(pointer, ""))
                found.changed += lost
                found.right += lost * (pointer.endswith(_RIGHT) or _EMAIL.search(value) is not None)
    return found


def touched_by(folder: Path, name: str) -> Counter[str]:
    """Return how often each class and rule removed something from the calls in the corpus."""
    return Counter(
        f"{cls} {rule}"
        for row in rows(folder, name)
        for cls, *rules in view(row["args"], by=MEASURED).removed.values()
        for rule in rules
    )


def _shown(value: object) -> str:
    # The marks themselves are no leak, though one says "secret".
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _MARK.sub(" ", text)


def _left(value: str, text: str) -> bool:
    if len(value) <= 4:
        return re.search(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", text) is not None
    return value in text or json.dumps(value)[1:-1] in text


def _leaves(value: Any, where: str = "") -> dict[str, str]:
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else None
    )
    if members is None:
        return {where: value if isinstance(value, str) else json.dumps(value)}
    return {
        key: text
        for name, member in members
        for key, text in _leaves(member, f"{where}/{name}").items()
    }


def _kept(before: str, after: str) -> int:
    rest = _MARK.split(after)
    return sum(len(part) for part in rest if part in before) if len(rest) > 1 else 0
