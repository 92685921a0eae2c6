"""Cuts long strings, and recognises and shortens the recorded form of a string that was cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from guardrail.core.redaction.marks import FILLER, MARK_PREFIX, is_mark, mask_marks

__all__ = ["cut", "end_of_cut", "is_cut", "searched_part", "with_heads", "without_head"]

_MARK_SIZE = 96
_JOINING = frozenset("\u200d\ufe0e\ufe0f")
_MOST_JOINED = 32
_FIELDS = frozenset({"$t", "len", "tok", "head"})


def end_of_cut(text: str, size: int) -> int:
    """Return the position, at most *size*, at which *text* is cut. The cut is never inside one of
    guardrail's own marks, and separates no accent from its letter.
    """
    if len(text) <= size:
        return len(text)
    last = text.rfind(MARK_PREFIX, max(0, size - _MARK_SIZE), size - 1 + len(MARK_PREFIX))
    if last >= 0:
        masked = mask_marks(text[last : last + _MARK_SIZE])
        if last + len(masked) - len(masked.lstrip(FILLER)) > size:
            return last
    if text.isascii():
        return size
    end = size
    while end > max(0, size - _MOST_JOINED) and _joins(text[end]):
        end -= 1
    return end


def _joins(char: str) -> bool:
    return char in _JOINING or unicodedata.combining(char) != 0


def cut(text: str, size: int) -> str:
    """Return *text*, cut to at most *size* characters and followed by ``...`` if it is longer."""
    return text if len(text) <= size else text[: end_of_cut(text, size)] + "..."


def searched_part(text: str, size: int, past: int) -> str:
    """Return the part of *text* that is searched: at most *size* characters from its beginning.

    It ends at a space if one of the last *past* characters is one, so that the session does not
    remember half a value.
    """
    if len(text) <= size:
        return text
    end = max(text.rfind(blank, size - past, size) for blank in " \n\t")
    return text[: end if end >= 0 else size]


def is_cut(value: object) -> bool:
    """Return True if *value* is the recorded form of a string that was cut: its length, a token of
    the whole and its redacted beginning.
    """
    return (
        type(value) is dict
        and value.keys() == _FIELDS
        and value["$t"] == "str"
        and type(value["head"]) is str
        and type(value["tok"]) is str
        and is_mark(value["tok"])
    )


def without_head(value: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded form of a string that was cut, without its beginning."""
    return {name: member for name, member in value.items() if name != "head"}


def with_heads(value: Any, size: int, spend: Callable[[int], None]) -> Any:
    """Return *value* with at most *size* characters of each string that was cut. *value* itself is
    returned if nothing in it is longer, and is never changed.
    """
    if type(value) is dict:
        spend(len(value))
        if is_cut(value):
            head = value["head"]
            end = end_of_cut(head, size)
            return value if end == len(head) else {**value, "head": head[:end]}
        members = {name: with_heads(member, size, spend) for name, member in value.items()}
        same = all(members[name] is member for name, member in value.items())
        return value if same else members
    if type(value) is list:
        spend(len(value))
        items = [with_heads(member, size, spend) for member in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    return value
