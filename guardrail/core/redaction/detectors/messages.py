"""Detects personal data in the messages of trades, whose fields only their position names: airlines
(SSR and name elements), hospitals (HL7), freight (EDIFACT), directories (LDIF), and the machine-
readable lines of passports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.spans import Hit

__all__ = ["messages"]

_D = r"[0-9]{1,2}(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[0-9]{2,4}"
_N = r"[A-Z][A-Z' ]{0,40}"
# IATA: a travel document: P/DEU/C01X00T47/DEU/12AUG64/F/22FEB31/BAUER/ANNA
_DOCS = re.compile(
    rf"\bDOCS\b[^\n\x00]{{0,24}}?[/\-](?P<kind>[A-Z]{{1,2}})(?P<s>[/\-])[A-Z]{{2,3}}(?P=s)(?P<number>[A-Z0-9]{{5,20}})(?P=s)[A-Z]{{0,3}}(?P=s)(?P<dob>{_D})?(?P=s)[A-Z]{{0,2}}(?P=s)(?:{_D})?"
    rf"(?:(?P=s)(?P<last>{_N}))?(?:(?P=s)(?P<first>{_N}))?(?:(?P=s)(?P<middle>{_N}))?"
)
_NAME_ELEMENT = re.compile(
    r"(?:\bNM1|(?:(?<=\n)|(?<=\x00)|\A) ?[1-9]\.1?|(?:(?<=\n)|(?<=\x00)|\A)-?[1-9])(?P<last>[A-Z][A-Z'\- ]{1,40})/(?P<first>[A-Z][A-Z' ]{0,40})(?= ?(?:MRS?|MS|MSTR|MISS|CHD|INF|ADT|DR)?\b)"
)
_ADDRESS = re.compile(
    r"\bDOCA\b[^\n\x00]{0,24}?[/\-][RD][/\-][A-Z]{2,3}[/\-](?P<address>[^\n\x00]{4,80})"
)
_FOID = re.compile(r"\bFOID\b[^\n\x00]{0,16}?[/ \-](?:PP|NI|ID|DL|CN)(?P<number>[A-Z0-9]{5,20})")
# ICAO Doc 9303: the two lines of a passport
_PASSPORT = re.compile(
    r"(?P<name>[PIACV][A-Z<][A-Z<]{3}[A-Z]{2}[A-Z<]{20,39})(?:[ \r\n\\n]{1,4}(?P<number>[A-Z0-9<]{28,44}))?(?![A-Z0-9<])"
)
# HL7 version 2: field numbers of segments, with their classes
_SEGMENT = re.compile(
    r"(?:(?<=[\r\n\x00])|(?<=\\r)|(?<=\\n)|\A)(?P<id>PID|NK1|GT1|IN1)\|(?P<fields>[^\r\n\x00\x01]{1,1024})"
)
_HL7 = {
    "PID": {2: "person_id", 3: "person_id", 4: "person_id", 5: "name", 6: "name", 7: "dob", 9: "name", 11: "address", 13: "contact", 14: "contact", 18: "person_id", 19: "government_id", 20: "government_id"},
    "NK1": {2: "name", 4: "address", 5: "contact", 6: "contact", 16: "dob"},
    "GT1": {3: "name", 4: "name", 5: "address", 6: "contact", 7: "contact", 8: "dob", 12: "government_id"},
    "IN1": {16: "name", 18: "dob", 19: "address", 36: "person_id"},
}  # fmt: skip
# EDIFACT: name and address of a party; of companies as well, which look the same
_PARTY = re.compile(
    r"\bNAD\+[A-Z]{2}\+[^+'\n\x00]{0,40}\+[^+'\n\x00]{0,80}\+(?P<name>[^+'\n\x00]{2,80})(?:\+(?P<street>[^+'\n\x00]{2,80}))?"
)
_CONTACT = re.compile(r"\bCTA\+[A-Z]{2}\+[^+':\n\x00]{0,20}:(?P<name>[^+':\n\x00]{2,60})")
# RFC 2849
_ENTRY = re.compile(
    r"(?:(?<=\n)|(?<=\x00)|\A)(?P<n>dn|cn|sn|uid|givenName|displayName|initials|street|streetAddress|postalAddress|homePostalAddress|employeeNumber|mobile|telephoneNumber|homePhone):[ ]{1,4}(?P<v>[^\r\n\x00\x01]{1,256})"
)
_ATTRIBUTES = {
    "cn": "name", "sn": "name", "givenName": "name", "displayName": "name", "initials": "name", "uid": "person_id", "employeeNumber": "person_id", "street": "address", "streetAddress": "address",
    "postalAddress": "address", "homePostalAddress": "address", "mobile": "contact", "telephoneNumber": "contact", "homePhone": "contact",
}  # fmt: skip
_IN_DN = re.compile(r"\b(?P<n>cn|uid)=(?P<v>[^,+\r\n\x00\x01]{2,64})(?=,)", re.IGNORECASE)
_GROUPS = {"number": "government_id", "dob": "dob", "last": "name", "first": "name", "middle": "name", "name": "name", "street": "address", "address": "address"}  # fmt: skip


def messages(text: str) -> Iterator[Hit]:
    """Yield the personal data in the messages of airlines, hospitals, freight and directories."""
    if "DOCS" in text:
        yield from _groups(_DOCS, text)
    if "DOCA" in text:
        yield from _groups(_ADDRESS, text)
    if "FOID" in text:
        yield from _groups(_FOID, text)
    if "/" in text:
        yield from _groups(_NAME_ELEMENT, text)
    if "<<" in text:
        yield from _groups(_PASSPORT, text)
    if "|" in text:
        for match in _SEGMENT.finditer(text):
            yield from _fields(match)
    if "NAD+" in text or "CTA+" in text:
        yield from _groups(_PARTY, text)
        yield from _groups(_CONTACT, text)
    if "dn:" in text:
        yield from _entries(text)


def _groups(pattern: re.Pattern[str], text: str) -> Iterator[Hit]:
    for match in pattern.finditer(text):
        for group, value in match.groupdict().items():
            if value and group in _GROUPS:
                start = match.start(group)
                yield Hit(start, start + len(value.rstrip()), _GROUPS[group], "message")


def _fields(segment: re.Match[str]) -> Iterator[Hit]:
    at = segment.start("fields")
    classes = _HL7[segment.group("id")]
    for number, field in enumerate(segment.group("fields").split("|"), 1):
        if number in classes and field:
            yield Hit(at, at + len(field), classes[number], "message")
        at += len(field) + 1


def _entries(text: str) -> Iterator[Hit]:
    entries = list(_ENTRY.finditer(text))
    if not any(match.group("n") == "dn" for match in entries):
        return
    for match in entries:
        if match.group("n") in _ATTRIBUTES:
            yield Hit(*match.span("v"), _ATTRIBUTES[match.group("n")], "message")
        else:
            for part in _IN_DN.finditer(text, *match.span("v")):
                cls = "name" if part.group("n").lower() == "cn" else "person_id"
                yield Hit(*part.span("v"), cls, "message")
