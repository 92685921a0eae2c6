"""Finds bodies that can never be true, because a condition is always false, conditions contradict
each other, or a path does not exist in any input.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.authoring.lints.flow import Definition, RuleFrame, ValueFlow
from guardrail.authoring.lints.guards import conditions, type_check
from guardrail.authoring.lints.shape import CONSTANTS, InputShape, written
from guardrail.authoring.lints.walk import Event, EventKind
from guardrail.policy.rego.tree import Node, kind, line_of, nodes, reference

__all__ = ["check", "check_read", "is_certain"]

_SEPARATE = "write a separate rule for each alternative"
_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": str.__contains__,
    "endswith": str.endswith,
    "startswith": str.startswith,
}
_LITERALS = frozenset({"String", "RawString", "Number", "Bool", "Null"})


def check(definition: Definition, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint for each body that can't be true, and for each read of a path that does not
    exist in any input.
    """
    file, rule = definition.module.source.name, definition.rule
    frame = RuleFrame(definition)
    for body in rule.node.get("bodies", ()):
        for line, why, hint in _contradictions(body["query"], flow, frame):
            yield Lint(
                file,
                line or rule.line,
                Code.NEVER_FIRES,
                f"this {rule.name} rule never fires: {why}",
                hint,
            )
    for line, part, similar in _unknown(definition, flow, shape):
        yield _unknown_input(file, line or rule.line, part, similar)
    for line, path, hint in _missing_data(definition, flow):
        yield Lint(
            file,
            line or rule.line,
            Code.UNKNOWN_DATA,
            f"data.{path} does not exist, so a condition on it never holds",
            hint,
        )


def check_read(event: Event, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint if a function reads, from its argument, a path that no input has."""
    frame = event.frame
    if event.what is not EventKind.READ or not frame.bindings:
        return
    if frame.definition.module.source.installed:
        return
    for origin in flow.origins(event.node, frame):
        unknown = shape.unknown(origin.path)
        if unknown is not None:
            yield _unknown_input(event.file, event.line, *unknown)


def _unknown_input(file: str, line: int, part: str, similar: str) -> Lint:
    return Lint(
        file,
        line,
        Code.UNKNOWN_INPUT,
        f"input.{part} does not exist, so a condition on it never holds",
        f"did you mean {similar!r}?"
        if similar
        else "docs/writing-policies.md lists the fields of the input",
    )


def is_certain(node: Node, flow: ValueFlow, frame: RuleFrame) -> bool:
    """Return True if a condition holds for every call because it compares literals, or because it
    compares a constant input value with that constant.
    """
    if _constant(node) is not None:
        return _constant(node) is True
    if kind(node) not in {"BoolExpr", "AssignExpr"}:
        return False
    content = node[next(iter(node))]
    for one, other in ((content["lhs"], content["rhs"]), (content["rhs"], content["lhs"])):
        value, subject = _value(other), _subject(one, flow, frame)
        known = CONSTANTS.get(subject or "")
        if content["op"] == "Eq" and value is not None and known is not None:
            return value == json.dumps(known[0])
    return False


# Paths.


def _missing_data(definition: Definition, flow: ValueFlow) -> Iterator[tuple[int, str, str]]:
    """Yield each reference to a value below ``data`` that neither a rule nor the data document
    defines.
    """
    seen: set[str] = set()
    for name, content in nodes(definition.rule.node):
        found = reference({name: content})
        if found is None:
            continue
        at = definition.scope.resolve(found)
        if at.root != "data" or not at.static or flow.world.defines(at.static):
            continue
        if any(at.static[: len(given)] == given for given in flow.given):
            continue
        path = ".".join(at.static)
        if any(path == longer or longer.startswith(f"{path}.") for longer in seen):
            continue  # every prefix of a reference is also a separate node
        seen.add(path)
        file = "/".join([*at.static[:-1], "data.json"])
        yield (
            line_of({name: content}),
            path,
            f"add it to {file} in the policy folder, or correct the name"
            if flow.world.owner(at.static) is None
            else "correct the name: the package has no rule with that name",
        )


def _unknown(
    definition: Definition, flow: ValueFlow, shape: InputShape
) -> Iterator[tuple[int, str, str]]:
    frame = RuleFrame(definition)
    seen: set[str] = set()
    for name, content in nodes(definition.rule.node):
        node = {name: content}
        found = reference(node)
        if name == "Call":
            callee = reference(content["fcn"])
            if callee is None or callee.dotted != "object.get":
                continue
        elif found is None or (found.head in definition.rule.local and not found.parts):
            continue
        for origin in flow.origins(node, frame):
            unknown = shape.unknown(origin.path)
            if unknown is not None and unknown[0] not in seen:
                seen.add(unknown[0])
                yield line_of(node), *unknown


# Contradictions.


@dataclass(slots=True)
class _PossibleValues:
    """The values that are still possible after the conditions seen so far, each as JSON."""

    possible: frozenset[str] | None = None
    excluded: set[str] = field(default_factory=set)
    types: frozenset[str] | None = None

    def only(self, values: frozenset[str]) -> bool:
        """Keep only *values*. Return True if any values are left."""
        self.possible = values if self.possible is None else self.possible & values
        return self._has_values()

    def without(self, value: str) -> bool:
        self.excluded.add(value)
        return self._has_values()

    def of_type(self, type_: str) -> bool:
        self.types = frozenset([type_]) if self.types is None else self.types & {type_}
        return bool(self.types)

    def _has_values(self) -> bool:
        return self.possible is None or bool(self.possible - self.excluded)


def _contradictions(
    query: Node, flow: ValueFlow, frame: RuleFrame
) -> Iterator[tuple[int, str, str]]:
    known: dict[str, _PossibleValues] = {}
    for node in conditions(query):
        constant = _constant(node)
        if constant is False:
            yield line_of(node), "one of its conditions is always false", _SEPARATE
            return
        fixed = _fixed_value_conflict(node, flow, frame)
        if fixed is not None:
            yield line_of(node), *fixed
            return
        problem = _contradiction(node, flow, frame, known)
        if problem is not None:
            yield line_of(node), problem, _SEPARATE
            return


def _fixed_value_conflict(node: Node, flow: ValueFlow, frame: RuleFrame) -> tuple[str, str] | None:
    """Return (reason, suggestion) if a condition contradicts an input value that is the same in
    every call, otherwise None.
    """
    for place, (value, hint) in CONSTANTS.items():
        known = {
            place: _PossibleValues(frozenset([json.dumps(value)]), types=frozenset(["string"]))
        }
        if _contradiction(node, flow, frame, known) is not None or _conflicts_with_text(
            node, place, value, flow, frame
        ):
            return f'{place} is always "{value}"', hint
    return None


def _conflicts_with_text(
    node: Node, place: str, value: str, flow: ValueFlow, frame: RuleFrame
) -> bool:
    """Return True if *node* requires *place* to begin with, end with or contain a string, but
    *value*, the only possible value, does not.
    """
    if kind(node) != "Call":
        return False
    callee, given = reference(node["Call"]["fcn"]), node["Call"]["params"]
    judge = _TEXTS.get(callee.dotted or "") if callee is not None else None
    if judge is None or len(given) != 2 or _subject(given[0], flow, frame) != place:
        return False
    other = json.loads(_value(given[1]) or "null")
    return isinstance(other, str) and not judge(value, other)


def _contradiction(
    node: Node, flow: ValueFlow, frame: RuleFrame, known: dict[str, _PossibleValues]
) -> str | None:
    name = kind(node)
    if name == "Call":
        checked = type_check(node["Call"])
        if checked is not None:
            subject = _subject(checked[0], flow, frame)
            if subject is not None and not known.setdefault(subject, _PossibleValues()).of_type(
                checked[1]
            ):
                return f"its conditions require {subject} to have two types"
        return None
    if name == "Membership":
        content = node["Membership"]
        values = _listed(content["collection"])
        subject = _subject(content["value"], flow, frame)
        if values is not None and subject is not None and not content.get("key"):
            return _narrowed(known, subject, values)
        return None
    if name not in {"BoolExpr", "AssignExpr"} or node[name]["op"] not in {"Eq", "Ne"}:
        return None
    content = node[name]
    for one, other in ((content["lhs"], content["rhs"]), (content["rhs"], content["lhs"])):
        value, subject = _value(other), _subject(one, flow, frame)
        if value is None or subject is None:
            continue
        if content["op"] == "Ne":
            ok = known.setdefault(subject, _PossibleValues()).without(value)
            return (
                None
                if ok
                else f"its conditions require {subject} both to have and not to have the same value"
            )
        return _narrowed(known, subject, frozenset([value]))
    return None


def _narrowed(
    known: dict[str, _PossibleValues], subject: str, values: frozenset[str]
) -> str | None:
    if known.setdefault(subject, _PossibleValues()).only(values):
        return None
    return f"its conditions require {subject} to have two values at once"


def _subject(node: Node, flow: ValueFlow, frame: RuleFrame) -> str | None:
    """Return a key that identifies the value that *node* reads, or None if the value can change
    within the body.
    """
    found = reference(node)
    if found is None:
        return None
    origins = flow.origins(node, frame)
    if len(origins) == 1 and None not in origins[0].path:
        return f"input.{written(origins[0].path)}"
    if origins or found.head == "_":
        return None
    return found.dotted


def _listed(node: Node) -> frozenset[str] | None:
    name = kind(node)
    if name not in {"Array", "Set"}:
        return None
    values = [_value(item) for item in node[name]["items"]]
    return None if None in values else frozenset(value for value in values if value is not None)


def _value(node: Node) -> str | None:
    """Return a literal as JSON. The results for 1 and 1.0 are equal; those for 1 and true
    differ.
    """
    name = kind(node)
    if name not in _LITERALS:
        return None
    value = node[name].get("value")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def _constant(node: Node) -> bool | None:
    """Return the value of a condition that contains only literals, or None for any other
    condition.
    """
    name = kind(node)
    if name == "Bool":
        return bool(node["Bool"]["value"])
    if name == "Null":
        return True
    if name not in {"BoolExpr", "AssignExpr"}:
        return None
    content: dict[str, Any] = node[name]
    one, other = _value(content["lhs"]), _value(content["rhs"])
    if one is None or other is None:
        return None
    if content["op"] == "Eq":
        return one == other
    if content["op"] == "Ne":
        return one != other
    sides = [json.loads(one), json.loads(other)]
    if any(isinstance(side, bool) or not isinstance(side, int | float) for side in sides):
        return None
    first, second = sides
    return {
        "Lt": first < second,
        "Le": first <= second,
        "Gt": first > second,
        "Ge": first >= second,
    }.get(str(content["op"]))
