"""Generates mutants of a call's arguments. In each mutant, one value is removed, or replaced by
null, an empty value or a value of a different type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from guardrail.core.types import Json

__all__ = ["Mutant", "Mutation", "mutants"]

MAX_DEPTH = 8


class Mutation(StrEnum):
    """The change made to one value."""

    DELETED = "deleted"
    NULL = "null"
    TEXT = "as-text"
    """The value as a string, if it is a number, true or false."""
    LIST = "in-list"
    """The value as the only element of a list."""
    OBJECT = "in-object"
    """The value as the only member of an object."""
    EMPTY_TEXT = "empty-text"
    EMPTY_LIST = "empty-list"
    EMPTY_OBJECT = "empty-object"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A copy of a call's arguments that differs in one location."""

    pointer: str
    """RFC 6901 pointer to that location in the arguments."""
    mutation: Mutation
    args: dict[str, Json]


def mutants(args: Mapping[str, Json]) -> Iterator[Mutant]:
    """Yield every mutant of *args*: for each key of each object, each ``Mutation`` that changes the
    value.
    """
    for path in _keys(args, ()):
        value = _at(args, path)
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
        yield Mutant(pointer, Mutation.DELETED, _changed(args, path, None, delete=True))
        for mutation, other in _values(value):
            if not _same(other, value):
                yield Mutant(pointer, mutation, _changed(args, path, other))


def _values(value: Json) -> Iterator[tuple[Mutation, Json]]:
    yield Mutation.NULL, None
    yield Mutation.EMPTY_TEXT, ""
    yield Mutation.EMPTY_LIST, []
    yield Mutation.EMPTY_OBJECT, {}
    if isinstance(value, bool):
        yield Mutation.TEXT, "true" if value else "false"
    elif isinstance(value, int | float):
        yield Mutation.TEXT, f"{value}"
    if isinstance(value, list):
        yield Mutation.OBJECT, {str(index): item for index, item in enumerate(value)}
    elif value is not None:
        yield Mutation.LIST, [value]
        yield Mutation.OBJECT, {"value": value}


def _same(one: Json, other: Json) -> bool:
    # In Python, 1 == True.
    return type(one) is type(other) and one == other


def _keys(
    value: Json | Mapping[str, Json], path: tuple[str | int, ...]
) -> Iterator[tuple[str | int, ...]]:
    if len(path) >= MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, key)
            yield from _keys(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            # Elements of a list have no keys, but objects in the list do.
            yield from _keys(item, (*path, index))


def _at(value: object, path: tuple[str | int, ...]) -> Json:
    for part in path:
        value = value[part]  # type: ignore[index]
    return value  # type: ignore[return-value]


def _changed(
    args: Mapping[str, Json], path: tuple[str | int, ...], value: Json, *, delete: bool = False
) -> dict[str, Json]:
    """Return a copy of *args* with *value* at *path*, or with that value removed. Unchanged parts
    are shared.
    """
    changed = _with({**args}, path, value, delete=delete)
    assert isinstance(changed, dict)
    return changed


def _with(node: Json, path: tuple[str | int, ...], value: Json, *, delete: bool) -> Json:
    first, rest = path[0], path[1:]
    if isinstance(node, dict):
        copy: dict[str, Json] = dict(node)
        if rest:
            copy[str(first)] = _with(node[str(first)], rest, value, delete=delete)
        elif delete:
            del copy[str(first)]
        else:
            copy[str(first)] = value
        return copy
    assert isinstance(node, list)
    assert isinstance(first, int)
    return [
        _with(item, rest, value, delete=delete) if index == first else item
        for index, item in enumerate(node)
    ]
