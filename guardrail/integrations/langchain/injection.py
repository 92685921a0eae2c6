"""Finds the arguments of a LangChain tool that are injected, and those that the model can see. No
name is both.

Injected values are passed separately from the arguments, and are neither judged nor recorded. A
name that the model can see must therefore not be injected: otherwise the model would choose a value
that no policy judges, or the body would get a different value from the judged one.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools import Tool as SingleInputTool
from langchain_core.tools.base import _DirectlyInjectedToolArg, get_all_basemodel_annotations

from guardrail.core.schema.names import shows
from guardrail.errors import UsageError
from guardrail.integrations.signatures import hints, parameters

__all__ = [
    "CALLABLES",
    "RefusedToolWarning",
    "bodies",
    "config_names",
    "contradiction",
    "hidden_names",
    "injected_names",
    "input_model",
    "unseen_names",
]

CALLABLES = ("func", "coroutine")
"""Fields that hold a body."""

_MAX_DEPTH = 16


def injected_names(tool: BaseTool) -> frozenset[str]:
    """Return the names whose annotations say that the framework or the host fills them in. A name
    alone never decides.

    LangChain's own list is not used, because it is computed once, even if another function or
    schema is set later.
    """
    found = {name for name, hint in _schema_annotations(tool).items() if _marked(hint)}
    for body in (*bodies(tool), tool._run, tool._arun):
        found.update(name for name, hint in hints(body).items() if _marked(hint))
    for body in bodies(tool):
        found.update(config_names(body))
    for field in CALLABLES:
        # StructuredTool and Tool fill it in if the function accepts it.
        function = tool.__dict__.get(field)
        if callable(function):
            found.update({"callbacks"} & set(parameters(function)))
    return frozenset(found - {"return"})


class RefusedToolWarning(UsageError, UserWarning):
    """A tool shows the model an argument that something else fills in. It never runs: each call of
    it is denied.

    This is a warning, so that one such tool does not keep a program with many tools from starting.
    It becomes an error if warnings are errors.
    """

    default_code = "usage.injected"


def contradiction(tool: BaseTool, injected: frozenset[str]) -> RefusedToolWarning | None:
    """Return the reason that *tool* must not run, or None if it may. A tool must not show the model
    an argument that something else fills in.
    """
    filled = {
        **dict.fromkeys(injected, "its signature or its args_schema marks as injected"),
        **_filled(tool),
    }
    visible = _visible(tool)
    for name, why in filled.items():
        if visible(name):
            return RefusedToolWarning(
                f"{tool.name} is refused and never runs: the model can see the argument {name},"
                f" which {why}",
                hint="rename it, or hide it from the model",
            )
    model = input_model(tool)
    if model is not None and not hasattr(model, "model_fields") and unseen_names(tool):
        return RefusedToolWarning(
            f"{tool.name} is refused and never runs: only its methods mark an argument as injected,"
            " and its model is one of pydantic 1",
            hint="give it an args_schema of pydantic 2, with that argument",
        )
    for name, field in getattr(model, "model_fields", {}).items():
        if name in injected and _aliases(field) - {name}:
            # ToolNode replaces a model's value given under the name, but lets through one given
            # under the alias.
            return RefusedToolWarning(
                f"{tool.name} is refused and never runs: its injected argument {name} has an alias,"
                " under which the model can give it",
                hint="remove the alias",
            )
    return None


def config_names(function: Callable[..., Any]) -> set[str]:
    """Return the parameters that receive the run's config."""
    # The same test as LangChain's: only a parameter with exactly this annotation receives it.
    return {name for name, hint in hints(function).items() if hint is RunnableConfig}


def bodies(tool: BaseTool) -> list[Callable[..., Any]]:
    """Return the code that runs: the functions of *tool*, or the methods of its class."""
    functions = [tool.__dict__.get(field) for field in CALLABLES]
    found = [function for function in functions if callable(function)]
    if found:
        return found
    # The base class's own _arun takes *args and **kwargs, and passes them to _run.
    return [tool._run] if type(tool)._arun is BaseTool._arun else [tool._run, tool._arun]


def input_model(tool: BaseTool) -> Any:
    """Return the input model, pydantic 1 or 2, or None if the input is described by a JSON Schema
    or not at all.
    """
    if isinstance(tool.args_schema, Mapping):
        return None
    if tool.args_schema is None and isinstance(tool, SingleInputTool):
        return None
    # A governed tool's own schema has more: the arguments that only its methods mark.
    return getattr(tool, "given_input_schema", tool.get_input_schema)()


def unseen_names(tool: BaseTool) -> dict[str, tuple[Any, Any]]:
    """Return (annotation, default) of the arguments that only the methods of a class mark as
    injected.

    LangGraph's ToolNode inspects functions and the input model, not these methods, so it would pass
    on a model's values for these names.
    """
    if any(callable(tool.__dict__.get(field)) for field in CALLABLES):
        return {}
    known = _schema_annotations(tool)
    found: dict[str, tuple[Any, Any]] = {}
    for method in (tool._run, tool._arun):
        taken = parameters(method)
        for name, hint in hints(method).items():
            if name in taken and name not in known and _marked(hint):
                default = taken[name].default
                found[name] = (hint, ... if default is taken[name].empty else default)
    return found


def _filled(tool: BaseTool) -> dict[str, str]:
    """Return the names that LangChain or LangGraph always fills in, whatever their annotation, and
    the framework that fills in each.
    """
    found: dict[str, str] = {}
    annotations = dict(_schema_annotations(tool))
    for field in CALLABLES:
        function = tool.__dict__.get(field)
        if callable(function):
            annotations.update(hints(function))
    if "runtime" in annotations:
        found["runtime"] = "LangGraph's ToolNode fills in"
    if isinstance(tool, SingleInputTool):
        return found  # a model's value for these is positional, not by name
    for method in (tool._run, tool._arun):
        if tool.args_schema is not None:
            found.update(dict.fromkeys(config_names(method), "gets the config of the run"))
        if "run_manager" in parameters(method):
            found["run_manager"] = "LangChain fills in"
        owner = parameters(getattr(method, "__func__", method))
        first = next(iter(owner.values()), None)
        if first is not None and first.kind is first.POSITIONAL_OR_KEYWORD:
            found[first.name] = "stands for the tool itself"
    return found


def _schema_annotations(tool: BaseTool) -> Mapping[str, Any]:
    """Return the annotations of the input's fields, including those that LangChain itself skips."""
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


def _marked(hint: Any, depth: int = 0) -> bool:
    """Return True if *hint* marks the argument as injected, even inside an ``Optional`` or another
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
        return _marked(hint.__value__, depth + 1)
    if hasattr(hint, "__metadata__"):
        return _marked(hint.__origin__, depth + 1)
    if origin is typing.Union or origin is types.UnionType:
        return any(_marked(item, depth + 1) for item in typing.get_args(hint))
    return False


def _visible(tool: BaseTool) -> Callable[[str], bool]:
    """Return a predicate for names that the model can see, either in the schema sent to it or as a
    name or alias of a field.
    """
    schema: Any = tool.args_schema if input_model(tool) is None else tool.tool_call_schema
    if isinstance(schema, Mapping):
        return functools.partial(shows, schema)
    if schema is None:
        return {"tool_input"}.__contains__
    if not hasattr(schema, "model_fields"):
        return set(schema.schema().get("properties", {})).__contains__
    return set(_shown_names(tool, schema)).__contains__


def _shown_names(tool: BaseTool, schema: Any) -> Iterator[str]:
    hidden = hidden_names(tool)
    marked = {name for name, hint in _schema_annotations(tool).items() if _marked(hint)}
    yield from set(schema.model_fields) - hidden
    fields = cast("Mapping[str, Any]", getattr(input_model(tool), "model_fields", {}))
    for name, field in fields.items():
        if name not in marked and name not in hidden:
            yield name
            yield from _aliases(field)


def hidden_names(tool: BaseTool) -> set[str]:
    """Return the names that LangChain shows to the model but fills in itself: the config of a class
    without a schema.
    """
    if tool.args_schema is not None:
        return set()
    return config_names(tool._run) | config_names(tool._arun)


def _aliases(field: Any) -> set[str]:
    found = {field.alias, field.serialization_alias}
    todo = [field.validation_alias]
    while todo:
        alias = todo.pop()
        if isinstance(alias, str):
            found.add(alias)
        elif hasattr(alias, "choices"):
            todo += alias.choices
        elif hasattr(alias, "path"):
            todo += alias.path[:1]
    return {alias for alias in found if isinstance(alias, str)}
