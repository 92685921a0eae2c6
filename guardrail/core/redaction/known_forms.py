"""The forms that a known value can have in a text: escaped, quoted, encoded."""

from __future__ import annotations

import json
import unicodedata
from binascii import b2a_base64
from html import escape
from typing import NamedTuple
from urllib.parse import quote, quote_plus

__all__ = ["KnownForm", "all_forms"]


class KnownForm(NamedTuple):
    text: str
    value: str
    encoded: bool
    """True for base64 or hex. The whole run of such characters around the form is removed, so that
    no part of the value is left.
    """


def all_forms(written: str, value: str) -> list[KnownForm]:
    """Return the forms that *written* can have in a text. *value* is its normalised form."""
    spellings = [written]
    if not written.isascii():
        spellings += [unicodedata.normalize(form, written) for form in ("NFC", "NFD", "NFKC")]
    return [form for text in dict.fromkeys(spellings) for form in _forms_of(text, value)]


def _forms_of(text: str, value: str) -> list[KnownForm]:
    plain = [text]
    if not text.isalnum() or not text.isascii():
        escaped = json.dumps(text)[1:-1]
        plain += [
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
        octets = text.encode("utf-8", "replace")
        quoted = [quote(octets, safe=""), quote(octets), quote_plus(octets)]
        plain += [*quoted, *(form.lower() for form in quoted if text.islower())]
    found = [KnownForm(form, value, encoded=False) for form in dict.fromkeys(plain)]
    data = text.encode("utf-8", "replace")
    encoded = [data.hex()]
    encoded.append(encoded[0].upper())
    for shift in range(3):
        # Characters that also depend on bits of a neighbour are omitted: none, 2 or 3 at the
        # beginning, and at most one at the end.
        whole = (shift + len(data)) * 8 // 6
        encoded.append(
            b2a_base64(bytes(shift) + data, newline=False)[(0, 2, 3)[shift] : whole].decode("ascii")
        )
    encoded += [
        form.replace("+", "-").replace("/", "_")
        for form in encoded[2:]
        if "+" in form or "/" in form
    ]
    found += [KnownForm(form, value, encoded=True) for form in dict.fromkeys(encoded)]
    return found
