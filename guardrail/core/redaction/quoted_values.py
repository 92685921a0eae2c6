"""Removes the classified values of a call from texts that the policy builds.

A session remembers only improbable values, because a word such as ``recipient`` must stay readable
in later records. The texts of the same decision are different: if a policy copies an argument into
a rule's id or message, the value must not be written there either, even if it is an ordinary word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from guardrail.core.redaction.marks import is_mark, is_mark_key, needs_normalising, normalised
from guardrail.core.redaction.pointers import parse
from guardrail.core.redaction.replacements import class_of
from guardrail.core.redaction.session_memory import MIN_VALUE, Known, Memory
from guardrail.core.redaction.tighten import values_at
from guardrail.core.redaction.values import all_values
from guardrail.core.redaction.view import Inspection

__all__ = ["QuotedValues"]

_LONGEST = 4_096
"""A longer value can't be part of a text: ``core.decision`` refuses longer texts."""
_BATCH, _BATCH_CHARS = 1_024, 500_000
_PER_VALUE = 96


class QuotedValues:
    """The classified values of one call, and their recorded forms."""

    __slots__ = ("_batches", "_forms", "_spend")

    def __init__(
        self, inspection: Inspection, redact: Sequence[str], exempt: Collection[str] = ()
    ) -> None:
        """*redact* contains the policy's pointers. Values in *exempt* do not count.

        Raises ``RedactionError`` for a malformed pointer, or if the budget of the call is used up.
        """
        replacer = inspection._replacer
        self._spend = replacer.spend
        self._batches: list[_Batch] = []
        self._forms: dict[str, tuple[str, str]] = {}
        for text, cls, form in _classified(inspection, redact):
            if len(text) < MIN_VALUE or is_mark_key(text):
                continue
            value = normalised(text) if needs_normalising(text) else text
            if value in self._forms or not MIN_VALUE <= len(value) <= _LONGEST:
                continue
            if text not in replacer.supplied and text not in exempt:
                self._forms[value] = text, form or replacer.replacement(cls, text)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __contains__(self, text: object) -> bool:
        return text in self._forms

    def remove(self, text: str) -> str:
        """Return *text* with each value replaced by its recorded form, if the value stands between
        characters other than letters and digits, or is encoded. Raises ``RedactionError``.
        """
        plain = normalised(text) if needs_normalising(text) else text
        self._spend(len(plain))
        hits = [hit for batch in self._prepared() for hit in batch.find(plain, self._spend)]
        hits = sorted(
            (hit for hit in hits if _is_separate(plain, hit)),
            key=lambda hit: (hit.start, -hit.end),
        )
        parts, end = [], 0
        for hit in hits:
            if hit.start >= end:
                parts += [plain[end : hit.start], self._forms[hit.value][1]]
            end = max(end, hit.end)
        return "".join([*parts, plain[end:]]) if hits else text

    def _prepared(self) -> list[_Batch]:
        if not self._batches:
            batch, size = _Batch(), 0
            for value, (text, _) in self._forms.items():
                self._spend(_PER_VALUE)
                if len(batch) == _BATCH or size > _BATCH_CHARS:
                    self._batches.append(batch)
                    batch, size = _Batch(), 0
                batch.add(value, text)
                size += len(value)
            self._batches.append(batch)
        return self._batches


class _Batch(Memory):
    """Some values of the call, including probable ones. They are so few that none is dropped."""

    __slots__ = ()

    def add(self, value: str, written: str) -> None:
        self._add(value, "secret", written)


def _is_separate(text: str, hit: Known) -> bool:
    """Return True if no letter or digit continues the value before or after *hit*."""
    before, after = text[hit.start - 1 : hit.start], text[hit.end : hit.end + 1]
    joined = before.isalnum() and text[hit.start].isalnum()
    return not joined and not (after.isalnum() and text[hit.end - 1].isalnum())


def _classified(inspection: Inspection, redact: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each classified value with its class and, if the view replaces the whole value, its
    mark there: a rule evaluated again with the recorded input then gives the same text.
    """
    walk, renamed = inspection._walk, inspection._renamed
    patterns = [parse(each) for each in redact]
    if walk.hidden or any(slot[4] is not None for slot in walk.slots):
        inspection.view()  # it puts the marks in their places
    for holder, key, _, text, sure in walk.hidden:
        yield text, sure[0], _mark_at(holder, renamed.get((id(holder), key), key))
    for (holder, key, _, text, mark, _), hits in zip(walk.slots, inspection._hits, strict=False):
        if mark is not None:
            cls = class_of(mark[0], hits) if hits else mark[0]
            yield text, cls, _mark_at(holder, renamed.get((id(holder), key), key))
            continue
        plain = normalised(text) if hits and needs_normalising(text) else text
        for hit in hits:
            if hit.rule != "known":
                yield plain[hit.start : hit.end], hit.cls, ""
    for out, name, _, mark in walk.keys:
        if mark is not None:
            yield name, mark[0], renamed.get((id(out), name), "")
    for pattern in patterns:
        for place in values_at(inspection._source, pattern):
            for text in all_values(place):
                yield text, "policy", ""


def _mark_at(holder: Any, key: Any) -> str:
    """Return the mark in the copy of the arguments, or an empty string if there is none."""
    found = holder.get(key) if type(holder) is dict else next(iter(holder[key : key + 1]), None)
    return found if type(found) is str and is_mark(found) else ""
