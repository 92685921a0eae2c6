"""Finds calls of ``guardrail.lib.time`` in the text of a module, before it is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardrail.policy.tokens import string_value, tokens

__all__ = ["SourceToken", "TimeCall", "literal", "may_use_zones", "source_tokens", "time_calls"]

_LIBRARY = ("data", "guardrail", "lib", "time")
_LIB, _TIME, _ZONES = (re.compile(rf"\b{word}\b") for word in ("lib", "time", "zones"))
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_TOKENS = 200
"""Maximum number of tokens of a call that are read, so that the time is linear in the text."""


@dataclass(frozen=True, slots=True)
class SourceToken:
    """A part of the text, as written."""

    line: int
    written: str


@dataclass(frozen=True, slots=True)
class TimeCall:
    """A call of a function of the library."""

    function: str
    arguments: tuple[tuple[SourceToken, ...], ...]
    """The tokens of each argument."""


def may_use_zones(text: str) -> bool:
    """Return False if the module surely uses neither the library nor ``input.context.zones``."""
    library = _LIB.search(text) is not None and _TIME.search(text) is not None
    return library or _ZONES.search(text) is not None


def source_tokens(text: str) -> Iterator[SourceToken]:
    """Yield the tokens of a module, without whitespace and comments."""
    raw, line, at = text.encode("utf-8", "surrogatepass"), 1, 0
    for token in tokens(raw):
        line += raw.count(b"\n", at, token.start)
        at = token.start
        # Outside strings, each byte of a character beyond ASCII is a token; none of them is valid.
        yield SourceToken(line, token.written.decode("utf-8", "replace"))


def literal(argument: Sequence[SourceToken]) -> str | None:
    """Return the value of a string, or None for another expression."""
    return string_value(argument[0].written) if len(argument) == 1 else None


def time_calls(written: Sequence[SourceToken]) -> Iterator[TimeCall]:
    """Yield each call of the library in the tokens of a module."""
    imported = dict(_imports(written))
    for index, token in enumerate(written):
        if token.written != "(":
            continue
        path = _path_before(written, index)
        path = (*imported.get(path[0], path[:1]), *path[1:]) if path else ()
        if path[:-1] == _LIBRARY:
            inside = written[index + 1 : index + 1 + _MAX_TOKENS]
            yield TimeCall(path[-1], tuple(_split(inside)))


def _split(inside: Sequence[SourceToken]) -> Iterator[tuple[SourceToken, ...]]:
    """Yield the arguments before the parenthesis that ends the call."""
    depth, argument = 0, list[SourceToken]()
    for token in inside:
        if token.written in {")", "]", "}"}:
            depth -= 1
            if depth < 0:
                break
        elif token.written in {"(", "[", "{"}:
            depth += 1
        if token.written == "," and depth == 0:
            yield tuple(argument)
            argument = []
        else:
            argument.append(token)
    if argument:
        yield tuple(argument)


def _imports(written: Sequence[SourceToken]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name and the path of each import of data."""
    for index, token in enumerate(written):
        if token.written != "import":
            continue
        end = index + 2
        while end + 1 < len(written) and written[end].written == ".":
            end += 2
        path = _path_before(written, end)
        if path[:1] == ("data",):
            renamed = end + 1 < len(written) and written[end].written == "as"
            yield (written[end + 1].written if renamed else path[-1]), path


def _path_before(written: Sequence[SourceToken], end: int) -> tuple[str, ...]:
    """Return the names of the reference that ends before the token with the index *end*."""
    path: list[str] = []
    at = end - 1
    while 0 <= at < len(written) and _WORD.fullmatch(written[at].written):
        path.append(written[at].written)
        if at < 1 or written[at - 1].written != ".":
            break
        at -= 2
    return tuple(reversed(path))
