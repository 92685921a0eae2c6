"""Implements ``guardrail policy check``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.app import Exit
from guardrail.cli.commands import policy_fix
from guardrail.cli.commands.policy import (
    PATHS,
    configured_engine,
    configured_zones,
    policy_paths,
    print_untested,
    settings_about,
    tools_option,
)
from guardrail.cli.findings import print_finding, print_findings
from guardrail.cli.options import config_option, json_option
from guardrail.cli.output import Progress, Style, data, emit_json, field, paint, prose, sentence
from guardrail.core.words import counted
from guardrail.errors import Finding
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.authoring.check import CheckReport, EngineResult
    from guardrail.authoring.lints.check import Lint
    from guardrail.policy.opa.program import OpaProgram

__all__ = ["check", "find_program"]

_DESPITE = "A guard loads policies with warnings; with --strict, this command exits with code 1."
_FIX = "guardrail policy check --fix can do this"
_INDENT = 21
"""Number of columns before an engine's description."""


@click.command(short_help="Check that a guard can load the policies, and explain any problems.")
@PATHS
@config_option
@json_option
@tools_option
@click.option("--strict", is_flag=True, help="Exit with code 1 if there are warnings.")
@click.option(
    "--show-rewritten", is_flag=True, help="Also print the text that the embedded engine evaluates."
)
@click.option(
    "--fix", "fix", is_flag=True, help="First fix what can be fixed mechanically, in the files."
)
@click.option("--dry-run", is_flag=True, help="With --fix: show the changes, but write nothing.")
def check(
    *,
    paths: Sequence[Path],
    config: Path | None,
    as_json: bool,
    tools: Path | None,
    strict: bool,
    show_rewritten: bool,
    fix: bool,
    dry_run: bool,
) -> int:
    """Check that the policies below PATH (default: those in the settings) would load, and warn
    about likely mistakes.

    The command parses the policies, looks for constructs that the embedded engine is known to
    evaluate differently from OPA, and evaluates a few complete calls. If it finds an opa program
    (at the path in GUARDRAIL_OPA, otherwise on PATH), the command also runs opa's strict check, and
    compares the decisions of both engines: in every test, for changed copies of the calls in the
    tests, and for 200 generated calls. Warnings point out constructs that both engines accept but
    that can let a call through by mistake. The command does not run the policies' own tests: run
    them with `guardrail policy test`, because a guard loads the policies only if they pass. Exit
    code 0: the policies would be loaded if their tests pass; 1: an engine refuses them, or there
    are warnings with --strict; 3: they could not be read, or opa failed to run.
    """
    from guardrail.authoring.check import check as look
    from guardrail.authoring.tools_file import load_tools

    if dry_run and not fix:
        raise click.UsageError("--dry-run needs --fix")
    schemas = load_tools(tools) if tools is not None else None
    chosen, opa = policy_paths(paths, config), find_program(paths, config)
    opa_serves = configured_engine(paths, config) == "opa"
    zones = configured_zones(paths, config)
    fixed = policy_fix.run(chosen, opa, opa_serves=opa_serves, dry_run=dry_run) if fix else None
    progress = Progress("checked")
    try:
        report = look(
            chosen,
            zones=zones,
            tools=schemas,
            opa=opa,
            opa_serves=opa_serves,
            progress=progress.about,
            show_rewritten=show_rewritten,
        )
    finally:
        progress.clear()
    code = _exit_code(report, strict=strict)
    if as_json:
        shown_fields = asdict(report)
        if not show_rewritten:
            del shown_fields["evaluated"]
        changes = {"fix": asdict(fixed)} if fixed is not None else {}
        emit_json({"exit": int(code), "ok": report.ok, **shown_fields, **changes})
        return code
    if fixed is not None:
        policy_fix.show(fixed, dry_run=dry_run)
    _show(report, schemas, strict=strict, findings=not (dry_run and fixed and fixed.files))
    return code


def find_program(paths: Sequence[Path], config: Path | None) -> OpaProgram | None:
    """Return the ``opa`` program in the settings of the policies at *paths*, or the installed one,
    or None; see ``settings_about``.

    Raises ``ConfigError`` if the program that the settings or ``GUARDRAIL_OPA`` name can't be used.
    """
    from guardrail.policy.opa.program import optional_opa

    settings = settings_about(paths, config)
    if settings is None or settings.opa.program is None:
        return optional_opa(None)
    return optional_opa(settings.trusted_opa.program)


def _show(
    report: CheckReport, tools: Collection[str] | None, *, strict: bool, findings: bool
) -> None:
    """Print the report. *findings* is False if the findings that matter were shown before."""
    for package in report.evaluated:
        data(f"# {package.package}")
        for line in package.text.splitlines():
            data(line)
    for said in report.engines if findings else ():
        label = "" if said.engine == "embedded" else f"{said.engine}: "
        shown = [finding for finding in said.findings if finding in report.findings]
        print_findings(_with_way(shown, report), Style.BAD, label=label)
    print_findings(report.remarks, Style.WARN)
    _lints(report.lints)
    _verdict(report, tools, strict=strict)
    for said in report.engines:
        _engine(said)


def _with_way(findings: Iterable[Finding], report: CheckReport) -> Iterator[Finding]:
    """Yield *findings*. The hints of those that ``--fix`` can remove say so."""
    for finding in findings:
        if finding in report.fixable:
            hint = f"{finding.hint}; {_FIX}" if finding.hint else _FIX
            yield replace(finding, hint=hint)
        else:
            yield finding


def _exit_code(report: CheckReport, *, strict: bool) -> Exit:
    if not report.ok or (strict and report.lints):
        return Exit.NO
    return Exit.YES if report.answered else Exit.UNKNOWN


def _lints(lints: Iterable[Lint]) -> None:
    for lint in lints:
        place = one_line(f"{lint.file}:{lint.line}")
        code = f"[{lint.severity}: {lint.code}]"
        print_finding(place, lint.message, (code, Style.WARN), lint.hint)


def _engine(result: EngineResult) -> None:
    from guardrail.authoring.check import EngineState

    looks = {EngineState.ACCEPTED: Style.GOOD, EngineState.NOT_FOUND: Style.WARN}
    state = paint(f"{result.state.replace('_', ' '):<9}", looks.get(result.state, Style.BAD))
    first, *rest = prose(one_line(result.about), indent=_INDENT)
    data(f"{result.engine:<8}  {state}  {first}")
    if result.hint:
        rest += prose(one_line(f"next: {result.hint}"), indent=_INDENT)
    for line in rest:
        data(" " * _INDENT + line)


def _counts(report: CheckReport, tools: Collection[str] | None) -> str:
    parts = [counted(report.files, "file"), counted(len(report.findings), "finding")]
    if tools is not None:
        parts.insert(1, counted(len(tools), "tool"))
    if report.remarks:
        parts.append(counted(len(report.remarks), "remark"))
    if report.lints:
        parts.append(counted(len(report.lints), "warning"))
    if report.ignored:
        parts.append(f"{report.ignored:,} ignored")
    return ", ".join(parts)


def _verdict(report: CheckReport, tools: Collection[str] | None, *, strict: bool) -> None:
    verdict = ("REFUSED", Style.BAD)
    if report.ok:
        verdict = ("OK, WITH WARNINGS", Style.WARN) if report.lints else ("OK", Style.GOOD)
    if report.ok and report.lints and strict:
        verdict = ("REFUSED BY --strict", Style.BAD)
    elif report.ok and not report.answered:
        verdict = ("NOT ANSWERED", Style.WARN)
    for line in sentence(verdict, ("", Style.PLAIN), (_counts(report, tools), Style.PLAIN)):
        data(line)
    if report.ok and report.lints:
        for line in prose(_DESPITE, indent=10):
            data(f"{'':<10}{line}")
    if report.ok and report.tests:
        print_untested(report.tests, width=9)
        data(f"{'':<10}A guard loads these policies only if their tests pass.")
    if report.digest:
        for line in field("digest    ", report.digest):
            data(line)
