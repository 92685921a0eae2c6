"""Running the tests that policies bring along."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.core.types import Json
from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.compiled import compile_policies
from guardrail.policy.rehearsal import TestOutcome, TestResult, run_policy_tests
from guardrail.policy.sources import load_policies
from guardrail.policy.workbench import Workbench

__all__ = ["TestOutcome", "TestReport", "TestResult", "run_tests"]


@dataclass(frozen=True, slots=True)
class TestReport:
    """What was run. Plain values throughout: ``dataclasses.asdict`` gives something JSON can hold."""

    __test__ = False  # for pytest: not a class of tests

    results: tuple[TestResult, ...]
    """By file and line."""
    findings: tuple[Finding, ...]
    """Why the policies were refused; then no test was run."""
    digest: str | None
    milliseconds: float

    @property
    def ok(self) -> bool:
        """Whether the policies were accepted and no test failed. True where there are none: see ``results``."""
        bad = {TestOutcome.FAIL, TestOutcome.ERROR}
        return not self.findings and not any(result.outcome in bad for result in self.results)

    def count(self, outcome: TestOutcome) -> int:
        """Return how many tests ended that way."""
        return sum(result.outcome is outcome for result in self.results)


def run_tests(
    paths: Sequence[Path], *, data: Mapping[str, Json] | None = None, time_limit: float = 10.0
) -> TestReport:
    """Run every ``test_...`` rule of the ``*_test.rego`` files below *paths*, in a worker process.

    A test passes where its rule is true; ``todo_test_...`` is skipped. *time_limit* in seconds holds for each of them:
    one that takes longer is an error, and the others go on. Does not raise for policies that are refused.
    """
    started = time.perf_counter()
    digest: str | None = None
    results: list[TestResult] = []
    findings: tuple[Finding, ...] = ()
    try:
        policies = load_policies(paths, data=data)
        digest = policies.digest
        with Workbench(time_limit=time_limit) as bench:
            results = run_policy_tests(compile_policies(policies, bench), bench)
    except PolicyLoadError as error:
        findings = error.findings
    return TestReport(tuple(results), findings, digest, (time.perf_counter() - started) * 1000)
