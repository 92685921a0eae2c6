"""Compiles a tool's JSON Schema: checks it once, with bounded cost, so that arguments can be
checked against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from guardrail.core.log.record import dumps
from guardrail.core.schema.cost_limits import (
    IN_PLACE_LISTS,
    IN_PLACE_MAPS,
    SMALLEST_STRING,
    SchemaLimits,
    measure,
    refuse,
    survey,
)
from guardrail.core.schema.declared import in_place
from guardrail.core.schema.defaults import Defaults, plan_defaults
from guardrail.core.schema.json_copy import ArgumentLimits, Refused, is_panic, take
from guardrail.core.schema.patterns import UNREADABLE, engine_options, fault_of, shown_place
from guardrail.errors import RecordError, SchemaError

__all__ = ["Checker", "CompiledSchema", "UnknownArguments", "compile_schema"]

_DRAFTS: Final[Mapping[str, str]] = {
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "https://json-schema.org/draft-07/schema": "Draft7Validator",
}
_PATTERN_SIZES: Final = ((16_384, 1), (262_144, 8))
"""Bytes of a compiled pattern, and the slowdown of its worst case relative to the first entry."""
_HERE: Final = "urn:guardrail:schema"
"""The URI of a schema while its defaults are checked against parts of it."""


class Checker(StrEnum):
    """The validator that checks arguments."""

    SCHEMA = "schema"
    MODEL = "model"
    """A Python model. The schema is only a description, and its patterns and formats are never
    run.
    """


class UnknownArguments(StrEnum):
    """Treatment of arguments that the top level of a plain JSON Schema does not declare."""

    ACCEPT = "accept"
    """Arguments are accepted unless the schema itself refuses them, as JSON Schema specifies."""
    REFUSE = "refuse"
    """Arguments are refused unless the schema has its own ``additionalProperties`` or
    ``unevaluatedProperties``.
    """


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """A schema that was accepted and is ready to check arguments."""

    schema: Mapping[str, Any]
    """A private deep copy without identifiers. Its top level is closed if unknown arguments are
    refused. It never changes.
    """
    digest: str
    """SHA-256 of the canonical bytes of the original schema, 64 hex characters."""
    limits: ArgumentLimits
    """Limits of arguments: smaller than the default if the schema is costly."""
    validator: Any = None
    """A ``jsonschema_rs`` validator, or None if a model performs the check."""
    names: frozenset[str] | None = None
    """The only argument names accepted, if no keyword of the schema's draft can express this. None
    if the validator checks the names, or if all names are accepted.
    """
    defaults: Defaults | None = None
    """The values for missing properties, or None if there are no defaults."""


def compile_schema(
    raw: Mapping[str, object],
    limits: SchemaLimits = SchemaLimits(),  # noqa: B008 - frozen
    *,
    checker: Checker = Checker.SCHEMA,
    unknown: UnknownArguments = UnknownArguments.ACCEPT,
) -> CompiledSchema:
    """Compile a foreign schema, or raise ``SchemaError`` (code ``schema.<detail>``). Nothing is
    fetched, and no code from the schema is run.

    It accepts drafts 7, 2019-09 and 2020-12 (the default) with local references only, patterns that
    a linear-time engine can run (docs/adr/0035), and a top level that describes an object.
    *unknown* is the treatment of arguments that the top level does not declare. Formats are
    annotations and never asserted. If ``properties`` or ``required`` is null, as some servers send
    it, it counts as absent. A default that does not fit its own schema is not filled in.
    """
    schema, encoded = _private_copy(raw, limits)
    draft = _draft_of(schema)
    if not _describes_object(schema):
        raise refuse("not_object")
    names: frozenset[str] | None = None
    # The schema of a Python model is only a description; the model itself decides about unknown
    # arguments.
    if unknown is UnknownArguments.REFUSE or checker is Checker.MODEL:
        names = _close_top_level(schema, draft, encoded=encoded)
    places = survey(schema, limits)
    digest = hashlib.sha256(encoded).hexdigest()
    if checker is Checker.MODEL:
        return CompiledSchema(schema=schema, digest=digest, limits=limits.arguments)
    for place, pattern in places.patterns:
        if (fault := fault_of(pattern)) is not None:
            raise _bad_pattern(_path_to(schema, place), fault)
    cost = measure(places, limits)
    arguments = replace(limits.arguments, depth=cost.depth, nodes=cost.nodes)
    validator, slowness = _validator(schema, draft)
    if cost.patterns:
        text = max(limits.pattern_text // (cost.patterns * slowness), SMALLEST_STRING)
        arguments = replace(
            arguments, string=min(arguments.string, text), size=min(arguments.size, text)
        )
    return CompiledSchema(
        schema=schema,
        digest=digest,
        limits=arguments,
        validator=validator,
        names=names,
        defaults=plan_defaults(schema, _fits(schema, draft), arguments),
    )


def _private_copy(raw: object, limits: SchemaLimits) -> tuple[dict[str, Any], bytes]:
    bounds = ArgumentLimits(limits.depth, limits.nodes, limits.size, limits.size)
    failure = "not_json"
    try:
        schema = take(dict(raw) if isinstance(raw, Mapping) else raw, bounds)
        if not isinstance(schema, dict):
            raise refuse("not_object")
        encoded = dumps(schema)
    except Refused as error:
        failure = "size" if error.detail in {"size", "nodes", "depth"} else "not_json"
    except RecordError:
        pass
    else:
        if len(encoded) <= limits.size:
            return schema, encoded
        failure = "size"
    raise refuse(failure)


def _draft_of(schema: dict[str, Any]) -> str:
    declared = schema.get("$schema")
    if declared is None:
        return "Draft202012Validator"
    name = _DRAFTS.get(declared.removesuffix("#")) if isinstance(declared, str) else None
    if name is None:
        raise refuse("draft")
    return name


def _describes_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type", "object")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _close_top_level(
    schema: dict[str, Any], draft: str, *, encoded: bytes
) -> frozenset[str] | None:
    """Make the top level reject undeclared arguments.

    Return the names to check if no keyword can do this.
    """
    # In draft 7, all keywords next to $ref are ignored.
    speaks = draft != "Draft7Validator" or "$ref" not in schema
    if speaks and ("additionalProperties" in schema or "unevaluatedProperties" in schema):
        return None
    # If a reference points to the top level, closing it would also affect the place of the
    # reference.
    if b'"$ref":"#"' not in encoded:
        applicators = ("$ref", "if", *IN_PLACE_MAPS, *IN_PLACE_LISTS)
        if not any(keyword in schema for keyword in applicators):
            schema["additionalProperties"] = False
            return None
        if draft != "Draft7Validator":
            # This also refuses a name that only an unmatched branch declares, so that no value
            # stays unchecked.
            schema["unevaluatedProperties"] = False
            return None
    parts = list(in_place(schema, [schema]))
    if any(part.get("additionalProperties") or "patternProperties" in part for part in parts):
        return None
    return frozenset(
        key
        for part in parts
        if isinstance(part.get("properties"), dict)
        for key in part["properties"]
    )


def _validator(schema: dict[str, Any], draft: str) -> tuple[Any, int]:
    """Return the validator, and the slowdown of its worst pattern relative to the cheapest one."""
    import jsonschema_rs

    make = getattr(jsonschema_rs, draft)
    failure = refuse("invalid")
    for size, slowness in _PATTERN_SIZES:
        try:
            validator = make(
                schema, validate_formats=False, offline=True, pattern_options=engine_options(size)
            )
        except jsonschema_rs.ValidationError as error:
            failure = _invalid(error.kind.name, error.instance_path)
        except (ValueError, TypeError, jsonschema_rs.ReferencingError):
            failure = refuse("invalid")
        except BaseException as error:
            if not is_panic(error):
                raise
            failure = refuse("invalid")
        else:
            return validator, slowness
    raise failure


def _invalid(kind: str, path: Sequence[str | int]) -> SchemaError:
    """Return the error for the part of a schema at *path*, which breaks the rule *kind* of its
    draft.
    """
    if kind == "format":
        # Only the format regex is checked: of a pattern, or of a key of patternProperties.
        return _bad_pattern(path[: -1 if path[-1:] == ["pattern"] else -2], UNREADABLE)
    return refuse("invalid")


def _bad_pattern(path: Sequence[str | int], fault: str) -> SchemaError:
    """Return the error for a pattern of the subschema at *path*."""
    return refuse("pattern", f"the pattern at {shown_place(path) or 'the top level'} {fault}")


def _path_to(root: dict[str, Any], part: dict[str, Any]) -> tuple[str | int, ...]:
    """Return the keys and indexes that lead from *root* to *part*, an object in it."""
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    while todo:
        path, value = todo.pop()
        if value is part:
            return path
        pairs: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict):
            pairs = value.items()
        elif isinstance(value, list):
            pairs = enumerate(value)
        todo += [((*path, step), item) for step, item in pairs]
    raise AssertionError


def _fits(schema: dict[str, Any], draft: str) -> Callable[[str, Any], bool]:
    """Return a function that checks one value against the part of *schema* at an RFC 6901
    pointer.
    """
    registry: Any = None

    def fits(pointer: str, value: Any) -> bool:
        import jsonschema_rs

        nonlocal registry
        try:
            if registry is None:
                registry = jsonschema_rs.Registry(
                    [(_HERE, schema)], draft=getattr(jsonschema_rs, draft.removesuffix("Validator"))
                )
            validator = getattr(jsonschema_rs, draft)(
                {"$ref": f"{_HERE}#{quote(pointer)}"},
                registry=registry,
                validate_formats=False,
                offline=True,
                pattern_options=jsonschema_rs.RegexOptions(),
            )
            return bool(validator.is_valid(value))
        except (ValueError, TypeError, jsonschema_rs.ReferencingError):
            return False
        except BaseException as error:
            if not is_panic(error):
                raise
            return False

    return fits
