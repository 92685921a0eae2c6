"""``guard.tool`` on methods, classes, partials and callable objects, and ``guard.tools_json``."""

from __future__ import annotations

import abc
import functools
import inspect
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from guardrail import Guard
from guardrail.authoring.tools_file import load_tools
from guardrail.errors import ConfigError, Denied, SchemaWarning, UsageError
from guardrail.testing import MemoryLedger, StaticPolicy, allow, deny, memory_guard


def args_of(ledger: MemoryLedger) -> list[tuple[str, Any]]:
    """Return the tool and the recorded arguments of each decision."""
    return [
        (record["tool"]["name"], record["input"]["action"]["properties"]["args"])
        for record in ledger.of("call.decision")
    ]


class Shop:
    """Has an order book."""

    def __init__(self, city: str) -> None:
        self.city = city

    def find(self, number: int, note: str = "") -> str:
        """Find an order."""
        return f"{self.city} {number}{note}"


def governed_shop(guard: Guard) -> type[Any]:
    """Return a class with a governed method of every kind."""

    class GovernedShop:
        """Has an order book."""

        counter = 0

        def __init__(self, city: str) -> None:
            self.city = city
            self.runs: list[int] = []

        @guard.tool
        def find(self, number: int, note: str = "") -> str:
            """Find an order.

            Args:
                number: The number on the invoice.
            """
            self.runs.append(number)
            return f"{self.city} {number}{note}"

        @guard.tool(name="find_later", labels=["read"])
        async def later(self, number: int) -> str:
            return f"{self.city} {number}"

        @guard.tool
        @classmethod
        def count(cls, by: int) -> int:
            cls.counter += by
            return cls.counter

        @classmethod
        @guard.tool
        def name_of(cls, suffix: str) -> str:
            return cls.__name__ + suffix

        @guard.tool
        @staticmethod
        def add(a: int, b: int) -> int:
            return a + b

        @staticmethod
        @guard.tool
        def subtract(a: int, b: int) -> int:
            return a - b

    return GovernedShop


@pytest.mark.call_path("Functions", "a method decorated in its class", result="governed")
def test_a_method_decorated_in_its_class_is_governed_on_each_object() -> None:
    """`orders.find(number=7)` works as before, and the object is no argument of the tool."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    kind = governed_shop(guard)
    paris, rome = kind("Paris"), kind("Rome")
    assert paris.find(number=7) == "Paris 7"
    assert rome.find(8, note="!") == "Rome 8!"
    assert kind.find(paris, 9) == "Paris 9"
    assert (paris.runs, rome.runs) == ([7, 9], [8])
    assert [each["status"] for each in ledger.of("call.outcome")] == ["ok"] * 3
    assert args_of(ledger) == [
        ("find", {"number": 7, "note": ""}),
        ("find", {"number": 8, "note": "!"}),
        ("find", {"number": 9, "note": ""}),
    ]
    tool = kind.find.__guardrail_tool__
    assert list(tool.schema.schema["properties"]) == ["number", "note"]
    assert list(inspect.signature(paris.find).parameters) == ["number", "note"]
    assert (paris.find.__name__, kind.find.__doc__) == ("find", paris.find.__doc__)


async def test_a_coroutine_method_is_awaited() -> None:
    """And can be recognised as one."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    shop = governed_shop(guard)("Paris")
    assert inspect.iscoroutinefunction(shop.later)
    assert await shop.later(number=7) == "Paris 7"
    assert args_of(ledger) == [("find_later", {"number": 7})]


def test_class_methods_and_static_methods_are_governed_in_either_order() -> None:
    """On the class and on an object; a subclass gets its own class."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    kind = governed_shop(guard)

    class Branch(kind):  # type: ignore[misc, valid-type]
        """Inherits the tools."""

    assert (kind.count(by=2), Branch("Rome").count(3)) == (2, 5)
    assert (kind.name_of("!"), Branch.name_of(suffix="?")) == ("GovernedShop!", "Branch?")
    assert (kind.add(1, b=2), kind("Paris").subtract(3, 1)) == (3, 2)
    assert args_of(ledger) == [
        ("count", {"by": 2}),
        ("count", {"by": 3}),
        ("name_of", {"suffix": "!"}),
        ("name_of", {"suffix": "?"}),
        ("add", {"a": 1, "b": 2}),
        ("subtract", {"a": 3, "b": 1}),
    ]


def test_a_denied_method_does_not_run() -> None:
    """Neither by the policy, nor because an argument is wrong or stands for the object."""
    guard, ledger = memory_guard(StaticPolicy(deny("no")))
    kind = governed_shop(guard)
    for call in (
        lambda: kind("Paris").find(number=1),
        lambda: kind.count(by=1),
        lambda: kind("Paris").find(self="x", number=1),
        lambda: kind("Paris").find(1, 2, 3),
    ):
        with pytest.raises(Denied):
            call()
    assert kind.counter == 0
    causes = [record["decision"]["cause"] for record in ledger.of("call.decision")]
    assert causes == ["policy", "policy", "arguments", "arguments"]


def test_a_method_called_without_its_object_is_explained() -> None:
    """Nothing is recorded: there is no call to decide."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    find = guard.tool(Shop.find)
    with pytest.raises(UsageError) as caught:
        find(number=7)  # type: ignore[call-arg]
    assert caught.value.code == "usage.method"
    assert "guard.tool(orders.find)" in caught.value.hint
    assert find(Shop("Rome"), number=7) == "Rome 7"
    assert args_of(ledger) == [("find", {"number": 7, "note": ""})]


def test_a_method_that_annotates_its_object_is_a_method() -> None:
    """Also as a decorator on an abstract method, which stays abstract."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    class Base(abc.ABC):
        """Leaves the work to others."""

        @guard.tool(name="base_work")
        @abc.abstractmethod
        def work(self: Base, n: int) -> int:
            return n

    class Worker(Base):
        """Does it."""

        def work(self, n: int) -> int:
            return super().work(n) + 1

    with pytest.raises(TypeError):
        Base()  # type: ignore[abstract]
    assert Worker().work(1) == 2
    assert args_of(ledger) == [("base_work", {"n": 1})]


def test_a_function_whose_argument_is_called_self_can_be_a_tool() -> None:
    """Outside a class, with an annotation, it is an argument like any other."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    @guard.tool
    def portrait(self: str) -> str:
        return self

    assert portrait(self="x") == "x"
    assert args_of(ledger) == [("portrait", {"self": "x"})]


def test_a_class_method_needs_a_parameter_for_its_class() -> None:
    """Said when it is declared."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(UsageError) as caught:
        guard.tool(classmethod(lambda *, n: n))
    assert caught.value.code == "usage.signature"


def test_what_a_partial_has_bound_is_neither_judged_nor_recorded() -> None:
    """The program's arguments: the body gets them, and a caller can't replace them."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    got: list[tuple[str, str, int]] = []

    def send(key: str, to: str, amount: int = 1) -> None:
        """Send an amount."""
        got.append((key, to, amount))

    pay = guard.tool(functools.partial(functools.partial(send, "key-1"), amount=5))
    pay(to="bob")
    for wrong in (lambda: pay(to="bob", amount=9), lambda: pay(to="bob", key="k")):
        with pytest.raises(Denied):
            wrong()
    assert got == [("key-1", "bob", 5)]
    assert args_of(ledger)[0] == ("send", {"to": "bob"})
    assert list(inspect.signature(pay).parameters) == ["to"]
    assert (pay.__name__, pay.__doc__) == ("send", "Send an amount.")
    assert "key-1" not in str(ledger.records)


def test_a_partial_of_a_method_is_a_tool() -> None:
    """Bound to its object and to some of its arguments."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    find = guard.tool(functools.partial(Shop("Paris").find, note="!"), name="find_order")
    assert find(number=7) == "Paris 7!"
    assert args_of(ledger) == [("find_order", {"number": 7})]


class Ticket:
    """A ticket."""

    made = 0

    def __init__(self, title: str) -> None:
        self.title = title
        type(self).made += 1


def test_a_class_is_a_tool_that_makes_an_object() -> None:
    """Denied, it makes none."""
    Ticket.made = 0
    guard, ledger = memory_guard(StaticPolicy(allow()))
    ticket = guard.tool(Ticket)(title="broken")
    assert isinstance(ticket, Ticket)
    assert args_of(ledger) == [("Ticket", {"title": "broken"})]
    refusing, _ = memory_guard(StaticPolicy(deny("no")))
    governed = refusing.tool(Ticket)
    with pytest.raises(Denied):
        governed(title="another")
    assert Ticket.made == 1
    assert (governed.__name__, governed.__doc__) == ("Ticket", "A ticket.")


class Finder:
    """Has no name of its own."""

    secret = "in-the-object"

    def __call__(self, number: int) -> str:
        """Find an order."""
        return f"order {number}"


class LaterFinder:
    """Is awaited."""

    async def __call__(self, number: int) -> str:
        """Find an order."""
        return f"order {number}"


@pytest.mark.parametrize(
    "function",
    [lambda number: number, functools.partial(lambda number, other: number, other=1)],
    ids=["lambda", "partial"],
)
def test_a_lambda_needs_a_name(function: Any) -> None:
    """No policy author could write ``<lambda>``; one that the program has named is fine."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    with pytest.raises(UsageError, match="a lambda has no name that a policy could use") as caught:
        guard.tool(function)
    assert caught.value.code == "usage.name"
    assert caught.value.hint == 'pass name="find_order", or define a function'
    assert guard.tool(name="find_order")(function)(number=7) == 7
    assert [record["tool"]["name"] for record in ledger.of("call.decision")] == ["find_order"]


async def test_callable_objects_are_tools_and_awaited_if_they_need_it() -> None:
    """Their class is not their name; a partial of one counts as it does."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    with pytest.raises(UsageError) as caught:
        guard.tool(Finder())
    assert caught.value.code == "usage.name"
    find = guard.tool(name="find")(Finder())
    later = guard.tool(name="later")(LaterFinder())
    bound = guard.tool(name="bound")(functools.partial(LaterFinder(), number=3))
    assert (find(number=1), await later(2), await bound()) == ("order 1", "order 2", "order 3")
    assert [name for name, _ in args_of(ledger)] == ["find", "later", "bound"]
    assert (find.__name__, find.__doc__) == ("find", "Find an order.")
    assert not hasattr(find, "secret")


def test_generators_are_refused_in_every_shape() -> None:
    """Sync and async, functions, methods, partials and objects; the hint says what to do."""
    guard, _ = memory_guard(StaticPolicy(allow()))

    async def stream(n: int) -> AsyncIterator[int]:
        yield n

    class Streams:
        """Yields."""

        def numbers(self, n: int) -> Iterator[int]:
            yield n

        async def later(self, n: int) -> AsyncIterator[int]:
            yield n

        @staticmethod
        async def static(n: int) -> AsyncIterator[int]:
            yield n

        @classmethod
        async def of_class(cls, n: int) -> AsyncIterator[int]:
            yield n

        async def __call__(self, n: int) -> AsyncIterator[int]:
            yield n

    shapes: list[Any] = [
        stream,
        functools.partial(stream, n=1),
        Streams.numbers,
        Streams.later,
        Streams().later,
        vars(Streams)["static"],
        vars(Streams)["of_class"],
        Streams(),
    ]
    for shape in shapes:
        with pytest.raises(UsageError) as caught:
            guard.tool(name="stream")(shape)
        assert caught.value.code == "usage.generator"
        assert "unsafe_stream=True" in caught.value.hint
    assert json.loads(guard.tools_json()) == {}


@pytest.mark.call_path(
    "Functions",
    "a governed tool that is passed to `guard.tool` again",
    result="refused",
    note="each call would be decided twice; `UsageError` when it is declared",
)
def test_a_governed_tool_is_not_governed_again() -> None:
    """Each call would be decided twice; said when it is declared."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    kind = governed_shop(guard)
    for tool in (guard.tool(lambda n: n, name="f"), kind.find, kind("Rome").find):
        with pytest.raises(UsageError) as caught:
            guard.tool(tool)
        assert caught.value.code == "usage.governed"


# -- the file for `policy check` -------------------------------------------------------------------


def test_the_tools_file_has_the_schema_of_every_declared_tool(tmp_path: Path) -> None:
    """It is what `policy check --tools` reads, and the text that is returned."""
    guard, _ = memory_guard(StaticPolicy(allow()))

    class Transfer(BaseModel):
        """A transfer."""

        model_config = ConfigDict(regex_engine="python-re")
        amount: int
        code: Annotated[str, Field(pattern=r"(?=a)a")] = "a"

    guard.tool(Shop("Paris").find)
    guard.declare("transfer", schema=Transfer)
    guard.declare("mail", schema={"type": "object", "properties": {"to": {"type": "string"}}})
    guard.declare("nothing_known")
    with pytest.warns(SchemaWarning):
        guard.declare("refused", schema={"type": "array"})
    path = tmp_path / "tools.json"
    text = guard.tools_json(path)
    assert path.read_text("utf-8") == text
    found = load_tools(path)
    assert list(found) == ["find", "mail", "transfer"]
    assert found["find"]["required"] == ["number"]
    assert found["mail"]["properties"] == {"to": {"type": "string"}}
    # A pattern that only Python runs: the outline remains.
    assert found["transfer"] == {
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "code": {"type": "string", "default": "a"}},
        "required": ["amount"],
    }
    assert guard.tools_json() == text


def test_tools_of_one_name_share_an_entry_that_holds_for_all() -> None:
    """Two servers may each have a tool `find`; the policy sees the name."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    text, number = {"type": "string"}, {"type": "integer", "default": 3}
    first = {"properties": {"a": text, "b": number, "c": text}, "required": ["a", "c"]}
    second = {"properties": {"a": text, "b": number, "c": number, "d": True}, "required": ["a"]}
    for server, schema in (("one", first), ("two", second), ("three", second), ("four", {})):
        guard.declare("find", server=server, schema={"type": "object", **schema})
        if server == "three":
            assert json.loads(guard.tools_json())["find"] == {
                "type": "object",
                "properties": {"a": text, "b": number, "c": {}, "d": {}},
                "required": ["a"],
            }
    found = json.loads(guard.tools_json())["find"]
    assert found == {
        "type": "object",
        "properties": {"a": {}, "b": {}, "c": {}, "d": {}},
        "required": [],
    }


def test_a_tools_file_that_can_not_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """Without a trace of the attempt."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(ConfigError) as caught:
        guard.tools_json(tmp_path / "missing" / "tools.json")
    assert caught.value.code == "config.write"
    folder = tmp_path / "tools.json"
    folder.mkdir()
    with pytest.raises(ConfigError):
        guard.tools_json(folder)
    assert os.listdir(tmp_path) == ["tools.json"]


def test_threads_that_write_the_tools_file_leave_a_whole_one(tmp_path: Path) -> None:
    """Each replaces it at once."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    guard.tool(Shop("Paris").find)
    path = tmp_path / "tools.json"
    threads = [threading.Thread(target=guard.tools_json, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads(path.read_text("utf-8")).keys() == {"find"}
    assert os.listdir(tmp_path) == ["tools.json"]
