"""No name is both shown to the model and filled in by something else: what the body gets is what
was decided.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Annotated, Any, Optional

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField, RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, Tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import ValidationError as ValidationErrorV1

from guardrail import Denied, UsageError
from guardrail.integrations.langchain import RefusedToolWarning, govern
from tests.support.langchain import RUNS, WeatherClass, weather, weather_async


def pay(amount: int, account: Annotated[str, InjectedToolArg] = "own") -> str:
    """Pay."""
    RUNS.append((amount, account))
    return "paid"


def with_state(amount: int, account: Annotated[dict, InjectedState] = {}) -> str:  # noqa: B006
    """Pay."""
    RUNS.append((amount, account))
    return "paid"


def with_runtime(amount: int, account: ToolRuntime = None) -> str:  # type: ignore[assignment]
    """Pay."""
    RUNS.append((amount, account))
    return "paid"


def with_config(amount: int, account: RunnableConfig = None) -> str:  # type: ignore[assignment]
    """Pay."""
    RUNS.append((amount, account))
    return "paid"


def with_optional(amount: int, account: Optional[Annotated[dict, InjectedState]] = None) -> str:  # noqa: UP045
    """Pay. LangChain shows the argument to the model, and LangGraph fills it in."""
    RUNS.append((amount, account))
    return "paid"


class Shown(BaseModel):
    amount: int
    account: Any = "own"


class ShownByAlias(BaseModel):
    amount: int
    account_: Any = Field("own", alias="account")


class ShownByChoice(BaseModel):
    amount: int
    account_: Any = Field("own", validation_alias=AliasChoices("target", AliasPath("account", 0)))


class ShownV1(BaseModelV1):
    amount: int
    account: Any = "own"


JSON_SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}, "account": {"type": "string"}},
}
REFERRED = {"type": "object", "$ref": "#/$defs/all", "$defs": {"all": JSON_SCHEMA}}
PATTERN = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}},
    "patternProperties": {"^acc": {"type": "string"}},
}
SCHEMAS = [Shown, ShownByAlias, ShownByChoice, ShownV1, JSON_SCHEMA, REFERRED, PATTERN]


def structured(function: Any, schema: Any) -> StructuredTool:
    return StructuredTool(name="pay", description="Pay.", args_schema=schema, func=function)


def refused(bench: Any, original: BaseTool, match: str) -> BaseTool:
    """Govern *original*, which is refused, and let nothing of it run on any path."""
    with pytest.warns(RefusedToolWarning, match=match) as caught:
        made = govern(original, bench.guard)
    warning: Any = caught[0].message
    assert warning.code == "usage.injected"
    assert warning.message.startswith(f"{original.name} is refused")
    assert warning.hint
    assert str(warning).endswith(f"next: {warning.hint}")  # all that Python shows of a warning
    return made


def attack(made: BaseTool, **args: Any) -> None:
    """Call *made* as a program and as a graph do."""
    call = {"name": made.name, "args": args, "id": "1", "type": "tool_call"}
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([made], handle_tool_errors=True))
    graph.add_edge(START, "tools")
    for path in (
        lambda: made.invoke(dict(args)),
        lambda: made.invoke(copy.deepcopy(call)),
        lambda: graph.compile().invoke({"messages": [AIMessage("", tool_calls=[call])]}),
        lambda: (getattr(made, "func", None) or made._run)(**args),
    ):
        with contextlib.suppress(Denied, ValidationError, ValidationErrorV1, TypeError):
            path()


@pytest.mark.call_path(
    "LangChain",
    "a tool that shows the model an argument that something else fills in",
    result="refused",
    note="`RefusedToolWarning` when it is governed; each call is denied",
)
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda item: getattr(item, "__name__", "json"))
@pytest.mark.parametrize("function", [pay, with_state, with_runtime, with_config])
def test_a_tool_that_shows_an_injected_argument_never_runs(
    bench: Any, function: Any, schema: Any
) -> None:
    """By each kind of mark, in each kind of schema; the warning names tool and argument, and
    denials are recorded.
    """
    made = refused(bench, structured(function, schema), "account")
    attack(made, amount=5, account="victim")
    attack(made, amount=5)
    assert RUNS == []
    assert bench.outcomes == []
    assert {record["decision"]["cause"] for record in bench.decisions} == {"arguments"}
    assert "victim" not in bench.text


def test_a_mark_that_langchain_passes_over_is_refused_too(bench: Any) -> None:
    """It shows such an argument to the model, and ToolNode fills it in."""
    refused(bench, StructuredTool.from_function(with_optional), "account")


def test_a_coroutine_that_disagrees_with_its_function_is_refused(bench: Any) -> None:
    """The schema comes from one of them and shows what the other marks."""

    def plain(amount: int, account: str = "own") -> str:
        """Pay."""
        return account

    async def marked(amount: int, account: Annotated[str, InjectedToolArg] = "own") -> str:
        return account

    refused(bench, StructuredTool.from_function(plain, marked), "account")


def test_a_class_that_marks_what_its_schema_shows_is_refused(bench: Any) -> None:
    """As a function that does."""

    class Pay(BaseTool):
        name: str = "pay"
        description: str = "Pay."
        args_schema: Any = Shown

        def _run(self, amount: int, account: Annotated[str, InjectedToolArg] = "own") -> str:
            return account

    made = refused(bench, Pay(), "account")
    attack(made, amount=5, account="victim")
    assert bench.outcomes == []


class Amount(BaseModel):
    amount: int


class AmountV1(BaseModelV1):
    amount: int


AMOUNT = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}},
    "additionalProperties": True,
}


class PayMarked(BaseTool):
    name: str = "pay"
    description: str = "Pay."

    def _run(self, amount: int, account: Annotated[str, InjectedToolArg] = "own") -> str:
        RUNS.append((amount, account))
        return "paid"


class PayAsync(PayMarked):
    async def _arun(self, amount: int, account: Annotated[str, InjectedToolArg] = "own") -> str:
        RUNS.append((amount, account))
        return "paid"


@pytest.mark.parametrize("cls", [PayMarked, PayAsync])
@pytest.mark.parametrize("schema", [Amount, AMOUNT, None], ids=["model", "json", "inferred"])
async def test_a_model_can_t_forge_what_only_a_method_marks(
    bench: Any, schema: Any, cls: type[BaseTool]
) -> None:
    """ToolNode does not look at methods; of a governed tool it learns what is injected, and takes
    it out of the call.
    """
    made = govern(cls(args_schema=schema), bench.guard)
    assert "account" not in made.args
    call = {
        "name": "pay",
        "args": {"amount": 5, "account": "victim"},
        "id": "1",
        "type": "tool_call",
    }
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([made]))
    graph.add_edge(START, "tools")
    compiled = graph.compile()
    compiled.invoke({"messages": [AIMessage("", tool_calls=[call])]})
    await compiled.ainvoke({"messages": [AIMessage("", tool_calls=[call])]})
    assert RUNS == [(5, "own")] * 2
    made.invoke({"amount": 6, "account": "chosen by the host"})
    assert RUNS[-1] == (6, "chosen by the host")
    assert bench.asked == [{"amount": 5}, {"amount": 5}, {"amount": 6}]


def test_what_only_a_method_marks_beside_a_model_of_pydantic_1_is_refused(bench: Any) -> None:
    """It can't be told to ToolNode."""
    made = refused(bench, PayMarked(args_schema=AmountV1), "pydantic 1")
    attack(made, amount=5, account="victim")
    assert RUNS == []


def test_a_hidden_argument_with_an_alias_is_refused(bench: Any) -> None:
    """ToolNode takes out what the model gives under the name, and lets pass what it gives under the
    alias.
    """

    class Hidden(BaseModel):
        amount: int
        account: Annotated[str, InjectedToolArg] = Field("own", alias="acct")

    class HiddenByValidation(BaseModel):
        amount: int
        account: Annotated[str, InjectedToolArg] = Field("own", validation_alias="acct")

    for schema in (Hidden, HiddenByValidation):
        attack(refused(bench, structured(pay, schema), "alias"), amount=5, acct="victim")
    assert RUNS == []


@pytest.mark.parametrize("name", ["self", "config", "run_manager", "callbacks", "runtime"])
@pytest.mark.parametrize("kind", ["model", "json"])
def test_an_argument_that_the_framework_fills_in_by_its_name_is_refused(
    bench: Any, name: str, kind: str
) -> None:
    """Else the decision covers what the model gave, and the body gets something else, or the call
    dies unrecorded.
    """
    scope: dict[str, Any] = {}
    exec(f"def body(city, {name}=None): return 'ok'", scope)
    scope["body"].__annotations__ = {"city": str, name: str}
    schema: Any = {
        "type": "object",
        "properties": {"city": {"type": "string"}, name: {"type": "string"}},
    }
    if kind == "model":
        schema = type("Schema", (BaseModel,), {"__annotations__": {"city": str, name: str}})
    made = refused(bench, structured(scope["body"], schema), name)
    attack(made, **{"city": "Bern", name: "mine"})
    assert bench.outcomes == []


ODD = {
    "type": "object",
    "properties": {key: {"type": "string"} for key in ("config", "run_manager", "args")},
}


def test_names_that_nothing_fills_in_stay_arguments(bench: Any) -> None:
    """A tool with one argument gets it by its place, a class without a run manager gets no run
    manager.
    """

    class Odd(BaseTool):
        name: str = "odd"
        description: str = "Odd."
        args_schema: Any = ODD

        def _run(self, config: str, run_manager: Any = None, args: str = "") -> str:
            RUNS.append((config, args))
            return "ok"

    refused(bench, Odd(), "run_manager")

    class Fine(Odd):
        name: str = "fine"

        def _run(self, config: str, args: str = "") -> str:
            RUNS.append((config, args))
            return "ok"

    schema = {"type": "object", "properties": {"config": {"type": "string"}, "args": {}}}
    govern(Fine(args_schema=schema), bench.guard).invoke({"config": "a", "args": "b"})
    single = Tool(
        name="single",
        description="One.",
        func=lambda text: RUNS.append(text) or "ok",
        args_schema={"type": "object", "properties": {"self": {"type": "string"}}},
    )
    govern(single, bench.guard).invoke({"self": "c"})
    assert RUNS == [("a", "b"), "c"]
    assert bench.asked == [{"config": "a", "args": "b"}, {"self": "c"}]


def test_an_argument_called_self_of_an_open_schema_leaves_a_record(bench: Any) -> None:
    """The body can't take it: an allowed call with an outcome, and no TypeError out of nowhere."""
    made = govern(
        structured(
            lambda **args: RUNS.append(args), {"type": "object", "additionalProperties": True}
        ),
        bench.guard,
    )
    with pytest.raises(TypeError):
        made.invoke({"city": "Bern", "self": "me"})
    assert RUNS == []
    assert bench.asked == [{"city": "Bern", "self": "me"}]
    assert [record["status"] for record in bench.outcomes] == ["error"]


def test_callbacks_of_an_open_schema_are_the_frameworks(bench: Any) -> None:
    """The function takes them from LangChain; the model's are neither decided on nor passed on."""

    def body(callbacks: Any = None, **args: Any) -> str:
        RUNS.append((type(callbacks).__name__, args))
        return "ok"

    schema = {"type": "object", "additionalProperties": True}
    govern(structured(body, schema), bench.guard).invoke({"city": "Bern", "callbacks": "mine"})
    assert RUNS == [("CallbackManager", {"city": "Bern"})]
    assert bench.asked == [{"city": "Bern"}]


def test_the_model_does_not_see_the_config_of_a_class_without_a_schema(bench: Any) -> None:
    """LangChain shows it and fills it in; the governed tool hides it, the original is as it was."""

    class WithConfig(BaseTool):
        name: str = "with_config"
        description: str = "Use the config."

        def _run(self, city: str, config: RunnableConfig) -> str:
            return city

    original = WithConfig()
    made = govern(original, bench.guard)
    assert set(made.args) == {"city"}
    assert made.tool_call_schema is made.tool_call_schema
    assert made.tool_call_schema.model_json_schema()["title"] == "with_config"
    assert set(original.args) == {"city", "config"}


def test_a_field_that_langchain_does_not_see_is_judged(bench: Any) -> None:
    """One with a validation_alias only stands in no schema for the model, and is an argument all
    the same.
    """

    class Aliased(BaseModel):
        amount: int = Field(validation_alias="sum")
        parts: list[int] = Field(default_factory=list, validation_alias="pieces", max_length=3)

    made = govern(structured(lambda **args: RUNS.append(args) or "ok", Aliased), bench.guard)
    made.invoke({"sum": 5, "pieces": [1]})
    made.invoke({"sum": 6})
    assert RUNS == bench.asked == [{"amount": 5, "parts": [1]}, {"amount": 6, "parts": []}]


def test_a_text_that_would_become_an_injected_argument_is_rejected(bench: Any) -> None:
    """A tool that is run on a text gets it as its first argument, which may be one that the host
    fills in.
    """

    def notes(user: Annotated[str, InjectedToolArg], city: str = "Bern") -> str:
        """Read notes."""
        RUNS.append(user)
        return city

    made = govern(StructuredTool.from_function(notes), bench.guard)
    with pytest.raises(TypeError, match="injected"):
        made.invoke("victim")
    assert RUNS == []
    assert [record["reason"] for record in bench.rejected] == ["input"]
    made.invoke({"user": "alice", "city": "Bern"})
    assert RUNS == ["alice"]


def assigned(made: BaseTool) -> BaseTool:
    made.name = "climate"
    return made


def named_copy(made: BaseTool, copied: BaseTool) -> BaseTool:
    copied.name = "climate"
    assert made.name != "climate"
    return copied


RENAMINGS = {
    "assignment": assigned,
    "model_copy": lambda made: made.model_copy(update={"name": "climate"}),
    "model_copy, deep": lambda made: made.model_copy(update={"name": "climate"}, deep=True),
    "model_copy, then assignment": lambda made: named_copy(made, made.model_copy()),
    "copy.copy": lambda made: named_copy(made, copy.copy(made)),
    "copy.deepcopy": lambda made: named_copy(made, copy.deepcopy(made)),
    "object.__setattr__": lambda made: (made.__dict__.update(name="climate"), made)[1],
    "a copy of a copy": lambda made: copy.copy(made).model_copy(update={"name": "climate"}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", [*RENAMINGS, "pydantic's old copy"])
@pytest.mark.parametrize("original", [weather, WeatherClass()], ids=["function", "class"])
def test_a_renamed_tool_is_decided_under_its_new_name_on_every_path(
    bench: Any, original: BaseTool, how: str
) -> None:
    """Through invoke, a graph, and the function that hangs on it."""
    made = govern(original, bench.guard)
    made = RENAMINGS[how](made) if how in RENAMINGS else made.copy(update={"name": "climate"})
    made.invoke({"city": "Bern"})
    call = {"name": "climate", "args": {"city": "Bern"}, "id": "1", "type": "tool_call"}
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([made]))
    graph.add_edge(START, "tools")
    graph.compile().invoke({"messages": [AIMessage("", tool_calls=[call])]})
    function = getattr(made, "func", None) or made._run
    function(city="Bern")
    if hasattr(made, "func"):
        made.__dict__["func"](city="Bern")
    expected = 4 if hasattr(made, "func") else 3
    assert [item["tool"]["name"] for item in bench.decisions] == ["climate"] * expected
    assert len(bench.outcomes) == len(RUNS) == expected


async def test_a_renamed_coroutine_is_decided_under_its_new_name(bench: Any) -> None:
    """As a function, and the original keeps the old name."""
    made = govern(weather_async, bench.guard)
    other = made.model_copy(update={"name": "climate"})
    await other.coroutine(city="Bern")
    await made.coroutine(city="Bern")
    assert [item["tool"]["name"] for item in bench.decisions] == ["climate", "weather_async"]


def test_a_function_that_a_copy_is_given_is_governed(bench: Any) -> None:
    """With model_copy and by assignment: reached directly as well as through invoke."""
    made = govern(weather, bench.guard)
    first = made.model_copy(update={"func": lambda city: RUNS.append("first")})
    second = made.model_copy()
    second.func = lambda city: RUNS.append("second")
    for item in (first, second, made):
        item.func(city="Bern")
        item.invoke({"city": "Bern"})
    assert RUNS == ["first", "first", "second", "second", "Bern", "Bern"]
    assert len(bench.decisions) == len(bench.outcomes) == 6


def test_a_schema_that_shows_too_much_is_refused_when_it_is_put_in_later(bench: Any) -> None:
    """Nothing runs under it."""
    made = govern(StructuredTool.from_function(pay), bench.guard)
    made.args_schema = Shown
    with pytest.warns(RefusedToolWarning, match="account"), pytest.raises(Denied):
        made.invoke({"amount": 5, "account": "victim"})
    assert RUNS == []
    assert bench.decisions[0]["decision"]["cause"] == "arguments"


@pytest.mark.parametrize("original", [weather, WeatherClass()], ids=["function", "class"])
def test_a_governed_tool_is_made_by_govern_alone(bench: Any, original: BaseTool) -> None:
    """A class made from fields, or a tool that LangChain configures, would have no guard: it is
    refused.
    """
    made = govern(original, bench.guard)
    with pytest.raises(UsageError, match="lose its guard"):
        type(made)(name="weather", description="Bare.")
    configured = made.configurable_fields(name=ConfigurableField(id="name"))
    with pytest.raises(UsageError, match="lose its guard"):
        configured.invoke({"city": "Bern"}, {"configurable": {"name": "climate"}})
    bare = type(made).model_construct(name="weather", description="Bare.")
    with pytest.raises(UsageError, match="lost its guard"):
        bare._run(city="Bern")
    assert RUNS == []


@pytest.mark.parametrize("extra", ["allow", "ignore"])
def test_an_alias_and_further_arguments_give_the_body_what_was_decided(
    bench: Any, extra: Any
) -> None:
    """The model gives the alias and the field's own name."""

    class Aliased(BaseModel):
        model_config = ConfigDict(extra=extra)
        a: int = Field(alias="aa")

    made = govern(structured(lambda **args: RUNS.append(args) or "ok", Aliased), bench.guard)
    made.invoke({"aa": 5, "a": 99})
    assert RUNS == bench.asked == [{"a": 5}]
