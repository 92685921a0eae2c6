"""Finds the facts about the input that a body's other conditions guarantee: checked types, present
values, and possible tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from guardrail.authoring.lints.flow import (
    LIB_ARGS,
    Definition,
    RuleFrame,
    ValueFlow,
    literal,
    literal_name,
)
from guardrail.authoring.lints.shape import ARGS, Path, Tools
from guardrail.policy.rego.tree import Node, kind, reference

__all__ = [
    "PRESENT",
    "Guards",
    "PathGuard",
    "conditions",
    "guards",
    "tools_named",
    "tools_of",
    "type_check",
]

PRESENT = "present"
_TOOL: Path = ("resource", "id")
_CHECKS = {
    "is_array": "array",
    "is_boolean": "boolean",
    "is_null": "null",
    "is_number": "number",
    "is_object": "object",
    "is_string": "string",
}
_MAX_DEPTH = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PathGuard:
    """A fact about a path that a condition guarantees."""

    path: Path
    type: str
    """A JSON type, or ``PRESENT``."""


Guards: TypeAlias = "frozenset[PathGuard]"


def conditions(query: Node | None) -> Iterator[Node]:
    """Yield the plain expressions of a body, all of which must hold."""
    for statement in (query or {}).get("stmts", ()):
        content = statement["literal"].get("Expr")
        if content is not None and not statement.get("with_mods"):
            yield content["expr"]


def guards(query: Node | None, flow: ValueFlow, frame: RuleFrame, depth: int = 0) -> Guards:
    """Return the facts that *query* guarantees, including those guaranteed by the rules and
    functions that it uses.
    """
    found: set[PathGuard] = set()
    for node in conditions(query):
        found |= _guards_of(node, flow, frame, depth)
    return frozenset(found)


def _guards_of(node: Node, flow: ValueFlow, frame: RuleFrame, depth: int) -> Guards:
    name = kind(node)
    if name == "Call":
        return _guards_of_call(node["Call"], flow, frame, depth)
    if name == "Membership":
        return frozenset(_guards_of_keys(node["Membership"], flow, frame))
    if name in {"BoolExpr", "AssignExpr"} and node[name]["op"] == "Eq":
        return frozenset(_guards_of_type_name(node[name], flow, frame))
    if name in {"Var", "RefDot", "RefBrack"}:
        found = reference(node)
        assert found is not None
        definitions, _ = flow.named(found, frame)
        key = (id(definitions), depth)
        if definitions and key not in flow.guards_of_name:
            flow.guards_of_name[key] = _common(
                definitions,
                depth,
                lambda item: guards_of_rule(item, flow, RuleFrame(item), depth + 1),
            )
        return flow.guards_of_name[key] if definitions else frozenset()
    return frozenset()


def _guards_of_call(content: Node, flow: ValueFlow, frame: RuleFrame, depth: int) -> Guards:
    callee, given = reference(content["fcn"]), content["params"]
    if callee is None or not given:
        return frozenset()
    checked = type_check(content)
    if checked is not None:
        return frozenset(PathGuard(at.path, checked[1]) for at in flow.origins(checked[0], frame))
    if callee.head == "data" and callee.static[:-1] == LIB_ARGS:
        name = literal_name(given[0])
        ensured = {"has": PRESENT, "number_within": "number"}.get(callee.static[-1])
        return frozenset(
            [PathGuard((*ARGS, name), ensured)] if ensured and name is not None else []
        )
    definitions, _ = flow.named(callee, frame)

    def ask(item: Definition) -> Guards:
        called = flow.called(item, given, frame)
        return guards_of_rule(item, flow, called, depth + 1) if called else frozenset()

    return _common(definitions, depth, ask)


def type_check(content: Node) -> tuple[Node, str] | None:
    """Return the argument of an ``is_...`` call and the type that it tests, or None for any other
    call.
    """
    callee, given = reference(content["fcn"]), content["params"]
    type_ = _CHECKS.get(callee.dotted or "") if callee is not None else None
    return (given[0], type_) if type_ is not None and given else None


def _guards_of_keys(content: Node, flow: ValueFlow, frame: RuleFrame) -> Iterator[PathGuard]:
    """Yield the facts that ``"amount" in object.keys(args)`` guarantees."""
    name, collection = literal_name(content["value"]), content["collection"]
    if name is None or kind(collection) != "Call":
        return
    callee = reference(collection["Call"]["fcn"])
    if callee is not None and callee.dotted == "object.keys":
        for origin in flow.origins(collection["Call"]["params"][0], frame):
            yield PathGuard((*origin.path, name), PRESENT)


def _guards_of_type_name(content: Node, flow: ValueFlow, frame: RuleFrame) -> Iterator[PathGuard]:
    """Yield the facts that ``type_name(x) == "number"`` guarantees."""
    for one, other in ((content["lhs"], content["rhs"]), (content["rhs"], content["lhs"])):
        type_name = literal_name(other)
        if type_name is None or kind(one) != "Call":
            continue
        callee = reference(one["Call"]["fcn"])
        if callee is not None and callee.dotted == "type_name":
            for origin in flow.origins(one["Call"]["params"][0], frame):
                yield PathGuard(origin.path, type_name)


def guards_of_rule(definition: Definition, flow: ValueFlow, frame: RuleFrame, depth: int) -> Guards:
    """Return the facts that hold if *definition* has a value: those that every one of its bodies
    guarantees.
    """
    if definition.rule.default or depth > _MAX_DEPTH or not flow.spend():
        return frozenset()
    if not frame.bindings and definition.key in flow.guards_of:
        return flow.guards_of[definition.key]
    bodies = definition.rule.node["bodies"]
    found = _intersection(guards(body["query"], flow, frame, depth) for body in bodies)
    if not frame.bindings:
        flow.guards_of[definition.key] = found
    return found


def _common(
    definitions: Sequence[Definition], depth: int, ask: Callable[[Definition], Guards]
) -> Guards:
    """Return the facts that hold no matter which of *definitions* supplied the value. A default
    other than false does not guarantee any facts.
    """
    plain = [item for item in definitions if not item.module.source.installed]
    if not plain or depth > _MAX_DEPTH or any(item.rule.form == "set" for item in plain):
        return frozenset()
    applicable = [item for item in plain if not _is_default_false(item)]
    return _intersection(ask(item) for item in applicable)


def _is_default_false(definition: Definition) -> bool:
    # The condition does not hold for the value of ``default ok := false``.
    return definition.rule.default and literal(definition.rule.node.get("value")) is False


def _intersection(sets: Iterable[frozenset[_T]]) -> frozenset[_T]:
    result: frozenset[_T] | None = None
    for item in sets:
        result = item if result is None else result & item
    return result if result is not None else frozenset()


# The tools that a body can apply to.


def tools_of(query: Node | None, flow: ValueFlow, frame: RuleFrame, depth: int = 0) -> Tools:
    """Return the tools for which the conditions of *query* can hold, or None if no condition
    compares the tool's name.
    """
    found: Tools = None
    for node in conditions(query):
        tools = _tools(node, flow, frame, depth)
        if tools is not None:
            found = tools if found is None else found & tools
    return found


def tools_named(node: Node, flow: ValueFlow, frame: RuleFrame) -> frozenset[str]:
    """Return the tools that a single condition compares the call's tool with."""
    if kind(node) not in {"BoolExpr", "AssignExpr", "Membership"}:
        return frozenset()
    return _tools(node, flow, frame, 0) or frozenset()


def _tools(node: Node, flow: ValueFlow, frame: RuleFrame, depth: int) -> Tools:
    name = kind(node)
    if name in {"BoolExpr", "AssignExpr"} and node[name]["op"] == "Eq":
        content = node[name]
        for one, other in ((content["lhs"], content["rhs"]), (content["rhs"], content["lhs"])):
            tool = literal_name(other)
            if tool is not None and _is_tool(one, flow, frame):
                return frozenset([tool])
    elif name == "Membership" and _is_tool(node[name]["value"], flow, frame):
        return _listed(node[name]["collection"], flow)
    elif name in {"Var", "RefDot", "RefBrack"} and depth <= _MAX_DEPTH:
        found = reference(node)
        assert found is not None
        definitions, _ = flow.named(found, frame)
        key = (id(definitions), depth)
        if definitions and key not in flow.tools_of_name:
            flow.tools_of_name[key] = _tools_of_name(definitions, flow, depth)
        return flow.tools_of_name[key] if definitions else None
    return None


def _tools_of_name(definitions: Sequence[Definition], flow: ValueFlow, depth: int) -> Tools:
    said_by = [item for item in definitions if not _is_default_false(item)]
    if not said_by or not all(item.rule.form == "value" for item in said_by):
        return None
    return _either(_tools_of_rule(item, flow, depth + 1) for item in said_by)


def _tools_of_rule(definition: Definition, flow: ValueFlow, depth: int) -> Tools:
    if definition.rule.default or definition.module.source.installed or not flow.spend():
        return None
    bodies = definition.rule.node["bodies"]
    return _either(tools_of(body["query"], flow, RuleFrame(definition), depth) for body in bodies)


def _either(said: Iterable[Tools]) -> Tools:
    found: frozenset[str] = frozenset()
    empty = True
    for item in said:
        if item is None:
            return None
        found, empty = found | item, False
    return None if empty else found


def _is_tool(node: Any, flow: ValueFlow, frame: RuleFrame) -> bool:
    origins = flow.origins(node, frame)
    return len(origins) == 1 and origins[0].path == _TOOL


def _listed(node: Node, flow: ValueFlow) -> Tools:
    """Return the strings in a literal collection in the policy or in the data."""
    name = kind(node)
    if name in {"Array", "Set"}:
        items = [literal_name(item) for item in node[name]["items"]]
        return None if None in items else frozenset(item for item in items if item is not None)
    found = reference(node)
    if found is None or found.head != "data" or found.dotted is None:
        return None
    value: Any = flow.world.data
    for part in found.static:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return frozenset(value)
    return None
