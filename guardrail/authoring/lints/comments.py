"""Parses comments that suppress a lint: ``# guardrail:ignore CODE reason``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guardrail.policy.rego.tree import Module

__all__ = ["Suppression", "comments", "ignores"]

_MARK = re.compile(r"#\s*guardrail:ignore\b[ \t]*(?P<codes>[^\s#]*)[ \t]*(?P<reason>.*)")


@dataclass(frozen=True, slots=True)
class Suppression:
    """A suppression comment, and the lines that it applies to."""

    line: int
    codes: frozenset[str]
    """The codes as written: ``code``, or ``code:/pointer`` for a single argument."""
    reason: str
    first: int
    last: int

    def covers(self, line: int, code: str, detail: str = "") -> bool:
        """Return True if the comment suppresses *code* on *line*. A comment can limit the
        suppression to one *detail*, after a colon.
        """
        named = {code} if not detail else {code, f"{code}:{detail}"}
        return bool(self.reason) and self.first <= line <= self.last and bool(self.codes & named)


def comments(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, True if the comment is alone on its line) for each comment. A ``#`` inside
    a string is not a comment.
    """
    line, start, index, size = 1, 0, 0, len(text)
    while index < size:
        character = text[index]
        if character == "\n":
            line, start, index = line + 1, index + 1, index + 1
        elif character == "#":
            end = text.find("\n", index)
            end = size if end < 0 else end
            yield line, text[index:end].rstrip(), not text[start:index].strip()
            index = end
        elif character == "`":
            end = text.find("`", index + 1)
            end = size if end < 0 else end + 1
            line += text.count("\n", index, end)
            start = text.rfind("\n", 0, end) + 1
            index = end
        elif character == '"':
            index += 1
            while index < size and text[index] not in '"\n':
                index += 2 if text[index] == "\\" else 1
            index += 1 if index < size and text[index] == '"' else 0
        else:
            index += 1


def ignores(module: Module) -> list[Suppression]:
    """Return the suppression comments of *module*.

    A comment after code applies to that line, a comment alone on a line to the next line of code,
    and a comment before a rule to the whole rule.
    """
    found = list(comments(module.source.text))
    alone = {line for line, _, single in found if single}
    lines = module.source.text.split("\n")
    spans = {rule.line: _last_line(rule.node, rule.line) for rule in module.rules}
    result = []
    for line, text, single in found:
        match = _MARK.match(text)
        if match is None:
            continue
        target = line
        if single:
            target = next(
                (
                    number
                    for number in range(line + 1, len(lines) + 1)
                    if number not in alone and lines[number - 1].strip()
                ),
                line,
            )
        codes = frozenset(code for code in match["codes"].split(",") if code)
        result.append(
            Suppression(line, codes, match["reason"].strip(), target, spans.get(target, target))
        )
    return result


def _last_line(node: object, line: int) -> int:
    """Return the last line on which a part of *node* begins."""
    last = line
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            number = item.get("line")
            if isinstance(number, int):
                last = max(last, number)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return last


def misplaced(module: Module, known: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for each suppression comment that has no effect."""
    codes = frozenset(known)
    for ignore in ignores(module):
        unknown = sorted(code for code in ignore.codes if code.partition(":")[0] not in codes)
        if not ignore.codes or unknown:
            yield ignore.line, "guardrail:ignore has an unknown warning code"
        elif not ignore.reason:
            yield ignore.line, "guardrail:ignore without a reason has no effect"
