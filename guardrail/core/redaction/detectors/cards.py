"""Recognises card numbers, and distinguishes them from other numbers whose check digit is valid by
chance, as it is for one number in ten.
"""

from __future__ import annotations

import re
import string

from guardrail.core.redaction.spans import before

__all__ = ["is_card", "is_other_number"]


def _card_sizes() -> dict[str, frozenset[int]]:
    """Return the lengths of card numbers, keyed by their first two digits."""
    sizes = {str(two): frozenset({13, 16, 19}) for two in range(40, 50)}
    sizes |= {str(two): frozenset({16}) for two in (*range(22, 28), *range(51, 56))}
    sizes |= {
        str(two): frozenset({16, 17, 18, 19})
        for two in (35, 50, *range(56, 59), *range(60, 66), 67)
    }
    return (
        sizes
        | {"34": frozenset({15}), "37": frozenset({15})}
        | {two: frozenset({14}) for two in ("30", "36", "38", "39")}
    )


_CARD_SIZES = _card_sizes()
_DOUBLED = {
    "0": 0,
    "1": 2,
    "2": 4,
    "3": 6,
    "4": 8,
    "5": 1,
    "6": 3,
    "7": 5,
    "8": 7,
    "9": 9,
}.__getitem__


def is_card(digits: str) -> bool:
    """Return True if *digits* have the length and the check digit of a card number."""
    if len(digits) not in _CARD_SIZES.get(digits[:2], ()) or len(set(digits)) < 2:
        return False
    return (sum(map(int, digits[-1::-2])) + sum(map(_DOUBLED, digits[-2::-2]))) % 10 == 0


_GROUPED = re.compile(r"[0-9]{4}([ \-])[0-9]{4,6}\1[0-9]{4,5}(?:\1[0-9]{1,4}){0,2}\Z")
_FRACTION = re.compile(r"\.[0-9]*[1-9]")
_WORD = string.ascii_letters + string.digits + "-"
_UUID = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
)
_DIGEST = re.compile(r"(?:0[xX])?(?:[0-9a-f]{16,}|[0-9A-F]{16,})\Z")
# In "cc4111...", letters before a number are a word. If the whole text is as long as a digest, it
# counts as a digest.
_WORD_AND_NUMBER = re.compile(r"[A-Za-z]+[0-9]{13,19}\Z")
# UnionPay and Maestro are the networks whose numbers can have more than 16 digits.
_LONG = re.compile(r"62|50[1-3]|5893|6304|67[56]")
_CARD_WORD = re.compile(r"card|visa|jcb|discover|maestro|unionpay|\b(?:pan|cc)\b", re.IGNORECASE)


def is_other_number(text: str, first: int, last: int) -> bool:
    """Return True if the apparent card number at this position in *text* is part of a decimal, a
    UUID, a digest or a long id.
    """
    left = text[max(0, first - 2) : first]
    grouped = _GROUPED.match(text, first, last) is not None
    if left[-1:] == "." and not grouped and not left[:1].isalpha() and left != "..":
        return True
    if not grouped and _FRACTION.match(text, last) is not None:
        return True
    left, right = text[max(0, first - 128) : first], text[last : last + 128]
    left = left[len(left.rstrip(_WORD)) :]
    right = right[: len(right) - len(right.lstrip(_WORD))]
    begin, word = len(left), left + text[first:last] + right
    if any(
        found.start() < begin + last - first and begin < found.end()
        for found in _UUID.finditer(word)
    ):
        return True
    left, right = left.rpartition("-")[2], right.partition("-")[0]
    if not text[first:last].isdigit():
        # The number extends across a dash between two digests or two ids.
        return not grouped and (left + right).isalnum()
    word = left + text[first:last] + right
    if len(word) > last - first:
        return _DIGEST.match(word) is not None and _WORD_AND_NUMBER.match(word) is None
    # Ids of messages and users (snowflakes) have 17 to 19 digits.
    return (
        last - first > 16
        and (last - first < 19 or _LONG.match(word) is None)
        and _CARD_WORD.search(before(text, first, 24)) is None
    )
