"""Implements ``guardrail demo``."""

from __future__ import annotations

import click

__all__ = ["demo"]


@click.command(short_help="Watch a scripted agent under policy, without a model or a network.")
@click.option(
    "--keep",
    type=click.Path(),
    metavar="DIR",
    help="Keep the demo's ledger in DIR, to inspect it afterwards.",
)
def demo(keep: str | None) -> int:
    """Watch a scripted agent use tools under a policy: calls are allowed, denied and redacted, one
    fails, and one is killed.

    The demo then shows the session, verifies it, edits one byte of it, and verifies it again. It
    does not need a model, an API key or a network.
    """
    from guardrail.demo import run

    return run(keep=keep)
