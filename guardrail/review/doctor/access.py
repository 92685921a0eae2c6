"""``doctor`` check: reads of the ledger can be recorded."""

from __future__ import annotations

import os
from pathlib import Path

from guardrail.access_log.memory import LOST, AccessMemory
from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.errors import GuardrailError
from guardrail.ledger.half_moved import is_access_log_left, way_to_finish
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["access_log"]


def access_log(settings: Settings) -> Check:
    """Check the ledger's access log and its keys. If every read must be recorded, a fault that
    stops readers is a failure.
    """
    db = settings.access_path.absolute()
    bad = CheckState.FAIL if settings.access.required else CheckState.NOTE
    try:
        if not db.exists():
            AccessMemory(settings, db).check(None)
    except GuardrailError as error:
        return Check("access", CheckState.FAIL, f"{db}: {error.message}", error.hint)
    folder = settings.access_key_path.absolute()
    left = folder.is_dir() and any(folder.iterdir())
    ledger = settings.ledger.path
    if settings.access.path is None and is_access_log_left(ledger):
        found = "the access log was not moved with the ledger: no reads are recorded"
        return Check("access", bad, found, way_to_finish(ledger))
    if not db.exists() and left:
        return Check(
            "access",
            bad,
            f"{db} is missing, but its keys exist: no reads are recorded",
            f"put it back; if it was omitted from a copy, move {folder} away, and the next "
            "command that reads the ledger creates a new one",
        )
    if not db.exists() and os.access(db.parent, os.W_OK | os.X_OK):
        return Check(
            "access",
            CheckState.OK,
            f"none yet; the first command that reads the ledger creates {db}",
        )
    if not db.exists():
        return Check("access", bad, f"there is none at {db}: no reads are recorded", _fix(db))
    try:
        log, size = _open_access_log(settings, db)
    except GuardrailError as error:
        state = CheckState.FAIL if error.code in LOST else bad
        return Check("access", state, f"{db}: {error.message}", error.hint or _fix(db))
    if not os.access(db, os.W_OK):
        return Check("access", bad, f"this user can't write to {db}", _fix(db))
    return Check("access", CheckState.OK, f"log {log}, {counted(size, 'record')} at {db}")


def _open_access_log(settings: Settings, db: Path) -> tuple[str, int]:
    from guardrail.errors import LedgerSealedError
    from guardrail.keys.log_key import Keys
    from guardrail.ledger.reader import LedgerReader
    from guardrail.ledger.seal import Seal

    seal = Seal.read(db)
    if seal is not None:
        raise LedgerSealedError(f"sealed: {seal.why}", hint=f"guardrail recover --ledger {db}")
    AccessMemory(settings, db).check(Keys.load(settings.access_key_path.absolute()))
    with LedgerReader.open(db) as reader:
        return reader.log, reader.size()


def _fix(db: Path) -> str:
    return f"read the ledger as a user who can write to {db.parent}, or set [access] path"
