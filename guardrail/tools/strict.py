"""Converts JSON Schemas to OpenAI's strict form: every object is closed and every property is
required, so an optional parameter becomes a nullable parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import create_model, model_validator

from guardrail.errors import UsageError
from guardrail.tools.tool import Tool

__all__ = ["plain_schema", "strict_schema", "strict_tool"]

_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "patternProperties", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_NEVER = ("allOf", "prefixItems", "patternProperties", "dependentSchemas", "not", "if", "contains")
"""Keywords that a strict schema can't contain."""
_DROPPED = frozenset({"default", "discriminator", "uniqueItems"})
"""Keywords that are removed because a strict schema can't contain them. Removing these keywords
only makes a schema more permissive, and the guard still checks the arguments against the tool's own
schema.
"""
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
"""The formats that a strict schema can contain. Other formats are removed for the same reason."""
_TYPED = frozenset({"$ref", "anyOf", "const", "enum", "oneOf", "type"})
"""Every schema in the strict form has at least one of these keywords."""
_NULL = {"type": "null"}


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of *schema* for a request, without titles that only repeat names, and without
    the top-level description, which the tool itself contains.
    """
    made: dict[str, Any] = _without_titles(schema)
    made.pop("description", None)
    return made


def _without_titles(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = {key: value for key, value in schema.items() if key != "title"}
    return _rewritten(made, _without_titles)


def _rewritten(schema: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return *schema* after applying *change* to each of its subschemas."""
    for key in _LISTS:
        if key in schema:
            schema[key] = [change(part) for part in schema[key]]
    for key in _MAPS:
        if key in schema:
            schema[key] = {name: change(part) for name, part in schema[key].items()}
    for key in _SINGLE:
        if key in schema:
            schema[key] = change(schema[key])
    return schema


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return *schema* in the strict form. Raises ``UsageError`` if *schema* accepts objects with
    arbitrary keys, values of any type, or anything else that the strict form can't express.
    """
    plain = plain_schema(schema)
    return _strict(plain, plain, "")


def _strict(schema: Any, root: Mapping[str, Any], at: str) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise _refused(at, "any value")
    if "$ref" in schema and len(schema) > 1:
        # A reference can't be combined with other keywords.
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _strict({**_resolved(schema, root), **rest}, root, at)
    made = {key: value for key, value in schema.items() if key not in _DROPPED}
    if made.get("format") not in _FORMATS:
        made.pop("format", None)
    if len(made.get("allOf", ())) == 1:
        return _strict({**made.pop("allOf")[0], **made}, root, at)
    _check_expressible(made, at)
    if "oneOf" in made:
        made["anyOf"] = made.pop("oneOf")
    if made.get("type") == "object":
        required = made.get("required", ())
        made["properties"] = {
            name: _optional(part, root, name in required)
            for name, part in made.get("properties", {}).items()
        }
        made |= {"additionalProperties": False, "required": list(made["properties"])}
    for key in ("properties", "$defs"):
        if key in made:
            made[key] = {
                name: _strict(part, root, f"{at}/{name}") for name, part in made[key].items()
            }
    if "anyOf" in made:
        made["anyOf"] = [_strict(part, root, at) for part in made["anyOf"]]
    if made.get("type") == "array":
        made["items"] = _strict(made.get("items"), root, f"{at}/*")
    return made


def _check_expressible(schema: Mapping[str, Any], at: str) -> None:
    for key in _NEVER:
        if key in schema:
            raise _refused(at, key)
    if not schema.keys() & _TYPED:
        raise _refused(at, "any value")
    free = schema.get("additionalProperties", "properties" not in schema)
    if schema.get("type") == "object" and free is not False:
        raise _refused(at, "an object with arbitrary keys")


def _optional(part: Any, root: Mapping[str, Any], required: bool) -> Any:
    if required or not isinstance(part, dict) or accepts_null(part, root):
        return part
    outer = {key: part[key] for key in ("description",) if key in part}
    inner = {key: value for key, value in part.items() if key not in {"description", "default"}}
    return {"anyOf": [inner, _NULL], **outer}


def _refused(at: str, what: str) -> UsageError:
    return UsageError(
        f"a strict schema can't express {what}{f' (at {at})' if at else ''}",
        code="usage.strict",
        hint="use types with named fields for all parameters, or register the tool without strict",
    )


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definition that *schema* refers to, or *schema* itself if it is not a
    reference.
    """
    seen = 0
    while "$ref" in schema and seen < 32:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        schema, seen = root.get("$defs", {}).get(name, {}), seen + 1
    return schema


def accepts_null(schema: Any, root: Mapping[str, Any]) -> bool:
    """Return True if *schema* accepts null."""
    if not isinstance(schema, Mapping):
        return True
    schema = _resolved(schema, root)
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list) and "null" in kind)
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if options:
        return any(accepts_null(option, root) for option in options)
    values = schema.get("enum", [schema["const"]] if "const" in schema else [None])
    return None in values


def strict_tool(tool: Tool) -> Tool:
    """Return *tool* with a pydantic model that treats null as a missing value for an optional
    argument that is not nullable. With a strict schema, this is the only way for a language model
    to omit such an argument.
    """
    assert tool.schema is not None
    root = tool.schema.schema

    def omit(_: type[Any], given: Any) -> Any:
        return _without_nulls(given, root, root)

    validator: Any = model_validator(mode="before")(classmethod(omit))  # type: ignore[arg-type]
    model = create_model(
        tool.model.__name__,
        __base__=tool.model,
        __validators__={"omit_nulls": validator},
    )
    return replace(tool, model=model)


def _without_nulls(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(schema, Mapping):
        return value
    schema = _resolved(schema, root)
    if isinstance(value, dict):
        schema = next(_objects(schema, value, root), {})
        properties, required = schema.get("properties", {}), schema.get("required", ())
        return {
            name: _without_nulls(item, properties.get(name), root)
            for name, item in value.items()
            if item is not None
            or name in required
            or name not in properties
            or accepts_null(properties[name], root)
        }
    if isinstance(value, list):
        for option in _options(schema, root):
            if "items" in option:
                return [_without_nulls(item, option["items"], root) for item in value]
    return value


def _options(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield *schema*, or each of its alternatives."""
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if not alternatives:
        yield schema
    for option in alternatives:
        if isinstance(option, Mapping):
            yield from _options(_resolved(option, root), root)


def _objects(
    schema: Mapping[str, Any], value: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives in *schema* whose property names and constants match *value*."""
    for option in _options(schema, root):
        properties = option.get("properties", {})
        fixed = {
            name: part.get("enum", [part["const"]] if "const" in part else None)
            for name, part in properties.items()
            if isinstance(part, Mapping) and ("enum" in part or "const" in part)
        }
        if value.keys() <= properties.keys() and all(
            value[name] in (*allowed, None) for name, allowed in fixed.items() if name in value
        ):
            yield option
