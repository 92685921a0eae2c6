"""Binds a governed LangChain tool to its guard. The tool is declared with the schema that the model
sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool

from guardrail.errors import UsageError
from guardrail.integrations.langchain.contradictions import contradiction
from guardrail.integrations.langchain.declaration import (
    NEVER,
    defaults,
    model_schema,
    positional_names,
    variadic_names,
)
from guardrail.integrations.langchain.injection import injected_names
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


KEY = "_guardrail"
"""The attribute of a tool instance that contains its binding. Copies of the tool keep the
attribute, so they stay governed.
"""


class Approvals(StrEnum):
    """How to treat calls that need approval."""

    ERROR = "error"
    """Tell the model that the call did not run."""
    INTERRUPT = "interrupt"
    """Pause the LangGraph graph until a person has answered. If there is no graph that can be
    resumed, this is the same as ``error``.
    """

    @classmethod
    def of(cls, value: str) -> Approvals:
        """Return the member with the value *value*. Raises ``UsageError`` if there is none."""
        try:
            return cls(value)
        except ValueError:
            raise UsageError(
                f"approvals must be one of {', '.join(cls)}", code="usage.approvals"
            ) from None


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of ``guard.declare``, except name and schema, and the treatment of
    approvals.
    """

    target: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    effect_key: tuple[str, ...] = ()
    log_output: bool = False
    server: str | None = None
    approvals: Approvals = Approvals.ERROR
    timeout: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """The link between a governed tool and its guard. All copies of the tool share one binding,
    which is never copied.
    """

    guard: Guard
    tool: Tool
    """The tool as declared to the guard."""
    options: Options
    name: str
    schema: object
    """``args_schema`` at declaration. A copy with a different name or schema is declared again."""
    positional: tuple[str, ...]
    """Names of the arguments that are passed by position, in order."""
    injected: frozenset[str]
    """Names of the arguments that the framework or the program fills in, according to their
    annotations.
    """
    defaults: Mapping[str, Any]
    """The input model's defaults, as objects. LangChain also passes a default that the model itself
    would reject (``x: str = None``).
    """
    variadic: frozenset[str]
    """``args`` and ``kwargs`` if they represent ``*args`` and ``**kwargs``. They are passed on only
    if the caller supplied them.
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
    """Declare *tool* in *guard*, and return the binding.

    If the tool shows the model an argument that the framework or the program fills in, emits a
    warning, and declares the tool with a schema that rejects all arguments.
    """
    injected = injected_names(tool)
    refused = contradiction(tool, injected)
    if refused is not None:
        warnings.warn(refused, stacklevel=4)
    schema = NEVER if refused is not None else model_schema(tool, injected)
    # A rejected tool is not registered, because it would block an accepted tool with the same name.
    declare = guard.declare if refused is None else tools.declare
    declared = declare(
        tool.name,
        schema=schema,
        server=options.server,
        target=options.target,
        labels=options.labels,
        amounts=options.amounts,
        effect_key=options.effect_key,
        log_output=options.log_output,
        timeout=options.timeout,
    )
    binding = Binding(
        guard=guard,
        tool=declared,
        options=options,
        name=tool.name,
        schema=tool.args_schema,
        positional=positional_names(tool, schema, injected),
        injected=injected,
        defaults=defaults(schema),
        variadic=variadic_names(tool),
        raw=raw,
    )
    tool.__dict__[KEY] = binding
    return binding


def binding_of(tool: BaseTool) -> Binding:
    """Return the binding of a governed tool. A copy that was renamed or has a different schema is
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
