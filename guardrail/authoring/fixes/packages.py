"""Moves a file's package below ``guardrail.policy``, if no other file can notice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from guardrail.authoring.fixes.code_text import CodeText
from guardrail.policy.rego.contract import SETS

__all__ = ["fix_package"]

_ROOT = "guardrail.policy"
_PACKAGE = re.compile(r"^package[ \t]+([\w.]+)[ \t\r]*$", re.MULTILINE)
_DEFINED = re.compile(r"(?:default\s+)?([A-Za-z_]\w*)")
_KEYWORDS = frozenset({"package", "import", "else"})
_TESTS = "_test.rego"


def fix_package(code: CodeText, file: str, line: int, texts: Mapping[str, str]) -> str | None:
    """Return the text of *file* with its package, which is declared on *line*, in or below
    ``guardrail.policy``, or None if that could change another rule.

    A package with one of the sets becomes ``guardrail.policy``, and tests become
    ``guardrail.policy_test``. Nothing may refer to the old package by its name, because OPA has
    data and rules in one tree, and no rule may get another definition.
    """
    start, end = code.line(line)
    found = _PACKAGE.match(code.code, start, end)
    if found is None or found[1].startswith("guardrail"):
        return None
    old = found[1]
    first = re.compile(rf"\bdata\s*(?:\.\s*|\[\s*[\"`]){re.escape(old.split('.')[0])}\b")
    stem = re.compile(rf"\bdata\s*(?:\.\s*|\[\s*[\"`]){re.escape(_stem(old))}\b")
    if any(first.search(text) or stem.search(text) for text in texts.values()):
        return None
    together = [CodeText(text) for text in texts.values() if _package(text) == old]
    names = {name for each in together for name in _names(each)}
    new = _ROOT if names & SETS else f"{_ROOT}.{old}"
    if file.endswith(_TESTS):
        new = f"{_ROOT}_test"
    for text in texts.values():
        if _package(text) == new and (names - SETS) & {*_names(CodeText(text))}:
            return None
    return code.replace(found.start(1), found.end(1), new)


def _stem(package: str) -> str:
    return package.split(".", maxsplit=1)[0].removesuffix("_test")


def _package(text: str) -> str | None:
    found = _PACKAGE.search(CodeText(text).code)
    return found[1] if found else None


def _names(code: CodeText) -> Iterator[str]:
    """Yield the names of the rules in *code*."""
    for statement in code.statements():
        found = _DEFINED.match(statement)
        if found is not None and found[1] not in _KEYWORDS:
            yield found[1]
