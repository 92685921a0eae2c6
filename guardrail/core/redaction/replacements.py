"""Replaces sensitive values with marks and tokens, and limits the size of a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.hidden import hidden
from guardrail.core.log.record import dumps
from guardrail.core.redaction.key_names import stricter
from guardrail.core.redaction.marks import is_mark, needs_normalising, normalised
from guardrail.core.redaction.normal_forms import needs_mark
from guardrail.core.redaction.pointers import bounded, bounded_classes
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.core.redaction.scan import Spend, scan_all, unmetered
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.redaction.spans import Hit
from guardrail.core.redaction.values import (
    all_texts,
    escape,
    is_sized,
    number_text,
    remember,
)
from guardrail.core.redaction.walk import Limits, Nested, Walk
from guardrail.errors import RecordError, RedactionError

__all__ = ["Replacer", "View", "class_of", "cut", "encodable", "text_of", "unused"]

_ROUNDS = 3
_PER_REPLACEMENT = 32
# Limits for the texts that are remembered as clean: many short ones, a few long ones.
_CLEAN, _CLEAN_CHARS = 4_096, 256
_LONG_CLEAN, _LONG_CLEAN_CHARS = 64, 4_096
# A view with this many characters always fits, whatever the characters are.
_ALWAYS_CLEAR = 6_000


@dataclass(frozen=True, slots=True)
class View:
    """The recorded form of a value."""

    value: object
    removed: dict[str, list[str]]
    """The class and the rules of each removed value, by RFC 6901 pointer.

    Sensitive keys appear in their recorded form.
    """
    truncated: bool
    """True if a part was too long, too deep or too large, and only its kind, size and token are
    recorded.
    """
    changed: bool
    """True if ``value`` differs from the original value."""
    classes: dict[str, list[str]] = field(default_factory=dict, compare=False)
    """The classes of the original values by pointer, within a limited size. Keys appear as in
    ``value``.
    """
    cut: bool = field(default=False, compare=False)
    """True if the total was too large, so ``value`` shows only the kind, size and token of large
    members.
    """


@hidden
class CleanTexts:
    """Texts in which no detector finds anything, stored so that the gate need not scan them again:
    many short ones and a few long ones.
    """

    __slots__ = ("_long", "_short")

    def __init__(self) -> None:
        self._short: set[str] = set()
        self._long: set[str] = set()

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def others(
        self, texts: Iterable[str], also: set[str] | frozenset[str] | None = None
    ) -> list[str]:
        """Return those of *texts* that are not stored here. If *also* is passed, return those that
        are not in *also* as well.
        """
        short, long = self._short, self._long
        if also is None:
            return [text for text in texts if text not in short and text not in long]
        return [
            text for text in texts if text not in also or (text not in short and text not in long)
        ]

    def update(self, texts: Iterable[str]) -> None:
        """Add *texts*, except very long ones. If too many texts are stored, all of them are
        discarded.
        """
        if len(self._short) > _CLEAN:
            self._short.clear()
        if len(self._long) > _LONG_CLEAN:
            self._long.clear()
        for text in texts:
            if len(text) < _CLEAN_CHARS:
                self._short.add(text)
            elif len(text) < _LONG_CLEAN_CHARS:
                self._long.add(text)


class Replacer:
    """Replaces hits with marks and tokens.

    It has the functions that make marks and tokens, and it stores only values that are not
    sensitive.
    """

    __slots__ = ("clean", "limits", "mark", "rules", "spend", "supplied", "token")

    def __init__(  # noqa: PLR0917 - one is made for each view
        self,
        token: Callable[[str, str], str],
        mark: Callable[[str], str],
        limits: Limits,
        spend: Spend = unmetered,
        supplied: frozenset[str] = frozenset(),
        clean: CleanTexts | None = None,
        rules: Rules = BUILT_IN,
    ) -> None:
        self.token = token
        self.mark = mark
        self.limits = limits
        self.spend = spend
        """Called with the amount of all work that grows with the input."""
        self.supplied = supplied
        """Names and constants of the tool's schema: a session's known values never remove them."""
        self.clean = CleanTexts() if clean is None else clean
        self.rules = rules

    def for_view(self, spend: Spend, supplied: frozenset[str] = frozenset()) -> Replacer:
        """Return a replacer for one view, which reports its work to *spend*."""
        return Replacer(self.token, self.mark, self.limits, spend, supplied, self.clean, self.rules)

    def replacement(self, cls: str, text: str) -> str:
        """Return the replacement for *text*: a random mark if its class or *text* needs one,
        otherwise a token.
        """
        self.spend(_PER_REPLACEMENT)
        return self.mark(cls) if needs_mark(cls, text) else self.token(cls, text)

    def splice(self, text: str, hits: list[Hit]) -> str:
        parts: list[str] = []
        end = 0
        for hit in hits:
            parts.append(text[end : hit.start])
            parts.append(self.replacement(hit.cls, text[hit.start : hit.end]))
            end = hit.end
        parts.append(text[end:])
        return "".join(parts)

    def replace(self, walk: Walk, hits: list[list[Hit]], memory: Memory) -> None:
        """Put marks and tokens into the copy made by *walk*."""
        partial: list[tuple[Any, Any]] = []
        texts: list[str] = []
        replacement = self.replacement
        for (holder, key, _, text, mark, _), found in zip(walk.slots, hits, strict=False):
            if mark is not None:
                holder[key] = replacement(class_of(mark[0], found) if found else mark[0], text)
            elif found:
                if type(holder[key]) is not str:
                    holder[key] = replacement(class_of(None, found), text)
                    continue
                plain_text = normalised(text) if needs_normalising(text) else text
                if found[0].start == 0 and found[0].end >= len(plain_text):
                    holder[key] = replacement(found[0].cls, plain_text)
                else:
                    partial.append((holder, key))
                    texts.append(self.splice(plain_text, found))
            elif not text.isascii():
                holder[key] = encodable(text)
        for holder, key, _, text, _ in walk.hidden:
            holder[key] = replacement("secret", text)
        if texts:
            for (holder, key), text in zip(partial, self.settle(texts, memory), strict=True):
                holder[key] = text
        for holder, key, _, value in walk.pieces:
            holder[key] = self._piece(walk, value, memory)

    def _piece(self, walk: Walk, value: object, memory: Memory) -> dict[str, Any]:
        sized = walk.sized(value)
        if type(value) is str and walk.shows_head(value):
            sized["head"] = self.beginning(value, self.limits.head, memory)
        return sized

    def beginning(self, text: str, size: int, memory: Memory) -> str:
        """Return the beginning of a longer text, at most *size* characters, without detected or
        known values.
        """
        # The text is scanned well beyond the end of that part, so that nothing sensitive is cut in
        # two before it is found.
        beyond = 3 * self.limits.head
        shown = self.cleaned(text[: size + beyond], memory)
        if len(text) > size + beyond:
            # If the text became much shorter, its last part is not shown either.
            size = min(size, max(0, len(shown) - beyond))
        return self.settle([cut(shown, size)], memory)[0]

    def settle(self, texts: list[str], memory: Memory) -> list[str]:
        """Return *texts* without any remaining hits. A text that still has hits after a few rounds
        is replaced as a whole.
        """
        for _ in range(_ROUNDS):
            again = scan_all(texts, memory, self.spend, self.rules.scan)
            if not any(again):
                self.clean.update(texts)
                return texts
            texts = [
                self.splice(normalised(text) if needs_normalising(text) else text, hits)
                if hits
                else text
                for text, hits in zip(texts, again, strict=True)
            ]
        return [
            self.replacement(class_of(None, hits), text) if hits else text
            for text, hits in zip(
                texts, scan_all(texts, memory, self.spend, self.rules.scan), strict=True
            )
        ]

    def fold(self, nested: list[Nested], memory: Memory) -> None:
        """Rewrite the JSON strings in which a value was replaced, the innermost first."""
        for entry in nested:
            text = entry.text
            if entry.box[0] != entry.parsed:
                text = json.dumps(entry.box[0], ensure_ascii=False, separators=(",", ":"))
            hits = scan_all([text], memory, self.spend, self.rules.scan)[0]
            # The texts were cleaned piece by piece but are not clean as a whole. Parsing the string
            # again could give another result each time.
            entry.holder[entry.key] = (
                self.replacement(class_of(None, hits), text) if hits else encodable(text)
            )

    def scrub_tree(
        self, value: object, memory: Memory, removed: dict[str, list[str]], moves: dict[str, str]
    ) -> object:
        """Return *value* after replacing everything in it that *memory* now knows to be sensitive.
        Removals are added to *removed*, and renamed keys to *moves*.
        """
        if not any(
            memory.find(normalised(text) if needs_normalising(text) else text, self.spend)
            for text in all_texts(value)
        ):
            return value
        return self._scrubbed(value, memory, removed, moves, "")

    def _scrubbed(
        self,
        value: object,
        memory: Memory,
        removed: dict[str, list[str]],
        moves: dict[str, str],
        where: str,
    ) -> object:
        if type(value) is dict:
            if is_sized(value):
                return value
            out: dict[str, object] = {}
            taken: dict[str, int] = {}
            for key, member in value.items():
                cls = None if key in self.supplied else memory.knows(key)
                here = f"{where}/{escape(key)}"
                name = key
                if cls is not None:
                    name = unused(self.replacement(cls, key), taken, out, value)
                    moves[here] = escape(name)
                out[name] = self._scrubbed(member, memory, removed, moves, here)
            return out
        if type(value) is list:
            return [
                self._scrubbed(member, memory, removed, moves, f"{where}/{index}")
                for index, member in enumerate(value)
            ]
        text = text_of(value)
        cls = None if text in self.supplied else memory.knows(text)
        if cls is None:
            return value
        entry = removed.setdefault(where, [cls])
        if "known" not in entry[1:]:
            entry.append("known")
        return self.settle([text], memory)[0] if type(value) is str else self.replacement(cls, text)

    def fitted(
        self,
        value: object,
        removed: dict[str, list[str]],
        classes: dict[str, list[str]],
        source: object,
        *,
        truncated: bool,
        renamed: bool,
        size: int | None = None,
    ) -> View:
        """Return the view, cut to the size that fits into a record."""
        limit = self.limits.recorded
        shrunk = False
        if (
            size is None
            or size > _ALWAYS_CLEAR
            or 60 * len(removed) > _ALWAYS_CLEAR
            or limit < 6 * _ALWAYS_CLEAR
        ):
            value, shrunk = self._shrunk(value, limit)
        notes, cut = bounded(removed, limit // 5, self.spend) if removed else ({}, False)
        return View(
            value,
            notes,
            truncated or shrunk or cut,
            renamed or value != source,
            bounded_classes(classes, limit // 5, self.spend) if classes else {},
            shrunk,
        )

    def shortened(self, view: View, limit: int) -> View:
        """Return *view*. If it takes more than *limit* bytes, its large parts become sizes and
        tokens.
        """
        value, cut = self._shrunk(
            dict(view.value) if type(view.value) is dict else view.value, limit
        )
        notes, folded = bounded(view.removed, limit // 5, self.spend)
        if not (cut or folded):
            return view
        return View(
            value,
            notes,
            truncated=True,
            changed=True,
            classes=bounded_classes(view.classes, limit // 5, self.spend),
        )

    def _shrunk(self, value: object, limit: int) -> tuple[object, bool]:
        try:
            size = len(dumps(value))
        except RecordError:
            raise RedactionError(
                "a value is not JSON-serializable, so it can't be redacted",
                code="redaction.type",
            ) from None
        if size <= limit:
            return value, False
        walk = Walk(self.limits, self.token)
        if type(value) is not dict:
            return walk.sized(value), True
        sizes = {key: len(dumps(member)) + len(dumps(key)) for key, member in value.items()}
        for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
            self.spend(_PER_REPLACEMENT)
            member = value[key]
            if type(member) not in {dict, list, str} or sizes[key] < 200:
                break
            if not (type(member) is dict and is_sized(member)):
                value[key] = walk.sized(member)
                size -= sizes[key] - len(dumps(value[key])) - len(dumps(key))
            if size <= limit:
                return value, True
        return walk.sized(value), True

    def cleaned(self, text: str, memory: Memory) -> str:
        """Return plain text without detected or known values, and add the detected values to the
        session's memory.
        """
        hits = scan_all([text], memory, self.spend, self.rules.scan)[0]
        if not hits:
            return encodable(text)
        plain = normalised(text) if needs_normalising(text) else text
        for hit in hits:
            if hit.rule != "known":
                remember(memory, hit.cls, plain[hit.start : hit.end], hit.rule)
        return self.settle([self.splice(plain, hits)], memory)[0]


def unused(name: str, given: dict[str, int], *taken: Container[str]) -> str:
    """Return *name*, with a number appended if it was returned before or is *taken*, so that two
    members of an object never have the same name.

    *given* maps each name to the last number appended to it in this object, because thousands of
    keys can have the same token.
    """
    count = given.get(name, 0) + 1
    unique = name if count == 1 else f"{name}-{count}"
    while unique in given or any(unique in names for names in taken):
        count += 1
        unique = f"{name}-{count}"
    given[name] = count
    if unique != name:
        given.setdefault(unique, 1)
    return unique


def class_of(cls: str | None, hits: Iterable[Hit]) -> str:
    for hit in hits:
        cls = hit.cls if cls is None else stricter(cls, hit.cls)
    return cls or "opaque"


def text_of(value: Any) -> str:
    """Return a scalar as text. Null becomes an empty string, and true and false become words."""
    if issubclass(type(value), str):
        return str.__str__(value)
    if value is None:
        return ""
    return str(value).lower() if type(value) is bool else number_text(value)


def encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return normalised(text)
    return text


def cut(text: str, size: int) -> str:
    """Return *text*, cut to at most *size* characters and followed by ``...`` if it is longer. The
    cut is never inside one of guardrail's own marks.
    """
    if len(text) <= size:
        return text
    last = text.rfind("gr1:", max(0, size - 96), size)
    end = last if last >= 0 and not is_mark(text[last:size]) else size
    return text[:end] + "..."
