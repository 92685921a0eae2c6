"""Applies the policy's pointers to the view of one argument tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from guardrail.core.redaction.key_names import classify, rank
from guardrail.core.redaction.marks import is_mark, is_mark_key
from guardrail.core.redaction.pointers import join_classes, join_removals, rename_pointers
from guardrail.core.redaction.recorded_view import View
from guardrail.core.redaction.replacements import text_of, unused
from guardrail.core.redaction.values import all_keys, all_values, escape, is_sized, remember

if TYPE_CHECKING:
    from guardrail.core.redaction.view import Inspection

__all__ = ["Tightening", "values_at"]


class Tightening:
    """The policy's pointers, applied to a copy of the base view.

    Only values at these pointers are rebuilt. Until all pointers are applied, a location is
    identified by its pointer in the base view.
    """

    def __init__(self, inspection: Inspection, base: View) -> None:
        self._inspection = inspection
        self._base = base
        # This is the whole list of removed values, not only the part that fits into a record,
        # because a widened pointer can't follow a renamed key.
        self._removed = {where: list(entry) for where, entry in inspection._removed.items()}
        self._classes = inspection._classes
        self._names: dict[int, dict[str, str]] = {}
        """The current keys of each object of the view (by ``id``), each with its key in the base
        view.
        """
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
        replacer, memory = inspection._replacer, inspection._memory
        value = replacer.scrub_tree(value, memory, self._removed, self._moves)
        self._move()
        return replacer.fitted(
            value,
            self._removed,
            self._classes,
            inspection._source,
            truncated=self._base.truncated,
            renamed=False,
        )

    def _move(self) -> None:
        """Update the pointers of removed values after keys were renamed, because an old key must
        not appear in a pointer either.
        """
        if self._moves or self._gone:
            self._removed = rename_pointers(self._removed, self._moves, self._gone, join_removals)
            self._classes = rename_pointers(self._classes, self._moves, self._gone, join_classes)
            self._moves, self._gone = {}, set()

    def _at(self, value: object, source: object, pattern: list[str], where: str) -> object:
        if not pattern:
            return self._replaced(value, source, where)
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
            # The value is too large or too deep to be shown. The values in it that the pointer
            # refers to are remembered nevertheless.
            for member in values_at(source, pattern):
                self._remember_all(member, self._record_hit(where))
        return value

    def _members(
        self, value: dict[str, Any], source: Mapping[str, object], where: str
    ) -> list[tuple[str, str, str]]:
        """Return each original key, its current form in *value*, and its pointer in the base
        view.
        """
        names = self._names.get(id(value), {})
        return [
            (old, new, f"{where}/{escape(names.get(new, new))}")
            for old, new in zip(source, value, strict=True)
        ]

    def _replaced(self, value: object, source: object, where: str) -> object:
        inspection = self._inspection
        if type(value) is dict and not is_sized(value) and isinstance(source, Mapping):
            out: dict[str, object] = {}
            before, names = self._names.get(id(value), {}), self._names.setdefault(id(out), {})
            taken: dict[str, int] = {}
            for old, new, here in self._members(value, source, where):
                # Below a classified value, keys are data as well.
                name = new
                if not is_mark_key(new):
                    name = unused(self._key(old), taken, out, value)
                    self._moves[here] = escape(name)
                    # This is also needed if the pointer refers only to keys.
                    self._news = True
                names[name] = before.get(new, new)
                out[name] = self._replaced(value[new], source[old], here)
            return out
        if type(value) is list and isinstance(source, list | tuple):
            return [
                self._replaced(value[index], member, f"{where}/{index}")
                for index, member in enumerate(source)
            ]
        cls = self._record_hit(where)
        if type(value) is dict:
            self._remember_all(source, cls)
            return {key: member for key, member in value.items() if key != "head"}
        if (type(value) is str and is_mark(value)) or source is None or source == "":
            return value
        text = text_of(source)
        remember(inspection._memory, cls, text)
        return inspection._replacer.replacement(cls, text)

    def _record_hit(self, where: str) -> str:
        """Record that the policy removed the value at *where*, with everything below it. Return the
        class of that value.
        """
        classes = self._classes.get(where)
        cls = min(classes, key=rank) if classes else "policy"
        entry = self._removed.setdefault(where, [cls])
        if "policy" not in entry[1:]:
            entry.append("policy")
        self._gone.add(where)
        self._news = True
        return cls

    def _remember_all(self, source: object, cls: str) -> None:
        """Make everything in *source* known to the session, because the view does not show it."""
        memory = self._inspection._memory
        for text in all_values(source):
            # Values that a rule has already made known keep the class that the rule gave them.
            if memory.class_of(text) is None:
                remember(memory, cls, text)
        for name in all_keys(source):
            self._key(name)

    def _key(self, name: str) -> str:
        if classify(name).odd:
            self._inspection._memory.remember(name, "policy")
        return self._inspection._replacer.replacement("policy", name)


def values_at(source: object, pattern: list[str]) -> Iterator[object]:
    """Yield the values in *source* that a pointer refers to."""
    if not pattern:
        yield source
    elif isinstance(source, Mapping):
        for key, member in source.items():
            if pattern[0] in ("*", key):
                yield from values_at(member, pattern[1:])
    elif isinstance(source, list | tuple):
        for index, member in enumerate(source):
            if pattern[0] in ("*", str(index)):
                yield from values_at(member, pattern[1:])


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(member) for key, member in value.items()}
    if type(value) is list:
        return [_copy(member) for member in value]
    return value
