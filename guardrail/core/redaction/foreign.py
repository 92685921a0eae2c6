"""Reads results and exceptions, which can be objects of foreign classes, whose methods can do
anything.

This module does not call any method that a foreign class or metaclass could have overridden, except
for an exception's text and an object's ``__dict__``. It catches all exceptions that these two
raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from guardrail.core.log.record import dumps
from guardrail.core.redaction.values import octets
from guardrail.core.words import agree, counted
from guardrail.errors import RecordError

__all__ = ["describe_error", "outweighs", "plain", "shape"]

_TOKEN_CHARS = 4_000_000
_SHAPE_NODES = 20_000
_DEPTH = 24
_CAUSES = 5
_INPUT_VALUE = re.compile(r"(?:input_value|input|instance|value)=[^\r\n]*")
_KINDS: dict[type, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    dict: "object",
    list: "array",
    tuple: "array",
    bytes: "bytes",
}


# These are the interpreter's own descriptors, because a metaclass or an exception class can have
# properties with these names.
_MODULE_OF = type.__dict__["__module__"].__get__
_QUALNAME_OF = type.__dict__["__qualname__"].__get__
_NAME_OF = type.__dict__["__name__"].__get__
_MRO_OF = type.__dict__["__mro__"].__get__
_CAUSE_OF = BaseException.__dict__["__cause__"].__get__
_CONTEXT_OF = BaseException.__dict__["__context__"].__get__
_SUPPRESSED_IN = BaseException.__dict__["__suppress_context__"].__get__


def qualified(cls: type) -> str:
    """Return the module and the name of a class, if they are strings."""
    name = str.__str__(_QUALNAME_OF(cls))[:200]
    module = _module(cls)
    return name if module in {"", "builtins"} else f"{module[:200]}.{name}"


def _module(cls: type) -> str:
    try:
        module = _MODULE_OF(cls)
    except AttributeError:  # the class was created by code outside any module
        return ""
    return str.__str__(module) if issubclass(type(module), str) else ""


def shape(
    value: object, token: Callable[[str, str], str], scrub: Callable[[str], str]
) -> dict[str, Any]:
    """Return ``{"type", "bytes", "token", "items"}`` for a result.

    Fields that would be too expensive to compute are null.
    """
    kind = type(value)
    name = "null" if value is None else _KINDS.get(kind) or scrub(qualified(kind))
    size: int | None = None
    items: int | None = None
    tok: str | None = None
    if value is None:
        size = 4
    elif kind is str:
        size, tok = _text_shape(value, token)  # type: ignore[arg-type]
    elif kind is bytes:
        size = len(value)  # type: ignore[arg-type]
        tok = token("result", value.hex()) if size <= _TOKEN_CHARS // 2 else None  # type: ignore[attr-defined]
    elif kind in {bool, int, float}:
        text = _number(value)
        size, tok = len(text), token("result", text)
    elif kind in {dict, list, tuple}:
        items = len(value)  # type: ignore[arg-type]
        if _affordable(value):
            try:
                line = dumps(value)
            except RecordError:
                line = b""
            if line:
                size, tok = len(line), token("result", line.decode("utf-8"))
    return {"type": name, "bytes": size, "token": tok, "items": items}


def _text_shape(text: str, token: Callable[[str, str], str]) -> tuple[int, str | None]:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size, token("result", text) if size <= _TOKEN_CHARS else None


def _number(value: Any) -> str:
    if type(value) is int and value.bit_length() > 2_048:
        return hex(value)
    return "true" if value is True else "false" if value is False else repr(value)


def _affordable(value: object) -> bool:
    """Return True if *value* is plain JSON that can be serialised within a few milliseconds."""
    nodes, chars = 0, 0
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        kind = type(item)
        nodes += 1
        if kind is str:
            chars += len(item)  # type: ignore[arg-type]
        elif kind is dict:
            for key, member in item.items():  # type: ignore[attr-defined]
                if type(key) is not str:
                    return False
                chars += len(key)
                pending.append((member, depth + 1))
        elif kind in {list, tuple}:
            pending.extend((member, depth + 1) for member in item)  # type: ignore[attr-defined]
        elif item is not None and kind not in {int, float, bool}:
            return False
        if nodes + len(pending) > _SHAPE_NODES or chars > _TOKEN_CHARS or depth > _DEPTH * 4:
            return False
    return True


_PER_NODE = 16


def outweighs(value: object, chars: int) -> bool:
    """Return True if *value* holds more than *chars* characters. Each member of a container counts
    as several characters.

    Counting stops at that limit.
    """
    pending: list[Any] = [value]
    while pending and chars >= 0:
        item = pending.pop()
        kind = type(item)
        chars -= _PER_NODE
        if kind is str or kind is bytes:
            chars -= len(item)
        elif item is None or kind is bool or kind is int or kind is float:
            continue
        elif kind is dict or kind is list or kind is tuple:
            if _PER_NODE * len(item) > chars:
                return True
            pending.extend(item)
            if kind is dict:
                pending.extend(item.values())
        elif issubclass(kind, _CONTENT):
            # the size of a subclass or a set can't be determined without reading its members
            return True
        else:
            pending.append(_attributes_of(item))
    return chars < 0


_CONTENT = (str, int, float, bytes, bytearray, dict, list, tuple, set, frozenset)


def _attributes_of(value: object) -> dict[Any, Any] | None:
    if issubclass(type(value), type):
        return None
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a descriptor of a foreign class can raise anything
        return None
    return attributes if type(attributes) is dict else None


def plain(value: object, *, nodes: int, chars: int, searched: int) -> object:
    """Return the readable content of any object as plain JSON, within the limits.

    Texts are returned whole, because their length and a token of the whole are recorded, up to four
    million characters in total. Of a text of more than *chars* characters, only *searched* count,
    and no text is cut before that: a value at the end of its recorded part is not cut in two.

    For an object of a foreign class, this is the content of its instance dictionary.
    """
    return _PlainConverter(nodes, chars, searched).take(value, 0)


class _PlainConverter:
    """Converts one value to plain JSON, within limits on nodes and characters."""

    def __init__(self, nodes: int, chars: int, searched: int) -> None:
        self.nodes = nodes
        self.chars = self.long = chars
        self.searched = searched
        self.whole = _TOKEN_CHARS

    def take(self, value: Any, depth: int) -> object:
        self.nodes -= 1
        if value is None or self.nodes < 0 or depth > _DEPTH or self.chars <= 0:
            return None
        kind = type(value)  # isinstance() would ask the object for its __class__
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, bool):
            return value
        if issubclass(kind, int):
            return int.__int__(value)
        if issubclass(kind, float):
            return float.__float__(value)
        if issubclass(kind, bytes | bytearray):
            data = octets(value)
            return self._text(data[: max(self.whole, self.searched)].decode("utf-8", "replace"))
        if issubclass(kind, dict):
            return self._members(value, depth)
        if issubclass(kind, list | tuple | set | frozenset):
            return self._elements(value, depth)
        return self._attributes(value, depth)

    def _text(self, text: str) -> str:
        text = text[: max(self.whole, self.searched)]
        self.whole -= len(text)
        self.chars -= len(text) if len(text) <= self.long else self.searched
        return text

    def _members(self, value: dict[Any, Any], depth: int) -> dict[str, object]:
        out: dict[str, object] = {}
        for key, member in dict.items(value):
            if self.nodes <= 0 or self.chars <= 0:
                break
            name = (
                str.__str__(key)[: max(self.chars, self.searched)]
                if issubclass(type(key), str)
                else qualified(type(key))
                if not issubclass(type(key), int)
                else _number(int.__int__(key))
            )
            self.chars -= len(name)
            out[name] = self.take(member, depth + 1)
        return out

    def _elements(self, value: Any, depth: int) -> list[object]:
        base = next(kind for kind in (list, tuple, set, frozenset) if issubclass(type(value), kind))
        out: list[object] = []
        for member in base.__iter__(value):
            if self.nodes <= 0 or self.chars <= 0:
                break
            out.append(self.take(member, depth + 1))
        return out

    def _attributes(self, value: object, depth: int) -> object:
        attributes = _attributes_of(value)
        return None if attributes is None else self._members(attributes, depth)


def describe_error(error: BaseException, size: int) -> tuple[str, list[str]]:
    """Return the class of *error* and its unredacted messages: its own, and those of its causes.
    *size* is the maximum number of characters that are taken from each. Never raises.
    """
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(parts) < _CAUSES:
        seen.add(id(current))
        message = _message(current, size)
        parts.append(
            message if current is error else f"caused by {qualified(type(current))}: {message}"
        )
        current = _cause(current)
    return qualified(type(error)), [part for part in parts if part]


def _cause(error: BaseException) -> BaseException | None:
    cause: BaseException | None = _CAUSE_OF(error)
    if cause is not None or _SUPPRESSED_IN(error):
        return cause
    context: BaseException | None = _CONTEXT_OF(error)
    return context


def _message(error: BaseException, size: int) -> str:
    for base in _MRO_OF(type(error)):
        if _NAME_OF(base) == "ValidationError":
            # The texts of these exceptions quote the value that did not fit.
            return _validation(error, _module(base))
    try:
        text = str.__str__(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - str() of a foreign exception is foreign code
        return "(no message: str() failed)"
    text = text[:size]
    return _INPUT_VALUE.sub("(input not shown)", text) if "input_value=" in text else text


def _validation(error: BaseException, module: str) -> str:
    if not module.startswith("pydantic"):
        return "a value does not fit the schema (details not shown)"
    try:
        found = error.errors(include_url=False, include_context=False, include_input=False)  # type: ignore[attr-defined]
        places = [
            f"{_place(entry)} ({str(entry.get('type'))[:60]})"
            for entry in found[:10]
            if isinstance(entry, Mapping)
        ]
        return f"{counted(len(found), 'value')} {agree(len(found), 'does')} not fit: " + ", ".join(
            places
        )
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a foreign class that only shares the name
        return "a value does not fit the model (details not shown)"


def _place(entry: Mapping[str, Any]) -> str:
    location = entry.get("loc")
    return (
        ".".join(str(part)[:60] for part in location[:8])
        if isinstance(location, tuple | list)
        else "?"
    )
