"""Strict schemas: closed objects, every property required, and null for what is left out."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from guardrail import UsageError
from guardrail.tools.strict import plain_schema, strict_schema
from guardrail.tools.tool import from_function
from tests.support.adapters import Bench
from tests.support.model_server import Call, Turn
from tests.support.toolboxes import Api, run_either


class Kind(StrEnum):
    HOME = "home"
    WORK = "work"


class Address(BaseModel):
    place: str
    zip: str | None = None
    kind: Kind = Kind.HOME
    lines: int = 1


class Card(BaseModel):
    type: Literal["card"]
    number: str = "none"


class Cash(BaseModel):
    type: Literal["cash"]
    amount: int = 5


class Page(BaseModel):
    at: Annotated[str, Field(json_schema_extra={"format": "uri"})]
    day: date


class Tree(BaseModel):
    name: str
    leaves: int = 0
    children: list[Tree] = []


def order(
    number: Annotated[int, Field(description="As on the invoice.")],
    to: Address,
    title: str = "none",
    others: list[Address] = [],  # noqa: B006
    paid: Card | Cash | None = None,
    limit: int | None = 3,
) -> str:
    """Order it."""
    return f"{number} {to.kind} {to.lines} {title} {others} {paid} {limit}"


def all_objects(schema: Any) -> list[dict[str, Any]]:
    found = []
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            found.append(schema)
        for value in schema.values():
            found += all_objects(value)
    elif isinstance(schema, list):
        for value in schema:
            found += all_objects(value)
    return found


def test_every_object_is_closed_and_every_property_required(bench: Bench, api: Api) -> None:
    """And no keyword is left that the strict form does not have."""
    box = api.box(bench.guard)
    box.tool(order, strict=True)
    (tool,) = box.tools("chat") if api.name == "chat" else box.tools()
    inner = tool.get("function", tool)
    assert inner["strict"] is True
    schema = inner["parameters" if api.adapter == "openai" else "input_schema"]
    objects = all_objects(schema)
    assert len(objects) == 4
    for each in objects:
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
    assert "default" not in str(schema)
    assert schema["properties"]["title"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert schema["properties"]["number"]["description"] == "As on the invoice."
    assert schema["properties"]["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_required_and_closed_are_as_the_official_helper_makes_them() -> None:
    """Which makes no optional property nullable, and keeps titles and defaults."""
    ours = strict_schema(Address.model_json_schema())
    theirs = to_strict_json_schema(Address)
    assert ours["required"] == theirs["required"]
    assert ours["additionalProperties"] is theirs["additionalProperties"] is False
    assert ours["properties"].keys() == theirs["properties"].keys()


def test_keywords_that_the_strict_form_does_not_have_are_left_out(bench: Bench, api: Api) -> None:
    """The provider would refuse the whole request. The guard still checks what they say."""
    box = api.box(bench.guard)

    @box.tool(strict=True)
    def visit(tags: set[str], to: Page) -> str:
        return "done"

    assert visit.__guardrail_tool__.schema is not None  # type: ignore[attr-defined]
    made = strict_schema(visit.__guardrail_tool__.schema.schema)  # type: ignore[attr-defined]
    assert made["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    (inner,) = made["$defs"].values()
    assert inner["properties"]["at"] == {"type": "string"}
    assert inner["properties"]["day"] == {"type": "string", "format": "date"}
    given = {"tags": ["a", "a"], "to": {"at": "x", "day": "2026-01-02"}}
    (text,) = api.texts(box.run(api.ask(Turn(calls=[Call("visit", given)]))))
    assert (text, bench.asked) == ("done", [{**given, "tags": ["a"]}]) or text.startswith("denied")


def test_null_is_an_argument_that_was_not_given(bench: Bench, api: Api, how: str) -> None:
    """At every depth; what may be null stays null. Policy, record and body see the defaults."""
    box = api.box(bench.guard)
    box.tool(order, strict=True)
    address = {"place": "x", "zip": None, "kind": None, "lines": None}
    given = {
        "number": 7,
        "to": address,
        "title": None,
        "others": [address],
        "paid": {"type": "cash", "amount": None},
        "limit": None,
    }
    jsonschema_rs.validator_for(
        strict_schema(from_function(order).schema.schema)  # type: ignore[union-attr]
    ).validate(given)
    (text,) = api.texts(run_either(box, api.ask(Turn(calls=[Call("order", given)])), how))
    assert text == (
        "7 home 1 none [Address(place='x', zip=None, kind=<Kind.HOME: 'home'>, lines=1)]"
        " type='cash' amount=5 None"
    )
    filled = {"place": "x", "zip": None, "kind": "home", "lines": 1}
    assert bench.asked[:1] == [
        {
            "number": 7,
            "to": filled,
            "title": "none",
            "others": [filled],
            "paid": {"type": "cash", "amount": 5},
            "limit": None,
        }
    ]


def test_null_for_a_required_argument_is_denied(bench: Bench, api: Api) -> None:
    """It is no way around the schema."""
    box = api.box(bench.guard)
    box.tool(order, strict=True)
    given = {"number": None, "to": {"place": "x"}}
    (text,) = api.texts(box.run(api.ask(Turn(calls=[Call("order", given)]))))
    assert text.startswith("denied: the tool's signature does not accept the arguments")


def test_recursive_types_stay_references() -> None:
    """A tree of closed nodes."""

    def plant(tree: Tree) -> None: ...

    made = strict_schema(from_function(plant).schema.schema)  # type: ignore[union-attr]
    node = made["$defs"]["Tree"]
    assert node["required"] == ["name", "leaves", "children"]
    jsonschema_rs.validator_for(made).validate(
        {
            "tree": {
                "name": "a",
                "leaves": None,
                "children": [{"name": "b"} | dict.fromkeys(["leaves", "children"])],
            }
        }
    )


def free(values: dict[str, int]) -> None: ...
def anything(value: Any) -> None: ...
def untyped(value) -> None: ...  # type: ignore[no-untyped-def]
def list_of_anything(values: list[Any]) -> None: ...
def pair(values: tuple[int, str]) -> None: ...
def nested(values: list[dict[str, Any]]) -> None: ...


@pytest.mark.parametrize("function", [free, anything, untyped, list_of_anything, pair, nested])
def test_what_the_strict_form_can_not_express_is_refused(
    bench: Bench, api: Api, function: Any
) -> None:
    """At registration, with the tool and the argument. Without strict, the same function works."""
    box = api.box(bench.guard)
    with pytest.raises(
        UsageError, match=rf"{function.__name__}: .*can't express .* /value"
    ) as caught:
        box.tool(function, strict=True)
    assert caught.value.code == "usage.strict"
    box.tool(function)
    assert len(box.tools()) == 1


def test_a_plain_schema_keeps_what_validates() -> None:
    """Titles go; properties and keywords that are called like keywords stay."""
    schema = {
        "title": "f",
        "description": "All.",
        "type": "object",
        "properties": {"title": {"type": "string", "title": "Title"}, "description": {}},
        "required": ["title"],
    }
    assert plain_schema(schema) == {
        "type": "object",
        "properties": {"title": {"type": "string"}, "description": {}},
        "required": ["title"],
    }


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"const": 1}, {"const": 1}),
        (
            {"oneOf": [{"type": "integer"}, {"type": "string"}], "discriminator": {}},
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        ),
        ({"allOf": [{"type": "integer"}], "default": 3}, {"type": "integer"}),
        (
            {"$ref": "#/$defs/a", "description": "D.", "$defs": {"a": {"type": "integer"}}},
            {"type": "integer", "$defs": {"a": {"type": "integer"}}},
        ),
        (
            {"type": "object", "properties": {}},
            {"type": "object", "properties": {}, "additionalProperties": False, "required": []},
        ),
        (
            {"type": "object", "additionalProperties": False},
            {"type": "object", "properties": {}, "additionalProperties": False, "required": []},
        ),
    ],
)
def test_forms_of_schemas(schema: dict[str, Any], made: dict[str, Any]) -> None:
    """One case for each rewriting."""
    assert strict_schema(schema) == made


@pytest.mark.parametrize(
    "schema",
    [True, {}, {"allOf": [{"type": "integer"}, {"minimum": 1}]}, {"not": {"type": "null"}}],
)
def test_schemas_without_a_strict_form(schema: Any) -> None:
    """Each is refused."""
    with pytest.raises(UsageError, match="a strict schema can't express"):
        strict_schema({"type": "object", "properties": {"a": schema}, "required": ["a"]})
