"""The tenant that the command line or the environment selects."""

from __future__ import annotations

import os
from pathlib import Path

import click

from guardrail.cli.output import LEDGER

__all__ = ["TENANT", "selected_tenant"]

TENANT = "tenant"
"""Name of the parameter ``--tenant``."""
_VARIABLE = "GUARDRAIL_TENANT"


def selected_tenant(ledger: Path | None = None) -> str | None:
    """Return the tenant that the command line or the environment selects, or None.

    *ledger* is the ledger that the command reads, or None: a ledger that is selected by its path is
    not looked up in the settings.
    """
    if ledger is not None:
        return None
    context = click.get_current_context(silent=True)
    given = None if context is None else context.meta.get(LEDGER, {}).get(TENANT)
    return given or os.environ.get(_VARIABLE) or None
