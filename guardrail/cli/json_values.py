"""Reads JSON that a person passes to a command, in a file or on standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.core.json_text import JsonTextError, read
from guardrail.errors import ConfigError
from guardrail.system.input_files import read_input
from guardrail.system.ownership import explain_error

if TYPE_CHECKING:
    from guardrail.core.types import Json

__all__ = ["STDIN", "parse_value", "read_bytes"]

STDIN = Path("-")
"""Path that means standard input."""
_REASONS = {
    "duplicate_key": "an object contains a key twice",
    "nan": "NaN and infinity are not JSON",
    "integer_range": "an integer has too many digits",
    "depth": "it is nested too deeply",
}


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of the file at *path*, or of standard input if it is ``STDIN``.

    Raises ``ConfigError`` if it can't be read or is larger than *limit* bytes.
    """
    try:
        raw = sys.stdin.buffer.read(limit + 1) if path == STDIN else read_input(path, limit)
    except OSError as error:
        why, way = explain_error(error, path)
        raise ConfigError(
            f"{_named(path)}: it can't be read ({why})", code="config.args", hint=way
        ) from None
    if len(raw) > limit:
        raise ConfigError(
            f"{_named(path)}: it is larger than {limit >> 20} MiB",
            code="config.args",
            hint="a guard accepts only much smaller arguments",
        )
    return raw


def parse_value(raw: bytes, path: Path, *, hint: str, line: int = 0) -> Json:
    """Return the JSON value in *raw*, which is from the file at *path*. If *line* is not 0, *raw*
    is that line of the file.

    Raises ``ConfigError`` with *hint* if it is not JSON that a guard would accept in arguments:
    repeated keys, NaN, infinity and lone surrogates are rejected. The error quotes no part of the
    text.
    """
    text = ""
    try:
        text = raw.decode()
        value: Json = read(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        why = "a string contains half of a surrogate pair"
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except JsonTextError as error:
        why = _reason(error, text, line)
    except ValueError:
        why = "a number is too large"
    else:
        return value
    where = f"{_named(path)}, line {line}" if line else _named(path)
    # Raised outside the handlers, because the context of an exception would contain the text.
    raise ConfigError(f"{where}: {why}", code="config.args", hint=hint)


def _reason(error: JsonTextError, text: str, line: int) -> str:
    known = _REASONS.get(error.detail)
    if known is not None:
        return known
    if error.position is None:
        return "it is not JSON"
    before = text[: error.position]
    column = error.position - before.rfind("\n")
    if line:
        return f"it is not JSON from character {column} on"
    return f"it is not JSON from line {before.count(chr(10)) + 1}, character {column} on"


def _named(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)
