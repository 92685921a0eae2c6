"""Describes arguments with wrong names in a denial, so that the next call can use the right
names.
"""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, Final

from guardrail.core.schema.declared import list_names, names_at
from guardrail.core.schema.json_copy import MISSING_ARGUMENT, UNKNOWN_ARGUMENT
from guardrail.core.schema.names import declared
from guardrail.errors import ArgumentsError, RedactionError
from guardrail.tools.tool import Tool

__all__ = ["describe_misnamed"]

_ABOUT_NAMES: Final = frozenset({"missing", "model", "unknown_argument"})
_OBJECTS: Final = (dict, OrderedDict, defaultdict)
_LISTS: Final = (list, tuple)
_NAMED_IN_MODEL: Final = (UNKNOWN_ARGUMENT, MISSING_ARGUMENT)
"""Types of a Python model's errors that concern the names at the error's location."""
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_SHOWN = 4
_MAX_LOOKED_AT = 64
"""Maximum number of a call's argument names that are compared with the declared names."""


def describe_misnamed(
    error: ArgumentsError, args: object, tool: Tool, redact: Callable[[str], str]
) -> str:
    """Return the text to append to the message of *error*: the passed arguments that *tool* does
    not declare, and the arguments that it declares. If the error is inside an argument, the text is
    about the members of the innermost object around the error.

    The text is empty if all passed names are declared, or if *error* is not about names.

    A name is shown only if it is a short identifier that *redact* leaves unchanged, because the
    model chose the name, which can be a secret or an instruction. Other names are only counted.
    """
    if tool.schema is None or error.detail not in _ABOUT_NAMES or not _is_one_of(args, _OBJECTS):
        return ""
    path, place = _object_at(args, error)
    known = names_at(tool.schema.schema, path) if path else declared(tool.schema.schema)
    if known is None:
        return ""
    accepted = known
    if not path:  # a model can accept its fields by their own names as well
        accepted = known | tool.parameters.keys()
    given = list(place)
    unknown = [
        each for each in given[:_MAX_LOOKED_AT] if type(each) is str and each not in accepted
    ]
    if not unknown:
        return ""
    shown = [name for name in unknown if _PLAIN.fullmatch(name)][:_MAX_SHOWN]
    shown = [name for name in shown if _is_clean(name, redact)]
    rest = len(unknown) - len(shown)
    descriptions = [_with_suggestion(name, known) for name in shown]
    if rest:
        descriptions.append(f"and {rest} more" if descriptions else _count_unnamed(rest))
    names = list_names(known)
    listed = f"; {names}" if names and names not in error.message else ""
    return f"; not declared: {', '.join(descriptions)}{listed}"


def _object_at(args: Any, error: ArgumentsError) -> tuple[list[str | int], Any]:
    """Return the innermost object in *args* that contains the location of *error*, and that
    object's path.
    """
    path: list[str | int] = []
    found: tuple[list[str | int], Any] = (path, args)
    about_names = error.detail != "model" or any(each in error.message for each in _NAMED_IN_MODEL)
    if not about_names:
        return found
    value = args
    for written in error.pointer.split("/")[1:]:
        name = written.replace("~1", "/").replace("~0", "~")
        step: str | int = name
        if _is_one_of(value, _LISTS) and name.isdecimal() and int(name) < len(value):
            step = int(name)
        elif not _is_one_of(value, _OBJECTS) or name not in value:
            break
        value, path = value[step], [*path, step]
        if _is_one_of(value, _OBJECTS):
            found = (path, value)
    return found


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    return any(type(value) is each for each in types)  # a hostile type may have no hash


def _is_clean(name: str, redact: Callable[[str], str]) -> bool:
    try:
        return redact(name) == name
    except RedactionError:
        return False


def _with_suggestion(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known)[:_MAX_LOOKED_AT], n=1)
    plain = near and _PLAIN.fullmatch(near[0])
    return f"{name} (did you mean {near[0]!r}?)" if plain else name


def _count_unnamed(count: int) -> str:
    return "1 name that is not shown" if count == 1 else f"{count} names that are not shown"
