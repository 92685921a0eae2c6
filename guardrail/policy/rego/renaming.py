"""Makes names unambiguous by renaming variables that shadow another variable, an argument, an
import or a rule.

In OPA, a declaration (``some``, ``:=``, ``every``) creates a new variable, whose scope is the rest
of its body. The embedded engine rejects ``some name in xs`` if the name is already used, reads the
outer value for the variable declared by ``some name``, and misses some declarations in
comprehensions. A deny rule may then not fire. guardrail's own checks also identify variables by
name, so they would confuse variables with the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from guardrail.policy.rego.tree import Module, Node, RegoRule, kind, nodes

__all__ = ["renamed"]

_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEPT = frozenset({"_", "input", "data"})
"""Names that are never renamed. OPA and the preflight reject declarations of the last two."""


def renamed(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with every shadowing variable renamed. Line numbers
    do not change.
    """
    packages: dict[tuple[str, ...], list[Module]] = {}
    for module in modules:
        packages.setdefault(module.package, []).append(module)
    rules, taken = {}, {}
    for package, members in packages.items():
        rules[package] = frozenset(rule.name for module in members for rule in module.rules)
        taken[package] = {word for module in members for word in _WORD.findall(module.source.text)}
    return [_text(module, rules[module.package], taken[module.package]) for module in modules]


def _text(module: Module, rules: frozenset[str], taken: set[str]) -> str:
    raw = module.source.text.encode("utf-8")
    hidden = rules.union(item.alias for item in module.imports if not item.ignored)
    renamer = _Renamer(raw, taken)
    for rule in module.rules:
        renamer.rule(rule, hidden)
    if not renamer.edits:
        return module.source.text
    pieces: list[bytes] = []
    at = 0
    for (start, end), name in sorted(renamer.edits.items()):
        pieces += [raw[at:start], name.encode("utf-8")]
        at = end
    return b"".join([*pieces, raw[at:]]).decode("utf-8")


class _Scope:
    """A body, and the names that are visible in its lines."""

    def __init__(
        self, outer: dict[str, str], hidden: frozenset[str], barred: frozenset[str]
    ) -> None:
        self.names = dict(outer)
        """New name of each renamed variable."""
        self.hidden = hidden
        """Names that are defined outside this body. A declaration of such a name shadows that
        definition.
        """
        self.below = hidden
        """Names that are defined outside the bodies nested in this body."""
        self.barred = set(barred)
        """Names that can't be declared (again) in this body."""


class _Renamer:
    """Finds the locations in a file at which a name must be replaced."""

    def __init__(self, raw: bytes, taken: set[str]) -> None:
        self.edits: dict[tuple[int, int], str] = {}
        self._raw = raw
        self._taken = taken
        """All names in the package. New names must differ from them."""

    def rule(self, rule: RegoRule, hidden: frozenset[str]) -> None:
        """Find the locations in *rule* at which a name must be replaced. *hidden* are the names of
        the rules and imports in the rule's file.
        """
        if rule.default or not rule.local:
            return
        head = next(iter(rule.node["head"].values()))
        top = _Scope({}, hidden, _KEPT)
        arguments = head.get("args") or []
        self._declare(arguments, top)
        names = frozenset(content["value"] for name, content in nodes(arguments) if name == "Var")
        terms = [*rule.head.dynamic, head.get("key"), head.get("assign")]
        bodies = rule.node["bodies"] or [{"query": {"stmts": []}}]
        for body in bodies:
            # An argument can't be declared again, because OPA rejects the declaration.
            scope = _Scope(top.names, hidden | names, _KEPT | names)
            self._query(body["query"], [*terms, body.get("assign")], scope)
            terms = []

    def _query(self, query: Any, terms: list[Any], scope: _Scope) -> None:
        """Process the lines of *query* in order, and then *terms*, in which the declarations of all
        lines are visible.
        """
        scope.below = scope.hidden | frozenset(_direct([query, terms]))
        for statement in query["stmts"]:
            literal = statement["literal"]
            for change in statement.get("with_mods") or ():
                self._use(change, scope)
            name = kind(literal)
            if name == "SomeVars":
                for span in literal["SomeVars"]["vars"]:
                    self._declare_span(span, scope)
            elif name == "SomeIn":
                content = literal["SomeIn"]
                self._use(content["collection"], scope)
                self._declare([content.get("key"), content["value"]], scope)
            else:
                given: Any = (literal.get("Expr") or {}).get("expr")
                if kind(given) == "AssignExpr" and given["AssignExpr"]["op"] == "ColEq":
                    self._use(given["AssignExpr"]["rhs"], scope)
                    self._declare(given["AssignExpr"]["lhs"], scope)
                else:
                    self._use(literal, scope)
        self._use(terms, scope)

    def _use(self, node: Any, scope: _Scope) -> None:
        name = kind(node)
        content = node[name] if name is not None else node
        if name == "Var":
            self._write(content["span"], content["value"], scope)
        elif name in _COMPREHENSIONS:
            inner = _Scope(scope.names, scope.below, _KEPT)
            terms = [value for key, value in content.items() if key not in {"query", "span"}]
            self._query(content["query"], terms, inner)
        elif name == "Every":
            self._use(content["domain"], scope)
            inner = _Scope(scope.names, scope.below, _KEPT)
            for span in (content.get("key"), content["value"]):
                if span:
                    self._declare_span(span, inner)
            below = scope.below | frozenset(map(self._source_text, _spans(content)))
            self._query(content["query"], [], _Scope(inner.names, below, _KEPT))
        else:
            for child in _children(content):
                self._use(child, scope)

    def _declare(self, pattern: Any, scope: _Scope) -> None:
        for name, content in nodes(pattern):
            if name == "Var":
                self._declare_span(content["span"], scope)

    def _declare_span(self, span: Node, scope: _Scope) -> None:
        name = self._source_text(span)
        if name not in scope.barred:
            scope.barred.add(name)
            scope.names.pop(name, None)
            if name in scope.hidden:
                scope.names[name] = self._unused_name(name)
        self._write(span, name, scope)

    def _write(self, span: Node, name: str, scope: _Scope) -> None:
        if name in scope.names and self._source_text(span) == name:
            self.edits[span["start"], span["end"]] = scope.names[name]

    def _unused_name(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _source_text(self, span: Node) -> str:
        return self._raw[span["start"] : span["end"]].decode("utf-8")


def _spans(every: dict[str, Any]) -> list[Node]:
    return [span for span in (every.get("key"), every["value"]) if span]


def _direct(node: Any) -> Iterator[str]:
    """Yield the variables in *node*, except those that occur only in nested bodies."""
    name = kind(node)
    if name == "Var":
        yield node["Var"]["value"]
    elif name == "Every":
        yield from _direct(node["Every"]["domain"])
    elif name not in _COMPREHENSIONS:
        for child in _children(node):
            yield from _direct(child)


def _children(node: Any) -> list[Any]:
    """Return the direct children of a node, without their positions in the text."""
    if isinstance(node, dict):
        return [v for key, v in node.items() if key != "span" and isinstance(v, dict | list)]
    return [item for item in node if isinstance(item, dict | list)] if node else []
