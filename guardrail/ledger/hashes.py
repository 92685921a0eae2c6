"""Stores a very large set of texts in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left

__all__ = ["CHUNK", "TextHashes"]

CHUNK = 65_536
"""Number of texts that are kept unsorted."""


class TextHashes:
    """A set of texts, stored as 64-bit hashes. False positives are possible, false negatives are
    not.
    """

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._sorted: list[array[int]] = []

    def __len__(self) -> int:
        return len(self._new) + sum(map(len, self._sorted))

    def add(self, text: str) -> None:
        number = hash(text) & 0xFFFF_FFFF_FFFF_FFFF
        if number in self._new or any(_holds(each, number) for each in self._sorted):
            return
        self._new.add(number)
        if len(self._new) >= CHUNK:
            self._sorted.append(array("Q", sorted(self._new)))
            self._new = set()

    def __contains__(self, text: str) -> bool:
        number = hash(text) & 0xFFFF_FFFF_FFFF_FFFF
        return number in self._new or any(_holds(each, number) for each in self._sorted)


def _holds(numbers: array[int], number: int) -> bool:
    place = bisect_left(numbers, number)
    return place < len(numbers) and numbers[place] == number
