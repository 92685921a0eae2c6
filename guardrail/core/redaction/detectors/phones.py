"""Detects telephone numbers: a search of our own finds candidates, and the metadata of the
``phonenumbers`` library decides on them.

The library's own search takes about 2 ms per KB, which is too slow for every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from guardrail.core.redaction.spans import Hit, before

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

__all__ = ["national_spellings", "phones"]

_INTERNATIONAL = re.compile(
    r"(?:\+|(?<![0-9.\-/])00 ?)[1-9][0-9]{0,2}(?:[ .\-/]{0,2}\(?[0-9]{1,12}\)?){1,7}"
)
# North America, Brazil and Russia, whose forms are distinctive.
_DISTINCT = re.compile(
    r"(?<![0-9.\-])(?:1[ .\-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.\- ])[0-9]{3}[.\- ][0-9]{4}(?![0-9\-])"
    r"|\([1-9][0-9]\) ?9?[0-9]{4}-[0-9]{4}(?![0-9\-])"
    r"|(?<![0-9.\-])[78] ?\([3-9][0-9]{2}\) ?[0-9]{3}-?[0-9]{2}-?[0-9]{2}(?![0-9\-])"
)
# With the trunk prefix 0, in groups.
_TRUNK = re.compile(
    r"(?<![0-9.\-/])(?:\(0[1-9][0-9]{0,4}\) ?|0[1-9][0-9]{0,4}[ \-./])(?:[0-9]{2,8})(?:[ \-.][0-9]{2,8}){0,4}(?![0-9])"
)
_ANY = re.compile(r"(?<![0-9])\(?[0-9](?:[ .\-/()]{0,2}[0-9]){6,14}(?![0-9])")
_NOT_DIGITS = re.compile(r"[^0-9]+")
_DATE = re.compile(
    r"\(?(?:(?:19|20)[0-9]{2}[\-/. ]?[01][0-9][\-/. ]?[0-3][0-9]|[0-3]?[0-9]([\-/.])[01]?[0-9]\1(?:19|20)?[0-9]{2})\b"
)
_CALL = re.compile(
    r"(?:\b(?:(?:tele)?phone|tel|mobile|mob|cell|cellphone|call(?:ed|ing|s)?(?: back)?|text(?:ed)?|sms|ring|rang|dial(?:led|ed)?|reach(?:ed|able)?|fax|whatsapp|msisdn|hotline|voicemail"
    r"|handy|mobil|festnetz|ruckruf|anruf|ruf|rufen|erreichbar|erreichen|appele[rz]|appelle[rz]?|appel|joindre|joignable|portable|llam(?:ar|e|ame)|movil|celular|contactar|chiam(?:are|i|ami)|cellulare"
    r"|recapito|ligar|ligue|telemovel|bel|bellen|mobiel|ringa|ringe|mobilnummer|dzwon\w*|zadzwon\w*|komork\w*|volej\w*|soita\w*|puhelin\w*|cep|gsm|ara(?:yin)?)"
    r"|telef\w{1,12}|telephon\w{0,3})(?:[^\w\n;!?]{1,3}[a-z]{1,12}){0,4}[^\w\n;!?]{1,4}\Z"
)  # fmt: skip
# National forms by the number of digits: the regions that have numbers of this length. Each check
# takes 15 us, so only the largest regions are asked.
_REGIONS = {
    9: ("BE", "SE", "DE", "ZA"),
    10: ("FR", "AU", "NL", "IE", "CH"),
    11: ("GB", "DE", "JP", "KR", "TR"),
    12: ("DE", "AT"),
}


def phones(text: str, start: int, end: int) -> Iterator[Hit]:
    """Yield the telephone numbers in *text* between *start* and *end*, which contain only digits,
    blanks and punctuation.
    """
    if _DATE.match(text, start, end):
        return
    left = text[start - 1 : start]
    if text[start] != "+" and (left.isalnum() or (left and left in "._-#$")):
        return  # a part of an identifier, an amount
    if text[end : end + 1] == "." and text[end + 1 : end + 2].isalpha():
        return  # the name of a file
    done = start
    for pattern, check in _FORMS:
        for match in pattern.finditer(text, done, end):
            digits = _NOT_DIGITS.sub("", match.group())
            if 8 <= len(digits) <= 15 and check(match.group().strip(), digits):
                yield Hit(
                    match.start(),
                    match.start() + len(match.group().rstrip(" (./-")),
                    "contact",
                    "phone",
                )
                done = match.end()
    if done > start:
        return
    any_form = _ANY.match(text, start, end)
    if any_form is not None and _CALL.search(_folded(before(text, start, 44))) is not None:
        yield Hit(any_form.start(), any_form.end(), "contact", "phone")


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Only ASCII letters and the length matter here.
    return text.lower().translate(_PLAIN)


_PLAIN = str.maketrans("áàâäãåéèêëíìîïóòôöõúùûüñçńśźżłěšč", "aaaaaaeeeeiiiiooooouuuuncnszzlesc")


@lru_cache(maxsize=1024)
def _is_international(written: str, digits: str) -> bool:
    from phonenumbers import is_possible_number

    number = _parsed("+" + (digits if written[0] == "+" else digits.removeprefix("00")), None)
    return number is not None and is_possible_number(number)


def _is_distinct(_: str, digits: str) -> bool:
    return len(digits) > 9


@lru_cache(maxsize=1024)
def _is_national(_: str, digits: str) -> bool:
    from phonenumbers import is_valid_number

    numbers = (_parsed(digits, region) for region in _REGIONS.get(len(digits), ()))
    return any(number is not None and is_valid_number(number) for number in numbers)


def national_spellings(text: str) -> tuple[str, ...]:
    """Return the digits of an international telephone number as people write them in its own
    country: with the trunk prefix, if there is one, and without it. Return nothing for other texts.
    """
    from phonenumbers import PhoneNumberFormat, format_number, national_significant_number

    written = text.strip()
    if _INTERNATIONAL.fullmatch(written) is None:
        return ()
    digits = _NOT_DIGITS.sub("", written)
    number = _parsed("+" + (digits if written[0] == "+" else digits.removeprefix("00")), None)
    if number is None:
        return ()
    local = _NOT_DIGITS.sub("", format_number(number, PhoneNumberFormat.NATIONAL))
    return tuple({local: None, national_significant_number(number): None})


def _parsed(text: str, region: str | None) -> PhoneNumber | None:
    from phonenumbers import NumberParseException, parse

    try:
        return parse(text, region)
    except NumberParseException:
        return None


_FORMS = (
    (_INTERNATIONAL, _is_international),
    (_DISTINCT, _is_distinct),
    (_TRUNK, _is_national),
)
