"""Runs the policies' own tests and complete sample calls at load time, and then repeats both with
the modules in different orders.
"""

from __future__ import annotations

import functools
import json
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardrail.core.decision import parse
from guardrail.core.types import Cause
from guardrail.errors import Finding, PolicyError, PolicyLoadError
from guardrail.policy.embedded.compiled import CompiledPolicies, locate
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.named_zones import TIME_ZONES
from guardrail.policy.sources import INSTALLED
from guardrail.system.zones import ZoneTable

__all__ = [
    "TestOutcome",
    "TestResult",
    "refusal_finding",
    "rehearse",
    "run_policy_tests",
    "sample_input",
    "samples",
    "test_rules",
]

_AT = re.compile(r"at (\S+):(\d+):\d+$")
_CONFLICT = re.compile(r"rule conflicts with rule|multiple outputs")
_CONFLICT_HINT = (
    "make the conditions exclusive, or use else: a rule or function can't have two values"
)
_UNDEFINED = re.compile(r"use of undefined variable `(\w{1,64})`")
_UNDEFINED_HINT = (
    'define {0} in a rule, or bind it with := or some before it is used under "not"; if you mean '
    'a string, quote it: "{0}"'
)
_RAISED = re.compile(r'to_number\("([^"\n]+)"\)')
"""Guardrail's own functions raise an error by this call, whose text is the reason."""
_NO_OFFSET = "input.context.zones has no offset for this time zone"
_SHOWN_ZONES = 3
_MOMENT = "2026-01-01T00:00:00.000000Z"
"""The time of sample calls."""
_NO_CALLS = {
    "calls": 0,
    "denied": 0,
    "in_flight": 0,
    "since": "",
    "by_tool": {},
    "labels": [],
    "recent": [],
    "recent_complete": True,
}
"""The state of a session, principal or agent before the first call."""
_ORDERS = 3
_ENTRY = "data.guardrail.main.decision"
_LISTING = "data.guardrail.main.listing"


def sample_input(
    tool: str = "guardrail.sample",
    *,
    declared: bool = True,
    args: dict[str, object] | None = None,
    name: str = "tools/call",
    model: dict[str, str] | None = None,
    framework: dict[str, str] | None = None,
    zones: Iterable[str] = (),
) -> str:
    """Return a complete policy input, with every documented key, as JSON. It has the offsets of
    those time zones in *zones* that exist, as in a call, and is the first call of its session, of
    its principal and of its agent.
    """
    document = {
        "subject": {
            "type": "user",
            "id": "someone",
            "properties": {
                "assurance": "asserted",
                "authenticated_at": None,
                "issuer": None,
                "method": "context",
                "roles": [],
                "tenant": "default",
            },
        },
        "action": {"name": name, "properties": {"args": args or {}, "arg_classes": {}}},
        "resource": _resource(tool, declared=declared),
        "context": {
            "agent": {
                "id": "agent",
                "version": None,
                "framework": None,
                "instance": None,
                "charter": None,
                "assurance": "asserted",
                "method": "context",
                "issuer": None,
            },
            "delegation": [],
            "session": {"id": "sample", **_NO_CALLS},
            "principal_state": _NO_CALLS,
            "agent_state": _NO_CALLS,
            "time": _MOMENT,
            "zones": dict(ZoneTable(zones).at(_MOMENT)),
            "model": model,
            "approval": None,
            "origin": {"adapter": "python", "framework": framework},
            "contract": "guardrail/1",
        },
    }
    return json.dumps(document)


def _resource(tool: str, *, declared: bool) -> dict[str, object]:
    properties: dict[str, object] = {
        "declared": declared,
        "server": None,
        "schema_digest": "0" * 64 if declared else None,
        "labels": [],
        "target": [],
        "amounts": {},
    }
    return {"type": "tool", "id": tool, "properties": properties}


def samples(zones: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """Return sample calls, as (description, input), for which every policy must return a
    well-formed decision. *zones* are the time zones that the policies name.
    """
    sample = functools.partial(sample_input, zones=tuple(zones))
    every_type = {
        "text": "x",
        "number": 5,
        "flag": True,
        "list": [1, "a"],
        "object": {"k": "v"},
        "none": None,
    }
    return (
        ("a declared tool without arguments", sample()),
        ("an undeclared tool", sample(declared=False)),
        (
            "a tool with arguments of every type",
            sample(
                args=every_type,
                model={"name": "model", "response": "response", "assurance": "asserted"},
                framework={"name": "framework", "version": "1.0", "assurance": "asserted"},
            ),
        ),
        ("a listing", sample(name="tools/list")),
    )


class TestOutcome(StrEnum):
    """The result of a policy test."""

    PASS = "pass"  # noqa: S105 - an outcome
    FAIL = "fail"
    """The rule is undefined, false, or has any value other than true."""
    ERROR = "error"
    """The rule could not be evaluated."""
    SKIP = "skip"
    """The rule is named ``todo_test_...``."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of one ``test_...`` rule."""

    name: str
    """``package.rule``."""
    file: str
    line: int
    outcome: TestOutcome
    message: str
    """The reason why the test did not pass, or an empty string if it passed."""
    milliseconds: float


def rehearse(compiled: CompiledPolicies, bench: Workbench) -> None:
    """Raise ``PolicyLoadError`` unless the policies' tests pass, the sample calls get well-formed
    decisions, and the results do not depend on the order of modules.
    """
    results = run_policy_tests(compiled, bench)
    findings = [
        Finding(
            result.file,
            result.line,
            "test-failed",
            f"{result.name}: {result.message}",
            "guardrail policy test",
        )
        for result in results
        if result.outcome in {TestOutcome.FAIL, TestOutcome.ERROR}
    ]
    findings += check_samples(compiled, bench)
    if not findings:
        findings = _compare_orders(
            compiled, bench, [result.name for result in results if not result.message]
        )
    if findings:
        raise PolicyLoadError(findings)


def check_samples(compiled: CompiledPolicies, bench: Workbench) -> list[Finding]:
    """Return the problems with the decisions on the sample calls."""
    findings: list[Finding] = []
    seen: set[tuple[str, int, str]] = set()
    bench.load(compiled.texts, compiled.data)
    for about, policy_input in samples(compiled.zones):
        try:
            document = bench.rule(_ENTRY, policy_input)
        except EngineRefusal as refusal:
            found = refusal_finding(refusal, compiled, about)
            said = (found.file, found.line, found.message.removeprefix(about))
            # The samples are similar, so a problem on one line is reported once.
            if said not in seen:
                seen.add(said)
                findings.append(found)
            continue
        except PolicyError as error:
            findings.append(Finding("-", 0, "sample", f"{about}: {error.message}"))
            continue
        if document is UNDEFINED:
            findings.append(Finding("-", 0, "contract", f"{about}: the policy has no decision"))
            continue
        decision = parse(document)
        if decision.cause is Cause.MALFORMED:
            findings.append(
                Finding(
                    "-",
                    0,
                    "contract",
                    f"{about}: the decision is malformed ({decision.detail})",
                    (
                        'make each entry a string, or {"rule": id, "message": text}, '
                        "optionally with severity, needs and approvers"
                    ),
                )
            )
    return findings


def run_policy_tests(compiled: CompiledPolicies, bench: Workbench) -> list[TestResult]:
    """Run every ``test_...`` rule in the test packages, sorted by file and line. Failing tests do
    not raise.
    """
    results: list[TestResult] = []
    rules = list(test_rules(compiled))
    if not rules:
        return results
    modules = [*compiled.texts, *((module.name, module.text) for module in compiled.tests)]
    try:
        bench.load(modules, compiled.data)
    except EngineRefusal as refusal:
        finding = refusal_finding(refusal, compiled, "the tests")
        return [
            TestResult("load", finding.file, finding.line, TestOutcome.ERROR, finding.message, 0.0)
        ]
    for path, name, file, line in rules:
        if name.rpartition(".")[2].startswith("todo_"):
            results.append(TestResult(name, file, line, TestOutcome.SKIP, "not written yet", 0.0))
            continue
        started = time.perf_counter()
        outcome, message = _run_one(path, compiled, bench)
        results.append(
            TestResult(name, file, line, outcome, message, (time.perf_counter() - started) * 1000)
        )
    return results


def _run_one(path: str, compiled: CompiledPolicies, bench: Workbench) -> tuple[TestOutcome, str]:
    try:
        # Each test gets a fresh input, so that a test that sets no input does not see another
        # test's.
        value = bench.rule(path, "{}")
    except EngineRefusal as refusal:
        found = refusal_finding(refusal, compiled, "")
        return TestOutcome.ERROR, f"{found.message}; {found.hint}" if found.hint else found.message
    except PolicyError as error:
        return TestOutcome.ERROR, error.message
    if value is True:
        return TestOutcome.PASS, ""
    return TestOutcome.FAIL, "it is undefined" if value is UNDEFINED else "it is not true"


def test_rules(compiled: CompiledPolicies) -> Iterator[tuple[str, str, str, int]]:
    """Yield the path, name, file and line of each test."""
    seen: set[str] = set()
    for module in compiled.parsed:
        if not module.test:
            continue
        for rule in module.rules:
            name = ".".join((*module.package, rule.name))
            if rule.name.startswith(("test_", "todo_test_")) and name not in seen:
                seen.add(name)
                yield f"data.{name}", name, module.source.name, rule.line


def _compare_orders(
    compiled: CompiledPolicies, bench: Workbench, tests: Sequence[str]
) -> list[Finding]:
    modules = [*compiled.texts, *((module.name, module.text) for module in compiled.tests)]
    inputs = [document for _, document in samples(compiled.zones)]
    # The policies are the seed of the shuffle, so that a rejection can be reproduced.
    order = random.Random(compiled.identity.digest)  # noqa: S311 - no secret
    expected: list[str] | None = None
    for _ in range(_ORDERS):
        try:
            bench.load(modules, compiled.data)
            got = [
                _evaluate(bench, path, document)
                for path in (_ENTRY, _LISTING)
                for document in inputs
            ]
            got += [_evaluate(bench, f"data.{name}", "{}") for name in tests]
        except EngineRefusal as refusal:
            return [refusal_finding(refusal, compiled, "with the modules in a different order")]
        if expected is None:
            expected = got
        elif got != expected:
            return [
                Finding(
                    "-",
                    0,
                    "order",
                    "the decisions depend on the order in which modules are loaded",
                    ('write references to other packages in full, or set [policy] engine = "opa"'),
                )
            ]
        order.shuffle(modules)
    return []


def _evaluate(bench: Workbench, path: str, policy_input: str) -> str:
    value = bench.rule(path, policy_input)
    return "undefined" if value is UNDEFINED else json.dumps(value, sort_keys=True)


def _zones_hint(zones: Sequence[str], about: str) -> str:
    """Return a hint: for a call in a test, the offsets of *zones*, which the policies name."""
    names = f"add a zone that comes from the call to {TIME_ZONES}, and correct any other name"
    if about:
        return names
    known = dict(sorted(ZoneTable(zones).at(_MOMENT).items())[:_SHOWN_ZONES])
    example = json.dumps({"time": "2026-01-01T00:00:00Z", "zones": known or {"Asia/Tokyo": 32400}})
    return (
        f"in a test, set the time and the offsets of zones in input.context, for example {example};"
        f" for a call, {names}"
    )


def refusal_finding(refusal: EngineRefusal, compiled: CompiledPolicies, about: str) -> Finding:
    """Return the engine's error at the line of the author's file, with a hint for common mistakes.
    *about* is what was evaluated, or an empty string. The message can quote values.
    """
    place = locate(refusal.text, [*compiled.modules, *compiled.tests])
    lines = refusal.text.rpartition("error: ")[2].strip().splitlines()
    message = lines[0] if lines else "the engine raised an error"
    raised = _RAISED.search(refusal.text)
    if raised is not None and place is not None and place.file.startswith(INSTALLED):
        message = raised[1]
    hint = _CONFLICT_HINT if _CONFLICT.search(message) else ""
    hint = _zones_hint(compiled.zones, about) if message == _NO_OFFSET else hint
    undefined = _UNDEFINED.search(message)
    if undefined is not None:
        hint = _UNDEFINED_HINT.format(undefined[1])
    other = _AT.search(message)
    if other is not None:
        first = locate(f"--> {other[1]}:{other[2]}:1", [*compiled.modules, *compiled.tests])
        if first is not None and first.line:
            message = message[: other.start()] + f"at {first.file}, line {first.line}"
    where = f" ({place.file}, line {place.line})" if place is not None and place.line else ""
    return Finding(
        place.file if place is not None else "-",
        place.line if place is not None else 0,
        "evaluation",
        f"{about}: {message}{where}" if about else f"{message}{where}",
        hint,
    )
