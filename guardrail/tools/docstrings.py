"""Parses function docstrings in Google, NumPy and Sphinx style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

__all__ = ["read_docstring"]

_GOOGLE = re.compile(r"(Args|Arguments|Parameters|Params):\s*\Z")
_GOOGLE_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:\s*(.*)")
_SECTION = re.compile(
    r"(Args|Arguments|Attributes|Examples?|Keyword Args|Keyword"
    r" Arguments|Notes?|Parameters|Params|Raises|Returns"
    r"|See Also|References|Warnings?|Warns|Yields):?\s*\Z"
)
_UNDERLINE = re.compile(r"-{3,}\s*\Z")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_FIELD = re.compile(r":\w+[^:]*:")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Return the description (the text before the first section), and the descriptions of the
    parameters, keyed by name.
    """
    lines = inspect.cleandoc(text or "").splitlines()
    head: list[str] = []
    for number, line in enumerate(lines):
        if _FIELD.match(line) or _starts_section(lines, number):
            break
        head.append(line)
    parameters = _sphinx(lines)
    for number, line in enumerate(lines):
        if not _starts_section(lines, number):
            continue
        if number + 1 < len(lines) and _UNDERLINE.match(lines[number + 1]):
            if line.strip().rstrip(":") in {"Parameters", "Other Parameters"}:
                parameters |= _numpy(lines[number + 2 :])
        elif _GOOGLE.match(line):
            parameters |= _google(lines[number + 1 :])
    return "\n".join(head).strip(), parameters


def _starts_section(lines: list[str], number: int) -> bool:
    line = lines[number]
    if not _SECTION.match(line):
        return False
    underlined = number + 1 < len(lines) and _UNDERLINE.match(lines[number + 1]) is not None
    return underlined or line.rstrip().endswith(":")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _join(parts: Iterable[str]) -> str:
    return " ".join(part.strip() for part in parts if part.strip())


def _google(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    name, depth = "", 0
    for line in lines:
        if not line.strip():
            continue
        if not _indent(line):
            break
        item = _GOOGLE_ITEM.match(line.strip())
        if item and (not name or _indent(line) <= depth):
            name, depth = item[1], _indent(line)
            found[name] = [item[2]]
        elif name:
            found[name].append(line)
    return {key: _join(parts) for key, parts in found.items()}


def _numpy(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for number, line in enumerate(lines):
        if number + 1 < len(lines) and _UNDERLINE.match(lines[number + 1]):
            break
        if line.strip() and not _indent(line):
            names = [part.strip(" *") for part in line.split(":")[0].split(",")]
            found |= {name: [] for name in names}
        else:
            for name in names:
                found[name].append(line)
    return {key: _join(parts) for key, parts in found.items()}


def _sphinx(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        item = _SPHINX.match(line.strip())
        if item:
            name = item[1]
            found[name] = [item[2]]
        elif not line.strip() or _FIELD.match(line.strip()):
            name = ""
        elif name:
            found[name].append(line)
    return {key: _join(parts) for key, parts in found.items()}
