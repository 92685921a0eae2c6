"""Remembers the sensitive values of one session, so that they are recognised wherever they occur
again.

The values are kept only in memory, as long as the session exists. Their number is bounded: the
oldest values are forgotten first, and those of class ``secret`` last. Only improbable values are
remembered, because others would be found by chance anywhere.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import compress
from typing import Final, Literal, NamedTuple

from guardrail.core.redaction.decodings import decodings
from guardrail.core.redaction.improbable import MIN_VALUE, improbable
from guardrail.core.redaction.key_names import classify, stricter
from guardrail.core.redaction.known_forms import KnownForm, all_forms
from guardrail.core.redaction.limits import unmetered
from guardrail.core.redaction.marks import MARK_PREFIX, mask_marks, normalised
from guardrail.core.redaction.spans import JOINT
from guardrail.core.words import counted

__all__ = ["BLANK", "MIN_VALUE", "EmptyMemory", "Known", "Memory"]

MAX_VALUES = 2_048
_MAX_CHARS = 1_000_000
_MAX_VALUE = 8_192
# Up to this many forms it is cheaper to search for each. Beyond that, each form is indexed by seven
# of its bytes: wherever these occur in a text, one of their four pieces of four bytes is at a
# multiple of four.
_DIRECT = 48
_GRAM = 4
WINDOW = 2 * _GRAM - 1
SHARED = 2
_PER_PLACE = 16
_PER_GRAM = 2
_GRAMS_AT_ONCE = 16
"""Number of grams that C code looks up in the time of one unit of work."""
"""Pieces of a text that are reported to *spend* together."""
_CLEAN = 256
_CLEAN_CHARS = 4_096
_MAX_ORIGINALS = 8
_MAX_ORDINARY = 256

_ENCODED_RUN = re.compile(r"[A-Za-z0-9+/=_-]*")


class Known(NamedTuple):
    """One place in a text that contains a known value."""

    start: int
    end: int
    cls: str
    value: str
    """The value as it was remembered."""


# (place of the window in the form, bytes of the form) -> the forms of that size, by their bytes:
# however many forms have one window, they are compared with a text at once.
_Sizes = dict[tuple[int, int], dict[bytes, list[KnownForm]]]


class _FormIndex(NamedTuple):
    """All forms of the known values, with an index once there are many.

    A search uses one of these objects until it ends. If another thread removes old values
    meanwhile, the search still finds all others.
    """

    forms: list[KnownForm]
    short: list[KnownForm]
    grams: dict[int, int]
    windows: dict[bytes, _Sizes]


_EMPTY_INDEX: Final = _FormIndex([], [], {}, {})
"""The index of every memory without values. Never changed."""
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
        "_filed",
        "_lock",
        "_ordinary",
        "_originals",
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes: dict[str, str] = {}
        self._clean: set[str] | frozenset[str] = _NO_TEXTS
        self._filed = _EMPTY_INDEX
        self._ordinary: set[str] | frozenset[str] = _NO_TEXTS
        self._originals: dict[str, tuple[str, ...]] = {}
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
        return len(self._classes)

    def __repr__(self) -> str:
        return f"Memory({counted(len(self._classes), 'value')})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("the sensitive values of a session are never written")

    def remember(self, value: str, cls: str) -> None:
        """Recognise *value* from now on, in every form.

        Ignores guardrail's own marks and values that can occur by chance (``improbable``): fewer
        than six characters, words, identifiers, paths, numbers. For a very long value, its
        beginning is used.
        """
        known = self._classes.get(value)
        if known is not None and (known == cls or stricter(known, cls) == known):
            return
        if len(value) > _MAX_VALUE:
            value = value[:_MAX_VALUE]
        original = value
        if not value.isascii():
            value = normalised(value)
        if len(value) < MIN_VALUE or value in self._ordinary or value.startswith(MARK_PREFIX):
            return
        if not improbable(value) or (value.islower() and _names_a_field(value)):
            ordinary = self._ordinary
            if isinstance(ordinary, frozenset) or len(ordinary) >= _MAX_ORDINARY:
                ordinary = self._ordinary = set()
            ordinary.add(value)
            return
        with self._lock:
            self._add(value, cls, original)

    def _add(self, value: str, cls: str, original: str) -> None:
        known = self._classes.get(value)
        written = self._originals.get(value, ())
        if original not in (value, *written) and len(written) < _MAX_ORIGINALS:
            # Detectors and searches see the normalised form, but encodings are made from the
            # original form.
            self._originals[value] = (*written, original)
            if known is not None:
                self._filed = self._with_forms(self._filed, all_forms(original, value))
                self._count()
        if known is not None and stricter(known, cls) == known:
            return
        self._classes[value] = cls
        if known is None:
            self._chars += len(value)
            if len(self._classes) > MAX_VALUES or self._chars > _MAX_CHARS:
                self._evict()
            else:
                self._filed = self._with_forms(self._filed, self._all_forms(value))
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
        filed = _EMPTY_INDEX
        for value in self._classes:
            filed = self._with_forms(filed, self._all_forms(value))
        self._filed = filed

    def _all_forms(self, value: str) -> list[KnownForm]:
        found = all_forms(value, value)
        for original in self._originals.get(value, ()):
            found += all_forms(original, value)
        return list(dict.fromkeys(found))

    def _with_forms(self, filed: _FormIndex, new: list[KnownForm]) -> _FormIndex:
        """Return the index *filed* with the forms *new* added.

        Until there are many forms, this is a new object, which is complete before any search can
        use it.
        """
        self._blanks = self._blanks or any(" " in form.text for form in new)
        if filed is _EMPTY_INDEX:
            filed = _FormIndex([], [], {}, {})
        before = len(filed.forms)
        if before > _DIRECT:
            filed.forms.extend(new)
        else:
            filed = filed._replace(forms=[*filed.forms, *new])
            if len(filed.forms) <= _DIRECT:
                return filed
        for form in new if before > _DIRECT else filed.forms:
            data = form.text.encode("utf-8", "surrogatepass")
            if len(data) < WINDOW:
                filed.short.append(form)
                continue
            at = _window(data, filed.windows)
            window = data[at : at + WINDOW]
            sizes = filed.windows.setdefault(window, {})
            sizes.setdefault((at, len(data)), {}).setdefault(data, []).append(form)
            for offset in range(_GRAM):
                gram = int.from_bytes(window[offset : offset + _GRAM], _ORDER)
                filed.grams[gram] = filed.grams.get(gram, 0) | 1 << offset
        return filed

    def knows(self, text: str, spend: Callable[[int], None] = unmetered) -> str | None:
        """Return the strictest class of the known values that *text* contains in some form, or None
        if it contains none.
        """
        cls: str | None = None
        for found in self.find(text if text.isascii() else normalised(text), spend):
            cls = found.cls if cls is None else stricter(cls, found.cls)
        return cls

    def class_of(self, value: str) -> str | None:
        """Return the class of exactly this value if it is known, otherwise None."""
        return self._classes.get(value if value.isascii() else normalised(value))

    def scrub(self, text: str) -> str:
        """Return *text* with known values removed. Text without any is returned unchanged."""
        if not self._filed.forms:
            return text
        plain = text if text.isascii() else normalised(text)
        found = self.find(plain)
        if not found:
            return text
        parts, end = [], 0
        for hit in found:
            parts += [plain[end : hit.start], _mark(hit.cls)]
            end = hit.end
        return "".join([*parts, plain[end:]])

    def find(self, text: str, spend: Callable[[int], None] = unmetered) -> list[Known]:
        """Return the places of known values in *text* (ASCII or normalised), in order and without
        overlaps.

        guardrail's own marks are skipped. *spend* is called with the comparisons beyond one pass
        over *text*.
        """
        if not self._classes or len(text) < MIN_VALUE:
            return []
        if MARK_PREFIX in text:
            text = mask_marks(text)
        found: list[Known] = []
        clear = self._candidates(text, spend)
        for form in clear:
            places = list(_places(text, form, self._class(form)))
            spend(len(text) // 64 + _PER_PLACE * len(places))
            found += places
        if found:
            found = _merge(found)
        behind = self._behind_escapes(_without(text, found) if found else text, spend)
        if behind is None and found:
            # A value can be part of another value, the rest of which is escaped.
            behind = self._behind_escapes(text, spend, {form.value for form in clear})
        if behind is None:
            return found
        # The position is unknown, so the whole text is removed.
        classes = [hit.cls for hit in found]
        cls = functools.reduce(stricter, classes, self._class(behind))
        return [Known(0, len(text), cls, behind.value)]

    def mark_clean(self, texts: Iterable[str], added: int) -> None:
        """Remember that *texts* contained no known value when the count ``added`` was *added*. This
        holds until another value is added.
        """
        with self._lock:
            if self._classes and added == self._added:
                clean = self._clean
                if isinstance(clean, frozenset) or len(clean) > _CLEAN:
                    clean = self._clean = set()
                clean.update(text for text in texts if len(text) <= _CLEAN_CHARS)

    def rest(self) -> None:
        """Forget the texts that were clean. No value is forgotten."""
        with self._lock:
            self._clean = _NO_TEXTS

    def is_clean(self, text: str) -> bool:
        """Return True if *text* was searched for all values known now and contained none."""
        return text in self._clean

    def _class(self, form: KnownForm) -> str:
        # Another thread might just have removed the text, so only its earlier presence is known.
        return self._classes.get(form.value, "secret")

    def _candidates(self, text: str, spend: Callable[[int], None]) -> list[KnownForm]:
        known, short, grams, windows = self._filed
        if len(known) <= _DIRECT:
            return [form for form in known if form.text in text]
        found = [form for form in short if form.text in text]
        data = text.encode("utf-8", "surrogatepass")
        view = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")
        spend(len(view) // _GRAMS_AT_ONCE)
        likely: dict[int, KnownForm] = {}
        # Python code examines only the positions at which a value can begin.
        for index in compress(range(len(view)), map(grams.__contains__, view)):
            spend(_PER_GRAM)
            offsets = grams.get(view[index], 0)
            for offset in range(_GRAM):
                start = index * _GRAM - offset
                if offsets >> offset & 1 and start >= 0:
                    sizes = windows.get(data[start : start + WINDOW])
                    if sizes is not None:
                        for form in _forms_at(data, start, sizes, spend):
                            likely[id(form)] = form
        return found + list(likely.values())

    def _behind_escapes(
        self, text: str, spend: Callable[[int], None], clear: Collection[str] = ()
    ) -> KnownForm | None:
        """Return a known form that *text* contains once unusual escapes (%68%75nter, \\u0068unter)
        are decoded, or None if there is none. Values in *clear* do not count.
        """
        # Runs of hex digits contain no values in clear text: all runs without such a value have
        # been read.
        for decoded in decodings(text, spend, blanks=self._blanks, runs=not clear):
            for form in self._candidates(decoded, spend):
                if form.value not in clear:
                    return form
        return None


def _window(data: bytes, windows: dict[bytes, _Sizes]) -> int:
    """Return the start of a part of *data* that few other forms share, because values often begin
    or end alike.
    """
    last = len(data) - WINDOW
    best, least = last, len(windows.get(data[last:], ()))
    for start in (0, last // 2, last // 4, last * 3 // 4, last - 3 if last > 3 else 0):
        if least <= SHARED:
            break
        load = len(windows.get(data[start : start + WINDOW], ()))
        if load < least:
            best, least = start, load
    return best


def _forms_at(
    data: bytes, start: int, sizes: _Sizes, spend: Callable[[int], None]
) -> Iterator[KnownForm]:
    """Yield the forms of the given *sizes* that occur in *data* with their window at *start*."""
    # One step handles all forms, because values can be chosen so that thousands share one window.
    for (at, size), forms in tuple(sizes.items()):  # another thread can add to them
        begin = start - at
        if begin >= 0:
            spend(size)
            yield from forms.get(data[begin : begin + size], ())


class EmptyMemory(Memory):
    """A memory that stays empty. It is used for values from the program or the policy, and for the
    policy's input.
    """

    __slots__ = ()

    def remember(self, value: str, cls: str) -> None:
        """Do nothing."""


BLANK = EmptyMemory()

_ORDER: Literal["little", "big"] = (
    "little" if memoryview(b"\x01\x00\x00\x00").cast("I")[0] == 1 else "big"
)


def _names_a_field(value: str) -> bool:
    info = classify(value)
    return info.cls is not None and not info.odd


def _places(text: str, form: KnownForm, cls: str) -> Iterator[Known]:
    start = text.find(form.text)
    end = 0
    while start >= 0:
        done, end = end, start + len(form.text)
        if form.encoded:
            match = _ENCODED_RUN.match(text, end)
            end = match.end() if match else end
            # The search never goes back over removed parts, which keeps the work linear.
            before = _ENCODED_RUN.match(text[max(done, start - _MAX_VALUE) : start][::-1])
            start -= before.end() if before else 0
        yield Known(start, end, cls, form.value)
        start = text.find(form.text, end)


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
