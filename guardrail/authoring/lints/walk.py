"""Walks all rules that the decision depends on, and finds expressions that let a call through if
they are undefined.

A condition on a missing value is itself undefined, and rules that depend on it do not fire. If such
a rule is a deny rule, it lets the call through: the expression is *open*. Under ``not``, the
opposite applies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guardrail.authoring.lints.flow import Definition, RuleFrame, ValueFlow, literal
from guardrail.authoring.lints.guards import Guards, guards, tools_of
from guardrail.policy.rego.tree import Node, RegoRule, kind, line_of, reference

__all__ = ["CLOSING", "ROOTS", "Event", "EventKind", "walk"]

CLOSING = frozenset({"deny", "require_approval"})
"""Rule sets whose rules can let a call through by not firing."""
ROOTS = CLOSING | {"allow", "redact", "hide"}
PACKAGE = ("guardrail", "policy")
_MAX_CONTEXTS = 5_000
_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_ORDER = frozenset({"Lt", "Le", "Gt", "Ge"})


class EventKind(StrEnum):
    """Kind of an expression."""

    READ = "read"
    COMPARISON = "comparison"
    """One of ``< <= > >=``."""
    CALL = "call"
    DIVISION = "division"
    """``/`` or ``%``."""
    NEGATION = "negation"
    """``not`` before any expression."""


@dataclass(frozen=True, slots=True)
class Event:
    """One expression that a lint may report."""

    what: EventKind
    node: Node
    frame: RuleFrame
    open: bool
    """True if a call may be let through when the expression is undefined."""
    guards: Guards
    root: RegoRule
    """The decision rule that depends on the expression."""

    @property
    def line(self) -> int:
        """Line of the expression."""
        return line_of(self.node) or self.frame.definition.rule.line

    @property
    def file(self) -> str:
        """The author's file that contains the expression."""
        return self.frame.definition.module.source.name


def walk(flow: ValueFlow) -> Iterator[Event]:
    """Yield every event in the authors' decision rules and in the rules that they depend on. The
    work is bounded, whatever the policies contain.
    """
    walker = _RuleWalker(flow)
    for name in sorted(ROOTS):
        for definition in flow.definitions.get((PACKAGE, name), ()):
            if not definition.module.source.installed and not definition.rule.default:
                walker.root = definition.rule
                walker.enter(RuleFrame(definition), open=name in CLOSING)
                yield from walker.run()


class _RuleWalker:
    def __init__(self, flow: ValueFlow) -> None:
        self.flow = flow
        self.root: RegoRule
        self.events: list[Event] = []
        self._todo: list[tuple[RuleFrame, bool]] = []
        self._seen: set[object] = set()
        self.followed: set[object] = set()
        """The names that were followed in the same state, so that many references to a name with
        many rules take linear time.
        """

    def run(self) -> Iterator[Event]:
        """Walk the queued rules and the rules that they lead to, and yield their events."""
        while self._todo:
            self._rule(*self._todo.pop())
            yield from self.events
            self.events.clear()

    def enter(self, frame: RuleFrame, *, open: bool) -> None:  # noqa: A002 - the word of this module
        """Queue the rule of *frame*, unless it has already been visited in the same state."""
        given = tuple(
            (name, self.flow.origins(node, caller))
            for name, (node, caller) in sorted(frame.bindings.items())
        )
        key = (frame.definition.key, open, frame.tools, given)
        if key not in self._seen and len(self._seen) < _MAX_CONTEXTS:
            self._seen.add(key)
            self._todo.append((frame, open))

    def _rule(self, frame: RuleFrame, open_: bool) -> None:
        rule = frame.definition.rule
        if rule.default:
            return
        head = next(iter(rule.node["head"].values()))
        outside = {key: value for key, value in head.items() if key not in {"refr", "args"}}
        bodies = rule.node["bodies"]
        if not bodies and rule.name not in ROOTS:
            _BodyWalker(self, frame, open_, frozenset()).visit(outside)
        for index, body in enumerate(bodies):
            said = tools_of(body["query"], self.flow, frame)
            tools = (
                frame.tools if said is None else said if frame.tools is None else said & frame.tools
            )
            here = RuleFrame(frame.definition, frame.bindings, tools)
            known = guards(body["query"], self.flow, here)
            looking = _BodyWalker(self, here, open_, known)
            looking.query(body["query"])
            if body.get("assign"):
                looking.visit(body["assign"])
            elif index == 0 and rule.name not in ROOTS:
                # The values in the head of a decision rule are handled separately.
                looking.visit(outside)


@dataclass(slots=True)
class _BodyWalker:
    """Walks the body of one rule, with the facts that are known in this body."""

    walker: _RuleWalker
    frame: RuleFrame
    open: bool
    guards: Guards
    negated: bool = False
    """True inside an operand under ``not`` that has been reported as a whole."""

    def _emit(self, what: EventKind, node: Node) -> None:
        if self.negated and what is EventKind.READ:
            return
        self.walker.events.append(
            Event(what, node, self.frame, self.open, self.guards, self.walker.root)
        )

    def _with_open(self, open_: bool) -> _BodyWalker:
        return (
            self if open_ is self.open else _BodyWalker(self.walker, self.frame, open_, self.guards)
        )

    def _operand(self) -> _BodyWalker:
        return _BodyWalker(self.walker, self.frame, self.open, self.guards, negated=True)

    def query(self, query: Node | None) -> None:
        """Visit every statement of a body."""
        for statement in (query or {}).get("stmts", ()):
            for change in statement.get("with_mods") or ():
                self.visit(change["as"])
            name, content = next(iter(statement["literal"].items()))
            if name == "Expr":
                self.visit(content["expr"])
            elif name == "NotExpr":
                self._emit(EventKind.NEGATION, content["expr"])
                self._negated(content["expr"])
            elif name == "SomeIn":
                self.visit(content["collection"])
            elif name == "Every":
                self.visit(content["domain"])
                self._walk_nested(content["query"])

    def _walk_nested(self, query: Node) -> None:
        known = self.guards | guards(query, self.walker.flow, self.frame)
        _BodyWalker(self.walker, self.frame, self.open, known).query(query)

    def visit(self, node: Any) -> None:
        """Visit *node* and its descendants as an expression that must be defined."""
        name = kind(node)
        if name in {"Var", "RefDot", "RefBrack"}:
            self._reference(node)
        elif name in _COMPREHENSIONS:
            self._comprehension(node[name], self.open)
        elif name == "Call":
            self._call(node)
        elif name == "BoolExpr":
            self._comparison(node)
        else:
            if name == "ArithExpr" and node[name]["op"] in {"Div", "Mod"}:
                self._emit(EventKind.DIVISION, node)
            content = node[name] if name is not None else node
            below = content.values() if isinstance(content, dict) else content
            if isinstance(content, dict | list):
                for child in below:
                    self.visit(child)

    def _comprehension(self, content: Node, open_: bool) -> None:
        known = self.guards | guards(content["query"], self.walker.flow, self.frame)
        inside = _BodyWalker(self.walker, self.frame, open_, known)
        inside.query(content["query"])
        inside.visit({key: content[key] for key in ("term", "key", "value") if content.get(key)})

    def _reference(self, node: Node) -> None:
        self._emit(EventKind.READ, node)
        found = reference(node)
        assert found is not None
        if found.base is not None:
            self.visit(found.base)
        for part in found.dynamic:
            self.visit(part)
        self._follow(self.walker.flow.named(found, self.frame)[0])

    def _follow(self, definitions: Sequence[Definition]) -> None:
        # A name always has the same list of rules.
        key = (id(definitions), self.open, self.frame.tools)
        if not definitions or key in self.walker.followed:
            return
        self.walker.followed.add(key)
        for definition in definitions:
            rule = definition.rule
            if definition.module.source.installed or rule.form == "function":
                continue
            frame = RuleFrame(definition, tools=self.frame.tools)
            if not _is_name_for_input(rule, self.walker.flow, frame):
                self.walker.enter(frame, open=self.open)

    def _call(self, node: Node) -> None:
        content = node["Call"]
        self._emit(EventKind.CALL, node)
        for parameter in content["params"]:
            self.visit(parameter)
        self._function(content)

    def _function(self, content: Node) -> None:
        callee = reference(content["fcn"])
        if callee is None:
            return
        for definition in self.walker.flow.named(callee, self.frame)[0]:
            called = self.walker.flow.called(definition, content["params"], self.frame)
            if called is not None:
                self.walker.enter(called, open=self.open)

    def _comparison(self, node: Node) -> None:
        content = node["BoolExpr"]
        if content["op"] in _ORDER:
            self._emit(EventKind.COMPARISON, node)
        sides = (content["lhs"], content["rhs"])
        for side in sides:
            counted = _counted(side)
            if counted is not None and _wants_few(content, side):
                # Missing values make the count smaller, so the comparison is true.
                self._absorbed(counted, not self.open)
            else:
                self.visit(side)

    def _absorbed(self, node: Node, open_: bool) -> None:
        """Visit a collection that has a value even if one of its elements fails."""
        name = kind(node)
        if name in _COMPREHENSIONS:
            self._comprehension(node[name], open_)
            return
        found = reference(node)
        definitions = self.walker.flow.named(found, self.frame)[0] if found is not None else []
        if definitions and all(item.rule.form == "set" for item in definitions):
            self._with_open(open_)._follow(definitions)
        else:
            self.visit(node)

    def _negated(self, node: Node) -> None:
        """Visit ``not node``. Operands of calls are evaluated before ``not``; everything else is
        evaluated inside it.
        """
        name = kind(node)
        if name in {"Var", "RefDot", "RefBrack"}:
            self._negated_reference(node)
        elif name == "Call":
            for parameter in node["Call"]["params"]:
                self._operand().visit(parameter)
            self._with_open(not self.open)._function(node["Call"])
        elif name == "Membership":
            content = node["Membership"]
            for key in ("key", "value"):
                if content.get(key):
                    self._operand().visit(content[key])
            self._operand()._absorbed(content["collection"], not self.open)
        elif name in {"BoolExpr", "AssignExpr"} and node[name]["op"] == "Eq":
            for side in (node[name]["lhs"], node[name]["rhs"]):
                if kind(side) in {"Var", "RefDot", "RefBrack"}:
                    self._negated_reference(side)
                else:
                    self.visit(side)
        else:
            self._operand().visit(node)

    def _negated_reference(self, node: Node) -> None:
        found = reference(node)
        assert found is not None
        for part in found.dynamic:
            self.visit(part)
        other = self._with_open(not self.open)
        other._emit(EventKind.READ, node)
        if found.base is not None:
            other.visit(found.base)
        other._follow(self.walker.flow.named(found, self.frame)[0])


def _is_name_for_input(rule: RegoRule, flow: ValueFlow, frame: RuleFrame) -> bool:
    """Return True if *rule* is only an alias for an input path. Problems are then reported at the
    expressions that use the alias.
    """
    return rule.simple is not None and bool(flow.origins(rule.simple, frame))


def _counted(node: Node) -> Node | None:
    if kind(node) != "Call":
        return None
    callee = reference(node["Call"]["fcn"])
    if callee is None or callee.dotted != "count":
        return None
    return dict(node["Call"]["params"][0])


def _wants_few(content: Node, side: Node) -> bool:
    """Return True if the comparison is more likely to hold for a smaller value of *side*."""
    left = side is content["lhs"]
    other = content["rhs"] if left else content["lhs"]
    op = content["op"]
    if op == "Eq":
        return literal(other) == 0
    return op in ({"Lt", "Le"} if left else {"Gt", "Ge"})
