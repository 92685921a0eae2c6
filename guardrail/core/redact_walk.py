"""One walk over a tree of arguments: a copy of it, and every place in it that must not be recorded as it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from guardrail.core.detectors import JOINT, Hit, scan, scan_secrets
from guardrail.core.keynames import Scope, classify, rank, stricter
from guardrail.core.marks import is_mark, needs_normalising, normalised
from guardrail.core.memory import Memory
from guardrail.core.record import dumps
from guardrail.core.redact_schema import Mark, SchemaNode, merge_marks
from guardrail.errors import RecordError, RedactionError

__all__ = ["Limits", "Path", "Walk", "canonical", "escape", "is_sized", "merge_hits", "number_text", "pointer", "remember"]

Path = tuple[Any, dict[str, Any] | list[Any], "str | int"] | None
"""(path of the parent, the container in the copy, key or index); None at the root."""


_FLAGS_TOO = frozenset({"secret", "health", "special", "biometric"})
_INFINITE = (float("inf"), float("-inf"))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is looked at and recorded. What lies beyond is recorded as kind, size and token."""

    string: int = 16_384
    """Characters of a string that is kept whole; of a longer one, its head."""
    head: int = 256
    """Characters of a longer string that are kept."""
    depth: int = 32
    """Levels of objects and lists."""
    nodes: int = 5_000
    """Members and elements in all, those inside JSON strings included."""
    json_string: int = 65_536
    """Characters of a string that is parsed as JSON."""
    json_depth: int = 16
    """How many JSON strings may be nested in one another."""
    recorded: int = 40_960
    """Bytes of the recorded view; the pointers that tell what was removed get a fifth of it more, twice."""
    result: int = 65_536
    """Characters of a result that are searched for sensitive values."""
    message: int = 1_000
    """Characters of an exception's message that are kept."""


@dataclass(slots=True)
class Nested:
    """A JSON string that was parsed: its place, and its content as walked."""

    holder: dict[str, Any] | list[Any]
    key: str | int
    text: str
    box: list[Any]
    """One element: the content."""
    parsed: Any
    path: Path


@dataclass(slots=True)
class Walk:
    """What the walk found. The copy is built while walking; nothing in it has been replaced yet."""

    limits: Limits
    token: Callable[[str, str], str]
    slots: list[tuple[Any, Any, Path, str, Mark | None, Mark | None]] = field(default_factory=list)
    """Values to scan: (container, key, path, text, mark of the whole, hint that random means secret)."""
    sealed: list[tuple[Any, Any, Path, str, Mark]] = field(default_factory=list)
    """Values of class ``secret`` that go as a whole, unscanned."""
    keys: list[tuple[dict[str, Any], str, Path, Mark | None]] = field(default_factory=list)
    """Keys that may be data: scanned like values; with a mark they go in any case."""
    names: list[str] = field(default_factory=list)
    """All keys, to be compared with known values."""
    owners: list[dict[str, Any]] = field(default_factory=list)
    """Every object of the copy, with its path in ``paths``."""
    nested: list[Nested] = field(default_factory=list)
    pieces: list[tuple[Any, Any, Path, object]] = field(default_factory=list)
    """Values that are too long or too deep: recorded by kind, size and token."""
    paths: dict[int, Path] = field(default_factory=dict)
    known_names: bool = False
    """A key holds a known value."""
    count: int = 0
    _texts: list[str] = field(default_factory=list)
    _joined: str = ""
    _clear: list[list[Hit]] = field(default_factory=list)

    def value(self, value: object, holder: Any, key: Any, path: Path, node: SchemaNode | None, mark: Mark | None, hint: Mark | None, depth: int, level: int) -> None:
        """Put the copy of *value* at ``holder[key]`` and note what must happen to it.

        *depth* counts objects and lists, *level* JSON strings inside one another.
        """
        kind = type(value)
        if kind is str:
            self._string(value, holder, key, path, mark, hint, depth, level)  # type: ignore[arg-type]
        elif value is None:
            holder[key] = None
        elif kind is bool:
            holder[key] = value
            # A flag beside a name ("full_name": true) says nothing; only what a schema marks, or a key in earnest, goes.
            if mark is not None and (mark[0] in _FLAGS_TOO or not mark[1][0].startswith("key:")):
                self._whole(holder, key, path, "true" if value else "false", mark, hint)
        elif kind is int or kind is float:
            if value != value or value in _INFINITE:
                holder[key] = {"$t": "float"}
                return
            holder[key] = value
            if mark is not None:
                self._whole(holder, key, path, number_text(value), mark, hint)  # type: ignore[arg-type]
            elif not -99_999 <= value <= 99_999 or kind is float:  # type: ignore[operator]
                self.slots.append((holder, key, path, number_text(value), None, hint))  # type: ignore[arg-type]
        elif kind is dict:
            self._object(value, holder, key, path, node, mark, hint, depth, level)  # type: ignore[arg-type]
        elif kind is list or kind is tuple:
            self._list(value, holder, key, path, node, mark, hint, depth, level)  # type: ignore[arg-type]
        else:
            self._foreign(value, holder, key, path, node, mark, hint, depth, level)

    def _foreign(self, value: object, holder: Any, key: Any, path: Path, node: SchemaNode | None, mark: Mark | None, hint: Mark | None, depth: int, level: int) -> None:
        # The plain type's own methods are used: a subclass may answer anything.
        plain: object
        if isinstance(value, str):
            plain = str.__str__(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            holder[key] = None
            self.pieces.append((holder, key, path, bytes(value)))
            return
        elif isinstance(value, int):
            plain = int.__int__(value)
        elif isinstance(value, float):
            plain = float.__float__(value)
        elif isinstance(value, dict):
            plain = dict(dict.items(value))
        elif isinstance(value, list):
            plain = list(list.__iter__(value))
        elif isinstance(value, tuple):
            plain = list(tuple.__iter__(value))
        else:
            raise RedactionError("a value is not JSON and can't be redacted", code="redaction.type")
        self.value(plain, holder, key, path, node, mark, hint, depth, level)

    def _whole(self, holder: Any, key: Any, path: Path, text: str, mark: Mark, hint: Mark | None) -> None:
        if mark[0] == "secret":
            # Nothing is stricter: detectors could only add names.
            self.sealed.append((holder, key, path, text, mark))
        else:
            self.slots.append((holder, key, path, text, mark, hint))

    def _string(self, text: str, holder: Any, key: Any, path: Path, mark: Mark | None, hint: Mark | None, depth: int, level: int) -> None:
        holder[key] = text
        if mark is not None:
            if not text or is_mark(text):
                return
            self._whole(holder, key, path, text, mark, hint)
            return
        size = len(text)
        if size > 1:
            first = text[0]
            if first == "g" and is_mark(text):
                return
            if first in "{[\" \n\r\t" and self._json(text, holder, key, path, hint, depth, level):
                return
            if size >= 128 and (size > self.limits.string or _opaque(text)):
                self.pieces.append((holder, key, path, text))
                return
        self.slots.append((holder, key, path, text, None, hint))

    def _json(self, text: str, holder: Any, key: Any, path: Path, hint: Mark | None, depth: int, level: int) -> bool:
        """Walk the content of a JSON string. Returns False where it is none, or plain text after all."""
        stripped = text.strip()
        if not stripped or stripped[0] + stripped[-1] not in {"{}", "[]", '""'} or len(text) > self.limits.json_string:
            return False
        if level >= self.limits.json_depth:
            self.pieces.append((holder, key, path, text))
            return True
        try:
            parsed = json.loads(stripped, object_pairs_hook=_unique)
        except _RepeatedKey:
            # Which of two equal keys counts depends on the reader: neither is recorded.
            self.pieces.append((holder, key, path, text))
            return True
        except (ValueError, RecursionError):
            return False
        box: list[Any] = [None]
        self.value(parsed, box, 0, path, None, None, hint, depth + 1, level + 1)
        self.nested.append(Nested(holder, key, text, box, parsed, path))
        return True

    def _object(self, source: dict[str, Any], holder: Any, key: Any, path: Path, node: SchemaNode | None, mark: Mark | None, hint: Mark | None, depth: int, level: int) -> None:
        self.count += len(source)
        if depth >= self.limits.depth or self.count > self.limits.nodes:
            holder[key] = None
            self.pieces.append((holder, key, path, source))
            return
        if "$t" in source and is_sized(source):
            holder[key] = dict(source)
            return
        out: dict[str, Any] = {}
        holder[key] = out
        self.owners.append(out)
        self.paths[id(out)] = path
        # Whoever marked what is above by schema or policy marked keys as well; a key name above speaks of values only.
        sealed = mark if mark is not None and not mark[1][0].startswith("key:") else None
        for name, value in source.items():
            if type(name) is not str:
                name = _plain_key(name)
            known = _named_short(name) if len(name) <= 64 else _LONG_NAME
            below, child, key_mark = mark, None, sealed
            if node is not None:
                child = node.child(name)
                if child is not None and child.mark is not None:
                    below = merge_marks(below, child.mark)
                key_mark = merge_marks(None if node.declares(name) else sealed, node.key_mark)
            if known is None:
                below_hint = hint
            else:
                info_mark, info_hint, container_only, odd = known
                if info_mark is not None and not (container_only and type(value) is not dict and type(value) is not list):
                    below = merge_marks(below, info_mark)
                below_hint = info_hint or hint
                if odd and key_mark is None:
                    self.keys.append((out, name, (path, out, name), None))
            place = (path, out, name)
            if key_mark is not None:
                self.keys.append((out, name, place, key_mark))
            if type(value) is str:
                self._string(value, out, name, place, below, below_hint, depth + 1, level)
            else:
                self.value(value, out, name, place, child, below, below_hint, depth + 1, level)
        self.names.extend(out)

    def _list(self, source: list[Any] | tuple[Any, ...], holder: Any, key: Any, path: Path, node: SchemaNode | None, mark: Mark | None, hint: Mark | None, depth: int, level: int) -> None:
        self.count += len(source)
        if depth >= self.limits.depth or self.count > self.limits.nodes:
            holder[key] = None
            self.pieces.append((holder, key, path, list(source)))
            return
        out: list[Any] = [None] * len(source)
        holder[key] = out
        for index, value in enumerate(source):
            child = node.item(index) if node is not None else None
            below = merge_marks(mark, child.mark) if child is not None else mark
            self.value(value, out, index, (path, out, index), child, below, hint, depth + 1, level)

    def hits(self) -> list[list[Hit]]:
        """Return what detectors find in each slot, and after them in each key of ``keys``.

        Of what is marked anyway only a secret would be treated more strictly: it is asked about that alone.
        """
        marked = [slot[3] for slot in self.slots if slot[4] is not None]
        self._texts, self._joined = _join([*[slot[3] for slot in self.slots if slot[4] is None], *[entry[1] for entry in self.keys]])
        clear: list[list[Hit]] = [[] for _ in self._texts]
        if clear:
            found = scan(self._joined)
            if found:
                _deal(found, self._texts, clear)
        self._clear = clear
        if not marked:
            return clear
        marked, joined = _join(marked)
        whole: list[list[Hit]] = [[] for _ in marked]
        found = scan_secrets(joined)
        if found:
            _deal(found, marked, whole)
        # Back into the order of the slots; the lists themselves are shared.
        of_clear, of_marked = iter(clear), iter(whole)
        return [*(next(of_clear if slot[4] is None else of_marked) for slot in self.slots), *of_clear]

    def add_known(self, hits: list[list[Hit]], memory: Memory) -> None:
        """Add to *hits* what the session knows to be sensitive."""
        if not len(memory):
            return
        # Keys are looked at together with the values: one search says that there is nothing, as is usual.
        if memory.find(JOINT.join(self._texts + self.names)):
            self.known_names = bool(self.names) and bool(memory.find(JOINT.join(self.names)))
            if self._texts:
                _deal_known(self._texts, self._joined, memory, self._clear)
        for entry, found in zip(self.slots, hits, strict=False):
            # What is marked goes in any case. As a known secret it goes without a token as well.
            if entry[4] is not None and memory.class_of(entry[3]) == "secret":
                found.append(Hit(0, len(entry[3]), "secret", "known"))

    @property
    def size(self) -> int:
        """About how many characters a view takes at least."""
        return len(self._joined) + sum(map(len, self.names)) + 12 * self.count

    def path_of(self, owner: dict[str, Any]) -> Path:
        """Return the path of an object of the copy."""
        return self.paths[id(owner)]

    def shows_head(self, text: str) -> bool:
        """Return whether the beginning of a long string is worth showing: not of data that no person reads."""
        return len(text) > self.limits.string and not _opaque(text)

    def sized(self, value: object) -> dict[str, Any]:
        """Return what is recorded of a value that is too long or too deep: kind, size and token."""
        if isinstance(value, str):
            kind, size, octets = "str", len(value), value.encode("utf-8", "surrogatepass")
        elif isinstance(value, bytes):
            kind, size, octets = "bytes", len(value), value
        else:
            kind, size = ("object" if isinstance(value, dict) else "array"), len(value)  # type: ignore[arg-type]
            try:
                octets = dumps(value)
            except RecordError:
                raise RedactionError("a value is not JSON and can't be redacted", code="redaction.type") from None
        return {"$t": kind, "len": size, "tok": self.token("data", hashlib.sha256(octets).hexdigest())}


def scan_all(texts: list[str], memory: Memory) -> list[list[Hit]]:
    """Return the hits of each text, as if each were scanned alone. Positions are those in the normalised text."""
    out: list[list[Hit]] = [[] for _ in texts]
    if not texts:
        return out
    texts, joined = _join(texts)
    found = scan(joined)
    if found:
        _deal(found, texts, out)
    if len(memory):
        _deal_known(texts, joined, memory, out)
    return out


def _join(texts: list[str]) -> tuple[list[str], str]:
    joined = JOINT.join(texts)
    if not joined.isascii() or "\x01" in joined or joined.count(JOINT) >= len(texts) > 0:
        texts = [normalised(text) if needs_normalising(text) else text for text in texts]
        joined = JOINT.join(texts)
    return texts, joined


def _deal(found: list[Hit], texts: list[str], out: list[list[Hit]]) -> None:
    index, start = 0, 0
    end = len(texts[0])
    for hit in found:
        while hit.start >= end:
            start = end + 1
            index += 1
            end = start + len(texts[index])
        out[index].append(Hit(hit.start - start, min(hit.end, end) - start, hit.cls, hit.rule))


def _deal_known(texts: list[str], joined: str, memory: Memory, out: list[list[Hit]]) -> None:
    known = memory.find(joined)
    if not known:
        return
    if "%" in joined or "\\" in joined:
        # A value behind escapes makes the whole text go, and the whole must be one text.
        new = [[Hit(hit.start, hit.end, hit.cls, "known") for hit in memory.find(text)] for text in texts]
    else:
        new = [[] for _ in texts]
        _deal([Hit(hit.start, hit.end, hit.cls, "known") for hit in known], texts, new)
    for index, hits in enumerate(new):
        if hits:
            # What a detector or a mark just made known is found again here: that is no second rule.
            before = out[index]
            fresh = [hit for hit in hits if not any(old.start <= hit.start and hit.end <= old.end for old in before)]
            if fresh:
                before[:] = merge_hits([*before, *fresh])


def merge_hits(hits: list[Hit]) -> list[Hit]:
    """Return *hits* in order, those that overlap joined into one of the stricter class."""
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    out = hits[:1]
    for hit in hits[1:]:
        last = out[-1]
        if hit.start < last.end:
            rule = last.rule if hit.rule in last.rule.split("+") else f"{last.rule}+{hit.rule}"
            out[-1] = Hit(last.start, max(last.end, hit.end), stricter(last.cls, hit.cls), rule)
        else:
            out.append(hit)
    return out


@lru_cache(maxsize=4096)
def _named_short(name: str) -> tuple[Mark | None, Mark | None, bool, bool] | None:
    """Return what a key says: mark, hint, whether the mark is for containers only, oddness; None where it says nothing."""
    info = classify(name)
    if info.cls is None and not info.hints_secret and not info.odd:
        return None
    # The class, not the name: a name can be a value elsewhere, and the pointer shows it where it may be shown.
    rules = (f"key:{info.cls or 'hint'}",)
    mark = Mark(info.cls, rules) if info.cls is not None else None
    hint = Mark("secret", rules) if info.hints_secret and info.cls is None else None
    return mark, hint, info.scope is Scope.CONTAINER, info.odd


_LONG_NAME = (None, None, False, True)


class _RepeatedKey(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise _RepeatedKey
    return out


def _plain_key(name: object) -> str:
    if isinstance(name, str):
        return str.__str__(name)
    raise RedactionError("a key is not a string", code="redaction.type")


_SIZED_KEYS = frozenset({"$t", "len", "tok", "head"})
_SIZED_KINDS = frozenset({"str", "int", "float", "bool", "bytes", "object", "array", "base64"})


def is_sized(value: dict[str, Any]) -> bool:
    """Return whether *value* is what guardrail itself records of a value that it does not show."""
    kind = value.get("$t")
    if type(kind) is not str or kind not in _SIZED_KINDS or "head" in value or not value.keys() <= _SIZED_KEYS:
        return False
    token, size = value.get("tok"), value.get("len", 0)
    return type(size) is int and (token is None or (type(token) is str and is_mark(token)))


_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{128,}={0,2}\Z")
_DATA_URL = re.compile(r"data:[\w.+\-/;=]{0,80},")


def _opaque(text: str) -> bool:
    if text.startswith("data:") and _DATA_URL.match(text):
        return True
    return " " not in text[:128] and _BASE64.match(text.replace("\n", "").replace("\r", "")) is not None


def number_text(value: float) -> str:
    """Return a number as JSON shows it; of an integer of hundreds of digits, its hexadecimal form."""
    if isinstance(value, int) and value.bit_length() > 2_048:
        return hex(value)
    return repr(value)


_JOINERS = re.compile(r"[\s\-.()/]+")


def canonical(cls: str, value: str) -> str:
    """Return the form of *value* under which its token is made, so that equal things have equal tokens."""
    if cls == "contact":
        return value.strip().lower() if "@" in value else _JOINERS.sub("", value)
    if cls in {"payment", "government_id"}:
        return _JOINERS.sub("", value).upper()
    return value


_SCHEME = re.compile(r"(?:bearer|basic|token|digest|negotiate|apikey)[ \t]+(\S{6,})", re.IGNORECASE)
_USER_PASSWORD = re.compile(r"[^\s:/]{1,200}:([^\s/]{6,})\Z")


def remember(memory: Memory, cls: str, text: str, rule: str = "") -> None:
    """Make *text* known to the session, and the secret inside ``Bearer <secret>`` or ``user:<secret>`` as well."""
    memory.remember(text, cls)
    if text[:1] in {"{", "["} and len(text) <= _MARKED_JSON:
        _remember_below(memory, cls, text, 0)
    if cls != "secret" or len(text) < 12 and rule != "url-credentials":
        return
    if text[-1:].isspace() or text[:1].isspace():
        memory.remember(text.strip(), cls)
    if " " in text:
        scheme = _SCHEME.match(text)
        if scheme is not None:
            memory.remember(scheme.group(1), cls)
    if ":" in text:
        pair = _USER_PASSWORD.match(text)
        if pair is not None:
            memory.remember(pair.group(1), cls)


_MARKED_JSON = 16_384


def _remember_below(memory: Memory, cls: str, text: str, level: int) -> None:
    """Make what a marked JSON string holds known as well: a mark holds for everything below it."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    for value in all_values(content):
        memory.remember(value, cls)
        if value[:1] in {"{", "["} and level < 4:
            _remember_below(memory, cls, value, level + 1)


def escape(part: str) -> str:
    """Return *part* as a segment of an RFC 6901 pointer."""
    return part.replace("~", "~0").replace("/", "~1") if "~" in part or "/" in part else part


def pointer(path: Path, renamed: dict[tuple[int, str], str], prefixes: dict[int, str]) -> str:
    """Return the RFC 6901 pointer of *path*, with the recorded names of keys that are themselves sensitive.

    *prefixes* keeps the pointers of containers between calls.
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
    return f"{prefix}/{escape(renamed.get((id(container), name), name) if renamed else name)}"


def all_values(value: object) -> Iterable[str]:
    """Yield every string and number in a JSON value as text, keys left out."""
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is str:
            yield item
        elif type(item) is dict:
            pending.extend(item.values())
        elif type(item) is list:
            pending.extend(item)
        elif type(item) in {int, float}:
            yield number_text(item)  # type: ignore[arg-type]


def all_strings(value: object) -> Iterable[str]:
    """Yield every string in a JSON value, keys included."""
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
