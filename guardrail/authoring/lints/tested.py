"""Finds untested rules, which do not fire in any test."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.policy.embedded.observed import FiredRules
from guardrail.policy.rego.tree import Module, Node, RegoRule, kind

__all__ = ["NamedRule", "check", "named_rules", "rule_id"]

_PACKAGE = ("guardrail", "policy")
_SETS = ("allow", "deny", "require_approval", "hide")


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A decision rule with a literal id."""

    effect: str
    id: str
    file: str
    line: int


def check(modules: Sequence[Module], calls: Collection[FiredRules]) -> Iterator[Lint]:
    """Yield a lint for each rule id that does not fire in any of *calls*."""
    seen = {rule for call in calls for rule in call.rules}
    reported: set[tuple[str, str]] = set()
    for rule in named_rules(modules):
        point = (rule.effect, rule.id)
        if point in seen or point in reported:
            continue
        reported.add(point)
        yield Lint(
            rule.file,
            rule.line,
            Code.UNTESTED_RULE,
            f"no test makes the {rule.effect} rule {rule.id} fire",
            "in a file named ..._test.rego, add a test_ rule whose input makes it fire",
        )


def named_rules(modules: Sequence[Module]) -> Iterator[NamedRule]:
    """Yield the authors' rules that have literal ids, sorted by file and line."""
    for module in modules:
        if module.source.installed or module.test or module.package != _PACKAGE:
            continue
        for rule in module.rules:
            id_ = rule_id(rule, module) if rule.name in _SETS and rule.form == "set" else None
            if id_:
                yield NamedRule(rule.name, id_, module.source.name, rule.line)


def rule_id(rule: RegoRule, module: Module) -> str | None:
    """Return the id of a decision rule if it is a literal, otherwise None."""
    if rule.default:
        return None
    key: Node | None = rule.node["head"]["Set"].get("key")
    for _ in range(4):
        name = kind(key)
        if key is None or name is None:
            return None
        if name in {"String", "RawString"}:
            return str(key[name]["value"])
        if name == "Object":
            key = next(
                (
                    field[2]
                    for field in key["Object"]["fields"]
                    if kind(field[1]) == "String" and field[1]["String"]["value"] == "rule"
                ),
                None,
            )
        elif name == "Var":
            key = _meaning(key["Var"]["value"], rule, module)
        else:
            return None
    return None


def _meaning(name: str, rule: RegoRule, module: Module) -> Node | None:
    """Return the value of the constant *name* if the same file defines it once, otherwise None."""
    if name in rule.local:
        return None
    found = [other.simple for other in module.rules if other.name == name]
    return found[0] if len(found) == 1 else None
