"""Checks that policies can be served: parses them, runs each engine's checks, evaluates sample
calls, and runs the lints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.authoring.fixes.edits import FixContext, can_fix
from guardrail.authoring.lints.check import Lint, LintReport, SuppressionFilter, lint_modules
from guardrail.authoring.lints.shape import InputShape
from guardrail.authoring.lints.tested import check as check_tested
from guardrail.authoring.lints.zones import check_offsets
from guardrail.core.types import Json
from guardrail.errors import (
    ConfigError,
    Finding,
    GuardrailError,
    PolicyError,
    PolicyLoadError,
)
from guardrail.policy.cross_check.comparison import cross_check, describe
from guardrail.policy.embedded.compiled import (
    CompiledPolicies,
    Progress,
    compile_policies,
    parse_sources,
)
from guardrail.policy.embedded.observed import fired, observe
from guardrail.policy.embedded.process import ENGINE, ENGINE_VERSION
from guardrail.policy.embedded.rehearsal import check_samples
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.input_schema import schema_folder
from guardrail.policy.opa.check import ask_opa, contract_findings, repeats
from guardrail.policy.opa.program import OpaProgram, reason_without_opa
from guardrail.policy.rego.contract import remarks
from guardrail.policy.rego.rewriting.prints import print_remarks
from guardrail.policy.rego.tree import Module
from guardrail.policy.sources import PolicySet, load_policies

__all__ = ["CheckReport", "EngineResult", "EngineState", "EvaluatedPackage", "check", "findings_of"]


_MAX_MARKED = 200
"""Maximum number of findings for which a fix is looked for, because each takes time."""

_INSTALL = "install OPA 1 on PATH, or set GUARDRAIL_OPA to its path"


class EngineState(StrEnum):
    """The result of one engine's checks."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    """The engine's program is not installed, so only the other engine's checks ran."""
    FAILED = "failed"
    """The engine's program failed without a result, or it is the only one that counts and is not
    installed.
    """
    NOT_ASKED = "not_asked"
    """The policies could not be read, so the engine was not asked."""


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One engine's result for the policies."""

    engine: str
    """``embedded``, ``opa``, or ``both`` for the comparison of their decisions."""
    state: EngineState
    about: str
    """The engine's version, or the reason why its checks did not run, in one line."""
    findings: tuple[Finding, ...]
    """The engine's own findings. Violations of guardrail's own rules, which apply with any engine,
    are listed under ``embedded``.
    """
    hint: str = ""
    """The next step if its program failed."""


@dataclass(frozen=True, slots=True)
class EvaluatedPackage:
    """The text of one package in the form that the embedded engine evaluates."""

    package: str
    """Its name, with dots."""
    text: str
    """All files of the package as one module."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Result of a check. All fields hold built-in types, so the result of ``dataclasses.asdict`` is
    JSON-serializable.
    """

    files: int
    """Number of the authors' modules that were read, tests included."""
    findings: tuple[Finding, ...]
    """The reasons why an engine rejects the policies. Each is also listed with its engine.

    If the embedded engine rejects a line for the same reason as OPA, OPA's finding is listed only
    with OPA.
    """
    remarks: tuple[Finding, ...]
    """Constructs that are allowed but probably mistakes, and those that make the embedded engine
    deny calls that OPA decides.
    """
    digest: str | None
    """The policies' digest as it would appear in records, or None if the files could not be
    read.
    """
    milliseconds: float
    engines: tuple[EngineResult, ...] = ()
    lints: tuple[Lint, ...] = ()
    """Constructs that are allowed but can let a call through."""
    tests: int = 0
    """Number of test files. A check does not run them, but a guard loads the policies only if their
    tests pass.
    """
    ignored: int = 0
    """Number of lints suppressed by ``guardrail:ignore`` comments."""
    fixable: tuple[Finding, ...] = ()
    """Those of the first 200 findings that ``guardrail policy check --fix`` can probably remove."""
    evaluated: tuple[EvaluatedPackage, ...] = ()
    """The texts that are evaluated, if they were asked for and the policies would load."""

    @property
    def ok(self) -> bool:
        """True if every available engine would load these policies, whether or not their own tests
        pass. If OPA serves the policies, only OPA counts.
        """
        return not self.findings

    @property
    def answered(self) -> bool:
        """True if no engine's program failed."""
        return not any(said.state is EngineState.FAILED for said in self.engines)


def check(
    paths: Sequence[Path],
    *,
    data: Mapping[str, Json] | None = None,
    zones: Sequence[str] = (),
    tools: Mapping[str, Mapping[str, Any]] | None = None,
    opa: OpaProgram | None = None,
    opa_serves: bool = False,
    time_limit: float = 10.0,
    progress: Callable[[str], Progress] | None = None,
    show_rewritten: bool = False,
) -> CheckReport:
    """Check the policies below *paths*. Return every finding; rejected policies are not raised.

    The policies are parsed, checked by the embedded engine's preflight, and evaluated on a few
    complete calls, whose decisions must be well-formed. If *opa* is set, it checks the policies
    too, and the decisions of both engines are compared. *progress* returns, for the name of a part
    of the work, a function that is called with the number of steps done and the total number. If
    *opa_serves* is True, OPA will evaluate the policies, so only its findings and those of the
    contract count. Lints are reported even if an engine rejects the policies. *tools* maps tool
    names to the JSON Schemas of their arguments; without it, any argument may be missing. *zones*
    are those in the settings. *time_limit* (seconds) applies to each query to the embedded engine.
    If *show_rewritten* is True, the report contains the texts that are evaluated.
    """
    started = time.perf_counter()
    try:
        policies = load_policies(paths, data=data, zones=zones)
    except PolicyLoadError as error:
        return _unread(error, opa, (time.perf_counter() - started) * 1000)
    watch = progress if progress is not None else _unwatched
    with Workbench(time_limit=time_limit) as bench:
        findings, compiled = _compile_policies(policies, bench, watch("rewriting policies: step"))
        parsed = _parsed_modules(policies, findings, compiled, bench)
        watch_lints = watch("looking for mistakes: rule")
        found = lint_modules(parsed, policies.data, InputShape(tools), progress=watch_lints)
        lints = _lint(found, parsed, compiled, bench)
        engines = [_embedded_result(findings), _opa_result(opa, policies, schema_folder(paths))]
        both, stricter = _compared(opa, policies, compiled, bench, engines=engines, watch=watch)
        engines += both
    said_again = [found for found in engines[1].findings if repeats(found, findings)]
    counted = [each for said in engines for each in said.findings if each not in said_again]
    if opa_serves:
        counted = [*contract_findings(policies), *engines[1].findings]
        if opa is None and findings:
            # Only OPA knows whether it loads policies that the embedded engine refuses.
            about = f"{engines[1].about}, but OPA evaluates these policies: see [policy] engine"
            engines[1] = EngineResult("opa", EngineState.FAILED, about, (), _INSTALL)
    return CheckReport(
        files=sum(not source.installed for source in policies.modules) + len(policies.tests),
        findings=tuple(counted),
        fixable=tuple(_fixable(counted, policies, opa)),
        remarks=(*remarks(parsed), *print_remarks(parsed), *(() if opa_serves else stricter)),
        digest=policies.digest,
        milliseconds=(time.perf_counter() - started) * 1000,
        engines=tuple(engines),
        lints=lints.lints,
        tests=len(policies.tests),
        ignored=lints.ignored,
        evaluated=_evaluated(compiled) if show_rewritten and compiled is not None else (),
    )


def findings_of(
    policies: PolicySet, paths: Sequence[Path], *, opa: OpaProgram | None = None
) -> Sequence[Finding]:
    """Return the reasons why *policies*, which are below *paths*, would be rejected: those of the
    embedded engine or, if *opa* is set because it evaluates them, those of OPA and the contract.
    """
    if opa is not None:
        own = contract_findings(policies)
        return [*own, *_opa_result(opa, policies, schema_folder(paths)).findings]
    with Workbench() as bench:
        return _compile_policies(policies, bench, lambda _done, _total: None)[0]


def _fixable(
    findings: Sequence[Finding], policies: PolicySet, opa: OpaProgram | None
) -> Iterator[Finding]:
    sources = (*policies.modules, *policies.tests)
    texts = {each.name: each.text for each in sources if not each.installed}
    context = FixContext(texts, opa)
    for finding in findings[:_MAX_MARKED]:
        if finding.file in texts and can_fix(texts[finding.file], finding, context):
            yield finding


def _unread(error: PolicyLoadError, opa: OpaProgram | None, took: float) -> CheckReport:
    return CheckReport(
        files=0,
        findings=error.findings,
        remarks=(),
        digest=None,
        milliseconds=took,
        engines=(_embedded_result(error.findings), _opa_result(opa, None)),
    )


def _evaluated(compiled: CompiledPolicies) -> tuple[EvaluatedPackage, ...]:
    """Return the texts of the authors' packages."""
    own = {module.package for module in compiled.parsed if not module.source.installed}
    return tuple(
        EvaluatedPackage(".".join(module.package), module.text)
        for module in (*compiled.modules, *compiled.tests)
        if module.package in own
    )


def _unwatched(_: str) -> Progress:
    return lambda _done, _total: None


def _compile_policies(
    policies: PolicySet, bench: Workbench, progress: Progress
) -> tuple[Sequence[Finding], CompiledPolicies | None]:
    try:
        compiled = compile_policies(policies, bench, progress=progress)
    except PolicyLoadError as error:
        return error.findings, None
    return check_samples(compiled, bench), compiled


def _parsed_modules(
    policies: PolicySet,
    findings: Sequence[Finding],
    compiled: CompiledPolicies | None,
    bench: Workbench,
) -> Sequence[Module]:
    """Return all modules in parsed form, or an empty sequence if any module is not valid Rego."""
    if compiled is not None:
        return compiled.parsed
    if any(finding.code == "syntax" for finding in findings):
        return ()
    return parse_sources(policies.modules, policies.tests, bench)[0]


def _lint(
    found: list[Lint],
    parsed: Sequence[Module],
    compiled: CompiledPolicies | None,
    bench: Workbench,
) -> LintReport:
    """Add the lints about rules that no test covers to *found*, and remove suppressed ones."""
    if compiled is not None:
        # Rules that can't be evaluated do not fire in any test; the findings give the reason.
        try:
            seen = observe(compiled, bench)
            found = [*found, *check_offsets(compiled, seen)]
            found += check_tested(parsed, fired(compiled, bench, seen))
        except EngineRefusal:
            pass
    return SuppressionFilter(parsed).filter(found)


def _embedded_result(findings: Sequence[Finding]) -> EngineResult:
    state = EngineState.REFUSED if findings else EngineState.ACCEPTED
    return EngineResult("embedded", state, f"{ENGINE} {ENGINE_VERSION}", tuple(findings))


def _compared(
    program: OpaProgram | None,
    policies: PolicySet,
    compiled: CompiledPolicies | None,
    bench: Workbench,
    *,
    engines: Sequence[EngineResult],
    watch: Callable[[str], Progress],
) -> tuple[list[EngineResult], Sequence[Finding]]:
    """Return the result of the comparison, and remarks about the embedded engine's errors. Both are
    empty unless all *engines* accepted the policies.
    """
    if any(said.state is not EngineState.ACCEPTED for said in engines):
        return [], ()
    assert program is not None
    assert compiled is not None
    try:
        progress = watch("calls compared:")
        found = cross_check(policies, compiled, bench, program, progress=progress)
    except PolicyLoadError as error:
        return [EngineResult("both", EngineState.REFUSED, "not compared", error.findings)], ()
    except (PolicyError, ConfigError, EngineRefusal) as error:
        if isinstance(error, GuardrailError):
            return [EngineResult("both", EngineState.FAILED, error.message, (), error.hint)], ()
        return [EngineResult("both", EngineState.FAILED, "the tests can't be loaded", ())], ()
    if found.findings:
        differ = EngineResult("both", EngineState.REFUSED, "the decisions differ", found.findings)
        return [differ], found.remarks
    same = "same decisions, apart from errors" if found.remarks else "same decisions"
    about = f"{same}: {describe(found)}"
    return [EngineResult("both", EngineState.ACCEPTED, about, ())], found.remarks


def _opa_result(
    program: OpaProgram | None, policies: PolicySet | None, schemas: Path | None = None
) -> EngineResult:
    if program is None:
        return EngineResult("opa", EngineState.NOT_FOUND, reason_without_opa(), ())
    if policies is None:
        return EngineResult("opa", EngineState.NOT_ASKED, "the policies can't be read", ())
    try:
        found = ask_opa(program, (*policies.modules, *policies.tests), schemas=schemas)
    except ConfigError as error:
        return EngineResult("opa", EngineState.FAILED, error.message, (), error.hint)
    state = EngineState.REFUSED if found else EngineState.ACCEPTED
    return EngineResult("opa", state, f"opa check --strict, {program.path}", tuple(found))
