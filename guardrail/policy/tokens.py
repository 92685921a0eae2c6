"""Splits a policy's text into tokens with positions. Recognises strings and comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Token", "on_one_line", "string_value", "tokens", "unix_lines"]

_PIECE = re.compile(
    rb"(?P<text>\"(?:[^\"\\\n]|\\[^\n])*+(?:\"|\\?(?=\n|\Z))|`[^`]*(?:`|\Z))|(?P<gap>["
    rb" \t\r\n]+|\#[^\n]*)|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|:=|[^\x00]|\x00"
)
"""Matches bytes, because positions in the engine's syntax tree are counted in bytes.

A string that does not end, which is not valid Rego, extends to the end of its line or text. The
time is therefore proportional to the size of the text.
"""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a symbol or a string."""

    start: int
    """Position of the token's first byte."""
    end: int
    """Position after the token's last byte."""
    written: bytes


def tokens(raw: bytes, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """Yield the tokens of *raw* between *start* and *end*, neither of which may fall inside a
    token. Whitespace and comments are skipped.
    """
    for found in _PIECE.finditer(raw, start, len(raw) if end is None else end):
        if found.lastgroup != "gap":
            yield Token(found.start(), found.end(), found[0])


def string_value(written: str) -> str | None:
    """Return the value of a token that is a string, or None for another token."""
    if written[:1] == "`":
        return written[1:].removesuffix("`")
    if written[:1] != '"':
        return None
    try:
        value = json.loads(written)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def on_one_line(raw: bytes, start: int, end: int) -> bytes:
    """Return the tokens of *raw* between *start* and *end* on one line, unless a string spans
    several lines. Strings are not changed.
    """
    written: list[bytes] = []
    last = start
    for token in tokens(raw, start, end):
        written += [b" "] * (token.start > last) + [token.written]
        last = token.end
    return b"".join(written)


def unix_lines(raw: bytes) -> bytes:
    r"""Return *raw* with ``\n`` as its line breaks. Strings are not changed."""
    if b"\r" not in raw:
        return raw
    return b"".join(
        (
            found[0]
            if found.lastgroup != "gap"
            else found[0].replace(b"\r\n", b"\n").replace(b"\r", b" ")
        )
        for found in _PIECE.finditer(raw)
    )
