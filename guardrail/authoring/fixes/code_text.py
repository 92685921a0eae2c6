"""The text of a policy, separated into code, strings and comments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["CodeText", "Written"]

_PIECE = re.compile(
    r"(?P<text>\"(?:[^\"\\\n]|\\[^\n])*+(?:\"|\\?(?=\n|\Z))|`[^`]*(?:`|\Z))"
    r"|(?P<comment>\#[^\n]*)|[^\"`#]+"
)
"""A string that does not end extends to the end of its line or text, so every character is read
once.
"""
_VISIBLE = re.compile(r"[^\r\n]")
_RULE = re.compile(r"[^\s})\]]")
"""Matches the first character of a statement that begins in the first column."""


@dataclass(frozen=True, slots=True)
class Written:
    """A string in a policy."""

    start: int
    end: int
    text: str
    """The string with its quotes."""


class CodeText:
    """A policy's text and a copy of the same length, in which each character of strings and
    comments is a space.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        code: list[str] = []
        self.strings: list[Written] = []
        self._comments: set[int] = set()
        for found in _PIECE.finditer(text):
            if found.lastgroup == "text":
                self.strings.append(Written(found.start(), found.end(), found[0]))
            elif found.lastgroup == "comment":
                self._comments.add(found.start())
            hidden = found.lastgroup is not None
            code.append(_VISIBLE.sub(" ", found[0]) if hidden else found[0])
        self.code = "".join(code)
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def line(self, number: int) -> tuple[int, int]:
        """Return the range of line *number*, without its line break. It is empty if there is no
        such line.
        """
        if not 1 <= number <= len(self._starts):
            return 0, 0
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        return start, end - (end > start and self.text[end - 1] == "\r")

    def statement(self, number: int) -> tuple[int, int]:
        """Return the range from line *number* to the next statement."""
        start, _ = self.line(number)
        for begin in self._starts[number:]:
            if _RULE.match(self.code, begin):
                return start, begin
        return start, len(self.text)

    def statements(self) -> Iterator[str]:
        """Yield the code of each line on which a statement begins."""
        for number in range(1, len(self._starts) + 1):
            start, end = self.line(number)
            if _RULE.match(self.code, start, end):
                yield self.code[start:end]

    def strings_in(self, start: int, end: int) -> list[Written]:
        """Return the strings between *start* and *end*."""
        return [each for each in self.strings if start <= each.start and each.end <= end]

    def is_key(self, string: Written) -> bool:
        """Return True if *string* is a key of an object."""
        return re.compile(r"\s*:(?!=)").match(self.code, string.end) is not None

    def replace(self, start: int, end: int, new: str) -> str:
        """Return the text with *new* between *start* and *end*."""
        return self.text[:start] + new + self.text[end:]

    def without_line(self, number: int) -> str:
        """Return the text without the code of line *number*. A comment on that line stays."""
        start, end = self.line(number)
        for place in range(start, end):
            if place in self._comments:
                return self.replace(start, place, "")
        after = self.text.find("\n", end) + 1 or len(self.text)
        blank = re.compile(r"[ \t]*\r?\n").match(self.text, after)
        if blank is not None and self._is_blank_before(number):
            after = blank.end()
        return self.replace(start, after, "")

    def _is_blank_before(self, number: int) -> bool:
        return number > 1 and not self.text[slice(*self.line(number - 1))].strip()

    def sub_in_line(self, number: int, pattern: re.Pattern[str], new: Callable[[str], str]) -> str:
        """Return the text in which *new* replaced every match of *pattern* in the code of line
        *number*.
        """
        start, end = self.line(number)
        text = self.text
        for found in reversed([*pattern.finditer(self.code, start, end)]):
            text = text[: found.start()] + new(found[0]) + text[found.end() :]
        return text
