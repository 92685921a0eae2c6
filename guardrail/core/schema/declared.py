"""The names that a schema declares: the only keys that an error message may show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardrail.core.schema.cost_limits import IN_PLACE_LISTS, IN_PLACE_MAPS, follow

__all__ = [
    "declared_names",
    "declared_pointer",
    "in_place",
    "list_names",
    "names_at",
    "schemas_at",
]

_MAX_STEPS = 16
_MAX_NAME = 64
"""Maximum length of a declared name that an error message may show."""
_MAX_DECLARED = 12
"""Maximum number of declared names that an error message lists."""


def in_place(root: Mapping[str, Any], schemas: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield *schemas* and all schemas that they can apply to the same value."""
    seen: set[int] = set()
    todo = list(schemas)
    while todo:
        part = todo.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if "$ref" in part:
            todo.append(follow(root, part["$ref"]))
        for keyword in IN_PLACE_LISTS:
            if isinstance(part.get(keyword), list):
                todo += part[keyword]
        todo += [part.get(keyword) for keyword in ("then", "else", "if")]
        for keyword in IN_PLACE_MAPS:
            if isinstance(part.get(keyword), dict):
                todo += part[keyword].values()


def declared_pointer(schema: Mapping[str, Any] | None, path: Sequence[str | int]) -> str:
    """Return the RFC 6901 pointer to *path*, cut before the first key that *schema* does not
    declare by name.

    An undeclared key could be a secret, and a declared one could contain escape sequences: only
    printable names of at most 64 characters are shown.
    """
    pointer = ""
    places: list[Any] = [schema]
    for step in path[:_MAX_STEPS]:
        parts = [] if schema is None else list(in_place(schema, places))
        if isinstance(step, int):
            places = [_item(part, step) for part in parts]
            pointer += f"/{step}"
            continue
        places = [
            part["properties"][step]
            for part in parts
            if isinstance(part.get("properties"), dict) and step in part["properties"]
        ]
        if not places or len(step) > _MAX_NAME or not step.isprintable():
            return pointer
        pointer += "/" + step.replace("~", "~0").replace("/", "~1")
    return pointer


def names_at(schema: Mapping[str, Any], path: Sequence[str | int]) -> frozenset[str] | None:
    """Return the names that *schema* declares for the object at *path*, a part of a call's
    arguments.

    Return None if the schema also describes members by a pattern or as a group: a name that it does
    not declare may then be valid.
    """
    found: set[str] = set()
    for part in schemas_at(schema, path):
        if any(part.get(key) for key in _GROUPS if part.get(key) is not True):
            return None
        found.update(declared_names(part))
    return frozenset(found)


def schemas_at(schema: Mapping[str, Any], path: Sequence[str | int]) -> list[dict[str, Any]]:
    """Return every part of *schema* that can apply to the value at *path*, a place in a call's
    arguments. Only members that the schema declares by name are found.
    """
    places: list[Any] = [schema]
    for step in path[:_MAX_STEPS]:
        parts = list(in_place(schema, places))
        if isinstance(step, int):
            places = [_item(part, step) for part in parts]
        else:
            places = [
                part["properties"][step] for part in parts if step in set(declared_names(part))
            ]
    return list(in_place(schema, places))


_GROUPS = ("patternProperties", "additionalProperties", "unevaluatedProperties")


def _item(part: dict[str, Any], index: int) -> Any:
    for keyword in ("prefixItems", "items"):
        listed = part.get(keyword)
        if isinstance(listed, list) and index < len(listed):
            return listed[index]
    rest = part.get("items")
    return part.get("additionalItems") if isinstance(rest, list) else rest


def declared_names(part: Mapping[str, Any]) -> Iterable[str]:
    """Return the names of the properties declared by *part* of a schema."""
    properties = part.get("properties")
    return properties if isinstance(properties, dict) else ()


def list_names(names: Iterable[str]) -> str:
    """Return a remark that lists the declared names that may be shown, or an empty string if there
    are none.
    """
    shown = sorted({name for name in names if len(name) <= _MAX_NAME and name.isprintable()})
    more = ", ..." if len(shown) > _MAX_DECLARED else ""
    return f"declared: {', '.join(shown[:_MAX_DECLARED])}{more}" if shown else ""
