"""Reads JSON text that every parser reads in the same way: without repeated keys, constants that
JSON does not define, or text after the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["MOST_VALUES", "JsonTextError", "has_many_values", "hides_fields", "read"]

MOST_VALUES: Final = 1_000_000
"""Number of values above which ``has_many_values`` returns True."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
"""Matches a string, or the rest of a text that ends inside a string, in linear time."""


class JsonTextError(ValueError):
    """The text is not JSON, or parsers may disagree about it. The exception quotes no part of the
    text.
    """

    def __init__(self, detail: str, position: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        """``not_json``, ``trailing``, ``duplicate_key``, ``nan``, ``integer_range``, ``depth`` or
        ``prototype``.
        """
        self.position = position
        """Index of the first invalid character, or None if it is not known."""


def hides_fields(found: Mapping[str, Any]) -> bool:
    """Return True if a JavaScript program that copies the fields of *found* would get fields other
    than those in *found*: it assigns ``__proto__``, or merges ``constructor.prototype``.
    """
    inner = found.get("constructor")
    return "__proto__" in found or (isinstance(inner, dict) and "prototype" in inner)


def read(text: str, *, copied: bool = False) -> Any:
    """Parse *text* and return its value. Raises only ``JsonTextError``. *copied* is True if
    programs copy the objects in *text* field by field: an object for which ``hides_fields`` is True
    is then rejected.

    The encoder must reject lone surrogates that are written as escapes, and the caller must reject
    infinite numbers (``1e999``).
    """
    start = _after_space(text, 0)
    try:
        value, end = (_COPIED if copied else _DECODER).raw_decode(text, start)
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


def has_many_values(text: str) -> bool:
    """Return True if the JSON in *text* contains more than ``MOST_VALUES`` values. They are counted
    without parsing, because a value of 3 characters can take 200 bytes of memory.
    """
    if len(text) <= MOST_VALUES or _separators(text) <= MOST_VALUES:
        return False
    return _separators(_STRING.sub("", text)) > MOST_VALUES


def _separators(text: str) -> int:
    return text.count("[") + text.count("{") + text.count(",")


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    assert found is not None  # the pattern also matches an empty text
    return found.end()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonTextError("duplicate_key")
    return found


def _copied(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _unique(pairs)
    if hides_fields(found):
        raise JsonTextError("prototype")
    return found


def _constant(_name: str) -> Any:
    raise JsonTextError("nan")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
_COPIED: Final = json.JSONDecoder(object_pairs_hook=_copied, parse_constant=_constant)
