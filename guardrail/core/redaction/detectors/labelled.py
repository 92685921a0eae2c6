"""Detects numbers by the words before them (``account no. 12345678``), and national ids by their
form and check digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from guardrail.core.redaction.detectors.national import is_national_id
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.key_names_foreign import folded
from guardrail.core.redaction.spans import Hit, before

__all__ = ["labelled"]

# Groups of digits and capitals. A group of letters alone is short.
_GROUP = r"(?:[0-9][0-9A-Z]{0,23}|[A-Z]{1,4}[0-9][0-9A-Z]{0,22}|[A-Z]{1,4}(?=[\-/. ][0-9A-Z])|[A-Z]{1,3})(?![A-Za-z0-9])"
_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9.@])(?=[A-Z0-9]|[A-Za-z]{{1,6}}+[_\-][0-9])(?:[A-Z]{{6}}[0-9]{{2}}[A-Z][0-9]{{2}}[A-Z][0-9]{{3}}[A-Z]|(?:[A-Za-z]{{1,6}}[_\-](?=[0-9]))?{_GROUP}(?:[\-./ ]{_GROUP}){{0,8}})(?![A-Za-z0-9])"
)
_LETTERS_FIRST = re.compile(r"[A-Z]{1,5} ")
_DIGITS = re.compile(r"[0-9]")
_YEARS = re.compile(r"(?:19|20)[0-9]{2}(?:[\-/ ](?:19|20)?[0-9]{2})?\Z")
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}[\-/.][0-9]{1,2}[\-/.][0-9]{1,2}|[0-9]{1,2}[\-/. ]{1,2}[0-9]{1,2}[\-/. ]{1,2}(?:19|20)?[0-9]{2})(?![0-9])"
)
_SORT_CODE = re.compile(r"[0-9]{2}-[0-9]{2}-[0-9]{2}\Z")
_WRITTEN_DATE = re.compile(
    r"\W{1,3}(?:(?:on|the|am|le|el|il|den|em|dnia|in)[ .]{1,2}){0,2}(?P<date>[0-9]{1,2}(?:st|nd|rd|th|er|º|\.)?(?: de| of)? [^\W\d_]{3,12},?(?: de)? (?:19|20)[0-9]{2}"
    r"|[A-Z][a-z]{2,8} [0-9]{1,2},? (?:19|20)[0-9]{2}|[0-9]{1,4}[\-/.][0-9]{1,2}[\-/.][0-9]{1,4})"
)
# Without a boundary before it, ``re`` skips to the first characters of the alternatives fast.
_BORN = re.compile(
    r"(?:born|birth|DOB|dob|birthday|geboren|Geburtsdatum|geb\.|n[ée]e? le|naissance|nacid[oa]|nacimiento|nat[oa] il|nascita|nascid[oa]|nascimento|geboortedatum"
    r"|urodzon[ya]|urodzenia|f[oö]dd|født|narozen[aá]?)(?=\W)"
)
_BACK = 48
# Up to five words, matched backwards from a number.
_GAP = r"([ \t:.#_(\"'=\-]{1,4})"
_WORD = r"([cC]/[aA]|[\u00b0\u00ba][nN]|[^\W\d_]{1,24})"
_PAIR = _GAP + _WORD
_WORDS_BACK = re.compile(f"{_PAIR}(?:{_PAIR}(?:{_PAIR}(?:{_PAIR}(?:{_PAIR})?)?)?)?")
_SHORT = {
    "c/a": "account",
    "C/A": "account",
    "c/A": "account",
    "\u00b0n": "no",
    "\u00ban": "no",
    "\u00b0N": "no",
    "\u00baN": "no",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILLERS = _words(
    "is was are be ist war lautet est es son esta jest to ar er on hat mit with which ending called as of for bei"
)  # fmt: skip
_ABBREVIATION = 6
_LEAST_DIGITS = {
    "payment": 5,
    "person_id": 4,
    "government_id": 2,
    "device": 8,
    "contact": 6,
    "secret": 3,
}
_NUMBERED = frozenset({"payment", "person_id", "government_id", "device", "contact", "dob"})
_CODES = frozenset({"pin", "otp", "cvv", "cvc", "passcode", "tan", "puk"})
_CODE_PAIRS = frozenset(
    {("verification", "code"), ("security", "code"), ("time", "code"), ("access", "code"), ("one", "time"), ("login", "code"), ("confirmation", "code"), ("time", "password"), ("puk", "code"), ("pin", "code"), ("alarm", "code"), ("door", "code"), ("gate", "code"), ("safe", "code"), ("keypad", "code"), ("lockbox", "code")}
)  # fmt: skip


def labelled(text: str) -> Iterator[Hit]:
    """Yield numbers that the words before them identify, national ids, and dates of birth."""
    if _DIGITS.search(text) is None:
        return
    for match in _BORN.finditer(text):
        date = _WRITTEN_DATE.match(text, match.end())
        if date is not None and not _is_in_word(text, match.start()):
            yield Hit(*date.span("date"), "dob", "labelled")
    for match in _NUMBER.finditer(text):
        digits = sum(map(str.isdigit, match.group()))
        size = match.end() - match.start()
        if digits >= 4 or (
            digits >= 2 and 4 <= size > digits and any(map(str.isalpha, match.group()))
        ):
            yield from _judge(text, match.start(), match.end(), digits)


def _is_in_word(text: str, start: int) -> bool:
    """Return True if the character before *start* belongs to the same word."""
    left = text[start - 1 : start] if start else ""
    return left.isalnum() or left == "_"


def _judge(text: str, start: int, end: int, digits: int) -> Iterator[Hit]:
    # "DNI 12345678Z": the first group can be the label.
    label = _LETTERS_FIRST.match(text, start, end)
    places = [start]
    while label is not None:
        places.append(label.end())
        label = _LETTERS_FIRST.match(text, label.end(), end)
    for place in reversed(places):
        value = text[place:end]
        if is_national_id(value):
            yield Hit(place, end, "government_id", "national-id")
            return
    for place in places:
        cls = _class_of_words(before(text, place, _BACK))
        if cls is None:
            continue
        value = text[place:end]
        if _fits(cls, value, digits):
            yield Hit(place, end, cls, "labelled")
        return


def _fits(cls: str, value: str, digits: int) -> bool:
    if cls == "dob":
        return _DATE.match(value) is not None
    if digits < _LEAST_DIGITS.get(cls, 4) or _YEARS.match(value) or value.count(".") == 3:
        return False
    if cls == "person_id" and digits < 5 and value.isdigit():
        return False
    if cls == "secret":
        return len(value) <= 10
    if cls == "payment" and _SORT_CODE.match(value):
        return True
    return cls == "government_id" or _DATE.match(value) is None


def _class_of_words(left: str) -> str | None:
    """Return the class that the last words of *left* give to the number after them."""
    east = None if left.isascii() else _EAST.search(left)
    if east is not None:
        return _class_of_east(east.group("v"))
    match = _WORDS_BACK.match(left[::-1])
    if match is None:
        return None
    words: list[str] = []
    for gap, word in zip(*[iter(match.groups())] * 2, strict=True):
        # a full stop, unless it follows an abbreviation
        if word is None or ("." in gap and len(word) > _ABBREVIATION):
            break
        words.append(_SHORT.get(word, word[::-1]))
    while words and words[0].lower() in _FILLERS:
        del words[0]
    return _class_of(tuple(words[3::-1])) if words else None


# Chinese, Japanese and Korean do not separate a word from the number after it.
_EAST = re.compile(
    r"(?P<v>[\u2e80-\u9fff\uac00-\ud7af]{2,8}?)(?:[\u306f\u662f\u4e3a\u70ba\uc740\ub294]?[ :\uff1a]{0,2})\Z"
)


@lru_cache(maxsize=4096)
def _class_of_east(word: str) -> str | None:
    for size in range(2, len(word) + 1):
        info = classify(word[-size:])
        if info.cls is not None:
            return info.cls if info.cls in _NUMBERED else None
    return None


@lru_cache(maxsize=4096)
def _class_of(words: tuple[str, ...]) -> str | None:
    low = [folded(word).lower() for word in words]
    if low[-1] in _CODES or tuple(low[-2:]) in _CODE_PAIRS:
        return "secret"
    if low[-1] in {"ip", "ips", "address", "rfc"}:
        return None
    for count in range(1, len(low) + 1):
        info = classify(" ".join(low[-count:]))
        if info.role is not None and info.role.number is not None:
            return info.role.number
        if info.cls is not None:
            return info.cls if info.cls in _NUMBERED else None
    return None
