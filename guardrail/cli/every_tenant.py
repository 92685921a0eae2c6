"""Runs a command in the ledger of each tenant, and names the tenants that a run left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from guardrail.cli.output import ACCESS, COLLECTED, LEDGER, Style, data, emit_json, paint, remark
from guardrail.cli.selected_tenant import TENANT, selected_tenant
from guardrail.core.words import counted
from guardrail.errors import GuardrailError, LedgerError, LedgerOpenError, UsageError, os_reason
from guardrail.review.terminal import escape, one_line

__all__ = ["all_tenants_option", "in_every_tenant", "left_out", "tenant_list", "wants_every_tenant"]

_F = TypeVar("_F", bound=Callable[..., Any])
_ALL = "guardrail.all_tenants"
_WRONG_USE, _UNDETERMINED = 2, 3  # as guardrail.cli.app.Exit, which imports this module
_NAMED = 10
"""Maximum number of tenants that a remark names."""


def _store(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_ALL] = value


def all_tenants_option(command: _F) -> _F:
    """Add ``--all-tenants``."""
    return click.option(
        "--all-tenants",
        is_flag=True,
        expose_value=False,
        callback=_store,
        help="Do this in the ledger of each tenant in the settings.",
    )(command)


def wants_every_tenant() -> bool:
    """Return True if the current command has ``--all-tenants``. Raises ``UsageError`` if another
    option selects a ledger as well.
    """
    context = click.get_current_context()
    if not context.meta.get(_ALL):
        return False
    given = context.meta.get(LEDGER, {})
    if given.get("ledger") or given.get(TENANT):
        raise click.UsageError("use only one of --all-tenants, --tenant and --ledger", context)
    return True


def in_every_tenant(config: Path | None, as_json: bool, run: Callable[[], int | None]) -> int:
    """Call *run* once for each tenant, with this tenant selected, and return the highest exit code.

    A tenant in which it fails is reported, and the others follow. Raises ``ConfigError`` if the
    settings can't be read, and ``UsageError`` if the command line is wrong.
    """
    from guardrail.config import Settings

    context = click.get_current_context()
    base = Settings.chosen(config)
    documents: list[dict[str, Any]] = []
    failed: list[str] = []
    worst = 0
    names = [base.identity.tenant, *sorted(base.tenants)]
    for name in names:
        context.meta[LEDGER][TENANT] = name
        context.meta.pop(ACCESS, None)
        collected: list[dict[str, Any]] = []
        if as_json:
            context.meta[COLLECTED] = collected
        else:
            data(paint(f"tenant {name}", Style.STRONG))
        code, error = _run(name, run)
        if code:
            failed.append(name)
        worst = max(worst, code)
        documents.append({"tenant": name, "exit": code, **error, **(*collected, {})[0]})
    context.meta.pop(COLLECTED, None)
    if failed:
        remark(f"failed in {len(failed)} of {counted(len(names), 'tenant')}: {tenant_list(failed)}")
    if as_json:
        context.meta.pop(ACCESS, None)  # each tenant's document says whether its read is recorded
        emit_json({"exit": worst, "tenants": documents})
    return worst


def _run(name: str, run: Callable[[], int | None]) -> tuple[int, dict[str, Any]]:
    """Return the exit code of *run*, and the error in it as a part of the tenant's document."""
    from guardrail.cli.missing import explained

    config = click.get_current_context().meta[LEDGER].get("config")
    try:
        return run() or 0, {}
    except BrokenPipeError:
        raise
    except OSError as error:
        caught: GuardrailError = LedgerError(os_reason(error), code="ledger.failed")
    except LedgerOpenError as error:
        caught = explained(error, config, None)
    except GuardrailError as error:
        if error.code == UsageError.default_code:
            raise  # the command line is wrong for all tenants
        caught = error
    code = _WRONG_USE if isinstance(caught, UsageError) else _UNDETERMINED
    remark(f"error: tenant {name}: {one_line(caught.message)}", Style.BAD)
    if caught.hint:
        remark(f"next:  {one_line(caught.hint)}")
    about = {"code": caught.code, "message": caught.message, "hint": caught.hint}
    return code, {"error": about}


def left_out(config: Path | None, ledger: Path | None) -> tuple[str, list[str]]:
    """Return the tenant of the current command and the other tenants in the settings. If an option
    selected a tenant or a ledger, or if there are no tenants, no others are returned.
    """
    from guardrail.config import Settings

    context = click.get_current_context()
    if ledger is not None or context.meta.get(LEDGER, {}).get(TENANT):
        return "", []
    base = Settings.chosen(config)
    own = selected_tenant() or base.identity.tenant
    return own, sorted({base.identity.tenant, *base.tenants} - {own})


def tenant_list(names: list[str]) -> str:
    more = len(names) - _NAMED
    """Return the *names*, the first ten of them in full, for a remark."""
    return ", ".join(map(escape, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")
