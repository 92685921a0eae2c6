"""Reads JSON text that every parser reads in the same way: no repeated keys, no constants outside
JSON, and nothing after the value.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["JsonTextError", "read"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")


class JsonTextError(ValueError):
    """The text is not JSON, or parsers may disagree about it. The exception quotes no part of the
    text.
    """

    def __init__(self, detail: str, position: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        """``not_json``, ``trailing``, ``duplicate_key``, ``nan``, ``integer_range`` or
        ``depth``.
        """
        self.position = position
        """Index of the first character that does not fit, or None if it is not known."""


def read(text: str) -> Any:
    """Return the value of *text*. Raises only ``JsonTextError``.

    The encoder must reject lone surrogates, written as escapes, and the caller must reject infinite
    numbers (``1e999``).
    """
    start = _after_space(text, 0)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except JsonTextError as error:
        failure = error
    except json.JSONDecodeError as error:
        failure = JsonTextError("not_json", error.pos)
    except RecursionError:
        failure = JsonTextError("depth")
    except ValueError:
        # Python converts integers only up to a limited number of digits.
        failure = JsonTextError("integer_range")
    else:
        end = _after_space(text, end)
        if end == len(text):
            return value
        failure = JsonTextError("trailing", end)
    # Raised outside the handlers, because the context of an exception would contain the text.
    raise failure


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    assert found is not None  # the pattern also matches an empty text
    return found.end()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonTextError("duplicate_key")
    return found


def _constant(_name: str) -> Any:
    raise JsonTextError("nan")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
