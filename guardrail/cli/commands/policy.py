"""Implements ``guardrail policy``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.entries import CommandActor, CommandEntry
from guardrail.cli.findings import print_findings
from guardrail.cli.options import config_option, json_option, ledger_options, settings_of
from guardrail.cli.output import Style, data, emit_json, paint, prose, remark, sentence
from guardrail.cli.render import milliseconds
from guardrail.core.words import counted
from guardrail.errors import ConfigError, PolicyLoadError
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.authoring.test import TestReport, TestResult
    from guardrail.config import Settings
    from guardrail.policy.opa.program import OpaProgram

__all__ = [
    "PATHS",
    "configured_engine",
    "configured_zones",
    "policy",
    "policy_paths",
    "reload",
    "settings_about",
    "test",
    "tools_option",
]

PATHS = click.argument(
    "paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path, readable=False)
)
tools_option = click.option(
    "--tools",
    "tools",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    metavar="FILE",
    help=(
        'JSON schemas of the tools\' arguments, as {"tool": schema}. Without them, any argument may'
        " be missing."
    ),
)
_HERE = "guardrail.cli.commands.policy"
_CHECK = "guardrail.cli.commands.policy_check"
_BUNDLE = "guardrail.cli.commands.policy_bundle"
_EVAL = "guardrail.cli.commands.policy_eval"
_POLL = 0.1


@click.group(
    cls=LazyGroup,
    entries={
        "check": CommandEntry(
            _CHECK, "check", "Check that a guard can load the policies, and explain any problems."
        ),
        "test": CommandEntry(_HERE, "test", "Run the policies' own tests."),
        "eval": CommandEntry(
            _EVAL,
            "evaluate",
            "Evaluate the policies for one call, and explain the decision.",
            instead="tool",
        ),
        "schema": CommandEntry(
            f"{_HERE}_schema", "schema", "Print the JSON Schema of the policy input."
        ),
        "bundle": CommandEntry(_BUNDLE, "bundle", "Build a bundle for OPA servers."),
        "push": CommandEntry(_BUNDLE, "push", "Upload the policies to a development server."),
        "reload": CommandEntry(
            _HERE,
            "reload",
            "Ask running guards to reload their policies.",
            actor=CommandActor.OPERATOR,
        ),
    },
    short_help="Check, test, evaluate, bundle and reload policies.",
)
def policy() -> None:
    """Check, test, evaluate, bundle and reload policies."""


def policy_paths(paths: Sequence[Path], config: Path | None) -> Sequence[Path]:
    """Return the paths of the policies to examine. Raises ``ConfigError`` if any of them does not
    exist.
    """
    settings = None if paths else settings_of(config)
    chosen = paths if settings is None else settings.policy.path
    hint = "set PATH to the policy folder, or omit it to use the policies in the settings"
    if settings is not None:
        from guardrail.wiring.missing_policies import way_to_policies

        hint = way_to_policies(settings)
    for path in chosen:
        if not path.exists():
            raise ConfigError(
                f"{path}: there are no policies at this path", code="config.policies", hint=hint
            )
    return chosen


def settings_about(paths: Sequence[Path], config: Path | None) -> Settings | None:
    """Return the settings of the policies at *paths*: those in *config*, or the settings found here
    if *paths* is empty or contains exactly their policies. Otherwise, return None.
    """
    if config is not None or not paths:
        return settings_of(config)
    try:
        found = settings_of(None)
    except ConfigError:
        return None  # these policies may belong to no settings
    own = {path.resolve() for path in found.policy.path}
    return found if own == {path.resolve() for path in paths} else None


def configured_engine(paths: Sequence[Path], config: Path | None) -> str:
    """Return ``[policy] engine`` for the policies at *paths*; see ``settings_about``."""
    settings = settings_about(paths, config)
    return "embedded" if settings is None else settings.policy.engine


def configured_zones(paths: Sequence[Path], config: Path | None) -> Sequence[str]:
    """Return ``[policy] time_zones`` for the policies at *paths*; see ``settings_about``."""
    from guardrail.wiring.zones import require_known_zones

    settings = settings_about(paths, config)
    if settings is None:
        return ()
    require_known_zones(settings)
    return settings.policy.time_zones


def print_untested(tests: int, *, width: int = 8) -> None:
    """Print that the tests in *tests* files were not run, and the command that runs them."""
    word = paint("not run", Style.WARN)
    data(f"{'tests':<{width}} {word}: {counted(tests, 'test file')}; run guardrail policy test")


@click.command(short_help="Run the policies' own tests.")
@PATHS
@config_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Also show the tests that passed.")
@click.option(
    "--mutate",
    is_flag=True,
    help="Also change calls that rules stop, one argument at a time, and report changed calls "
    "that are allowed.",
)
@tools_option
@click.option(
    "--limit",
    type=click.FloatRange(min=1, max=86_400),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for --mutate.",
)
def test(
    *,
    paths: Sequence[Path],
    config: Path | None,
    as_json: bool,
    verbose: bool,
    mutate: bool,
    tools: Path | None,
    limit: float,
) -> int:
    """Run every test_ rule in the *_test.rego files below PATH (default: the policies in the
    settings).

    A test passes if its rule is true. With --mutate, the command takes each call for which a deny
    or require_approval rule fires in a test, evaluates it again with one argument deleted, null,
    empty or of a different type, and reports the changed calls that are allowed. Exit code 0: all
    tests passed; 1: a test failed, a changed call is allowed, or the policies are refused; 3: the
    policies could not be read; 5: there are no tests, or the limit was reached.
    """
    from guardrail.authoring.test import run_tests
    from guardrail.cli.commands import policy_mutate

    chosen = policy_paths(paths, config)
    report = run_tests(chosen, opa=_serving_opa(paths, config))
    code = _test_code(report)
    # Failing tests do not show which calls the policy is meant to stop.
    mutation = policy_mutate.run(chosen, tools, limit) if mutate and report.ok else None
    if mutation is not None and code is Exit.YES:
        code = policy_mutate.code_of(mutation)
    if as_json:
        found = asdict(mutation) if mutation is not None else None
        emit_json({"exit": int(code), "ok": report.ok, **asdict(report), "mutation": found})
        return code
    print_findings(report.findings, Style.BAD)
    for result in report.results:
        _result(result, verbose=verbose)
    _summary(report)
    if mutation is not None:
        policy_mutate.show(mutation)
    return code


def _serving_opa(paths: Sequence[Path], config: Path | None) -> OpaProgram | None:
    """Return the program that runs the tests if OPA evaluates the policies, otherwise None."""
    from guardrail.policy.opa.program import optional_opa, require_opa

    settings = settings_about(paths, config)
    if settings is None or settings.policy.engine != "opa":
        return None
    section = settings.trusted_opa
    # A server elsewhere needs no program here.
    return (optional_opa if section.url else require_opa)(section.program)


def _test_code(report: TestReport) -> Exit:
    if not report.ok:
        return Exit.NO
    return Exit.YES if report.results else Exit.RESERVED


def _result(result: TestResult, *, verbose: bool) -> None:
    from guardrail.authoring.test import TestOutcome

    styles = {TestOutcome.PASS: Style.GOOD, TestOutcome.SKIP: Style.WARN}
    if result.outcome is TestOutcome.PASS and not verbose:
        return
    style = styles.get(result.outcome, Style.BAD)
    place = one_line(f"{result.file}:{result.line}")
    took = f"{milliseconds(result.milliseconds)} ms"
    for line in sentence(
        (f"{result.outcome.value:<5}", style),
        ("", Style.PLAIN),
        (f"{name(result.name)}  {took}", Style.PLAIN),
        indent=7,
    ):
        data(line)
    if result.message:
        for line in prose(one_line(f"{place}: {result.message}"), indent=7):
            data(f"       {line}")


def _summary(report: TestReport) -> None:
    from guardrail.authoring.test import TestOutcome

    if report.findings:
        data(f"{paint('REFUSED', Style.BAD)}  no test was run")
        return
    if not report.results:
        data(
            f"{paint('NO TESTS', Style.WARN)}  write test_ rules in a file named "
            "something_test.rego"
        )
        return
    counts = [
        f"{report.count(outcome)} {word}"
        for outcome, word in (
            (TestOutcome.PASS, "passed"),
            (TestOutcome.FAIL, "failed"),
            (TestOutcome.ERROR, "in error"),
            (TestOutcome.SKIP, "skipped"),
        )
        if report.count(outcome)
    ]
    verdict = paint("OK", Style.GOOD) if report.ok else paint("FAILED", Style.BAD)
    data(f"{verdict}  {', '.join(counts)}, {milliseconds(report.milliseconds)} ms")


@click.command(short_help="Ask running guards to reload their policies.")
@ledger_options
@click.option(
    "--wait",
    type=click.FloatRange(min=0, max=300),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the guards' responses.",
)
def reload(config: Path | None, ledger: Path | None, wait: float) -> int:
    """Ask the guards that use this ledger to reload their policies, and show each guard's response.

    The command first loads and tests the policies itself. If they are refused, it does not ask the
    guards. Guards also reload their settings file. They apply changes to [opa] and [policy], except
    to `input`, and report other changed settings, which require a restart. Exit code 0: every
    process that uses the ledger loaded the policies; 1: the policies were refused; 5: not all
    processes have responded, none is running, or a restart is required.
    """
    from guardrail.wiring.engines import load_engine
    from guardrail.wiring.opening import open_journal
    from guardrail.wiring.reload import request

    settings = settings_of(config, ledger)
    try:
        engine = load_engine(settings)
    except PolicyLoadError as error:
        print_findings(error.findings, Style.BAD)
        data(f"{paint('REFUSED', Style.BAD)}  no guard was asked to load these policies")
        return Exit.NO
    digest = _policies_name(asdict(engine.identity))
    engine.close()
    _guards_and_size(settings)  # refuses a ledger that does not exist
    with contextlib.closing(open_journal(settings, epochs=False)[0]) as journal:
        journal.admin("reload_requested", {"digest": digest})
    alive, start = _guards_and_size(settings)
    request(settings.ledger.path, digest)
    data(f"asked guards to load policies {one_line(digest)}")
    return _wait_for_answers(settings, digest, alive, start, wait)


def _policies_name(identity: Mapping[str, Any]) -> str:
    """Return the policies' digest, or their revision if the server does not report a digest."""
    return str(identity.get("digest") or identity.get("revision") or "")


def _guards_and_size(settings: Settings) -> tuple[int, int]:
    """Return the number of processes that use the ledger, and the number of records."""
    from guardrail.ledger.files import leases_path
    from guardrail.ledger.lease import Leases, ProcessState
    from guardrail.ledger.reader import LedgerReader

    leases = Leases(leases_path(settings.ledger.path))
    alive = sum(
        leases.process_state(process) is ProcessState.ALIVE for process in leases.processes()
    )
    with LedgerReader.open(settings.ledger.path) as reader:
        return alive, reader.size()


def _wait_for_answers(settings: Settings, digest: str, alive: int, start: int, wait: float) -> Exit:
    """Report the guards' records, starting with record *start*, until all guards have responded or
    the time is up.
    """
    from guardrail.ledger.reader import LedgerReader

    until = time.monotonic() + wait
    loaded: set[str] = set()
    refused: set[str] = set()
    restart: set[str] = set()
    with LedgerReader.open(settings.ledger.path) as reader:
        while alive:
            for seq, _, line in reader.lines(start):
                start = seq + 1
                _print_answer(line, digest, loaded, refused, restart)
            if len(loaded | refused) >= alive or time.monotonic() >= until:
                break
            time.sleep(_POLL)
    if refused:
        return Exit.NO
    if not alive:
        remark(
            "No process is using this ledger; the next process that opens it loads these policies."
        )
        return Exit.RESERVED
    if len(loaded) < alive:
        remark(
            f"{len(loaded)} of {counted(alive, 'process')} loaded the policies within {wait:g} s."
        )
        return Exit.RESERVED
    if restart:
        remark(
            "To apply the settings that a reload does not apply, restart the programs that use "
            "the ledger."
        )
        return Exit.RESERVED
    return Exit.YES


def _print_answer(
    line: bytes, digest: str, loaded: set[str], refused: set[str], restart: set[str]
) -> None:
    from guardrail.review.records import parse
    from guardrail.review.values import obj, text

    record: dict[str, Any] = parse(line)
    kind, process = text(record, "type"), text(record, "origin", "process")
    where = f"{name(text(record, 'origin', 'host'))} pid {obj(record, 'origin').get('pid')}"
    if kind == "admin.policy_refused":
        refused.add(process)
        data(f"{paint('refused', Style.BAD)}  by {one_line(where)}, which keeps the old policies")
    elif (
        kind == "admin.policy_loaded" and _policies_name(obj(record, "detail", "policy")) == digest
    ):
        loaded.add(process)
        detail = obj(record, "detail")
        data(f"{paint('loaded', Style.GOOD)}   by {one_line(where)}{_other_changes(detail)}")
        for key, label in (("changed", "changed settings"), ("restart", "needs a restart")):
            names = [str(item) for item in detail.get(key) or () if isinstance(item, str)]
            if names:
                data(f"         {label}: {one_line(', '.join(names))}")
        restart.update(str(item) for item in detail.get("restart") or ())


def _other_changes(detail: Mapping[str, Any]) -> str:
    """Return a note if a reload left the policies unchanged ("only the data changed" or "same
    policies"), otherwise an empty string.
    """
    from guardrail.review.values import obj

    now, before = obj(detail, "policy"), obj(detail, "previous")
    if now.get("digest") is None or now.get("digest") != before.get("digest"):
        return ""
    return "; only the data changed" if now.get("data") != before.get("data") else "; same policies"
