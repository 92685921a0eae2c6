"""Finds policies that the embedded engine would evaluate differently from OPA, or that would crash
the engine, before they are served.

Each finding contains the file and the line, and the hint says if the server engine can serve the
policy unchanged. ``docs/writing-policies.md`` lists the codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from guardrail.core.words import counted
from guardrail.errors import Finding
from guardrail.policy.rego import contract, layout
from guardrail.policy.rego.builtins import ADDED, ALLOWED, IMPURE_HINTS, OPERATORS, REFUSED
from guardrail.policy.rego.collection_order import skipped_calls, sorted_calls
from guardrail.policy.rego.conditions import CONDITIONS, SERVER, ConstructRefusal
from guardrail.policy.rego.heads import chained_bodies
from guardrail.policy.rego.layout import Point, finding_at, nearest
from guardrail.policy.rego.matching import ambiguous_patterns, compared_functions, result_pattern
from guardrail.policy.rego.numbers import arithmetic, comparison, number
from guardrail.policy.rego.order import deferred_calls, early_calls
from guardrail.policy.rego.purity import pure_functions
from guardrail.policy.rego.rewriting.keys import equal_keys
from guardrail.policy.rego.tree import (
    REFERENCES,
    Module,
    Node,
    Reference,
    RegoRule,
    children,
    kind,
    line_of,
    nodes,
    reference,
)
from guardrail.policy.rego.world import PolicyIndex, RuleScope

__all__ = ["examine"]


def examine(modules: Sequence[Module], data: str, *, contract_checks: bool = True) -> list[Finding]:
    """Return every reason not to serve *modules* with *data*, a JSON object.

    If *contract_checks* is False, the rules about packages and sets are not checked.
    """
    document = json.loads(data)
    world = PolicyIndex(modules, document)
    findings: list[Finding] = []
    if contract_checks:
        findings += contract.examine(modules)
    findings += layout.shapes(modules, world, sets=contract_checks)
    findings += layout.data_overlaps(world, modules, document, whole=contract_checks)
    edges: dict[Point, set[Point]] = {}
    for module in modules:
        findings += layout.imports(module)
        for rule in module.rules:
            examiner = _RuleExaminer(world, module, rule)
            examiner.run()
            findings += examiner.findings
            edges.setdefault((module.package, rule.name), set()).update(examiner.uses)
    findings += layout.cycles(modules, edges)
    return findings


class _RuleExaminer:
    """Checks one rule."""

    def __init__(self, world: PolicyIndex, module: Module, rule: RegoRule) -> None:
        self.scope = RuleScope(world, module, rule)
        self.world, self.module, self.rule = world, module, rule
        self.raw = module.source.text.encode("utf-8")
        self.findings: list[Finding] = []
        self.uses: set[Point] = set()

    def refuse(self, line: int, code: str, message: str, hint: str = SERVER) -> None:
        self.findings.append(finding_at(self.module, line or self.rule.line, code, message, hint))

    def _refuse_one(self, content: dict[str, Any], refusal: ConstructRefusal | None) -> None:
        if refusal is not None:
            line = int(content["span"]["line"])
            self.refuse(line, refusal.code, refusal.message, refusal.hint)

    def _refuse_all(self, refusals: Iterable[tuple[int, ConstructRefusal]]) -> None:
        for line, refusal in refusals:
            self.refuse(line, refusal.code, refusal.message, refusal.hint)

    def run(self) -> None:
        head = self.rule.head
        keyed = self.rule.form == "object" and "Set" not in self.rule.node.get("head", {})
        if self.rule.always_has_key:
            self.refuse(
                self.rule.line,
                "ref-head",
                (
                    "a number, boolean or null in the rule's head is always a key in OPA, but in "
                    "the embedded engine only if the rule fires"
                ),
                f'write a string in the brackets, name["1"] contains value, or {SERVER}',
            )
        elif head.parts and not (keyed and len(head.parts) == 1 and not head.static):
            self.refuse(
                self.rule.line,
                "ref-head",
                (
                    "the rule's head has dots or several brackets, and the embedded "
                    "engine may ignore such a rule"
                ),
                f"write name := value, name contains value or name[key] := value, or {SERVER}",
            )
        for part in head.dynamic:
            self.visit(part)
        for name in sorted({"input", "data"} & self.rule.local):
            message = f"{name} can't be used as the name of an argument or a variable"
            self.refuse(
                self.rule.line, "shadows-builtin", message, "correct it; OPA rejects it too"
            )
        for check in (
            ambiguous_patterns,
            compared_functions,
            early_calls,
            deferred_calls,
            skipped_calls,
            sorted_calls,
            chained_bodies,
        ):
            self._refuse_all(check(self.scope))
        self.visit(
            {key: value for key, value in self.rule.node.items() if key not in {"head", "refr"}}
        )
        self.visit({key: value for key, value in self._head_node().items() if key != "refr"})

    def _head_node(self) -> dict[str, Any]:
        if "head" not in self.rule.node:
            return {}
        return dict(next(iter(self.rule.node["head"].values())))

    def visit(self, node: Any) -> None:
        """Check *node* and all its descendants."""
        name = kind(node)
        if name in REFERENCES:
            self._check_reference(node)
            return
        content = node[name] if name is not None else node
        if name == "Call":
            self._check_call(content)
            return
        if name == "NotExpr":
            self._check_negation(content["expr"])
        elif name == "ArithExpr":
            self._refuse_one(content, arithmetic(self.scope, content))
        elif name == "BoolExpr":
            self._refuse_one(content, comparison(self.scope, content))
        elif name == "Number":
            self._refuse_one(content, number(self.raw, content))
        elif name == "Object" and not self.module.test:
            # Calls in tests have this form, and do not affect decisions.
            self._refuse_all(equal_keys(self.scope, content))
        elif name == "Membership" and content.get("key") and not self._has_values(content):
            self.refuse(
                int(content["span"]["line"]),
                "keyed-membership",
                (
                    "in is used with both a key and a value: if the value is missing, "
                    "the embedded engine compares only the key"
                ),
                f"write some k, v in xs, and compare both, or {SERVER}",
            )
        elif name is None and isinstance(node, dict) and node.get("with_mods"):
            written = kind((node["literal"].get("Expr") or {}).get("expr"))
            if written in {"Bool", "Null", "Number", "String", "RawString"}:
                self.refuse(
                    int(node["with_mods"][0]["span"]["line"]),
                    "with",
                    "with follows a literal value, so OPA ignores the replacement",
                    "remove it",
                )
            for change in node["with_mods"]:
                self._check_with(change)
                self.visit(change["as"])
            node = {key: value for key, value in node.items() if key != "with_mods"}
            content = node
        for child in children(content):
            self.visit(child)

    # References.

    def _check_reference(self, node: Node) -> None:
        found = reference(node)
        assert found is not None
        if found.base is not None:
            self.visit(found.base)
        for part in found.dynamic:
            self.visit(part)
        if (
            found.head is not None
            and found.head in self.scope.own
            and found.head not in self.rule.local
        ):
            self.uses.add((self.module.package, found.head))
        if found.head == "data":
            self._check_data(found)

    def _check_data(self, found: Reference) -> None:
        path = found.static
        if self.world.inside(path):
            self.refuse(
                found.line,
                "package-path",
                (
                    "this refers to a whole package, or to its rules through a variable: these "
                    "rules may be evaluated before the rules that they depend on"
                ),
                f"refer to one rule by its full name, or {SERVER}",
            )
            return
        package = self.world.owner(path)
        if package is None:
            return
        name = path[len(package)]
        if name not in self.world.packages[package]:
            self.refuse(
                found.line,
                "unknown-rule",
                f"{name} does not exist in package {'.'.join(package)}",
                nearest(name, self.world.packages[package]) or "check the name",
            )
        else:
            self.uses.add((package, name))

    # Functions.

    def _check_call(self, content: dict[str, Any]) -> None:
        callee, line = reference(content["fcn"]), int(content["span"]["line"])
        parameters: list[Node] = content["params"]
        for parameter in parameters:
            self.visit(parameter)
        name = callee.dotted if callee is not None else None
        if callee is None or name is None:
            self.refuse(line, "call", "this calls a value that is not a function")
            return
        arity: int | None = None
        if callee.head in self.rule.local or callee.head in self.scope.imports:
            message = f"the variable {callee.head} shadows the function {name}"
            self.refuse(line, "shadows-builtin", message, "rename the variable")
        elif callee.head == "data":
            self._check_data(callee)
            arity = self.world.arity(callee.static)
        elif name in self.scope.own:
            self.uses.add((self.module.package, name))
            arity = self.scope.own[name][0].arity
        elif callee.head in self.scope.own:
            message = f"the rule {callee.head} shadows the function {name}"
            self.refuse(line, "shadows-builtin", message, "rename the rule")
        else:
            arity = self._check_builtin(name, parameters, line)
        if arity is not None and not 0 <= len(parameters) - arity <= 1:
            message = f"{name} takes {counted(arity, 'argument')}"
            self.refuse(line, "arity", message, "correct it; OPA rejects it too")
        elif arity is not None and len(parameters) > arity:
            for at, refusal in result_pattern(parameters[-1], line):
                self.refuse(at, refusal.code, refusal.message, refusal.hint)

    def _check_builtin(self, name: str, parameters: list[Node], line: int) -> int | None:
        """Check a call of a built-in function. Return the function's arity, or None if unknown."""
        if name in ADDED:
            return ADDED[name]
        if name in REFUSED:
            code, reason = REFUSED[name]
            hint = IMPURE_HINTS.get(name, SERVER)
            self.refuse(
                line, "impure-builtin" if code == "impure" else "builtin", f"{name} {reason}", hint
            )
        elif name not in OPERATORS and name not in ALLOWED and name not in pure_functions():
            own = [name for name, rules in self.scope.own.items() if rules[0].form == "function"]
            self.refuse(
                line,
                "builtin",
                (
                    f"{name} is neither a function in this package nor a built-in function that "
                    "is known to behave as in OPA"
                ),
                nearest(name, [*own, *ALLOWED])
                or "define it, or write its name in full, data.package.name",
            )
        elif name in OPERATORS or name not in ALLOWED:
            self.refuse(
                line,
                "builtin",
                f"{name} is not one of the functions that are known to behave as in OPA",
            )
        else:
            check = CONDITIONS.get(name) if len(parameters) >= ALLOWED[name] else None
            refusal = check(self.scope, name, parameters) if check is not None else None
            if refusal is not None:
                self.refuse(line, refusal.code, refusal.message, refusal.hint)
            return ALLOWED[name]
        return None

    def _check_with(self, change: dict[str, Any]) -> None:
        target, line = reference(change["refr"]), int(change["span"]["line"])
        if not self.module.test and self._uses_rules(change["as"]):
            self.refuse(
                line,
                "with-rule",
                (
                    "with inserts the value of a rule, and the embedded engine may use "
                    "the rule's old value instead of the new one"
                ),
                f"write y := rule on a separate line before, and with ... as y, or {SERVER}",
            )
        if target is None or target.dotted is None:
            self.refuse(line, "with", "with replaces a path that is not a literal")
        elif target.head == "input":
            return
        elif target.head != "data":
            self.refuse(
                line,
                "with-builtin",
                "with replaces a function, which the embedded engine supports only partly",
            )
        elif self.world.inside(target.static) or self.world.owner(target.static) is not None:
            self.refuse(
                line, "with-rule", "with replaces a rule", f"replace input or data, or {SERVER}"
            )

    def _uses_rules(self, value: Node) -> bool:
        own = set(self.scope.own) - self.rule.local
        found = (content["value"] for name, content in nodes(value) if name == "Var")
        return any(name in own or name == "data" for name in found)

    def _check_negation(self, node: Node) -> None:
        if kind(node) in {"Bool", "Null", "Number", "String", "RawString"}:
            message = "not is followed by a literal value, and OPA drops the not"
            self.refuse(line_of(node), "not-literal", message, f"write false, or {SERVER}")
        if not self._is_comparable(node):
            self.refuse(
                line_of(node),
                "not-undefined",
                (
                    "not is applied to a call or comparison on a value that may be "
                    "missing: the result is then undefined in OPA, but true in the "
                    "embedded engine"
                ),
                (
                    "write name_ok if { ... } and then not name_ok; or read the value "
                    "with object.get and a default"
                ),
            )

    def _has_values(self, content: dict[str, Any]) -> bool:
        """Return True if the key and the value before ``in`` are always defined."""
        return self.scope.is_total(content["key"]) and self.scope.is_total(content["value"])

    def _is_comparable(self, node: Node) -> bool:
        """Return True if ``not node`` has the same meaning in both engines, even if a part of
        *node* is undefined.
        """
        name = kind(node)
        if name in REFERENCES:
            return self._indices_total(node)
        if name == "Call":
            # The call itself may be undefined, but its arguments must be defined.
            return all(self.scope.is_total(parameter) for parameter in node["Call"]["params"])
        equal = (name == "BoolExpr" and node["BoolExpr"]["op"] == "Eq") or (
            name == "AssignExpr" and node["AssignExpr"]["op"] == "Eq"
        )
        if equal:
            sides = next(iter(node.values()))
            return all(
                self._indices_total(side) if kind(side) in REFERENCES else self.scope.is_total(side)
                for side in (sides["lhs"], sides["rhs"])
            )
        return self.scope.is_total(node)

    def _indices_total(self, node: Node) -> bool:
        found = reference(node)
        assert found is not None
        if found.base is not None and not self.scope.is_total(found.base):
            return False
        return all(self.scope.is_total(part) for part in found.dynamic)
