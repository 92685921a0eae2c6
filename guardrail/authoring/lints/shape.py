"""Facts about the policy input that hold for every call: its documented structure, and the tools'
schemas.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guardrail.policy.rego.world import ENVELOPE
from guardrail.policy.sources import installed_folder

__all__ = ["ARGS", "CONSTANTS", "CONTEXT", "InputShape", "Path", "Tools", "written"]

Path: TypeAlias = "tuple[str | None, ...]"
"""A path below ``input``, as names. None stands for an index that is not a literal."""
Tools: TypeAlias = "frozenset[str] | None"
"""The tools that a rule can apply to, or None for any tool."""

ARGS: Path = ("action", "properties", "args")
CONTEXT: tuple[Path, ...] = (("context", "model"), ("context", "origin", "framework"))
"""Objects that are null unless the program supplies them."""
CONSTANTS: Mapping[str, tuple[str, str]] = {
    "input.action.name": ("tools/call", "use input.resource.id, which is the tool's name"),
    "input.resource.type": ("tool", "remove the condition: the policy decides only tool calls"),
    "input.context.contract": (
        "guardrail/1",
        "remove the condition: this version has only one contract",
    ),
}
"""Input values that are the same in every call: the value and a replacement for a condition on it,
keyed by path.
"""
INPUT_SCHEMA = ("opa", "schemas", "input.json")
_MAX_STEPS = 32


def written(path: Sequence[str | None]) -> str:
    """Return *path* as an author would write it, without ``input.``"""
    return "".join("[_]" if part is None else f".{part}" for part in path).lstrip(".")


@dataclass(frozen=True, slots=True)
class _SchemaPlace:
    """A node in a schema, with a flag that is True if every valid document has a value at this
    node.
    """

    schema: Mapping[str, Any]
    root: Mapping[str, Any]
    always: bool


class InputShape:
    """Types and presence of values below ``input``."""

    def __init__(self, tools: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Describe the input for *tools*, which maps names to JSON Schemas of their arguments.
        Without it, every argument may be missing.
        """
        self.tools = tools
        document = installed_folder().joinpath(*INPUT_SCHEMA).read_text("utf-8")
        self._input: Mapping[str, Any] = json.loads(document)
        # In the schema for OPA, the object has an alternative for the host's own properties.
        subject = self._input["properties"]["subject"]["properties"]
        subject["properties"] = subject["properties"]["anyOf"][0]

    def always(self, path: Path, tools: Tools) -> bool:
        """Return True if every call that reaches the policy has a value at *path*."""
        if path in ENVELOPE:
            return True
        if path[: len(ARGS)] != ARGS:
            return False
        found = self._arguments(path[len(ARGS) :], tools)
        return bool(found) and all(item is not None and item.always for item in found)

    def types(self, path: Path, tools: Tools) -> frozenset[str] | None:
        """Return the JSON types that the value at *path* can have, or None if they are unknown."""
        if path[: len(ARGS)] == ARGS and len(path) > len(ARGS):
            found = self._arguments(path[len(ARGS) :], tools)
        else:
            found = [_descend(self._input, self._input, path)]
        types: set[str] = set()
        for item in found:
            known = _types(item.schema, item.root) if item is not None else None
            if known is None:
                return None
            types |= known
        return frozenset(types) or None

    def undeclared(self, path: Path, tools: Tools) -> bool:
        """Return True if there are schemas, but none of the tools that a rule can apply to has the
        argument at *path*.
        """
        if self.tools is None or path[: len(ARGS)] != ARGS or len(path) == len(ARGS):
            return False
        name = path[len(ARGS)]
        if name is None:
            return False
        candidates = self._candidates(tools)
        return bool(candidates) and not any(
            name in _properties(schema, schema) or schema.get("additionalProperties") is True
            for schema in candidates
        )

    def similar(self, path: Path, tools: Tools) -> str:
        """Return the declared argument whose name is most similar to *path*, or an empty string."""
        names = {name for schema in self._candidates(tools) for name in _properties(schema, schema)}
        close = difflib.get_close_matches(str(path[len(ARGS)]), sorted(names), 1)
        return close[0] if close else ""

    def unknown(self, path: Path) -> tuple[str, str] | None:
        """Return the prefix of *path* that does not exist in any input, and a suggestion. Return
        None if *path* can exist.
        """
        schema: Mapping[str, Any] = self._input
        for index, part in enumerate(path):
            if part is None:
                return None
            schema = _object_in(schema)
            types = _types(schema, self._input)
            properties = schema.get("properties", {})
            if part in properties:
                schema = properties[part]
                continue
            closed = schema.get("additionalProperties") is False
            scalar = types is not None and not types & {"object", "array"}
            if closed or scalar:
                close = difflib.get_close_matches(part, sorted(properties), 1)
                return written(path[: index + 1]), close[0] if close else ""
            return None
        return None

    def _candidates(self, tools: Tools) -> list[Mapping[str, Any]]:
        given = self.tools or {}
        return [schema for name, schema in given.items() if tools is None or name in tools]

    def _arguments(self, path: Path, tools: Tools) -> list[_SchemaPlace | None]:
        """Return the schema of *path* (below the arguments) for each possible tool, or None for a
        tool that does not declare *path*.
        """
        given = self.tools or {}
        found: list[_SchemaPlace | None] = []
        for name in sorted(given if tools is None else tools):
            schema = given.get(name)
            if schema is None:
                found.append(None)
            elif tools is not None or path[0] in _properties(schema, schema):
                # A rule that applies to any tool is irrelevant to tools without that argument.
                found.append(_descend(schema, schema, path))
        return found or [None]


def _object_in(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object schema if *schema* allows an object or null, otherwise *schema* itself."""
    objects = [each for each in schema.get("anyOf", ()) if each.get("type") == "object"]
    return objects[0] if objects else schema


def _descend(schema: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> _SchemaPlace | None:
    """Return the node at *path*, reached through properties and items, or None if the schema does
    not describe it.
    """
    always = True
    for part in path:
        if part is None:
            items = _resolve(schema, root).get("items")
            if not isinstance(items, Mapping):
                return None
            # A rule that reads an element applies only to lists that are not empty.
            schema, always = items, True
            continue
        properties = _properties(schema, root)
        if part not in properties:
            return None
        # Defaults for missing arguments are filled in before the policy is evaluated.
        given = part in _required(schema, root) or "default" in _resolve(properties[part], root)
        always = always and given
        schema = properties[part]
    return _SchemaPlace(schema, root, always)


def _resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
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
        found = _resolve(stack.pop(), root)
        yield found
        every = found.get("allOf")
        stack.extend(every if isinstance(every, list) else ())


def _properties(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in _conjoined_schemas(schema, root):
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            merged.update(properties)
    return merged


def _required(schema: Any, root: Mapping[str, Any]) -> set[str]:
    names: set[str] = set()
    for part in _conjoined_schemas(schema, root):
        required = part.get("required")
        if isinstance(required, list):
            names.update(name for name in required if isinstance(name, str))
    return names


def _types(schema: Any, root: Mapping[str, Any], steps: int = 0) -> frozenset[str] | None:
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
            known = [_types(option, root, steps + 1) for option in options]
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
