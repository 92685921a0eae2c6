"""Tools with a pydantic model: policy sees the JSON dump, the body gets objects rebuilt from it."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import pathlib
import threading
import uuid
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    field_validator,
    model_serializer,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError

from guardrail.errors import ArgumentsError, SchemaError
from guardrail.tools.tool import declare, from_function

CANARY = "canary-" + "z" * 20


class Colour(enum.Enum):
    """Two of them."""

    RED = "red"
    BLUE = "blue"


class Account(BaseModel):
    """A nested model."""

    id: uuid.UUID
    limit: decimal.Decimal = decimal.Decimal("1.50")


class Order(BaseModel):
    """All kinds of types."""

    when: dt.datetime
    account: Account
    colour: Colour
    payload: bytes
    tags: set[str]
    path: pathlib.PurePosixPath
    by_number: dict[int, dt.date]
    pair: tuple[int, str] = (1, "a")


ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
DUMP = {
    "when": "2026-01-02T03:04:05",
    "account": {"id": str(ID), "limit": "1.50"},
    "colour": "red",
    "payload": "raw",
    "tags": ["a", "b", "c"],
    "path": "/x/y",
    "by_number": {"5": "2026-01-02"},
    "pair": [1, "a"],
}
OBJECTS = {
    "when": dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001
    "account": Account(id=ID),
    "colour": Colour.RED,
    "payload": b"raw",
    "tags": {"c", "a", "b"},
    "path": pathlib.PurePosixPath("/x/y"),
    "by_number": {5: dt.date(2026, 1, 2)},
    "pair": (1, "a"),
}


@pytest.mark.parametrize("args", [DUMP, {**DUMP, "pair": (1, "a")}])
def test_json_becomes_objects_and_policy_sees_json(args: dict[str, Any]) -> None:
    """The model coerces, the snapshot is its dump."""
    taken, arguments = declare("order", schema=Order).take(args)
    assert taken.args == DUMP
    assert json.loads(taken.encoded) == DUMP
    assert arguments == OBJECTS


def test_objects_of_the_caller_are_rebuilt_and_never_passed_on() -> None:
    """The body gets equal objects that are other objects."""
    with pytest.raises(ArgumentsError) as caught:
        declare("order", schema=Order).take(OBJECTS)
    # Keys of JSON objects are texts: a dict of numbers is refused before the model could take it.
    assert caught.value.detail == "key"
    args = {**OBJECTS, "by_number": {"5": dt.date(2026, 1, 2)}}
    taken, arguments = declare("order", schema=Order).take(args)
    assert taken.args == DUMP
    assert arguments == OBJECTS
    assert arguments["account"] is not OBJECTS["account"]
    OBJECTS["account"].limit = decimal.Decimal(0)  # type: ignore[attr-defined]
    try:
        assert arguments["account"].limit == decimal.Decimal("1.50")
    finally:
        OBJECTS["account"].limit = decimal.Decimal("1.50")  # type: ignore[attr-defined]


def test_sets_are_seen_in_one_order() -> None:
    """Equal arguments give equal bytes, whatever order a set happens to have."""
    tool = declare("order", schema=Order)
    names = [f"name-{number}" for number in range(200)]
    one, _ = tool.take({**DUMP, "tags": names})
    two, arguments = tool.take({**DUMP, "tags": names[::-1]})
    assert one.encoded == two.encoded
    assert arguments["tags"] == set(names)


class Login(BaseModel):
    """Holds secrets of every kind."""

    user: str
    password: SecretStr
    key: SecretBytes
    pin: Secret[int]
    many: list[SecretStr] = Field(default_factory=list)
    named: dict[str, SecretStr] = Field(default_factory=dict)
    maybe: SecretStr | None = None


def marked(schema: Any, root: Any) -> bool:
    """True where a schema marks its value as secret, itself or in a branch."""
    if "$ref" in schema:
        return marked(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    return bool(
        schema.get("writeOnly") or any(marked(branch, root) for branch in schema.get("anyOf", ()))
    )


def test_secrets_are_revealed_where_the_schema_marks_them() -> None:
    """Policy and body need the value; the mark makes the redactor take it out of the record."""
    tool = declare("login", schema=Login)
    args = {
        "user": "u",
        "password": CANARY,
        "key": SecretBytes(CANARY.encode()),
        "pin": 0,
        "many": [CANARY],
        "named": {"a": SecretStr(CANARY)},
    }
    taken, arguments = tool.take(args)
    assert taken.args == {
        "user": "u",
        "password": CANARY,
        "key": CANARY,
        "pin": 0,
        "many": [CANARY],
        "named": {"a": CANARY},
        "maybe": None,
    }
    assert arguments["password"].get_secret_value() == CANARY
    assert arguments["key"].get_secret_value() == CANARY.encode()
    assert arguments["pin"].get_secret_value() == 0
    assert CANARY not in repr(arguments)
    assert tool.schema is not None
    root = tool.schema.schema
    declared = root["properties"]
    for name in ("password", "key", "pin", "maybe"):
        assert marked(declared[name], root), name
    assert marked(declared["many"]["items"], root)
    assert marked(declared["named"]["additionalProperties"], root)
    assert not marked(declared["user"], root)


class Bag(BaseModel):
    """Takes anything, and extras."""

    model_config = ConfigDict(extra="allow")
    thing: Any = None
    text: str | int = ""


@pytest.mark.parametrize(
    "args",
    [
        {"thing": SecretStr(CANARY)},
        {"thing": [SecretStr(CANARY)]},
        {"thing": {"a": Secret[int](0)}},
        {"extra": SecretStr(CANARY)},
        {"thing": {SecretStr(CANARY)}},
        {
            "thing": Login(
                user="u", password=SecretStr(CANARY), key=SecretBytes(b""), pin=Secret[int](1)
            )
        },
    ],
)
def test_a_secret_where_no_mark_would_protect_it_is_refused(args: dict[str, Any]) -> None:
    """Else it would be recorded in clear, or reach the body as asterisks."""
    with pytest.raises(ArgumentsError) as caught:
        declare("bag", schema=Bag).take(args)
    assert caught.value.detail == "model"
    assert CANARY not in str(vars(caught.value))


def test_extra_arguments_of_a_model_that_allows_them_reach_the_body() -> None:
    """And the policy."""
    taken, arguments = declare("bag", schema=Bag).take({"thing": 1, "more": [2]})
    assert taken.args == {"thing": 1, "text": "", "more": [2]}
    assert arguments == {"thing": 1, "text": "", "more": [2]}


class Open(BaseModel):
    """Takes more than it declares, and one field under an alias."""

    model_config = ConfigDict(extra="allow")

    to_: int = Field(default=0, alias="to")


@pydantic_dataclass
class Envelope:
    """Holds models."""

    parts: list[Open]


class Post(BaseModel):
    """Holds models everywhere."""

    one: Open | None = None
    many: dict[str, tuple[Open, ...]] = {}
    envelope: Envelope | None = None


@pytest.mark.parametrize(
    ("model", "args"),
    [
        (Open, {"to": 5, "to_": 99}),
        (Open, {"to_": 99}),
        (Post, {"one": {"to": 5, "to_": 99}}),
        (Post, {"many": {"a": [{"to": 1}, {"to": 5, "to_": 99}]}}),
        (Post, {"envelope": {"parts": [{"to": 5, "to_": 99}]}}),
    ],
)
def test_two_arguments_for_one_field_are_refused(model: Any, args: dict[str, Any]) -> None:
    """The policy would judge both, and the body get one of them."""
    with pytest.raises(ArgumentsError) as caught:
        declare("post", schema=model).take(args)
    assert caught.value.detail == "model"


def test_an_alias_and_further_arguments_go_together() -> None:
    """As long as no name stands for two."""
    taken, arguments = declare("post", schema=Open).take({"to": 5, "more": 1})
    assert taken.args == {"to": 5, "more": 1}
    assert arguments == {"to_": 5, "more": 1}
    taken, arguments = declare("post", schema=Post).take({"one": {"to": 5, "more": 1}})
    assert arguments["one"].to_ == 5
    assert arguments["one"].model_extra == {"more": 1}


class Names(BaseModel):
    """Aliases of both kinds."""

    sender: str = Field(alias="from")
    to: str = Field(validation_alias=AliasChoices("to", "recipient"))


def test_policy_sees_the_names_that_the_schema_declares() -> None:
    """Aliases outside, attributes inside."""
    taken, arguments = declare("mail", schema=Names).take({"from": "a", "recipient": "b"})
    assert taken.args == {"from": "a", "to": "b"}
    assert arguments == {"sender": "a", "to": "b"}


def test_models_that_can_not_be_rebuilt_are_refused_at_declaration() -> None:
    """A field that is left out of the dump would silently become its default."""

    class Hidden(BaseModel):
        a: int = Field(1, exclude=True)

    class Inner(BaseModel):
        inner: list[Hidden]

    class Same(BaseModel):
        a: int
        inner: Hidden

    class Split(BaseModel):
        a: int = Field(validation_alias="in", serialization_alias="out")

    class Odd(BaseModel):
        a: Any = object()

    for model in (Hidden, Inner, Same, Split, Odd):
        with pytest.raises(SchemaError) as caught:
            declare("t", schema=model)
        assert caught.value.code == "schema.model"


def test_a_validator_that_changes_its_own_output_is_refused() -> None:
    """The body would see something else than the policy."""

    class Counter(BaseModel):
        n: Annotated[int, AfterValidator(lambda n: n + 1)]

    with pytest.raises(ArgumentsError) as caught:
        declare("t", schema=Counter).take({"n": 1})
    assert caught.value.detail == "model"
    assert "rebuilding" in str(caught.value)


def test_computed_fields_and_json_in_texts_survive_the_way_back() -> None:
    """What is derived is not passed, and a text that holds JSON stays a text for the policy."""

    class Derived(BaseModel):
        model_config = ConfigDict(extra="forbid")
        n: int
        data: Json[list[int]]

        @computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> int:
            return self.n * 2

    taken, arguments = declare("t", schema=Derived).take({"n": 1, "data": "[1, 2]"})
    assert taken.args == {"n": 1, "data": "[1,2]"}
    assert arguments == {"n": 1, "data": [1, 2]}


def test_a_serializer_that_hides_a_value_is_refused() -> None:
    """Policy would see the mask, and the body too, or something else."""

    class Masked(BaseModel):
        n: Annotated[int, PlainSerializer(lambda n: "***")]

    with pytest.raises(ArgumentsError) as caught:
        declare("t", schema=Masked).take({"n": 1})
    assert caught.value.detail == "model"


def test_defaults_that_the_model_would_refuse_or_coerce_still_work() -> None:
    """Programs write them, and a call that omits them is no mistake."""

    class Loose(BaseModel):
        q: str
        limit: int = None  # type: ignore[assignment]
        wait: float = 5
        at: uuid.UUID = Field(default_factory=uuid.uuid4)

    tool = declare("t", schema=Loose)
    taken, arguments = tool.take({"q": "x", "at": str(ID)})
    assert taken.args == {"q": "x", "limit": None, "wait": 5.0, "at": str(ID)}
    assert arguments["limit"] is None
    taken, arguments = tool.take({"q": "x", "limit": 3})
    assert taken.args["at"] == str(arguments["at"])


def test_strict_models_take_json() -> None:
    """A date is a text in JSON, and a strict model knows that only there."""

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        day: dt.date
        n: int

    tool = declare("t", schema=Strict)
    assert tool.take({"day": "2026-01-02", "n": 1})[1]["day"] == dt.date(2026, 1, 2)
    assert tool.take({"day": dt.date(2026, 1, 2), "n": 1})[0].args["day"] == "2026-01-02"
    with pytest.raises(ArgumentsError):
        tool.take({"day": "2026-01-02", "n": "1"})


class Careless(BaseModel):
    """Its validators put values into their errors."""

    n: int = 0
    inner: list[Account] = Field(default_factory=list)
    text: str = ""

    @field_validator("text")
    @classmethod
    def _check(cls, value: str) -> str:
        if value.startswith("value"):
            raise ValueError(value)
        if value.startswith("custom"):
            raise PydanticCustomError(value, value)  # type: ignore[arg-type]
        if value.startswith("type"):
            raise TypeError(value)
        if value.startswith("arguments"):
            raise ArgumentsError(value, detail=value)
        return value


@pytest.mark.parametrize(
    ("args", "pointer"),
    [
        ({"n": CANARY}, "/n"),
        ({"inner": [{"id": CANARY}]}, "/inner/0/id"),
        ({"inner": CANARY}, "/inner"),
        ({"text": "value" + CANARY}, "/text"),
        ({"text": "custom" + CANARY}, "/text"),
        ({"text": "type" + CANARY}, ""),
        ({"text": CANARY + "\ud800"}, "/text"),
    ],
)
def test_no_value_travels_with_an_error(args: dict[str, Any], pointer: str) -> None:
    """Not in the message, not in a field, not as context or cause."""
    with pytest.raises(ArgumentsError) as caught:
        declare("t", schema=Careless).take(args)
    error = caught.value
    assert error.detail in {"model", "surrogate"}
    assert error.pointer == pointer
    assert error.__context__ is None
    assert error.__cause__ is None
    assert CANARY not in str(error) + repr(error) + str(vars(error))


def test_a_validator_may_not_forge_a_detail() -> None:
    """An ArgumentsError of the program's own code is one of its errors."""
    with pytest.raises(ArgumentsError) as caught:
        declare("t", schema=Careless).take({"text": "arguments" + CANARY})
    assert caught.value.detail == "model"
    assert CANARY not in str(vars(caught.value))


def test_arguments_that_are_no_json_are_refused_before_the_model() -> None:
    """With the same details as for a plain schema."""
    tool = declare("bag", schema=Bag)
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    for thing, detail in (
        (float("nan"), "nan"),
        (2**64, "integer_range"),
        ("\ud800", "surrogate"),
        ("x" * 10_000_000, "size"),
        (deep, "depth"),
        (loop, "cyclic"),
        ({1: 2}, "key"),
        ([0] * 100_000, "nodes"),
        (object(), "model"),
        (threading.Lock(), "model"),
    ):
        with pytest.raises(ArgumentsError) as caught:
            tool.take({"thing": thing})
        assert caught.value.detail == detail
    for args in (None, [], "x", Bag()):
        with pytest.raises(ArgumentsError) as caught:
            tool.take(args)
        assert caught.value.detail == "not_object"


def test_a_large_integer_may_become_a_decimal() -> None:
    """What counts is what the dump makes of it."""

    def pay(amount: decimal.Decimal) -> None:
        """Pay."""

    taken, arguments = from_function(pay).take({"amount": 10**30})
    assert taken.args == {"amount": str(10**30)}
    assert arguments == {"amount": decimal.Decimal(10**30)}


@given(
    st.dictionaries(
        st.sampled_from(["thing", "text", "x"]),
        st.recursive(
            st.none()
            | st.integers()
            | st.floats()
            | st.text(st.characters())
            | st.binary()
            | st.decimals()
            | st.dates()
            | st.builds(SecretStr, st.text())
            | st.builds(object),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.frozensets(st.integers() | st.text(), max_size=3)
                | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_a_model_raises_nothing_but_an_arguments_error(args: dict[str, Any]) -> None:
    """And what it takes is JSON, without a secret in an unmarked place."""
    tool = declare("bag", schema=Bag)
    try:
        taken, arguments = tool.take(args)
    except ArgumentsError:
        return
    assert json.loads(taken.encoded) == taken.args
    assert arguments.keys() == taken.args.keys()
    assert "SecretStr" not in repr(args)


def test_a_caller_that_changes_its_objects_changes_nothing_it_passed() -> None:
    """Containers inside a model are the guard's own."""
    things = [1]
    args = {"thing": things}
    taken, arguments = declare("bag", schema=Bag).take(args)
    things.append(2)
    arguments["thing"].append(3)
    assert taken.args["thing"] == [1]
    assert arguments["thing"] == [1, 3]


class PanicException(BaseException):
    """What a panic of a Rust library looks like from Python."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [(PanicException, ArgumentsError), (KeyboardInterrupt, KeyboardInterrupt)],
)
def test_a_panic_is_a_refusal_and_an_interrupt_is_none(
    error: type[BaseException], expected: type[BaseException]
) -> None:
    """Nothing else that is no Exception is caught."""

    class Sudden(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def _check(cls, value: int) -> int:
            raise error

    with pytest.raises(expected):
        declare("t", schema=Sudden).take({"n": 1})


def test_a_model_whose_dump_is_no_object_is_refused() -> None:
    """A root model describes one value, and arguments have names."""

    class Root(RootModel[dict[str, int]]):
        """Any names."""

    class Listed(BaseModel):
        n: int = 1

        @model_serializer
        def _write(self) -> list[int]:
            return [self.n]

    class Quiet(BaseModel):
        n: int = 1

        @model_serializer(when_used="json")
        def _write(self) -> Any:
            return [self.n]

    for model in (Root, Listed):
        with pytest.raises(SchemaError):
            declare("t", schema=model)
    with pytest.raises((ArgumentsError, SchemaError)):
        declare("t", schema=Quiet).take({})


def test_a_secret_that_a_serializer_hides_is_refused() -> None:
    """Nobody can tell what the body would get."""

    class Wrapped(BaseModel):
        s: Annotated[Any, PlainSerializer(lambda value: "hidden", when_used="json")]

    with pytest.raises(ArgumentsError) as caught:
        declare("t", schema=Wrapped).take({"s": {"a": SecretStr(CANARY)}})
    assert caught.value.detail == "model"
    assert "secret" in str(caught.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"n": "five"}, "(/n: expected integer)"),
        ({"n": 1, "to": 5}, "(/to: expected string)"),
        ({"n": 1, "mode": "slow"}, "(/mode: expected one of the values that the schema lists)"),
        ({}, "(/n: a required argument is missing)"),
        ({"n": 1, "x": 1}, "(an argument that the tool does not declare)"),
        ({"n": 11}, "(/n: less_than_equal)"),
    ],
)
def test_a_model_says_what_it_expects_and_never_the_value(args: dict[str, Any], words: str) -> None:
    """In the words that a JSON Schema's refusals use, if there are any for the kind of error."""

    class Order(BaseModel):
        model_config = ConfigDict(extra="forbid")
        n: int = Field(le=10)
        to: str = "a"
        mode: Literal["fast"] = "fast"

    with pytest.raises(ArgumentsError) as caught:
        declare("order", schema=Order).take(args)
    assert caught.value.message.endswith(words)
