"""A project in a folder: a policy, settings, and a ledger with calls."""

from __future__ import annotations

from pathlib import Path

from guardrail import Guard

ALLOW_ALL = 'package guardrail.policy\n\nallow contains "any" if input.resource.type == "tool"\n'
"""A policy that allows every call of a tool."""


def new_project(folder: Path, settings: str | None = None, *, policy: str = ALLOW_ALL) -> Path:
    """Make *folder* a project with one policy, and with *settings* in its guardrail.toml if any."""
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "main.rego").write_text(policy)
    if settings is not None:
        (folder / "guardrail.toml").write_text(settings)
    return folder


def record_call(folder: Path, ledger: str = "audit.db") -> None:
    """Make one call, recorded in the ledger of the project; its settings are not read."""
    with (
        Guard.open(policies=folder / "policies", ledger=folder / ledger) as guard,
        guard.session(principal="alice"),
    ):
        guard.call("f", {}, lambda: None)
