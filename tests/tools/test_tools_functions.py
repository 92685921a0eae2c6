"""Functions as tools: signature, docstring, and what is refused."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, Field

from guardrail.errors import ArgumentsError, SchemaError, UsageError
from guardrail.tools.docstrings import read_docstring
from guardrail.tools.tool import Tool, from_function

if TYPE_CHECKING:
    from somewhere_else import Runtime  # type: ignore[import-not-found]


def properties(tool: Tool) -> dict[str, Any]:
    """Return the properties of a tool's schema."""
    assert tool.schema is not None
    found: dict[str, Any] = tool.schema.schema["properties"]
    return found


def send(to: str, amount: int = 3, *, mode: Literal["fast", "slow"] = "fast") -> None:
    """Send an amount.

    Slowly if you like.

    Args:
        to (str): Whom to send it to,
            by name.
        amount: How much.
    """


def test_name_schema_and_texts_come_from_signature_and_docstring() -> None:
    """What a model of the language kind needs to call it."""
    tool = from_function(send)
    assert tool.name == "send"
    assert tool.description == "Send an amount.\n\nSlowly if you like."
    assert tool.schema is not None
    assert tool.schema.schema["required"] == ["to"]
    assert tool.schema.schema["additionalProperties"] is False
    assert properties(tool)["to"]["description"] == "Whom to send it to, by name."
    assert properties(tool)["amount"] == {
        "type": "integer",
        "default": 3,
        "title": "Amount",
        "description": "How much.",
    }
    assert properties(tool)["mode"]["enum"] == ["fast", "slow"]
    other = from_function(
        send, name="give", description="d", labels=["l"], target=["/to"], server="s"
    )
    assert (other.name, other.description, other.labels) == ("give", "d", ("l",))
    assert (other.target, other.server) == (("/to",), "s")


def test_defaults_are_filled_and_unknown_arguments_refused() -> None:
    """The body gets every keyword, the policy sees every value."""
    tool = from_function(send)
    taken, arguments = tool.take({"to": "b"})
    assert taken.args == arguments == {"to": "b", "amount": 3, "mode": "fast"}
    for args in ({}, {"to": "b", "x": 1}, {"to": 5}, {"to": "b", "mode": "other"}):
        with pytest.raises(ArgumentsError) as caught:
            tool.take(args)
        assert caught.value.detail == "model"


def test_parameters_may_be_called_anything() -> None:
    """Names that pydantic keeps for itself, and names with underscores."""

    def odd(schema: int, copy: int, model_dump: int, _private: int, __very: int, a0: int) -> None:
        """Odd names."""

    args = dict.fromkeys(("schema", "copy", "model_dump", "_private", "__very", "a0"), 1)
    tool = from_function(odd)
    taken, arguments = tool.take(args)
    assert taken.args == arguments == args
    assert list(properties(tool)) == list(args)


def test_a_default_of_none_allows_none() -> None:
    """Programs write `limit: int = None`."""

    def search(q: Any, limit: int = None, free=None) -> None:  # type: ignore[assignment, no-untyped-def]  # noqa: RUF013
        """Search."""

    taken, arguments = from_function(search).take({"q": {"x": [1]}})
    assert taken.args == arguments == {"q": {"x": [1]}, "limit": None, "free": None}


def test_a_default_that_the_type_coerces_is_seen_coerced() -> None:
    """Policy and body agree on 5.0."""

    def wait(seconds: float = 5) -> None:
        """Wait."""

    taken, arguments = from_function(wait).take({})
    assert taken.encoded == b'{"seconds":5.0}'
    assert repr(arguments["seconds"]) == "5.0"


def test_annotations_describe_and_constrain() -> None:
    """Field and plain texts in Annotated."""

    def f(
        a: Annotated[int, Field(ge=1, description="first")],
        b: Annotated[str, "second"],
        c: int = Field(5, le=9),
        d: Annotated[int, Field(alias="other")] = 1,
    ) -> None:
        """Things."""

    tool = from_function(f)
    assert properties(tool)["a"]["minimum"] == 1
    assert properties(tool)["a"]["description"] == "first"
    assert properties(tool)["b"]["description"] == "second"
    assert tool.take({"a": 1, "b": "x"})[1] == {"a": 1, "b": "x", "c": 5, "d": 1}
    with pytest.raises(ArgumentsError):
        tool.take({"a": 0, "b": "x"})


def test_injected_parameters_are_no_arguments() -> None:
    """Even where their annotation exists for type checkers only."""

    def f(q: str, runtime: Runtime, state: dict[str, Any]) -> None:
        """Search."""

    tool = from_function(f, injected={"runtime", "state"})
    assert list(properties(tool)) == ["q"]
    assert tool.take({"q": "x"})[1] == {"q": "x"}
    with pytest.raises(ArgumentsError):
        tool.take({"q": "x", "state": {}})
    with pytest.raises(UsageError) as caught:
        from_function(f)
    assert caught.value.code == "usage.signature"
    assert "runtime" in str(caught.value)


async def later(n: int) -> int:
    """Do it later."""
    return n


class Box:
    """Has tools."""

    def put(self, n: int) -> None:
        """Put it in."""

    @classmethod
    def make(cls, n: int) -> None:
        """Make one."""

    @staticmethod
    def look(n: int) -> None:
        """Look."""

    def __call__(self, n: int) -> None:
        """Use it."""


@functools.wraps(later)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Pass on what comes in."""
    return later(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (later, "later"),
        (wrapped, "later"),
        (Box().put, "put"),
        (Box.make, "make"),
        (Box.look, "look"),
        (functools.partial(later), "later"),
    ],
)
def test_every_kind_of_function_becomes_a_tool(function: Any, name: str) -> None:
    """Coroutine functions, methods, partials, wrappers."""
    tool = from_function(function)
    assert tool.name == name
    assert list(properties(tool)) == ["n"]
    assert tool.description


@pytest.mark.parametrize("function", [Box.put, functools.partial(Box.put), Box.__call__])
def test_a_method_without_its_object_is_refused_when_it_is_declared(function: Any) -> None:
    """As a decorator in the class sees it: the model can't send the object, so every call would be
    denied.
    """
    with pytest.raises(UsageError) as caught:
        from_function(function)
    assert caught.value.code == "usage.method"
    assert "guard.tool(orders.find)" in caught.value.hint
    assert list(properties(from_function(functools.partial(function, Box())))) == ["n"]
    assert list(properties(from_function(function, injected=["self"]))) == ["n"]


def test_a_callable_object_needs_a_name() -> None:
    """Its class is not its name."""
    with pytest.raises(UsageError) as caught:
        from_function(Box())
    assert caught.value.code == "usage.name"
    tool = from_function(Box(), name="box")
    assert list(properties(tool)) == ["n"]
    assert tool.description == "Use it."


def test_what_a_partial_has_bound_is_no_argument() -> None:
    """The model must not be able to override it, also if one partial is made from another."""
    tool = from_function(functools.partial(send, "bob", mode="slow"))
    assert list(properties(tool)) == ["amount"]
    inner = functools.partial(send, mode="slow")
    inner.note = "kept apart by an attribute"  # type: ignore[attr-defined]
    assert list(properties(from_function(functools.partial(inner, amount=1)))) == ["to"]


class Ticket:
    """A ticket for the help desk."""

    def __init__(self, title: str, urgent: bool = False) -> None:
        """Open a ticket.

        Args:
            title: One line.
        """
        self.title, self.urgent = title, urgent


@dataclass
class Invoice:
    """An invoice.

    Args:
        amount: In cents.
    """

    amount: int
    to: str = "nobody"


class Order(BaseModel):
    """An order."""

    number: int


class Pair(tuple[int, int]):
    """Two numbers."""

    def __new__(cls, a: int, b: int) -> Self:
        """Make a pair."""
        return super().__new__(cls, (a, b))


@pytest.mark.parametrize(
    ("cls", "names", "description"),
    [
        (Ticket, ["title", "urgent"], "A ticket for the help desk."),
        (Invoice, ["amount", "to"], "An invoice."),
        (Order, ["number"], "An order."),
        (Pair, ["a", "b"], "Two numbers."),
    ],
)
def test_the_arguments_of_a_class_are_those_of_its_constructor(
    cls: type, names: list[str], description: str
) -> None:
    """Also of a dataclass, a pydantic model and a class with `__new__`."""
    tool = from_function(cls)
    assert (tool.name, tool.description) == (cls.__name__, description)
    assert list(properties(tool)) == names


def test_texts_of_a_class_come_from_its_docstring_and_its_constructors() -> None:
    """Both describe the arguments."""
    assert properties(from_function(Ticket))["title"]["description"] == "One line."
    assert properties(from_function(Invoice))["amount"]["description"] == "In cents."


def numbers(n: int) -> Iterator[int]:
    """Count."""
    yield from range(n)


async def numbers_later(n: int) -> AsyncIterator[int]:
    """Count later."""
    for number in range(n):
        yield number


class Stream:
    """A callable that streams."""

    def __call__(self, n: int) -> Iterator[int]:
        """Count."""
        yield n


@functools.wraps(numbers)
def disguised(n: int) -> Any:
    """Hide the generator."""
    return numbers(n)


@pytest.mark.parametrize(
    "function",
    [numbers, numbers_later, functools.partial(numbers), Stream(), Stream().__call__, disguised],
)
def test_generators_are_refused_unless_declared_unsafe(function: Any) -> None:
    """Their body would run after the outcome was recorded."""
    with pytest.raises(UsageError) as caught:
        from_function(function, name="n")
    assert caught.value.code == "usage.generator"
    assert from_function(function, name="n", unsafe_stream=True).unsafe_stream


@pytest.mark.parametrize(
    "function",
    [
        lambda *args: None,
        lambda **kwargs: None,
        lambda a, *rest, b=1: None,
        eval("lambda a, /: None"),
    ],
)
def test_signatures_without_a_schema_are_refused(function: Any) -> None:
    """Every argument needs a name that the policy can read."""
    with pytest.raises(UsageError) as caught:
        from_function(function, name="f")
    assert caught.value.code == "usage.signature"


@pytest.mark.parametrize("function", [5, "send", None])
def test_what_can_not_be_called_is_refused(function: Any) -> None:
    """A tool needs a body."""
    with pytest.raises(UsageError) as caught:
        from_function(function, name="f")
    assert caught.value.code == "usage.tool"


def test_a_class_without_a_signature_is_refused() -> None:
    """Classes of the interpreter often have none."""
    with pytest.raises(UsageError) as caught:
        from_function(dict)
    assert caught.value.code == "usage.signature"


def test_defaults_and_types_that_are_no_json_are_refused_at_once() -> None:
    """And not at the first call that omits them."""

    def sentinel(a: Any = object()) -> None:  # noqa: B008
        """Has a default that JSON has not."""

    def iterable(a: Iterable[int]) -> None:
        """Reads once."""

    for function in (sentinel, iterable):
        with pytest.raises(SchemaError) as caught:
            from_function(function)
        assert caught.value.code == "schema.model"

    def unknown(a: 5) -> None:  # type: ignore[valid-type]
        """Has no type."""

    def iterator(a: Iterator[int]) -> None:
        """Has a type that pydantic does not know."""

    for function in (unknown, iterator):
        with pytest.raises(UsageError) as mistake:
            from_function(function)
        assert mistake.value.code == "usage.signature"


GOOGLE = """Do it.

More.

Args:
    a (dict[str, int], optional): First: with colon
        and a second line.

    *b: Second.
    c: Third.
        note: not a parameter.

Returns:
    d: not a parameter.
"""
NUMPY = """Do it.

More.

Parameters
----------
a : dict, optional
    First: with colon
    and a second line.
*b
    Second.
c, d : int
    Third.

Returns
-------
e : int
    Not a parameter.
"""
SPHINX = """Do it.

More.

:param dict a: First: with colon
    and a second line.
:type a: dict
:param b: Second.
:param c: Third.
:returns: d: not a parameter
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX])
def test_three_docstring_styles_are_read(text: str) -> None:
    """Description and texts of the parameters, nothing else."""
    description, texts = read_docstring(text)
    assert description == "Do it.\n\nMore."
    assert texts["a"] == "First: with colon and a second line."
    assert texts["b"] == "Second."
    assert texts["c"].startswith("Third.")
    assert "e" not in texts
    assert "note" not in texts
    assert texts.get("d", "Third.") == "Third."


@pytest.mark.parametrize("text", [None, "", "One line.", "Parameters are nice", "Args", "Note: x"])
def test_docstrings_without_sections_are_descriptions(text: str | None) -> None:
    """Nothing is taken for a section that is none."""
    assert read_docstring(text) == (text or "", {})
