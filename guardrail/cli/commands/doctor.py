"""Implements ``guardrail doctor``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options
from guardrail.cli.output import Style, data, emit_json, paint, prose, remark
from guardrail.cli.selected_tenant import selected_tenant
from guardrail.config import Settings
from guardrail.core.words import agree, counted
from guardrail.errors import ConfigError
from guardrail.review.doctor.checks import check_all
from guardrail.review.doctor.result import Check, CheckState
from guardrail.review.terminal import one_line

__all__ = ["doctor"]

_STYLES = {
    CheckState.OK: Style.GOOD,
    CheckState.NOTE: Style.WARN,
    CheckState.FAIL: Style.BAD,
    CheckState.UNKNOWN: Style.WARN,
}

_INDENT = 20


@click.command(short_help="Check everything that guardrail needs, and show how to fix problems.")
@ledger_options
@json_option
def doctor(config: Path | None, ledger: Path | None, as_json: bool) -> int:
    """Check everything that guardrail needs, one by one, and show how to fix each problem.

    The command writes only a scratch file in the ledger's folder, to measure how long a sync takes,
    and a record in the access log. Exit code 0: all checks passed, possibly with notes; 1:
    something does not work; 3: something could not be determined.
    """
    from guardrail.config.file import find, is_named

    checks = []
    path = config if config is not None else find()
    named = config is not None or is_named()
    tenant = selected_tenant(ledger)
    for check in check_all(
        path, ledger, os.environ, named=named, tenant=tenant, more=[("proxy", _proxy)]
    ):
        checks.append(check)
        if not as_json:
            _print(check)
    code = _exit_code(checks)
    if as_json:
        emit_json({"exit": int(code), "checks": [_document(check) for check in checks]})
    elif code is not Exit.YES:
        bad = sum(check.state in {CheckState.FAIL, CheckState.UNKNOWN} for check in checks)
        remark(f"{bad} of {counted(len(checks), 'check')} {agree(bad, 'needs')} attention")
    return code


def _proxy(settings: Settings) -> Check:
    """Check the proxy's settings, and whether the packages for a server are installed."""
    try:
        from guardrail.proxy.accepted_tools import read_accepted, rejection_of
        from guardrail.proxy.seen_tools import waiting_tools
        from guardrail.proxy.settings_check import check_settings
    except ImportError:
        found = "the packages for a server are not installed, so a proxy can't be started"
        return Check("proxy", CheckState.OK, found)
    found = check_settings(settings.proxy, settings.identity)
    try:
        _ = settings.trusted_proxy
    except ConfigError:
        if not settings.only_found:
            raise
        found = f"{found}; this upstream is used only if --config specifies the settings file"
        fix = f"guardrail proxy --config {shlex.quote(str(settings.source))}"
        return Check("proxy", CheckState.NOTE, found, fix)
    rejected = {
        name: why
        for name, tool in read_accepted(settings.proxy.tools).items()
        if (why := rejection_of(tool))
    }
    if rejected:
        name, why = next(iter(rejected.items()))
        found = (
            f"{found}; {counted(len(rejected), 'accepted tool')} {agree(len(rejected), 'stays')}"
            f" undeclared, because guardrail rejects the schema: {name} ({why})"
        )
        fix = "correct the schema where the tool comes from, and accept it: guardrail proxy accept"
        return Check("proxy", CheckState.NOTE, found, fix)
    waiting = len(waiting_tools(settings))
    if waiting:
        found = (
            f"{found}; {counted(waiting, 'tool')} in requests {agree(waiting, 'is')} not accepted"
        )
        return Check("proxy", CheckState.NOTE, found, "guardrail proxy accept")
    return Check("proxy", CheckState.OK, found)


def _print(check: Check) -> None:
    state = paint(f"{check.state.value:<7}", _STYLES[check.state])
    first, *rest = prose(one_line(check.found), indent=_INDENT)
    data(f"{state}  {check.name:<9}  {first}")
    if check.fix and check.state is not CheckState.OK:
        rest += prose(one_line(f"fix: {check.fix}"), indent=_INDENT)
    for line in rest:
        label = "fix:" if line.startswith("fix:") else ""
        data(" " * _INDENT + paint(label, Style.STRONG) + line[len(label) :])


def _document(check: Check) -> dict[str, str]:
    return {"name": check.name, "state": check.state.value, "found": check.found, "fix": check.fix}


def _exit_code(checks: list[Check]) -> Exit:
    states = {check.state for check in checks}
    if CheckState.FAIL in states:
        return Exit.NO
    return Exit.UNKNOWN if CheckState.UNKNOWN in states else Exit.YES
