"""Helpers for single values: their text, the text from which tokens are made, their pointer, and
their recorded form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from guardrail.core.hidden import hidden
from guardrail.core.log.record import dumps
from guardrail.core.redaction.entities import decode_entities, holds_entity
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.marks import is_mark
from guardrail.core.redaction.person_names import MAX_NAME as MAX_PERSON
from guardrail.core.redaction.session_memory import Memory
from guardrail.errors import RecordError, RedactionError

__all__ = [
    "MAX_BITS",
    "SCHEMA_WORDS",
    "Nested",
    "Path",
    "RepeatedKeyError",
    "all_keys",
    "all_texts",
    "all_values",
    "escape",
    "is_opaque",
    "is_sized",
    "measure",
    "number_text",
    "object_of_unique_keys",
    "octets",
    "plain_value",
    "pointer",
    "remember",
    "unwritable",
    "whole_number",
]

Path = tuple[Any, dict[str, Any] | list[Any], "str | int"] | None
"""Path of the parent, container in the copy, and key or index. None at the root."""

MAX_BITS = 2_048
"""Maximum number of bits of an integer that is written out."""
SCHEMA_WORDS = frozenset(
    [
        "string",
        "number",
        "integer",
        "boolean",
        "object",
        "array",
        "null",
        "email",
        "password",
        "date",
        "date-time",
        "uri",
    ]
)
"""Names of types and formats of JSON Schema. In ``{"email": {"type": "string"}}``, they say nothing
about an address.
"""
_SIZED_KEYS = frozenset({"$t", "len", "tok", "head"})
_SIZED_KINDS = frozenset({"str", "int", "float", "bool", "bytes", "object", "array", "base64"})


@hidden
@dataclass(slots=True)
class Nested:
    """A JSON string that was parsed: its location, and its content after the walk."""

    holder: Any
    key: Any
    text: str
    box: list[Any]
    """A list with one element, the content."""
    parsed: Any
    path: Path


def measure(value: Any) -> tuple[str, int, bytes]:
    """Return the kind and the size of *value*, and the bytes from which its token is made.

    Raises ``RedactionError`` if *value* is not JSON-serializable.
    """
    if isinstance(value, str):
        return "str", len(value), value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return "bytes", len(value), value
    try:
        data = dumps(value)
    except RecordError:
        raise RedactionError(
            "a value is not JSON-serializable, so it can't be redacted",
            code="redaction.type",
        ) from None
    return ("object" if isinstance(value, dict) else "array"), len(value), data


def is_sized(value: dict[str, Any]) -> bool:
    """Return True if *value* is guardrail's own description of a value that it does not show."""
    kind = value.get("$t")
    if (
        type(kind) is not str
        or kind not in _SIZED_KINDS
        or "head" in value
        or not value.keys() <= _SIZED_KEYS
    ):
        return False
    token, size = value.get("tok"), value.get("len", 0)
    # A size with more digits could be a telephone or card number.
    return (
        type(size) is int
        and 0 <= size < 100_000_000
        and (token is None or (type(token) is str and is_mark(token)))
    )


_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{128,}={0,2}\Z")
_DATA_URL = re.compile(r"data:[\w.+\-/;=]{0,80},")


def is_opaque(text: str) -> bool:
    if text.startswith("data:") and _DATA_URL.match(text):
        return True
    return (
        " " not in text[:128]
        and _BASE64.match(text.replace("\n", "").replace("\r", "")) is not None
    )


def number_text(value: float) -> str:
    """Return a number in its JSON form, without running the code of a subclass."""
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)


def octets(value: Any) -> bytes:
    """Return the content of a bytes-like object, without running the code of a subclass."""
    for kind in (bytes, bytearray):
        if issubclass(type(value), kind):
            return bytes(kind.__getitem__(value, slice(None)))
    return bytes(value)


def plain_value(value: Any) -> Any:
    """Return a value of a subclass of a plain type as that type, without running the subclass's
    code. Raises ``RedactionError`` for any other type.
    """
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, dict):
        return dict(dict.items(value))
    if issubclass(kind, list):
        return list(list.__iter__(value))
    if issubclass(kind, tuple):
        return list(tuple.__iter__(value))
    raise RedactionError(
        "a value is not JSON-serializable, so it can't be redacted", code="redaction.type"
    )


_SCHEME = re.compile(r"(?:bearer|basic|token|digest|negotiate|apikey)[ \t]+(\S{6,})", re.IGNORECASE)
_USER_PASSWORD = re.compile(r"[^\s:/]{1,200}:([^\s/]{6,})\Z")


def remember(memory: Memory, cls: str, text: str, rule: str = "") -> None:
    """Make *text* known to the session, and also the secret inside ``Bearer <secret>`` or
    ``user:<secret>``, and the parts of a name. *rule* is the detector that found *text*, or empty if
    the field is named for it.
    """
    memory.remember(text, cls)
    if cls == "name" and not rule and len(text) <= MAX_PERSON:
        memory.remember_name(text)
    first = text[:1]
    before_json = first in "{[" or first.isspace()
    if before_json and len(text) <= _MARKED_JSON and text.lstrip()[:1] in {"{", "["}:
        _remember_below(memory, cls, text, 0)
    if "&" in text and holds_entity(text):
        memory.remember(decode_entities(text), cls)
    if cls != "secret" or (len(text) < 12 and rule != "url-credentials"):
        return
    if text[-1:].isspace() or first.isspace():
        memory.remember(text.strip(), cls)
    if " " in text or "\t" in text:
        scheme = _SCHEME.match(text)
        if scheme is not None:
            memory.remember(scheme.group(1), cls)
    if ":" in text:
        pair = _USER_PASSWORD.match(text)
        if pair is not None:
            memory.remember(pair.group(1), cls)


_MARKED_JSON = 16_384


def _remember_below(memory: Memory, cls: str, text: str, level: int) -> None:
    """For a JSON string that was classified as sensitive, also remember the values nested in it and
    its unusual keys.
    """
    try:
        # Integers are read as text, because Python refuses to parse thousands of digits.
        content = json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return
    for name in all_keys(content):
        if classify(name).odd:
            memory.remember(name, cls)
    for value in all_values(content):
        memory.remember(value, cls)
        if value[:1] in {"{", "["} and level < 4:
            _remember_below(memory, cls, value, level + 1)


def escape(part: str) -> str:
    """Return *part* as a segment of an RFC 6901 pointer."""
    return part.replace("~", "~0").replace("/", "~1") if "~" in part or "/" in part else part


def pointer(path: Path, renamed: dict[tuple[int, str], str], prefixes: dict[int, str]) -> str:
    """Return the RFC 6901 pointer of *path*. Sensitive keys appear in their recorded form.

    *prefixes* caches the pointers of containers between calls.
    """
    if path is None:
        return ""
    parent, container, key = path
    prefix = prefixes.get(id(container))
    if prefix is None:
        prefix = prefixes[id(container)] = pointer(parent, renamed, prefixes)
    if type(key) is int:
        return f"{prefix}/{key}"
    name = str(key)
    if renamed:
        name = renamed.get((id(container), name), name)
    return f"{prefix}/{escape(name) if '~' in name or '/' in name else name}"


def all_values(value: object) -> Iterable[str]:
    """Yield every string and number in a JSON value as text, without the keys."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield str.__str__(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
        elif isinstance(item, int | float) and type(item) is not bool:
            yield number_text(item)


def all_keys(value: object) -> Iterable[str]:
    """Yield every key in a JSON value."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)


def all_texts(value: object) -> Iterable[str]:
    """Yield every string and number in a JSON value as text, including the keys."""
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is str:
            yield item
        elif type(item) is dict:
            yield from item
            pending.extend(item.values())
        elif type(item) is list:
            pending.extend(item)
        elif type(item) in {int, float}:
            yield number_text(item)  # type: ignore[arg-type]


def unwritable(value: float) -> dict[str, Any] | None:
    """Return the replacement for a number that JSON, or Python's JSON module, can't represent: one
    that is not finite or has thousands of digits.
    """
    if type(value) is float:
        return None if isfinite(value) else {"$t": "float"}
    return {"$t": "int"} if int(value).bit_length() > MAX_BITS else None


class RepeatedKeyError(ValueError):
    """A JSON text in which an object has the same key twice."""


def object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object made of *pairs*. Raises ``RepeatedKeyError``."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise RepeatedKeyError
    return out


_TOO_LONG = 1 << (MAX_BITS + 1)


def whole_number(digits: str) -> int:
    """Return *digits* as a number. If there are thousands of digits, return a placeholder number
    that is too large to be written out.
    """
    # Python refuses to parse thousands of digits; other readers do not, so the rest of the text
    # must still be searched.
    return int(digits) if len(digits) <= 1_000 else _TOO_LONG
