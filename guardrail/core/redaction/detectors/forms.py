"""Detects personal data in form-encoded text and in the queries of URLs:
``lead_passenger_name=Anna+Bauer&fare_class=Y``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.key_roles import OF_OWNER, OWNED_NAMES
from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.roles import is_kind, mark_of_role
from guardrail.core.redaction.spans import Hit

__all__ = ["forms"]

_PAIR = re.compile(
    r"(?:(?<=[&?\x00\n\s\"'])|\A)(?P<n>[A-Za-z_][\w.\-\[\]%]{0,79})=(?P<v>[^&=\r\n\"'<>{}\x00\x01]{1,256})(?=[&\r\n\"'<\x00]|\Z)"
)
_NOTHING = frozenset({"null", "none", "undefined", "true", "false", "nil"})
_BRACKETS = re.compile(r"[\[\].]+")


def forms(text: str) -> Iterator[Hit]:
    """Yield the values of personal parameters. Secrets are found by ``named.assignments``."""
    if "&" not in text or "=" not in text:
        return
    pairs = [match for match in _PAIR.finditer(text) if _is_joined(text, match)]
    found = {match: _class_of(match) for match in pairs}
    personal = any(found.values())
    for match, own in found.items():
        cls = own or ("name" if personal and _is_name(match) else None)
        if cls is not None:
            yield Hit(*match.span("v"), cls, "form")


def _is_joined(text: str, match: re.Match[str]) -> bool:
    return (
        text[match.end() : match.end() + 1] == "&" or text[match.start() - 1 : match.start()] == "&"
    )


def _parts(match: re.Match[str]) -> list[str]:
    return [part for part in _BRACKETS.split(unquote_plus(match.group("n"))) if part] or [""]


def _class_of(match: re.Match[str]) -> str | None:
    """Return the class of a parameter by its name, or None."""
    *owners, name = _parts(match)
    value = unquote_plus(match.group("v"))
    if value.lower() in _NOTHING:
        return None
    info = classify(name)
    if info.cls is not None:
        return None if info.cls == "secret" or is_kind(info.cls, value) else info.cls
    if info.role is None:
        return None
    if info.role == OF_OWNER:
        owner = classify(owners[-1]).role if owners else None
        named = owner is not None and owner.words > 0 and name in OWNED_NAMES
        return "name" if named and is_person(value, 1) else None
    mark = mark_of_role(info.role, value)
    return None if mark is None else mark.cls


def _is_name(match: re.Match[str]) -> bool:
    """Return True for a field ``name`` in a form with other personal data."""
    return _parts(match)[-1] in OWNED_NAMES and is_person(unquote_plus(match.group("v")), 2)
