"""Values of Rego in Python: when two are equal, and how the members of sets are sorted.

The engine passes sets and objects as Python's sets and dicts, in the order of their members. In
Python, 1 equals True, and the engine's order places true before 1, so a set or an object with both
arrives as one with True only. A collection with a boolean member may therefore have lost a number.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["identity", "require_complete", "require_text", "require_whole", "sorted_members"]

_RANKS = {type(None): 0, bool: 1, int: 2, float: 2, str: 3}
_LONGEST = 1 << 20


def require_text(value: object) -> str:
    """Return *value* if it is a string of moderate length. Raises ``ValueError``."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    if len(value) > _LONGEST:
        raise ValueError("a long text")
    return value


def require_complete(members: Iterable[object]) -> None:
    """Raise ``ValueError`` if the set of *members*, or the object with these keys, may have lost a
    member on its way from the engine.
    """
    if any(isinstance(member, bool) for member in members):
        raise ValueError("a set or the keys of an object contain true or false")


def require_whole(value: Any) -> Any:
    """Return *value*. Raises ``ValueError`` if it or a part of it may have lost a member."""
    if isinstance(value, dict):
        require_complete(value)
        for item in value.values():
            require_whole(item)
    elif isinstance(value, list):
        for item in value:
            require_whole(item)
    elif isinstance(value, set):
        require_complete(value)
    return value


def identity(value: Any) -> Any:
    """Return a hashable value that is equal for two values if and only if they are equal in Rego.

    Raises ``ValueError`` if a set or an object may have lost a member.
    """
    if isinstance(value, bool):
        return ("boolean", value)
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list | tuple):
        return ("array", tuple(map(identity, value)))
    require_complete(value)
    if isinstance(value, dict):
        return ("object", frozenset((key, identity(item)) for key, item in value.items()))
    return ("set", frozenset(map(identity, value)))


def sorted_members(members: Any) -> list[Any]:
    """Return the scalar members of a set, or the scalar keys of an object, in Rego's order.

    Raises ``ValueError`` if a member may be lost, or is not scalar.
    """
    require_complete(members)
    ranks = [_RANKS.get(type(member), 9) for member in members]
    if 9 in ranks:
        raise ValueError("another type")
    return sorted(
        members, key=lambda member: (_RANKS[type(member)], 0 if member is None else member)
    )
