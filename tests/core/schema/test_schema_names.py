"""Which arguments a schema shows to a model."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.schema.names import declared, shows


class PanicException(BaseException):
    """A panic of a Rust library, as Python shows it."""


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


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("^(([a-z])+.)+[A-Z]([a-z])+$", False),  # a backtracking engine needs 2 ** 60 steps
        ("^(a|aa)+$", True),
        ("^(a?){60}a{60}$", True),
        ("b", False),
        ("(?=b)", True),
        (r"(a)\1", True),
        ("a{99999}", True),
        ("a" * 100_000, True),
        ("\ud800", True),
    ],
)
def test_a_hostile_name_pattern_takes_no_time(pattern: str, shown: bool) -> None:
    """It is matched by the linear-time engine. A pattern that guardrail does not run could match
    every name.
    """
    assert shows({"patternProperties": {pattern: {}}}, "a" * 60) is shown


@pytest.mark.parametrize("error", [PanicException("boom"), KeyboardInterrupt()])
def test_a_pattern_at_which_the_library_fails_could_match(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Only an interrupt is passed on."""
    import jsonschema_rs

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(jsonschema_rs, "Draft202012Validator", fail)
    schema = {"patternProperties": {f"never seen before {type(error).__name__}": {}}}
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            shows(schema, "x")
    else:
        assert shows(schema, "x")
