"""Writes the declared tools to the file that ``guardrail policy check --tools`` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from guardrail.core.schema.compiled import compile_schema
from guardrail.errors import SchemaError
from guardrail.system.disk import save_file
from guardrail.tools.tool import Tool

__all__ = ["tools_document", "write_tools"]


def tools_document(tools: Iterable[Tool]) -> str:
    """Return ``{tool name: JSON Schema of its arguments}`` for the declared *tools*, as JSON text.

    ``guardrail policy check`` accepts every schema in the text.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        if tool.schema is not None:
            schema = _checkable(tool.schema.schema)
            known = found.get(tool.name, schema)
            found[tool.name] = schema if known == schema else _outline(known, schema)
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_tools(path: Path, text: str) -> None:
    """Replace the file *path* with *text*, durably. If this raises ``ConfigError``, an existing
    file is unchanged.
    """
    save_file(path, text.encode("utf-8"))


def _checkable(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *schema* or, if a guard would reject it as a plain JSON Schema, its outline
    (``_outline``). The schema of a pydantic model may contain patterns that only Python supports.
    """
    try:
        compile_schema(schema)
    except SchemaError:
        return _outline(schema, schema)
    return schema


def _outline(schema: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with the arguments in *schema* and *other*. Arguments that both schemas
    require are required. A type or a default is kept if both schemas have the same.
    """
    first, second = _properties(schema), _properties(other)
    names = {**first, **second}
    required = set(schema.get("required") or ()) & set(other.get("required") or ())
    return {
        "type": "object",
        "properties": {name: _type(first.get(name), second.get(name)) for name in names},
        "required": sorted(required),
    }


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def _type(one: object, other: object) -> dict[str, Any]:
    """Return the type and the default that *one* and *other* have in common."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return {}
    return {
        key: one[key]
        for key in ("type", "default")
        if key in one and key in other and one[key] == other[key]
    }
