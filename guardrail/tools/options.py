"""Checks the options of a tool's declaration that state facts for policies and records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from guardrail.core.decision import LABEL
from guardrail.core.schema.compiled import CompiledSchema
from guardrail.core.schema.declared import names_at, schemas_at
from guardrail.errors import UsageError

__all__ = ["amount_pointers", "key_pointers", "labels_of", "pointers_of"]

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*\Z")
_MOST_LABELS: Final = 16
_NUMBERS: Final = frozenset({"number", "integer"})


def pointers_of(option: str, value: Sequence[str], example: str) -> tuple[str, ...]:
    """Return the RFC 6901 pointers that are the *value* of *option*. Raises ``UsageError``, with
    *example* in its hint.
    """
    hint = f'{option}=["{example}"]'
    if isinstance(value, str):
        raise UsageError(f"{option} must be a list of pointers", code=f"usage.{option}", hint=hint)
    pointers = tuple(value)
    if not all(
        type(pointer) is str and pointer and _POINTER.match(pointer) for pointer in pointers
    ):
        raise UsageError(
            f"{option} must contain RFC 6901 pointers into the arguments",
            code=f"usage.{option}",
            hint=hint,
        )
    return pointers


def amount_pointers(value: Sequence[str], schema: CompiledSchema | None) -> tuple[str, ...]:
    """Return the pointers to the amounts of a tool. Raises ``UsageError`` if the accepted *schema*
    does not declare each of them, or declares that one can't be a number.
    """
    pointers = _declared("amounts", value, "/amount", schema)
    for pointer in pointers if schema is not None else ():
        assert schema is not None
        path = _path(pointer)
        types = [part["type"] for part in schemas_at(schema.schema, path) if "type" in part]
        if types and not any(_NUMBERS.intersection(_listed(each)) for each in types):
            raise UsageError(
                f"amounts contains {pointer!r}, which is not a number in the schema",
                code="usage.amounts",
            )
    return pointers


def key_pointers(value: Sequence[str], schema: CompiledSchema | None) -> tuple[str, ...]:
    """Return the pointers to the arguments that identify the effect of a tool's call. Raises
    ``UsageError`` if the accepted *schema* does not declare each of them.
    """
    return _declared("effect_key", value, "/invoice", schema)


def _declared(
    option: str, value: Sequence[str], example: str, schema: CompiledSchema | None
) -> tuple[str, ...]:
    pointers = tuple(dict.fromkeys(pointers_of(option, value, example)))
    for pointer in pointers if schema is not None else ():
        assert schema is not None
        path = _path(pointer)
        names = names_at(schema.schema, path[:-1])
        if names is not None and type(path[-1]) is str and path[-1] not in names:
            raise UsageError(
                f"{option} contains {pointer!r}, which the schema does not declare",
                code=f"usage.{option}",
            )
    return pointers


def labels_of(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of a tool, whose texts can be displayed. Raises ``UsageError``."""
    if isinstance(labels, str):
        raise UsageError(
            "labels must be a list of strings", code="usage.labels", hint='labels=["money"]'
        )
    found = tuple(dict.fromkeys(labels))
    if len(found) > _MOST_LABELS or not all(map(LABEL.fullmatch, found)):
        raise UsageError(
            f"labels must be at most {_MOST_LABELS} strings of at most 64 lower-case letters, "
            "digits and the characters _ . : -, each beginning with a letter",
            code="usage.labels",
            hint='labels=["money"]',
        )
    return found


def _path(pointer: str) -> list[str | int]:
    names = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    return [int(name) if name.isascii() and name.isdigit() else name for name in names]


def _listed(types: object) -> list[object]:
    return types if isinstance(types, list) else [types]
