"""Opens the ledger for the commands that seal, archive, prune and hold, and reads the reason to
record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.options import settings_for
from guardrail.errors import UsageError

if TYPE_CHECKING:
    from guardrail.retention.actions import RetentionManager

__all__ = ["open_for_retention", "reason_option", "redacted_reason"]

_MAX = 1000

reason_option = click.option(
    "--reason", metavar="TEXT", help="Reason, in your own words; recorded in the ledger."
)


def redacted_reason(reason: str | None, *, needed: str = "") -> str | None:
    """Return the reason to record, with sensitive-looking text redacted. *needed* is the command
    that requires a reason.

    Raises ``UsageError``.
    """
    if reason is None and not needed:
        return None
    if reason is None or not reason.strip() or len(reason) > _MAX:
        raise UsageError(
            f"a reason of at most {_MAX} characters is required; it is recorded in the ledger",
            hint=f'add --reason TEXT: {needed} --reason "..."',
        )
    from guardrail.core.redaction.redactor import Redactor
    from guardrail.core.redaction.session_memory import Memory
    from guardrail.keys.tenant_keys import TenantKeys

    mark = TenantKeys.mark
    # No tokens are needed: sensitive-looking text in the reason is replaced with random marks.
    return Redactor(token=lambda cls, _: mark(cls), mark=mark).text(reason, Memory())


@contextlib.contextmanager
def open_for_retention(config: Path | None, ledger: Path | None) -> Iterator[RetentionManager]:
    """Open the ledger exclusively, for a command that changes retention state. Never creates a
    ledger.

    Raises ``LedgerOpenError``, ``KeysError``, ``ConfigError`` or ``RetentionError``.
    """
    from guardrail.identity.actor import current_actor
    from guardrail.ledger.files import missing_ledger
    from guardrail.retention.actions import RetentionManager
    from guardrail.wiring.opening import open_journal

    settings = settings_for(config, ledger)
    path = settings.ledger.path
    if not path.exists():
        raise missing_ledger(
            path, hint="specify the ledger with --ledger FILE, or run guardrail doctor"
        )
    journal, keys = open_journal(settings, epochs=False)
    with contextlib.closing(journal):
        signing = keys.signing(actor=current_actor(), epochs=False)
        manager = RetentionManager(settings, signing=signing, record=journal.admin)
        with manager.exclusive():
            yield manager
