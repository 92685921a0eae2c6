"""The snapshot of one call's arguments: the private copy used by policy, record, commitment and
body.

A plain JSON Schema does not coerce values (``"5"`` is not 5), and missing properties get their
defaults. Arguments that do not fit are rejected before any policy runs, because a Rego deny rule on
a missing or mistyped argument would silently not fire.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from guardrail.core.hidden import hidden
from guardrail.core.log.record import dumps
from guardrail.core.schema.compiled import CompiledSchema
from guardrail.core.schema.declared import (
    declared_names,
    declared_pointer,
    in_place,
    list_names,
)
from guardrail.core.schema.expected import expected, nearest, types_of
from guardrail.core.schema.json_copy import (
    ArgumentLimits,
    Foreign,
    Refused,
    arguments_error,
    is_panic,
    take,
)
from guardrail.core.types import Json
from guardrail.errors import ArgumentsError, RecordError

__all__ = ["Snapshot", "copy_json", "encode", "explain", "snapshot"]

_OBJECTS: Final = frozenset({dict, OrderedDict, defaultdict})


@hidden
@dataclass(frozen=True, slots=True)
class Snapshot:
    """The arguments of one call, shared by policy, record and commitment."""

    args: dict[str, Json]
    """The arguments. They share no container with the caller's arguments."""
    encoded: bytes
    """Canonical JSON of ``args``."""


def copy_json(
    value: object,
    limits: ArgumentLimits = ArgumentLimits(),  # noqa: B008 - frozen
    *,
    foreign: Foreign = Foreign.REFUSED,
    schema: Mapping[str, Any] | None = None,
) -> Any:
    """Return a private deep copy of *value*, strictly JSON.

    Raises ``ArgumentsError``, which quotes no value. Its pointer contains only names that *schema*
    declares: other keys could be secrets.
    """
    try:
        return take(value, limits, foreign)
    except Refused as error:
        failure = explain(error, schema)
    raise failure


def explain(error: Refused, schema: Mapping[str, Any] | None) -> ArgumentsError:
    """Return the exception for *error*. Its message contains only keys that *schema* declares."""
    return arguments_error(error.detail, declared_pointer(schema, error.path[::-1]), error.remark)


def encode(copied: Any, limits: ArgumentLimits) -> bytes:
    """Return the canonical bytes of a copy made by ``take``. Raises ``Refused`` for lone
    surrogates, and if a limit is exceeded.
    """
    refused = Refused("size")
    try:
        encoded = dumps(copied)
    except RecordError:
        # The encoder refuses nothing else that a copy can contain.
        refused = Refused("surrogate")
        refused.path = _surrogate_path(copied)
    else:
        if len(encoded) <= limits.size:
            return encoded
    raise refused


def snapshot(
    schema: CompiledSchema | None,
    args: object,
    limits: ArgumentLimits = ArgumentLimits(),  # noqa: B008 - frozen
) -> Snapshot:
    """Return a private copy of *args*, with defaults filled in and checked against *schema*, and
    its canonical bytes.

    Without a schema, the arguments are only copied, within *limits*. Raises only
    ``ArgumentsError``. *args* is not changed.
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
        # The copy is encoded before it is checked, because the validator can't read a lone
        # surrogate.
        encoded = encode(copied, limits)
        if schema is not None:
            _check(schema, copied)
        return Snapshot(copied, encoded)
    except Refused as error:
        failure = explain(error, None if schema is None else schema.schema)
    # Raised outside the handlers, because the context of an exception can contain undeclared keys.
    raise failure


def _check(schema: CompiledSchema, args: dict[str, Any]) -> None:
    """Raise ``Refused`` unless *args* fit *schema*."""
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
    """Return the reason that *args* does not fit and the expected values, without quoting a
    value.
    """
    import jsonschema_rs

    refused = Refused("value")
    try:
        schema.validator.validate(args)
    except jsonschema_rs.ValidationError as outer:
        error = nearest(outer)
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
                    for part in in_place(schema.schema, [schema.schema])
                    for key in declared_names(part)
                )
        else:
            if types_of(error):
                refused.detail = "type"
            refused.remark = expected(error)
    return refused


def _surrogate_path(value: Any) -> list[str | int]:
    """Return the path, innermost key first, to the first text that is not Unicode, or an empty list
    if there is none.
    """
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
