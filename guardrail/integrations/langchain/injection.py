"""Determines which arguments of a LangChain tool are injected, and which arguments the model can
see. An argument is never both.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools import Tool as SingleInputTool
from langchain_core.tools.base import _DirectlyInjectedToolArg, get_all_basemodel_annotations

from guardrail.integrations.signatures import hints, parameters

__all__ = [
    "CALLABLES",
    "bodies",
    "config_names",
    "hidden_names",
    "injected_names",
    "input_model",
    "marked",
    "schema_annotations",
    "unseen_names",
]

CALLABLES = ("func", "coroutine")
"""Names of the fields that contain a body."""

_MAX_DEPTH = 16


def injected_names(tool: BaseTool) -> frozenset[str]:
    """Return the names of the arguments whose annotations say that the framework or the program
    fills them in. An argument's name alone is never sufficient.

    LangChain's own list is not used, because LangChain computes it once and does not update it if
    the function or the schema is replaced.
    """
    found = {name for name, hint in schema_annotations(tool).items() if marked(hint)}
    for body in (*bodies(tool), tool._run, tool._arun):
        found.update(name for name, hint in hints(body).items() if marked(hint))
    for body in bodies(tool):
        found.update(config_names(body))
    for field in CALLABLES:
        # StructuredTool and Tool fill in this argument if the function accepts it.
        function = tool.__dict__.get(field)
        if callable(function):
            found.update({"callbacks"} & set(parameters(function)))
    return frozenset(found - {"return"})


def config_names(function: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters that receive the run's config."""
    # This is LangChain's own test: only a parameter with exactly this annotation receives the
    # config.
    return {name for name, hint in hints(function).items() if hint is RunnableConfig}


def bodies(tool: BaseTool) -> list[Callable[..., Any]]:
    """Return the callables that implement *tool*: its functions or, if it has none, its ``_run``
    and, if its class defines one, ``_arun``.
    """
    functions = [tool.__dict__.get(field) for field in CALLABLES]
    found = [function for function in functions if callable(function)]
    if found:
        return found
    # The base class's own _arun takes *args and **kwargs, and passes them to _run.
    return [tool._run] if type(tool)._arun is BaseTool._arun else [tool._run, tool._arun]


def input_model(tool: BaseTool) -> Any:
    """Return the input model (pydantic 1 or 2), or None if the input is described by a JSON Schema
    or not at all.
    """
    if isinstance(tool.args_schema, Mapping):
        return None
    if tool.args_schema is None and isinstance(tool, SingleInputTool):
        return None
    # A governed tool's own schema also has the arguments that only its methods mark as injected.
    return getattr(tool, "given_input_schema", tool.get_input_schema)()


def unseen_names(tool: BaseTool) -> dict[str, tuple[Any, Any]]:
    """Return the annotation and default of each argument that only the methods of a class mark as
    injected.

    LangGraph's ToolNode inspects functions and the input model but not these methods, so it would
    pass on the model's values for these names.
    """
    if any(callable(tool.__dict__.get(field)) for field in CALLABLES):
        return {}
    known = schema_annotations(tool)
    found: dict[str, tuple[Any, Any]] = {}
    for method in (tool._run, tool._arun):
        taken = parameters(method)
        for name, hint in hints(method).items():
            if name in taken and name not in known and marked(hint):
                default = taken[name].default
                found[name] = (hint, ... if default is taken[name].empty else default)
    return found


def schema_annotations(tool: BaseTool) -> Mapping[str, Any]:
    """Return the annotations of the input's fields, including fields that LangChain skips."""
    model = input_model(tool)
    if model is None:
        return {}
    found = dict(get_all_basemodel_annotations(model))
    for name, field in getattr(model, "model_fields", {}).items():
        # LangChain does not find a field that has only a validation_alias.
        metadata = tuple(field.metadata)
        found[name] = (
            typing.Annotated[(field.annotation, *metadata)] if metadata else field.annotation  # type: ignore[assignment]
        )
    return found


def marked(hint: Any, depth: int = 0) -> bool:
    """Return True if *hint* marks the argument as injected, even inside an ``Optional`` or a nested
    ``Annotated``.
    """
    if isinstance(hint, type) and issubclass(hint, _DirectlyInjectedToolArg):
        return True
    origin = typing.get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, _DirectlyInjectedToolArg):
        return True
    for item in getattr(hint, "__metadata__", ()):
        if isinstance(item, InjectedToolArg) or (
            isinstance(item, type) and issubclass(item, InjectedToolArg)
        ):
            return True
    if depth > _MAX_DEPTH:
        return False
    if hasattr(hint, "__value__"):  # type X = ...
        return marked(hint.__value__, depth + 1)
    if hasattr(hint, "__metadata__"):
        return marked(hint.__origin__, depth + 1)
    if origin is typing.Union or origin is types.UnionType:
        return any(marked(item, depth + 1) for item in typing.get_args(hint))
    return False


def hidden_names(tool: BaseTool) -> set[str]:
    """Return the names that LangChain shows to the model but fills in itself, for example the
    config of a class without a schema.
    """
    if tool.args_schema is not None:
        return set()
    return config_names(tool._run) | config_names(tool._arun)
