"""Replaces parts of a policy's text, and finds the extent of expressions in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.policy.rego.tree import Module, Node, RegoRule, kind
from guardrail.policy.tokens import on_one_line, tokens

__all__ = [
    "Extents",
    "Splice",
    "Statement",
    "end_of",
    "fresh_names",
    "spliced",
    "statements",
]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = frozenset({"String", "RawString"})
_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})


@dataclass(frozen=True, slots=True)
class Splice:
    """Replaces the bytes from ``start`` up to ``end`` with ``written``."""

    start: int
    end: int
    written: bytes


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """Return *text* with all *splices*, which must not overlap. Splices at the same position are
    written in their order.
    """
    raw = text.encode("utf-8")
    pieces: list[bytes] = []
    at = 0
    for splice in sorted(splices, key=lambda splice: (splice.start, splice.end)):
        if splice.start < at:
            raise ValueError("two changes of a policy's text overlap")
        pieces += [raw[at : splice.start], splice.written]
        at = splice.end
    return b"".join([*pieces, raw[at:]]).decode("utf-8") if pieces else text


def fresh_names(modules: Sequence[Module]) -> Callable[[], str]:
    """Return a function that returns a name that occurs in none of *modules*, a different one each
    time.
    """
    taken = {word for module in modules for word in _WORD.findall(module.source.text)}
    number = 0

    def fresh() -> str:
        nonlocal number
        while f"__h{number}" in taken:
            number += 1
        number += 1
        return f"__h{number - 1}"

    return fresh


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of a body: a literal with its replacements (``with``)."""

    rule: RegoRule
    literal: Node
    changes: Sequence[Any]
    """Its ``with`` clauses."""
    start: int
    end: int
    braced: bool
    """False if it follows ``if`` without braces."""
    missing: bool = False
    """True if it stands for the body of a rule that has none."""

    def before(self, lines: Sequence[bytes]) -> list[Splice]:
        """Return the splices that insert *lines* before this statement, on the same line of the
        file.
        """
        written = b"".join(line + b"; " for line in lines)
        if self.braced:
            return [Splice(self.start, self.start, written)]
        return [Splice(self.start, self.start, b"{ " + written), Splice(self.end, self.end, b" }")]

    def after(self, lines: Sequence[bytes]) -> list[Splice]:
        """Return the splices that insert *lines* after this statement, on the same line of the
        file.
        """
        written = b"".join(b"; " + line for line in lines)
        if self.missing:
            return [Splice(self.end, self.end, b" if { " + b"; ".join(lines) + b" }")]
        if self.braced:
            return [Splice(self.end, self.end, written)]
        return [
            Splice(self.start, self.start, b"{ "),
            Splice(self.end, self.end, written + b" }"),
        ]


def end_of(raw: bytes, span: Node) -> int:
    """Return the position after the last byte of *span*. The parser leaves out the last quotation
    mark if the span ends with a string.
    """
    end = int(span["end"])
    return end + (raw[end : end + 1] in {b'"', b"`"})


def statements(rule: RegoRule, raw: bytes) -> Iterator[Statement]:
    """Yield the lines of every body in *rule*, including those of comprehensions and ``every``."""
    stack: list[Any] = [rule.node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "stmts" in item:
                yield from _lines(rule, item, raw)
            stack += [value for key, value in item.items() if key != "span"]
        elif isinstance(item, list):
            stack += item


def _lines(rule: RegoRule, query: Node, raw: bytes) -> Iterator[Statement]:
    lines = query["stmts"]
    if not lines:
        return
    begin = int(query["span"]["start"])
    opening = raw[begin : begin + 1]
    braced = opening in {b"{", b"|"} and int(lines[0]["span"]["start"]) > begin
    for line in lines:
        yield Statement(
            rule=rule,
            literal=line["literal"],
            changes=line.get("with_mods") or (),
            start=int(line["span"]["start"]),
            end=end_of(raw, line["span"]),
            braced=braced or len(lines) > 1,
        )


class Extents:
    """Finds the bytes of the expressions in one rule."""

    def __init__(self, rule: RegoRule, raw: bytes) -> None:
        self._raw = raw
        self._start = int(rule.node["span"]["start"])
        self._end = end_of(raw, rule.node["span"])
        self._openings: dict[int, int] | None = None

    def of(self, node: Node) -> tuple[int, int]:
        """Return the position of the first byte of *node*, and the position after its last byte."""
        name = kind(node)
        assert name is not None
        span = node[name]["span"]
        start, end = int(span["start"]), end_of(self._raw, span)
        if name in _QUOTED:
            return start - 1, end
        if name == "Object":
            # The parser reports the position of the last field.
            return self._opening_of(end), end
        return start, end

    def text(self, node: Node) -> bytes:
        """Return the text of *node* as written."""
        start, end = self.of(node)
        return self._raw[start:end]

    def on_one_line(self, node: Node) -> bytes | None:
        """Return the text of *node* on one line, or None if it can't be written on one line."""
        start, end = self.of(node)
        if b"\n" not in self._raw[start:end]:
            return self._raw[start:end]
        if contains_body(node):
            # In a body, an end of line separates two statements.
            return None
        written = on_one_line(self._raw, start, end)
        return None if b"\n" in written else written

    def blank_lines(self, node: Node) -> bytes:
        """Return as many line ends as *node* contains."""
        return b"\n" * self.text(node).count(b"\n")

    def _opening_of(self, end: int) -> int:
        if self._openings is None:
            self._openings = {}
            stack: list[int] = []
            for token in tokens(self._raw, self._start, self._end):
                if token.written in {b"{", b"[", b"("}:
                    stack.append(token.start)
                elif token.written in {b"}", b"]", b")"} and stack:
                    self._openings[token.end] = stack.pop()
        return self._openings[end]


def contains_body(node: Any) -> bool:
    """Return True if *node* contains a comprehension."""
    if isinstance(node, dict):
        return kind(node) in _COMPREHENSIONS or any(map(contains_body, node.values()))
    return isinstance(node, list) and any(map(contains_body, node))
