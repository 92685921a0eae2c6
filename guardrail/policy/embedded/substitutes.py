"""Replacements for built-in functions whose results in the engine differ from OPA's. They return
the same results as OPA.

The worker replaces the engine's own functions with these. Like the worker, this module does not
import guardrail, because it is loaded without site-packages. A function raises ``ValueError`` if
OPA returns no result either.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]


def lower(text: str) -> str:
    """Return *text* in lower case as OPA does: character by character, regardless of the
    neighbouring characters.
    """
    text = _require_string(text)
    if text.isascii():
        return text.lower()
    return "".join([character.lower()[0] for character in _require_stable_case(text)])


def upper(text: str) -> str:
    """Return *text* in upper case as OPA does: a character whose upper case consists of several
    characters is left unchanged or converted to title case.
    """
    text = _require_string(text)
    if text.isascii():
        return text.upper()
    return "".join([_uppercase(character) for character in _require_stable_case(text)])


def characters(text: str) -> int:
    """Return the number of characters in *text*. The engine's ``count`` counts UTF-16
    code units.
    """
    return len(_require_string(text))


def replace(text: str, old: str, new: str) -> str:
    """Return *text* with *old* replaced by *new*.

    If *old* is empty, OPA inserts *new* even between the bytes of a character.
    """
    if not _require_string(old) and not _require_string(text).isascii():
        raise ValueError("nothing to replace, in a text that is not ASCII")
    return _require_string(text).replace(old, _require_string(new))


_LATER = (
    frozenset("\u019b\u0264\u1c89\u1c8a")
    | frozenset(map(chr, (*range(0xA7CB, 0xA7D0), *range(0xA7D2, 0xA7D6), *range(0xA7DA, 0xA7DD))))
    | frozenset(map(chr, (*range(0x10D50, 0x10D86), *range(0x16EA0, 0x16ED4))))
)
"""Letters that have had a case mapping only since Unicode 16 or 17. The Unicode versions of Python
and OPA are unknown here.
"""


def _require_stable_case(text: str) -> str:
    if not _LATER.isdisjoint(text):
        raise ValueError("a letter whose other case depends on the version of Unicode")
    return text


def _uppercase(character: str) -> str:
    big = character.upper()
    if len(big) > 1:
        big = character.title()
    return big if len(big) == 1 else character


def _require_string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def urlquery_encode(text: str) -> str:
    """Return *text* encoded for a URL query."""
    found = []
    for character in _require_string(text):
        if character in _PLAIN:
            found.append(character)
        elif character == " ":
            found.append("+")
        else:
            found += [f"%{byte:02X}" for byte in character.encode("utf-8")]
    return "".join(found)


def urlquery_encode_object(values: dict[str, Any]) -> str:
    """Return keys and values encoded for a URL query, sorted by key."""
    if not isinstance(values, dict):
        raise ValueError("not an object")
    found = []
    for key in sorted(map(_require_string, values)):
        value = values[key]
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list | set):
            raise ValueError("neither a text nor several")
        texts = list(map(_require_string, several))
        ordered = sorted(texts) if isinstance(several, set) else texts
        found += [f"{urlquery_encode(key)}={urlquery_encode(one)}" for one in ordered]
    return "&".join(found)


_PATTERNS: dict[str, list[Any]] = {}
_MOST_PATTERNS = 1000


def glob_match(pattern: str, delimiters: list[str] | None, text: str) -> bool:
    """Return True if *pattern* matches all of *text*. ``*`` and ``?`` do not match *delimiters*
    (default: ``.``); ``**`` matches anything. Supports the patterns that the preflight accepts.
    """
    parts = _PATTERNS.get(_require_string(pattern))
    if parts is None:
        if len(_PATTERNS) >= _MOST_PATTERNS:
            _PATTERNS.clear()
        parts = _PATTERNS[pattern] = _parse_glob(pattern)
    barred = frozenset() if delimiters is None else frozenset(delimiters or ".")
    return len(_require_string(text)) in _match_ends(parts, {0}, text, barred)


def _parse_glob(pattern: str) -> list[Any]:
    """Return the parsed pattern: characters as strings, wildcards as lists with one item, classes
    as dicts, and alternatives as tuples.
    """
    found: list[Any] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        if character == "{":
            end = pattern.index("}", index)
            found.append(tuple(_parse_glob(one) for one in pattern[index + 1 : end].split(",")))
            index = end + 1
        elif character == "[":
            end = pattern.index("]", index)
            found.append(_parse_class(pattern[index + 1 : end]))
            index = end + 1
        elif character in "*?":
            wide = pattern.startswith("**", index)
            found.append(["**" if wide else character])
            index += 1 + wide
        else:
            found.append(character)
            index += 1
    return found


def _parse_class(text: str) -> dict[str, bool]:
    """Parse the contents of a glob character class such as ``a-z`` or ``!a-z``. Return a dict with
    one key per character; the value of the key ``""`` is True if the class is negated.
    """
    inverted = text.startswith("!")
    found = {"": inverted}
    index = int(inverted)
    while index < len(text):
        ranged = text[index + 1 : index + 2] == "-"
        last = text[index + 2] if ranged else text[index]
        found.update((chr(code), True) for code in range(ord(text[index]), ord(last) + 1))
        index += 3 if ranged else 1
    return found


def _match_ends(parts: list[Any], starts: set[int], text: str, barred: frozenset[str]) -> set[int]:
    """Return the positions at which *parts* can end in *text* if they begin at any of *starts*."""
    for part in parts:
        if not starts:
            return starts
        if isinstance(part, str):
            starts = {at + 1 for at in starts if text[at : at + 1] == part}
        elif isinstance(part, tuple):
            starts = set().union(*(_match_ends(one, starts, text, barred) for one in part))
        elif isinstance(part, dict):
            starts = {at + 1 for at in starts if at < len(text) and (text[at] in part) != part[""]}
        elif part == ["?"]:
            starts = {at + 1 for at in starts if at < len(text) and text[at] not in barred}
        elif part == ["**"]:
            starts = set(range(min(starts), len(text) + 1))
        else:
            reached: set[int] = set()
            for at in range(min(starts), len(text) + 1):
                if at in starts or (at - 1 in reached and text[at - 1] not in barred):
                    reached.add(at)
            starts = reached
    return starts


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "glob.match": (3, glob_match),
    "guardrail.characters": (1, characters),
    "lower": (1, lower),
    "replace": (3, replace),
    "upper": (1, upper),
    "urlquery.encode": (1, urlquery_encode),
    "urlquery.encode_object": (1, urlquery_encode_object),
}
"""(number of arguments, replacement) for each function, keyed by name."""
