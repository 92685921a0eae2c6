"""The forms of values from which their tokens are made: equal values of a class have one form.

A form is never changed, because tokens in existing ledgers were made from it. A different form is a
new version, and each key states the version of the tokens that are made with it.

Two spellings share a form only if they are certain to mean the same value. So e-mail addresses and
names are lower-cased and not case-folded, because folding would merge the names Strauß and Strauss,
and a national telephone number is not given a country code.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from guardrail.core.redaction.key_names import CLASSES, classify
from guardrail.core.redaction.marks import needs_normalising, normalised

__all__ = ["NORMAL_FORM", "needs_mark", "normal_form"]

NORMAL_FORM = 2
"""The version for new keys."""

_JOINERS = re.compile(r"[\s\-.()/]+")
_SPACES = re.compile(r"\s+")
_TRUNK_PREFIX = re.compile(r"(?<=[0-9\s])\(0\)")
_ADDRESS_SCHEME = re.compile(r"(?:mailto|tel):", re.IGNORECASE)
_BUILT_IN = frozenset(CLASSES) - {"secret"}
_LONGEST_CODE = 64
"""Number of characters, separators included, from which no value is a code of four digits."""
_OF_CODES = frozenset({"payment", "government_id", "contact", "biometric", "text"})
# NFKC leaves several characters for a dash, an apostrophe and the final sigma.
_VARIANTS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\u02b9\u2032", "'"),
        "\u03c2": "\u03c3",
    }
)


def needs_mark(cls: str, value: str) -> bool:
    """Return True if a random mark must replace *value*, because a token would reveal that two
    secrets are equal, or because there are few enough values to try all of them.

    This is so for class ``secret``, for every class that a schema names after a secret (``pin``,
    ``otp``), and for up to four digits in a class in which they can be a PIN, a CVV or the end of a
    number. These include class ``text``, of values of which nothing is known.
    """
    if cls in _OF_CODES:
        return len(value) < _LONGEST_CODE and _is_code(value)
    return cls not in _BUILT_IN and (cls == "secret" or classify(cls).cls == "secret")


def _is_code(value: str) -> bool:
    # The normal form has no separators, so 12-34 has the token of 1234.
    digits = _JOINERS.sub("", value)
    return len(digits) < 5 and digits.isdecimal()


def normal_form(version: int, cls: str, value: str) -> str:
    """Return the form, in the given *version*, of *value* from which its token of class *cls* is
    made.
    """
    if version == 1:
        return _first(cls, value)
    form = _FORMS.get(cls)
    if form is None:
        return value
    if needs_normalising(value):
        value = _ascii_digits(normalised(value)).translate(_VARIANTS)
    return form(value)


def _first(cls: str, value: str) -> str:
    if cls == "contact":
        return value.strip().lower() if "@" in value else _JOINERS.sub("", value)
    if cls in {"payment", "government_id"}:
        return _JOINERS.sub("", value).upper()
    return value


def _contact(value: str) -> str:
    """Return an e-mail address in lower case, or a telephone number as its digits. A number with
    the international prefix 00 and one with + are equal.
    """
    value = _ADDRESS_SCHEME.sub("", value.strip(), count=1)
    if "@" in value:
        return value.lower()
    compact = _JOINERS.sub("", _TRUNK_PREFIX.sub("", value)).lower()
    if compact.startswith("00") and compact[2:].isdigit() and len(compact) > 9:
        return f"+{compact[2:]}"
    return compact


def _number(value: str) -> str:
    """Return an IBAN, card number or official number without separators, in upper case. A payment
    address (``bob@bank``) keeps its dots.
    """
    if "@" in value:
        return value.strip().lower()
    return _JOINERS.sub("", value).upper()


def _device(value: str) -> str:
    """Return a device's number without separators, in upper case. An address of a host keeps its
    dots and colons, because 10.1.1.11 and 10.1.11.1 are different hosts.
    """
    if "." in value or ":" in value:
        return value.strip().upper()
    return _number(value)


def _words(value: str) -> str:
    """Return a name or a postal address in lower case, with single spaces."""
    return _SPACES.sub(" ", value).strip().lower().translate(_VARIANTS)


_FORMS: Mapping[str, Callable[[str], str]] = {
    "contact": _contact,
    "payment": _number,
    "government_id": _number,
    "name": _words,
    "address": _words,
    "dob": str.strip,
    "person_id": str.strip,
    "device": _device,
}
"""The form of each class. Values of other classes are compared as they are."""


def _ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
