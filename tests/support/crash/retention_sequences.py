"""What the keeping of a ledger lives through, for sequences.py: sealed, archived, pruned, expired,
held, copied, read, anchored.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guardrail.ledger.maintenance.prune
from guardrail.access_log.log import PlannedRead, RecordedRead, record_read
from guardrail.anchoring import LedgerHeads
from guardrail.anchors.file import FileAnchor
from guardrail.config import Settings
from guardrail.core.log import fields
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.kept_policies import KeptPolicies, SourceKind
from guardrail.ledger.lease import own_origin
from guardrail.ledger.maintenance.backup import backup
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.actions import RetentionManager
from tests.support import ledgers
from tests.support.ledgers import ACTOR, EPOCHS, KEYS, LOG, SIGNING, note
from tests.support.retention import WITNESS, cosigned, noted

if TYPE_CHECKING:
    from tests.support.crash.sequences import Run

ARCHIVE, COPY, HEADS, TOKENS = "archive", "copy.db", "heads.jsonl", "tokens.jsonl"
"""Files and folders beside the ledger."""


def segment(run: Run) -> None:
    """Seal what is there as a segment, and copy it."""
    _keep(run, lambda keeper, _: keeper.close_segment(why="a test"))


def prune(run: Run) -> None:
    """Delete what was sealed, in several transactions, as if it were old; then go on."""
    guardrail.ledger.maintenance.prune.CHUNK_RECORDS = 4

    def act(keeper: RetentionManager, head: SignedNote) -> None:
        pruned = keeper.prune(why="a test", given=[head])
        assert pruned.deleted > 10
        assert len(pruned.records) > 2
        assert pruned.overwritten

    _keep(run, act)
    with run.open() as writer:
        run.call(writer)
    run.done()


SOURCES = {SourceKind.MODULES: b"6:p.rego" + b"x" * 9000, SourceKind.DATA: b'{"a":1}'}


def keep(run: Run) -> None:
    """Keep a policy twice, as two guards do, and record a call that it decided."""
    for _ in range(2):
        KeptPolicies(run.db).keep(SOURCES).release()
    with run.open() as writer:
        for content in SOURCES.values():
            run.append(writer, noted(hashlib.sha256(content).hexdigest()))
        run.call(writer)
    run.done()


def archive(run: Run) -> None:
    """Copy the segment into the archive, on the record."""

    def act(keeper: RetentionManager, _: SignedNote) -> None:
        assert len(keeper.archive(why="a test")) == 1

    _keep(run, act)


def expire(run: Run) -> None:
    """Delete the copies of the segment, whose records are gone, after a record that says so."""

    def act(keeper: RetentionManager, _: SignedNote) -> None:
        assert len(keeper.expire(why="a test")) == 2

    _keep(run, act)


def hold(run: Run) -> None:
    """Begin and end a legal hold."""
    for add in (True, False, True):
        _keep(run, lambda keeper, _, add=add: keeper.hold("case", add=add, why="a test"))


def _keep(run: Run, act: Callable[[RetentionManager, SignedNote], object]) -> None:
    """Let a keeper of the ledger act, with the newest head as a witness cosigned it."""

    def record(type_: str, detail: Mapping[str, Any]) -> Receipt:
        where = own_origin("retention")
        draft = Draft.build(fields.admin(LOG, type_, actor=ACTOR, where=where, detail=detail))
        with ledgers.reopen(run.db) as writer:
            return writer.append(draft)

    kept = run.db.with_name(ARCHIVE)
    settings = Settings().override(
        ledger={"path": run.db},
        anchors={"witness": (WITNESS,)},
        retention={
            "days": 400,
            "floor_days": 183,
            **({"archive": kept} if kept.exists() else {}),
        },
    )
    with ledgers.reopen(run.db) as writer:
        writer.append(note())
    with LedgerReader.open(run.db) as reader:
        row = reader.storage.head()
    assert row is not None
    head = row.note
    keeper = RetentionManager(
        settings,
        signing=SIGNING,
        record=record,
        clock=lambda: datetime.now(UTC) + timedelta(days=500),
    )
    with keeper.exclusive():
        act(keeper, cosigned(SignedNote.parse(head)))
    run.done()


def shelve(run: Run) -> None:
    """Make the folder of the archive, as somebody does who mounts a disk there."""
    run.db.with_name(ARCHIVE).mkdir(mode=0o700)


def copy(run: Run) -> None:
    """Make a backup of the ledger while somebody writes."""
    from guardrail.review.verify import verify_ledger

    with run.open() as writer:
        run.call(writer)
        backup(run.db, run.db.with_name(COPY), check=lambda path: verify_ledger(path).detail)
        run.done()
        run.call(writer)
    run.done()


def read(run: Run) -> None:
    """Read it three times, each on the record: the first makes the access log."""
    for _ in range(3):
        settings = Settings().override(ledger={"path": run.db})
        assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
        run.done()


def anchor(run: Run) -> None:
    """Send three heads to a file, and have each stamped by an authority, whose tokens are kept."""
    from guardrail.anchors.tsa import TimestampAnchor
    from guardrail.keys.anchor_keys import certificates
    from tests.support.time_stamp_authority import Authority, serving

    heads = LedgerHeads(run.db, LOG, EPOCHS)
    key = NoteKey(LOG, bytes.fromhex(KEYS.public))
    file = FileAnchor(run.db.with_name(HEADS), key=key, verify=verify_signature)
    known: Checkpoint | None = None
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder) / "authority")
        with serving(authority.stamp) as url:
            roots = certificates(authority.root)
            stamps = TimestampAnchor(url, roots=roots, tokens=run.db.with_name(TOKENS))
            for _ in range(3):
                with run.open() as writer:
                    run.call(writer)
                head = heads.head()
                for each in (file, stamps):
                    each.publish(head, heads.prove, known)
                known = Checkpoint.parse(head.text)
                run.done()
