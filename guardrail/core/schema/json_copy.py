"""Makes a private, strictly JSON copy of a caller's arguments.

The copy is made once. Later changes to the original by the caller, another thread or a policy have
no effect on what guardrail decides, records or runs.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from guardrail.core.types import Json
from guardrail.errors import ArgumentsError

__all__ = [
    "MISSING_ARGUMENT",
    "UNKNOWN_ARGUMENT",
    "ArgumentLimits",
    "Foreign",
    "Refused",
    "arguments_error",
    "clone",
    "is_panic",
    "take",
]

UNKNOWN_ARGUMENT: Final = "an argument that the tool does not declare"
MISSING_ARGUMENT: Final = "a required argument is missing"
_TEXTS: Final[Mapping[str, str]] = {
    "not_object": "arguments must be a JSON object",
    "unknown_argument": UNKNOWN_ARGUMENT,
    "missing": MISSING_ARGUMENT,
    "type": "an argument has the wrong type",
    "value": "an argument has a value that the schema does not accept",
    "nan": "NaN and infinity are not JSON",
    "surrogate": "a lone surrogate is not Unicode text",
    "integer_range": "an integer is outside the 64-bit range",
    "depth": "arguments are nested too deeply for this tool",
    "nodes": "the arguments contain too many values for this tool",
    "size": "arguments are too large for this tool",
    "cyclic": "the arguments contain a reference to themselves",
    "key": "an object key is not a string",
    "not_json": "an argument has a type that JSON does not support",
    "unstable": "arguments changed while they were copied",
    "model": "the tool's signature does not accept the arguments",
}
"""Every ``detail`` of an ``ArgumentsError``, and its text. Programs match on these names, so they
are never renamed.
"""


class Foreign(StrEnum):
    """The treatment of values of a type that JSON does not support."""

    REFUSED = "refused"
    KEPT = "kept"
    """Kept unchanged, for a Python model that knows the type. The result is not JSON."""


@dataclass(frozen=True, slots=True)
class ArgumentLimits:
    """Limits on the arguments of one call."""

    depth: int = 64
    """Maximum nesting depth of containers. The outermost container has depth 1."""
    nodes: int = 10_000
    """Maximum number of values, including the members of every container."""
    string: int = 1_048_576
    """Maximum length in characters of one string or key."""
    size: int = 2_097_152
    """Maximum number of characters of all strings and keys together, and also of bytes of the
    encoded copy.
    """
    lowest: int = -(2**63)
    highest: int = 2**64 - 1
    """Largest integer. Integers outside this range are refused, because the embedded engine would
    silently convert them to floats.
    """


class Refused(Exception):
    """The reason that copying stopped.

    ``path`` leads to the location, innermost key first. It can contain undeclared keys.
    """

    def __init__(self, detail: str, remark: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.remark = remark
        self.path: list[str | int] = []
        self.containers: list[int] = []


def arguments_error(detail: str, pointer: str = "", remark: str = "") -> ArgumentsError:
    """Return the error for *detail*. *remark* is guardrail's own text, and *pointer* contains only
    declared names.
    """
    text = _TEXTS[detail]
    if pointer or remark:
        text += f" ({': '.join(part for part in (pointer, remark) if part)})"
    return ArgumentsError(text, detail=detail, pointer=pointer)


def is_panic(error: BaseException) -> bool:
    """Return True for a panic of a Rust library. A panic is not an ``Exception``, so code that
    catches ``Exception`` does not catch it.
    """
    return type(error).__name__ == "PanicException"


class _Budget:
    """The remaining limits while one copy is made."""

    __slots__ = ("depth", "foreign", "highest", "lowest", "nodes", "size", "string")

    def __init__(self, limits: ArgumentLimits, foreign: Foreign) -> None:
        self.depth = limits.depth
        self.nodes = limits.nodes
        self.string = limits.string
        self.size = limits.size
        self.lowest = limits.lowest
        self.highest = limits.highest
        self.foreign = foreign


def take(value: object, limits: ArgumentLimits, foreign: Foreign = Foreign.REFUSED) -> Any:
    """Return a copy of *value* that shares no container with it and holds only JSON types.

    dict, list, tuple (becomes a list), str, int, float, bool and None are copied. Subclasses of
    str, int and float (``StrEnum``, ``IntEnum``, ``numpy.float64``) are converted to the plain
    type, without running their code; ``OrderedDict`` and ``defaultdict`` become plain dicts. Raises
    ``Refused`` for a value of any other type, if a limit is exceeded, and if another thread changes
    the size of a container during the copy. The encoder rejects lone surrogates.
    """
    try:
        return _value(value, 1, _Budget(limits, foreign))
    except RecursionError:
        refused = Refused("depth")
    except RuntimeError:
        # Copying containers of exact types raises only one other RuntimeError: the size changed
        # during iteration.
        refused = Refused("unstable")
    except Refused as error:
        refused = error
        if error.detail == "depth" and len(set(error.containers)) < len(error.containers):
            refused.detail = "cyclic"
    # Raised outside the handlers, so that the exception has no context.
    raise refused


def _value(value: Any, depth: int, budget: _Budget) -> Any:
    """Return the copy of one value of any type. If it is a container, *depth* is its depth."""
    kind = type(value)
    if kind is dict or kind is OrderedDict or kind is defaultdict:
        return _object(value, depth, budget)
    if kind is list or kind is tuple:
        return _array(value, depth, budget)
    # issubclass instead of isinstance, because an object can lie about its __class__.
    if issubclass(kind, str):
        text = str.__str__(value)
        _charge(len(text), budget)
        return text
    if kind is bool or value is None:
        return value
    if issubclass(kind, int):
        whole = int.__int__(value)
        if not budget.lowest <= whole <= budget.highest:
            raise Refused("integer_range")
        return whole
    if issubclass(kind, float):
        number = float.__float__(value)
        if number - number != 0.0:
            raise Refused("nan")
        return number
    if budget.foreign is Foreign.KEPT:
        return value
    raise Refused("not_json")


def _charge(length: int, budget: _Budget) -> None:
    if length > budget.string:
        raise Refused("size")
    budget.size -= length
    if budget.size < 0:
        raise Refused("size")


def _key(key: object, taken: dict[str, Any]) -> str:
    if not issubclass(type(key), str):
        raise Refused("key")
    text = str.__str__(key)
    if text in taken:
        # Only a subclass with its own __eq__ can hold one text twice.
        raise Refused("key")
    return text


def _object(  # noqa: PLR0912 - one branch per JSON type
    source: dict[Any, Any], depth: int, budget: _Budget
) -> dict[str, Any]:
    # The common types are copied inline, because a call per leaf would double the cost of a
    # snapshot.
    if depth > budget.depth:
        raise Refused("depth")
    budget.nodes -= len(source)
    if budget.nodes < 0:
        raise Refused("nodes")
    copy: dict[str, Any] = {}
    lowest, highest, longest = budget.lowest, budget.highest, budget.string
    size = 0
    key: Any = ""
    try:
        for key, value in dict.items(source):
            name = key if type(key) is str else _key(key, copy)
            length = len(name)
            if length > longest:
                raise Refused("size")
            size += length
            kind = type(value)
            if kind is str:
                length = len(value)
                if length > longest:
                    raise Refused("size")
                size += length
                copy[name] = value
            elif kind is int:
                if not lowest <= value <= highest:
                    raise Refused("integer_range")
                copy[name] = value
            elif kind is float:
                if value - value != 0.0:
                    raise Refused("nan")
                copy[name] = value
            elif kind is bool or value is None:
                copy[name] = value
            else:
                copy[name] = _value(value, depth + 1, budget)
    except Refused as refused:
        if type(key) is str:
            refused.path.append(key)
        else:
            refused.path.clear()
        refused.containers.append(id(source))
        raise
    budget.size -= size
    if budget.size < 0:
        raise Refused("size")
    return copy


def _array(source: list[Any] | tuple[Any, ...], depth: int, budget: _Budget) -> list[Any]:
    if depth > budget.depth:
        raise Refused("depth")
    budget.nodes -= len(source)
    if budget.nodes < 0:
        raise Refused("nodes")
    # One slice instead of an iteration over the source, because another thread could keep appending
    # forever.
    copy = list(source)
    lowest, highest, longest = budget.lowest, budget.highest, budget.string
    size = 0
    index = 0
    try:
        for index, value in enumerate(copy):
            kind = type(value)
            if kind is str:
                length = len(value)
                if length > longest:
                    raise Refused("size")
                size += length
            elif kind is int:
                if not lowest <= value <= highest:
                    raise Refused("integer_range")
            elif kind is float:
                if value - value != 0.0:
                    raise Refused("nan")
            elif kind is not bool and value is not None:
                copy[index] = _value(value, depth + 1, budget)
    except Refused as refused:
        refused.path.append(index)
        refused.containers.append(id(source))
        raise
    budget.size -= size
    if budget.size < 0:
        raise Refused("size")
    return copy


_ATOMS: Final = frozenset({str, int, float, bool, type(None)})


def clone(value: Json) -> Any:
    """Return a copy of a value made by ``take``, without checking it again."""
    kind = type(value)
    if kind is dict:
        return {
            key: item if type(item) in _ATOMS else clone(item)
            for key, item in value.items()  # type: ignore[union-attr]
        }
    if kind is list:
        return [item if type(item) in _ATOMS else clone(item) for item in value]  # type: ignore[union-attr]
    return value
