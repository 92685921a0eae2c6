"""Replaces sensitive values with marks and tokens, and limits the size of a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from guardrail.core.log.record import dumps
from guardrail.core.redaction.clean_texts import CleanTexts
from guardrail.core.redaction.cut_strings import (
    end_of_cut,
    is_cut,
    with_heads,
    without_head,
)
from guardrail.core.redaction.key_names import stricter
from guardrail.core.redaction.marks import marks_in, needs_normalising, normalised
from guardrail.core.redaction.normal_forms import needs_mark
from guardrail.core.redaction.pointers import bounded, bounded_classes
from guardrail.core.redaction.recorded_view import View
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
from guardrail.core.redaction.walk import Limits, Walk
from guardrail.errors import RecordError, RedactionError

__all__ = ["Replacer", "class_of", "encodable", "text_of", "unused"]

_ROUNDS = 3
MOST_UNSHOWN = 32
"""Maximum number of tokens in ``View.unshown``."""
_PER_REPLACEMENT = 32
_SHORTER_HEADS = 1_024, 256
"""If a view is too large, at most this many characters of each long string are recorded, before
whole members are left out.
"""
_RANDOM = ":-:"
"""Occurs in every random mark."""
# A view with this many characters always fits, whatever the characters are.
_ALWAYS_CLEAR = 6_000


class Replacer:
    """Replaces hits with marks and tokens.

    It has the functions that make marks and tokens, and it stores only values that are not
    sensitive.
    """

    __slots__ = ("clean", "limits", "mark", "rules", "spend", "supplied", "token", "unshown")

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
        self.unshown: dict[str, None] = {}
        """Tokens of values that were found in long strings behind the part that is shown."""

    def for_view(
        self, limits: Limits, spend: Spend, supplied: frozenset[str] = frozenset()
    ) -> Replacer:
        """Return a replacer for one view with these *limits*, which reports its work to *spend*."""
        return Replacer(self.token, self.mark, limits, spend, supplied, self.clean, self.rules)

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

    def replace(self, walk: Walk, hits: list[list[Hit]], memory: Memory) -> list[list[Hit]]:
        """Put marks and tokens into the copy made by *walk*. Return *hits*, with one list in place
        of all that are empty: a call keeps them while it waits, and the garbage collector would
        visit a list for each value.
        """
        partial: list[tuple[Any, Any]] = []
        texts: list[str] = []
        replacement, most = self.replacement, self.limits.string
        for (holder, key, _, text, mark, _), found in zip(walk.slots, hits, strict=False):
            if mark is not None:
                holder[key] = replacement(class_of(mark[0], found) if found else mark[0], text)
            elif len(text) > most and type(holder[key]) is str:
                head = self._cut(walk, holder, key, text, found)
                if head:
                    partial.append((holder[key], "head"))
                    texts.append(head)
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
        settled = self.settle(texts, memory) if texts else ()
        for (holder, key), text in zip(partial, settled, strict=True):
            holder[key] = text
        for holder, key, _, value in walk.pieces:
            holder[key] = walk.sized(value)
        none: list[Hit] = []
        return [found or none for found in hits]

    def _cut(self, walk: Walk, holder: Any, key: Any, text: str, found: list[Hit]) -> str:
        """Put the recorded form of a long string into the copy. *text* is the part of it that was
        searched. Return its beginning without the parts in *found*, or an empty string if all of it
        is sensitive.
        """
        plain_text = normalised(text) if found and needs_normalising(text) else text
        if found and found[0].start == 0 and found[0].end >= len(plain_text):
            holder[key] = self.replacement(found[0].cls, holder[key])
            return ""
        hidden = any(needs_mark(hit.cls, plain_text[hit.start : hit.end]) for hit in found)
        holder[key] = self._sized(walk, holder[key], hidden=hidden)
        if found and found[-1].start >= self.limits.string:
            self._note_unshown(plain_text, found)
        return self.head(plain_text, found, self.limits.string)

    def _note_unshown(self, text: str, hits: list[Hit]) -> None:
        """Keep the tokens of *hits* that begin behind the cut of *text*, so that the call can be
        found by these values.
        """
        end = end_of_cut(text, self.limits.string)
        values = ((hit.cls, text[hit.start : hit.end]) for hit in hits if hit.start >= end)
        self._keep_unshown(
            self.replacement(cls, value) for cls, value in values if not needs_mark(cls, value)
        )

    def _keep_unshown(self, tokens: Iterator[str]) -> None:
        for token in tokens:
            if len(self.unshown) == MOST_UNSHOWN:
                return
            self.unshown[token] = None

    def _sized(self, walk: Walk, text: str, *, hidden: bool) -> dict[str, Any]:
        """Return the recorded form of a string that is cut, without its beginning. If *hidden*, the
        text contains a value that has no token, and a token of the whole would let its guesses be
        checked.
        """
        walk.cut = True
        self.spend(len(text) // _PER_REPLACEMENT)
        sized = walk.sized(text)
        return {**sized, "tok": self.mark("data")} if hidden else sized

    def head(self, text: str, hits: list[Hit], size: int) -> str:
        """Return the first *size* characters of *text* without the parts in *hits*. A part that
        begins in them is removed whole.
        """
        if not hits:
            return encodable(text[: end_of_cut(text, size)])
        plain = normalised(text) if needs_normalising(text) else text
        end = end_of_cut(plain, size)
        shown = [hit for hit in hits if hit.start < end]
        return self.splice(plain[: max(end, shown[-1].end) if shown else end], shown)

    def beginning(self, text: str, size: int, memory: Memory) -> str:
        """Return the first *size* characters of a longer text, followed by ``...``, without detected
        or known values. The detected values are added to the session's memory.
        """
        # The text is searched beyond its recorded part, so that nothing sensitive is cut in two
        # before it is found.
        text = text[: size + self.limits.past]
        shown = self.head(text, self._hits(text, memory), size)
        return self.settle([f"{shown}..."], memory)[0]

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

    def fold(self, walk: Walk, memory: Memory) -> None:
        """Rewrite the JSON strings in which a value was replaced, the innermost first. Only the
        beginning of a long one is kept.
        """
        for entry in walk.nested:
            text = entry.text
            if entry.box[0] != entry.parsed:
                text = json.dumps(entry.box[0], ensure_ascii=False, separators=(",", ":"))
            hits = scan_all([text], memory, self.spend, self.rules.scan)[0]
            # The texts were cleaned piece by piece but are not clean as a whole. Parsing the string
            # again could give another result each time.
            if hits:
                entry.holder[entry.key] = self.replacement(class_of(None, hits), text)
            elif len(entry.text) <= self.limits.string:
                entry.holder[entry.key] = encodable(text)
            else:
                sized = self._sized(walk, entry.text, hidden=_RANDOM in text)
                behind = marks_in(text, end_of_cut(text, self.limits.string))
                self._keep_unshown(mark for mark in behind if _RANDOM not in mark)
                sized["head"] = self.settle([self.head(text, hits, self.limits.string)], memory)[0]
                entry.holder[entry.key] = sized

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
            if is_cut(value):
                head = self._scrubbed(value["head"], memory, removed, moves, where)
                return {**value, "head": head}
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
            value, shrunk = self._shrunk(value, limit, heads=truncated)
        notes, cut = bounded(removed, limit // 5, self.spend) if removed else ({}, False)
        return View(
            value,
            notes,
            truncated or shrunk or cut,
            renamed or value != source,
            bounded_classes(classes, limit // 5, self.spend) if classes else {},
            shrunk,
            tuple(self.unshown),
        )

    def shortened(self, view: View, limit: int) -> View:
        """Return *view*. If it takes more than *limit* bytes, its large parts become sizes and
        tokens.
        """
        value, cut = self._shrunk(
            dict(view.value) if type(view.value) is dict else view.value,
            limit,
            heads=view.truncated,
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
            unshown=view.unshown,
        )

    def _shrunk(self, value: object, limit: int, *, heads: bool) -> tuple[object, bool]:
        """Return *value* in at most *limit* bytes, and True if it was shrunk. First, the beginnings
        of long strings become shorter, if there are such *heads*. Then the largest members become
        sizes and tokens.
        """
        try:
            size = len(dumps(value))
        except RecordError:
            raise RedactionError(
                "a value is not JSON-serializable, so it can't be redacted",
                code="redaction.type",
            ) from None
        if size <= limit:
            return value, False
        for most in _SHORTER_HEADS if heads else ():
            value = with_heads(value, most, self.spend)
            size = len(dumps(value))
            if size <= limit:
                return value, True
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
                value[key] = without_head(member) if is_cut(member) else walk.sized(member)
                size -= sizes[key] - len(dumps(value[key])) - len(dumps(key))
            if size <= limit:
                return value, True
        return walk.sized(value), True

    def cleaned(self, text: str, memory: Memory) -> str:
        """Return plain text without detected or known values, and add the detected values to the
        session's memory.
        """
        hits = self._hits(text, memory)
        if not hits:
            return encodable(text)
        plain = normalised(text) if needs_normalising(text) else text
        return self.settle([self.splice(plain, hits)], memory)[0]

    def _hits(self, text: str, memory: Memory) -> list[Hit]:
        hits = scan_all([text], memory, self.spend, self.rules.scan)[0]
        if hits:
            plain = normalised(text) if needs_normalising(text) else text
            for hit in hits:
                if hit.rule != "known":
                    remember(memory, hit.cls, plain[hit.start : hit.end], hit.rule)
        return hits


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
