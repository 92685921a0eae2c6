"""Finds the calls in the policies' tests: the inputs that the tests evaluate, and the rules that
fire.

Tests may build their inputs in any way; only inputs that a decision rule sees count. The tests
therefore run with an extra rule in each decision set, which captures its input.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.core.types import Json
from guardrail.errors import PolicyError
from guardrail.policy.embedded.compiled import CompiledPolicies
from guardrail.policy.embedded.rehearsal import test_rules
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.rego.replaced import supplied
from guardrail.policy.rego.tree import Module

__all__ = [
    "DECISION",
    "LISTING",
    "FiredRules",
    "ObservedCall",
    "decide",
    "fired",
    "observe",
    "verdicts",
]

DECISION = "data.guardrail.main.decision"
LISTING = "data.guardrail.main.listing"
_PACKAGE = ("guardrail", "policy")
_SETS = ("allow", "deny", "require_approval", "hide")


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """One call that a test evaluates."""

    test: str
    """The first test that evaluates this call: ``package.rule``."""
    input: str
    """The policy input, as JSON."""
    data: str
    """The complete data document for this call, as JSON."""


@dataclass(frozen=True, slots=True)
class FiredRules:
    """The result of evaluating the rules on one call."""

    seen: ObservedCall
    effect: str
    """The effect, or an empty string if there is no decision."""
    rules: frozenset[tuple[str, str]]
    """Effect and id of each rule that fired. The effect is ``hide`` for a rule that hides a
    tool.
    """


def observe(compiled: CompiledPolicies, bench: Workbench) -> list[ObservedCall]:
    """Run the tests and return every call that they evaluate, without duplicates. The results of
    the tests are ignored.

    Raises ``EngineRefusal`` if the modules can't be loaded.
    """
    found: dict[tuple[str, str], ObservedCall] = {}
    for seen in _observe_tests(compiled, bench, None):
        found.setdefault((seen.input, seen.data), seen)
    return list(found.values())


def verdicts(
    compiled: CompiledPolicies, bench: Workbench, names: Collection[str]
) -> dict[str, list[FiredRules]]:
    """Return the decisions made in each of the tests *names*, in no particular order.

    Raises ``EngineRefusal`` if the modules can't be loaded.
    """
    found: dict[str, list[FiredRules]] = {}
    for each in fired(compiled, bench, list(_observe_tests(compiled, bench, names))):
        found.setdefault(each.seen.test, []).append(each)
    return found


def _observe_tests(
    compiled: CompiledPolicies, bench: Workbench, names: Collection[str] | None
) -> Iterator[ObservedCall]:
    base: dict[str, Json] = json.loads(compiled.data)
    replaced = sorted(_replaced(compiled.parsed))
    modules = [
        (
            module.name,
            module.text + _observing(replaced) if module.package == _PACKAGE else module.text,
        )
        for module in (*compiled.modules, *compiled.tests)
    ]
    bench.load(modules, compiled.data, observe=True)
    for path, name in _tests(compiled):
        if names is not None and name not in names:
            continue
        try:
            bench.rule(path, "{}")
        except (EngineRefusal, PolicyError):
            # Calls that were captured before the failure still count, unless the process has died.
            pass
        for text in bench.observed():
            yield _observed_call(name, text, base, replaced)


def _tests(compiled: CompiledPolicies) -> Iterator[tuple[str, str]]:
    for path, name, _, _ in test_rules(compiled):
        if not name.rpartition(".")[2].startswith("todo_"):
            yield path, name


def _observing(replaced: Sequence[str]) -> str:
    """Return the source of rules that capture the input and the data that tests replace. These
    rules never fire.
    """
    parts = ", ".join(
        f"{{{json.dumps(name)}: v | v := data[{json.dumps(name)}]}}" for name in replaced
    )
    observation = f'json.marshal({{"input": input, "data": object.union_n([{parts}])}})'
    return "".join(
        f'\n{name} contains r if {{\n\tr := guardrail_observe({observation})\n\tr != ""\n}}\n'
        for name in _SETS
    )


def _replaced(parsed: Iterable[Module]) -> set[str]:
    """Return the top-level names below ``data`` that tests replace using ``with``."""
    tests = (module for module in parsed if module.test)
    return {path[0] for path in supplied(tests)} - {"guardrail"}


def _observed_call(
    test: str, text: str, base: Mapping[str, Json], replaced: Sequence[str]
) -> ObservedCall:
    observed = json.loads(text)
    data = {name: value for name, value in base.items() if name not in replaced}
    data |= observed["data"]
    return ObservedCall(test, _json(observed["input"]), _json(data))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def fired(
    compiled: CompiledPolicies, bench: Workbench, seen: Iterable[ObservedCall]
) -> list[FiredRules]:
    """Return the rules that fire for each call. If the evaluation of a call fails, the call's
    result has no rules.
    """
    found: list[FiredRules] = []
    loaded: str | None = None
    # Loading is expensive, so calls with the same data are grouped.
    for call in sorted(seen, key=lambda item: item.data):
        if call.data != loaded:
            bench.load(compiled.texts, call.data)
            loaded = call.data
        document = decide(bench, call.input)
        rules = {(rule["effect"], rule["rule"]) for rule in document.get("rules", ())}
        rules |= {
            ("hide", rule["rule"]) for rule in decide(bench, call.input, LISTING).get("rules", ())
        }
        found.append(FiredRules(call, str(document.get("effect", "")), frozenset(rules)))
    return found


def decide(bench: Workbench, policy_input: str, path: str = DECISION) -> dict[str, Any]:
    """Return the document at *path*, or an empty document if the rule is undefined, raises an error
    or times out.
    """
    try:
        document = bench.rule(path, policy_input)
    except (EngineRefusal, PolicyError):
        return {}
    if document is UNDEFINED or not isinstance(document, dict):
        return {}
    rules = document.get("rules")
    if not isinstance(rules, list) or not all(_is_rule(rule) for rule in rules):
        return {}
    return document


def _is_rule(rule: object) -> bool:
    return (
        isinstance(rule, dict)
        and isinstance(rule.get("rule"), str)
        and isinstance(rule.get("effect"), str)
    )
