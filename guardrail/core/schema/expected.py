"""Describes the values that a JSON Schema expects if a call's value does not fit, without quoting
that value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guardrail.core.words import agree

__all__ = ["expected", "nearest", "types_of"]

_LIMITS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} character",
    "maxLength": "at most {} character",
    "minItems": "at least {} item",
    "maxItems": "at most {} item",
    "minProperties": "at least {} member",
    "maxProperties": "at most {} member",
}
_WORDS: Final[Mapping[str, str]] = {
    "enum": "one of the values that the schema lists",
    "const": "the only value that the schema allows",
    "pattern": "text that matches the schema's pattern",
    "uniqueItems": "unique items",
    "contains": "an item that the schema requires",
    "propertyNames": "other member names",
    "anyOf": "one of the forms that the schema lists",
    "oneOf": "exactly one of the forms that the schema lists",
    "not": "a value that the schema does not exclude",
}
_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def nearest(error: Any) -> Any:
    """Return the error inside the one form of an ``anyOf`` or ``oneOf`` whose type the value has,
    or *error* itself.

    *error* is a ``jsonschema_rs.ValidationError``. Without this, an optional object with one wrong
    member would be described as a choice between the object and null.
    """
    while error.kind.name in {"anyOf", "oneOf"}:
        meant = [branch for branch in error.kind.context if not _is_other_type(branch, error)]
        if len(meant) != 1 or not meant[0]:
            return error
        error = meant[0][0]
    return error


def _is_other_type(branch: Any, error: Any) -> bool:
    """Return True if the value does not have the type that a form describes."""
    return any(types_of(each) and each.instance_path == error.instance_path for each in branch)


def expected(error: Any) -> str:
    """Return a description of the values that a failed keyword expects, for example ``expected
    integer``, or an empty string if there is none.

    *error* is a ``jsonschema_rs.ValidationError``. The description contains type names and numbers
    from the schema, but no part of the value.
    """
    kind = error.kind
    if types := types_of(error):
        return f"expected {' or '.join(sorted(types))}"
    if kind.name in _LIMITS:
        limit: Any = getattr(kind, "limit", getattr(kind, "multiple_of", None))
        return _limited(kind.name, limit) if type(limit) in {int, float} else ""
    words = _WORDS.get(kind.name)
    return f"expected {words}" if words else ""


def _limited(keyword: str, limit: float) -> str:
    least, _, noun = _LIMITS[keyword].partition(" {}")
    return f"expected {least} {limit}" + (f" {agree(limit, noun.strip())}" if noun else "")


def types_of(error: Any) -> set[str]:
    """Return the types expected at the location of *error* if only the types matter, otherwise an
    empty set.
    """
    kind = error.kind
    if kind.name == "type":
        return set(_TYPES & set(kind.types))
    if kind.name not in {"anyOf", "oneOf"}:
        return set()
    found: set[str] = set()
    for branch in kind.context:
        # A form that fails further inside has the right type here.
        same_place = len(branch) == 1 and branch[0].instance_path == error.instance_path
        types = types_of(branch[0]) if same_place else set()
        if not types:
            return set()
        found |= types
    return found
