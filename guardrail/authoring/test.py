"""Runs the tests that come with policies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guardrail.core.types import Json
from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.embedded.compiled import CompiledPolicies, compile_policies
from guardrail.policy.embedded.observed import FiredRules, verdicts
from guardrail.policy.embedded.rehearsal import TestOutcome, TestResult, run_policy_tests
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.opa.check import require_accepted, test_results
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import PolicySet, load_policies

__all__ = ["TestOutcome", "TestReport", "TestResult", "run_tests"]

_SHOWN = 3
"""Maximum number of decisions shown for one failed test."""


@dataclass(frozen=True, slots=True)
class TestReport:
    """Result of the tests. All fields hold built-in types, so the result of ``dataclasses.asdict``
    is JSON-serializable.
    """

    __test__ = False  # tells pytest that this is not a test class

    results: tuple[TestResult, ...]
    """The results, sorted by file and line."""
    findings: tuple[Finding, ...]
    """The reasons why the policies were rejected. If there are any, no tests ran."""
    digest: str | None
    milliseconds: float

    @property
    def ok(self) -> bool:
        """True if the policies were accepted and no test failed, even if there are no tests (see
        ``results``).
        """
        bad = {TestOutcome.FAIL, TestOutcome.ERROR}
        return not self.findings and not any(result.outcome in bad for result in self.results)

    def count(self, outcome: TestOutcome) -> int:
        """Return the number of tests with that result."""
        return sum(result.outcome is outcome for result in self.results)


def run_tests(
    paths: Sequence[Path],
    *,
    data: Mapping[str, Json] | None = None,
    time_limit: float = 10.0,
    opa: OpaProgram | None = None,
) -> TestReport:
    """Run every ``test_...`` rule in the ``*_test.rego`` files below *paths*, in a worker process.

    A test passes if its rule is true; ``todo_test_...`` is skipped. *time_limit* (seconds) applies
    to each test. A test that takes longer is an error, and the remaining tests still run. Rejected
    policies are reported, not raised. If *opa* is set, it runs the tests instead of the embedded
    engine.
    """
    started = time.perf_counter()
    digest: str | None = None
    results: list[TestResult] = []
    findings: tuple[Finding, ...] = ()
    try:
        policies = load_policies(paths, data=data)
        digest = policies.digest
        if opa is not None:
            results = _run_on_opa(policies, opa)
            return TestReport(tuple(results), (), digest, (time.perf_counter() - started) * 1000)
        with Workbench(time_limit=time_limit) as bench:
            compiled = compile_policies(policies, bench)
            results = _with_decisions(run_policy_tests(compiled, bench), compiled, bench)
    except PolicyLoadError as error:
        findings = error.findings
    return TestReport(tuple(results), findings, digest, (time.perf_counter() - started) * 1000)


def _run_on_opa(policies: PolicySet, opa: OpaProgram) -> list[TestResult]:
    """Run the tests with *opa*. Raises ``PolicyLoadError`` if a private OPA would refuse the
    policies.
    """
    require_accepted(policies, opa)
    if not policies.tests:
        return []
    messages = {
        TestOutcome.FAIL: "it is not true on OPA",
        TestOutcome.ERROR: "OPA could not evaluate it",
        TestOutcome.SKIP: "not written yet",
    }
    return [
        TestResult(
            name=each.name,
            file=each.file,
            line=each.line,
            outcome=TestOutcome(each.state),
            message=messages.get(TestOutcome(each.state), ""),
            milliseconds=each.milliseconds,
        )
        for each in test_results(policies, opa)
    ]


def _with_decisions(
    results: Sequence[TestResult], compiled: CompiledPolicies, bench: Workbench
) -> list[TestResult]:
    """Return *results*, with the decisions added to the messages of failed tests."""
    failed = {result.name for result in results if result.outcome is TestOutcome.FAIL}
    try:
        got = verdicts(compiled, bench, failed) if failed else {}
    except EngineRefusal:
        got = {}
    return [
        replace(result, message=f"{result.message}; {_describe_decisions(got[result.name])}")
        if result.name in got
        else result
        for result in results
    ]


def _describe_decisions(got: Sequence[FiredRules]) -> str:
    shown = sorted({_verdict(each) for each in got})
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"the decision was {' / '.join(shown[:_SHOWN])}{more}"


def _verdict(got: FiredRules) -> str:
    """Describe one decision: its effect, and the rules that fired, grouped by effect."""
    rules = ", ".join(f"{effect} {rule!a}" for effect, rule in sorted(got.rules))
    return f"{got.effect or 'no decision'} ({rules or 'no rule fired'})"
