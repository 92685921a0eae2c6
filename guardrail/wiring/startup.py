"""Records a start in the log: the policy and settings in force, and the settings that changed since
the last start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardrail.call.journal import Journal, actor
from guardrail.config import Settings
from guardrail.core.log import fields
from guardrail.core.log.record import decode, dumps
from guardrail.core.types import PolicyIdentity
from guardrail.errors import GuardrailError, LedgerError
from guardrail.keys.log_key import Keys
from guardrail.ledger.claims import STARTED
from guardrail.ledger.names import LogPosition
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader

__all__ = ["record_refusal", "record_start"]

TRIES = 16
"""Maximum number of attempts to record a start. Up to this many guards can start at the same
moment.
"""
_CODE = 16
"""Number of hex digits of a setting's code. They are enough to distinguish values, but too few to
guess a value without the keys.
"""


def record_start(
    path: Path, journal: Journal, settings: Settings, keys: Keys, policy: PolicyIdentity
) -> None:
    """Record the settings that have changed since the last start, and then the start of a guard.
    Both are durable when this returns.

    *path* is the ledger. Raises ``LedgerError``.
    """
    from guardrail.core.version import __version__

    digest, codes = settings.digest(), _setting_codes(settings, keys)
    proofs = Proofs(keys.signing(actor=actor(), epochs=False), journal.log)
    detail = {
        "version": __version__,
        "policy": fields.policy(policy),
        "config": digest,
        "settings": codes,
    }
    for left in reversed(range(TRIES)):
        before, place = last_start(path, proofs)
        if before is not None:
            previous, known = before
            changed = _changed_settings(known, codes) if known is not None else None
            # This is written before the start, because the start hides the change from later
            # starts. If the process dies in between, the next start finds the change again.
            if previous != digest or changed:
                journal.admin(
                    "config_changed", {"digest": digest, "previous": previous, "changed": changed}
                )
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


def _setting_codes(settings: Settings, keys: Keys) -> dict[str, str]:
    """Return a code, keyed with the log's keys, for each setting that affects how calls are
    governed.
    """
    governed: dict[str, Mapping[str, object]] = {
        **settings.governed(),
        "keys": {"signer": settings.keys.signer},
    }
    tenant = keys.tenant("default")
    return {
        f"{section}.{name}": tenant.commitment(
            [b"setting", f"{section}.{name}".encode(), dumps(value)]
        ).hexdigest()[:_CODE]
        for section, values in governed.items()
        for name, value in values.items()
    }


def _changed_settings(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def last_start(
    path: Path, proofs: Proofs
) -> tuple[tuple[str, Mapping[str, Any] | None] | None, LogPosition]:
    """Return the digest and the codes of the settings at the last start, and the position in the
    log at which they are valid.

    If no start was recorded, the digest is that of the settings with which the log was created, and
    the codes are None. Both are replaced by None if pruning may have deleted the last start.
    """
    with LedgerReader.open(path, rows=False) as reader:
        log = ProvedReader(reader, proofs)
        line, place = log.last_start()
        if line is None:
            if reader.first() != 1:
                return None, place
            return (str(_mapping(reader.genesis, "config").get("digest", "")), None), place
    detail = _mapping(decode(line), "detail")
    codes = detail.get("settings")
    found = (str(detail.get("config", "")), codes if isinstance(codes, Mapping) else None)
    return found, place


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}
