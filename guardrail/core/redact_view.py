"""One argument tree, walked once: what the policy is told about it, and the view of it that is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardrail.core.detectors import secretive
from guardrail.core.hits import Hit, merge_hits
from guardrail.core.keynames import classify, rank, stricter
from guardrail.core.marks import (
    FILLER,
    MARK_PREFIX,
    is_mark,
    is_mark_key,
    mask_marks,
    needs_normalising,
    normalised,
)
from guardrail.core.memory import Memory
from guardrail.core.redact_pointers import bounded_classes, join_classes, join_notes, moved, parse
from guardrail.core.redact_seal import Sealer, View, class_of, text_of, unused
from guardrail.core.redact_values import (
    all_keys,
    all_values,
    escape,
    is_sized,
    number_text,
    pointer,
    remember,
)
from guardrail.core.redact_walk import Nested, Walk

__all__ = ["Inspection"]


class Inspection:
    """One argument tree, walked once: its classes for the policy, and the view that is recorded."""

    __slots__ = (
        "_base",
        "_box",
        "_classes",
        "_declared",
        "_hits",
        "_memory",
        "_pieces",
        "_prefixes",
        "_removed",
        "_renamed",
        "_sealer",
        "_source",
        "_taken",
        "_walk",
        "arg_classes",
    )

    def __init__(
        self,
        sealer: Sealer,
        source: object,
        walk: Walk,
        box: list[Any],
        memory: Memory,
        *,
        declared: bool,
    ) -> None:
        self._sealer = sealer
        self._source = source
        self._walk = walk
        self._box = box
        self._memory = memory
        self._declared = declared
        self._base: View | None = None
        self._renamed: dict[tuple[int, str], str] = {}
        self._taken: dict[int, set[str]] = {}
        self._pieces: dict[tuple[int, object], object] = {}
        self._prefixes: dict[int, str] = {}
        self._removed: dict[str, list[str]] = {}
        self._hits = self._learn()
        self._classes: dict[str, list[str]] = {}
        self._note()
        self.arg_classes = bounded_classes(self._classes, sealer.limits.recorded // 5)
        """Pointer -> classes of what stands there, for the policy; where there are very many, indexes become ``*``. Keys that
        only the policy's pointers mark are in clear here, and not in the ``classes`` of a view."""

    # --- inspection ---

    def _learn(self) -> list[list[Hit]]:
        """Find what detectors and marks say, make it known to the session, then look for all that is known."""
        walk, memory = self._walk, self._memory
        hits = walk.hits()
        clean: list[str] = []
        for entry, found in zip(walk.slots, hits, strict=False):
            _, _, _, text, mark, hint = entry
            if hint is not None and mark is None and _is_secretive(text, found):
                found.append(Hit(0, len(text), "secret", hint[1][0]))
                found[:] = merge_hits(found)
            if mark is not None:
                remember(memory, class_of(mark[0], found), text)
            elif not found:
                clean.append(text)
            else:
                plain_text = normalised(text) if needs_normalising(text) else text
                for hit in found:
                    remember(memory, hit.cls, plain_text[hit.start : hit.end], hit.rule)
        self._sealer.note_clean(clean)
        for _, _, _, text, _ in walk.sealed:
            remember(memory, "secret", text)
        for (_, name, _, mark), found in zip(walk.keys, hits[len(walk.slots) :], strict=True):
            # A marked key that reads like a field name is not recorded here, and not hunted elsewhere.
            if found or (mark is not None and classify(name).odd):
                memory.remember(name, class_of(mark[0] if mark is not None else None, found))
        walk.add_known(hits, memory)
        self._rename(hits[len(walk.slots) :])
        return hits

    def _rename(self, key_hits: list[list[Hit]]) -> None:
        walk, memory, renamed = self._walk, self._memory, self._renamed
        for (out, name, _, mark), found in zip(walk.keys, key_hits, strict=True):
            if is_mark_key(name):
                continue
            if mark is not None or found:
                self._rename_one(out, name, class_of(mark[0] if mark is not None else None, found))
            elif not self._declared:
                self._rename_one(out, name, "key")
        if walk.known_names:
            for out in walk.owners:
                for name in out:
                    cls = memory.knows(name) if (id(out), name) not in renamed else None
                    if cls is not None:
                        self._rename_one(out, name, cls)

    def _rename_one(self, out: dict[str, Any], name: str, cls: str) -> None:
        taken = self._taken.setdefault(id(out), set())
        new = unused(self._sealer.seal(cls, name), taken, out)
        taken.add(new)
        self._renamed[id(out), name] = new

    def _note(self) -> None:
        """Fill ``arg_classes`` and ``removed``."""
        walk, renamed, prefixes = self._walk, self._renamed, self._prefixes
        removed, found_classes = self._removed, self._classes
        for (_, _, path, _, mark, _), found in zip(walk.slots, self._hits, strict=False):
            if found:
                self._add(pointer(path, renamed, prefixes), mark, found)
            elif mark is not None:
                where = pointer(path, renamed, prefixes)
                removed[where] = [mark[0], *mark[1]]
                found_classes[where] = [mark[0]]
        for _, _, path, _, mark in walk.sealed:
            self._put(pointer(path, renamed, prefixes), mark[0], mark[1])
        for entry in walk.nested:
            # A JSON string is as sensitive as what it holds.
            where = pointer(entry.path, renamed, prefixes)
            for cls in sorted(
                {
                    cls
                    for place, classes in self._classes.items()
                    if place.startswith(where + "/")
                    for cls in classes
                }
            ):
                self._put(where, cls, ["json"])
        if renamed:
            for out in walk.owners:
                path = walk.path_of(out)
                for name in out:
                    if (id(out), name) in renamed:
                        new = renamed[id(out), name]
                        cls = new.split(":", 2)[1]
                        self._put(
                            f"{pointer(path, renamed, prefixes)}/{escape(new)}",
                            cls,
                            ["key-name"],
                            classed=cls != "key",
                        )

    def _add(self, where: str, mark: tuple[str, tuple[str, ...]] | None, found: list[Hit]) -> None:
        if mark is not None:
            self._put(where, mark[0], mark[1])
        for hit in found:
            self._put(
                where,
                hit.cls,
                [
                    f"detector:{hit.rule}"
                    if hit.rule != "known" and ":" not in hit.rule
                    else hit.rule
                ],
            )

    def _put(self, where: str, cls: str, rules: Iterable[str], *, classed: bool = True) -> None:
        entry = self._removed.get(where)
        if entry is None:
            self._removed[where] = [cls, *rules]
            if classed and where not in self._classes:
                self._classes[where] = [cls]
                return
        else:
            entry[0] = stricter(entry[0], cls)
            entry += [rule for rule in rules if rule not in entry[1:]]
        if classed:
            classes = self._classes.setdefault(where, [])
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

    def shortened(self, view: View, limit: int) -> View:
        """Return *view* in at most *limit* bytes, about: what is large in it becomes size and token."""
        return self._sealer.shortened(view, limit)

    def _make(self) -> View:
        sealer, walk = self._sealer, self._walk
        if not self._declared:
            self._pieces = {(id(owner), key): piece for owner, key, _, piece in walk.pieces}
            value = self._minimal(self._box[0], (id(self._box), 0), "")
            self._removed = {"": ["undeclared", "minimal"], **self._removed}
            return sealer.fitted(
                value,
                self._removed,
                self._classes,
                self._source,
                truncated=bool(walk.pieces),
                renamed=bool(self._renamed),
            )
        sealer.replace(walk, self._hits, self._memory)
        _apply_names(walk.owners, self._renamed, walk.nested)
        sealer.fold(walk.nested, self._memory)
        return sealer.fitted(
            self._box[0],
            self._removed,
            self._classes,
            self._source,
            truncated=bool(walk.pieces),
            renamed=bool(self._renamed),
            size=walk.size,
        )

    def _minimal(self, value: object, place: tuple[int, object], where: str) -> object:
        """Return keys, kinds, lengths and tokens of *value*, and nothing that it says."""
        if type(value) is dict:
            if "$t" in value and is_sized(value):
                return value
            out: dict[str, object] = {}
            for name, member in value.items():
                new = self._renamed.get((id(value), str(name)), str(name))
                out[new] = self._minimal(member, (id(value), name), f"{where}/{escape(new)}")
            return out
        if type(value) is list:
            return [
                self._minimal(member, (id(value), index), f"{where}/{index}")
                for index, member in enumerate(value)
            ]
        if value is None:
            piece = self._pieces.get(place)
            return None if piece is None else self._walk.sized(piece)
        if type(value) is bool:
            return {"$t": "bool"}
        if type(value) is str:
            if is_mark(value) or not value:
                return value
            kind, text = "str", value
        else:
            kind, text = type(value).__name__, number_text(value)  # type: ignore[arg-type]
        classes = self._classes.get(where)
        cls = min(classes, key=rank) if classes else "text"
        sized: dict[str, object] = {"$t": kind, "tok": self._sealer.seal(cls, text)}
        if kind == "str" and cls != "secret":
            sized["len"] = len(text)
        return sized


def _apply_names(
    owners: Iterable[dict[str, Any]],
    renamed: Mapping[tuple[int, str], str],
    nested: Iterable[Nested],
) -> None:
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
    """The policy's pointers, applied to a copy of the base view. Only what they name is made anew.

    Until all are applied, places are called by their pointers in the base view.
    """

    def __init__(self, inspection: Inspection, base: View) -> None:
        self._inspection = inspection
        self._base = base
        # The whole account, not what of it fits a record: a pointer that was made wider can't follow a renamed key.
        self._removed = {where: list(entry) for where, entry in inspection._removed.items()}
        self._classes = inspection._classes
        self._names: dict[int, dict[str, str]] = {}
        """Object of the view -> key as it is now -> key as it was in the base view."""
        self._moves: dict[str, str] = {}
        self._gone: set[str] = set()
        self._news = False

    def apply(self, patterns: list[list[str]]) -> View:
        inspection = self._inspection
        value = _copy(self._base.value)
        for pattern in patterns:
            value = self._at(value, inspection._source, pattern, "")
        if not self._news:
            return self._base
        self._move()
        sealer, memory = inspection._sealer, inspection._memory
        value = sealer.scrub_tree(value, memory, self._removed, self._moves)
        self._move()
        return sealer.fitted(
            value,
            self._removed,
            self._classes,
            inspection._source,
            truncated=self._base.truncated,
            renamed=False,
        )

    def _move(self) -> None:
        """Let the account follow the keys that were renamed: what a key said must not stand in a pointer either."""
        if self._moves or self._gone:
            self._removed = moved(self._removed, self._moves, self._gone, join_notes)
            self._classes = moved(self._classes, self._moves, self._gone, join_classes)
            self._moves, self._gone = {}, set()

    def _at(self, value: object, source: object, pattern: list[str], where: str) -> object:
        if not pattern:
            return self._seal(value, source, where)
        name, rest = pattern[0], pattern[1:]
        if type(value) is dict and not is_sized(value) and isinstance(source, Mapping):
            for old, new, here in self._members(value, source, where):
                if name in ("*", old):
                    value[new] = self._at(value[new], source[old], rest, here)
        elif type(value) is list and isinstance(source, list | tuple):
            for index, member in enumerate(source):
                if name in ("*", str(index)):
                    value[index] = self._at(value[index], member, rest, f"{where}/{index}")
        elif type(value) is dict:
            # Too much or too deep to be shown. What the pointer names in it is known from now on all the same.
            for member in _named(source, pattern):
                self._know(member, self._note(where))
        return value

    def _members(
        self, value: dict[str, Any], source: Mapping[str, object], where: str
    ) -> list[tuple[str, str, str]]:
        """Return each key as given, as it is now in *value*, and its pointer in the base view."""
        names = self._names.get(id(value), {})
        return [
            (old, new, f"{where}/{escape(names.get(new, new))}")
            for old, new in zip(source, value, strict=True)
        ]

    def _seal(self, value: object, source: object, where: str) -> object:
        inspection = self._inspection
        if type(value) is dict and not is_sized(value) and isinstance(source, Mapping):
            out: dict[str, object] = {}
            before, names = self._names.get(id(value), {}), self._names.setdefault(id(out), {})
            for old, new, here in self._members(value, source, where):
                # Below a marked place keys are data as well.
                name = new
                if not is_mark_key(new):
                    name = unused(self._key(old), out, value)
                    self._moves[here] = escape(name)
                names[name] = before.get(new, new)
                out[name] = self._seal(value[new], source[old], here)
            return out
        if type(value) is list and isinstance(source, list | tuple):
            return [
                self._seal(value[index], member, f"{where}/{index}")
                for index, member in enumerate(source)
            ]
        cls = self._note(where)
        if type(value) is dict:
            self._know(source, cls)
            return {key: member for key, member in value.items() if key != "head"}
        if (type(value) is str and is_mark(value)) or source is None or source == "":
            return value
        text = text_of(source)
        remember(inspection._memory, cls, text)
        return inspection._sealer.seal(cls, text)

    def _note(self, where: str) -> str:
        """Note that the policy hit at *where*, of which nothing is shown below, and return the class of that place."""
        classes = self._classes.get(where)
        cls = min(classes, key=rank) if classes else "policy"
        entry = self._removed.setdefault(where, [cls])
        if "policy" not in entry[1:]:
            entry.append("policy")
        self._gone.add(where)
        self._news = True
        return cls

    def _know(self, source: object, cls: str) -> None:
        """Make everything in *source* known, of which the view shows nothing."""
        memory = self._inspection._memory
        for text in all_values(source):
            # What a rule knew before keeps the class that the rule gave it.
            if memory.class_of(text) is None:
                remember(memory, cls, text)
        for name in all_keys(source):
            self._key(name)

    def _key(self, name: str) -> str:
        if classify(name).odd:
            self._inspection._memory.remember(name, "policy")
        return self._inspection._sealer.seal("policy", name)


def _named(source: object, pattern: list[str]) -> Iterator[object]:
    """Yield what a pointer names in *source*."""
    if not pattern:
        yield source
    elif isinstance(source, Mapping):
        for key, member in source.items():
            if pattern[0] in ("*", key):
                yield from _named(member, pattern[1:])
    elif isinstance(source, list | tuple):
        for index, member in enumerate(source):
            if pattern[0] in ("*", str(index)):
                yield from _named(member, pattern[1:])


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(member) for key, member in value.items()}
    if type(value) is list:
        return [_copy(member) for member in value]
    return value


def _is_secretive(text: str, found: list[Hit]) -> bool:
    """Return whether a value whose key only hints at a secret looks like one: as it is, or as what *found* leaves of it."""
    texts = [text]
    if found:
        plain = normalised(text) if needs_normalising(text) else text
        starts, ends = [0, *(hit.end for hit in found)], [*(hit.start for hit in found), len(plain)]
        texts.append("".join(plain[start:end] for start, end in zip(starts, ends, strict=True)))
    return any(" " not in part and secretive(_unmarked(part)) for part in texts)


def _unmarked(text: str) -> str:
    return mask_marks(text).replace(FILLER, "") if MARK_PREFIX in text else text
