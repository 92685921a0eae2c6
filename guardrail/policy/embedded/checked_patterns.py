"""Checks patterns that a policy computes, with the rules by which the preflight checks literal
ones, and computed keys of objects.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. The rules
are in two modules that do not import guardrail either; they are read when the first pattern is
checked.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_MOST = 1_000
_CHECKED: dict[tuple[str, str], str] = {}
_RULES: dict[str, Any] = {}


def _rules(name: str) -> dict[str, Any]:
    """Return the names defined in a module of ``guardrail.policy.rego``."""
    if name not in _RULES:
        import os

        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        path = os.path.join(folder, "rego", name + ".py")
        with open(path, encoding="utf-8") as stream:
            code = compile(stream.read(), path, "exec")
        found: dict[str, Any] = {"__name__": name}
        exec(code, found)  # noqa: S102 - a file of this package
        _RULES[name] = found
    return dict(_RULES[name])


def _checked(kind: str, text: object, check: Callable[[str], str]) -> str:
    if not isinstance(text, str):
        raise ValueError("not a text")
    known = _CHECKED.get((kind, text))
    if known is None:
        if len(_CHECKED) >= _MOST:
            _CHECKED.clear()
        known = _CHECKED[kind, text] = check(text)
    return known


def _no_problem(problem: str | None) -> None:
    if problem is not None:
        raise ValueError("a pattern that the engines may read differently")


def _regex(text: str) -> str:
    classes = _rules("pattern_classes")
    _no_problem(_rules("patterns")["regex_problem"](classes["explicit_classes"](text)))
    return str(classes["ascii_pattern"](text))


def _glob(text: str) -> str:
    _no_problem(_rules("patterns")["glob_problem"](text))
    return text


def _replacement(text: str) -> str:
    _no_problem(_rules("patterns")["template_problem"](text))
    return text


def pattern(text: object) -> str:
    """Return a regular expression in the form in which the engine reads it as OPA does."""
    return _checked("regex", text, _regex)


def glob(text: object) -> str:
    """Return a glob pattern that the engine reads as OPA does."""
    return _checked("glob", text, _glob)


def replacement(text: object) -> str:
    """Return a replacement for a regular expression that the engine reads as OPA does."""
    return _checked("replacement", text, _replacement)


def key(given: object, others: list[object]) -> object:
    """Return a key of an object, which must differ from the object's other keys."""
    if not isinstance(given, str):
        if given is not None and not isinstance(given, bool | int | float):
            raise ValueError("a key that is not a text, a number, a boolean or null")
        if not all(isinstance(other, str) for other in others):
            raise ValueError("several keys that are not texts")
    elif given in others:
        raise ValueError("two equal keys")
    return given


def template_pattern(template: object, start: object, end: object) -> str:
    """Return the regular expression for a template, whose parts between *start* and *end* are
    regular expressions. Everything else stands for itself.
    """
    for text in (template, start, end):
        if not isinstance(text, str):
            raise ValueError("not a text")
    assert isinstance(template, str)
    assert isinstance(start, str)
    assert isinstance(end, str)
    if len(start.encode("utf-8")) != 1 or len(end.encode("utf-8")) != 1:
        raise ValueError("a delimiter of several bytes")
    written: list[str] = []
    level = opened = 0
    for index, character in enumerate(template):
        if character == start:
            level += 1
            if level == 1:
                opened = index
        elif character == end:
            level -= 1
            if level < 0:
                raise ValueError("unbalanced delimiters")
            if level == 0:
                part = template[opened + 1 : index]
                # OPA compiles each part by itself, too.
                pattern(f"^{part}$")
                written.append(f"({part})")
        elif level == 0:
            written.append("\\" + character if character in _SPECIAL else character)
    if level:
        raise ValueError("unbalanced delimiters")
    return pattern("^" + "".join(written) + "$")


_SPECIAL = frozenset("\\.+*?()|[]{}^$")
"""Characters that Go escapes."""


def is_regex(text: object) -> bool:
    """Return True if *text* is a regular expression. Raises ``ValueError`` if it may not be."""
    if not isinstance(text, str):
        return False
    if text[:1] in {"*", "+", "?"}:
        return False
    pattern(text)
    return True


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "guardrail.glob": (1, glob),
    "guardrail.key": (2, key),
    "guardrail.pattern": (1, pattern),
    "guardrail.replacement": (1, replacement),
    "guardrail.template_pattern": (3, template_pattern),
    "regex.is_valid": (1, is_regex),
}
"""Number of arguments and replacement of each function, by name."""
