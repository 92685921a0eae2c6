"""The JSON Schema of the policy input, and the schemas that a project's policies name in
annotations.

OPA and editors use them to check paths below ``input``. No engine reads them for a decision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from guardrail.policy.sources import installed_folder
from guardrail.system.input_files import read_input

__all__ = [
    "ANNOTATED_MODULE",
    "FOLDER",
    "INPUT_SCHEMA",
    "input_schema_path",
    "missing_schema_hint",
    "schema_folder",
    "write_schemas",
]

INPUT_SCHEMA = "guardrail_input"
"""The name of the input's schema: annotations refer to it as ``schema.guardrail_input``."""
FOLDER = "schemas"
"""The folder of a project's schemas, next to its policy folder."""
ANNOTATED_MODULE = f"""# METADATA
# scope: subpackages
# schemas:
#   - input: schema.{INPUT_SCHEMA}
package guardrail
"""
"""A module that gives ``input`` its type in all policies. Annotations in the policies override
it.
"""
_MAX_BYTES = 1 << 20
_MAX_SCHEMAS = 100
_NAMED = re.compile(r"^#.*?\bschema((?:\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,8})\s*$", re.MULTILINE)
"""Matches a reference to a schema in an annotation, which begins in the first column."""
_UNDEFINED = re.compile(r"undefined schema: schema\.([\w.]{1,256})")


def input_schema_path() -> Path:
    """Return the path of the schema that comes with guardrail."""
    return installed_folder() / "opa" / FOLDER / f"{INPUT_SCHEMA}.json"


def schema_folder(paths: Iterable[Path]) -> Path | None:
    """Return the folder ``schemas`` next to one of the policy folders or policy files in *paths*,
    or None if there is no such folder.
    """
    for path in paths:
        real = path.resolve()
        found = (real if real.is_dir() else real.parent).parent / FOLDER
        if found.is_dir():
            return found
    return None


def write_schemas(into: Path, texts: Iterable[str], project: Path | None) -> None:
    """Write the input's schema to the folder *into*, and each schema that the policies *texts* name
    in an annotation and that is in the folder *project*. A project may have its own version of the
    input's schema.

    Schemas that can't be read, or are not JSON objects, are skipped.
    """
    into.mkdir(parents=True, exist_ok=True)
    own = into / f"{INPUT_SCHEMA}.json"
    own.write_bytes(input_schema_path().read_bytes())
    for name in _named_schemas(texts) if project is not None else ():
        assert project is not None
        place = Path(*name.split(".")).with_suffix(".json")
        try:
            raw = read_input(project / place, _MAX_BYTES)
            usable = isinstance(json.loads(raw), dict)
        except (OSError, ValueError, RecursionError):
            continue
        if usable:
            (into / place).parent.mkdir(parents=True, exist_ok=True)
            (into / place).write_bytes(raw)


def missing_schema_hint(message: str) -> str:
    """Return a hint for OPA's *message* about an unknown schema, or an empty string if *message* is
    about something else.
    """
    found = _UNDEFINED.search(message)
    if found is None:
        return ""
    file = f"{FOLDER}/{found[1].replace('.', '/')}.json"
    return (
        f"put the JSON Schema in {file}, next to the policy folder, or name schema.{INPUT_SCHEMA},"
        " the schema of guardrail's input"
    )


def _named_schemas(texts: Iterable[str]) -> Iterator[str]:
    names = dict.fromkeys(found[1:] for text in texts for found in _NAMED.findall(text))
    yield from list(names)[:_MAX_SCHEMAS]
