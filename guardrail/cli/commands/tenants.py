"""Implements ``guardrail tenants``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.acting import acting_on
from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.entries import CommandActor, CommandEntry, CommandReads
from guardrail.cli.options import json_option, settings_file_option
from guardrail.cli.output import Cell, Column, Style, data, emit_json, paint, remark, table
from guardrail.cli.retention_ledger import reason_option, redacted_reason
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.config import Settings

__all__ = ["add", "disable", "enable", "list_tenants", "tenants"]

_COLUMNS = [
    Column("TENANT"),
    Column("STATE"),
    Column("CALLS/MIN"),
    Column("SIZE"),
    Column("LEDGER"),
]
_HERE = "guardrail.cli.commands.tenants"


@click.group(
    cls=LazyGroup,
    entries={
        "list": CommandEntry(
            _HERE, "list_tenants", "List the tenants.", reads=CommandReads.NO_RECORDS
        ),
        "add": CommandEntry(
            _HERE,
            "add",
            "Add a tenant, with a ledger and keys of its own.",
            reads=CommandReads.NO_RECORDS,
            actor=CommandActor.TENANTS,
        ),
        "disable": CommandEntry(
            _HERE,
            "disable",
            "Refuse the calls of a tenant.",
            reads=CommandReads.NO_RECORDS,
            actor=CommandActor.TENANTS,
        ),
        "enable": CommandEntry(
            _HERE,
            "enable",
            "Accept the calls of a tenant again.",
            reads=CommandReads.NO_RECORDS,
            actor=CommandActor.TENANTS,
        ),
    },
    short_help="List, add and disable tenants.",
)
def tenants() -> None:
    """List, add and disable tenants: each has its own ledger, keys, policies and limits."""


@click.command("list", short_help="List the tenants.")
@settings_file_option
@json_option
def list_tenants(*, config: Path | None, as_json: bool) -> int:
    """List the tenants in the settings, with the ledger of each.

    The use of a ledger is shown if [limits] ledger_mb limits its size. No record is read.
    """
    settings = _settings(config)
    each = [_described(settings), *map(_described, settings.tenants.values())]
    each.sort(key=lambda item: str(item["tenant"]))
    if as_json:
        emit_json({"tenants": each})
        return Exit.YES
    for line in table(_COLUMNS, [_row(item) for item in each]):
        data(line)
    if not settings.tenants:
        remark("All tenants share this ledger.\nnext:  guardrail tenants add NAME")
    return Exit.YES


@click.command(short_help="Add a tenant, with a ledger and keys of its own.")
@settings_file_option
@json_option
@click.option(
    "--policies",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Its policies. Default: those of [policy] path.",
)
@click.argument("name")
def add(*, config: Path | None, as_json: bool, policies: Path | None, name: str) -> int:
    """Add the tenant NAME to the settings file, and create its ledger and keys. The ledger records
    who added it.

    Running programs accept its sessions at once.
    """
    from guardrail.errors import ConfigError
    from guardrail.wiring.opening import open_journal
    from guardrail.wiring.tenant_tables import add_table

    if policies is not None and not policies.exists():
        raise ConfigError(
            f"{policies}: there are no policies at this path",
            code="config.policies",
            hint="correct --policies PATH",
        )
    made = add_table(_settings(config), name, policies)
    with acting_on(made), contextlib.closing(open_journal(made, epochs=False)[0]) as journal:
        journal.admin("tenant_added", {})
    if as_json:
        emit_json({"action": "add", **_described(made)})
        return Exit.YES
    data(f"{paint('added', Style.GOOD)}  {name}  {one_line(str(made.ledger.path))}")
    remark(
        f"next:  back up {one_line(str(made.key_path))}; guardrail doctor --tenant {name}",
        Style.DIM,
    )
    return Exit.YES


@click.command(short_help="Refuse the calls of a tenant.")
@settings_file_option
@json_option
@reason_option
@click.argument("name")
def disable(*, config: Path | None, as_json: bool, reason: str | None, name: str) -> int:
    """Disable the tenant NAME in the settings file: its sessions and calls raise an error from now
    on, in running programs too. Its ledger stays as it is, and can be read.
    """
    return _change(config, name, reason, disabled=True, as_json=as_json)


@click.command(short_help="Accept the calls of a tenant again.")
@settings_file_option
@json_option
@reason_option
@click.argument("name")
def enable(*, config: Path | None, as_json: bool, reason: str | None, name: str) -> int:
    """Enable the tenant NAME after ``guardrail tenants disable``."""
    return _change(config, name, reason, disabled=False, as_json=as_json)


def _change(
    config: Path | None, name: str, reason: str | None, *, disabled: bool, as_json: bool
) -> int:
    from guardrail.errors import GuardrailError
    from guardrail.wiring.opening import open_journal
    from guardrail.wiring.tenant_tables import set_disabled

    command = "disable" if disabled else "enable"
    words = redacted_reason(reason, needed=f"guardrail tenants {command} {name}")
    made = set_disabled(_settings(config), name, disabled)
    if made.ledger.path.exists():
        try:
            with acting_on(made), contextlib.closing(open_journal(made, epochs=False)[0]) as ledger:
                ledger.admin(f"tenant_{command}d", {"reason": words})
        except GuardrailError as error:  # the settings file is changed already
            said = f"{name}: {command}d, but not recorded: {error.message}"
            raise type(error)(said, code=error.code, hint=error.hint) from None
    else:
        remark("not recorded: the tenant has no ledger yet", Style.WARN)
    if as_json:
        emit_json({"action": command, **_described(made)})
    else:
        data(f"{paint(f'{command}d', Style.WARN if disabled else Style.GOOD)}  {name}")
    return Exit.YES


def _settings(config: Path | None) -> Settings:
    from guardrail.config import Settings

    return Settings.chosen(config)


def _row(item: Mapping[str, Any]) -> list[Cell]:
    state = str(item["state"])
    style = {"ok": Style.GOOD, "disabled": Style.WARN}.get(state, Style.PLAIN)
    calls = item["tenant_calls"]
    return [
        (str(item["tenant"]), Style.STRONG),
        (state, style),
        (f"{calls:,}" if calls else "no limit", Style.PLAIN),
        (_use(item), Style.PLAIN),
        (one_line(str(item["ledger"])), Style.PLAIN),
    ]


def _use(item: Mapping[str, Any]) -> str:
    """Return the use of a ledger whose size is limited."""
    limit, used = item["ledger_mb"], item["used_bytes"]
    if not limit or used is None:
        return "-" if not limit else f"0 of {limit:,} MB"
    return f"{used / (1 << 20):,.1f} of {limit:,} MB"


def _described(settings: Settings) -> dict[str, object]:
    """Return the JSON of one tenant."""
    from guardrail.errors import LedgerError
    from guardrail.ledger.size_limit import bytes_used

    there = os.path.exists(settings.ledger.path)
    used = None
    if there and settings.limits.ledger_mb:
        with contextlib.suppress(LedgerError):
            used = bytes_used(settings.ledger.path)
    return {
        "tenant": settings.identity.tenant,
        "state": "disabled" if settings.disabled else "ok" if there else "no ledger",
        "ledger": str(settings.ledger.path),
        "keys": str(settings.key_path),
        "access_log": str(settings.access_path),
        "ledger_mb": settings.limits.ledger_mb,
        "tenant_calls": settings.limits.tenant_calls,
        "used_bytes": used,
        "policies": [str(path) for path in settings.policy.path],
    }
