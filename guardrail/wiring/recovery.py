"""Carries out the plan of ``guardrail.wiring.diagnosis`` for ``guardrail recover``. A person makes
the decision, and the log records it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from guardrail.access_log.memory import AccessMemory
from guardrail.anchoring import renew_memory
from guardrail.config import Settings
from guardrail.config.log_names import new_log_name
from guardrail.core.log import fields
from guardrail.errors import AnchorError, KeysError
from guardrail.keys.log_key import NAMES_FILE, Keys, verify_signature
from guardrail.ledger.maintenance.keep_aside import free_name
from guardrail.ledger.maintenance.known_heads import next_name
from guardrail.ledger.maintenance.recover import RecoveryReport, recover
from guardrail.ledger.maintenance.recovery_plan import Action
from guardrail.system.disk import why_not_written
from guardrail.system.durable import make_private_folder, sync_directory
from guardrail.system.ownership import open_or_make
from guardrail.wiring.diagnosis import Diagnosis
from guardrail.wiring.opening import create_keys

__all__ = ["carry_out"]


def carry_out(
    settings: Settings, found: Diagnosis, *, who: Mapping[str, Any], reason: str
) -> tuple[RecoveryReport, AnchorError | None]:
    """Carry out *found*. When this returns, the ledger can be opened again, and this machine
    remembers its new state.

    Missing keys are first created in a separate folder, which is moved into place once the new log
    exists. If only the memory can't be written, the error says that everything else is done. Raises
    ``LedgerError`` and ``KeysError``.
    """
    make_private_folder(settings.ledger.path.parent)
    keys, fresh = found.keys, None
    if keys is None:
        fresh = settings.key_path.with_name(f"{settings.key_path.name}-new-{os.getpid()}")
        keys = create_keys(settings.override(keys={"path": fresh}))
    restart = found.plan.action is Action.RESTART
    signing = keys.signing(actor=who, epochs=False)
    try:
        report = recover(
            settings.ledger.path,
            who=who,
            reason=reason,
            signing=signing,
            verify=verify_signature,
            genesis=_genesis(settings, keys) if restart else None,
            log=(found.next_log or next_name(new_log_name(settings, keys.public)))
            if restart
            else None,
            known=found.plan.known,
            unusable=found.unusable,
        )
    except BaseException:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
        raise
    if fresh is not None:
        kept = _put_in_place(settings, fresh)
        report = replace(report, set_aside=(*report.set_aside, *kept))
    if restart:
        _store_names(settings, [*found.names, report.log])
    try:
        renew_memory(settings, signing)
        # This applies if the ledger is an access log.
        AccessMemory(settings, settings.ledger.path.absolute()).forget()
    except AnchorError as error:
        return report, error
    return report, None


def _genesis(settings: Settings, keys: Keys) -> Mapping[str, object]:
    return fields.genesis(
        nonce="",
        public_key=keys.public,
        config_digest=settings.digest(keys.tenant("default")),
        predecessor=None,
        tenant=settings.only_tenant,
    )


def _put_in_place(settings: Settings, fresh: Path) -> list[Path]:
    """Rename the new key folder into place. Return the new location of the old folder if it
    contained any files. Raises ``KeysError``.
    """
    target, kept = settings.key_path, []
    try:
        with contextlib.suppress(OSError):
            target.rmdir()
        if os.path.lexists(target):
            aside = target.with_name(free_name(target))
            os.rename(target, aside)
            kept.append(aside)
        os.rename(fresh, target)
        sync_directory(target.parent)
    except OSError as error:
        raise KeysError(
            f"the new log was created, but its keys are still in {fresh}: they can't be moved to"
            f" {target}"
            f" ({why_not_written(error, target)})",
            code="keys.create",
            hint=f"move the contents of {fresh} to {target}",
        ) from None
    return kept


def _store_names(settings: Settings, names: list[str]) -> None:
    """Store the log's earlier names with the keys, so that the next restart does not reuse any of
    them.
    """
    path = settings.key_path / NAMES_FILE
    descriptor = open_or_make(path, settings.ledger.path, flags=os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, "".join(f"{each}\n" for each in names).encode("utf-8"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(settings.key_path)
