"""The forms that a known value can have in a text, such as escaped, quoted or encoded."""

from __future__ import annotations

import json
import re
import unicodedata
from binascii import b2a_base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from guardrail.core.hidden import hidden
from guardrail.core.redaction.marks import FILLER
from guardrail.core.redaction.spans import JOINT

__all__ = [
    "LONG",
    "KnownForm",
    "encoded_forms",
    "escaped_forms",
    "forms_of",
    "may_hold_encoded",
    "may_hold_escaped",
    "spelled_forms",
]


@hidden
class KnownForm(NamedTuple):
    """The value that a form stands for, and whether the form is encoded."""

    value: str
    encoded: bool
    """True for base64 or hex. The whole run of such characters around the form is removed, so that
    no part of the value is left.
    """


LONG = 13
"""Least number of characters of a value of which each form from ``encoded_forms`` is a long run of
characters of base64 or hex.
"""
_RUN = b"w" * 16
_SHAPES = bytes(0x77 if re.match(r"[A-Za-z0-9+/_\-]", chr(one)) else 0x20 for one in range(256))

# ASCII characters that JSON, HTML and Python write as they are, in any string.
_UNESCAPED = re.compile(r"[ !#$%()*+,\-.0-9:;=?@A-Z\[\]^_`a-z{|}~]*\Z")
_PERCENT = {code: f"%{code:02X}" for code in range(0x20, 0x7F)}
for _safe in "-._~":  # ``quote`` never changes these, nor letters and digits
    del _PERCENT[ord(_safe)]
_PERCENT = {code: form for code, form in _PERCENT.items() if not chr(code).isalnum()}


# What comes before the second and the third copy of a value whose length leaves the remainder 0, 1 or
# 2 when divided by three: the copies begin at the second and the third octet of a group.
_SECOND = (b"\x00", b"\x00\x00\x00", b"\x00\x00")
_THIRD = (b"\x00\x00\x00\x00", b"\x00\x00\x00", b"\x00\x00")


def forms_of(written: str, value: str) -> list[tuple[str, KnownForm]]:
    """Return the forms that *written* can have in a text. *value* is its normalised form."""
    plain, encoded = KnownForm(value, False), KnownForm(value, True)
    if written.isascii():
        found = [(form, plain) for form in _plain_forms(written)]
        found += [(form, encoded) for form in _encoded_forms(written)]
        return found
    found = []
    spellings = [unicodedata.normalize(form, written) for form in ("NFC", "NFD", "NFKC")]
    for text in dict.fromkeys([written, *spellings]):
        found += [(form, plain) for form in _plain_forms(text)]
        found += [(form, encoded) for form in _encoded_forms(text)]
    return found


def spelled_forms(value: str, spellings: Sequence[str]) -> list[tuple[str, KnownForm]]:
    """Return the forms of all *spellings* of *value*, its normalised form, that a searched text can
    contain.
    """
    if len(spellings) == 1 and spellings[0] == value and value.isascii():
        return forms_of(value, value)
    forms = dict.fromkeys([form for each in spellings for form in forms_of(each, value)])
    # Searched texts contain these characters only between two texts and in place of a mark.
    return [form for form in forms if JOINT not in form[0] and FILLER not in form[0]]


def escaped_forms(value: str) -> list[tuple[str, KnownForm]]:
    """Return the forms of an ASCII value that are escaped or quoted, and not the value itself."""
    plain = KnownForm(value, False)
    return [(form, plain) for form in _plain_forms(value) if form != value]


def encoded_forms(value: str) -> list[tuple[str, KnownForm]]:
    """Return the forms of an ASCII value in base64 and hex."""
    encoded = KnownForm(value, True)
    return [(form, encoded) for form in _encoded_forms(value)]


def may_hold_escaped(text: str) -> bool:
    """Return False if *text* has none of the characters of which each form from ``escaped_forms``
    has one.
    """
    return "%" in text or "\\" in text or "&" in text or "+" in text


def may_hold_encoded(text: str) -> bool:
    """Return False if *text* has no form from ``encoded_forms`` of a value of ``LONG`` characters
    or more.
    """
    return _RUN in text.encode("ascii", "replace").translate(_SHAPES)


def _plain_forms(text: str) -> list[str]:
    if text.isascii() and text.isalnum():
        return [text]
    if _UNESCAPED.match(text):
        quoted = text.translate(_PERCENT)
        if quoted == text:
            return [text]
        found = [text, quoted]
        if "%20" in quoted:
            found.append(quoted.replace("%20", "+"))
        if not text.islower():
            return found
    else:
        found = _escaped_forms(text)
        octets = text.encode("utf-8", "replace")
        found += [quote(octets, safe=""), quote(octets), quote_plus(octets)]
        if not text.islower():
            return list(dict.fromkeys(found))
    return list(dict.fromkeys([*found, *map(str.lower, found[-3:])]))


def _escaped_forms(text: str) -> list[str]:
    escaped = json.dumps(text)[1:-1]
    return [
        text,
        escaped,
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(escaped)[1:-1],
        escaped.replace("/", "\\/"),
        escape(text, quote=False),
        escape(text),
        escape(text).replace("&#x27;", "&apos;"),
        ascii(text)[1:-1],
        repr(text)[1:-1],
    ]


def _encoded_forms(text: str) -> list[str]:
    data = text.encode("utf-8", "replace")
    size, digits = len(data), data.hex()
    found = [digits] if digits.isdecimal() else [digits, digits.upper()]
    # In base64, the value can begin at each of three positions in a group of three octets. All of
    # them are encoded at once. Characters that also depend on bits of a neighbour are omitted:
    # none, 2 or 3 at the beginning, and at most one at the end.
    octets = b"".join((data, _SECOND[size % 3], data, _THIRD[size % 3], data))
    digits = b2a_base64(octets, newline=False).decode("ascii")
    second = (size + 2) // 3 * 4
    third = second + (size + 3) // 3 * 4
    parts = [
        digits[: 8 * size // 6],
        digits[second + 2 : second + (8 * size + 8) // 6],
        digits[third + 3 : third + (8 * size + 16) // 6],
    ]
    found += parts
    if "+" in digits or "/" in digits:
        found += [
            form.replace("+", "-").replace("/", "_") for form in parts if "+" in form or "/" in form
        ]
    return list(dict.fromkeys(found))
