"""What the tests of retention share: a log that grew old, its keeper, and heads that somebody kept
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.config import Settings
from guardrail.core.log import fields
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import range_root
from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.keys.anchor_keys import WitnessKey
from guardrail.keys.log_key import Keys, LogSigning
from guardrail.ledger.lease import own_origin
from guardrail.ledger.maintenance.prune import PruneCut, PruneResult, detail, prune
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.actions import RetentionManager
from guardrail.retention.closing import node_of
from guardrail.review.verify import VerifyState, load_heads, verify_ledger
from tests.support.ledgers import (
    ACTOR,
    EPOCHS,
    KEYS,
    LOG,
    SIGNING,
    Driver,
    decision,
    driven,
    make,
    reopen,
)

__all__ = [
    "ACTOR",
    "EPOCHS",
    "KEYS",
    "LOG",
    "POLICY",
    "SIGNING",
    "WITNESS",
    "Driver",
    "build",
    "cosigned",
    "cut",
    "decision",
    "driven",
    "head",
    "held_bytes",
    "intact",
    "make",
    "noted",
    "open_manager",
    "reopen",
    "settings",
]

POLICY = {"retention_days": 400, "floor_days": 183}
_WITNESS = WitnessKey("w.example/1", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
WITNESS = f"http://127.0.0.1:9 {_WITNESS.key}"
"""A witness, as settings name it, that answers nobody: its signature is enough."""


def build(db: Path, records: int, text: str = "text", *, signing: LogSigning = SIGNING) -> None:
    """Make a log of so many records, line 0 counted; each behind it holds *text* and its number."""
    with make(db, signing=signing) as writer:
        for number in range(1, records - 1):
            writer.submit(noted(f"{text}-{number}"))
        writer.append(noted(f"{text}-{records - 1}"))


def noted(text: str) -> Draft:
    """A record with a text."""
    detail_ = {"text": text}
    return Draft.build(
        {"v": 1, "log": LOG, "type": "admin.start", "actor": {}, "origin": {}, "detail": detail_}
    )


def settings(db: Path, **retention: object) -> Settings:
    """Settings of a ledger that name the witness."""
    anchors = {"witness": (WITNESS,), "memory": False}
    return Settings().override(ledger={"path": db}, retention=retention, anchors=anchors)


def cosigned(note: SignedNote) -> SignedNote:
    """The head with the witness's signature."""
    return note.with_signatures(_WITNESS.cosign(note.text, 1_700_000_000).signatures)


@contextmanager
def open_manager(
    db: Path,
    *,
    days: float = 0,
    signing: LogSigning = SIGNING,
    chosen: Settings | None = None,
    **retention: object,
) -> Iterator[RetentionManager]:
    """A keeper of the ledger at *db*, in so many days from now; nobody else keeps it meanwhile."""
    with reopen(db, signing=signing) as writer:

        def record(type_: str, about: Mapping[str, Any]) -> Receipt:
            where = own_origin("retention")
            made = fields.admin(LOG, type_, actor=ACTOR, where=where, detail=about)
            return writer.append(Draft.build(made))

        found = RetentionManager(
            chosen or settings(db, **retention),
            signing=signing,
            record=record,
            clock=lambda: datetime.now(UTC) + timedelta(days=days),
        )
        with found.exclusive():
            yield found


def head(db: Path, size: int | None = None, keys: Keys = KEYS) -> SignedNote:
    """The head of the first *size* records, signed by the log key and cosigned by the witness."""
    with LedgerReader.open(db) as reader, reader.snapshot():
        size = reader.size() if size is None else size
        root = range_root(0, size, node_of(reader))
    key = keys.signing(actor=ACTOR, epochs=False).log_key(LOG)
    return cosigned(SignedNote.sign(Checkpoint(LOG, size, root).text, key.key, key.sign))


def cut(db: Path, before: int, *, signing: LogSigning = SIGNING) -> PruneResult:
    """Delete the records below *before*, with nobody who says no."""

    def record(log: str, where: PruneCut) -> Draft:
        about = detail(where, POLICY)
        return Draft.build(
            fields.admin(log, "pruned", actor=ACTOR, where=own_origin("test"), detail=about)
        )

    return prune(db, before, signing=signing, allow=lambda _: None, record=record)


def intact(db: Path, *heads: SignedNote) -> bool:
    """Whether verifying the ledger, and each head that was kept, finds nothing wrong."""
    found = []
    for number, each in enumerate(heads):
        path = db.with_name(f"kept-{number}")
        path.write_text(str(each))
        found += load_heads(path)
    report = verify_ledger(db, key=KEYS.public, heads=found)
    wanted = VerifyState.ANCHORED if heads else VerifyState.NOT_ANCHORED
    assert report.state is wanted, (report.state, report.detail)
    return True


def held_bytes(db: Path, text: bytes) -> Sequence[str]:
    """The files of the log in which *text* stands."""
    names = [f"{db}", f"{db}-wal", f"{db}-shm"]
    return [name for name in names if Path(name).exists() and text in Path(name).read_bytes()]
