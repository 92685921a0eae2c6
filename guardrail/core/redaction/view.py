"""Walks one argument tree once, and computes the classes for the policy and the view that is
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from guardrail.core.redaction.faults import fails_closed
from guardrail.core.redaction.hints import is_secretive
from guardrail.core.redaction.key_names import classify, rank, stricter
from guardrail.core.redaction.marks import is_mark, is_mark_key, needs_normalising, normalised
from guardrail.core.redaction.pointers import bounded_classes, join_classes, parse, rename_pointers
from guardrail.core.redaction.recorded_view import View
from guardrail.core.redaction.replacements import Replacer, class_of, unused
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.redaction.spans import Hit, merge_hits
from guardrail.core.redaction.tighten import Tightening
from guardrail.core.redaction.values import (
    Path,
    escape,
    is_opaque,
    is_sized,
    number_text,
    pointer,
    remember,
)
from guardrail.core.redaction.walk import Nested, Walk
from guardrail.core.words import counted
from guardrail.errors import RedactionError

__all__ = ["BEYOND_LIMITS", "Inspection"]

BEYOND_LIMITS = "redaction.limit"
"""Error code for arguments that the record contains only in part, so a policy that decides on the
record would not see the rest.
"""

_PER_HIT = 96
_PER_NOTE = 16


@fails_closed("facts", "view", "shortened")
class Inspection:
    """One argument tree after its walk: its classes for the policy, and the view that is
    recorded.
    """

    __slots__ = (
        "_again",
        "_base",
        "_box",
        "_classes",
        "_hits",
        "_known_names",
        "_memory",
        "_minimal_class",
        "_pieces",
        "_prefixes",
        "_removed",
        "_renamed",
        "_replacer",
        "_source",
        "_taken",
        "_walk",
        "arg_classes",
    )

    def __init__(
        self,
        replacer: Replacer,
        source: object,
        walk: Walk,
        box: list[Any],
        memory: Memory,
        *,
        minimal: str,
        again: Callable[[], Inspection],
    ) -> None:
        """Remember the sensitive values that *walk* found. *minimal* is the class stated in a
        minimal view, or an empty string if the view is not minimal.

        *again* returns an inspection of the same arguments in a session without known values.
        """
        self._again = again
        self._replacer = replacer
        self._source = source
        self._walk = walk
        self._box = box
        self._memory = memory
        self._minimal_class = minimal
        self._base: View | None = None
        self._renamed: dict[tuple[int, str], str] = {}
        self._known_names: set[tuple[int, str]] = set()
        self._taken: dict[int, dict[str, int]] = {}
        self._pieces: dict[tuple[int, object], object] = {}
        self._prefixes: dict[int, str] = {}
        self._removed: dict[str, list[str]] = {}
        self._hits = self._learn()
        self._classes: dict[str, list[str]] = {}
        self._collect_classes()
        judged = self._judged_classes() if self._known_names else self._classes
        self.arg_classes = bounded_classes(judged, replacer.limits.recorded // 5, replacer.spend)
        """Classes of the values by pointer, for the policy. If there are very many, indexes become
        ``*``. Keys that only the policy's pointers or the session classify are in clear text here,
        but not in the ``classes`` of a view.
        """

    # --- inspection ---

    def _learn(self) -> list[list[Hit]]:
        """Collect the hits of detectors and the classified values, add them to the session's
        memory, and then search for all known values.
        """
        walk, memory = self._walk, self._memory
        hits = walk.hits()
        clean: list[str] = []
        spend, supplied = self._replacer.spend, self._replacer.supplied
        for (_, _, _, text, mark, hint), found in zip(walk.slots, hits, strict=False):
            if mark is not None:
                if text not in supplied:
                    spend(_PER_HIT)
                    remember(memory, class_of(mark[0], found) if found else mark[0], text)
                continue
            if hint is not None and is_secretive(text, found):
                found.append(Hit(0, len(text), "secret", hint[1][0]))
                found[:] = merge_hits(found)
            if not found:
                clean.append(text)
                continue
            plain_text = normalised(text) if needs_normalising(text) else text
            for hit in found:
                spend(_PER_HIT)
                remember(memory, hit.cls, plain_text[hit.start : hit.end], hit.rule)
        self._replacer.clean.update(clean)
        for _, _, _, text, _ in walk.hidden:
            spend(_PER_HIT)
            if text not in supplied:
                remember(memory, "secret", text)
        key_hits = hits[len(walk.slots) :] if walk.keys else []
        for (_, name, _, mark), found in zip(walk.keys, key_hits, strict=True):
            # A classified key that looks like a field name is not recorded here, and is not
            # searched for in other places.
            if found or (mark is not None and classify(name).odd):
                spend(_PER_HIT)
                memory.remember(name, class_of(mark[0] if mark is not None else None, found))
        if len(memory):
            walk.add_known(hits, memory, supplied)
        if walk.keys or walk.known_names:
            self._rename(key_hits)
        return hits

    def _rename(self, key_hits: list[list[Hit]]) -> None:
        walk, memory, renamed = self._walk, self._memory, self._renamed
        for (out, name, _, mark), found in zip(walk.keys, key_hits, strict=True):
            if is_mark_key(name):
                continue
            if mark is not None or found:
                if mark is None and all(hit.rule == "known" for hit in found):
                    self._known_names.add((id(out), name))
                self._rename_one(out, name, class_of(mark[0] if mark is not None else None, found))
            elif self._minimal_class:
                self._rename_one(out, name, "key")
        if walk.known_names:
            for out in walk.owners:
                for name in out:
                    if (id(out), name) in renamed or name in self._replacer.supplied:
                        continue
                    cls = memory.knows(name, self._replacer.spend)
                    if cls is not None:
                        self._known_names.add((id(out), name))
                        self._rename_one(out, name, cls)

    def _rename_one(self, out: dict[str, Any], name: str, cls: str) -> None:
        taken = self._taken.setdefault(id(out), {})
        new = unused(self._replacer.replacement(cls, name), taken, out)
        self._renamed[id(out), name] = new

    def _collect_classes(self) -> None:
        """Fill in ``arg_classes`` and ``removed``."""
        walk, renamed, prefixes = self._walk, self._renamed, self._prefixes
        removed, found_classes = self._removed, self._classes
        spend = self._replacer.spend
        for (_, _, path, _, mark, _), found in zip(walk.slots, self._hits, strict=False):
            if found:
                spend(_PER_NOTE * len(found))
                self._add(pointer(path, renamed, prefixes), mark, found)
            elif mark is not None:
                spend(_PER_NOTE)
                where = pointer(path, renamed, prefixes)
                removed[where] = [mark[0], *mark[1]]
                found_classes[where] = [mark[0]]
        for _, _, path, _, mark in walk.hidden:
            self._add_classes(pointer(path, renamed, prefixes), mark[0], mark[1])
        if walk.nested:
            for where, held in self._content_classes().items():
                for cls in sorted(held):
                    self._add_classes(where, cls, ["json"])
        if renamed:
            for out in walk.owners:
                path = walk.path_of(out)
                for name in out:
                    spend(_PER_NOTE)
                    if (id(out), name) in renamed:
                        new = renamed[id(out), name]
                        cls = new.split(":", 2)[1]
                        self._add_classes(
                            f"{pointer(path, renamed, prefixes)}/{escape(new)}",
                            cls,
                            ["key-name"],
                            classed=cls != "key",
                        )

    def _content_classes(self) -> dict[str, set[str]]:
        """Return the classes of each JSON string's content: the string is as sensitive as its
        content.
        """
        held: dict[str, set[str]] = {
            pointer(entry.path, self._renamed, self._prefixes): set() for entry in self._walk.nested
        }
        for place, classes in self._classes.items():
            self._replacer.spend(_PER_NOTE)
            end = place.rfind("/")
            while end >= 0:
                around = held.get(place[:end])
                if around is not None:
                    around.update(classes)
                end = place.rfind("/", 0, end)
        return held

    def _add(self, where: str, mark: tuple[str, tuple[str, ...]] | None, found: list[Hit]) -> None:
        if mark is not None:
            self._add_classes(where, mark[0], mark[1])
        for hit in found:
            self._add_classes(
                where,
                hit.cls,
                [
                    f"detector:{hit.rule}"
                    if hit.rule != "known" and ":" not in hit.rule
                    else hit.rule
                ],
            )

    def _add_classes(
        self, where: str, cls: str, rules: Iterable[str], *, classed: bool = True
    ) -> None:
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

    def _judged_classes(self) -> dict[str, list[str]]:
        """Return the classes by pointer. Keys that only the session knows to be sensitive appear in
        clear text, as in the policy's arguments.
        """
        moves: dict[str, str] = {}
        for out in self._walk.owners:
            for name in out:
                self._replacer.spend(1)
                if (id(out), name) in self._known_names:
                    where = pointer(self._walk.path_of(out), self._renamed, self._prefixes)
                    new = self._renamed[id(out), name]
                    moves[f"{where}/{escape(new)}"] = escape(name)
        return rename_pointers(self._classes, moves, (), join_classes)

    # --- for the policy ---

    def facts(self) -> tuple[object, dict[str, list[str]]]:
        """Return the arguments and their classes for a policy that decides on the recorded form.

        Values classified by the schema, a key or a detector are hidden. Values that only the
        session knows are not hidden, but their classes are listed. Otherwise an attacker could make
        the session remember a value in order to hide an argument from a rule.

        Raises ``RedactionError`` (``redaction.limit``) if a part would be omitted because of a
        limit: otherwise, padding could hide the rest of a call from a rule.
        """
        if not self._walk.met_known:
            return self._whole(), self.arg_classes
        fresh = self._again()
        classes = {where: list(entry) for where, entry in self.arg_classes.items()}
        for where, entry in fresh.arg_classes.items():
            classes[where] = join_classes(classes.get(where, []), entry)
        return fresh._whole(), classes

    def _whole(self) -> object:
        limits, walk = self._replacer.limits, self._walk
        if not self._minimal_class:
            why = f"is longer than {counted(limits.string, 'character')}"
            for holder, key, path, text, mark, _ in walk.slots:
                if mark is None and len(text) > limits.string:
                    raise _limit_error(f"{self._argument(holder, key, path)} {why}")
            for entry in walk.nested:
                if len(entry.text) > limits.string:
                    where = self._argument(entry.holder, entry.key, entry.path)
                    raise _limit_error(f"{where} {why}")
        for holder, key, path, piece in walk.pieces:
            if type(piece) is not str:
                why = f"has more than {counted(limits.nodes, 'member')} (including those of earlier arguments) or {counted(limits.depth, 'level')}"
            elif self._minimal_class:
                continue  # no string is shown, whatever its size
            elif is_opaque(piece):
                # Any sufficiently long text can be made to look like encoded data.
                why = (
                    "looks like encoded data: annotate it in the tool's schema if the "
                    "policy does not need it"
                )
            else:
                why = "is JSON with a repeated key or too many levels"
            raise _limit_error(f"{self._argument(holder, key, path)} {why}")
        view = self.view()
        if view.cut:
            raise _limit_error(f"the arguments take more than {counted(limits.recorded, 'byte')}")
        return view.value

    def _argument(self, holder: object, key: object, path: Path) -> str:
        """Return the recorded name of the argument that contains *path*."""
        while path is not None:
            path, holder, key = path
        if type(key) is not str:
            return "the call"
        return f"the argument {self._renamed.get((id(holder), key), key)}"

    def view(self, redact: Sequence[str] = ()) -> View:
        """Return the recorded view, tightened by the policy's pointers (RFC 6901, ``*`` for any key
        or index).

        Pointers that match nothing are allowed. Raises ``RedactionError`` for a malformed pointer.
        """
        patterns = [parse(text) for text in redact]
        base = self._base
        if base is None:
            base = self._base = self._make()
        return Tightening(self, base).apply(patterns) if patterns else base

    def shortened(self, view: View, limit: int) -> View:
        """Return *view*, shortened to about *limit* bytes. Large parts become sizes and tokens."""
        return self._replacer.shortened(view, limit)

    def _make(self) -> View:
        replacer, walk = self._replacer, self._walk
        if self._minimal_class:
            self._pieces = {(id(owner), key): piece for owner, key, _, piece in walk.pieces}
            value = self._minimal(self._box[0], (id(self._box), 0), "")
            self._removed = {"": [self._minimal_class, "minimal"], **self._removed}
            return replacer.fitted(
                value,
                self._removed,
                self._classes,
                self._source,
                truncated=bool(walk.pieces),
                renamed=bool(self._renamed),
            )
        self._hits = replacer.replace(walk, self._hits, self._memory)
        _apply_names(walk.owners, self._renamed, walk.nested)
        replacer.fold(walk, self._memory)
        return replacer.fitted(
            self._box[0],
            self._removed,
            self._classes,
            self._source,
            truncated=bool(walk.pieces) or walk.cut,
            renamed=bool(self._renamed),
            size=walk.size,
        )

    def _minimal(self, value: object, place: tuple[int, object], where: str) -> object:
        """Return the keys, kinds, lengths and tokens of *value*, without its content."""
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
        sized: dict[str, object] = {"$t": kind, "tok": self._replacer.replacement(cls, text)}
        if kind == "str" and cls != "secret":
            sized["len"] = len(text)
        return sized


def _limit_error(what: str) -> RedactionError:
    return RedactionError(
        f"the policy is evaluated against the redacted arguments, but {what}", code=BEYOND_LIMITS
    )


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
