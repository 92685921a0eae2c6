"""Traces values through names, rules and functions, back to the paths in the policy input that they
come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from guardrail.authoring.lints.shape import ARGS, Path, Tools
from guardrail.policy.rego.tree import (
    Module,
    Node,
    Reference,
    RegoRule,
    children,
    kind,
    nodes,
    reference,
)
from guardrail.policy.rego.world import PolicyIndex, RuleScope

__all__ = ["LIB_ARGS", "Binding", "Definition", "InputOrigin", "RuleFrame", "ValueFlow"]

LIB_ARGS = ("guardrail", "lib", "args")
_LIB_TYPES: dict[str, frozenset[str] | None] = {
    "list": frozenset(["array"]),
    "text": frozenset(["string"]),
    "value": None,
}
"""Functions in ``guardrail.lib.args`` that return an argument, and the types of their results."""
_MAX_STEPS = 24
_MAX_ORIGINS = 32
_MAX_QUESTIONS = 50_000


@dataclass(frozen=True, slots=True)
class InputOrigin:
    """One input path that a value may come from."""

    path: Path
    sure: bool = False
    """True if the expression has a value even if the path does not."""
    types: frozenset[str] | None = None
    """JSON type of the value, if the expression ensures one."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One rule in its module."""

    module: Module
    rule: RegoRule
    scope: RuleScope

    @property
    def key(self) -> int:
        """Unique key of this rule."""
        return id(self.rule)


@dataclass(frozen=True, slots=True)
class RuleFrame:
    """A rule in the context of a caller, with its arguments and the tools that it can apply to."""

    definition: Definition
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    tools: Tools = None

    @property
    def scope(self) -> RuleScope:
        """The scope of the names in the rule."""
        return self.definition.scope


Binding: TypeAlias = "tuple[Node, RuleFrame]"
"""An argument expression, and the frame of the caller that wrote it."""


class ValueFlow:
    """All modules, and the facts about their values that can be determined without evaluation."""

    def __init__(
        self, modules: Sequence[Module], data: Any, given: frozenset[tuple[str, ...]] = frozenset()
    ) -> None:
        """Trace values in *modules*. *given* contains the paths below ``data`` that the program
        supplies when it opens the guard.
        """
        self.world = PolicyIndex(modules, data)
        self.given = given
        self.definitions: dict[tuple[tuple[str, ...], str], list[Definition]] = {}
        for module in modules:
            for rule in module.rules:
                definition = Definition(module, rule, RuleScope(self.world, module, rule))
                self.definitions.setdefault((module.package, rule.name), []).append(definition)
        self._collections: dict[int, dict[str, Node | None]] = {}
        self._origins_of: dict[tuple[int, int, Path], tuple[InputOrigin, ...]] = {}
        self._rules_origins: dict[tuple[int, Path], tuple[InputOrigin, ...]] = {}
        self.guards_of: dict[int, frozenset[Any]] = {}
        """Results of ``lints.guards``, keyed by rule."""
        self.guards_of_name: dict[tuple[int, int], frozenset[Any]] = {}
        """Results of ``lints.guards``, keyed by the list in ``definitions`` and the depth."""
        self.tools_of_name: dict[tuple[int, int], Tools] = {}
        """The same for the tools that a name can apply to."""
        self._left = _MAX_QUESTIONS

    def spend(self) -> bool:
        """Count one query. Return False once there have been too many queries to finish in a
        reasonable time.
        """
        self._left -= 1
        return self._left > 0

    @property
    def exhausted(self) -> bool:
        """True if results were omitted because the limit on queries was reached."""
        return self._left <= 0

    def named(self, found: Reference, frame: RuleFrame) -> tuple[list[Definition], int]:
        """Return the rules that the reference *found* refers to, and the number of the reference's
        parts that form the rules' name. The list is empty if there are no such rules.
        """
        head = found.head
        if head is None or head in frame.definition.rule.local:
            return [], 0
        if head == "data":
            package = self.world.owner(found.static)
            if package is None:
                return [], 0
            return self.definitions.get((package, found.static[len(package)]), []), len(package) + 1
        if head in frame.scope.imports:
            return [], 0
        return self.definitions.get((frame.definition.module.package, head), []), 0

    # Values.

    def origins(
        self, node: Any, frame: RuleFrame, parts: Path = (), steps: int = 0
    ) -> tuple[InputOrigin, ...]:
        """Return the possible origins of the value at *parts* below *node*. The result is empty if
        the value is computed or does not come from the input.
        """
        if steps > _MAX_STEPS or len(parts) > _MAX_STEPS or not self.spend():
            return ()
        # The meaning of a name depends on the caller only if the rule has arguments.
        name = kind(node)
        # The content of a node lives as long as the module, but its wrapper may not.
        key = (
            (id(node[name]), frame.definition.key, parts)
            if name is not None and not frame.bindings
            else None
        )
        if key is not None and key in self._origins_of:
            return self._origins_of[key]
        found = dict.fromkeys(self._origins(node, frame, parts, steps + 1))
        result = tuple(found)[:_MAX_ORIGINS]
        if key is not None:
            self._origins_of[key] = result
        return result

    def _origins(
        self, node: Any, frame: RuleFrame, parts: Path, steps: int
    ) -> Iterator[InputOrigin]:
        name = kind(node)
        if name in {"Var", "RefDot", "RefBrack"}:
            found = reference(node)
            assert found is not None
            yield from self._reference(found, frame, parts, steps)
        elif name == "Call":
            yield from self._call(node["Call"], frame, parts, steps)
        elif name in {"ArrayCompr", "SetCompr"} and parts:
            yield from self.origins(node[name]["term"], frame, parts[1:], steps)
        elif name in {"Array", "Set"} and parts:
            for item in node[name]["items"]:
                yield from self.origins(item, frame, parts[1:], steps)
        elif name == "Object" and parts:
            for field_ in node[name]["fields"]:
                key = literal(field_[1])
                if parts[0] is None or key == parts[0]:
                    yield from self.origins(field_[2], frame, parts[1:], steps)

    def _reference(
        self, found: Reference, frame: RuleFrame, parts: Path, steps: int
    ) -> Iterator[InputOrigin]:
        own: Path = tuple(
            part if isinstance(part, str) else literal_name(part) for part in found.parts
        )
        below = (*own, *parts)
        if found.head is None:
            if found.base is not None:
                yield from self.origins(found.base, frame, below, steps)
        elif found.head == "input":
            yield InputOrigin(below)
        elif found.head in frame.definition.rule.local:
            yield from self._local(found.head, frame, below, steps)
        elif found.head in frame.scope.imports:
            target = frame.scope.imports[found.head]
            yield from self._reference(target, frame, below, steps + 1)
        else:
            definitions, used = self.named(found, frame)
            if found.head == "data":
                below = below[used:]
            if definitions:
                yield from self._origins_of_rules(definitions, below, steps)

    def _local(self, name: str, frame: RuleFrame, parts: Path, steps: int) -> Iterator[InputOrigin]:
        if name in frame.bindings:
            node, caller = frame.bindings[name]
            yield from self.origins(node, caller, parts, steps)
            return
        value = frame.scope.aliases.get(name)
        if value is not None:
            yield from self.origins(value, frame, parts, steps)
            return
        collection = self._members(frame.definition).get(name)
        if collection is not None:
            yield from self.origins(collection, frame, (None, *parts), steps)

    def _members(self, definition: Definition) -> dict[str, Node | None]:
        """Return the collections that local variables iterate over (``some x in xs``, ``every``),
        keyed by the variable's name. The value is None for a variable that iterates over several
        collections.
        """
        known = self._collections.get(definition.key)
        if known is not None:
            return known
        known = {}
        raw = definition.module.source.text.encode("utf-8")
        for name, content in nodes(definition.rule.node):
            if name not in {"SomeIn", "Every"}:
                continue
            place = content["value"]
            collection = content["collection" if name == "SomeIn" else "domain"]
            variable = (
                place["Var"]["value"]
                if kind(place) == "Var"
                else raw[place["start"] : place["end"]].decode("utf-8")
                if isinstance(place, dict) and "start" in place
                else None
            )
            if variable is not None:
                known[variable] = None if variable in known else collection
        self._collections[definition.key] = known
        return known

    def _origins_of_rules(
        self, definitions: Sequence[Definition], parts: Path, steps: int
    ) -> tuple[InputOrigin, ...]:
        """Return the origins of *parts* of the rules *definitions*, which must be one of the lists
        in ``self.definitions``. They are computed once, so that many references to a name with many
        rules take linear time.
        """
        key = (id(definitions), parts)
        known = self._rules_origins.get(key)
        if known is None:
            # A recursive reference has no origins of its own.
            self._rules_origins[key] = ()
            found = dict.fromkeys(self._rules(definitions, parts, steps))
            known = self._rules_origins[key] = tuple(found)[:_MAX_ORIGINS]
        return known

    def _rules(
        self, definitions: Sequence[Definition], parts: Path, steps: int
    ) -> Iterator[InputOrigin]:
        sure = any(has_fallback(item.rule) for item in definitions) and not parts
        for definition in definitions:
            rule = definition.rule
            if rule.form == "function" or definition.module.source.installed:
                continue
            frame, below = RuleFrame(definition), parts
            if rule.form in {"set", "object"}:
                if not parts:
                    continue
                below = parts[1:]
            for value in values(rule):
                for origin in self.origins(value, frame, below, steps):
                    yield InputOrigin(origin.path, origin.sure or sure, origin.types)

    def _call(
        self, content: Node, frame: RuleFrame, parts: Path, steps: int
    ) -> Iterator[InputOrigin]:
        callee = reference(content["fcn"])
        if callee is None:
            return
        given = content["params"]
        name = callee.dotted
        if name == "object.get" and len(given) == 3:
            yield from self._get(given, frame, parts, steps)
        elif name == "array.concat" and len(given) == 2:
            for item in given:
                yield from self.origins(item, frame, parts, steps)
        elif callee.head == "data" and callee.static[:-1] == LIB_ARGS and given:
            if callee.static[-1] in _LIB_TYPES:
                types = _LIB_TYPES[callee.static[-1]] if not parts else None
                path = (*ARGS, literal_name(given[0]), *parts)
                yield InputOrigin(path, sure=not parts, types=types)
        else:
            definitions, _ = self.named(callee, frame)
            for definition in definitions:
                called = self.called(definition, given, frame)
                if called is None:
                    continue
                for value in values(definition.rule):
                    yield from self.origins(value, called, parts, steps)

    def _get(
        self, given: list[Node], frame: RuleFrame, parts: Path, steps: int
    ) -> Iterator[InputOrigin]:
        key = given[1]
        keys: list[str | None] = (
            [literal_name(item) for item in key["Array"]["items"]]
            if kind(key) == "Array"
            else [literal_name(key)]
        )
        for origin in self.origins(given[0], frame, (*keys, *parts), steps):
            yield InputOrigin(origin.path, origin.sure or not parts, origin.types)
        # The fallback value may come from the input too.
        yield from self.origins(given[2], frame, parts, steps)

    def called(
        self, definition: Definition, given: Sequence[Node], caller: RuleFrame
    ) -> RuleFrame | None:
        """Return the frame of a function that *caller* calls, or None if it is not one of the
        authors' functions.
        """
        if definition.rule.form != "function" or definition.module.source.installed:
            return None
        head = definition.rule.node.get("head", {}).get("Func")
        if head is None:
            return None
        bindings: dict[str, Binding] = {}
        for parameter, value in zip(head["args"], given, strict=False):
            if kind(parameter) == "Var":
                bindings[parameter["Var"]["value"]] = (value, caller)
        return RuleFrame(definition, bindings, caller.tools)

    def concerns_input(self, node: Any, frame: RuleFrame) -> bool:
        """Return True if any part of *node* comes from the input."""
        return any(True for _ in self.mentioned(node, frame))

    def mentioned(self, node: Any, frame: RuleFrame) -> Iterator[InputOrigin]:
        """Yield the origins of each complete reference in *node*."""
        name = kind(node)
        if name in {"Var", "RefDot", "RefBrack"}:
            yield from self.origins(node, frame)
            found = reference(node)
            assert found is not None
            for below in (found.base, *found.dynamic):
                yield from self.mentioned(below, frame)
        elif name == "Call":
            yield from self.origins(node, frame)
            for below in node["Call"]["params"]:
                yield from self.mentioned(below, frame)
        else:
            for below in children(node):
                yield from self.mentioned(below, frame)


def literal(node: Any) -> object:
    """Return the value of a literal (string, number, true or false), or None for any other node."""
    name = kind(node)
    if name in {"String", "RawString", "Number", "Bool"}:
        return node[name]["value"]
    return None


def literal_name(node: Any) -> str | None:
    """Return the text of a string literal, or None for any other node."""
    value = literal(node)
    return value if isinstance(value, str) else None


def has_fallback(rule: RegoRule) -> bool:
    """Return True if *rule* has a default other than false. ``default x := false`` does not count,
    because in a condition, false has the same effect as undefined.
    """
    return rule.default and rule.form != "function" and (literal(rule.node["value"]) is not False)


def values(rule: RegoRule) -> Iterator[Node]:
    """Yield a rule's possible results: its value or member, and those of its ``else`` branches."""
    if rule.default:
        yield rule.node["value"]
        return
    head = next(iter(rule.node["head"].values()))
    if rule.form == "set":
        if head.get("key"):
            yield head["key"]
        return
    if head.get("assign"):
        yield head["assign"]["value"]
    for body in rule.node["bodies"]:
        if body.get("assign"):
            yield body["assign"]["value"]
