"""Classifies a value whose key names a role, such as ``customer`` or ``account``: the value can be a
person's name, an assigned number or neither.
"""

from __future__ import annotations

import re

from guardrail.core.redaction.key_roles import Role
from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.schema_marks import Mark

__all__ = ["is_assigned_number", "is_kind", "mark_of_role"]

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
    if role.words < 0:
        return None
    if role.number is not None and (
        is_assigned_number(value) or (role.any_digit and _has_digit(value))
    ):
        return _mark(role.number)
    if role.words > 0 and is_person(value, role.words):
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


_KINDS = {
    "payment": frozenset(
        {"checking", "savings", "saving", "current", "business", "personal", "joint", "credit", "cash", "none", "default", "primary"}
    ),
    "person_id": frozenset(
        {"admin", "administrator", "root", "postgres", "dbadmin", "sysadmin", "mysql", "oracle", "system", "guest", "anonymous", "nobody", "ubuntu", "ec2-user", "git", "default", "none", "me", "all", "any"}
    ),
}  # fmt: skip


def is_kind(cls: str, value: str) -> bool:
    """Return True if *value* says which kind of thing is meant, and identifies no person: a kind of
    account (``savings``), or the user of a machine (``root``).
    """
    words = _KINDS.get(cls)
    return words is not None and value.lower() in words
