"""Finds the argument names that a JSON Schema shows to a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.core.schema.patterns import may_match

__all__ = ["declared", "shows"]

_EACH = ("allOf", "anyOf", "oneOf")
_ONE = ("not", "if", "then", "else")
_DEPENDENT = ("dependentSchemas", "dependentRequired", "dependencies")


def shows(schema: Mapping[str, Any], name: str) -> bool:
    """Return True if *schema* mentions a member *name* of the object that it describes, in any part
    that can apply to the object.

    Local references are followed. A name pattern counts if it matches *name*, or if guardrail does
    not run it. Permission for additional members does not count.
    """
    return any(_declares(part, name) for part in _parts(schema))


def declared(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """Return every member name that *schema* mentions, by the rules of ``shows``, or None if it
    contains a name pattern.
    """
    found: set[str] = set()
    for part in _parts(schema):
        if part.get("patternProperties"):
            return None
        groups = [part.get("required")]
        for key in ("properties", *_DEPENDENT):
            members = part.get(key)
            if isinstance(members, Mapping):
                found.update(members)
                groups += members.values()
        for group in groups:
            if isinstance(group, list | tuple):
                found.update(name for name in group if isinstance(name, str))
    return frozenset(found)


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield *schema* and every part of it that can apply to the same object."""
    todo: list[Any] = [schema]
    seen: set[int] = set()
    while todo:
        part = todo.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for key in _EACH:
            items = part.get(key)
            if isinstance(items, list | tuple):
                todo += items
        todo += [part.get(key) for key in _ONE]
        for key in ("dependentSchemas", "dependencies"):
            items = part.get(key)
            if isinstance(items, Mapping):
                todo += items.values()
        for key in ("$ref", "$dynamicRef"):
            todo.append(_resolve(schema, part.get(key)))


def _declares(part: Mapping[str, Any], name: str) -> bool:
    properties, required = part.get("properties"), part.get("required")
    if isinstance(properties, Mapping) and name in properties:
        return True
    if isinstance(required, list | tuple) and name in required:
        return True
    for key in _DEPENDENT:
        depends = part.get(key)
        if isinstance(depends, Mapping):
            if name in depends:
                return True
            if any(isinstance(item, list | tuple) and name in item for item in depends.values()):
                return True
    patterns = part.get("patternProperties")
    return isinstance(patterns, Mapping) and any(may_match(str(each), name) for each in patterns)


def _resolve(schema: Mapping[str, Any], reference: object) -> Any:
    """Return the target of a local *reference*, or None if there is none."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    if reference == "#":
        return schema
    found: Any = schema
    if not reference.startswith("#/"):
        anchor = reference[1:]
        groups = [schema.get(key) for key in ("$defs", "definitions")]
        parts = [item for group in groups if isinstance(group, Mapping) for item in group.values()]
        named = (part for part in parts if isinstance(part, Mapping))
        return next(
            (part for part in named if anchor in (part.get("$anchor"), part.get("$dynamicAnchor"))),
            None,
        )
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found
