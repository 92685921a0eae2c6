"""For any tool and any output of a model: the body gets exactly the decided arguments and the
declared injected ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import warnings
from dataclasses import dataclass, field
from typing import Annotated, Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
)
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, create_model, field_validator

from guardrail.integrations.langchain import RefusedToolWarning, govern
from guardrail.testing import StaticPolicy, allow, memory_guard

MISSING = object()
NAMES = ("a", "b", "aa", "account", "config", "callbacks", "run_manager", "runtime", "self", "args")
"""Ordinary names, names that are aliases of others, and those that the framework fills in."""
INJECTED: dict[str, tuple[Any, Any]] = {
    "arg": (Annotated[Any, InjectedToolArg], "by the host"),
    "state": (Annotated[Any, InjectedState], "state"),
    "call id": (Annotated[str, InjectedToolCallId], "call-1"),
    "runtime": (ToolRuntime, "runtime"),
    "config": (RunnableConfig, "config"),
}
VALUES = st.one_of(
    st.integers(-9, 9),
    st.text("ab ", max_size=3),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 3), max_size=2),
)
_NUMBERS = itertools.count()


@dataclass
class Part:
    """One argument of a generated tool."""

    name: str
    kind: str
    """``plain`` or a key of INJECTED."""
    in_schema: bool
    in_signature: bool
    marked_in_schema: bool
    alias: str | None = None
    alias_kind: str = "alias"
    default: Any = MISSING
    trims: bool = False


@dataclass
class Plan:
    """One generated tool."""

    parts: list[Part]
    schema: str
    extra: str | None
    by_name: bool
    form: str
    seen: list[dict[str, Any]] = field(default_factory=list)


@st.composite
def parts(draw: Any) -> Part:
    kind = draw(st.sampled_from(["plain", "plain", "plain", *INJECTED]))
    return Part(
        name=draw(st.sampled_from(NAMES)),
        kind=kind,
        in_schema=draw(st.booleans()) or kind == "plain",
        in_signature=draw(st.booleans()) or kind == "plain",
        marked_in_schema=draw(st.booleans()),
        alias=draw(st.sampled_from([None, None, None, "aa", "a", "zz"])),
        alias_kind=draw(st.sampled_from(["alias", "validation_alias", "choices"])),
        default=draw(st.sampled_from([MISSING, None, 1, "x"])),
        trims=draw(st.booleans()),
    )


@st.composite
def plans(draw: Any) -> Plan:
    return Plan(
        parts=draw(st.lists(parts(), min_size=1, max_size=4, unique_by=lambda part: part.name)),
        schema=draw(st.sampled_from(["model", "json", "inferred"])),
        extra=draw(st.sampled_from([None, "allow", "forbid", "ignore"])),
        by_name=draw(st.booleans()),
        form=draw(st.sampled_from(["function", "coroutine", "class", "async class"])),
    )


OUTPUTS = st.dictionaries(st.sampled_from([*NAMES, "zz", "other"]), VALUES, max_size=5)


def annotation(part: Part) -> Any:
    return Any if part.kind == "plain" else INJECTED[part.kind][0]


def model(plan: Plan) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    validators: dict[str, Any] = {}
    for part in plan.parts:
        if not part.in_schema:
            continue
        settings_: dict[str, Any] = {}
        if part.alias is not None:
            settings_ = {
                "alias": {"alias": part.alias},
                "validation_alias": {"validation_alias": part.alias},
                "choices": {"validation_alias": AliasChoices(part.alias, part.name)},
            }[part.alias_kind]
        if part.default is not MISSING:
            settings_["default"] = part.default
        type_ = annotation(part) if part.marked_in_schema else Any
        fields[part.name] = (type_, Field(**settings_))
        if part.trims and part.kind == "plain":
            validators[f"trim_{part.name}"] = field_validator(part.name, mode="before")(trim)
    config = ConfigDict(populate_by_name=plan.by_name, arbitrary_types_allowed=True)
    if plan.extra is not None:
        config["extra"] = plan.extra  # type: ignore[typeddict-item]
    return create_model("Schema", __config__=config, __validators__=validators, **fields)


def trim(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def json_schema(plan: Plan) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {part.name: {} for part in plan.parts if part.in_schema},
    }
    if plan.extra is not None:
        schema["additionalProperties"] = plan.extra == "allow"
    return schema


def make(plan: Plan) -> BaseTool:
    """Build the tool; its body notes everything that it gets."""
    parameters = [part for part in plan.parts if part.in_signature and part.name != "self"]
    parameters.sort(key=lambda part: part.default is not MISSING)
    space: dict[str, Any] = {"seen": plan.seen, "Any": Any}
    texts = []
    for part in parameters:
        space[f"T_{part.name}"], space[f"D_{part.name}"] = annotation(part), part.default
        default = "" if part.default is MISSING else f" = D_{part.name}"
        texts.append(f"{part.name}: T_{part.name}{default}")
    if plan.schema != "inferred":
        texts.append("**further")
    got = ", ".join(f"{part.name}={part.name}" for part in parameters)
    further = "further" if plan.schema != "inferred" else "{}"
    body = f"\n    'Run.'\n    seen.append(dict({got}) | {further})\n    return 'ok'\n"
    name = f"tool_{next(_NUMBERS)}"
    start = "async def" if plan.form in ("coroutine", "async class") else "def"
    function = {"class": "_run", "async class": "_arun"}.get(plan.form, name)
    first = ["self"] if plan.form in ("class", "async class") else []
    code = f"{start} {function}({', '.join([*first, *texts])}) -> str:{body}"
    exec(code, space)
    schema = {"model": model, "json": json_schema}.get(plan.schema, lambda _: None)(plan)
    if plan.form in ("class", "async class"):
        members = {function: space[function], "__module__": __name__}
        if plan.form == "async class":
            members["_run"] = sync_only
        cls = type("Made", (BaseTool,), members)
        made: BaseTool = cls(name=name, description="Run.", args_schema=schema)
        return made
    kind = "coroutine" if plan.form == "coroutine" else "func"
    return StructuredTool.from_function(
        **{kind: space[function]}, name=name, description="Run.", args_schema=schema
    )


def sync_only(self: BaseTool, **_: Any) -> str:
    raise NotImplementedError


def run(made: BaseTool, output: dict[str, Any], path: str) -> None:
    call = {"name": made.name, "args": dict(output), "id": "call-1", "type": "tool_call"}
    if path == "graph":
        graph = StateGraph(MessagesState)
        graph.add_node("tools", ToolNode([made], handle_tool_errors=True))
        graph.add_edge(START, "tools")
        asyncio.run(graph.compile().ainvoke({"messages": [AIMessage("", tool_calls=[call])]}))
    else:
        asyncio.run(made.ainvoke(call if path == "tool call" else dict(output)))


def injected(plan: Plan) -> set[str]:
    """Return the names that the tool declares as injected."""
    marked = {
        part.name
        for part in plan.parts
        if part.kind != "plain"
        and (part.in_signature or (part.kind != "config" and part.marked_in_schema))
    }
    # LangChain fills these in by their names, where a function or a method of a class takes them.
    taken = {part.name for part in plan.parts if part.in_signature}
    if plan.form in ("class", "async class"):
        return marked | {"run_manager"} & taken
    return marked | {"run_manager", "callbacks"} & taken


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


@settings(
    max_examples=120, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(plan=plans(), output=OUTPUTS, path=st.sampled_from(["arguments", "tool call", "graph"]))
def test_the_body_gets_what_was_decided_and_what_is_injected(
    plan: Plan, output: dict[str, Any], path: str
) -> None:
    """Each decided argument under its name, with its value; besides it only what the tool declares
    as injected.
    """
    try:
        original = make(plan)
    except Exception as error:
        event(f"not made: {type(error).__name__}")
        return
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = govern(original, guard)
        refused = any(issubclass(item.category, RefusedToolWarning) for item in caught)
        with contextlib.suppress(Exception):
            run(made, output, path)
    decisions = ledger.of("call.decision")
    event(f"{'refused' if refused else 'governed'}, ran {len(plan.seen)}")
    assert len(plan.seen) <= 1
    if refused:
        assert plan.seen == []
    if not plan.seen:
        return
    (got,), (asked,) = plan.seen, policy.inputs
    (decision,) = decisions
    assert decision["decision"]["effect"] == "allow"
    decided = asked["action"]["properties"]["args"]
    beside = injected(plan)
    shown = original.tool_call_schema
    visible = set(
        shown.get("properties", ())
        if isinstance(shown, dict)
        else shown.model_json_schema().get("properties", ())
    )
    own = {part.name: part.default for part in plan.parts if part.default is not MISSING}
    for name in set(got) - beside:
        if name not in decided and name in own:
            # The function's own default, of which its schema says nothing; never what the model
            # gave.
            assert got[name] is own[name]
            continue
        assert name in decided, f"{name} was not decided"
        assert same(got[name], decided[name]), f"{name} is not what was decided"
    for name in decided:
        assert name in got, f"{name} was decided, and the body did not get it"
        if name not in beside:
            assert same(got[name], decided[name])
    for name in beside & visible & set(got):
        # LangChain shows the model the config of a class without a schema; the governed tool hides
        # it.
        assert name not in made.args
