"""Determines how a LangChain tool is declared in a guard: the schema that the model sees, and how
the framework passes on the arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.tools import Tool as SingleInputTool

from guardrail.integrations.langchain.injection import bodies, input_model
from guardrail.integrations.signatures import parameters

__all__ = ["NEVER", "defaults", "model_schema", "positional_names", "variadic_names"]


NEVER = {"type": "object", "properties": {}, "not": {}}
"""A schema that rejects all arguments: each call is denied and recorded."""


def model_schema(tool: BaseTool, injected: frozenset[str]) -> Any:
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
    # LangChain's schema does not state that a model accepts additional arguments, and omits fields
    # that have only a validation_alias. Without an args_schema, it also counts the parameter that
    # receives the run's config as an argument.
    from pydantic import ConfigDict, create_model

    kept: dict[str, Any] = {}
    for name in names:
        field = fields.get(name) or _unaliased(full[name])
        kept[name] = (field.annotation, field)
    config = ConfigDict(arbitrary_types_allowed=True, extra="allow" if loose else "ignore")
    return create_model(tool.name, __config__=config, __doc__=tool.description, **kept)


def _unaliased(field: Any) -> Any:
    """Return *field* without its alias, because LangChain passes on the value under the field's own
    name.
    """
    from pydantic.fields import FieldInfo

    default: dict[str, Any] = {"default": field.default}
    if field.default_factory is not None:
        default = {"default_factory": field.default_factory}
    made = FieldInfo(annotation=field.annotation, description=field.description, **default)
    made.metadata = list(field.metadata)
    return made


def defaults(schema: Any) -> dict[str, Any]:
    """Return the defaults of the model *schema*, as objects. A JSON Schema has no defaults."""
    if isinstance(schema, Mapping):
        return {}
    return {
        name: field.default
        for name, field in schema.model_fields.items()
        if not field.is_required() and field.default_factory is None
    }


def variadic_names(tool: BaseTool) -> frozenset[str]:
    """Return ``args`` and ``kwargs`` if they represent ``*args`` and ``**kwargs``."""
    # LangChain converts these parameters to fields, and omits them from a call that does not supply
    # them.
    return frozenset(
        name
        for body in bodies(tool)
        for name, parameter in parameters(body).items()
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name in ("args", "kwargs")
    )


def positional_names(tool: BaseTool, schema: Any, injected: frozenset[str]) -> tuple[str, ...]:
    """Return the names of the arguments that are passed by position, in order."""
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
