"""Finds tools that show the model an argument that the framework or the program fills in. Such
tools never run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.tools import Tool as SingleInputTool

from guardrail.core.schema.names import shows
from guardrail.errors import UsageError
from guardrail.integrations.langchain.injection import (
    CALLABLES,
    config_names,
    hidden_names,
    input_model,
    marked,
    schema_annotations,
    unseen_names,
)
from guardrail.integrations.signatures import hints, parameters

__all__ = ["RefusedToolWarning", "contradiction"]


class RefusedToolWarning(UsageError, UserWarning):
    """A tool shows the model an argument that the framework or the program fills in. The tool never
    runs: every call of it is denied.

    This is a warning, so that one such tool does not prevent a program with many tools from
    starting. If warnings are configured as errors, it is raised.
    """

    default_code = "usage.injected"

    def __str__(self) -> str:
        # Python displays a warning without its hint.
        return f"{self.message}; next: {self.hint}"


def contradiction(tool: BaseTool, injected: frozenset[str]) -> RefusedToolWarning | None:
    """Return the reason why *tool* must not run, or None if it may run. A tool must not show the
    model an argument that the framework or the program fills in.
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
            (
                f"{tool.name} is refused and never runs: only its methods mark an argument as "
                "injected, and its input model is a pydantic 1 model"
            ),
            hint="use a pydantic 2 args_schema that has this argument",
        )
    for name, field in getattr(model, "model_fields", {}).items():
        if name in injected and _aliases(field) - {name}:
            # ToolNode replaces a value that the model supplies under the name, but passes on a
            # value under the alias.
            return RefusedToolWarning(
                f"{tool.name} is refused and never runs: its injected argument {name} has an "
                "alias, under which the model can supply a value",
                hint="remove the alias",
            )
    return None


def _filled(tool: BaseTool) -> dict[str, str]:
    """Return the names that LangChain or LangGraph always fills in, no matter how they are
    annotated. Each name is mapped to a description of who fills it in.
    """
    found: dict[str, str] = {}
    annotations = dict(schema_annotations(tool))
    for field in CALLABLES:
        function = tool.__dict__.get(field)
        if callable(function):
            annotations.update(hints(function))
    if "runtime" in annotations:
        found["runtime"] = "LangGraph's ToolNode fills in"
    if isinstance(tool, SingleInputTool):
        return found  # a model's value for these names is passed by position, not by name
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


def _visible(tool: BaseTool) -> Callable[[str], bool]:
    """Return a predicate for names that the model can see, either in the schema that it receives or
    as the name or alias of a field.
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
    injected = {name for name, hint in schema_annotations(tool).items() if marked(hint)}
    yield from set(schema.model_fields) - hidden
    fields = cast("Mapping[str, Any]", getattr(input_model(tool), "model_fields", {}))
    for name, field in fields.items():
        if name not in injected and name not in hidden:
            yield name
            yield from _aliases(field)


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
