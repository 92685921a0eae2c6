"""Classifies a value whose key names a role, such as ``customer`` or ``account``: the value can be a
person's name, an assigned number or neither.
"""

from __future__ import annotations

import re

from guardrail.core.redaction.key_names_personal import Role
from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.schema_marks import Mark

__all__ = ["is_assigned_number", "mark_of_role"]

_ASSIGNED = re.compile(
    r"(?=(?:[^0-9]*[0-9]){4})[A-Za-z]{0,6}[\-./ #]?(?:[0-9][0-9A-Z]{0,23}|[A-Z]{1,4}[0-9][0-9A-Z]{0,20})(?:[\-./ ][0-9A-Z]{1,16}){0,6}\Z"
)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2,4}\Z|[0-9]+[.,][0-9]{1,2}\Z"
)
_ELEMENTS = 64


def mark_of_role(role: Role, value: object) -> Mark | None:
    """Return the classification of *value*, or None if it is neither a number nor a name."""
    kind = type(value)
    if kind is list or kind is tuple:
        return _mark_of_elements(role, value)  # type: ignore[arg-type]
    if kind is int:
        if role.number is not None and (role.any_digit or 9_999 < value < 10**24):  # type: ignore[operator]
            return _mark(role.number)
        return None
    if not isinstance(value, str) or not 2 <= len(value) <= 64:
        return None
    if role.number is not None and (
        is_assigned_number(value) or (role.any_digit and _has_digit(value))
    ):
        return _mark(role.number)
    if role.words and is_person(value, role.words):
        return _mark("name")
    return None


def _mark_of_elements(role: Role, values: list[object]) -> Mark | None:
    found = None
    if not values or len(values) > _ELEMENTS:
        return None
    for value in values:
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        found = mark_of_role(role, value)
        if found is None:
            return None
    return found


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _mark(cls: str) -> Mark:
    return Mark(cls, (f"key:{cls}",))


def is_assigned_number(text: str) -> bool:
    """Return True if *text* looks like a number that an organisation assigned: ``CT-2021-48113``."""
    text = text.strip()
    if len(text) > 40 or _ASSIGNED.match(text) is None:
        return False
    return _DATE.match(text) is None
