"""A tool's JSON Schema, and the snapshot of the arguments of one call.

``snapshot`` takes the one private copy that policy, record, commitment and body use. A plain JSON Schema coerces
nothing (``"5"`` is not 5); missing properties get their defaults; what does not fit is refused before any policy runs,
because a Rego deny rule on a missing or mistyped argument silently would not fire.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    follow,
    measure,
    refuse,
    survey,
)
from guardrail.core.schema.defaults import Defaults, plan_defaults
from guardrail.core.schema.expected import expected
from guardrail.core.schema.json_copy import (
    ArgumentLimits,
    Foreign,
    Refused,
    arguments_error,
    clone,
    is_panic,
    take,
)
from guardrail.core.types import Json
from guardrail.errors import ArgumentsError, RecordError

__all__ = [
    "ArgumentLimits",
    "Checker",
    "CompiledSchema",
    "Foreign",
    "SchemaLimits",
    "Snapshot",
    "UnknownArguments",
    "clone",
    "compile_schema",
    "copy_json",
    "declared_pointer",
    "encode",
    "explain",
    "list_names",
    "snapshot",
]

_DRAFTS: Final[Mapping[str, str]] = {
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "https://json-schema.org/draft-07/schema": "Draft7Validator",
}
_PATTERN_SIZES: Final = ((16_384, 1), (262_144, 8))
"""Bytes of a compiled pattern, and how much slower than the first its worst case is."""
_OBJECTS: Final = frozenset({dict, OrderedDict, defaultdict})
_MAX_STEPS = 16
_HERE: Final = "urn:guardrail:schema"
"""The name of a schema while its defaults are checked against its own parts."""
_MAX_NAME = 64
"""Characters of a declared name that an error message may show."""
_MAX_DECLARED = 12
"""Declared names that an error message lists."""


class Checker(StrEnum):
    """What decides whether arguments fit."""

    SCHEMA = "schema"
    MODEL = "model"
    """A Python model: the schema only describes, its patterns and formats are never run."""


class UnknownArguments(StrEnum):
    """How a plain JSON Schema treats arguments that its top level does not declare."""

    ACCEPT = "accept"
    """As JSON Schema says: accepted unless the schema itself refuses them."""
    REFUSE = "refuse"
    """Refused unless the schema has an ``additionalProperties`` or ``unevaluatedProperties`` of its own."""


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """A schema that was accepted, ready to check arguments."""

    schema: Mapping[str, Any]
    """A private deep copy without identifiers, its top level closed if unknown arguments are refused. Never changed."""
    digest: str
    """SHA-256 of the canonical bytes of the schema as given, 64 hex characters."""
    limits: ArgumentLimits
    """What arguments may be: less than the default where the schema is costly."""
    validator: Any = None
    """A ``jsonschema_rs`` validator; None where a model checks."""
    names: frozenset[str] | None = None
    """The only names accepted, if no keyword of the schema's draft can refuse others; None otherwise."""
    defaults: Defaults | None = None
    """The values that missing properties get; None if there are no defaults."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The arguments of one call, as policy, record and commitment see them."""

    args: dict[str, Json]
    """Shares no container with what the caller passed."""
    encoded: bytes
    """Canonical JSON of ``args``."""


def copy_json(
    value: object,
    limits: ArgumentLimits = ArgumentLimits(),  # noqa: B008 - frozen
    *,
    foreign: Foreign = Foreign.REFUSED,
    schema: Mapping[str, Any] | None = None,
) -> Any:
    """Return a private deep copy of *value*, strictly JSON. Raises ``ArgumentsError``, which quotes nothing.

    Its pointer goes no further than the names that *schema* declares: other keys may be secrets.
    """
    try:
        return take(value, limits, foreign)
    except Refused as error:
        failure = explain(error, schema)
    raise failure


def explain(error: Refused, schema: Mapping[str, Any] | None) -> ArgumentsError:
    """Return what *error* says without the keys that *schema* does not declare."""
    return arguments_error(error.detail, declared_pointer(schema, error.path[::-1]), error.remark)


def encode(copied: Any, limits: ArgumentLimits) -> bytes:
    """Return the canonical bytes of a copy that ``take`` made. Raises ``Refused`` for lone surrogates and past a limit."""
    refused = Refused("size")
    try:
        encoded = dumps(copied)
    except RecordError:
        # The encoder refuses nothing else that a copy can hold.
        refused = Refused("surrogate")
        refused.path = _surrogate_path(copied)
    else:
        if len(encoded) <= limits.size:
            return encoded
    raise refused


def compile_schema(
    raw: Mapping[str, object],
    limits: SchemaLimits = SchemaLimits(),  # noqa: B008 - frozen
    *,
    checker: Checker = Checker.SCHEMA,
    unknown: UnknownArguments = UnknownArguments.ACCEPT,
) -> CompiledSchema:
    """Accept a foreign schema, or raise ``SchemaError`` (code ``schema.<detail>``) with nothing fetched and nothing run.

    Accepted are drafts 7, 2019-09 and 2020-12 (the default) with local references only, patterns that a linear-time
    engine can run, and a top level that describes an object. *unknown* says how arguments are treated that the top
    level does not declare. Formats are annotations and never asserted. A ``properties`` or ``required`` of null, which
    some servers send, counts as absent. A default that does not fit its own place in the schema is not filled in.
    """
    schema, encoded = _private(raw, limits)
    draft = _draft(schema)
    if not _describes_object(schema):
        raise refuse("not_object")
    names: frozenset[str] | None = None
    # The schema of a Python model only describes: the model itself decides about unknown arguments.
    if unknown is UnknownArguments.REFUSE or checker is Checker.MODEL:
        names = _close(schema, draft, encoded=encoded)
    places = survey(schema, limits)
    digest = hashlib.sha256(encoded).hexdigest()
    if checker is Checker.MODEL:
        return CompiledSchema(schema=schema, digest=digest, limits=limits.arguments)
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


def _private(raw: object, limits: SchemaLimits) -> tuple[dict[str, Any], bytes]:
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


def _draft(schema: dict[str, Any]) -> str:
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


def _close(schema: dict[str, Any], draft: str, *, encoded: bytes) -> frozenset[str] | None:
    """Make the top level refuse what it does not declare. Returns the names to check where no keyword can do it."""
    # In draft 7 everything beside $ref is ignored.
    speaks = draft != "Draft7Validator" or "$ref" not in schema
    if speaks and ("additionalProperties" in schema or "unevaluatedProperties" in schema):
        return None
    # Where something refers to the top level, closing it would close that place too.
    if b'"$ref":"#"' not in encoded:
        applicators = ("$ref", "if", *IN_PLACE_MAPS, *IN_PLACE_LISTS)
        if not any(keyword in schema for keyword in applicators):
            schema["additionalProperties"] = False
            return None
        if draft != "Draft7Validator":
            # Also refuses a name that only a branch declares that did not match: no value goes unchecked.
            schema["unevaluatedProperties"] = False
            return None
    parts = list(_in_place(schema, [schema]))
    if any(part.get("additionalProperties") or "patternProperties" in part for part in parts):
        return None
    return frozenset(
        key
        for part in parts
        if isinstance(part.get("properties"), dict)
        for key in part["properties"]
    )


def _in_place(root: Mapping[str, Any], schemas: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield *schemas* and everything that they may apply to the same value."""
    seen: set[int] = set()
    todo = list(schemas)
    while todo:
        part = todo.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if "$ref" in part:
            todo.append(follow(root, part["$ref"]))
        for keyword in IN_PLACE_LISTS:
            if isinstance(part.get(keyword), list):
                todo += part[keyword]
        todo += [part.get(keyword) for keyword in ("then", "else", "if")]
        for keyword in IN_PLACE_MAPS:
            if isinstance(part.get(keyword), dict):
                todo += part[keyword].values()


def declared_pointer(schema: Mapping[str, Any] | None, path: Sequence[str | int]) -> str:
    """Return the RFC 6901 pointer to *path*, cut before the first key that *schema* does not declare by name.

    An undeclared key may be a secret, and a declared one may hold escape sequences: only printable names of at most
    64 characters are shown.
    """
    pointer = ""
    places: list[Any] = [schema]
    for step in path[:_MAX_STEPS]:
        parts = [] if schema is None else list(_in_place(schema, places))
        if isinstance(step, int):
            places = [_item(part, step) for part in parts]
            pointer += f"/{step}"
            continue
        places = [
            part["properties"][step]
            for part in parts
            if isinstance(part.get("properties"), dict) and step in part["properties"]
        ]
        if not places or len(step) > _MAX_NAME or not step.isprintable():
            return pointer
        pointer += "/" + step.replace("~", "~0").replace("/", "~1")
    return pointer


def _item(part: dict[str, Any], index: int) -> Any:
    for keyword in ("prefixItems", "items"):
        listed = part.get(keyword)
        if isinstance(listed, list) and index < len(listed):
            return listed[index]
    rest = part.get("items")
    return part.get("additionalItems") if isinstance(rest, list) else rest


def _validator(schema: dict[str, Any], draft: str) -> tuple[Any, int]:
    """Return the validator, and how much slower than the cheapest its worst pattern is."""
    import jsonschema_rs

    make = getattr(jsonschema_rs, draft)
    failure = refuse("invalid")
    for size, slowness in _PATTERN_SIZES:
        try:
            # RegexOptions selects the engine that runs in linear time and knows no look-around.
            options = jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=1_048_576)
            validator = make(schema, validate_formats=False, offline=True, pattern_options=options)
        except jsonschema_rs.ValidationError as error:
            failure = refuse("pattern" if error.kind.name == "format" else "invalid")
        except (ValueError, TypeError, jsonschema_rs.ReferencingError):
            failure = refuse("invalid")
        except BaseException as error:
            if not is_panic(error):
                raise
            failure = refuse("invalid")
        else:
            return validator, slowness
    raise failure


def _fits(schema: dict[str, Any], draft: str) -> Callable[[str, Any], bool]:
    """Return a check of one value against the part of *schema* at an RFC 6901 pointer."""
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


def snapshot(
    schema: CompiledSchema | None,
    args: object,
    limits: ArgumentLimits = ArgumentLimits(),  # noqa: B008 - frozen
) -> Snapshot:
    """Return the one private copy of *args*: defaults filled, valid under *schema*, and its canonical bytes.

    Without a schema it is only copied, within *limits*. Raises ``ArgumentsError`` and nothing else; *args* is not
    changed.
    """
    if schema is not None:
        limits = schema.limits
    copied: Any = None
    try:
        if type(args) not in _OBJECTS:
            raise Refused("not_object")
        copied = take(args, limits)
        if schema is not None and schema.defaults is not None:
            schema.defaults.fill(copied, limits)
        # Encoded before it is checked: the validator can't read a lone surrogate.
        encoded = encode(copied, limits)
        if schema is not None:
            _check(schema, copied)
        return Snapshot(copied, encoded)
    except Refused as error:
        failure = explain(error, None if schema is None else schema.schema)
    # Outside the handlers: the context of an exception may hold keys that no one declared.
    raise failure


def _check(schema: CompiledSchema, args: dict[str, Any]) -> None:
    """Raise ``Refused`` unless *args* fits."""
    if schema.names is not None and not args.keys() <= schema.names:
        raise Refused("unknown_argument", list_names(schema.names))
    if schema.validator is None:
        return
    try:
        if schema.validator.is_valid(args):
            return
        failure = _explain(schema, args)
    except (ValueError, TypeError):
        failure = Refused("value")
    except BaseException as error:
        if not is_panic(error):
            raise
        failure = Refused("value")
    raise failure


def _explain(schema: CompiledSchema, args: dict[str, Any]) -> Refused:
    """Return why *args* does not fit and what is expected instead, without a value in it."""
    import jsonschema_rs

    refused = Refused("value")
    try:
        schema.validator.validate(args)
    except jsonschema_rs.ValidationError as error:
        kind = error.kind.name
        refused.path = error.instance_path[::-1]
        if kind == "required":
            refused.detail = "missing"
            refused.path.insert(0, getattr(error.kind, "property", ""))
        elif kind in {"additionalProperties", "unevaluatedProperties", "falseSchema"}:
            refused.detail = "unknown_argument"
            if not refused.path:
                refused.remark = list_names(
                    key
                    for part in _in_place(schema.schema, [schema.schema])
                    for key in _names(part)
                )
        else:
            if kind == "type" or (kind in {"anyOf", "oneOf"} and _only_types(error.kind)):
                refused.detail = "type"
            refused.remark = expected(error.kind)
    return refused


def _names(part: Mapping[str, Any]) -> Iterable[str]:
    properties = part.get("properties")
    return properties if isinstance(properties, dict) else ()


def list_names(names: Iterable[str]) -> str:
    """Return the declared names that may be shown, as a remark; empty if there are none."""
    shown = sorted({name for name in names if len(name) <= _MAX_NAME and name.isprintable()})
    more = ", ..." if len(shown) > _MAX_DECLARED else ""
    return f"declared: {', '.join(shown[:_MAX_DECLARED])}{more}" if shown else ""


def _only_types(kind: Any) -> bool:
    branches = getattr(kind, "context", ())
    return bool(branches) and all(
        error.kind.name == "type" for branch in branches for error in branch
    )


def _surrogate_path(value: Any) -> list[str | int]:
    """Return the path, innermost first, to the first text that is not Unicode; empty where there is none."""
    pairs: Iterable[tuple[str | int, Any]]
    if type(value) is dict:
        pairs = value.items()
    elif type(value) is list:
        pairs = enumerate(value)
    else:
        return []
    for step, item in pairs:
        if any(type(text) is str and not _is_unicode(text) for text in (step, item)):
            return [step]
        if path := _surrogate_path(item):
            return [*path, step]
    return []


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
