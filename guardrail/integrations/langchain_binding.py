"""What ties a governed LangChain tool to its guard: the declaration, made from what a model sees of the tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.tools import Tool as SingleInputTool

from guardrail.integrations.signatures import hints, parameters

if TYPE_CHECKING:
    from guardrail.guard import Guard
    from guardrail.tools import Tool

__all__ = [
    "CALLABLES",
    "KEY",
    "Approvals",
    "Binding",
    "Options",
    "bind",
    "binding_of",
    "config_names",
]

KEY = "_guardrail"
"""Where a governed tool keeps its binding: in the instance, so that every copy of it stays governed."""

CALLABLES = ("func", "coroutine")
"""Fields that hold a body: replaced by governed functions, which only the guard's side resolves."""


class Approvals(StrEnum):
    """What becomes of a call that a person must approve."""

    ERROR = "error"
    """The model is told that it was not run."""
    INTERRUPT = "interrupt"
    """A LangGraph graph that can be resumed pauses until a person has answered; elsewhere as ``error``."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``guard.declare`` is told besides name and schema, and what becomes of approvals."""

    target: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    log_output: bool = False
    server: str | None = None
    approvals: Approvals = Approvals.ERROR


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """What ties a governed tool to its guard. Shared by all copies of the tool, never copied itself."""

    guard: Guard
    tool: Tool
    """The guard's declaration."""
    options: Options
    name: str
    schema: object
    """``args_schema`` at declaration: a copy that was given another name or schema is declared anew."""
    positional: tuple[str, ...]
    """Names of arguments that come without one, in their order."""
    injected: frozenset[str]
    """Names that the framework or the host fills in, by their annotation."""
    defaults: Mapping[str, Any]
    """Defaults of the model, as objects: LangChain passes on one that the model itself would refuse (``x: str = None``)."""
    variadic: frozenset[str]
    """``args`` and ``kwargs`` where they stand for ``*args`` and ``**kwargs``: passed on only if they were given."""
    raw: Mapping[Callable[..., Any], Callable[..., Any]]
    """Governed function -> the body that it stands for."""

    def __copy__(self) -> Binding:
        return self

    def __deepcopy__(self, _: object) -> Binding:
        return self


def bind(
    tool: BaseTool,
    guard: Guard,
    options: Options,
    raw: Mapping[Callable[..., Any], Callable[..., Any]],
) -> Binding:
    """Declare *tool* to *guard* and keep the result in the instance."""
    injected = _injected_names(tool)
    schema = _model_schema(tool, injected)
    declared = guard.declare(
        tool.name,
        schema=schema,
        server=options.server,
        target=options.target,
        labels=options.labels,
        log_output=options.log_output,
    )
    binding = Binding(
        guard=guard,
        tool=declared,
        options=options,
        name=tool.name,
        schema=tool.args_schema,
        positional=_positional_names(tool, schema, injected),
        injected=injected,
        defaults=_defaults(schema),
        variadic=_variadic_names(tool),
        raw=raw,
    )
    tool.__dict__[KEY] = binding
    return binding


def binding_of(tool: BaseTool) -> Binding:
    """Return the binding of a governed tool, declared anew where a copy was renamed or given another schema."""
    found = cast("Binding", tool.__dict__[KEY])
    same = tool.args_schema is found.schema or tool.args_schema == found.schema
    if tool.name == found.name and same:
        return found
    return bind(tool, found.guard, found.options, found.raw)


def _model_schema(tool: BaseTool, injected: frozenset[str]) -> Any:
    """Return what the model sees of the arguments: a JSON Schema, or a pydantic model without what is injected."""
    if isinstance(tool, SingleInputTool) and tool.args_schema is None:
        return {
            "type": "object",
            "properties": {"tool_input": {"type": "string"}},
            "required": ["tool_input"],
        }
    schema: Any = tool.tool_call_schema
    if isinstance(schema, Mapping):
        return schema
    if not hasattr(schema, "model_fields"):
        return schema.schema()  # pydantic 1
    fields = schema.model_fields
    loose = getattr(tool.args_schema, "model_config", {}).get("extra") == "allow"
    if injected.isdisjoint(fields) and not loose:
        return schema
    # LangChain leaves out that a model takes further arguments; and where there is no args_schema, it counts a
    # parameter that takes the run's config as an argument.
    from pydantic import ConfigDict, create_model

    kept: dict[str, Any] = {
        name: (field.annotation, field) for name, field in fields.items() if name not in injected
    }
    config = ConfigDict(arbitrary_types_allowed=True, extra="allow" if loose else "ignore")
    return create_model(tool.name, __config__=config, __doc__=tool.description, **kept)


def _injected_names(tool: BaseTool) -> frozenset[str]:
    """Return the names of arguments that the model does not fill in, by annotation. Never one that is only *called* so."""
    # cached_property of LangChain: parameters annotated with InjectedToolArg and its kin, ToolRuntime included.
    names = set(getattr(tool, "_injected_args_keys", ()))
    schema: Any = tool.args_schema
    if schema is not None and hasattr(schema, "model_fields"):
        names.update(
            set(schema.model_fields)
            - set(getattr(tool.tool_call_schema, "model_fields", schema.model_fields))
        )
    for body in _bodies(tool):
        names.update(config_names(body))
    return frozenset(names)


def _bodies(tool: BaseTool) -> list[Callable[..., Any]]:
    functions = [tool.__dict__.get(field) for field in CALLABLES]
    return [function for function in functions if callable(function)] or [tool._run, tool._arun]


def _defaults(schema: Any) -> dict[str, Any]:
    if isinstance(schema, Mapping):
        return {}
    return {
        name: field.default
        for name, field in schema.model_fields.items()
        if not field.is_required() and field.default_factory is None
    }


def _variadic_names(tool: BaseTool) -> frozenset[str]:
    # LangChain makes fields of these, and leaves them out of a call that does not name them.
    return frozenset(
        name
        for body in _bodies(tool)
        for name, parameter in parameters(body).items()
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name in ("args", "kwargs")
    )


def _positional_names(tool: BaseTool, schema: Any, injected: frozenset[str]) -> tuple[str, ...]:
    for body in _bodies(tool):
        names = [
            name
            for name, parameter in parameters(body).items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        if names and not isinstance(tool, SingleInputTool):
            return tuple(names)
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else schema.model_fields
    return tuple(name for name in known if name not in injected)


def config_names(function: Callable[..., Any]) -> set[str]:
    # The same test as LangChain's: only a parameter annotated with exactly this type gets the config.
    return {name for name, hint in hints(function).items() if hint is RunnableConfig}
