"""The columns of the index, and their values for a line in the ledger. Pure.

Every value is copied from the line, so the index contains only data from the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.log.record import decode_or_none, dumps, leaf_hash
from guardrail.core.redaction.marks import CLASS_NAME, KEY_ID
from guardrail.errors import RecordError
from guardrail.review.values import integer, number, obj, text

__all__ = [
    "COLUMNS",
    "DISPLAYED",
    "LOCATORS",
    "SEARCHED",
    "IndexRow",
    "locators_of",
    "row_of",
    "tokens_of",
]

LOCATORS: Mapping[str, type] = {
    "seq": int,
    "leaf": str,
    "type": str,
    "call": str,
    "session": str,
    "tenant": str,
    "principal": str,
    "agent": str,
    "approval": str,
    "ordinal": int,
}
"""Columns that commands search. The values of each row that a search finds are compared with the
line.
"""
_SHOWN: Mapping[str, type] = {
    "ts": str,
    "tool": str,
    "server": str,
    "effect": str,
    "cause": str,
    "detail": str,
    "status": str,
    "decision_seq": int,
    "rules": str,
    "removed": str,
    "enforcement": str,
    "adapter": str,
    "host": str,
    "model": str,
    "reproducible": int,
    "ms": float,
    "args": str,
    "result": str,
    "message": str,
    "error": str,
    "bytes": int,
}
COLUMNS: Mapping[str, type] = {**LOCATORS, **_SHOWN}
"""All columns of the table ``record``, in the order of the values of a row. ``rules`` and
``removed`` are JSON arrays, which Datasette can use as facets.
"""
_FIRST = ("seq", "ts", "type", "session", "principal", "agent", "tool", "effect", "status", "args")
_LAST = ("approval", "ordinal", "decision_seq", "bytes", "leaf")
DISPLAYED = (*_FIRST, *(name for name in COLUMNS if name not in (*_FIRST, *_LAST)), *_LAST)
"""All columns, in the order in which they are displayed."""
SEARCHED = ("tool", "args", "result", "message", "error", "session", "principal", "agent", "call")
"""Columns with full-text search."""

# A token, but not a mark, whose key id is "-": marks are random, so no two are equal.
_TOKEN = re.compile(rf"gr1:({CLASS_NAME}):(?!-:){KEY_ID}:[a-z2-7]{{24}}".encode())
_MOST = 1 << 63
_CALL = "call."
_THROTTLED = "call.throttled"


@dataclass(frozen=True, slots=True)
class IndexRow:
    """The rows of one line."""

    values: tuple[object, ...]
    """The values of ``COLUMNS``."""
    tokens: tuple[tuple[str, str], ...]
    """Each token in the line, with its class."""
    in_session: bool
    """True for a record that belongs to a session."""


def locators_of(seq: int, line: bytes) -> tuple[tuple[object, ...], Mapping[str, Any]]:
    """Return the values of ``LOCATORS`` for record *seq* with this *line*, and the decoded record,
    which is empty if the line is not a record.
    """
    record = decode_or_none(line)
    return _locators(seq, line, record), record or {}


def row_of(seq: int, line: bytes, *, full: bool = True) -> IndexRow:
    """Return the rows of record *seq* with this *line*. If *full* is False, they hold only the
    ``LOCATORS``.

    If the line is not a record, they hold only its number and its leaf.
    """
    record = decode_or_none(line)
    values = _locators(seq, line, record)
    kind = values[2]
    return IndexRow(
        values=(*values, *_shown(line, record)) if full else values,
        tokens=tokens_of(line) if full else (),
        in_session=isinstance(kind, str) and kind.startswith(_CALL) and kind != _THROTTLED,
    )


def _locators(seq: int, line: bytes, record: Mapping[str, Any] | None) -> tuple[object, ...]:
    leaf = leaf_hash(line).hex()
    if record is None:
        return (seq, leaf, None, None, None, None, None, None, None, None)
    kind = text(record, "type")
    # Sessions are found by all four values, which may be empty.
    of_call = kind.startswith(_CALL)
    return (
        seq,
        leaf,
        _storable(kind),
        _or_none(text(record, "call")),
        _storable(text(record, "session")) if of_call else None,
        _storable(text(record, "tenant")) if of_call else None,
        _storable(text(record, "principal", "id")) if of_call else None,
        _storable(text(record, "agent", "id")) if of_call else None,
        _or_none(text(record, "approval", "id")),
        _small(integer(record, "approval", "ordinal")),
    )


def _shown(line: bytes, record: Mapping[str, Any] | None) -> tuple[object, ...]:
    if record is None:
        return (None,) * (len(_SHOWN) - 1) + (len(line),)
    decision = obj(record, "decision")
    properties = obj(record, "input", "action", "properties")
    reproducible = record.get("reproducible")
    ms = record.get("ms")
    return (
        _or_none(text(record, "ts")),
        _or_none(text(record, "tool", "name")),
        _or_none(text(record, "tool", "server")),
        _or_none(text(decision, "effect")),
        _or_none(text(decision, "cause")),
        _or_none(text(decision, "detail") or text(record, "reason")),
        _or_none(text(record, "status")),
        _small(integer(record, "decision_seq")),
        _rules(decision),
        _removed(record),
        _or_none(text(record, "enforcement")),
        _or_none(text(record, "origin", "adapter")),
        _or_none(text(record, "origin", "host")),
        _or_none(text(record, "input", "context", "model", "name")),
        int(reproducible) if isinstance(reproducible, bool) else None,
        number(record, "ms", "total") if isinstance(ms, Mapping) else number(record, "ms"),
        _json(properties.get("args")),
        _json(record.get("result")),
        _or_none(_message(decision)),
        _json(record.get("error")),
        len(line),
    )


def _entries(decision: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rules = decision.get("rules")
    return [each for each in rules if isinstance(each, Mapping)] if isinstance(rules, list) else []


def _rules(decision: Mapping[str, Any]) -> str | None:
    names = [text(each, "rule") for each in _entries(decision)]
    return _json(names) if names else None


def _removed(record: Mapping[str, Any]) -> str | None:
    classes = {
        each[0]
        for each in obj(record, "redaction", "removed").values()
        if isinstance(each, list) and each and isinstance(each[0], str)
    }
    return _json(sorted(classes)) if classes else None


def _message(decision: Mapping[str, Any]) -> str:
    messages = [text(decision, "message"), *(text(each, "message") for each in _entries(decision))]
    return "\n".join(filter(None, messages))


def tokens_of(line: bytes) -> tuple[tuple[str, str], ...]:
    """Return each token in *line*, with its class."""
    found = {match[0].decode("ascii"): match[1].decode("ascii") for match in _TOKEN.finditer(line)}
    return tuple(found.items())


def _json(value: object) -> str | None:
    if value is None:
        return None
    try:
        return dumps(value).decode("utf-8")
    except RecordError:
        return None  # a lone surrogate, which only a foreign line contains


def _or_none(value: str) -> str | None:
    return _storable(value) if value else None


def _storable(value: str) -> str:
    """Return *value* with lone surrogates escaped, because SQLite can't store them."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _small(value: int | None) -> int | None:
    return value if value is not None and -_MOST <= value < _MOST else None
