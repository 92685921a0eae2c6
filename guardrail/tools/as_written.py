"""Prepares tools that a different program runs, with the arguments exactly as the model wrote
them.
"""

from __future__ import annotations

from dataclasses import replace

from guardrail.core.schema.compiled import compile_schema
from guardrail.errors import SchemaError
from guardrail.tools.tool import Tool

__all__ = ["as_written"]


def as_written(tool: Tool) -> Tool:
    """Return *tool* for calls whose arguments are passed on unchanged. Values are not coerced and
    defaults are not filled in, so the policy judges exactly the arguments that the program
    receives.

    The arguments of a tool with a Python model are checked against the JSON Schema of the model. If
    guardrail rejects that schema, the tool counts as undeclared.
    """
    schema = tool.schema
    if schema is None:
        return tool
    if tool.model is not None:
        try:
            schema = replace(compile_schema(schema.schema), digest=schema.digest)
        except SchemaError as error:
            return replace(
                tool, declared=False, schema=None, model=None, parameters={}, refused=error.code
            )
    return replace(tool, schema=replace(schema, defaults=None), model=None, parameters={})
