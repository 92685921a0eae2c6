"""What of a call is recorded: arguments, results, errors and free text, without what is sensitive in them.

Every rule is evaluated and the strictest treatment wins. Class ``secret`` gets a random mark, every other class a keyed
token. The makers of both are callables: this module holds no key and draws no random number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.core.detectors import JOINT, Hit, scan, scan_secrets, secretive
from guardrail.core.keynames import classify, rank, stricter
from guardrail.core.marks import FILLER, MARK_PREFIX, is_mark, is_mark_key, mask_marks, needs_normalising, normalised
from guardrail.core.memory import Memory
from guardrail.core.record import dumps
from guardrail.core.redact_foreign import describe_error, plain, shape
from guardrail.core.redact_pointers import bounded, parse
from guardrail.core.redact_schema import SchemaMarks
from guardrail.core.redact_walk import (
    Limits,
    Nested,
    Walk,
    all_strings,
    canonical,
    escape,
    is_sized,
    merge_hits,
    number_text,
    pointer,
    remember,
    scan_all,
)
from guardrail.errors import RecordError, RedactionError

__all__ = ["Inspection", "Limits", "Redactor", "View"]

_ROUNDS = 3
_SCHEMAS = 512
_CLEAN, _CLEAN_CHARS = 4_096, 256
# Names of guardrail's own fields, which stand beside user text in what the gate is given.
_FIELDS = frozenset(
    {"type", "bytes", "token", "items", "class", "message", "value", "null", "str", "object", "array", "int", "float", "bool"}
)
_ALWAYS_CLEAR = 6_000


@dataclass(frozen=True, slots=True)
class View:
    """What may be recorded of a value."""

    value: object
    removed: dict[str, list[str]]
    """RFC 6901 pointer -> the class, then every rule that hit there. Keys that are sensitive appear as recorded."""
    truncated: bool
    """Something was too long, too deep or too much, and is recorded by kind, size and token."""
    changed: bool
    """``value`` is not equal to what was given."""


class Inspection:
    """One argument tree, walked once: its classes for the policy, and the view that is recorded."""

    __slots__ = ("_base", "_box", "_declared", "_hits", "_memory", "_prefixes", "_redactor", "_removed", "_renamed", "_source", "_walk", "arg_classes")

    def __init__(self, redactor: Redactor, source: object, walk: Walk, box: list[Any], memory: Memory, *, declared: bool) -> None:
        self._redactor = redactor
        self._source = source
        self._walk = walk
        self._box = box
        self._memory = memory
        self._declared = declared
        self._base: View | None = None
        self._renamed: dict[tuple[int, str], str] = {}
        self._prefixes: dict[int, str] = {}
        self._removed: dict[str, list[str]] = {}
        self._hits = self._learn()
        self.arg_classes: dict[str, list[str]] = {}
        """Pointer -> classes of what stands there, for the policy."""
        self._note()

    # --- inspection ---

    def _learn(self) -> list[list[Hit]]:
        """Find what detectors and marks say, make it known to the session, then look for all that is known."""
        walk, memory = self._walk, self._memory
        hits = walk.hits()
        clean: list[str] = []
        for entry, found in zip(walk.slots, hits, strict=False):
            _, _, _, text, mark, hint = entry
            if hint is not None and mark is None and " " not in text and secretive(_unmarked(text)):
                found.append(Hit(0, len(text), "secret", hint[1][0]))
                found[:] = merge_hits(found)
            if mark is not None:
                remember(memory, _class(mark[0], found), text)
            elif not found:
                clean.append(text)
            else:
                plain_text = normalised(text) if needs_normalising(text) else text
                for hit in found:
                    remember(memory, hit.cls, plain_text[hit.start : hit.end], hit.rule)
        self._redactor.note_clean(clean)
        for _, _, _, text, _ in walk.sealed:
            remember(memory, "secret", text)
        for (_, name, _, mark), found in zip(walk.keys, hits[len(walk.slots) :], strict=True):
            # A marked key that reads like a field name is not recorded here, and not hunted elsewhere.
            if found or (mark is not None and classify(name).odd):
                memory.remember(name, _class(mark[0] if mark is not None else None, found))
        walk.add_known(hits, memory)
        self._rename(hits[len(walk.slots) :])
        return hits

    def _rename(self, key_hits: list[list[Hit]]) -> None:
        walk, memory, renamed = self._walk, self._memory, self._renamed
        for (out, name, _, mark), found in zip(walk.keys, key_hits, strict=True):
            if is_mark_key(name):
                continue
            if mark is not None or found:
                self._rename_one(out, name, _class(mark[0] if mark is not None else None, found))
            elif not self._declared:
                self._rename_one(out, name, "key")
        if walk.known_names:
            for out in walk.owners:
                for name in out:
                    cls = memory.knows(name) if (id(out), name) not in renamed else None
                    if cls is not None:
                        self._rename_one(out, name, cls)

    def _rename_one(self, out: dict[str, Any], name: str, cls: str) -> None:
        new = unique = self._redactor.seal(cls, name)
        count = 1
        taken = {key for (owner, _), key in self._renamed.items() if owner == id(out)}
        while unique in taken:
            count += 1
            unique = f"{new}-{count}"
        self._renamed[id(out), name] = unique

    def _note(self) -> None:
        """Fill ``arg_classes`` and ``removed``."""
        walk, renamed, prefixes = self._walk, self._renamed, self._prefixes
        removed, classes = self._removed, self.arg_classes
        for (_, _, path, _, mark, _), found in zip(walk.slots, self._hits, strict=False):
            if found:
                self._add(pointer(path, renamed, prefixes), mark, found)
            elif mark is not None:
                where = pointer(path, renamed, prefixes)
                if where in removed:
                    self._put(where, mark[0], mark[1])
                else:
                    removed[where] = [mark[0], *mark[1]]
                    classes[where] = [mark[0]]
        for _, _, path, _, mark in walk.sealed:
            self._put(pointer(path, renamed, prefixes), mark[0], mark[1])
        for entry in walk.nested:
            # A JSON string is as sensitive as what it holds.
            where = pointer(entry.path, renamed, prefixes)
            for cls in sorted({cls for place, classes in self.arg_classes.items() if place.startswith(where + "/") for cls in classes}):
                self._put(where, cls, ["json"])
        if renamed:
            for out in walk.owners:
                path = walk.path_of(out)
                for name in out:
                    if (id(out), name) in renamed:
                        new = renamed[id(out), name]
                        cls = new.split(":", 2)[1]
                        self._put(f"{pointer(path, renamed, prefixes)}/{escape(new)}", cls, ["key-name"], classed=cls != "key")

    def _add(self, where: str, mark: tuple[str, tuple[str, ...]] | None, found: list[Hit]) -> None:
        if mark is not None:
            self._put(where, mark[0], mark[1])
        for hit in found:
            self._put(where, hit.cls, [f"detector:{hit.rule}" if hit.rule != "known" and ":" not in hit.rule else hit.rule])

    def _put(self, where: str, cls: str, rules: Iterable[str], *, classed: bool = True) -> None:
        entry = self._removed.get(where)
        if entry is None:
            self._removed[where] = [cls, *rules]
            if classed and where not in self.arg_classes:
                self.arg_classes[where] = [cls]
                return
        else:
            entry[0] = stricter(entry[0], cls)
            entry += [rule for rule in rules if rule not in entry[1:]]
        if classed:
            classes = self.arg_classes.setdefault(where, [])
            if cls not in classes:
                classes.append(cls)
                classes.sort()

    # --- the recorded view ---

    def view(self, redact: Sequence[str] = ()) -> View:
        """Return what is recorded, tightened by the policy's pointers (RFC 6901, ``*`` for any key or index).

        Pointers that match nothing are fine. Raises ``RedactionError`` for a malformed pointer.
        """
        patterns = [parse(text) for text in redact]
        base = self._base
        if base is None:
            base = self._base = self._make()
        return _Tightening(self, base).apply(patterns) if patterns else base

    def _make(self) -> View:
        redactor, walk = self._redactor, self._walk
        if not self._declared:
            value = self._minimal(self._box[0], None, "")
            removed = {"": ["undeclared", "minimal"], **self._removed}
            return redactor.fitted(value, removed, self._source, truncated=bool(walk.pieces), renamed=self._renamed)
        redactor.replace(walk, self._hits, self._memory)
        _apply_names(walk.owners, self._renamed, walk.nested)
        redactor.fold(walk.nested, self._renamed, self._memory)
        return redactor.fitted(self._box[0], self._removed, self._source, truncated=bool(walk.pieces), renamed=self._renamed, size=walk.size)

    def _minimal(self, value: object, holder: object, where: str) -> object:
        """Return keys, kinds, lengths and tokens of *value*, and nothing that it says."""
        if type(value) is dict:
            if "$t" in value and is_sized(value):
                return value
            out: dict[str, object] = {}
            for name, member in value.items():
                new = self._renamed.get((id(value), name), name)
                out[new] = self._minimal(member, value, f"{where}/{escape(new)}")
            return out
        if type(value) is list:
            return [self._minimal(member, value, f"{where}/{index}") for index, member in enumerate(value)]
        if value is None:
            return self._piece_at(holder, where)
        if type(value) is bool:
            return {"$t": "bool"}
        if type(value) is str:
            if is_mark(value) or not value:
                return value
            kind, text = "str", value
        else:
            kind, text = type(value).__name__, number_text(value)  # type: ignore[arg-type]
        classes = self.arg_classes.get(where)
        cls = min(classes, key=rank) if classes else "text"
        sized: dict[str, object] = {"$t": kind, "tok": self._redactor.seal(cls, text)}
        if kind == "str" and cls != "secret":
            sized["len"] = len(text)
        return sized

    def _piece_at(self, holder: object, where: str) -> object:
        for owner, _, path, value in self._walk.pieces:
            if owner is holder and pointer(path, self._renamed, self._prefixes) == where:
                return self._walk.sized(value)
        return None


def _class(cls: str | None, hits: Iterable[Hit]) -> str:
    for hit in hits:
        cls = hit.cls if cls is None else stricter(cls, hit.cls)
    return cls or "opaque"


def _apply_names(owners: Iterable[dict[str, Any]], renamed: Mapping[tuple[int, str], str], nested: Iterable[Nested]) -> None:
    if not renamed:
        return
    for entry in nested:
        if type(entry.key) is str:
            entry.key = renamed.get((id(entry.holder), entry.key), entry.key)
    for out in owners:
        if any((id(out), name) in renamed for name in out):
            members = list(out.items())
            out.clear()
            for name, value in members:
                out[renamed.get((id(out), name), name)] = value


class _Tightening:
    """The policy's pointers, applied to a copy of the base view. Only what they name is made anew."""

    def __init__(self, inspection: Inspection, base: View) -> None:
        self._inspection = inspection
        self._base = base
        self._removed = {where: list(entry) for where, entry in base.removed.items()}
        self._news = False

    def apply(self, patterns: list[list[str]]) -> View:
        inspection = self._inspection
        value = _copy(self._base.value)
        for pattern in patterns:
            value = self._at(value, inspection._source, pattern, "")
        if not self._news:
            return self._base
        redactor, memory = inspection._redactor, inspection._memory
        value = redactor.scrub_tree(value, memory, self._removed)
        return redactor.fitted(value, self._removed, inspection._source, truncated=self._base.truncated, renamed={})

    def _at(self, value: object, source: object, pattern: list[str], where: str) -> object:
        if not pattern:
            return self._seal(value, source, where)
        name, rest = pattern[0], pattern[1:]
        if type(value) is dict and isinstance(source, Mapping) and len(value) == len(source) and not is_sized(value):
            for old, new in zip(list(source), list(value), strict=True):
                if name in ("*", old):
                    value[new] = self._at(value[new], source[old], rest, f"{where}/{escape(new)}")
        elif type(value) is list and isinstance(source, list | tuple):
            for index, member in enumerate(source):
                if name in ("*", str(index)):
                    value[index] = self._at(value[index], member, rest, f"{where}/{index}")
        return value

    def _seal(self, value: object, source: object, where: str) -> object:
        inspection = self._inspection
        if type(value) is dict and isinstance(source, Mapping) and len(value) == len(source) and not is_sized(value):
            out: dict[str, object] = {}
            for old, new in zip(list(source), list(value), strict=True):
                # Below a marked place keys are data as well.
                first = sealed = new if is_mark_key(new) else self._key(old)
                count = 1
                while sealed in out:
                    count += 1
                    sealed = f"{first}-{count}"
                out[sealed] = self._seal(value[new], source[old], f"{where}/{escape(sealed)}")
            return out
        if type(value) is list and isinstance(source, list | tuple):
            return [self._seal(value[index], member, f"{where}/{index}") for index, member in enumerate(source)]
        classes = inspection.arg_classes.get(where)
        cls = min(classes, key=rank) if classes else "policy"
        entry = self._removed.setdefault(where, [cls])
        if "policy" not in entry[1:]:
            entry.append("policy")
        self._news = True
        if type(value) is dict or (type(value) is str and is_mark(value)):
            return value
        if source is None or source == "":
            return source
        text = source if type(source) is str else number_text(source) if type(source) is not bool else str(source).lower()  # type: ignore[arg-type]
        remember(inspection._memory, cls, text)
        return inspection._redactor.seal(cls, text)

    def _key(self, name: str) -> str:
        if classify(name).odd:
            self._inspection._memory.remember(name, "policy")
        return self._inspection._redactor.seal("policy", name)


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(member) for key, member in value.items()}
    if type(value) is list:
        return [_copy(member) for member in value]
    return value


class Redactor:
    """Turns what a caller, a tool or a policy gave into what may be recorded. Thread-safe; of values it keeps only short ones
    that are not sensitive."""

    __slots__ = ("_clean", "_limits", "_mark", "_schemas", "_token", "profile")

    def __init__(
        self,
        *,
        token: Callable[[str, str], str],
        mark: Callable[[str], str],
        limits: Limits = Limits(),  # noqa: B008 - frozen
        profile: str = "standard/1",
    ) -> None:
        """Take *token* (class, value -> keyed token) and *mark* (class -> random mark); both as ``marks`` describes them.

        Raises ``RedactionError`` where they make something that would not be recognised as guardrail's own.
        """
        if not is_mark(mark("secret")) or not is_mark(token("name", "probe")):
            raise RedactionError("tokens and marks must have the form gr1:<class>:<key id>:<24 characters>", code="redaction.mark")
        self._token = token
        self._mark = mark
        self._limits = limits
        self.profile = profile
        self._schemas: dict[int, tuple[Mapping[str, object], SchemaMarks]] = {}
        self._clean: set[str] = set()

    # --- the interface ---

    def inspect(self, args: Mapping[str, object], *, schema: Mapping[str, object] | None, declared: bool, memory: Memory) -> Inspection:
        """Walk *args* once. What is found to be sensitive is known to the session when this returns.

        *args* is not mutated and must not change before the last ``view``. Of an undeclared tool the view is minimal.
        Raises ``RedactionError`` for what is not JSON.
        """
        source = args if type(args) is dict else dict(args)
        return self._inspection(source, schema, memory, declared=declared)

    def value(self, value: object, memory: Memory, schema: Mapping[str, object] | None = None) -> View:
        """Return what is recorded of any JSON value. Raises ``RedactionError`` for what is not JSON."""
        return self._inspection(value, schema, memory, declared=True).view()

    def text(self, text: str, memory: Memory) -> str:
        """Return free text without what is sensitive in it: a message, a label, the name of a tool."""
        text = str.__str__(text)
        if len(text) > self._limits.string:
            text = text[: self._limits.string]
        if text[:1] in {"{", "[", '"'} or text[:1].isspace():
            return str(self.value(text, memory).value)
        hits = scan_all([text], memory)[0]
        if not hits:
            return text if text.isascii() else _encodable(text)
        plain_text = normalised(text) if needs_normalising(text) else text
        for hit in hits:
            if hit.rule != "known":
                remember(memory, hit.cls, plain_text[hit.start : hit.end], hit.rule)
        return self.settle([self._splice(plain_text, hits)], memory)[0]

    def result(self, value: object, *, log_output: bool, memory: Memory) -> dict[str, Any]:
        """Return what is recorded of a tool's result, and make what is sensitive in it known to the session.

        ``{"type", "bytes", "token", "items"}``, or ``{"type", "value"}`` with the redacted value where *log_output*. Bounded
        work whatever the size; no method of a foreign object is called. Raises nothing but ``RedactionError``.
        """
        described = shape(value, self._token, lambda name: self.text(name, memory))
        content = plain(value, nodes=self._limits.nodes, chars=self._limits.result)
        inspection = self._inspection(content, None, memory, declared=True)
        if log_output:
            view = inspection.view()
            return {"type": described["type"], "value": view.value}
        return described

    def error(self, error: BaseException, memory: Memory) -> dict[str, str]:
        """Return class and scrubbed message of an exception and of its causes. Never raises for hostile exceptions."""
        name, message = describe_error(error, self._limits.message)
        message = self.text(message, memory) if message else ""
        return {"class": self.text(name, memory), "message": _cut(message, self._limits.message)}

    def identity(self, text: str) -> str:
        """Return an identity without secrets in it. Personal data stays: the host gave it in clear."""
        if not text.isascii():
            text = _encodable(text)
        plain_text = normalised(text) if needs_normalising(text) else text
        hits = scan_secrets(plain_text)
        return self._splice(plain_text, hits) if hits else text

    def gate(self, leaves: Iterable[str], memory: Memory) -> str | None:
        """Return what is still sensitive in the user-derived strings and keys of a finished record, else None.

        The answer is ``<class>``, the strictest that still hits. guardrail's own marks never hit.
        """
        clean = self._clean
        texts = [leaf for leaf in leaves if leaf not in _FIELDS and not (leaf[:4] == MARK_PREFIX and is_mark(leaf))]
        if not texts:
            return None
        if not (len(memory) and memory.find(_joined(texts))):
            # Whether a detector hits depends on the text alone: what was found clean need not be asked about again.
            texts = [text for text in texts if text not in clean]
            if not texts or not scan(_joined(texts)):
                self.note_clean(texts)
                return None
        worst: str | None = None
        for hits in scan_all(texts, memory):
            for hit in hits:
                worst = hit.cls if worst is None else stricter(worst, hit.cls)
        return worst

    def gate_identity(self, leaves: Iterable[str], memory: Memory | None = None) -> str | None:
        """Return ``secret`` where an identity holds one, else None. With *memory*, known secrets count as well."""
        for leaf in leaves:
            text = normalised(leaf) if needs_normalising(leaf) else leaf
            if scan_secrets(text):
                return "secret"
            if memory is not None and memory.knows(text) == "secret":
                return "secret"
        return None

    # --- for Inspection ---

    def note_clean(self, texts: Iterable[str]) -> None:
        """Remember short texts in which no detector hits."""
        if len(self._clean) > _CLEAN:
            self._clean = set()
        self._clean.update(text for text in texts if len(text) < _CLEAN_CHARS)

    def _inspection(self, value: object, schema: Mapping[str, object] | None, memory: Memory, *, declared: bool) -> Inspection:
        root = None if schema is None else self._marks(schema).root
        walk = Walk(self._limits, self._token)
        box: list[Any] = [None]
        try:
            walk.value(value, box, 0, None, root, root.mark if root is not None else None, None, 0, 0)
        except RecursionError:
            raise RedactionError("a value is nested too deeply", code="redaction.depth") from None
        return Inspection(self, value, walk, box, memory, declared=declared)

    def _marks(self, schema: Mapping[str, object]) -> SchemaMarks:
        found = self._schemas.get(id(schema))
        if found is not None and found[0] is schema:
            return found[1]
        marks = SchemaMarks(schema)
        if len(self._schemas) >= _SCHEMAS:
            self._schemas = {}
        self._schemas[id(schema)] = (schema, marks)
        return marks

    def seal(self, cls: str, text: str) -> str:
        """Return what stands for *text*: a random mark for class ``secret``, else a token."""
        return self._mark(cls) if cls == "secret" else self._token(cls, canonical(cls, text))

    def _splice(self, text: str, hits: list[Hit]) -> str:
        parts: list[str] = []
        end = 0
        for hit in hits:
            parts.append(text[end : hit.start])
            parts.append(self.seal(hit.cls, text[hit.start : hit.end]))
            end = hit.end
        parts.append(text[end:])
        return "".join(parts)

    def replace(self, walk: Walk, hits: list[list[Hit]], memory: Memory) -> None:
        """Put marks and tokens into the copy that *walk* made."""
        partial: list[tuple[Any, Any]] = []
        texts: list[str] = []
        for (holder, key, _, text, mark, _), found in zip(walk.slots, hits, strict=False):
            if mark is not None:
                holder[key] = self.seal(_class(mark[0], found) if found else mark[0], text)
            elif found:
                if type(holder[key]) is not str:
                    holder[key] = self.seal(_class(None, found), text)
                    continue
                plain_text = normalised(text) if needs_normalising(text) else text
                if found[0].start == 0 and found[0].end >= len(plain_text):
                    holder[key] = self.seal(found[0].cls, plain_text)
                else:
                    partial.append((holder, key))
                    texts.append(self._splice(plain_text, found))
            elif not text.isascii():
                holder[key] = _encodable(text)
        for holder, key, _, text, mark in walk.sealed:
            holder[key] = self.seal("secret", text)
        for (holder, key), text in zip(partial, self.settle(texts, memory) if texts else (), strict=True):
            holder[key] = text
        for holder, key, _, value in walk.pieces:
            holder[key] = self._piece(walk, value, memory)

    def _piece(self, walk: Walk, value: object, memory: Memory) -> dict[str, Any]:
        sized = walk.sized(value)
        if type(value) is str and walk.shows_head(value):
            # Scanned well beyond its end, so that nothing sensitive is cut in two before it is found.
            beginning = self.text(value[: 4 * self._limits.head], memory)
            sized["head"] = self.settle([_cut(beginning, self._limits.head)], memory)[0]
        return sized

    def settle(self, texts: list[str], memory: Memory) -> list[str]:
        """Return *texts* such that nothing in them hits any more: what still hits after a few rounds goes as a whole."""
        for _ in range(_ROUNDS):
            again = scan_all(texts, memory)
            if not any(again):
                return texts
            texts = [self._splice(normalised(text) if needs_normalising(text) else text, hits) if hits else text for text, hits in zip(texts, again, strict=True)]
        return [self.seal(_class(None, hits), text) if hits else text for text, hits in zip(texts, scan_all(texts, memory), strict=True)]

    def fold(self, nested: list[Nested], renamed: Mapping[tuple[int, str], str], memory: Memory) -> None:
        """Write JSON strings again whose content changed, the innermost first."""
        for entry in nested:
            text = entry.text
            if entry.box[0] != entry.parsed:
                text = json.dumps(entry.box[0], ensure_ascii=False, separators=(",", ":"))
            hits = scan_all([text], memory)[0]
            # Cleaned piece by piece and not clean as a whole: taking it apart again could say something else each time.
            entry.holder[entry.key] = self.seal(_class(None, hits), text) if hits else _encodable(text)  # type: ignore[index]

    def scrub_tree(self, value: object, memory: Memory, removed: dict[str, list[str]]) -> object:
        """Return *value* without what became known only now."""
        if not any(memory.find(text if text.isascii() else normalised(text)) for text in all_strings(value)):
            return value
        return self._scrubbed(value, memory, removed, "")

    def _scrubbed(self, value: object, memory: Memory, removed: dict[str, list[str]], where: str) -> object:
        if type(value) is dict:
            if is_sized(value):
                return value
            out: dict[str, object] = {}
            for key, member in value.items():
                cls = memory.knows(key)
                name = key if cls is None else self.seal(cls, key)
                out[name] = self._scrubbed(member, memory, removed, f"{where}/{escape(name)}")
            return out
        if type(value) is list:
            return [self._scrubbed(member, memory, removed, f"{where}/{index}") for index, member in enumerate(value)]
        text = value if type(value) is str else number_text(value) if type(value) in {int, float} else ""  # type: ignore[arg-type]
        cls = memory.knows(text)
        if cls is None:
            return value
        entry = removed.setdefault(where, [cls])
        if "known" not in entry[1:]:
            entry.append("known")
        return self.settle([text], memory)[0] if type(value) is str else self.seal(cls, text)

    def fitted(self, value: object, removed: dict[str, list[str]], source: object, *, truncated: bool, renamed: Mapping[Any, Any], size: int | None = None) -> View:
        """Return the view, cut down to the size that a record can hold."""
        limit = self._limits.recorded
        if size is None or size > _ALWAYS_CLEAR or 60 * len(removed) > _ALWAYS_CLEAR or limit < 6 * _ALWAYS_CLEAR:
            value, cut = self._shrunk(value, limit)
            truncated = truncated or cut
        notes, cut = bounded(removed, limit // 5)
        return View(value, notes, truncated or cut, bool(renamed) or value != source)

    def _shrunk(self, value: object, limit: int) -> tuple[object, bool]:
        try:
            size = len(dumps(value))
        except RecordError:
            raise RedactionError("a value is not JSON and can't be redacted", code="redaction.type") from None
        if size <= limit:
            return value, False
        walk = Walk(self._limits, self._token)
        if type(value) is not dict:
            return walk.sized(value), True
        sizes = {key: len(dumps(member)) + len(dumps(key)) for key, member in value.items()}
        for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
            member = value[key]
            if type(member) not in {dict, list, str} or sizes[key] < 200:
                break
            if not (type(member) is dict and is_sized(member)):
                value[key] = walk.sized(member)
                size -= sizes[key] - len(dumps(value[key])) - len(dumps(key))
            if size <= limit:
                return value, True
        return walk.sized(value), True


def _unmarked(text: str) -> str:
    return mask_marks(text).replace(FILLER, "") if MARK_PREFIX in text else text


def _joined(texts: list[str]) -> str:
    joined = JOINT.join(texts)
    if not joined.isascii() or "\x01" in joined or joined.count(JOINT) >= len(texts):
        joined = JOINT.join([normalised(text) for text in texts])
    return mask_marks(joined) if MARK_PREFIX in joined else joined


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return normalised(text)
    return text


def _cut(text: str, size: int) -> str:
    """Return the beginning of *text*, never ending inside one of guardrail's own marks."""
    if len(text) <= size:
        return text
    last = text.rfind("gr1:", max(0, size - 96), size)
    end = last if last >= 0 and not is_mark(text[last:size]) else size
    return text[:end] + "..."

