"""Records a start in the log: the policy and settings in force, and the settings that changed since
the last start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.call.journal import Journal
from guardrail.config import Settings
from guardrail.core.log import fields
from guardrail.core.log.record import decode
from guardrail.core.types import PolicyIdentity
from guardrail.errors import GuardrailError, LedgerError
from guardrail.identity.actor import current_actor
from guardrail.keys.log_key import Keys
from guardrail.ledger.claims import STARTED
from guardrail.ledger.names import LogPosition
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.wiring.recorded_settings import (
    changed_settings,
    recorded_values,
    setting_codes,
)

__all__ = ["record_refusal", "record_start"]

TRIES = 16
"""Maximum number of attempts to record a start. Up to this many guards can start at the same
moment.
"""


@dataclass(frozen=True, slots=True)
class LastStart:
    """The settings at the last start of a guard, as the log proves them."""

    digest: str
    """Digest of the settings."""
    seq: int | None
    """Number of the start, or None if the log was created with these settings and no guard has
    started yet.
    """
    codes: Mapping[str, Any] | None
    """Code of each setting, or None if they are not recorded."""
    values: Mapping[str, Any] | None
    """Redacted value of each setting, or None if they are not recorded: the version of that start
    did not do so.
    """


def record_start(
    path: Path, journal: Journal, settings: Settings, keys: Keys, policy: PolicyIdentity
) -> None:
    """Record the settings that have changed since the last start, and then the start of a guard.
    Both are durable when this returns.

    *path* is the ledger. Raises ``LedgerError``.
    """
    from guardrail.core.version import __version__

    digest, codes = settings.digest(keys.tenant("default")), setting_codes(settings, keys)
    values = recorded_values(settings)
    proofs = Proofs(keys.signing(actor=current_actor(), epochs=False), journal.log)
    detail: dict[str, Any] = {
        "version": __version__,
        "policy": fields.policy(policy),
        "config": digest,
        "settings": codes,
        "values": values,
    }
    for left in reversed(range(TRIES)):
        before, place = last_start(path, proofs)
        if before is not None:
            known = before.codes
            changed = _changed_names(known, codes) if known is not None else None
            # The digest of a start of an earlier version has another form, but the codes do not.
            # This is written before the start, because the start hides the change from later
            # starts. If the process dies in between, the next start finds the change again.
            if changed or (changed is None and before.digest != digest):
                changes = None
                if changed is not None and known is not None:
                    changes = changed_settings(
                        changed, before=before.values, known=known, now=values, settings=settings
                    )
                journal.admin(
                    "config_changed",
                    {
                        "digest": digest,
                        "previous": before.digest,
                        "since": before.seq,
                        "changed": changed,
                        "changes": changes,
                    },
                )
        detail["since"] = None if before is None else before.seq
        try:
            journal.admin("start", detail, judged=(place.size, place.tree))
            return
        except LedgerError as error:
            # Another guard has started in the meantime, so the settings are compared with those of
            # that guard.
            if error.code != STARTED or not left:
                raise


def record_refusal(journal: Journal, error: GuardrailError) -> None:
    """Record that a guard did not start because its policies were rejected, and close *journal*.
    Raises ``LedgerError``.
    """
    try:
        journal.admin("policy_refused", {"code": error.code, "kept": None})
    finally:
        journal.close()


def _changed_names(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def last_start(path: Path, proofs: Proofs) -> tuple[LastStart | None, LogPosition]:
    """Return the settings at the last start, and the position in the log at which they are valid.

    If no start was recorded, the digest is that of the settings with which the log was created.
    The settings are None if pruning may have deleted the last start.
    """
    with LedgerReader.open(path, rows=False) as reader:
        log = ProvedReader(reader, proofs)
        line, place = log.last_start()
        if line is None:
            if reader.first() != 1:
                return None, place
            created = str(_mapping(reader.genesis, "config").get("digest", ""))
            return LastStart(created, None, None, None), place
    record = decode(line)
    detail = _mapping(record, "detail")
    codes, values = detail.get("settings"), detail.get("values")
    return (
        LastStart(
            str(detail.get("config", "")),
            record["seq"],
            codes if isinstance(codes, Mapping) else None,
            values if isinstance(values, Mapping) else None,
        ),
        place,
    )


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}
