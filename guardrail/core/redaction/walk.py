"""Walks a tree of arguments once: copies it, and collects every value that must not be recorded
unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.hidden import hidden
from guardrail.core.redaction.cut_strings import searched_part
from guardrail.core.redaction.limits import Limits
from guardrail.core.redaction.marks import is_mark
from guardrail.core.redaction.name_marks import (
    LONG_NAME,
    mark_and_hint,
    marks_of_elements,
    may_name,
    plain_key,
)
from guardrail.core.redaction.row_marks import Columns, columns_of, marks_of_cells
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.core.redaction.scan import Spend, add_known_and_names, detect, join, unmetered
from guardrail.core.redaction.schema_marks import Mark, SchemaNode, merge_marks
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.redaction.spans import Hit
from guardrail.core.redaction.values import (
    SCHEMA_WORDS,
    Nested,
    Path,
    RepeatedKeyError,
    is_opaque,
    is_sized,
    measure,
    number_text,
    object_of_unique_keys,
    octets,
    plain_value,
    unwritable,
    whole_number,
)
from guardrail.errors import RedactionError

__all__ = ["Limits", "Nested", "Walk"]

# The walk runs for every argument of every call. Its methods take arguments by position, because
# names would add to the time of each member.
# ruff: noqa: PLR0917

_PER_KEY = 32
_SPELL = 16
_PER_SPELL = 64
"""Amount of work that is reported at once for ``_SPELL`` list elements."""
_FLAGS_TOO = frozenset({"secret", "health", "special", "biometric"})


# These fields of an object that a name classifies say nothing about a person.
_FACTS = frozenset(
    {"amount", "currency", "price", "total", "quantity", "count", "status", "created_at", "updated_at", "createdAt", "updatedAt"}
)  # fmt: skip
_OF_FACTS = frozenset({"payment", "contact", "name", "person_id"})


def _is_by_name(mark: Mark) -> bool:
    """Return True if nothing but the name of a key made the classification."""
    return all(rule.startswith("key:") for rule in mark[1])


def _below(mark: Mark, name: str) -> Mark | None:
    """Return the classification of the field *name* in an object with the classification *mark*."""
    return None if name in _FACTS and mark[0] in _OF_FACTS and _is_by_name(mark) else mark


@hidden
@dataclass(slots=True)
class Walk:
    """The result of the walk. The copy is made during the walk; nothing in it has been replaced
    yet.
    """

    limits: Limits
    token: Callable[[str, str], str]
    spend: Spend = unmetered
    """Called with the amount of work before the work is done."""
    rules: Rules = BUILT_IN
    slots: list[tuple[Any, Any, Path, str, Mark | None, Mark | None]] = field(default_factory=list)
    """Values to scan: (container, key, path, text, classification of the whole, hint that random
    text is a secret). If a string is very long, the text is only its beginning.
    """
    hidden: list[tuple[Any, Any, Path, str, Mark]] = field(default_factory=list)
    """Values of class ``secret`` that are replaced as a whole, unscanned."""
    keys: list[tuple[dict[str, Any], str, Path, Mark | None]] = field(default_factory=list)
    """Keys that may be data. They are scanned like values; a classified key is always replaced."""
    names: list[str] = field(default_factory=list)
    """All keys, for comparison with known values."""
    owners: list[dict[str, Any]] = field(default_factory=list)
    """Every object of the copy, with its path in ``paths``."""
    nested: list[Nested] = field(default_factory=list)
    pieces: list[tuple[Any, Any, Path, object]] = field(default_factory=list)
    """Values that are opaque or too deep, of which only kind, size and token are recorded."""
    cut: bool = False
    """True if only the beginning of a long string is recorded."""
    paths: dict[int, Path] = field(default_factory=dict)
    known_names: bool = False
    """True if a key contains a known value."""
    met_known: bool = False
    """True if a value known to the session was found in a value or a key."""
    count: int = 0
    _depth: int = 0
    """Number of objects, lists and JSON strings around the current value."""
    _level: int = 0
    """Number of JSON strings around the current value."""
    _parent: dict[str, Any] | None = None
    """The object that holds the list to be walked next."""
    _columns: Columns | None = None
    """The names of the columns of the table around the current value."""
    _texts: list[str] = field(default_factory=list)
    _joined: str = ""

    def value(
        self,
        value: object,
        holder: Any,
        key: Any,
        path: Path,
        node: SchemaNode | None,
        mark: Mark | None,
        hint: Mark | None,
    ) -> None:
        """Store a copy of *value* at ``holder[key]``, and list the required replacements."""
        kind = type(value)
        if kind is str:
            self._string(value, holder, key, path, node, mark, hint)  # type: ignore[arg-type]
        elif value is None:
            holder[key] = None
        elif kind is bool:
            holder[key] = value
            # A flag under a name ("full_name": true) contains no data. Only values that a schema or
            # a definite key classifies are replaced.
            if mark is not None and (mark[0] in _FLAGS_TOO or not mark[1][0].startswith("key:")):
                self._whole(holder, key, path, "true" if value else "false", mark, hint)
        elif kind is int or kind is float:
            odd = unwritable(value)  # type: ignore[arg-type]
            if odd is not None:
                holder[key] = odd
                return
            holder[key] = value
            if mark is not None:
                self._whole(holder, key, path, number_text(value), mark, hint)  # type: ignore[arg-type]
            elif kind is float or abs(value) > self.rules.unscanned:  # type: ignore[arg-type]
                self.slots.append((holder, key, path, number_text(value), None, hint))  # type: ignore[arg-type]
        elif kind is dict:
            self._object(value, holder, key, path, node, mark, hint)  # type: ignore[arg-type]
        elif kind is list or kind is tuple:
            self._list(value, holder, key, path, node, mark, hint)  # type: ignore[arg-type]
        else:
            self._foreign(value, holder, key, path, node, mark, hint)

    def _foreign(
        self,
        value: Any,
        holder: Any,
        key: Any,
        path: Path,
        node: SchemaNode | None,
        mark: Mark | None,
        hint: Mark | None,
    ) -> None:
        if issubclass(type(value), bytes | bytearray | memoryview):
            self._omit(octets(value), holder, key, path)
        else:
            self.value(plain_value(value), holder, key, path, node, mark, hint)

    def _omit(self, value: object, holder: Any, key: Any, path: Path) -> None:
        """Leave a value out of the copy: only its kind, size and token are recorded."""
        holder[key] = None
        self.pieces.append((holder, key, path, value))

    def _whole(
        self, holder: Any, key: Any, path: Path, text: str, mark: Mark, hint: Mark | None
    ) -> None:
        if mark[0] == "secret":
            # No class is stricter, so detectors could only add names of rules.
            self.hidden.append((holder, key, path, text, mark))
        else:
            self.slots.append((holder, key, path, text, mark, hint))

    def _string(
        self,
        text: str,
        holder: Any,
        key: Any,
        path: Path,
        node: SchemaNode | None,
        mark: Mark | None,
        hint: Mark | None,
    ) -> None:
        holder[key] = text
        if mark is not None:
            if not text or is_mark(text):
                return
            if text in SCHEMA_WORDS and key in {"type", "format"} and _is_by_name(mark):
                return
            self._whole(holder, key, path, text, mark, hint)
            return
        size = len(text)
        if size > 1:
            first = text[0]
            if first == "g" and is_mark(text):
                return
            if first in '{[" \n\r\t' and self._json(text, holder, key, path, node, hint):
                return
            if size >= 128:
                if is_opaque(text):
                    self.pieces.append((holder, key, path, text))
                    return
                text = searched_part(text, self.limits.searched, self.limits.past)
        self.slots.append((holder, key, path, text, None, hint))

    def _json(
        self,
        text: str,
        holder: Any,
        key: Any,
        path: Path,
        node: SchemaNode | None,
        hint: Mark | None,
    ) -> bool:
        """Walk the content of a JSON string.

        Return False if it is not JSON or is treated as plain text.
        """
        stripped = text.strip()
        if (
            not stripped
            or stripped[0] + stripped[-1] not in {"{}", "[]", '""'}
            or len(text) > self.limits.json_string
        ):
            return False
        if self._level >= self.limits.json_depth:
            self.pieces.append((holder, key, path, text))
            return True
        self.spend(len(text))
        try:
            parsed = json.loads(
                stripped, object_pairs_hook=object_of_unique_keys, parse_int=whole_number
            )
        except (RepeatedKeyError, RecursionError):
            # Readers disagree on which of two equal keys counts, and values that are nested too
            # deeply can't be searched, so neither is recorded.
            self.pieces.append((holder, key, path, text))
            return True
        except ValueError:
            return False
        box: list[Any] = [None]
        inner = None if node is None else node.content()
        mark = None if inner is None else inner.mark
        self._depth += 1
        self._level += 1
        self.value(parsed, box, 0, path, inner, mark, hint)
        self._level -= 1
        self._depth -= 1
        self.nested.append(Nested(holder, key, text, box, parsed, path))
        return True

    def _object(  # noqa: PLR0912 - a call for each member would cost as much as the work
        self,
        source: dict[str, Any],
        holder: Any,
        key: Any,
        path: Path,
        node: SchemaNode | None,
        mark: Mark | None,
        hint: Mark | None,
    ) -> None:
        size, depth = len(source), self._depth
        self.count += size
        if depth >= self.limits.depth or self.count > self.limits.nodes:
            self._omit(source, holder, key, path)
            return
        # Inside a classified value, anything can reveal the hidden value, even a length.
        if mark is None and "$t" in source and is_sized(source):
            holder[key] = dict(source)
            return
        out: dict[str, Any] = {}
        holder[key] = out
        self.owners.append(out)
        self.paths[id(out)] = path
        # A class from a schema or a policy applies to keys as well, one from a name only to values.
        hidden = mark if mark is not None and not mark[1][0].startswith("key:") else None
        self._depth = depth + 1
        many = size > _SPELL
        if not many:
            self.spend(_PER_KEY * size)
        for raw, value in source.items():
            if many:
                self.spend(_PER_KEY)
            name = raw if type(raw) is str else plain_key(raw)
            known = self.rules.mark_of_key(name) if len(name) <= 64 else LONG_NAME
            below, child, key_mark = mark and _below(mark, name), None, hidden
            if node is not None:
                child = node.child(name)
                if child is not None and child.mark is not None:
                    below = merge_marks(below, child.mark)
                key_mark = merge_marks(None if node.declares(name) else hidden, node.key_mark)
            place, is_data, below_hint = (path, out, name), key_mark is not None, hint
            if known is not None:
                info_mark, info_hint = mark_and_hint(known, name, value, source, path)
                if info_mark is not None:
                    below = merge_marks(below, info_mark)
                below_hint = info_hint or hint
                is_data = is_data or known[3]
            if is_data:
                self.keys.append((out, name, place, key_mark))
            if type(value) is str:
                self._string(value, out, name, place, child, below, below_hint)
            elif type(value) is list or type(value) is tuple:
                self._parent = source
                self._list(value, out, name, place, child, below, below_hint)
            else:
                self.value(value, out, name, place, child, below, below_hint)
        self._depth = depth
        if len(out) != size:  # a key of a subclass of str has its own __eq__
            raise RedactionError("an object contains a key twice", code="redaction.type")
        self.names.extend(out)

    def _list(
        self,
        source: list[Any] | tuple[Any, ...],
        holder: Any,
        key: Any,
        path: Path,
        node: SchemaNode | None,
        mark: Mark | None,
        hint: Mark | None,
    ) -> None:
        parent, self._parent = self._parent, None
        size, depth = len(source), self._depth
        self.count += size
        if depth >= self.limits.depth or self.count > self.limits.nodes:
            self._omit(list(source), holder, key, path)
            return
        out: list[Any] = [None] * size
        holder[key] = out
        pair = type(holder) is list
        named = None
        if (size > 1 or (size and parent)) and may_name(source, pair):
            named = marks_of_elements(source, pair=pair, parent=parent)
        outer = self._columns
        self._columns = columns_of(source, parent, key, self.rules.mark_of_key) or outer
        if self._columns is not None:
            self.spend(_PER_KEY * size)
            cells = marks_of_cells(self._columns, source, self.rules.mark_of_key)
            named = {**cells, **named} if named else cells
        self._depth = depth + 1
        for index, value in enumerate(source):
            if not index % _SPELL:
                self.spend(_PER_SPELL)
            child = node.item(index) if node is not None else None
            below = merge_marks(mark, child.mark) if child is not None else mark
            if named is not None and index in named:
                below = merge_marks(below, named[index])
            self.value(value, out, index, (path, out, index), child, below, hint)
        self._depth = depth
        self._columns = outer

    def hits(self) -> list[list[Hit]]:
        """Return the detectors' hits in each slot, followed by each key of ``keys``.

        Classified values are scanned only for secrets, because no other class is stricter.
        """
        marked = [slot[3] for slot in self.slots if slot[4] is not None]
        self._texts, self._joined = join(
            [
                *[slot[3] for slot in self.slots if slot[4] is None],
                *[entry[1] for entry in self.keys],
            ],
            self.spend,
        )
        clear: list[list[Hit]] = [[] for _ in self._texts]
        if clear:
            detect(self.rules.scan, self._texts, self._joined, clear, self.spend)
        if not marked:
            return clear
        marked, joined = join(marked, self.spend)
        whole: list[list[Hit]] = [[] for _ in marked]
        detect(self.rules.scan_secrets, marked, joined, whole, self.spend)
        # The hits are put back into the order of the slots. The lists themselves are shared.
        of_clear, of_marked = iter(clear), iter(whole)
        return [
            *(next(of_clear if slot[4] is None else of_marked) for slot in self.slots),
            *of_clear,
        ]

    def add_known(
        self, hits: list[list[Hit]], memory: Memory, supplied: frozenset[str] = frozenset()
    ) -> None:
        """Add the session's known sensitive values to *hits*, except values that the schema itself
        *supplied*. *memory* contains at least one value.
        """
        clear = [found for slot, found in zip(self.slots, hits, strict=False) if slot[4] is None]
        clear += hits[len(self.slots) :]
        # A single search covers values and keys. It nearly always yields either the positions in
        # the values or nothing.
        self.met_known, self.known_names = add_known_and_names(
            self._texts, self._joined, self.names, memory, clear, self.spend
        )
        if self.met_known and supplied:
            for text, dealt in zip(self._texts, clear, strict=True):
                if dealt and text in supplied:
                    dealt[:] = [hit for hit in dealt if hit.rule != "known"]
        for entry, own in zip(self.slots, hits, strict=False):
            # Classified values are always replaced; a known secret is replaced without a token.
            if entry[4] is not None and not own and memory.class_of(entry[3]) == "secret":
                self.met_known = True
                own.append(Hit(0, len(entry[3]), "secret", "known"))

    @property
    def size(self) -> int:
        """Rough minimum size of a view in characters."""
        return len(self._joined) + sum(map(len, self.names)) + 12 * self.count

    def path_of(self, owner: dict[str, Any]) -> Path:
        """Return the path of an object in the copy."""
        return self.paths[id(owner)]

    def sized(self, value: object) -> dict[str, Any]:
        """Return the recorded form of a value that is too long or too deep: its kind, size and
        token.
        """
        kind, size, data = measure(value)
        return {
            "$t": kind,
            "len": size,
            "tok": self.token("data", hashlib.sha256(data).hexdigest()),
        }
