r"""Writes the classes and boundaries of regular expressions in a form that means the same in both
engines.

In OPA (RE2), ``\d``, ``\s``, ``\w``, their opposites and ``\b`` stand for ASCII characters, in the
embedded engine for those of all of Unicode. The worker loads this module too, so it imports nothing
from guardrail.
"""

from __future__ import annotations

import re

__all__ = ["ascii_pattern", "explicit_classes", "least_length"]

_OUTSIDE = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "s": "[\\t\\n\\f\\r ]",
    "S": "[^\\t\\n\\f\\r ]",
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
}
_INSIDE = {"d": "0-9", "s": "\\t\\n\\f\\r ", "w": "0-9A-Za-z_"}
_BOUNDARY = "(?-u:\\b)"
"""The ASCII boundary in the syntax of the embedded engine. OPA does not know this syntax."""
_WHOLE = re.compile(r"\[(\^?)\\([dDsSwW])\]")
_ANY = re.compile(r"\[(?:\\d\\D|\\D\\d|\\s\\S|\\S\\s|\\w\\W|\\W\\w)\]")
_OPENING = re.compile(r"\[\^?\]?")
_NAME = re.compile(r"\[:\^?[a-z]+:\]")


def explicit_classes(pattern: str) -> str:
    """Return *pattern* with its classes written out. A class that can't be written out stays as it
    is.
    """
    return _rewritten(pattern, "\\b")


def ascii_pattern(pattern: str) -> str:
    """Return *pattern*, in which the boundary ``\\b`` is that of ASCII too, in the syntax of the
    embedded engine.
    """
    return _rewritten(pattern, _BOUNDARY)


def _rewritten(pattern: str, boundary: str) -> str:
    found: list[str] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        if character == "\\":
            letter = pattern[index + 1 : index + 2]
            found.append(boundary if letter == "b" else _OUTSIDE.get(letter, character + letter))
            index += 2
        elif character == "[":
            part, index = _class(pattern, index)
            found.append(part)
        else:
            found.append(character)
            index += 1
    return "".join(found)


def _class(pattern: str, index: int) -> tuple[str, int]:
    """Return the class that begins at *index*, rewritten, and the index behind it."""
    every = _ANY.match(pattern, index)
    if every is not None:
        return "(?s:.)", every.end()
    whole = _WHOLE.match(pattern, index)
    if whole is not None:
        letter = whole[2].swapcase() if whole[1] else whole[2]
        return _OUTSIDE[letter], whole.end()
    opening = _OPENING.match(pattern, index)
    assert opening is not None
    found = [opening[0]]
    index = opening.end()
    while index < len(pattern) and pattern[index] != "]":
        name = _NAME.match(pattern, index)
        if name is not None:
            found.append(name[0])
            index = name.end()
        elif pattern[index] == "\\":
            part, index = _escape(pattern, index, found)
            found.append(part)
        else:
            found.append(pattern[index])
            index += 1
    return "".join([*found, pattern[index : index + 1]]), index + 1


def _escape(pattern: str, index: int, found: list[str]) -> tuple[str, int]:
    letter = pattern[index + 1 : index + 2]
    index += 2
    # After a dash, OPA refuses a class as the end of a range.
    explicit = None if len(found) > 2 and found[-1] == "-" else _INSIDE.get(letter)
    if explicit is None:
        return "\\" + letter, index
    if pattern[index : index + 1] == "-" and pattern[index + 1 : index + 2] != "]":
        # A dash after a class is a plain dash.
        return explicit + "\\-", index + 1
    return explicit, index


def least_length(pattern: str) -> int:
    """Return the least number of characters that *pattern* can match, or 0 if it is not known."""
    import warnings
    from re import _parser  # type: ignore[attr-defined]  # the only parser in the library

    try:
        with warnings.catch_warnings():
            # Python announces another meaning of [[, which OPA's patterns don't have.
            warnings.simplefilter("ignore", FutureWarning)
            return int(_parser.parse(explicit_classes(pattern)).getwidth()[0])
    except (re.error, OverflowError, RecursionError):
        return 0
