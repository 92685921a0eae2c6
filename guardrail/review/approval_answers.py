"""Reads the answers to a request for approval from its records, for people and for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from guardrail.approvals.kinds import StepKind
from guardrail.errors import RecordError
from guardrail.review.records import RecordedAnswer, parse, people_of, person_of
from guardrail.review.values import obj, text

__all__ = ["answers_of", "documents"]

_KINDS = {"approval.granted": StepKind.GRANTED, "approval.refused": StepKind.REFUSED}


def answers_of(lines: Sequence[bytes]) -> tuple[RecordedAnswer, ...]:
    """Return the answers to a request, from its own line and the lines of its steps. Unreadable
    answers are omitted.
    """
    found = []
    for line in lines[1:]:
        try:
            record = parse(line)
        except RecordError:
            continue
        kind, seq = text(record, "type"), record.get("seq")
        if not isinstance(seq, int):
            continue
        if kind == "call.decision":
            found.append(RecordedAnswer(StepKind.USED, seq, text(record, "ts"), people_of(record)))
        elif kind in _KINDS:
            who = (person_of(obj(record, "approver")),)
            found.append(
                RecordedAnswer(_KINDS[kind], seq, text(record, "ts"), who, text(record, "expires"))
            )
    return tuple(found)


def documents(answers: Sequence[RecordedAnswer]) -> list[dict[str, Any]]:
    """Return *answers* for ``--json`` (docs/cli.md)."""
    return [
        {
            "kind": str(each.kind),
            "seq": each.seq,
            "ts": each.ts,
            "people": [asdict(who) for who in each.people],
            "expires": each.expires or None,
        }
        for each in answers
    ]
