"""Remembers the sensitive values of one session, so that they are recognised wherever they
reappear.

The values are kept only in memory, as long as the session exists. Their number is bounded: the
oldest values are forgotten first, and those of class ``secret`` last. Only improbable values are
remembered, because others would also be found where they occur by chance.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from guardrail.core.hidden import hidden
from guardrail.core.redaction.decodings import decodings
from guardrail.core.redaction.form_index import FormIndex
from guardrail.core.redaction.improbable import MIN_VALUE, improbable
from guardrail.core.redaction.key_forms import is_field_name
from guardrail.core.redaction.key_names import classify, stricter
from guardrail.core.redaction.known_forms import (
    LONG,
    KnownForm,
    encoded_forms,
    escaped_forms,
    may_hold_encoded,
    may_hold_escaped,
    spelled_forms,
)
from guardrail.core.redaction.known_names import KnownNames
from guardrail.core.redaction.limits import unmetered
from guardrail.core.redaction.marks import (
    MARK_PREFIX,
    mask_marks,
    needs_normalising,
    normalised,
)
from guardrail.core.redaction.spans import JOINT
from guardrail.core.words import counted

__all__ = ["BLANK", "LOCK", "MIN_VALUE", "EmptyMemory", "Known", "Memory"]

MAX_VALUES = 2_048
_MAX_CHARS = 1_000_000
_MAX_VALUE = 8_192
_PER_PLACE = 16
_PENDING, _PENDING_CHARS = 32, 256
"""Maximum number of new values whose forms are computed together at the next search, and the length
above which a value's forms are computed immediately.
"""
_DEFERRED, _PER_DEFERRED = 256, 64
"""Maximum number of values some of whose forms are computed only when a text can contain them, and
the work to do that for each value.
"""
_CLEAN = 256
_MAX_ORIGINALS = 8
_MAX_ORDINARY = 256

LOCK: Final = threading.RLock()
"""Held briefly while any memory is changed. Whoever forks this process must hold it, because a
child would never get a lock that another thread held, and would find a memory half changed.
"""

_ENCODED_RUN = re.compile(r"[A-Za-z0-9+/=_-]*")


@hidden
class Known(NamedTuple):
    """One occurrence of a known value in a text."""

    start: int
    end: int
    cls: str
    value: str
    """The value as it was remembered."""


_EMPTY_INDEX: Final = FormIndex()
"""The index of every empty memory. It is never changed."""
_NO_TEXTS: Final[frozenset[str]] = frozenset()


class Memory:
    """The known sensitive values of one session. Thread-safe; bounded in count and size. Most
    sessions have no such values, so an empty memory is small.
    """

    __slots__ = (
        "_added",
        "_blanks",
        "_chars",
        "_classes",
        "_clean",
        "_encoded",
        "_escaped",
        "_filed",
        "_names",
        "_ordinary",
        "_originals",
        "_pending",
    )

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._clean: set[str] | frozenset[str] = _NO_TEXTS
        self._filed = _EMPTY_INDEX
        self._pending: tuple[tuple[str, ...], ...] = ()
        """New values that are not in ``_filed`` yet: each in its normal form, and as written."""
        self._escaped: tuple[str, ...] = ()
        """Values whose ``escaped_forms`` are not in ``_filed`` yet."""
        self._encoded: tuple[str, ...] = ()
        """Values whose ``encoded_forms`` are not in ``_filed`` yet."""
        self._ordinary: set[str] | frozenset[str] = _NO_TEXTS
        self._originals: dict[str, tuple[str, ...]] = {}
        self._names: KnownNames | None = None
        self._blanks = False
        self._chars = 0
        self._added = 0

    @property
    def added(self) -> int:
        """The number of times that a value or a stricter class was added. Code that stores redacted
        text checks the text again if this number has grown.
        """
        return self._added

    def __len__(self) -> int:
        return len(self._classes) + (0 if self._names is None else len(self._names))

    def __repr__(self) -> str:
        return f"Memory({counted(len(self), 'value')})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a session's sensitive values can't be pickled")

    def remember(self, value: str, cls: str) -> None:
        """Remember *value*, so that it is recognised in every form from now on.

        Ignores guardrail's own marks and values that can occur by chance (``improbable``): fewer
        than six characters, words, identifiers, paths, numbers. Only the beginning of a very long
        value is remembered.
        """
        known = self._classes.get(value)
        if known is not None and (known == cls or stricter(known, cls) == known):
            return
        if len(value) > _MAX_VALUE:
            value = value[:_MAX_VALUE]
        original = value
        if needs_normalising(value):
            value = normalised(value)
        if len(value) < MIN_VALUE or value in self._ordinary or value.startswith(MARK_PREFIX):
            return
        if not improbable(value) or (value.islower() and _names_a_field(value)):
            ordinary = self._ordinary
            if isinstance(ordinary, frozenset) or len(ordinary) >= _MAX_ORDINARY:
                ordinary = self._ordinary = set()
            ordinary.add(value)
            return
        with LOCK:
            self._add(value, cls, original)

    def remember_name(self, name: str) -> None:
        """Remember the parts of a person's *name*, so that they are recognised as whole words.

        Ignores a text that does not look like a name, and parts that are ordinary words.
        """
        with LOCK:
            known = KnownNames() if self._names is None else self._names
            if known.add(normalised(name) if needs_normalising(name) else name, "name"):
                self._names = known
                self._count()

    def _add(self, value: str, cls: str, original: str) -> None:
        known = self._classes.get(value)
        written = self._originals.get(value, ())
        if original not in (value, *written) and len(written) < _MAX_ORIGINALS:
            # Detectors and searches see the normalised form, but encodings are made from the
            # original form.
            self._originals[value] = (*written, original)
            if known is not None:
                self._pending = (*self._pending, (value, original))
                self._count()
        if known is not None and stricter(known, cls) == known:
            return
        self._classes[value] = cls
        if known is None:
            self._chars += len(value)
            if len(self._classes) > MAX_VALUES or self._chars > _MAX_CHARS:
                self._evict()
            else:
                spellings = (value, *self._originals.get(value, ()))
                self._pending = (*self._pending, (value, *spellings))
        if len(self._pending) >= _PENDING or len(value) > _PENDING_CHARS:
            self._file_pending()
        # Updated last, so that a reader of the new count also finds the value.
        self._count()

    def _count(self) -> None:
        self._clean = _NO_TEXTS
        self._added += 1

    def _evict(self) -> None:
        # A quarter is removed at once, because rebuilding the index for each new value would make a
        # full memory slow.
        for secrets_too in (False, True):
            for old in [
                value for value, cls in self._classes.items() if secrets_too or cls != "secret"
            ]:
                if len(self._classes) <= MAX_VALUES * 3 // 4 and self._chars <= _MAX_CHARS * 3 // 4:
                    break
                self._chars -= len(old)
                del self._classes[old]
                self._originals.pop(old, None)
        # Searches use the old index until the new one is complete.
        index = _EMPTY_INDEX
        for value in self._classes:
            index = index.extended(spelled_forms(value, (value, *self._originals.get(value, ()))))
        self._filed, self._pending = index, ()
        self._escaped = self._encoded = ()

    def _file_pending(self) -> None:
        """Add the forms of new values to the index. The caller holds the lock."""
        forms: list[tuple[str, KnownForm]] = []
        escaped: list[str] = []
        encoded: list[str] = []
        for value, *spellings in self._pending:
            if spellings != [value] or not value.isascii() or len(value) > _PENDING_CHARS:
                new = spelled_forms(value, spellings)
                self._blanks = self._blanks or any(" " in text for text, _ in new)
                forms += new
                continue
            # Most texts can't contain any other form of the value than the value itself.
            self._blanks = self._blanks or " " in value
            forms.append((value, KnownForm(value, False)))
            if not value.isalnum():
                escaped.append(value)
            if len(value) < LONG:
                forms += encoded_forms(value)
            else:
                encoded.append(value)
        self._filed = self._filed.extended(forms)
        self._escaped += tuple(escaped)
        self._encoded += tuple(encoded)
        self._pending = ()
        if len(self._escaped) > _DEFERRED:
            self._file_escaped()
        if len(self._encoded) > _DEFERRED:
            self._file_encoded()

    def _file_escaped(self) -> None:
        """Add the deferred forms with escapes to the index. The caller holds the lock."""
        forms = [form for value in self._escaped for form in escaped_forms(value)]
        self._filed, self._escaped = self._filed.extended(forms), ()

    def _file_encoded(self) -> None:
        """Add the deferred encoded forms to the index. The caller holds the lock."""
        forms = [form for value in self._encoded for form in encoded_forms(value)]
        self._filed, self._encoded = self._filed.extended(forms), ()

    def knows(self, text: str, spend: Callable[[int], None] = unmetered) -> str | None:
        """Return the strictest class of the known values that *text* contains in some form, or None
        if it contains none.
        """
        cls: str | None = None
        for found in self.find(normalised(text) if needs_normalising(text) else text, spend):
            cls = found.cls if cls is None else stricter(cls, found.cls)
        return cls

    def class_of(self, value: str) -> str | None:
        """Return the class of exactly this value if it is known, otherwise None."""
        return self._classes.get(normalised(value) if needs_normalising(value) else value)

    def scrub(self, text: str) -> str:
        """Return *text* with known values removed. Text without known values is returned unchanged."""
        if not len(self):
            return text
        plain = normalised(text) if needs_normalising(text) else text
        found = self.find(plain)
        if not found:
            return text
        parts, end = [], 0
        for hit in found:
            parts += [plain[end : hit.start], _mark(hit.cls)]
            end = hit.end
        return "".join([*parts, plain[end:]])

    def find(self, text: str, spend: Callable[[int], None] = unmetered) -> list[Known]:
        """Return the occurrences of known values in *text* (ASCII or normalised), in order and
        without overlaps.

        guardrail's own marks are skipped. *spend* is called with the number of comparisons beyond
        one pass over *text*.
        """
        if MARK_PREFIX in text:
            text = mask_marks(text)
        found = self._find_values(text, spend)
        if self._names is None:
            return found
        spend(len(text) // 64)
        named = [Known(*place) for place in self._names.find(text)]
        return _merge(found + named) if named else found

    def _find_values(self, text: str, spend: Callable[[int], None]) -> list[Known]:
        if not self._classes or len(text) < MIN_VALUE:
            return []
        found: list[Known] = []
        clear = self._candidates(text, spend)
        for written, form in clear:
            places = list(_places(text, written, form, self._class(form)))
            spend(len(text) // 64 + _PER_PLACE * len(places))
            found += places
        if found:
            found = _merge(found)
        behind = self._behind_escapes(_without(text, found) if found else text, spend)
        if behind is None and found:
            # A value can be part of another value, the rest of which is escaped.
            behind = self._behind_escapes(text, spend, {form.value for _, form in clear})
        if behind is None:
            return found
        # The position is unknown, so the whole text is removed.
        classes = [hit.cls for hit in found]
        cls = functools.reduce(stricter, classes, self._class(behind))
        return [Known(0, len(text), cls, behind.value)]

    def mark_clean(self, texts: Iterable[str], added: int) -> None:
        """Remember that *texts*, which are short, contained no known value when the count ``added``
        was *added*. This holds until another value is added.
        """
        with LOCK:
            if len(self) and added == self._added:
                clean = self._clean
                if isinstance(clean, frozenset) or len(clean) > _CLEAN:
                    clean = self._clean = set()
                clean.update(texts)

    def free_cache(self) -> None:
        """Discard the list of clean texts, but keep all values."""
        with LOCK:
            self._clean = _NO_TEXTS

    def clean(self) -> set[str] | frozenset[str]:
        """Return texts in which a search for all currently known values found nothing."""
        return self._clean

    def _class(self, form: KnownForm) -> str:
        # Another thread might have just evicted the value, which then counts as a secret.
        return self._classes.get(form.value, "secret")

    def _candidates(self, text: str, spend: Callable[[int], None]) -> list[tuple[str, KnownForm]]:
        if self._pending:
            with LOCK:
                self._file_pending()
        if self._escaped and may_hold_escaped(text):
            spend(_PER_DEFERRED * len(self._escaped))
            with LOCK:
                self._file_escaped()
        if self._encoded and may_hold_encoded(text):
            spend(_PER_DEFERRED * len(self._encoded))
            with LOCK:
                self._file_encoded()
        return self._filed.candidates(text, spend)

    def _behind_escapes(
        self, text: str, spend: Callable[[int], None], clear: Collection[str] = ()
    ) -> KnownForm | None:
        """Return a known form that *text* contains once unusual escapes (%68%75nter, \\u0068unter)
        are decoded, or None if there is none. Values in *clear* do not count.
        """
        # Runs of hex digits contain no values in clear text: all runs without such a value have
        # been read.
        for decoded in decodings(text, spend, blanks=self._blanks, runs=not clear):
            for _, form in self._candidates(decoded, spend):
                if form.value not in clear:
                    return form
        return None


class EmptyMemory(Memory):
    """A memory that stays empty. It is used for values from the program or the policy, and for the
    policy's input.
    """

    __slots__ = ()

    def remember(self, value: str, cls: str) -> None:
        """Do nothing."""

    def remember_name(self, name: str) -> None:
        """Do nothing."""


BLANK = EmptyMemory()


def _names_a_field(value: str) -> bool:
    # Most values do not look like a name, and ``classify`` takes as long as all other steps
    # together.
    return is_field_name(value) and classify(value).cls is not None


def _places(text: str, written: str, form: KnownForm, cls: str) -> Iterator[Known]:
    start = text.find(written)
    end = 0
    while start >= 0:
        done, end = end, start + len(written)
        if form.encoded:
            match = _ENCODED_RUN.match(text, end)
            end = match.end() if match else end
            # The search never goes back over removed parts, which keeps the work linear.
            before = _ENCODED_RUN.match(text[max(done, start - _MAX_VALUE) : start][::-1])
            start -= before.end() if before else 0
        yield Known(start, end, cls, form.value)
        start = text.find(written, end)


def _without(text: str, found: list[Known]) -> str:
    """Return *text* with each part in *found* replaced by a character that no value contains.
    Overlapping parts are merged.
    """
    parts, end = [], 0
    for hit in found:
        parts.append(text[end : hit.start])
        end = hit.end
    return JOINT.join([*parts, text[end:]])


def _merge(found: list[Known]) -> list[Known]:
    found.sort(key=lambda hit: (hit.start, -hit.end))
    merged: list[Known] = []
    for hit in found:
        if merged and hit.start < merged[-1].end:
            last = merged[-1]
            cls = stricter(last.cls, hit.cls)
            merged[-1] = Known(last.start, max(last.end, hit.end), cls, last.value)
        else:
            merged.append(hit)
    return merged


def _mark(cls: str) -> str:
    return f"{MARK_PREFIX}{cls}:-:" + "known".ljust(24, "a")
