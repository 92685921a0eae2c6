"""Makes the files that help editors with policies: the schema of the policy input, and an example
of an input.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.authoring.lints.schema_nodes import properties_of, resolve, types_of
from guardrail.core.state_reads import SECTIONS
from guardrail.core.types import Json
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.input_schema import FOLDER, INPUT_SCHEMA, input_schema_path

__all__ = ["EXAMPLE_FILE", "editor_files", "example_input", "input_schema"]

EXAMPLE_FILE = "input.json"
"""The name of the file in which Regal's language server looks for paths below ``input``."""
_MAX_DEPTH = 8
_EXAMPLES: Mapping[str, Json] = {
    "string": "",
    "integer": 0,
    "number": 0,
    "boolean": False,
    "array": [],
    "object": {},
}
_REGAL = """\
# Regal, a linter for Rego. Each rule that is not used here has its reason.
rules:
  idiomatic:
    # guardrail reads every file below the policy folder: only its package matters.
    directory-package-mismatch:
      level: ignore
    # guardrail's own modules contain the rule that is evaluated.
    no-defined-entrypoint:
      level: ignore
    # The embedded engine does not have array.flatten.
    use-array-flatten:
      level: ignore
  imports:
    # data.guardrail comes with guardrail, and other data from data.json files.
    unresolved-reference:
      level: ignore
"""


def input_schema(tools: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of the policy input, in the form in which OPA reads it.

    With *tools*, which maps names to JSON Schemas, it declares the arguments of all tools, so OPA
    refuses a path to any other argument. If a tool explicitly accepts more arguments, every path
    is possible. The schema describes types only: OPA ignores everything else.
    """
    schema: dict[str, Any] = json.loads(input_schema_path().read_bytes())
    if tools:
        described = _any_of([*_objects(tools)])
        schema["properties"]["action"]["properties"]["properties"]["properties"]["args"] = described
    return schema


def example_input(tools: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Return a complete policy input in which no object is null. With *tools*, its arguments have
    the names of all arguments.
    """
    named: dict[str, Any] = {"name": "", "response": "", "assurance": "asserted"}
    framework = {"name": "", "version": "", "assurance": "asserted"}
    args: dict[str, Any] = {}
    for schema in (tools or {}).values():
        args |= _example_object(schema, schema, 0)
    found: dict[str, Any] = json.loads(sample_input(args=args, model=named, framework=framework))
    approver = {"id": "someone", "assurance": "verified", "method": "os_user"}
    found["context"]["approval"] = {
        "id": "",
        "valid": True,
        "rules": [],
        "approvers": [approver],
    }
    call: dict[str, Any] = {"time": found["context"]["time"], "tool": "", "effect": "allow"}
    call |= {"outcome": "ok", "rules": [], "target": [], "labels": [], "amounts": {}}
    for section in SECTIONS:
        found["context"][section]["recent"] = [call]
    return found


def editor_files() -> dict[str, bytes]:
    """Return the files that a new project gets for editors and linters, keyed by path."""
    return {
        f"{FOLDER}/{INPUT_SCHEMA}.json": input_schema_path().read_bytes(),
        EXAMPLE_FILE: _text(example_input()),
        ".regal/config.yaml": _REGAL.encode(),
    }


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _objects(tools: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one object schema with the arguments of all tools, and an empty one if there may be
    more arguments.
    """
    merged: dict[str, list[dict[str, Any]]] = {}
    for schema in tools.values():
        for name, declared in properties_of(schema, schema).items():
            merged.setdefault(name, []).append(_described(declared, schema, 0))
    yield {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _any_of(found) for name, found in sorted(merged.items())},
    }
    if any(schema.get("additionalProperties", False) is not False for schema in tools.values()):
        yield {"type": "object"}


def _described(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return a schema with the types in *schema*, and nothing else. A list of types becomes
    ``anyOf``, because OPA uses only one type of a list.
    """
    types = types_of(schema, root)
    if not types or depth >= _MAX_DEPTH:
        return {}
    return _any_of([_typed(name, schema, root, depth) for name in sorted(types)])


def _typed(name: str, schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    resolved = resolve(schema, root)
    properties = properties_of(schema, root) if name == "object" else {}
    if properties and resolved.get("additionalProperties") is False:
        below = {key: _described(each, root, depth + 1) for key, each in properties.items()}
        return {"type": "object", "additionalProperties": False, "properties": below}
    items = resolved.get("items") if name == "array" else None
    if isinstance(items, Mapping):
        return {"type": "array", "items": _described(items, root, depth + 1)}
    return {"type": name}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    unique = list({json.dumps(each, sort_keys=True): each for each in schemas}.values())
    if {} in unique:
        return {}
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def _example_object(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {
        name: _example(declared, root, depth + 1)
        for name, declared in sorted(properties_of(schema, root).items())
    }


def _example(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    types = (types_of(schema, root) or frozenset()) - {"null"}
    if "object" in types and depth < _MAX_DEPTH:
        return _example_object(schema, root, depth)
    return next((_EXAMPLES[name] for name in sorted(types) if name in _EXAMPLES), None)
