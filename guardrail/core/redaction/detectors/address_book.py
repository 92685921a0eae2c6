"""Detects names and other data of people in the formats of address books and calendars, and the
name before an e-mail address: ``Anna Bauer <anna@example.com>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.spans import Hit, before

__all__ = ["address_book"]

_BRACKET = re.compile(r"<(?:mailto:)?[\w.%+\-]{1,64}@[\w\[]")
_BEFORE_NAME = re.compile(r"[,;:\n\"'<>()\[\]{}|=\\]")
_MOST_WORDS = 4
_BACK = 64
# RFC 6350, and the older versions of vCard
_CARD = re.compile(
    r"(?:(?<=\n)|(?<=\x00)|\A)(?:item\d{1,2}\.)?(?P<n>FN|N|TEL|ADR|BDAY|EMAIL|NICKNAME)(?:;[^:\n\x00]{0,128})?:(?P<v>[^\r\n\x00]{1,256})",
    re.IGNORECASE,
)
_CLASSES = {"fn": "name", "n": "name", "nickname": "name", "tel": "contact", "email": "contact", "adr": "address", "bday": "dob"}  # fmt: skip
# RFC 5545, section 3.2.2
_COMMON_NAME = re.compile(r";CN=(?:\"(?P<two>[^\"\n\x00]{2,128})\"|(?P<one>[^\";:,\n\x00]{2,128}))")


def address_book(text: str) -> Iterator[Hit]:
    """Yield the data of people in vCards, iCalendar participants and e-mail headers."""
    if "<" in text and "@" in text:
        for match in _BRACKET.finditer(text):
            place = _display_name(text, match.start())
            if place is not None:
                yield Hit(*place, "name", "address-book")
    if "VCARD" in text:
        for match in _CARD.finditer(text):
            value = match.group("v").strip("; ")
            if value:
                start = match.start("v") + match.group("v").index(value)
                cls = _CLASSES[match.group("n").lower()]
                yield Hit(start, start + len(value), cls, "address-book")
    if ";CN=" in text:
        for match in _COMMON_NAME.finditer(text):
            group = match.lastgroup or "one"
            if is_person(match.group(group), 2):
                yield Hit(*match.span(group), "name", "address-book")


def _display_name(text: str, at: int) -> tuple[int, int] | None:
    """Return the place of the name before the bracket at *at*, or None if there is no name."""
    left = before(text, at, _BACK).rstrip(" \"'\\")
    end = at - len(before(text, at, _BACK)) + len(left)
    words = _BEFORE_NAME.split(left)[-1].split(" ")
    for count in range(min(_MOST_WORDS, len(words)), 0, -1):
        name = " ".join(words[-count:])
        if name and is_person(name, min(count, 2)):
            return end - len(name), end
    return None
