"""The signed head: over every record of every commit, by a key that the log certifies, and never
over what others forged.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log import merkle
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.key_epochs import TYPE, KeyRanges
from guardrail.core.log.record import decode
from guardrail.errors import KeysError, LedgerError, LedgerSealedError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.keys.token_keys import TokenSecrets
from guardrail.ledger.epochs import Epochs
from guardrail.ledger.files import seal_path
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite.tree import SQLiteTree, SQLiteTreeWriter
from guardrail.ledger.tree import TILE, node_reader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    ACTOR,
    EPOCHS,
    FAST,
    GENESIS,
    KEYS,
    LOG,
    SIGNING,
    decision,
    driven,
    make,
    note,
    outcome,
    reopen,
    whole_call,
)

EAGER = replace(FAST, epoch_interval=0.0)
"""A new key for every commit."""


def stored(db: Path) -> tuple[SignedNote, Checkpoint]:
    """Return the head that the ledger holds."""
    with LedgerReader.open(db) as reader:
        row = reader.storage.head()
    assert row is not None
    text = row.note
    signed = SignedNote.parse(text)
    return signed, Checkpoint.parse(signed.text)


def records(db: Path) -> list[dict[str, Any]]:
    """Return every record."""
    with LedgerReader.open(db) as reader:
        return [decode(line) for _, _, line in reader.lines()]


def rotations(db: Path) -> list[dict[str, Any]]:
    """Return the detail of every key rotation."""
    return [each["detail"] for each in records(db) if each["type"] == TYPE]


def signer(db: Path) -> str | None:
    """Return whose signature on the stored head counts, after checking that it is over exactly the
    records.
    """
    signed, head = stored(db)
    edge = merkle.Edge()
    ranges = KeyRanges(LOG, bytes.fromhex(KEYS.public), verify_signature)
    with LedgerReader.open(db) as reader:
        for seq, leaf, line in reader.lines():
            edge.append(leaf)
            record = decode(line)
            if record["type"] == TYPE:
                assert ranges.take(seq, record) == ""
    assert (head.origin, head.size, head.root) == (LOG, edge.size, edge.root())
    return ranges.signer_of(signed, head.size)


def test_every_commit_is_covered_by_a_head_of_the_log_key(tmp_path: Path) -> None:
    """A writer without an epoch key signs with the log key, from the first record on."""
    with make(tmp_path / "a.db") as writer:
        assert signer(tmp_path / "a.db") == "log"
        for _ in range(5):
            whole_call(writer)
            assert signer(tmp_path / "a.db") == "log"
    assert rotations(tmp_path / "a.db") == []


def test_a_guards_key_is_certified_once_and_ended_when_it_closes(tmp_path: Path) -> None:
    """The first commit certifies it, all heads are by it, and the record that ends it is the last
    one that it covers.
    """
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as writer:
        assert rotations(db) == []
        for _ in range(3):
            whole_call(writer)
            (certified,) = rotations(db)
            assert signer(db) == certified["key"]["public"]
    certified, ended = rotations(db)
    assert ended["ended"] == [{"public": certified["key"]["public"], "reason": "closed"}]
    assert ended["key"] is None
    assert signer(db) == certified["key"]["public"]
    assert records(db)[1]["actor"] == ACTOR


def test_a_writer_that_writes_nothing_certifies_nothing(tmp_path: Path) -> None:
    """Opening and closing leaves no record."""
    make(tmp_path / "a.db", signing=EPOCHS).close()
    reopen(tmp_path / "a.db", signing=EPOCHS).close()
    assert len(records(tmp_path / "a.db")) == 1


def test_a_key_that_is_due_is_changed_and_the_old_one_ended(tmp_path: Path) -> None:
    """Each change is one record: the new key, and the end of the one before."""
    db = tmp_path / "a.db"
    with make(db, EAGER, signing=EPOCHS) as writer:
        for _ in range(3):
            writer.append(note())
            assert signer(db) == rotations(db)[-1]["key"]["public"]
    keys = [each["key"]["public"] for each in rotations(db) if each["key"]]
    assert len(set(keys)) == 3
    gone = [each["public"] for one in rotations(db) for each in one["ended"]]
    assert gone == keys


def test_two_writers_have_two_keys_that_overlap(tmp_path: Path) -> None:
    """Each signs its own commits; both count."""
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as one, reopen(db, signing=EPOCHS) as two:
        found = set()
        for writer in (one, two, one, two):
            writer.append(note())
            found.add(signer(db))
        assert len(found) == 2
    assert signer(db) in found


def test_the_key_of_a_process_that_died_is_ended_by_the_sweep(tmp_path: Path) -> None:
    """The next writer says so, and signs that with its own key."""
    db = tmp_path / "a.db"
    with driven(db, "5", "epochs") as other:
        other.send("call")
        assert "error" not in other.answer()
        other.kill()
    (dead,) = rotations(db)
    with reopen(db) as writer:
        assert rotations(db)[-1]["ended"] == [{"public": dead["key"]["public"], "reason": "dead"}]
        assert signer(db) == "log"
        writer.append(note())
    with sqlite3.connect(db) as connection:
        assert connection.execute("SELECT count(*) FROM epoch").fetchone() == (0,)


def forge(db: Path, change: Callable[[sqlite3.Connection], None]) -> None:
    """Write to the ledger as someone would who has no key."""
    connection = sqlite3.connect(db, isolation_level=None)
    change(connection)
    connection.close()


def append_forged(connection: sqlite3.Connection) -> None:
    """Append a record that links well, and move the head on as far as that goes without a key."""
    seq, leaf = connection.execute(
        "SELECT seq, leaf FROM record ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    size, edge = connection.execute("SELECT size, edge FROM head").fetchone()
    tree = merkle.Edge.decode(size, edge)
    line = note().finish(seq=seq + 1, prev=leaf.hex(), ts="2026-01-01T00:00:00.000000Z")
    forged = hashlib.sha256(b"\x00" + line).digest()
    tree.append(forged)
    connection.execute(
        "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", (seq + 1, forged, line.decode())
    )
    connection.execute(
        "UPDATE head SET size = ?, leaf = ?, edge = ?", (size + 1, forged, tree.encode())
    )


def append_bare(connection: sqlite3.Connection) -> None:
    """Append a record and leave the head as it is."""
    size, leaf, edge, text, mac = connection.execute(
        "SELECT size, leaf, edge, note, mac FROM head"
    ).fetchone()
    append_forged(connection)
    connection.execute(
        "UPDATE head SET size = ?, leaf = ?, edge = ?, note = ?, mac = ?",
        (size, leaf, edge, text, mac),
    )


def append_signed_by_nobody(connection: sqlite3.Connection) -> None:
    """Append a record and put a head over it that is right but for its signature and its code."""
    append_forged(connection)
    size, edge = connection.execute("SELECT size, edge FROM head").fetchone()
    text = Checkpoint(LOG, size, merkle.Edge.decode(size, edge).root()).text
    forged = SignedNote.sign(text, SIGNING.log_key(LOG).key, lambda _: b"s" * 64)
    connection.execute("UPDATE head SET note = ?, mac = zeroblob(32)", (str(forged),))


FORGERIES: dict[str, Callable[[sqlite3.Connection], None]] = {
    "a record": append_bare,
    "a record and the head": append_forged,
    "a record and a head that is right but for its signature": append_signed_by_nobody,
    "the edge": lambda connection: (
        connection.execute("UPDATE head SET edge = zeroblob(32)") and None
    ),
    "an edge that does not fit": lambda connection: (
        connection.execute("UPDATE head SET edge = zeroblob(320)") and None
    ),
    "half a hash": lambda connection: (
        connection.execute("UPDATE head SET edge = zeroblob(31)") and None
    ),
    "the note": lambda connection: connection.execute("UPDATE head SET note = 'x'") and None,
    "no head": lambda connection: connection.execute("DELETE FROM head") and None,
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_head_is_never_signed_over(
    tmp_path: Path, forgery: Callable[[sqlite3.Connection], None]
) -> None:
    """Neither a writer that is open nor one that opens builds on it: what came after would vouch
    for it.
    """
    db = tmp_path / "a.db"
    with make(db) as writer:
        writer.append(note())
        forge(db, forgery)
        with pytest.raises(LedgerSealedError):
            writer.append(note())
    seal_path(db).unlink()
    with pytest.raises(LedgerSealedError, match="head"):
        reopen(db)


def test_the_keys_of_another_log_are_a_mistake_and_no_attack(tmp_path: Path) -> None:
    """The ledger is not sealed by a wrong path in the settings."""
    make(tmp_path / "a.db").close()
    other = Keys.ephemeral().signing(actor=ACTOR, epochs=True)
    with pytest.raises(KeysError) as caught:
        reopen(tmp_path / "a.db", signing=other)
    assert caught.value.code == "keys.other_log"
    reopen(tmp_path / "a.db").close()


def test_another_token_key_can_not_tell_a_writers_head(tmp_path: Path) -> None:
    """The log key alone does not make a writer: the code over the head is under the token key."""
    make(tmp_path / "a.db").close()
    stranger = Keys.ephemeral(b"the seed of the keys of tests...")
    stranger._secrets = TokenSecrets.single(b"x" * 32)
    with pytest.raises(LedgerSealedError, match="does not hold this log's keys"):
        reopen(tmp_path / "a.db", signing=stranger.signing(actor=ACTOR, epochs=False))
    assert not seal_path(tmp_path / "a.db").exists()
    reopen(tmp_path / "a.db").close()


# -- a log key that lives elsewhere
# ------------------------------------------------------------------------------------------

SIGNER = """
import base64, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
folder = Path(sys.argv[1])
(folder / "asked").open("a").write("x")
message = sys.stdin.buffer.read()
mode = (folder / "mode").read_text()
if mode == "fails":
    sys.exit(3)
if mode == "other":
    message += b"!"
key = Ed25519PrivateKey.from_private_bytes((folder / "key").read_bytes())
answer = key.sign(message)
sys.stdout.buffer.write(answer if mode == "raw" else base64.b64encode(answer) + b"\\n")
"""


class Signer:
    """A real signer command, and keys that ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "signer.py").write_text(SIGNER)
        (folder / "key").write_bytes(b"k" * 32)
        self.answers("base64")
        command = [sys.executable, str(folder / "signer.py"), str(folder)]
        public = Keys.ephemeral(b"k" * 32).public
        self.keys = Keys.create(folder / "keys", signer=command, public=public)
        assert Keys.load(folder / "keys", signer=command).public == public

    def answers(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    def asked(self) -> int:
        """How often it was asked since the last time."""
        path = self.folder / "asked"
        count = len(path.read_text()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return count


@pytest.fixture
def remote(tmp_path: Path) -> Signer:
    """A signer that holds the log key."""
    return Signer(tmp_path)


def test_a_signer_is_asked_once_for_each_process_and_never_for_a_commit(
    tmp_path: Path, remote: Signer
) -> None:
    """Once for the first head of a new log, then once for the key of each writer, short commands
    included.
    """
    genesis = {**GENESIS, "key": {"type": "ed25519", "public": remote.keys.public}}
    for epochs, mode in ((True, "base64"), (False, "raw")):
        remote.answers(mode)
        signing = remote.keys.signing(actor=ACTOR, epochs=epochs)
        db = tmp_path / f"{mode}.db"
        with LedgerWriter.create(
            db, log=LOG, genesis=genesis, signing=signing, settings=FAST
        ) as writer:
            for _ in range(4):
                whole_call(writer)
        assert remote.asked() == 2
        assert len(rotations(db)) == 2
    assert not (tmp_path / "keys" / "log.key").exists()
    assert stat.S_IMODE((tmp_path / "keys" / "log.pub").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", ["fails", "other"])
def test_a_signer_that_does_not_sign_lets_no_writer_open(
    tmp_path: Path, remote: Signer, mode: str
) -> None:
    """It failed, or what it answered is no signature by the log key; the error says what to try."""
    genesis = {**GENESIS, "key": {"type": "ed25519", "public": remote.keys.public}}
    signing = remote.keys.signing(actor=ACTOR, epochs=True)
    remote.answers(mode)
    with pytest.raises(KeysError) as refused:
        LedgerWriter.create(tmp_path / "a.db", log=LOG, genesis=genesis, signing=signing)
    assert refused.value.code == "keys.signer"
    assert "stdin" in refused.value.hint
    assert not (tmp_path / "a.db").exists()
    remote.answers("raw")
    LedgerWriter.create(tmp_path / "a.db", log=LOG, genesis=genesis, signing=signing).close()
    remote.answers(mode)
    with pytest.raises(LedgerError) as caught:
        LedgerWriter.open(tmp_path / "a.db", signing=signing)
    assert caught.value.code == "ledger.signer"


def test_a_signer_that_is_away_does_not_stop_a_key_that_is_due(
    tmp_path: Path, remote: Signer
) -> None:
    """The old key goes on until the signer answers again."""
    genesis = {**GENESIS, "key": {"type": "ed25519", "public": remote.keys.public}}
    signing = remote.keys.signing(actor=ACTOR, epochs=True)
    db = tmp_path / "a.db"
    with LedgerWriter.create(
        db, log=LOG, genesis=genesis, signing=signing, settings=EAGER
    ) as writer:
        writer.append(note())
        remote.answers("fails")
        writer.append(note())
        (only,) = rotations(db)
    assert rotations(db)[-1]["ended"][0]["public"] == only["key"]["public"]


def test_a_signer_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong path in the settings."""
    with pytest.raises(KeysError, match="64 hex"):
        Keys.create(tmp_path / "k", signer=["/nowhere/signer"], public="")
    keys = Keys.create(tmp_path / "keys", signer=["/nowhere/signer"], public="ab" * 32)
    with pytest.raises(KeysError, match="can't be started"):
        keys.signer()(b"x")


def test_a_key_whose_certificate_may_be_lost_is_announced_again(tmp_path: Path) -> None:
    """After a commit of which nobody knows whether it is durable."""
    epochs = Epochs(EPOCHS, interval=60.0)
    epochs.prepare(LOG, 3)
    first = epochs.announcement(LOG)
    assert first is not None
    epochs.mark_durable()
    assert epochs.announcement(LOG) is None
    epochs.mark_uncertain()
    again = epochs.announcement(LOG)
    assert again is not None
    assert again.public == first.public
    plain = Epochs(SIGNING, interval=60.0)
    plain.prepare(LOG, 3)
    plain.mark_uncertain()
    assert plain.announcement(LOG) is None
    assert plain.final_rotation(LOG) is None


# -- the tree
# --------------------------------------------------------------------------------------------------


def test_every_record_of_a_real_ledger_can_be_proved(tmp_path: Path) -> None:
    """Across complete tiles and behind the last one, for the current head and for older ones."""
    db = tmp_path / "a.db"
    size = 2 * TILE + 9
    with make(db) as writer:
        waiting = [writer.submit(note()) for _ in range(size - 1)]
        for each in waiting:
            each.result(20)
    with sqlite3.connect(db) as connection:
        leaves = [
            row[0] for row in connection.execute("SELECT leaf FROM record ORDER BY seq").fetchall()
        ]
        node = node_reader(SQLiteTree(connection.execute))
        assert [
            (level, number, len(hashes) // 32)
            for level, number, hashes in connection.execute(
                "SELECT level, number, hashes FROM tile ORDER BY level, number"
            )
        ] == [(0, 0, TILE), (0, 1, TILE), (1, 0, 2)]
        for at in (1, 5, TILE - 1, TILE, TILE + 1, 2 * TILE, size):
            edge = merkle.Edge()
            for leaf in leaves[:at]:
                edge.append(leaf)
            for index in {0, at // 2, at - 1}:
                path = merkle.inclusion_proof(index, at, node)
                assert merkle.verify_inclusion(leaves[index], index, at, path, edge.root())
            proof = merkle.consistency_proof(at, size, node)
            assert merkle.verify_consistency(at, edge.root(), size, stored(db)[1].root, proof)
        with pytest.raises(ValueError, match="missing"):
            node(0, size)
        with pytest.raises(ValueError, match="no such subtree"):
            node(16, 0)


def test_tiles_of_tiles_are_completed(tmp_path: Path) -> None:
    """65,536 records fill a tile of the second level; the third begins."""
    connection = sqlite3.connect(tmp_path / "tree.db")
    connection.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, leaf BLOB)")
    connection.execute(
        "CREATE TABLE tile (level INTEGER, number INTEGER, hashes BLOB, PRIMARY KEY (level,"
        " number)) STRICT"
    )
    edge = merkle.Edge()
    size = TILE * TILE + TILE + 1
    for seq in range(size):
        leaf = hashlib.sha256(b"%d" % seq).digest()
        connection.execute("INSERT INTO record VALUES (?, ?)", (seq, leaf))
        made = edge.append(leaf)
        if edge.size % TILE == 0:
            SQLiteTreeWriter(connection.execute).store_tile(edge.size, made)
    shape = connection.execute(
        "SELECT level, count(*), sum(length(hashes)) / 32 FROM tile GROUP BY level ORDER BY level"
    ).fetchall()
    assert shape == [(0, TILE + 1, TILE * (TILE + 1)), (1, 2, TILE + 1), (2, 1, 1)]
    node = node_reader(SQLiteTree(connection.execute))
    for index in (0, 4711, TILE * TILE - 1, TILE * TILE, size - 1):
        path = merkle.inclusion_proof(index, size, node)
        leaf = hashlib.sha256(b"%d" % index).digest()
        assert merkle.verify_inclusion(leaf, index, size, path, edge.root())
    connection.close()


def test_settings_of_heads_have_defaults_for_production() -> None:
    """A key lives for a day."""
    assert LedgerSettings().epoch_interval == 86_400


def test_a_call_and_its_outcome_are_covered_when_they_are_acknowledged(tmp_path: Path) -> None:
    """Whoever was told that a record is durable finds it under the head."""
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as writer:
        call = new_ulid()
        receipt = writer.append(decision(call, writer.process))
        assert stored(db)[1].size == receipt.seq + 1
        ended = writer.append(outcome(call, receipt.seq, writer.process))
        assert stored(db)[1].size == ended.seq + 1
    assert json.loads(json.dumps(rotations(db)[0]["first"])) == 1
