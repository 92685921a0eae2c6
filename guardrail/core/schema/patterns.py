"""The regular expressions of a foreign schema, which run only on an engine that takes linear time.

The engine reads ECMA-262, as JSON Schema specifies, but can't run constructs that need
backtracking. ``fault_of`` finds these, and constructs that the engine reads differently from other
engines.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Final

from guardrail.core.schema.json_copy import is_panic

__all__ = ["UNREADABLE", "engine_options", "fault_of", "may_match", "shown_place"]

_MAX_PATTERN = 1_000
"""Maximum length of one pattern in characters."""
_MAX_STEPS = 16
_MAX_NAME = 64
_NAME_BYTES = 262_144
"""Memory in bytes that a compiled pattern may take if it is matched with a single name."""

LONG: Final = f"has more than {_MAX_PATTERN:,} characters"
LOOK_AROUND: Final = "needs backtracking (look-around)"
REFERENCE: Final = "needs backtracking (back-reference)"
UNCLEAR: Final = "has a different meaning in other engines"
UNREADABLE: Final = "is malformed, or too large once it is compiled"
"""The reason for a pattern that the engine itself rejects."""

_FLAGS: Final = frozenset("(?im-:)")
"""The flags that have one meaning everywhere, with the signs around them."""
_TOKEN: Final = re.compile(
    r"(?P<escape>\\(?:[bB]\{|.))"
    r"|(?P<set>\[(?:\\.|[^\]\\])*+\]?)"
    r"|(?P<look>\(\?<?[=!])"
    r"|(?P<flags>\(\?[a-zA-Z-]+[:)])"
    r"|(?P<group>\((?:\?(?:P?<[^>]*+>|:)?)?)"
    r"|(?P<times>[*+?]|\{[0-9]*+,?[0-9]*+\})"
    r"|.",
    re.DOTALL,
)


def fault_of(pattern: str) -> str | None:
    """Return the reason why guardrail does not run *pattern*, or None if the engine may compile it.

    The reason completes the sentence "the pattern ...". It quotes no part of the pattern.
    """
    if len(pattern) > _MAX_PATTERN:
        return LONG
    repeated = 0  # signs of repetition since the last atom: "a+" has 1, the lazy "a+?" has 2
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token.group()
        if kind == "times":
            # "a++" is possessive in Python, a nested repetition for the engine, and an error in
            # ECMA-262.
            if repeated == 2 or (repeated == 1 and text != "?"):
                return UNCLEAR
            repeated += 1
            continue
        repeated = 0
        if kind == "look":
            return LOOK_AROUND
        if kind == "flags" and not _FLAGS.issuperset(text):
            return UNCLEAR
        if kind == "escape":
            if text[1] in "123456789k":
                return REFERENCE
            # Edges of words for the engine, and plain characters everywhere else.
            if text[1] in "<>" or len(text) > 2:
                return UNCLEAR
    return None


def shown_place(path: Sequence[str | int]) -> str:
    """Return the RFC 6901 pointer to *path* in a schema, cut before the first key that can't be
    shown: the text of a foreign schema is hostile.
    """
    pointer = ""
    for step in path[:_MAX_STEPS]:
        name = str(step)
        if len(name) > _MAX_NAME or not name.isprintable():
            break
        pointer += "/" + name.replace("~", "~0").replace("/", "~1")
    return pointer


def engine_options(size: int) -> Any:
    """Return the options that select the engine without backtracking. *size* is the number of bytes
    that a compiled pattern may take.
    """
    import jsonschema_rs

    return jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=1_048_576)


@functools.lru_cache(maxsize=1_024)
def may_match(pattern: str, name: str) -> bool:
    """Return True if *pattern* matches a part of *name*, or if guardrail does not run *pattern*."""
    import jsonschema_rs

    if fault_of(pattern) is not None:
        return True
    try:
        validator = jsonschema_rs.Draft202012Validator(
            {"pattern": pattern}, offline=True, pattern_options=engine_options(_NAME_BYTES)
        )
        return bool(validator.is_valid(name))
    except ValueError:  # also a ValidationError
        return True
    except BaseException as error:
        if not is_panic(error):
            raise
        return True
