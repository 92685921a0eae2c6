"""Facts about the policy input that hold for every call: its documented structure, and the tools'
schemas.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guardrail.authoring.lints.schema_nodes import (
    properties_of,
    required_in,
    resolve,
    types_of,
)
from guardrail.policy.input_schema import input_schema_path
from guardrail.policy.rego.world import ENVELOPE

__all__ = ["ARGS", "CONSTANTS", "CONTEXT", "ZONES", "InputShape", "Path", "Tools", "written"]

Path: TypeAlias = "tuple[str | None, ...]"
"""A path below ``input``, as names. None stands for an index that is not a literal."""
Tools: TypeAlias = "frozenset[str] | None"
"""The tools that a rule can apply to, or None for any tool."""

ARGS: Path = ("action", "properties", "args")
CONTEXT: tuple[Path, ...] = (("context", "model"), ("context", "origin", "framework"))
"""Objects that are null unless the program supplies them."""
ZONES: Path = ("context", "zones")
"""The offsets of the time zones that the policies name."""
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
        document = input_schema_path().read_text("utf-8")
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
            known = types_of(item.schema, item.root) if item is not None else None
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
            name in properties_of(schema, schema) or schema.get("additionalProperties") is True
            for schema in candidates
        )

    def similar(self, path: Path, tools: Tools) -> str:
        """Return the declared argument whose name is most similar to *path*, or an empty string."""
        names = {
            name for schema in self._candidates(tools) for name in properties_of(schema, schema)
        }
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
            types = types_of(schema, self._input)
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
            elif tools is not None or path[0] in properties_of(schema, schema):
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
            items = resolve(schema, root).get("items")
            if not isinstance(items, Mapping):
                return None
            # A rule that reads an element applies only to lists that are not empty.
            schema, always = items, True
            continue
        properties = properties_of(schema, root)
        if part not in properties:
            return None
        # Defaults for missing arguments are filled in before the policy is evaluated.
        given = part in required_in(schema, root) or "default" in resolve(properties[part], root)
        always = always and given
        schema = properties[part]
    return _SchemaPlace(schema, root, always)
