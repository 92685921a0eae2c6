"""Whether policies could be served: parsed, judged, and asked about complete sample calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.core.types import Json
from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.compiled import compile_policies
from guardrail.policy.contract import remarks
from guardrail.policy.rehearsal import check_samples
from guardrail.policy.sources import load_policies
from guardrail.policy.workbench import Workbench

__all__ = ["CheckReport", "check"]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found. Plain values throughout: ``dataclasses.asdict`` gives something JSON can hold."""

    files: int
    """Modules of authors that were read, tests included."""
    findings: tuple[Finding, ...]
    """Reasons why an engine would refuse to load."""
    remarks: tuple[Finding, ...]
    """What is allowed and probably a mistake."""
    digest: str | None
    """As it would stand in records; None where the files can't be read."""
    milliseconds: float

    @property
    def ok(self) -> bool:
        """Whether an engine would load these policies, their own tests left out."""
        return not self.findings


def check(
    paths: Sequence[Path], *, data: Mapping[str, Json] | None = None, time_limit: float = 10.0
) -> CheckReport:
    """Return everything that is wrong with the policies below *paths*. Does not raise for policies that are refused.

    Parse, preflight and contract: the composed decision on a few complete calls must be well-formed. *time_limit* in
    seconds holds for each question that the engine is asked.
    """
    started = time.perf_counter()

    def report(
        files: int, digest: str | None, findings: Sequence[Finding], noted: Sequence[Finding] = ()
    ) -> CheckReport:
        elapsed = (time.perf_counter() - started) * 1000
        return CheckReport(files, tuple(findings), tuple(noted), digest, elapsed)

    try:
        policies = load_policies(paths, data=data)
    except PolicyLoadError as error:
        return report(0, None, error.findings)
    files = sum(not source.installed for source in policies.modules) + len(policies.tests)
    with Workbench(time_limit=time_limit) as bench:
        try:
            compiled = compile_policies(policies, bench)
        except PolicyLoadError as error:
            return report(files, policies.digest, error.findings)
        findings = check_samples(compiled, bench)
    return report(files, policies.digest, findings, list(remarks(compiled.parsed)))
