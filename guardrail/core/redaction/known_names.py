"""The parts of the names of people that a session knows, which are found in text as whole words.

Other known values are improbable. A name is not, so only a name in a field that is named for it is
kept, without parts that are also ordinary words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.person_names import is_person, name_parts

__all__ = ["KnownNames"]

_MAX_NAMES = 256
_WORD = re.compile(r"[^\W\d_]{3,}")
_ASCII_WORD = re.compile(r"[A-Z][A-Za-z]{2,}")
"""Every part of a name that can be in an ASCII text. It is searched for faster than ``_WORD``."""


class KnownNames:
    """The parts of names, with their class. The oldest are forgotten first."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, name: str, cls: str) -> bool:
        """Add the parts of *name*. Return True if there is a new one."""
        if not is_person(name, 1):
            return False
        words = [word for part in name_parts(name) for word in _WORD.findall(part)]
        words += [word.title() for word in words if word.isupper()]
        parts = self._parts
        new = [word for word in words if not word[0].islower() and word not in parts]
        for word in new:
            parts[word] = cls
        while len(parts) > _MAX_NAMES:
            del parts[next(iter(parts))]
        return bool(new)

    def find(self, text: str) -> Iterator[tuple[int, int, str, str]]:
        """Yield (start, end, class, part) for the parts of names in *text*."""
        parts = self._parts
        if not text.isascii():
            yield from _unspaced(text, parts)
            if parts.keys().isdisjoint(_WORD.findall(text)):
                return
        elif parts.keys().isdisjoint(_ASCII_WORD.findall(text)):
            return
        for match in _WORD.finditer(text):
            cls = parts.get(match.group())
            if cls is not None and not _is_joined(text, *match.span()):
                yield match.start(), match.end(), cls, match.group()


def _unspaced(text: str, parts: dict[str, str]) -> Iterator[tuple[int, int, str, str]]:
    """Yield the names that are written without blanks around them."""
    for part, cls in tuple(parts.items()):  # another thread can add to them
        if part[0] > "\u3000":
            start = text.find(part)
            while start >= 0:
                yield start, start + len(part), cls, part
                start = text.find(part, start + len(part))


def _is_joined(text: str, start: int, end: int) -> bool:
    """Return True if the word is part of an identifier, a path or a longer word."""
    left, right = text[start - 1 : start] if start else "", text[end : end + 1]
    return left in _JOINING or right in _JOINING


_JOINING = frozenset("_/\\0123456789")
