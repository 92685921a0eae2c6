"""Detects personal data in lines that consist of a name and a value (YAML, INI, LDIF, forms in
e-mails), and in quoted arguments (GraphQL, SQL, code) whose name means a role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.key_names import KeyInfo, classify
from guardrail.core.redaction.key_roles import OF_OWNER, OWNED_NAMES
from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.roles import is_assigned_number, is_kind, mark_of_role
from guardrail.core.redaction.spans import JOINT, Hit

__all__ = ["fields"]

_LINE = re.compile(
    r"(?:(?<=[\n\x00])|\A)[ \t]{0,24}(?:[\-*\u2022][ \t]{1,4})?[\"'*]{0,2}(?P<n>[^\W\d][\w\-./ ()']{0,38}?)[\"'*]{0,2}[ \t]{0,4}(?P<s>[:=\uff1a])[*]{0,2}[ \t]{1,8}[\"']?(?P<v>[^\s\"'\x00\x01{\[(][^\r\n\"'\x00\x01]{0,120})[\"']?[ \t,;\r]{0,4}(?=[\n\x00]|\Z)"
)
_QUOTED = re.compile(
    r"(?<![\w.\-])(?P<n>[^\W\d][\w\-]{1,39})[\"'\\]{0,2}[ \t]{0,2}(?P<sign>:|=>?|!=|<>|(?i:I?LIKE|IN[ \t]?\())[ \t]{0,2}(?P<q>\\?[\"'])(?P<v>[^\"'\\\r\n\x00\x01]{2,80})(?P=q)"
)
_DIGITS = {
    "contact": 6,
    "address": 1,
    "dob": 4,
    "government_id": 4,
    "payment": 4,
    "person_id": 4,
    "device": 4,
}
"""The least number of digits in a value of these classes: the lines of a text also describe fields
(``phone: required``).
"""
_PLACEHOLDERS = frozenset({"string", "required", "optional", "none", "null", "n/a", "true", "false", "yes", "no", "unknown", "text", "varchar", "str", "any"})  # fmt: skip
_WORDS = 6


def fields(text: str) -> Iterator[Hit]:
    """Yield the values of lines and quoted arguments with a personal name."""
    if "\n" in text and (":" in text or "=" in text):
        yield from _lines(text)
    if '"' in text or "'" in text:
        for match in _QUOTED.finditer(text):
            cls = _class_of_quoted(match)
            if cls is not None:
                yield Hit(*match.span("v"), cls, "field")


def _class_of_quoted(match: re.Match[str]) -> str | None:
    info, value = classify(match.group("n")), match.group("v").strip(" %")
    if info.role is not None:
        mark = mark_of_role(info.role, value)
        return None if mark is None else mark.cls
    # Assignments are found by ``named.assignments``.
    compared = match.group("sign") not in {":", "=", "=>"} and info.cls != "secret"
    return info.cls if compared and value else None


def _lines(text: str) -> Iterator[Hit]:
    lines = list(_LINE.finditer(text))
    found = [(match, _class_of(classify(match.group("n").strip()), match)) for match in lines]
    for index, (match, own) in enumerate(found):
        cls = own or _name_beside(index, found)
        if cls is not None:
            start = match.start("v")
            yield Hit(start, start + len(match.group("v").rstrip(" ,;")), cls, "field")


def _class_of(info: KeyInfo, match: re.Match[str]) -> str | None:
    value = match.group("v").rstrip(" ,;")
    if value.lower() in _PLACEHOLDERS:
        return None
    if info.cls is None:
        mark = None if info.role is None else mark_of_role(info.role, value)
        return None if mark is None else mark.cls
    if info.cls == "secret" or is_kind(info.cls, value):
        return None
    if info.cls == "name":
        return "name" if is_person(value, 1) else None
    least = _DIGITS.get(info.cls)
    if least is None:
        return info.cls if value.count(" ") < _WORDS else None
    if sum(map(str.isdigit, value)) < least:
        return None
    return info.cls if least != 4 or info.cls == "dob" or is_assigned_number(value) else None


def _name_beside(index: int, found: list[tuple[re.Match[str], str | None]]) -> str | None:
    """Return the class ``name`` for a line called "name" next to a line with personal data."""
    match = found[index][0]
    name = match.group("n").strip()
    if name.lower() not in OWNED_NAMES or classify(name).role != OF_OWNER:
        return None
    near = found[max(0, index - 2) : index + 3]
    personal = any(
        cls is not None
        and JOINT
        not in other.string[min(match.end(), other.end()) : max(match.start(), other.start())]
        for other, cls in near
    )
    return "name" if personal and is_person(match.group("v").rstrip(" ,;"), 2) else None
