"""A ledger to read, and what its access log says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from tests.support.ledgers import ACTOR


def ledger(folder: Path, name: str = "audit.db") -> Settings:
    """Make a ledger with its first record alone, and return settings that name it."""
    settings = Settings().override(ledger={"path": folder / name})
    keys = Keys.create(settings.key_path)
    genesis = {
        "profile": "sha256-json-lines/1",
        "nonce": "0" * 32,
        "key": {"type": "ed25519", "public": keys.public},
        "config": {"digest": "0" * 64},
        "predecessor": None,
    }
    LedgerWriter.create(
        settings.ledger.path,
        log="test/log",
        genesis=genesis,
        signing=keys.signing(actor=ACTOR, epochs=False),
    ).close()
    return settings


def accesses(db: Path) -> list[dict[str, Any]]:
    """Return every record of reading, as it stands in the access log; none where there is no
    log.
    """
    if not db.exists():
        return []
    with LedgerReader.open(db) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record for record in found if record["type"] == "access.read"]
