"""Regular expressions and globs that mean the same to both engines."""

from __future__ import annotations

import re

__all__ = ["glob_problem", "regex_problem"]

_PUNCTUATION = frozenset("\\.+*?()|[]{}^$-/#&~!@%_=:;,'\"` ")
_SIMPLE_ESCAPES = frozenset("nrtfvaAz")
_FLAGS = frozenset("imsU-")
_MAX_REPEAT = 1000
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_CLASS_NAME = re.compile(r"\[:\^?[a-z]+:\]")
_GLOB_CLASS = re.compile(r"\[!?(?:[A-Za-z0-9](?:-[A-Za-z0-9])?)+\]")


def regex_problem(pattern: str) -> str | None:
    """Return why *pattern* may match differently in OPA, or None."""
    index, inside = 0, False
    while index < len(pattern):
        rest = pattern[index:]
        if rest[0] == "\\":
            problem, step = _escape(rest[1:2]), 2
        elif inside:
            problem, step = _in_class(rest)
            inside = rest[0] != "]"
        else:
            problem, step = _outside(rest)
            inside = rest[0] == "["
        if problem is not None:
            return problem
        index += step
    return None


def _in_class(rest: str) -> tuple[str | None, int]:
    """Return the problem at the beginning of *rest*, and how many characters were looked at."""
    name = _CLASS_NAME.match(rest)
    if name:
        return None, name.end()
    if rest[0] == "[":
        return "a bracket inside a class: escape it", 1
    if rest[:2] in {"&&", "--", "~~"}:
        return f"{rest[:2]} inside a class, which OPA takes as plain characters", 1
    return None, 1


def _outside(rest: str) -> tuple[str | None, int]:
    if rest[0] == "[":
        # A closing bracket right at the beginning is a member of the class.
        opening = re.match(r"\[\^?\]?", rest)
        assert opening is not None
        return None, opening.end()
    if rest.startswith("(?"):
        return _group(rest[2:]), 1
    if rest[0] == "{":
        repeat = _REPEAT.match(rest)
        if repeat is None:
            return "a brace that is no repetition: escape it", 1
        if any(bound and int(bound) > _MAX_REPEAT for bound in repeat.groups()):
            return f"a repetition over {_MAX_REPEAT}, which OPA refuses", 1
    return None, 1


def _escape(character: str) -> str | None:
    if character in set("wWdDsSbB"):
        return (
            f"\\{character}, which matches other characters in the embedded engine (all of Unicode): "
            "write the class out, [A-Za-z0-9_] for \\w, [0-9] for \\d"
        )
    if character in _PUNCTUATION or character in _SIMPLE_ESCAPES:
        return None
    return f"the escape \\{character}, which the engines may read differently"


def _group(rest: str) -> str | None:
    if rest.startswith(("P<", ":", "<")):
        return (
            None if not rest.startswith(("<=", "<!")) else "look-behind, which neither engine has"
        )
    flags = re.match(r"[A-Za-z-]*", rest)
    assert flags is not None
    wrong = set(flags[0]) - _FLAGS
    if wrong or rest[flags.end() : flags.end() + 1] not in {")", ":"}:
        return "a group that the engines may read differently"
    return None


def glob_problem(pattern: str) -> str | None:
    """Return why *pattern* may match differently in OPA, or None."""
    rest = _GLOB_CLASS.sub("", pattern)
    if "\\" in rest:
        return "a backslash"
    if "[" in rest or "]" in rest:
        return "a class other than letters and digits with ranges and a leading !"
    depth = 0
    for character in rest:
        depth += (character == "{") - (character == "}")
        if depth not in {0, 1}:
            return "braces that are nested or unbalanced"
    return "braces that are unbalanced" if depth else None
