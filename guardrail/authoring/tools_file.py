"""Loads a tools file: ``{tool name: JSON Schema of its arguments}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardrail.core.schema.compiled import CompiledSchema, compile_schema
from guardrail.errors import ConfigError, SchemaError
from guardrail.system.input_files import read_input
from guardrail.system.ownership import explain_error

__all__ = ["compile_tools", "load_tools", "read_tools"]

_HINT = '{"tool name": JSON Schema of its arguments, ...}'
_MAX_BYTES = 16 * 1024 * 1024


def load_tools(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the schemas in *path* if a guard would accept all of them. Raises ``ConfigError``."""
    document = read_tools(path)
    compile_tools(document)
    return document


def read_tools(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the schemas in *path*, which a guard may reject. Raises ``ConfigError``."""
    try:
        raw = read_input(path, _MAX_BYTES)
    except OSError as error:
        why, way = explain_error(error, path)
        raise _refused(path, f"it can't be read ({why})", way) from None
    try:
        document = json.loads(raw) if len(raw) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not all(
        isinstance(item, dict) for item in document.values()
    ):
        raise _refused(path, "it is not a JSON object that maps tool names to schemas")
    return document


def compile_tools(tools: Mapping[str, Mapping[str, Any]]) -> dict[str, CompiledSchema]:
    """Compile *tools* for checking arguments. Raises ``ConfigError``, which contains the tool's
    name, if a schema is rejected.
    """
    compiled = {}
    for name, schema in tools.items():
        try:
            compiled[name] = compile_schema(schema)
        except SchemaError as error:
            raise ConfigError(
                f"the schema of the tool {json.dumps(name)}: {error.message}",
                code="config.tools",
                hint=error.hint,
            ) from None
    return compiled


def _refused(path: Path, why: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{path}: {why}", code="config.tools", hint=hint or _HINT)
