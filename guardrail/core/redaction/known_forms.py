"""The forms that a known value can have in a text, such as escaped, quoted or encoded."""

from __future__ import annotations

import json
import re
import unicodedata
from binascii import b2a_base64
from html import escape
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from guardrail.core.hidden import hidden

__all__ = ["KnownForm", "forms_of"]


@hidden
class KnownForm(NamedTuple):
    """The value that a form stands for, and whether the form is encoded."""

    value: str
    encoded: bool
    """True for base64 or hex. The whole run of such characters around the form is removed, so that
    no part of the value is left.
    """


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
