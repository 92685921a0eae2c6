"""Arguments of every kind reach the body as they would without a guard, and the policy as plain
JSON.
"""

import datetime as dt
import decimal
import enum
import functools
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator
from typing_extensions import TypedDict

from guardrail import Denied
from guardrail.errors import SchemaError
from guardrail.integrations.langchain import govern


class Colour(enum.Enum):
    RED = "red"


class Part(BaseModel):
    label: str
    count: int = 1


class Options(TypedDict, total=False):
    depth: int


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    from_: str = Field(alias="from")
    days: int = 3


class Stripped(BaseModel):
    code: int

    @field_validator("code", mode="before")
    @classmethod
    def strip(cls, value: Any) -> int:
        return int(str(value).strip("#"))


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    code: int


class Code(BaseModel):
    code: int


def echo(**args: Any) -> str:
    return repr(sorted(args.items(), key=str))


def rich(
    part: Part,
    when: dt.datetime,
    colour: Colour = Colour.RED,
    price: decimal.Decimal | None = None,
    parts: list[Part] = [],  # noqa: B006 - as tools are written
    kind: Literal["x", "y"] = "x",
) -> str:
    """Take objects."""
    return echo(part=part, when=when, colour=colour, price=price, parts=parts, kind=kind)


def plain(anything: Any, mapping: dict, options: Options = {}) -> str:  # noqa: B006
    """Take containers."""
    return echo(anything=anything, mapping=mapping, options=options)


def secret(word: SecretStr, key: uuid.UUID) -> str:
    """Take a secret."""
    return echo(word=word.get_secret_value(), key=key)


def lax_defaults(code: float = 5.0, text: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
    """Have a default that its own annotation refuses."""
    return echo(code=code, text=text)


def variadic(code: int, **kwargs: Any) -> str:
    """Take more."""
    return echo(code=code, **kwargs)


def nothing() -> str:
    """Take nothing."""
    return "nothing"


class Callables:
    def __call__(self, code: int) -> str:
        return echo(code=code)

    def method(self, code: int) -> str:
        """Take a code."""
        return echo(code=code)


def with_schema(schema: Any, function: Callable[..., str] = echo) -> StructuredTool:
    return StructuredTool(
        name="with_schema", description="Echo.", args_schema=schema, func=function
    )


JSON_SCHEMA = {"type": "object", "properties": {"code": {"type": "integer"}}, "required": ["code"]}

KINDS: dict[str, tuple[Callable[[], BaseTool], dict[str, Any]]] = {
    "objects": (
        lambda: StructuredTool.from_function(rich),
        {
            "part": {"label": "a"},
            "when": "2026-01-01T00:00:00",
            "price": "1.20",
            "parts": [{"label": "b", "count": 2}],
        },
    ),
    "containers": (
        lambda: StructuredTool.from_function(plain),
        {"anything": [1, {"a": None}], "mapping": {"b": 2.5}, "options": {"depth": 1}},
    ),
    "secret": (
        lambda: StructuredTool.from_function(secret),
        {"word": "correct horse battery", "key": "12345678123456781234567812345678"},
    ),
    "aliases": (lambda: with_schema(Aliased), {"from": "Bern"}),
    "a validator before": (lambda: with_schema(Stripped), {"code": "#5"}),
    "further arguments": (lambda: with_schema(Loose), {"code": 1, "more": "2"}),
    "defaults of another type": (lambda: StructuredTool.from_function(lax_defaults), {}),
    "**kwargs": (lambda: StructuredTool.from_function(variadic), {"code": 1}),
    "nothing": (lambda: StructuredTool.from_function(nothing), {}),
    "a JSON Schema": (lambda: with_schema(JSON_SCHEMA), {"code": 1}),
    "a partial": (lambda: with_schema(Code, functools.partial(echo, prefix="a")), {"code": 1}),
    "an object with __call__": (lambda: with_schema(Code, Callables()), {"code": 1}),
    "a bound method": (lambda: StructuredTool.from_function(Callables().method), {"code": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_body_gets_what_it_would_get_without_a_guard(bench: Any, kind: str) -> None:
    """Objects rebuilt from the snapshot equal those that LangChain makes."""
    make, args = KINDS[kind]
    original = make()
    expected = original.invoke(dict(args))
    assert govern(original, bench.guard).invoke(dict(args)) == expected
    assert bench.decisions[0]["tool"]["declared"] is True
    assert [record["status"] for record in bench.outcomes] == ["ok"]


def test_the_policy_sees_plain_json(bench: Any) -> None:
    """Dates, decimals, enums and nested models as their JSON dump, defaults included."""
    make, args = KINDS["objects"]
    govern(make(), bench.guard).invoke(dict(args))
    assert bench.asked[0] == {
        "part": {"label": "a", "count": 1},
        "when": "2026-01-01T00:00:00",
        "colour": "red",
        "price": "1.20",
        "parts": [{"label": "b", "count": 2}],
        "kind": "x",
    }


def test_a_secret_argument_is_not_recorded(bench: Any) -> None:
    """The body gets it, the policy sees it, and it stands in no record."""
    make, args = KINDS["secret"]
    assert args["word"] in govern(make(), bench.guard).invoke(dict(args))
    assert bench.asked[0]["word"] == args["word"]
    assert args["word"] not in bench.text


def test_the_objects_of_the_caller_are_not_those_of_the_body(bench: Any) -> None:
    """What the model gave is copied: a body that changes its arguments changes nothing else."""
    got: list[Any] = []
    made = govern(
        with_schema(
            {"type": "object", "properties": {"items": {"type": "array"}}},
            lambda items: got.append(items) or "",
        ),
        bench.guard,
    )
    given = {"items": [1]}
    made.invoke(given)
    got[0].append(2)
    assert given == {"items": [1]}
    assert got[0] is not given["items"]


def test_a_validator_that_changes_its_own_output_is_denied(bench: Any) -> None:
    """A limit, stated: the policy could not see what the body would get."""

    def count(code: Annotated[int, AfterValidator(lambda value: value + 1)]) -> str:
        """Count."""
        return echo(code=code)

    with pytest.raises(Denied):
        govern(StructuredTool.from_function(count), bench.guard).invoke({"code": 1})
    assert bench.decisions[0]["decision"]["cause"] == "arguments"


def test_a_model_without_a_json_schema_is_refused_when_it_is_governed(bench: Any) -> None:
    """Rather than at every call."""

    class Thing:
        pass

    class Model(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: Thing

    with pytest.raises(SchemaError):
        govern(with_schema(Model), bench.guard)


def test_arguments_that_are_no_json_are_denied(bench: Any) -> None:
    """A tool with a JSON Schema gets what the model gave, unchecked by LangChain: the guard
    checks.
    """
    made = govern(with_schema(JSON_SCHEMA), bench.guard)
    for bad in ({"code": "1"}, {"code": object()}, {"code": float("nan")}, {}):
        with pytest.raises(Denied):
            made.invoke(bad)
    assert {record["decision"]["cause"] for record in bench.decisions} == {"arguments"}
    assert bench.outcomes == []
