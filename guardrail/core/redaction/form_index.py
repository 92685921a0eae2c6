"""Finds which of many forms of known values occur in a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import compress

from guardrail.core.hidden import hidden
from guardrail.core.redaction.known_forms import KnownForm

__all__ = ["WINDOW", "FormIndex", "choose_window"]

# Up to this number of forms, searching for each one is cheaper. Above it, each form is indexed by a
# window of seven of its bytes. Wherever the window occurs in a text, one of its four 4-byte pieces
# is at an offset that is a multiple of four.
_DIRECT = 48
_GRAM = 4
WINDOW = 2 * _GRAM - 1
_PER_GRAM = 2
_GRAMS_AT_ONCE = 16
"""Number of grams that C code looks up in the time of one unit of work."""

_Found = tuple[str, KnownForm]
_Window = int | dict[int, None]
"""The number of the only form with a window, or the places of the window in all forms with it. A
place is the position of the window in the form, shifted by ``_BITS``, and the size of the form: all
forms with the window at one place are compared with a text at once.
"""
_BITS = 32
_SIZE = (1 << _BITS) - 1


@hidden
class FormIndex:
    """All forms of the known values.

    One thread at a time may add forms, while others search.

    A session can know thousands of forms, and a process can have many sessions. So nothing that is
    stored for each form is an object that Python's garbage collector visits.
    """

    __slots__ = (
        "_encoded",
        "_grams",
        "_indexed",
        "_numbers",
        "_same",
        "_short",
        "_texts",
        "_values",
        "windows",
    )

    def __init__(self) -> None:
        self._indexed = False
        """False while there are few forms, each of which is searched for."""
        self._texts: list[str] = []
        """All forms. A form's number is its index."""
        self._values: list[str] = []
        """The value of each form in ``_texts``."""
        self._encoded = bytearray()
        """1 for each form in ``_texts`` that is encoded, otherwise 0."""
        self._short: list[int] = []
        self._grams: set[int] = set()
        self._numbers: dict[bytes, int] = {}
        """The number of each form whose window other forms have as well, by its bytes."""
        self._same: dict[int, list[int]] = {}
        """The numbers of further forms with the same bytes."""
        self.windows: dict[bytes, _Window] = {}
        """The forms with each window."""

    def extended(self, forms: list[_Found]) -> FormIndex:
        """Return the index with *forms* added. An empty index is not changed."""
        index = self if self._texts else FormIndex()
        index._add(forms)
        return index

    def _add(self, forms: list[_Found]) -> None:
        first = len(self._texts)
        # A search can find a form as soon as its text or, with an index, its window is stored.
        self._values += [known.value for _, known in forms]
        self._encoded += bytes([known.encoded for _, known in forms])
        self._texts += [text for text, _ in forms]
        if self._indexed:
            self._file(first)
        elif len(self._texts) > _DIRECT:
            self._file(0)
            self._indexed = True

    def _file(self, first: int) -> None:
        """Index all forms from number *first* on."""
        windows = self.windows
        new: list[bytes] = []
        for number, text in enumerate(self._texts[first:], first):
            data = _octets(text)
            # Values often begin or end alike, such as addresses of one domain.
            at = (len(data) - WINDOW) >> 1
            if at < 0:
                self._short.append(number)
            else:
                window = data[at : at + WINDOW]
                if window not in windows:
                    windows[window] = number
                    new.append(window)
                else:
                    new += self._share(window, number, data)
        if new:
            # Each window is padded to eight bytes, so that one cast reads the same piece of all.
            padded = b"\x00".join(new)
            for start in range(_GRAM):
                last = len(padded) - WINDOW + start + _GRAM
                self._grams.update(memoryview(padded)[start:last].cast("I")[::2])

    def _share(self, window: bytes, number: int, data: bytes) -> list[bytes]:
        """Store form *number*, *data*, whose *window* in the middle other forms have as well.
        Return the windows that are new.
        """
        windows = self.windows
        at = choose_window(data, windows)
        window = data[at : at + WINDOW]
        places = windows.get(window)
        if places is None:
            windows[window] = number
            return [window]
        self._number(number, data)
        if isinstance(places, int):
            first = _octets(self._texts[places])
            self._number(places, first)
            windows[window] = places = {_place(first, window): None}
        places[_place(data, window)] = None
        return []

    def _number(self, number: int, data: bytes) -> None:
        first = self._numbers.setdefault(data, number)
        if first != number:
            self._same.setdefault(first, []).append(number)

    def candidates(self, text: str, spend: Callable[[int], None]) -> list[_Found]:
        """Return the forms that occur in *text*."""
        texts, values, encoded = self._texts, self._values, self._encoded
        if self._indexed:
            numbers = [number for number in self._short if texts[number] in text]
            data = text.encode("utf-8", "surrogatepass")
            view = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")
            spend(len(view) // _GRAMS_AT_ONCE)
            if not self._grams.isdisjoint(view):
                numbers += self._in_windows(data, view, spend)
        else:
            numbers = [number for number, form in enumerate(texts) if form in text]
        return [
            (texts[number], KnownForm(values[number], bool(encoded[number]))) for number in numbers
        ]

    def _in_windows(
        self, data: bytes, view: memoryview, spend: Callable[[int], None]
    ) -> dict[int, None]:
        """Return the numbers of the forms in *data* that are longer than a window. *view* contains
        the grams of *data*.
        """
        windows, texts, likely = self.windows, self._texts, dict[int, None]()
        # Python code examines only the positions at which a value can begin.
        for index in compress(range(len(view)), map(self._grams.__contains__, view)):
            spend(_PER_GRAM)
            for start in range(index * _GRAM, max(-1, (index - 1) * _GRAM), -1):
                window = data[start : start + WINDOW]
                places = windows.get(window)
                if places is None:
                    continue
                if isinstance(places, int):
                    form = _octets(texts[places])
                    spend(len(form))
                    at = form.rfind(window)
                    if start >= at and data.startswith(form, start - at):
                        likely[places] = None
                else:
                    likely.update(dict.fromkeys(self._forms_at(data, start, places, spend)))
        return likely

    def _forms_at(
        self, data: bytes, start: int, places: dict[int, None], spend: Callable[[int], None]
    ) -> Iterator[int]:
        """Yield the numbers of the forms that occur in *data* with their window at *start*."""
        # One step handles all forms of one size, because values can be chosen so that thousands
        # share one window.
        for place in tuple(places):  # another thread can add to them
            begin, size = start - (place >> _BITS), place & _SIZE
            if begin >= 0:
                spend(size)
                number = self._numbers.get(data[begin : begin + size])
                if number is not None:
                    yield number
                    yield from self._same.get(number, ())


def _octets(text: str) -> bytes:
    return text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")


def _place(form: bytes, window: bytes) -> int:
    return form.rfind(window) << _BITS | len(form)


def choose_window(data: bytes, windows: Mapping[bytes, _Window]) -> int:
    """Return the start of a window in *data* that few other forms share. Values often begin or end
    alike.
    """
    last = len(data) - WINDOW
    best, least = last, _load(windows.get(data[last:]))
    for start in (0, last // 2, last // 4, last * 3 // 4, last - 3 if last > 3 else 0):
        if not least:
            break
        load = _load(windows.get(data[start : start + WINDOW]))
        if load < least:
            best, least = start, load
    return best


def _load(places: _Window | None) -> int:
    return len(places) if isinstance(places, dict) else int(places is not None)
