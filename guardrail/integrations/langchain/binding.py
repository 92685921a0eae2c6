"""Binds a governed LangChain tool to its guard. The declaration is made from the schema that a
model sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool
from langchain_core.tools import Tool as SingleInputTool

from guardrail.errors import UsageError
from guardrail.integrations.langchain.injection import (
    bodies,
    contradiction,
    injected_names,
    input_model,
)
from guardrail.integrations.signatures import parameters
from guardrail.tools import tool as tools

if TYPE_CHECKING:
    from guardrail.guard import Guard
    from guardrail.tools.tool import Tool

__all__ = [
    "KEY",
    "Approvals",
    "Binding",
    "Options",
    "bind",
    "binding_of",
]

_NEVER = {"type": "object", "properties": {}, "not": {}}
"""A schema that no arguments fit: each call is denied, and recorded."""

KEY = "_guardrail"
"""Attribute that holds a governed tool's binding: in the instance, so that every copy of it stays
governed.
"""


class Approvals(StrEnum):
    """How a call that a person must approve is handled."""

    ERROR = "error"
    """The model is told that the call did not run."""
    INTERRUPT = "interrupt"
    """A resumable LangGraph graph pauses until a person has answered; otherwise as ``error``."""


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments of ``guard.declare`` other than name and schema, and the handling of approvals."""

    target: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    log_output: bool = False
    server: str | None = None
    approvals: Approvals = Approvals.ERROR


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """The link between a governed tool and its guard. All copies of the tool share it; it is never
    copied itself.
    """

    guard: Guard
    tool: Tool
    """The guard's declaration."""
    options: Options
    name: str
    schema: object
    """``args_schema`` at declaration: a copy with a different name or schema is declared again."""
    positional: tuple[str, ...]
    """Names of arguments that are passed without a name, in order."""
    injected: frozenset[str]
    """Names that the framework or the host fills in, according to their annotations."""
    defaults: Mapping[str, Any]
    """The model's defaults, as objects. LangChain passes on a default that the model itself would
    refuse (``x: str = None``).
    """
    variadic: frozenset[str]
    """``args`` and ``kwargs`` if they stand for ``*args`` and ``**kwargs``: passed on only if they
    were given.
    """
    raw: Mapping[Callable[..., Any], Callable[..., Any]]
    """Maps each governed function to its original body."""

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
    """Declare *tool* to *guard*, and store the result in the instance.

    Warns if the tool shows the model an argument that something else fills in, and declares the
    tool with a schema that no arguments fit.
    """
    injected = injected_names(tool)
    refused = contradiction(tool, injected)
    if refused is not None:
        warnings.warn(refused, stacklevel=4)
    schema = _NEVER if refused is not None else _model_schema(tool, injected)
    # A refused tool is not registered: it would block an accepted one of the same name.
    declare = guard.declare if refused is None else tools.declare
    declared = declare(
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
    """Return the binding of a governed tool. If a copy was renamed or has another schema, it is
    declared again.
    """
    found = tool.__dict__.get(KEY)
    if not isinstance(found, Binding):
        raise UsageError(
            "this copy of a governed tool has lost its guard, so it does not run",
            code="usage.governed",
            hint="copy it with model_copy, or govern the original again",
        )
    same = tool.args_schema is found.schema or tool.args_schema == found.schema
    if tool.name == found.name and same:
        return found
    return bind(tool, found.guard, found.options, found.raw)


def _model_schema(tool: BaseTool, injected: frozenset[str]) -> Any:
    """Return the schema of the arguments that the model sees: a JSON Schema, or a pydantic model
    without the injected arguments.
    """
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
    full = getattr(input_model(tool), "model_fields", {})
    names = [name for name in {**fields, **full} if name not in injected]
    loose = getattr(tool.args_schema, "model_config", {}).get("extra") == "allow"
    if set(names) == set(fields) and not loose:
        return schema
    # LangChain omits that a model accepts further arguments, and fields that have only a
    # validation_alias. If there is no args_schema, it also counts a parameter that receives the
    # run's config as an argument.
    from pydantic import ConfigDict, create_model

    kept: dict[str, Any] = {}
    for name in names:
        field = fields.get(name) or _unaliased(full[name])
        kept[name] = (field.annotation, field)
    config = ConfigDict(arbitrary_types_allowed=True, extra="allow" if loose else "ignore")
    return create_model(tool.name, __config__=config, __doc__=tool.description, **kept)


def _unaliased(field: Any) -> Any:
    """Return *field* under its own name, by which LangChain passes it on."""
    from pydantic.fields import FieldInfo

    default: dict[str, Any] = {"default": field.default}
    if field.default_factory is not None:
        default = {"default_factory": field.default_factory}
    made = FieldInfo(annotation=field.annotation, description=field.description, **default)
    made.metadata = list(field.metadata)
    return made


def _defaults(schema: Any) -> dict[str, Any]:
    if isinstance(schema, Mapping):
        return {}
    return {
        name: field.default
        for name, field in schema.model_fields.items()
        if not field.is_required() and field.default_factory is None
    }


def _variadic_names(tool: BaseTool) -> frozenset[str]:
    # LangChain makes fields of these, and omits them from a call that does not name them.
    return frozenset(
        name
        for body in bodies(tool)
        for name, parameter in parameters(body).items()
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name in ("args", "kwargs")
    )


def _positional_names(tool: BaseTool, schema: Any, injected: frozenset[str]) -> tuple[str, ...]:
    for body in bodies(tool):
        names = [
            name
            for name, parameter in parameters(body).items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        if names and not isinstance(tool, SingleInputTool):
            return tuple(names)
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else schema.model_fields
    return tuple(name for name in known if name not in injected)
