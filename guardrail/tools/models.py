"""Tools with a pydantic model that describes their arguments.

The model coerces the arguments. Policy and record see the model's JSON dump, and the body receives
objects rebuilt from the same dump, never the caller's objects. This module is imported only if a
tool has a model, because it imports pydantic.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Final, get_args

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python
from pydantic_core.core_schema import ErrorType

from guardrail.core.log.record import dumps
from guardrail.core.schema.compiled import CompiledSchema
from guardrail.core.schema.declared import declared_pointer
from guardrail.core.schema.json_copy import (
    MISSING_ARGUMENT,
    UNKNOWN_ARGUMENT,
    Foreign,
    Refused,
    arguments_error,
    is_panic,
    take,
)
from guardrail.core.schema.snapshot import Snapshot, encode, explain
from guardrail.errors import ArgumentsError, RecordError, SchemaError

__all__ = ["describe", "is_model", "take_model"]

_HUGE = 2**8192
_ROUNDS = 2
_SEQUENCES = frozenset({list, tuple, deque})
_SECRETS = (SecretStr, SecretBytes, Secret)


def is_model(schema: type[Any]) -> bool:
    """Return True if *schema* is a pydantic model class."""
    return issubclass(schema, BaseModel)


# -- at declaration --------------------------------------------------------------------------------


def describe(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of *model*, with secrets marked.

    Raises ``SchemaError`` if arguments can't be rebuilt from JSON: the model has types without a
    JSON Schema, defaults that are not JSON, excluded fields, iterators, or aliases that differ
    between validation and serialization.
    """
    if issubclass(model, RootModel):
        raise _refuse("a root model describes a single value, but arguments must have names")
    failure = ""
    try:
        schema = model.model_json_schema(schema_generator=_SchemaGenerator)
        written = model.model_json_schema(mode="serialization", schema_generator=_SchemaGenerator)
    except SchemaError:
        raise
    except Exception as error:  # noqa: BLE001 - border: types bring their own code, and pydantic its own tree
        failure = f"the model has no JSON Schema ({type(error).__name__})"
    if failure:
        raise _refuse(failure)
    for part in _nested_objects(model.__pydantic_core_schema__):
        if part.get("serialization_exclude") or part.get("serialization_exclude_if"):
            raise _refuse("a field is excluded from the JSON dump, so it could not be rebuilt")
        if part.get("type") == "generator":
            raise _refuse("an iterator can be read only once: use a list")
    if set(_property_names(schema)) - set(_property_names(written)):
        raise _refuse("a field has different aliases for validation and serialization")
    return schema


def _refuse(reason: str) -> SchemaError:
    return SchemaError(reason, code="schema.model", hint="change the model or the signature")


def _nested_objects(value: Any) -> Iterator[dict[str, Any]]:
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            yield part
            todo += part.values()
        elif isinstance(part, (list, tuple)):
            todo += part


def _property_names(schema: dict[str, Any]) -> Iterator[str]:
    for part in _nested_objects(schema):
        properties = part.get("properties")
        if isinstance(properties, dict):
            yield from properties


class _SchemaGenerator(GenerateJsonSchema):
    """Marks every secret, and converts warnings to errors."""

    def emit_warning(self, kind: str, detail: str) -> None:  # noqa: ARG002 - detail may quote a value
        raise _refuse(f"the model has no exact JSON Schema ({kind})")

    def json_or_python_schema(self, schema: Any) -> Any:
        made = super().json_or_python_schema(schema)
        # This covers Secret[int] and similar types: pydantic itself marks only SecretStr and
        # SecretBytes.
        if _writes_secret(schema):
            made = {**made, "writeOnly": True, "format": "password"}
        return made


def _writes_secret(schema: Any) -> bool:
    writer = schema.get("serialization", {}).get("function")
    return getattr(writer, "__module__", "") == "pydantic.types" and "secret" in getattr(
        writer, "__name__", ""
    )


_SIMPLE = frozenset(
    {
        "bool",
        "bytes",
        "date",
        "datetime",
        "decimal",
        "default",
        "definition-ref",
        "definitions",
        "dict",
        "enum",
        "float",
        "int",
        "list",
        "literal",
        "model",
        "model-field",
        "model-fields",
        "none",
        "nullable",
        "str",
        "time",
        "timedelta",
        "tuple",
        "typed-dict",
        "typed-dict-field",
        "union",
        "url",
        "uuid",
    }
)
"""Core schema types whose JSON dump is complete and stable, because they do not contain secrets,
sets, or values of type Any.
"""


@functools.lru_cache(maxsize=1024)
def _is_simple(model: type[BaseModel]) -> bool:
    """Return True if the JSON dump of *model* never hides a secret and always has the same
    order.
    """
    for part in _nested_objects(model.__pydantic_core_schema__):
        kind = part.get("type")
        if isinstance(kind, str) and kind not in _SIMPLE:
            return False
        if "serialization" in part or part.get("extra_behavior") == "allow":
            return False
        if part.get("extra_fields_behavior") == "allow":
            return False
    return True


# -- at a call -------------------------------------------------------------------------------------


def take_model(
    model: type[BaseModel],
    schema: CompiledSchema,
    parameters: Mapping[str, str],
    args: object,
) -> tuple[Snapshot, dict[str, Any]]:
    """Return the snapshot (the model's JSON dump), and the body's keyword arguments, rebuilt from
    the snapshot.

    *parameters* maps each field to its keyword. Raises only ``ArgumentsError``; neither the error
    nor its context contains values.
    """
    failure: ArgumentsError
    try:
        # The containers are copied first, so that the limits are enforced and other threads can't
        # change the containers during validation. Integers of any size are accepted here; the limit
        # is applied to the dump.
        loose = replace(schema.limits, lowest=-_HUGE, highest=_HUGE)
        private = take(args, loose, Foreign.KEPT)
        if type(private) is not dict:
            raise Refused("not_object")
        return _rebuild_until_stable(model, schema, _validate(model, private), parameters)
    except Refused as error:
        failure = explain(error, schema.schema)
    except ValidationError as error:
        failure = _model_error(error, schema)
    except Exception as error:  # noqa: BLE001 - border: validators and serializers are the program's own code
        failure = arguments_error("model", "", type(error).__name__)
    except BaseException as error:
        if not is_panic(error):
            raise
        failure = arguments_error("model", "", "panic")
    # Raised outside the handlers, because a pydantic error contains the input and would become the
    # context.
    raise failure


def _model_error(error: ValidationError, schema: CompiledSchema) -> ArgumentsError:
    """Return an error that describes *error* without using its text, which quotes the input."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind = first["type"] if first["type"] in _known_kinds() else "custom"
    return arguments_error("model", declared_pointer(schema.schema, first["loc"]), _expected(kind))


def _expected(kind: str) -> str:
    """Return the type that a model expects, in JSON Schema's terms."""
    if kind in _SAID:
        return _SAID[kind]
    base = kind.removesuffix("_type").removesuffix("_parsing")
    return f"expected {_TYPES[base]}" if base != kind and base in _TYPES else kind


_TYPES: Final = {
    "int": "integer",
    "float": "number",
    "decimal": "number",
    "string": "string",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "model": "object",
    "model_attributes": "object",
    "dataclass": "object",
    "date": "date",
    "datetime": "date and time",
    "time": "time",
    "uuid": "UUID",
    "url": "URL",
}
"""The expected types, keyed by the prefix of pydantic error kinds that end in ``_type`` or
``_parsing``.
"""
_SAID: Final = {
    "missing": MISSING_ARGUMENT,
    "extra_forbidden": UNKNOWN_ARGUMENT,
    "enum": "expected one of the values that the schema lists",
    "literal_error": "expected one of the values that the schema lists",
    "int_from_float": "expected integer",
    "none_required": "expected null",
}


@functools.cache
def _known_kinds() -> frozenset[str]:
    # A custom error can have any name, even a value from the input.
    return frozenset(get_args(ErrorType))


def _validate(model: type[BaseModel], private: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(private)
    except ValidationError as error:
        # A strict model accepts a date as a string only in JSON, and a language model's arguments
        # are JSON.
        try:
            encoded = dumps(private)
        except RecordError:
            raise error from None
        return model.model_validate_json(encoded)


def _rebuild_until_stable(
    model: type[BaseModel], schema: CompiledSchema, built: BaseModel, parameters: Mapping[str, str]
) -> tuple[Snapshot, dict[str, Any]]:
    """Rebuild the arguments until they no longer change, and return the snapshot and the keyword
    arguments.

    The arguments are rejected if a validator keeps changing its own output (for example, by adding
    one), because the body would see different values than the policy. A default that the model
    coerces (``x: float = 5``) is stable after the second round.
    """
    seen, secrets = _dump(built, schema)
    for _ in range(_ROUNDS):
        rebuilt = _rebuild(model, built, seen)
        again, kept = _dump(rebuilt, schema)
        if kept != secrets:
            # The secret was passed in a field that the model declares as a different type, so no
            # mark would protect it.
            raise Refused("model", "a field that is not declared secret contains a secret")
        if again.encoded == seen.encoded:
            return seen, _keywords(rebuilt, parameters)
        built, seen = rebuilt, again
    raise Refused("model", "rebuilding the arguments changes them")


def _rebuild(model: type[BaseModel], built: BaseModel, seen: Snapshot) -> BaseModel:
    try:
        return model.model_validate_json(seen.encoded, by_alias=True, by_name=True)
    except ValidationError:
        # A default that the model itself would reject (``limit: int = None``) must be filled in by
        # the model again.
        given, _ = _dump_with_secrets(built, exclude_unset=True)
        return model.model_validate_json(dumps(given), by_alias=True, by_name=True)


def _keywords(rebuilt: BaseModel, parameters: Mapping[str, str]) -> dict[str, Any]:
    if _takes_extras(type(rebuilt)):
        _check_extras(rebuilt)
    keywords = {keyword: getattr(rebuilt, name) for name, keyword in parameters.items()}
    return {**(rebuilt.model_extra or {}), **keywords}


@functools.lru_cache(maxsize=1024)
def _takes_extras(model: type[BaseModel]) -> bool:
    """Return True if *model*, or a nested model, keeps undeclared arguments."""
    return any(
        "allow" in (part.get("extra_behavior"), part.get("extra_fields_behavior"))
        for part in _nested_objects(model.__pydantic_core_schema__)
    )


def _check_extras(rebuilt: BaseModel) -> None:
    """Reject an undeclared argument that has the name of a field whose value is passed under an
    alias.

    The policy would see both arguments, but the body only one: for example, ``{"to": ..., "to_":
    ...}`` if the field ``to_`` has the alias ``to``.
    """
    todo: list[Any] = [rebuilt]
    while todo:
        value = todo.pop()
        if isinstance(value, BaseModel):
            extra = value.model_extra or {}
            if not extra.keys().isdisjoint(type(value).model_fields):
                raise Refused("model", "two arguments for one field")
            todo += (*value.__dict__.values(), *extra.values())
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            todo += value
        elif is_dataclass(value):
            todo += vars(value).values()


def _dump(built: BaseModel, schema: CompiledSchema) -> tuple[Snapshot, int]:
    """Return the JSON dump of *built* for policy and record, and the number of secrets in it."""
    limits = schema.limits
    plain, secrets = _dump_with_secrets(built)
    args = take(plain, limits)
    if type(args) is not dict:
        raise Refused("not_object")
    return Snapshot(args, encode(args, limits)), secrets


def _dump_with_secrets(built: BaseModel, *, exclude_unset: bool = False) -> tuple[Any, int]:
    """Return the JSON dump with secrets in clear text, and the number of secrets. The body needs
    the secrets; the redactor replaces them later.
    """
    written = built.model_dump(
        mode="json", by_alias=True, round_trip=True, exclude_unset=exclude_unset, warnings="none"
    )
    if _is_simple(type(built)):
        return written, 0
    objects = built.model_dump(
        by_alias=True, round_trip=True, exclude_unset=exclude_unset, warnings="none"
    )
    revealer = _SecretRevealer()
    return revealer.reveal(objects, written), revealer.secrets


class _SecretRevealer:
    """Inserts the secrets into a JSON dump in clear text, and counts them."""

    def __init__(self) -> None:
        self.secrets = 0

    def reveal(self, found: Any, written: Any) -> Any:
        """Return *written*, a JSON dump, with the secrets in clear text. *found* is the same dump
        as Python objects.

        Sets are sorted, because their order differs between copies, but the order in the snapshot
        must be stable.
        """
        kind = type(found)
        if kind is str or kind is int or found is None or kind is bool or kind is float:
            return written
        if kind is dict and type(written) is dict and len(found) == len(written):
            pairs = zip(written.items(), found.values(), strict=True)
            return {key: self.reveal(value, text) for (key, text), value in pairs}
        if kind in _SEQUENCES and type(written) is list and len(found) == len(written):
            return [self.reveal(value, text) for value, text in zip(found, written, strict=True)]
        if kind is set or kind is frozenset:
            items = (
                [self._reveal_bare_value(item) for item in found]
                if _holds_secret(found)
                else written
            )
            return sorted(items, key=dumps) if type(items) is list else items
        if issubclass(kind, _SECRETS):
            return self._reveal_bare_value(found)
        if _holds_secret(found):
            raise Refused("model", "a secret can't be converted to JSON")
        return written

    def _reveal_bare_value(self, value: Any) -> Any:
        """Return the JSON for a value that is not in a field, with its secret revealed."""
        if isinstance(value, _SECRETS):
            self.secrets += 1
            return self._reveal_bare_value(value.get_secret_value())
        return self.reveal(value, to_jsonable_python(value))


def _holds_secret(value: Any) -> bool:
    if isinstance(value, _SECRETS):
        return True
    if isinstance(value, dict):
        return any(_holds_secret(item) for item in (*value, *value.values()))
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return any(_holds_secret(item) for item in value)
    return False
