"""Finds conflicts between rules, packages, imports and data that OPA would refuse to compile but
the engine would serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from guardrail.errors import Finding
from guardrail.policy.rego.builtins import ALLOWED, REFUSED
from guardrail.policy.rego.conditions import SERVER
from guardrail.policy.rego.contract import ROOT, SETS
from guardrail.policy.rego.tree import Module, RegoRule
from guardrail.policy.rego.world import PolicyIndex

__all__ = ["Point", "cycles", "data_overlaps", "finding_at", "imports", "nearest", "shapes"]

Point = tuple[tuple[str, ...], str]
"""A rule: its package and its name."""


def finding_at(module: Module, line: int, code: str, message: str, hint: str = SERVER) -> Finding:
    """Return a finding about *line* of *module*."""
    return Finding(module.source.name, line, code, message, hint)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the name in *known* that is most similar to *name*, or an empty string if
    none is similar.
    """
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else ""


def imports(module: Module) -> Iterator[Finding]:
    for item in module.imports:
        if item.target.head == "data":
            yield finding_at(
                module,
                item.line,
                "data-import",
                (
                    "this imports data: rules reached through the import may be "
                    "evaluated before the rules that they depend on, and a deny rule may "
                    "then not fire"
                ),
                f"write the reference in full, {item.target.dotted or 'data...'}, or {SERVER}",
            )


def shapes(modules: Sequence[Module], world: PolicyIndex, *, sets: bool) -> Iterator[Finding]:
    """Yield findings about rules that share a name but not a form, and about packages that overlap
    rules. OPA rejects both.

    If *sets* is True, the sets of the contract are skipped, because ``contract.examine`` reports
    more about them.
    """
    first: dict[Point, tuple[Module, RegoRule]] = {}
    defaults: set[Point] = set()
    # guardrail's own rules come first, so that the message reports the author's rule as the
    # conflicting one.
    for module in sorted(modules, key=lambda module: not module.source.installed):
        for rule in module.rules:
            point = (module.package, rule.name)
            where, known = first.setdefault(point, (module, rule))
            judged = sets and module.package == ROOT and rule.name in SETS and not module.test
            differs = (known.form, known.arity) != (rule.form, rule.arity)
            if differs and not _compatible(known, rule) and not judged:
                message = (
                    f"{rule.name} is a {rule.form} here, but a {known.form} in "
                    f"{where.source.name}, line {known.line}"
                )
                yield finding_at(module, rule.line, "mixed-rule", message, "rename one of them")
            if rule.default:
                if point in defaults:
                    yield finding_at(
                        module,
                        rule.line,
                        "mixed-rule",
                        f"{rule.name} has two defaults",
                        "remove one of them",
                    )
                defaults.add(point)
            if (*module.package, rule.name) in {
                package[: len(module.package) + 1] for package in world.packages
            }:
                message = f"{rule.name} is also a package below {'.'.join(module.package)}"
                yield finding_at(
                    module, rule.line, "package-over-rule", message, "rename one of them"
                )
            if rule.name in ALLOWED or rule.name in REFUSED or rule.name in {"input", "data"}:
                message = f"{rule.name} is the name of a built-in function"
                yield finding_at(module, rule.line, "shadows-builtin", message, "rename the rule")


def _compatible(one: RegoRule, other: RegoRule) -> bool:
    # Defaults of functions only need to have the same number of arguments.
    return one.form == other.form == "value" or (one.form == other.form == "object")


def data_overlaps(
    world: PolicyIndex, modules: Sequence[Module], data: Any, *, whole: bool
) -> Iterator[Finding]:
    if whole and isinstance(data, dict) and "guardrail" in data:
        yield Finding(
            "-",
            0,
            "data-overlap",
            (
                "data.guardrail is reserved for the policies: data in it would silently "
                "replace rules"
            ),
            "store the data under another name",
        )
        return
    for package in world.packages:
        value = data
        for name in package:
            value = value.get(name) if isinstance(value, dict) else None
            if value is None:
                break
            if not isinstance(value, dict):
                break
        if value is not None:
            module = next(module for module in modules if module.package == package)
            message = (
                f"the data has a value at data.{'.'.join(package)}, which would silently replace "
                "rules"
            )
            yield finding_at(
                module,
                module.package_line,
                "data-overlap",
                message,
                "store the data under another name",
            )


def cycles(modules: Sequence[Module], edges: dict[Point, set[Point]]) -> Iterator[Finding]:
    """Yield findings about rules and functions that depend on themselves. OPA refuses to compile
    them; the engine's stack would overflow.
    """
    state: dict[Point, int] = {}
    looping: set[Point] = set()

    def visit(start: Point) -> None:
        stack: list[tuple[Point, Iterator[Point]]] = [(start, iter(edges.get(start, ())))]
        state[start] = 1
        while stack:
            point, rest = stack[-1]
            for target in rest:
                if state.get(target) == 1:
                    looping.add(target)
                elif target not in state and target in edges:
                    state[target] = 1
                    stack.append((target, iter(edges[target])))
                    break
            else:
                state[point] = 2
                stack.pop()

    for point in edges:
        if point not in state:
            visit(point)
    seen: set[Point] = set()
    for module in modules:
        for rule in module.rules:
            point = (module.package, rule.name)
            if point in looping and point not in seen:
                seen.add(point)
                yield finding_at(
                    module,
                    rule.line,
                    "recursion",
                    f"{rule.name} depends on itself, directly or through other rules",
                    "correct the rule; OPA rejects it too",
                )
