"""Indexes the definitions in all modules, and infers properties of expressions without evaluating
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.policy.rego.builtins import INTEGER_RESULTS, LARGEST, SET_RESULTS
from guardrail.policy.rego.tree import Module, Node, Reference, RegoRule, kind, nodes, reference

__all__ = ["ENVELOPE", "PolicyIndex", "ResolvedReference", "RuleScope"]

_MAX_STEPS = 16


def _envelope() -> frozenset[tuple[str, ...]]:
    leaves = {
        "subject": (
            "type id properties.assurance properties.authenticated_at properties.issuer"
            " properties.method properties.roles properties.tenant"
        ),
        "action": "name properties.args properties.arg_classes",
        "resource": (
            "type id properties.declared properties.server properties.schema_digest"
            " properties.labels properties.target properties.amounts"
        ),
        "context": (
            "agent.id agent.version agent.framework agent.instance agent.charter"
            " agent.assurance agent.method agent.issuer delegation"
            " session.id time zones model approval origin.adapter origin.framework contract"
        ),
    }
    found: set[tuple[str, ...]] = set()
    for top, below in leaves.items():
        for leaf in below.split():
            path = (top, *leaf.split("."))
            found.update(path[:length] for length in range(1, len(path) + 1))
    return frozenset(found)


ENVELOPE = _envelope()
"""Paths below ``input`` that always exist."""


@dataclass(frozen=True, slots=True)
class ResolvedReference:
    """A reference whose imports and aliases have been resolved."""

    root: str
    """``input``, ``data``, ``rule`` (of the same package), ``local`` or ``unknown``."""
    static: tuple[str, ...]
    """Literal names, up to the first part that is not a literal."""
    complete: bool
    """True if all parts are literals."""


class PolicyIndex:
    """An index of all packages and their rules."""

    def __init__(self, modules: Iterable[Module], data: Any = None) -> None:
        self.data = data
        self.packages: dict[tuple[str, ...], dict[str, list[RegoRule]]] = {}
        self.envelope = ENVELOPE
        """Paths below ``input`` that always have a value when rules are evaluated."""
        for module in modules:
            if not (module.test or module.source.installed):
                changed = _overridden_documents(module)
                if "input" in changed:
                    self.envelope = frozenset()
                if "data" in changed:
                    self.data = None
            rules = self.packages.setdefault(module.package, {})
            for rule in module.rules:
                rules.setdefault(rule.name, []).append(rule)

    def inside(self, path: Sequence[str]) -> bool:
        """Return True if *path* (below ``data``) is a package or contains a package, and therefore
        refers to several rules.
        """
        size = len(path)
        return any(tuple(path) == package[:size] for package in self.packages)

    def has_data(self, path: Sequence[str]) -> bool:
        """Return True if the data document has a value at *path*.

        The document does not change while these policies are served.
        """
        value = self.data
        for name in path:
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        return bool(path)

    def defines(self, path: Sequence[str]) -> bool:
        """Return True if *path* (below ``data``) leads to a package, into a rule, or to a value in
        the data document.

        Any path below a rule is accepted, because the rule's value is unknown here.
        """
        if self.inside(path) or self.has_data(path):
            return True
        package = self.owner(path)
        return package is not None and path[len(package)] in self.packages[package]

    def arity(self, path: Sequence[str]) -> int | None:
        """Return the number of arguments of the function at *path* (below ``data``), or None if
        there is no such function.
        """
        rules = self.packages.get(tuple(path[:-1]), {}).get(path[-1]) if path else None
        return rules[0].arity if rules else None

    def owner(self, path: Sequence[str]) -> tuple[str, ...] | None:
        """Return the package that contains *path*, or None if *path* is in the data document."""
        for size in range(len(path) - 1, 0, -1):
            if tuple(path[:size]) in self.packages:
                return tuple(path[:size])
        return None


def _overridden_documents(module: Module) -> set[str]:
    """Return the documents (``input`` or ``data``) that any rule in *module* replaces by using
    ``with``. A replaced document may lack fields that otherwise always exist.
    """
    found: set[str] = set()
    for rule in module.rules:
        # The list of ``with`` modifiers is next to the literal, not inside a node.
        stack: list[Any] = [rule.node]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                for change in item.get("with_mods") or ():
                    target = reference(change["refr"])
                    head = target.head if target is not None else None
                    found |= {head} if head in {"input", "data"} else {"input", "data"}
                stack.extend(item.values())
            elif isinstance(item, list):
                stack.extend(item)
    return found


class RuleScope:
    """The scope of names in one rule of one module."""

    def __init__(self, world: PolicyIndex, module: Module, rule: RegoRule) -> None:
        self.world = world
        self.module = module
        self.rule = rule
        self.own = world.packages[module.package]
        self.imports = {item.alias: item.target for item in module.imports if not item.ignored}
        self.aliases = self._aliases()

    def _aliases(self) -> dict[str, Node | None]:
        """Return the local names that are assigned exactly once, with their values."""
        found: dict[str, Node | None] = {}
        for name, content in nodes(self.rule.node):
            if name == "AssignExpr" and content["op"] == "ColEq" and kind(content["lhs"]) == "Var":
                variable = content["lhs"]["Var"]["value"]
                found[variable] = None if variable in found else content["rhs"]
        return found

    def resolve(self, found: Reference, steps: int = 0) -> ResolvedReference:
        """Resolve *found* to ``input``, ``data``, a rule or a local name."""
        head, static = found.head, found.static
        complete = len(static) == len(found.parts)
        if head is None or steps > _MAX_STEPS:
            return ResolvedReference("unknown", (), complete=False)
        if head in {"input", "data"}:
            return ResolvedReference(head, static, complete)
        target: Reference | None = None
        if head in self.rule.local:
            value = self.aliases.get(head)
            target = reference(value) if value is not None else None
            if target is None:
                return ResolvedReference("local", static, complete)
        elif head in self.imports:
            target = self.imports[head]
        elif head in self.own:
            rules = self.own[head]
            target = (
                reference(rules[0].simple)
                if len(rules) == 1 and rules[0].simple is not None
                else None
            )
            if target is None:
                return ResolvedReference("rule", (head, *static), complete)
        else:
            # The name is neither declared nor defined: it is ``_`` or a variable that the body
            # binds.
            return ResolvedReference("local", static, complete)
        before = self.resolve(target, steps + 1)
        if not before.complete:
            return before
        return ResolvedReference(before.root, (*before.static, *static), complete)

    def is_total(self, node: Any, steps: int = 0) -> bool:
        """Return True if *node* is always defined."""
        name = kind(node)
        if name is None or steps > _MAX_STEPS:
            return False
        content = node[name]
        if name in {
            "String",
            "RawString",
            "Number",
            "Bool",
            "Null",
            "ArrayCompr",
            "SetCompr",
            "ObjectCompr",
        }:
            return True
        if name in {"Array", "Set"}:
            return all(self.is_total(item, steps + 1) for item in content["items"])
        if name == "Object":
            return all(
                self.is_total(item, steps + 1) for field in content["fields"] for item in field[1:]
            )
        if name == "Call":
            callee = reference(content["fcn"])
            answers = callee is not None and self._always_answers(callee)
            return answers and all(self.is_total(item, steps + 1) for item in content["params"])
        if name in {"ArithExpr", "BinExpr", "BoolExpr", "UnaryExpr", "Membership"}:
            sides = [
                content[key]
                for key in ("lhs", "rhs", "expr", "value", "collection", "key")
                if content.get(key)
            ]
            return all(self.is_total(side, steps + 1) for side in sides)
        found = reference(node)
        return found is not None and self._reference_total(found, steps)

    def _reference_total(self, found: Reference, steps: int) -> bool:
        if not found.parts and found.head is not None and self._is_plain_local(found.head):
            # The variable is bound before it is used, otherwise the rule is rejected as unsafe.
            return True
        at = self.resolve(found)
        if at.root == "input" and at.complete:
            return at.static in self.world.envelope
        if at.root == "data" and at.complete:
            package = self.world.owner(at.static)
            if package is None:
                return self.world.has_data(at.static)
            rules = self.world.packages[package].get(at.static[len(package)], [])
            return len(at.static) == len(package) + 1 and any(rule.form == "set" for rule in rules)
        if at.root == "rule" and at.complete and len(at.static) == 1:
            rules = self.own[at.static[0]]
            if any(
                rule.form == "set" or (rule.default and rule.form != "function") for rule in rules
            ):
                return True
            if len(rules) == 1 and rules[0].simple is not None:
                return RuleScope(self.world, self.module, rules[0]).is_total(
                    rules[0].simple, steps + 1
                )
        return False

    def _always_answers(self, callee: Reference) -> bool:
        """Return True if a call of *callee* is never silently undefined. A built-in function
        without a result raises an error, but a call of a policy's own function can be undefined.
        """
        rules: list[RegoRule] | None = None
        if callee.head == "data":
            package = self.world.owner(callee.static)
            rules = (
                self.world.packages[package].get(callee.static[-1], [])
                if package is not None
                else []
            )
        elif callee.head in self.own:
            rules = self.own[callee.head]
        return rules is None or any(rule.default for rule in rules)

    def _is_plain_local(self, head: str) -> bool:
        return head in self.rule.local or not (
            head in self.own or head in self.imports or head in {"input", "data"}
        )

    def is_integer(self, node: Any, steps: int = 0) -> bool:
        """Return True if *node*, if it is a number, is certainly an integer."""
        name = kind(node)
        if name is None or steps > _MAX_STEPS:
            return False
        content = node[name]
        if name == "Number":
            return isinstance(content["value"], int)
        if name == "Call":
            callee = reference(content["fcn"])
            dotted = callee.dotted if callee is not None else None
            if dotted == "abs":
                return self.is_integer(content["params"][0], steps + 1)
            return dotted in INTEGER_RESULTS
        if name == "ArithExpr":
            whole = content["op"] != "Div"
            return (
                whole
                and self.is_integer(content["lhs"], steps + 1)
                and self.is_integer(content["rhs"], steps + 1)
            )
        if name == "UnaryExpr":
            return self.is_integer(content["expr"], steps + 1)
        return self._follow(node, "is_integer", steps)

    def upper_bound(self, node: Any, steps: int = 0) -> int | None:
        """Return an upper bound for the absolute value of an integer, or None if none is known."""
        name = kind(node)
        if name is None or steps > _MAX_STEPS:
            return None
        content = node[name]
        if name == "Number":
            return abs(content["value"]) if isinstance(content["value"], int) else None
        if name == "UnaryExpr":
            return self.upper_bound(content["expr"], steps + 1)
        if name == "Call":
            callee = reference(content["fcn"])
            dotted = callee.dotted if callee is not None else None
            if dotted == "abs":
                return self.upper_bound(content["params"][0], steps + 1)
            return LARGEST.get(dotted or "")
        if name == "ArithExpr":
            left, right = (self.upper_bound(content[side], steps + 1) for side in ("lhs", "rhs"))
            if left is None or right is None:
                return None
            results = {"Add": left + right, "Sub": left + right, "Mul": left * right, "Mod": right}
            return results.get(content["op"])
        if kind(node) != "Var":
            return None
        value, scope = self._definition_of(node["Var"]["value"])
        return scope.upper_bound(value, steps + 1) if value is not None else None

    def collection_of_integers(self, node: Any) -> bool:
        """Return True if *node* is a comprehension or a literal that certainly contains only
        integers.
        """
        name = kind(node)
        if name in {"ArrayCompr", "SetCompr"}:
            return self.is_integer(node[name]["term"])
        if name in {"Array", "Set"}:
            return all(self.is_integer(item) for item in node[name]["items"])
        return self._follow(node, "collection_of_integers", 0)

    def is_set(self, node: Any, steps: int = 0) -> bool:
        """Return True if *node* is certainly a set."""
        name = kind(node)
        if name is None or steps > _MAX_STEPS:
            return False
        if name in {"Set", "SetCompr", "BinExpr"}:
            return True
        if name == "Call":
            callee = reference(node[name]["fcn"])
            return callee is not None and (callee.dotted in SET_RESULTS or callee.dotted == "set")
        if name == "ArithExpr" and node[name]["op"] == "Sub":
            return self.is_set(node[name]["lhs"], steps + 1) or self.is_set(
                node[name]["rhs"], steps + 1
            )
        found = reference(node)
        if found is not None:
            at = self.resolve(found)
            if at.root == "rule" and at.complete and len(at.static) == 1:
                rules = self.own[at.static[0]]
                if any(rule.form == "set" for rule in rules):
                    return True
            if at.root == "data" and at.complete:
                package = self.world.owner(at.static)
                if package is not None and len(at.static) == len(package) + 1:
                    rules = self.world.packages[package].get(at.static[-1], [])
                    return any(rule.form == "set" for rule in rules)
        return self._follow(node, "is_set", steps)

    def may_be_set(self, node: Any) -> bool:
        """Return True if *node* is a set, or is a rule or function whose value can be a set
        literal.
        """
        found = reference(node["Call"]["fcn"] if kind(node) == "Call" else node)
        rules: list[RegoRule] = []
        if found is not None and found.head == "data":
            owner = self.world.owner(found.static)
            if owner is not None:
                rules = self.world.packages[owner].get(found.static[len(owner)], [])
        elif found is not None and found.head not in self.rule.local:
            rules = self.own.get(found.head or "", [])
        places = [
            place
            for rule in rules
            if not rule.default
            for place in (next(iter(rule.node["head"].values())), *rule.node["bodies"])
        ]
        values = [(place.get("assign") or {}).get("value") for place in places]
        return self.is_set(node) or any(kind(value) in {"Set", "SetCompr"} for value in values)

    def _follow(self, node: Any, question: str, steps: int) -> bool:
        """Apply *question* to the value of a plain name."""
        if kind(node) != "Var" or steps > _MAX_STEPS:
            return False
        value, scope = self._definition_of(node["Var"]["value"])
        if value is None:
            return False
        if question == "collection_of_integers":
            return scope.collection_of_integers(value)
        return bool(getattr(scope, question)(value, steps + 1))

    def _definition_of(self, name: str) -> tuple[Node | None, RuleScope]:
        """Return the value of a plain name, and its scope."""
        if name in self.rule.local:
            return self.aliases.get(name), self
        if name in self.own and len(self.own[name]) == 1:
            return self.own[name][0].simple, RuleScope(self.world, self.module, self.own[name][0])
        return None, self
