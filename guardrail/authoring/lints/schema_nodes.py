"""Reads what JSON Schemas declare: the properties and types of the values that they accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["properties_of", "required_in", "resolve", "types_of"]

_MAX_STEPS = 32


def resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *schema* with its ``$ref`` replaced by the target. A reference to a different document
    is dropped.
    """
    for _ in range(_MAX_STEPS):
        if not isinstance(schema, Mapping):
            return {}
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        place: Any = root if target.startswith("#") else None
        for part in target[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            place = place.get(name) if isinstance(place, Mapping) else None
        schema = {**place, **rest} if isinstance(place, Mapping) else rest
    return {}


def _conjoined_schemas(schema: Any, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schema and all subschemas that must hold together with it."""
    stack, seen = [schema], 0
    while stack and seen < _MAX_STEPS:
        seen += 1
        found = resolve(stack.pop(), root)
        yield found
        every = found.get("allOf")
        stack.extend(every if isinstance(every, list) else ())


def properties_of(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that *schema* declares, with their schemas."""
    merged: dict[str, Any] = {}
    for part in _conjoined_schemas(schema, root):
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            merged.update(properties)
    return merged


def required_in(schema: Any, root: Mapping[str, Any]) -> set[str]:
    """Return the names of the properties that *schema* requires."""
    names: set[str] = set()
    for part in _conjoined_schemas(schema, root):
        required = part.get("required")
        if isinstance(required, list):
            names.update(name for name in required if isinstance(name, str))
    return names


def types_of(schema: Any, root: Mapping[str, Any], steps: int = 0) -> frozenset[str] | None:
    """Return the types that a schema allows, or None if it allows any type or the types can't be
    determined.
    """
    if steps > _MAX_STEPS:
        return None
    allowed: frozenset[str] | None = None
    for part in _conjoined_schemas(schema, root):
        for known in _declared_types(part, root, steps):
            allowed = known if allowed is None else allowed & known
    return allowed


def _declared_types(
    part: Mapping[str, Any], root: Mapping[str, Any], steps: int
) -> Iterator[frozenset[str]]:
    declared = part.get("type")
    if isinstance(declared, str):
        yield frozenset([declared])
    elif isinstance(declared, list):
        yield frozenset(item for item in declared if isinstance(item, str))
    if "const" in part:
        yield frozenset([_type_of(part["const"])])
    if isinstance(part.get("enum"), list):
        yield frozenset(_type_of(value) for value in part["enum"])
    for key in ("anyOf", "oneOf"):
        options = part.get(key)
        if isinstance(options, list):
            known = [types_of(option, root, steps + 1) for option in options]
            if all(item is not None for item in known):
                yield frozenset().union(*(item for item in known if item is not None))


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
