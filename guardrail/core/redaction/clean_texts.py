"""Remembers texts in which no detector finds anything."""

from __future__ import annotations

from collections.abc import Iterable

from guardrail.core.hidden import hidden

__all__ = ["CleanTexts"]

# There are many short texts and a few long ones.
_CLEAN, _CLEAN_CHARS = 4_096, 256
_LONG_CLEAN, _LONG_CLEAN_CHARS = 64, 8_192


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
