"""Finds which of many forms of known values occur in a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import compress

from guardrail.core.redaction.known_forms import KnownForm

__all__ = ["SHARED", "WINDOW", "FormIndex", "choose_window"]

# Up to this number of forms, searching for each one is cheaper. Above it, each form is indexed by a
# window of seven of its bytes. Wherever the window occurs in a text, one of its four 4-byte pieces
# is at an offset that is a multiple of four.
_DIRECT = 48
_GRAM = 4
WINDOW = 2 * _GRAM - 1
SHARED = 2
_PER_GRAM = 2
_GRAMS_AT_ONCE = 16
"""Number of grams that C code looks up in the time of one unit of work."""

_Found = tuple[str, KnownForm]
_Filed = tuple[int, bytes, _Found]
"""A form, its bytes, and the position of its window in those bytes."""
_Places = dict[tuple[int, int], dict[bytes, list[_Found]]]
"""Forms by their bytes, grouped by the position of the window in the form and the size of the form.
All forms that share a window are compared with a text at once.
"""


class FormIndex:
    """All forms of the known values.

    One thread at a time may add forms, while others search.
    """

    __slots__ = ("_few", "_grams", "_short", "windows")

    def __init__(self, few: Iterable[_Found] = ()) -> None:
        self._few = tuple(few)
        """All forms while there are few, otherwise empty."""
        self._short: list[_Found] = []
        self._grams: set[int] = set()
        self.windows: dict[bytes, _Filed | _Places] = {}
        """The forms with each window. A single form, the usual case, is stored without a
        dictionary.
        """

    def extended(self, forms: list[_Found]) -> FormIndex:
        """Return the index with *forms* added.

        While there are few forms, this is a new object, which is complete before any search can use
        it.
        """
        if self.windows:  # each value has forms that are longer than a window, such as hex
            self._file(forms)
            return self
        index = FormIndex((*self._few, *forms))
        if len(index._few) > _DIRECT:
            forms, index._few = list(index._few), ()
            index._file(forms)
        return index

    def _file(self, forms: list[_Found]) -> None:
        windows = self.windows
        new: list[bytes] = []
        for found in forms:
            text = found[0]
            data = text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
            size = len(data)
            at = size - WINDOW
            if at < 0:
                self._short.append(found)
                continue
            window = data[at:]
            places = windows.get(window)
            if isinstance(places, dict) and len(places) > SHARED:
                at = choose_window(data, windows)
                window = data[at : at + WINDOW]
                places = windows.get(window)
            if places is None:
                windows[window] = (at, data, found)
                new.append(window)
                continue
            if isinstance(places, tuple):
                start, other, first = places
                places = windows[window] = {(start, len(other)): {other: [first]}}
            places.setdefault((at, size), {}).setdefault(data, []).append(found)
        if new:
            # Each window is padded to eight bytes, so that one cast reads the same piece of all.
            padded = b"\x00".join(new)
            for start in range(_GRAM):
                last = len(padded) - WINDOW + start + _GRAM
                self._grams.update(memoryview(padded)[start:last].cast("I")[::2])

    def candidates(self, text: str, spend: Callable[[int], None]) -> list[_Found]:
        """Return the forms that occur in *text*."""
        if self._few:
            return [found for found in self._few if found[0] in text]
        found = [short for short in self._short if short[0] in text]
        data = text.encode("utf-8", "surrogatepass")
        view = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")
        spend(len(view) // _GRAMS_AT_ONCE)
        if self._grams.isdisjoint(view):
            return found
        windows, likely = self.windows, dict[int, _Found]()
        # Python code examines only the positions at which a value can begin.
        for index in compress(range(len(view)), map(self._grams.__contains__, view)):
            spend(_PER_GRAM)
            for start in range(index * _GRAM, max(-1, (index - 1) * _GRAM), -1):
                places = windows.get(data[start : start + WINDOW])
                if isinstance(places, tuple):
                    at, form, one = places
                    spend(len(form))
                    if start >= at and data.startswith(form, start - at):
                        likely[id(one)] = one
                elif places is not None:
                    for one in _forms_at(data, start, places, spend):
                        likely[id(one)] = one
        return found + list(likely.values())


def _forms_at(
    data: bytes, start: int, places: _Places, spend: Callable[[int], None]
) -> Iterator[_Found]:
    """Yield the forms that occur in *data* with their window at *start*."""
    # One step handles all forms of one size, because values can be chosen so that thousands share
    # one window.
    for (at, size), forms in tuple(places.items()):  # another thread can add to them
        begin = start - at
        if begin >= 0:
            spend(size)
            yield from forms.get(data[begin : begin + size], ())


def choose_window(data: bytes, windows: Mapping[bytes, _Filed | _Places]) -> int:
    """Return the start of a window in *data* that few other forms share. Values often begin or end
    alike.
    """
    last = len(data) - WINDOW
    best, least = last, _load(windows.get(data[last:]))
    for start in (0, last // 2, last // 4, last * 3 // 4, last - 3 if last > 3 else 0):
        if least <= SHARED:
            break
        load = _load(windows.get(data[start : start + WINDOW]))
        if load < least:
            best, least = start, load
    return best


def _load(places: _Filed | _Places | None) -> int:
    return len(places) if isinstance(places, dict) else int(places is not None)
