"""Detects personal data by its format: e-mail addresses, card numbers, IBANs, social security and
telephone numbers. Check digits, if any, are verified.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from guardrail.core.redaction.detectors.cards import is_card, is_other_number
from guardrail.core.redaction.detectors.phones import phones
from guardrail.core.redaction.spans import JOINT, Hit

__all__ = ["emails", "numbers"]

_LOCAL_BACK = re.compile(r"[\w.%+\-'!#$&*/=?^`{|}~]{1,64}")
_DOMAIN = re.compile(r"\[?[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,8}")


_NO_USERINFO = re.compile(r"[\s/?#\"'<>\x00]")


def _in_userinfo(text: str, at: int) -> bool:
    scheme = text.rfind("://", max(0, at - 512), at)
    return scheme >= 0 and _NO_USERINFO.search(text, scheme + 3, at) is None


def emails(text: str) -> Iterator[Hit]:
    urls = "://" in text
    at = text.find("@")
    while at >= 0:
        local = _LOCAL_BACK.match(text[max(0, at - 64) : at][::-1])
        domain = _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None and not (urls and _in_userinfo(text, at)):
            start, end = at - local.end(), domain.end()
            while text[start] in "'`{|/=?&*!#$~^-." and start < at - 1:
                start += 1
            cut = max(text.rfind(mark, start, at) for mark in "=/?&|'{")
            start = cut + 1 if cut >= start and cut + 1 < at else start
            while text[end - 1] in "-_":
                end -= 1
            local_part = text[start:at]
            # A pattern ("[a-z0-9]+@") is no address.
            if (
                not text[end - 1].isdigit()
                and local_part != "git"
                and any(map(str.isalnum, local_part))
            ):
                yield Hit(start, end, "contact", "email")
        at = text.find("@", at + 1)


_NUMBERS = re.compile(r"[0-9][0-9 ()./\-]{5,}[0-9]")
_CARD = re.compile(r"(?<![0-9])[2-6][0-9](?:[ \-]?[0-9]){11,17}(?![0-9])")
# A card number as cards show it, next to further numbers (an amount, a check code). In a list of
# numbers of four digits, any four could look like one.
_CARD_BESIDE = re.compile(
    r"(?<![0-9])(?:[2-6][0-9]{12,18}|(?<![0-9]{4}[ \-])(?:[2-6][0-9]{3}([ \-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|3[47][0-9]{2}([ \-])[0-9]{6}\2[0-9]{5})(?![ \-][0-9]{4}[ \-]))(?![0-9])"
)
_LONGEST_ALONE = 16
_SSN = re.compile(
    r"(?<![0-9\-])(?!000|666|9)[0-9]{3}([\- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9\-])"
)
_NOT_DIGITS = re.compile(r"[^0-9]+")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_LEADING_DATE = re.compile(r"(?:19|20)[0-9]{2}[\-/. ]?[01][0-9][\-/. ]?[0-3][0-9]\b")


def numbers(text: str) -> Iterator[Hit]:
    for match in _NUMBERS.finditer(text):
        run, start = match.group(), match.start()
        if len(run) < 11 and run[4:5] == "-" and _LEADING_DATE.match(run):
            continue
        digits = len(_NOT_DIGITS.sub("", run))
        if digits >= 12:
            yield from _cards(text, run, start)
        if start and (
            text[start - 1].isupper() or (text[start - 1] == " " and text[start - 2].isupper())
        ):
            yield from _ibans(
                text, max(text.rfind(JOINT, 0, start) + 1, start - 12), match.end() + 40
            )
        if digits < 7 or (
            digits < 9 and len(run) == digits and start and text[start - 1] not in " (:"
        ):
            continue
        if len(run) >= 11 and (run.count("-") >= 2 or run.count(" ") >= 2):
            for part in _SSN.finditer(run):
                yield Hit(start + part.start(), start + part.end(), "government_id", "ssn")
        while start and text[start - 1] in "+(" and match.start() - start < 2:
            start -= 1
        yield from phones(text, start, match.end())


def _ibans(text: str, start: int, end: int) -> Iterator[Hit]:
    joint = text.find(JOINT, start, end)
    end = min(end, len(text)) if joint < 0 else joint
    for match in _IBAN.finditer(text, start, end):
        whole = match.end() < end or end == len(text) or joint >= 0
        if (
            whole
            and (match.start() == 0 or not text[match.start() - 1].isalnum())
            and _iban(match.group())
        ):
            yield Hit(match.start(), match.end(), "payment", "iban")


def _cards(text: str, run: str, start: int) -> Iterator[Hit]:
    places = _CARD.finditer(run)
    if len(run) > _LONGEST_ALONE:
        places = itertools.chain(places, _CARD_BESIDE.finditer(run))
    for part in places:
        first, last = start + part.start(), start + part.end()
        if is_card(_NOT_DIGITS.sub("", part.group())) and not is_other_number(text, first, last):
            yield Hit(first, last, "payment", "card")


def _iban(text: str) -> bool:
    text = text.replace(" ", "")
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1
