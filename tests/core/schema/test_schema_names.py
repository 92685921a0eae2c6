"""Which arguments a schema shows to a model."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.schema.names import declared, shows

DEFS = {"$defs": {"part": {"$anchor": "here", "properties": {"x": {}}}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {}}},
        {"required": ["x"]},
        {"dependentRequired": {"a": ["x"]}},
        {"dependencies": {"x": ["a"]}},
        {"patternProperties": {"^x": {}}},
        {"patternProperties": {"(": {}}},
        {"allOf": [{}, {"properties": {"x": {}}}]},
        {"oneOf": ({"anyOf": [{"required": ["x"]}]},)},
        {"if": {}, "then": {"properties": {"x": {}}}},
        {"not": {"required": ["x"]}},
        {"dependentSchemas": {"a": {"properties": {"x": {}}}}},
        {"$ref": "#/$defs/part", **DEFS},
        {"$ref": "#here", **DEFS},
        {"allOf": [{"$ref": "#/anyOf/0"}], "anyOf": [{"properties": {"x": {}}}]},
        {"$ref": "#/$defs/a~1b~0", "$defs": {"a/b~": {"properties": {"x": {}}}}},
    ],
)
def test_a_name_is_shown_wherever_the_schema_speaks_of_it(schema: dict[str, Any]) -> None:
    """In each place that describes the very object, and behind local references."""
    assert shows(schema, "x")
    known = declared(schema)
    assert "x" in known if known is not None else "patternProperties" in schema
    assert not shows(schema, "other") or "(" in str(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"additionalProperties": True},
        {"properties": {"a": {"properties": {"x": {}}}}},
        {"properties": None, "required": "x", "patternProperties": None, "allOf": None},
        {"dependentRequired": {"a": "x"}, "dependentSchemas": None},
        {"$ref": "#"},
        {"$ref": "other.json#/x"},
        {"$ref": "#/anyOf/7", "anyOf": [{}]},
        {"$ref": "#/type/x", "type": "object"},
        {"$ref": "#nowhere", "$defs": {"a": True}, "definitions": None},
    ],
)
def test_a_name_is_not_shown_where_nothing_speaks_of_it(schema: dict[str, Any]) -> None:
    """Not by an open object, nor by an object inside, nor by a reference that leads nowhere."""
    assert not shows(schema, "x")
    assert "x" not in (declared(schema) or ())
