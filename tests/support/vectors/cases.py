"""What the vectors of docs/record-format.md section 10 are made of: exports, heads, and what must
be said of each pair.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.vectors.signing import (
    PUBLIC,
)

Record = dict[str, Any]
EXIT = {
    "anchored": 0,
    "not_anchored": 5,
    "tampered": 1,
    "replaced": 1,
    "truncated": 1,
    "forked": 1,
    "torn": 3,
    "key_unknown": 3,
    "head_malformed": 3,
}


@dataclass(frozen=True)
class Case:
    """An export, perhaps a head and a key, and the answer."""

    name: str
    export: str
    head: str | None
    key: str | None
    verdict: str
    first_bad: int | None = None
    last_covered: int | None = None
    exit: int | None = None

    def document(self) -> dict[str, Any]:
        """Return what expected.json holds of it."""
        code = EXIT[self.verdict] if self.exit is None else self.exit
        if self.verdict == "anchored" and self.key is None:
            code = 5
        return {
            "name": self.name,
            "export": self.export,
            "head": self.head,
            "key": self.key,
            "verdict": self.verdict,
            "first_bad": self.first_bad,
            "last_covered": self.last_covered,
            "exit": code,
        }


class Vectors:
    """The files and cases, by name."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Begin with the records of log.jsonl."""
        self.records = list(records)
        self.exports: dict[str, bytes] = {}
        self.heads: dict[str, bytes] = {}
        self.cases: list[Case] = []

    def case(
        self,
        name: str,
        export: str,
        verdict: str,
        *,
        head: str | None = None,
        key: str | None = "log",
        **answer: Any,
    ) -> None:
        """Expect *verdict* of the export and head of these names, with the public key *key* known
        beforehand.
        """
        public = None if key is None else PUBLIC[key]
        self.cases.append(Case(name, export, head, public, verdict, **answer))


def admin(vectors: Vectors, type_: str, detail: Record) -> Record:
    """Return an ``admin.*`` record like the one that log.jsonl has."""
    record = copy.deepcopy(vectors.records[1])
    return {**record, "type": f"admin.{type_}", "detail": detail}


def outcome(vectors: Vectors, of: int, decision_seq: int) -> Record:
    """Return the outcome *of* log.jsonl, for a decision with another number."""
    return {**vectors.records[of], "decision_seq": decision_seq}
