"""Records and their canonical bytes. Only this module creates or reads lines.

A record is one line of UTF-8 JSON: keys sorted by code point, no insignificant space, no line feed,
at most ``MAX_LINE`` bytes. The stored bytes are the record; verification never serialises a record
again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from guardrail.core import json_text
from guardrail.core.claims import Claim
from guardrail.core.log.effects import EffectStep, step_of_fields
from guardrail.core.log.places import Place, places_of
from guardrail.core.log.suspensions import ObeyedSuspension, SuspensionLink, link_of
from guardrail.core.state_reads import CallDecided, CallEnded, ReadStates
from guardrail.core.words import counted
from guardrail.errors import RecordError

__all__ = [
    "FORMAT_VERSION",
    "GENESIS_PREV",
    "MALFORMED",
    "MAX_DEPTH",
    "MAX_LINE",
    "Draft",
    "JsonText",
    "decode",
    "decode_or_none",
    "dumps",
    "leaf_hash",
    "parse",
]

FORMAT_VERSION = 1
MAX_LINE = 65_535
"""Maximum size of a line in bytes. It is the limit of C2SP tlog-tiles entries, so that a record can
become one later.
"""
MAX_DEPTH = 512
"""Maximum nesting depth of objects and arrays, including the line's own object. All common parsers
support this depth.
"""
GENESIS_PREV = "0" * 64
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""The errors of code that uses a field of a decoded record without checking it: the field may be
missing, of another type, or beyond any range.
"""

_LEAF = hashlib.sha256(b"\x00")
"""A leaf hash before its line. A copy of it costs less than a new hash and a longer text."""

# seq has at most 19 digits. The other fields that are inserted have a fixed length.
_SPLICE_OVERHEAD = len('"prev":"",') + 64 + len('"seq":,') + 19 + len('"ts":"",') + 27

_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


class JsonText:
    """A value that is already written as canonical JSON."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


def _plain_text(value: object) -> str | orjson.Fragment:
    # orjson is configured to refuse subclasses of str. This returns their text without running
    # their code.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError


def _read_text(value: object) -> Any:
    if isinstance(value, JsonText):
        return json.loads(value.text)
    raise TypeError


def dumps(value: object) -> bytes:
    """Return the canonical bytes of a JSON value: sorted keys, no spaces, UTF-8.

    Integers of any size are preserved exactly. Raises ``RecordError`` for values that JSON can't
    represent: lone surrogates, non-string keys and foreign objects. The caller must reject NaN and
    infinity, as ``core.schema`` does.
    """
    try:
        return orjson.dumps(value, _plain_text, _OPTIONS)
    except (TypeError, ValueError, RecursionError):
        pass
    # orjson stops at 64 bits, and the standard library accepts any integer. Floats differ in form
    # (1e16 and 1e+16), which is harmless, because a line is never serialised twice.
    try:
        text = json.dumps(
            value,
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
            default=_read_text,
            separators=(",", ":"),
        )
        encoded = text.encode("utf-8")
        # The standard library converts keys of other types to text, so two keys could become one.
        if not _text_keys(value):
            raise TypeError
        return encoded
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"a value can't be written as JSON ({type(error).__name__})") from None


def _text_keys(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                return False
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return True


def leaf_hash(line: bytes) -> bytes:
    """Return SHA-256(0x00 || line), 32 bytes: both the chain link and the Merkle leaf (RFC 6962
    section 2.1).
    """
    found = _LEAF.copy()
    found.update(line)
    return found.digest()


@dataclass(frozen=True, slots=True)
class Draft:
    """A record without the fields that the writer adds under its lock: ``prev``, ``seq`` and
    ``ts``.

    A draft is serialised in the caller's thread, so that nothing is encoded while the lock is held.
    """

    type: str
    call: str | None
    """Call id (ULID), for ``call.*`` records."""
    opens: bool
    """True for a decision that allows the call: the call is open once the record is durable, and
    needs an outcome.
    """
    process: str | None
    """``origin.process`` of the caller. The call is closed if that process dies."""
    segments: tuple[bytes, bytes, bytes, bytes]
    """Members before ``prev``, between ``prev`` and ``seq``, between ``seq`` and ``ts``, and after
    ``ts``, without braces.
    """
    approval: str | None = None
    """The approval that this record is a step of. The draft is refused if another record has its
    ``approval.ordinal``.
    """
    judged: tuple[int, bytes] | None = None
    """Size and tree of the log when this step was judged. Records added since then are proved
    before this record is written.
    """
    claim: Claim | None = None
    """The claim to the session, in the first record that a caller writes in it. The draft is
    refused if the session belongs to a different caller.
    """
    session: str | None = None
    """The session that this record claims for its caller if it is the session's first record."""
    places: tuple[Place, ...] = ()
    """The names under which the record is found."""
    obeys: ObeyedSuspension | None = None
    """The suspension that a decision obeys. The draft is refused if another one now stops the call,
    or none.
    """
    link: SuspensionLink | None = None
    """The position of a record of a suspension. The draft is refused if another such record was
    written first.
    """
    effect: EffectStep | None = None
    """The effect key that this record takes or resolves. The draft is refused if another call holds
    the key, or if it was resolved before.
    """
    reads: ReadStates | None = None
    """The states of sessions that a decision has read. The draft is refused if one of them has
    changed since. None if no policy reads states.
    """
    change: CallDecided | CallEnded | None = None
    """The change that this record makes to the states. It may be missing from a decision that has
    read no states.
    """

    @classmethod
    def build(
        cls,
        fields: Mapping[str, object],
        *,
        opens: bool = False,
        process: str | None = None,
        approval: str | None = None,
        judged: tuple[int, bytes] | None = None,
        claim: Claim | None = None,
        obeys: ObeyedSuspension | None = None,
        reads: ReadStates | None = None,
        change: CallDecided | None = None,
    ) -> Draft:
        """Serialise *fields*: the whole record, including ``type``, ``log`` and ``v``, except
        ``prev``, ``seq`` and ``ts``.

        Raises ``RecordError`` with code ``record.too_large`` if the finished line could exceed
        ``MAX_LINE``, and ``record`` if a value is not JSON.
        """
        parts: tuple[dict[str, object], ...] = ({}, {}, {}, {})
        for name, value in fields.items():
            parts[(name >= "prev") + (name >= "seq") + (name >= "ts")][name] = value
        head, early, late, tail = parts
        segments = (dumps(head)[1:-1], dumps(early)[1:-1], dumps(late)[1:-1], dumps(tail)[1:-1])
        size = sum(len(segment) + 1 for segment in segments) + 2 + _SPLICE_OVERHEAD
        if size > MAX_LINE:
            raise RecordError(
                (
                    f"the record would be about {counted(size, 'byte')} long, but the limit is "
                    f"{MAX_LINE}"
                ),
                code="record.too_large",
            )
        call, places, type_ = fields.get("call"), places_of(fields), str(fields["type"])
        ended = type_ == "call.outcome"
        return cls(
            type=type_,
            call=str(call) if call is not None else None,
            opens=opens,
            process=process,
            segments=segments,
            approval=approval,
            judged=judged,
            claim=claim,
            session=next((place.name for place in places if place.kind == "session"), None),
            places=places,
            obeys=obeys,
            link=link_of(fields),
            effect=step_of_fields(fields),
            reads=reads,
            change=CallEnded(str(call), str(fields.get("status"))) if ended else change,
        )

    def finish(self, *, seq: int, prev: str, ts: str) -> bytes:
        """Return the line. *prev* is the leaf hash of the previous line in hex, and *ts* is the
        time in RFC 3339, UTC, with microseconds and ``Z``.
        """
        head, early, late, tail = self.segments
        parts = [
            head,
            b'"prev":"%b"' % prev.encode("ascii"),
            early,
            b'"seq":%d' % seq,
            late,
            b'"ts":"%b"' % ts.encode("ascii"),
            tail,
        ]
        return b"{" + b",".join([part for part in parts if part]) + b"}"


def decode(line: bytes) -> dict[str, Any]:
    """Parse a line. Raises ``RecordError`` unless it is one JSON object.

    Unknown fields are preserved, because a later version may have added them.
    """
    try:
        value = orjson.loads(line)
    except ValueError:
        # orjson refuses integers that no float can represent; the writer keeps any integer.
        value = _parse_strictly(line)
    if not isinstance(value, dict):
        raise RecordError("a line is not a JSON object", code="record.undecodable")
    return value


def decode_or_none(line: bytes) -> dict[str, Any] | None:
    """Return the result of ``decode``, or None if *line* is not one JSON object."""
    try:
        return decode(line)
    except RecordError:
        return None


def parse(line: bytes) -> dict[str, Any]:
    """Parse a line strictly, as a verifier must, so that all readers read the same record.

    Raises ``RecordError``.

    As docs/record-format.md section 2 requires, a line is rejected if it is too long, is nested too
    deeply, is not JSON, or contains a carriage return, repeated keys or lone surrogates.
    """
    if len(line) > MAX_LINE:
        raise RecordError("a line is too long", code="record.undecodable")
    try:
        value = orjson.loads(line)
        # A line that serialises to the same bytes has no repeated key, and nothing else on which
        # parsers disagree. Objects keep the order of their keys, so nothing is sorted.
        if orjson.dumps(value) != line:
            value = _parse_strictly(line)
    except (ValueError, TypeError):
        # The line has integers that no float can represent, or more levels than orjson writes.
        value = _parse_strictly(line)
    if not isinstance(value, dict):
        raise RecordError("a line is not a JSON object", code="record.undecodable")
    return value


def _parse_strictly(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
        value = json_text.read(text)
        if "\r" not in text and _depth(value) <= MAX_DEPTH:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # this finds lone surrogates
            return value
    except (ValueError, RecursionError):
        pass
    raise RecordError("a line is not JSON", code="record.undecodable") from None


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [
            inner for item in level for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest
