"""Moves the computations in a rule's head into its body.

If a rule's head is undefined for the last element that its body iterates over, the embedded engine
discards the rule's results for all elements, whereas OPA skips only that element. If the undefined
expression is in the body, both engines skip only that element. Therefore, ``deny contains r.name if
some r in xs`` is evaluated as ``deny contains x if { some r in xs; x := r.name }``. OPA gives the
original the same meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.errors import Finding
from guardrail.policy.rego.conditions import SERVER, ConstructRefusal
from guardrail.policy.rego.tree import Module, Node, RegoRule, kind
from guardrail.policy.rego.world import RuleScope
from guardrail.policy.tokens import Token, tokens

__all__ = [
    "TextEdit",
    "UnreadableRule",
    "chained_bodies",
    "deferred_results",
    "head_edits",
    "head_terms",
]

_CONSTANTS = frozenset({"String", "RawString", "Number", "Bool", "Null"})
_VALUED = frozenset({b":=", b"=", b"contains"})
_OPENING, _CLOSING = frozenset({b"(", b"[", b"{"}), frozenset({b")", b"]", b"}"})


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Replaces some bytes of a file."""

    start: int
    end: int
    pieces: tuple[tuple[bytes, int], ...]
    """The new bytes in pieces, each with its corresponding position in the file."""


class UnreadableRule(Exception):
    """The text of a rule does not match its syntax tree. ``finding`` contains the location."""

    def __init__(self, module: Module, rule: RegoRule) -> None:
        super().__init__()
        self.finding = Finding(
            module.source.name,
            rule.line,
            "head-term",
            (
                "the embedded engine evaluates the value in this rule's head differently "
                "from OPA, and it can't be moved into the body"
            ),
            f"write x := ... as the last line of the body, and use x in the head, or {SERVER}",
        )


@dataclass(frozen=True, slots=True)
class _Clause:
    """One value of a rule, with its body."""

    term: tuple[int, int] | None
    """Range of bytes of the computed part of the head, or None if nothing is computed."""
    body: tuple[Token, Token] | None
    """First and last token after ``if``."""
    end: int
    """Position after the clause's last byte."""


def chained_bodies(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield each body of a rule that follows another body without ``else``.

    For such a body, the engine leaves the rule undefined or gives it a value that differs from
    OPA's.
    """
    for body in scope.rule.node.get("bodies", [])[1:]:
        if not body["is_else"]:
            yield (
                int(body["span"]["line"]),
                ConstructRefusal(
                    "chained-body",
                    (
                        "the rule has a second body after the first: the embedded engine "
                        "gives that body the value true, or no value"
                    ),
                    f"repeat the rule's head, with if, before the second body, or {SERVER}",
                ),
            )


def head_terms(rule: RegoRule, named: frozenset[str]) -> tuple[list[Node], list[list[Node]]]:
    """Return the terms that must be computed in the body: those in the head's key, and a list for
    each value. *named* are the names of rules and imports, which can be undefined. A variable is
    always defined when the head is evaluated.
    """
    bodies = rule.node.get("bodies", [])
    if rule.default or not all(body["is_else"] for body in bodies[1:]):
        return [], []
    head = next(iter(rule.node["head"].values()))
    keys = [part for part in rule.head.dynamic if not _is_defined(part, named)]
    first = head.get("key") or (head.get("assign") or {}).get("value")
    values = [first, *((body["assign"] or {}).get("value") for body in bodies[1:])]
    return keys, [[value] if value and not _is_defined(value, named) else [] for value in values]


def _is_defined(node: Node, named: frozenset[str]) -> bool:
    """Return True if *node* contains no call and is certainly defined."""
    name = kind(node)
    if name in _CONSTANTS:
        return True
    if name == "Var":
        return node["Var"]["value"] not in named
    if name in {"Array", "Set"}:
        return all(_is_defined(item, named) for item in node[name]["items"])
    if name == "Object":
        return all(_is_defined(item, named) for f in node["Object"]["fields"] for item in f[1:])
    return False


def head_edits(
    module: Module, raw: bytes, named: frozenset[str], fresh: Callable[[], str]
) -> Iterator[TextEdit]:
    """Yield the edits that move the computed terms of the heads in *module* into the bodies.

    *fresh* generates an unused name. Raises ``UnreadableRule`` with the line of the rule.
    """
    ordered = sorted(module.rules, key=lambda rule: int(rule.node["span"]["start"]))
    starts = [*(int(rule.node["span"]["start"]) for rule in ordered), len(raw)]
    for rule, end in zip(ordered, starts[1:], strict=True):
        keys, values = head_terms(rule, named)
        if not keys and not any(values):
            continue
        key, clauses = _parse_head(list(tokens(raw, int(rule.node["span"]["start"]), end)))
        if len(clauses) != len(values) or len(keys) > (key is not None):
            raise UnreadableRule(module, rule)
        bodies = rule.node["bodies"] or [None]
        for clause, body, value in zip(clauses, bodies, values, strict=True):
            if (value and clause.term is None) or bool(clause.body) != _has_statements(body):
                raise UnreadableRule(module, rule)
            terms = [
                term for term in (key if keys else None, clause.term if value else None) if term
            ]
            keys = []
            if terms:
                given = [(fresh().encode(), *term) for term in terms]
                yield from _move_edits(
                    raw, clause, given, body, sorted(deferred_results(body) - named)
                )


def deferred_results(body: Any) -> frozenset[str]:
    """Return the names that receive the result of a call: the call is a line of *body*, and the
    name is its last argument. The engine defers such a call, together with the lines that need the
    result.
    """
    found: set[str] = set()
    for statement in body["query"]["stmts"] if body else ():
        given: Any = (statement["literal"].get("Expr") or {}).get("expr")
        if kind(given) == "Call" and len(given["Call"]["params"]) > 1:
            found.update(_bound_names(given["Call"]["params"][-1]))
    return frozenset(found - {"_"})


def _bound_names(pattern: Any) -> Iterator[str]:
    name = kind(pattern)
    if name == "Var":
        yield pattern["Var"]["value"]
    elif name in {"Array", "Set"}:
        for item in pattern[name]["items"]:
            yield from _bound_names(item)
    elif name == "Object":
        for field in pattern["Object"]["fields"]:
            yield from _bound_names(field[2])


def _has_statements(body: Any) -> bool:
    return bool(body and body["query"]["stmts"])


def _move_edits(
    raw: bytes,
    clause: _Clause,
    terms: Sequence[tuple[bytes, int, int]],
    body: Any,
    behind: Sequence[str],
) -> Iterator[TextEdit]:
    """Yield the edits that move each of *terms* (name, first byte, byte after the last) to the end
    of *body*, so that they are evaluated after the lines that assign *behind*.
    """
    lines: list[tuple[bytes, int]] = []
    for name, start, end in terms:
        # The number of lines must not change, so that the rest of the head's last line keeps its
        # line number.
        ends = [(b"\n", at) for at in range(start, end) if raw[at : at + 1] == b"\n"]
        yield TextEdit(start, end, (*ends, (name, end - 1)))
        opening, closing = b"", b""
        if behind:
            opening, closing = b"[(", f"), {', '.join(behind)}][0]".encode()
        lines += [(b"\n", start), (name + b" := " + opening, start), (raw[start:end], start)]
        lines.append((closing, end - 1))
    if clause.body is None:
        at = clause.end
        yield TextEdit(at, at, ((b" if {", at - 1), *lines, (b"\n}", at - 1)))
        return
    first, last = clause.body
    if first.written == b"{" and int(body["query"]["stmts"][0]["span"]["start"]) > first.start:
        yield TextEdit(last.start, last.start, (*lines, (b"\n", last.start)))
        return
    yield TextEdit(first.start, first.start, ((b"{", first.start),))
    yield TextEdit(last.end, last.end, (*lines, (b"\n}", last.end - 1)))


def _parse_head(written: Sequence[Token]) -> tuple[tuple[int, int] | None, list[_Clause]]:
    """Return the range of bytes between the brackets of a rule's head, and its clauses."""
    key: tuple[int, int] | None = None
    clauses: list[_Clause] = []
    marks: list[int] = []
    """Indices of the tokens that introduce a clause's value or body: ``:=``, ``=``, ``contains``,
    ``if``.
    """
    depth, opened, begun = 0, 0, 0
    for index, token in enumerate(written):
        if token.written in _CLOSING:
            depth -= 1
            if not depth and not marks and not clauses and token.written == b"]":
                key = (written[opened + 1].start, written[index - 1].end)
        elif token.written in _OPENING:
            opened = opened if depth else index
            depth += 1
        elif not depth and index and written[index - 1].written != b".":
            if token.written == b"else":
                clauses.append(
                    _parse_clause(written[begun:index], [mark - begun for mark in marks])
                )
                begun, marks = index, []
            elif token.written == b"if" or (not marks and token.written in _VALUED):
                marks.append(index)
    clauses.append(_parse_clause(written[begun:], [mark - begun for mark in marks]))
    return key, clauses


def _parse_clause(written: Sequence[Token], marks: Sequence[int]) -> _Clause:
    size = len(written)
    body = next((mark for mark in marks if written[mark].written == b"if"), size)
    valued = next((mark for mark in marks if mark + 1 < body), None)
    return _Clause(
        term=None if valued is None else (written[valued + 1].start, written[body - 1].end),
        body=(written[body + 1], written[-1]) if body + 1 < size else None,
        end=written[-1].end,
    )
