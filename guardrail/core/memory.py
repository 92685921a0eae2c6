"""The sensitive values of one session, so that they are recognised wherever they turn up again.

Held in memory only, for as long as the session lives, and bounded: the oldest values are forgotten first, those of class
``secret`` last. Values shorter than ``MIN_VALUE`` characters are not remembered: they would be found by chance.
"""

from __future__ import annotations

import json
import re
import threading
from binascii import b2a_base64
from collections.abc import Iterator
from itertools import chain
from typing import Literal, NamedTuple
from urllib.parse import quote, quote_plus, unquote_plus

from guardrail.core.keynames import classify, stricter
from guardrail.core.marks import MARK_PREFIX, mask_marks, normalised

__all__ = ["MIN_VALUE", "Known", "Memory"]

MIN_VALUE = 6
_MAX_VALUES = 2_048
_MAX_CHARS = 1_000_000
_MAX_VALUE = 8_192
# Up to so many forms it is cheaper to look for each. Beyond, each form is filed under a stretch of seven bytes of it: wherever
# that stands in a text, one of its four pieces of four bytes stands at a multiple of four.
_DIRECT = 48
_GRAM = 4
_WINDOW = 2 * _GRAM - 1
_SHARED = 2

_ENCODED_RUN = re.compile(r"[A-Za-z0-9+/=_-]*")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class Known(NamedTuple):
    """One place in a text that holds a known value."""

    start: int
    end: int
    cls: str
    value: str
    """The value as it was remembered."""


class _Form(NamedTuple):
    text: str
    value: str
    encoded: bool
    """Base64 or hex: the whole run around it goes, so that no rest of it is left."""


class Memory:
    """What one session knows to be sensitive. Thread-safe; bounded in count and size."""

    __slots__ = ("_added", "_chars", "_classes", "_forms", "_grams", "_lock", "_short", "_windows")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes: dict[str, str] = {}
        self._forms: list[_Form] = []
        self._grams: dict[int, int] = {}
        self._windows: dict[bytes, list[_Form]] = {}
        self._short: list[_Form] = []
        self._chars = 0
        self._added = 0

    @property
    def added(self) -> int:
        """How often a value or a stricter class came in: who kept something redacted looks at it again when this has grown."""
        return self._added

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return f"Memory({len(self._classes)} values)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("the sensitive values of a session are never written")

    def remember(self, value: str, cls: str) -> None:
        """Recognise *value* from now on, in every form.

        Ignores what can't be told from ordinary text: fewer than six characters, a word that names a field
        (``password``), one of guardrail's own marks. Of a very long value, its beginning stands for it.
        """
        known = self._classes.get(value)
        if known is not None and (known == cls or stricter(known, cls) == known):
            return
        if len(value) > _MAX_VALUE:
            value = value[:_MAX_VALUE]
        if not value.isascii():
            value = normalised(value)
        if (
            len(value) < MIN_VALUE
            or len(value.strip()) < MIN_VALUE
            or value.startswith(MARK_PREFIX)
        ):
            return
        if value.islower() and value.isascii() and _names_a_field(value):
            return
        with self._lock:
            self._add(value, cls)

    def _add(self, value: str, cls: str) -> None:
        known = self._classes.get(value)
        if known is not None and stricter(known, cls) == known:
            return
        self._classes[value] = cls
        if known is None:
            self._chars += len(value)
            if len(self._classes) > _MAX_VALUES or self._chars > _MAX_CHARS:
                self._evict()
            else:
                self._index(_forms(value))
        # Last: who sees the new count also finds the value.
        self._added += 1

    def _evict(self) -> None:
        # A quarter at once: rebuilding the index for each new value would make a full memory slow.
        for secrets_too in (False, True):
            for old in [
                value for value, cls in self._classes.items() if secrets_too or cls != "secret"
            ]:
                if (
                    len(self._classes) <= _MAX_VALUES * 3 // 4
                    and self._chars <= _MAX_CHARS * 3 // 4
                ):
                    break
                self._chars -= len(old)
                del self._classes[old]
        self._forms, self._grams, self._windows, self._short = [], {}, {}, []
        for value in self._classes:
            self._index(_forms(value))

    def _index(self, new: list[_Form]) -> None:
        before = len(self._forms)
        self._forms = [*self._forms, *new] if before < _DIRECT else self._forms
        if before >= _DIRECT:
            self._forms.extend(new)
        if len(self._forms) <= _DIRECT:
            return
        for form in new if before > _DIRECT else self._forms:
            data = form.text.encode("utf-8", "surrogatepass")
            if len(data) < _WINDOW:
                self._short.append(form)
                continue
            window = self._window(data)
            self._windows.setdefault(window, []).append(form)
            for offset in range(_GRAM):
                gram = int.from_bytes(window[offset : offset + _GRAM], _ORDER)
                self._grams[gram] = self._grams.get(gram, 0) | 1 << offset

    def _window(self, data: bytes) -> bytes:
        """Return a stretch of *data* that few other forms share: values often begin or end alike."""
        last = len(data) - _WINDOW
        best, least = data[last:], len(self._windows.get(data[last:], ()))
        for start in (0, last // 2, last // 4, last * 3 // 4, last - 3 if last > 3 else 0):
            if least <= _SHARED:
                break
            window = data[start : start + _WINDOW]
            load = len(self._windows.get(window, ()))
            if load < least:
                best, least = window, load
        return best

    def knows(self, text: str) -> str | None:
        """Return the class of a known value that *text* holds in some form, the strictest where several; else None."""
        cls: str | None = None
        for found in self.find(text if text.isascii() else normalised(text)):
            cls = found.cls if cls is None else stricter(cls, found.cls)
        return cls

    def class_of(self, value: str) -> str | None:
        """Return the class of exactly this value, where it is known."""
        return self._classes.get(value)

    def scrub(self, text: str) -> str:
        """Return *text* without any known value. Text that holds none is returned as it is."""
        if not self._forms:
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

    def find(self, text: str) -> list[Known]:
        """Return the places of known values in *text* (ASCII or normalised), in order, never overlapping.

        guardrail's own marks are passed over.
        """
        if not self._classes or len(text) < MIN_VALUE:
            return []
        if MARK_PREFIX in text:
            text = mask_marks(text)
        found = list(
            chain.from_iterable(
                _places(text, form, self._class(form)) for form in self._candidates(text)
            )
        )
        if "%" in text or "\\" in text:
            found += self._behind_escapes(text, found)
        return _merge(found) if found else []

    def _class(self, form: _Form) -> str:
        # Another thread may just have made room: then nothing is known of the value but that it was here.
        return self._classes.get(form.value, "secret")

    def _candidates(self, text: str) -> list[_Form]:
        forms = self._forms
        if len(forms) <= _DIRECT:
            return [form for form in forms if form.text in text]
        found = [form for form in self._short if form.text in text]
        data = text.encode("utf-8", "surrogatepass")
        grams, windows = self._grams, self._windows
        view = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")
        if grams.keys().isdisjoint(view):
            return found
        likely: dict[int, _Form] = {}
        for index, gram in enumerate(view):
            offsets = grams.get(gram)
            if offsets is None:
                continue
            for offset in range(_GRAM):
                start = index * _GRAM - offset
                if offsets >> offset & 1 and start >= 0:
                    for form in windows.get(data[start : start + _WINDOW], ()):
                        likely[id(form)] = form
        return found + [form for form in likely.values() if form.text in text]

    def _behind_escapes(self, text: str, found: list[Known]) -> Iterator[Known]:
        # Unusual escapes (%68%75nter, \u0068unter) are undone; the whole text goes where that brings up a value.
        seen = {hit.value for hit in found}
        for decoded in (unquote_plus(text, errors="replace"), _ESCAPE.sub(_unescape, text)):
            if decoded == text:
                continue
            for form in self._candidates(decoded):
                if form.value not in seen:
                    yield Known(0, len(text), self._class(form), form.value)
                    return


_ORDER: Literal["little", "big"] = (
    "little" if memoryview(b"\x01\x00\x00\x00").cast("I")[0] == 1 else "big"
)


def _names_a_field(value: str) -> bool:
    info = classify(value)
    return info.cls is not None and not info.odd


def _forms(value: str) -> list[_Form]:
    plain = [value]
    if not value.isalnum() or not value.isascii():
        escaped = json.dumps(value)[1:-1]
        plain += [
            escaped,
            json.dumps(value, ensure_ascii=False)[1:-1],
            json.dumps(escaped)[1:-1],
            escaped.replace("/", "\\/"),
            ascii(value)[1:-1],
            repr(value)[1:-1],
        ]
        octets = value.encode("utf-8", "replace")
        quoted = [quote(octets, safe=""), quote(octets), quote_plus(octets)]
        plain += [*quoted, *(text.lower() for text in quoted if value.islower())]
    forms = [_Form(text, value, encoded=False) for text in dict.fromkeys(plain)]
    data = value.encode("utf-8", "replace")
    encoded = [data.hex()]
    encoded.append(encoded[0].upper())
    for shift in range(3):
        # Characters that also depend on a neighbour's bits are left away: 0, 2 or 3 before, at most one after.
        whole = (shift + len(data)) * 8 // 6
        encoded.append(
            b2a_base64(bytes(shift) + data, newline=False)[(0, 2, 3)[shift] : whole].decode("ascii")
        )
    encoded += [
        text.replace("+", "-").replace("/", "_")
        for text in encoded[2:]
        if "+" in text or "/" in text
    ]
    forms += [_Form(text, value, encoded=True) for text in dict.fromkeys(encoded)]
    return forms


def _places(text: str, form: _Form, cls: str) -> Iterator[Known]:
    start = text.find(form.text)
    while start >= 0:
        end = start + len(form.text)
        if form.encoded:
            match = _ENCODED_RUN.match(text, end)
            end = match.end() if match else end
            before = _ENCODED_RUN.match(text[max(0, start - _MAX_VALUE) : start][::-1])
            start -= before.end() if before else 0
        yield Known(start, end, cls, form.value)
        start = text.find(form.text, end)


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


def _unescape(match: re.Match[str]) -> str:
    wide, narrow, simple = match.groups()
    if simple is not None:
        return _SIMPLE_ESCAPES.get(simple, simple)
    return chr(int(wide or narrow, 16))


def _mark(cls: str) -> str:
    return f"{MARK_PREFIX}{cls}:-:" + "known".ljust(24, "a")
