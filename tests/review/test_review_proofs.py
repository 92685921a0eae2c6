"""Proofs from real ledgers: of every record, under whatever head there is; and of one head as the
beginning of another.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from guardrail.core.log.checkpoint import Algorithm, Checkpoint, NoteKey, NoteSignature, SignedNote
from guardrail.core.log.proof import Verdict, check_proof
from guardrail.errors import LedgerError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.review.proofs import HeadRelation, compare_heads, log_key, make_proof
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    EPOCHS,
    KEYS,
    LOG,
    SIGNING,
    decision,
    make,
    note,
    reopen,
    whole_call,
)

PUBLIC = bytes.fromhex(KEYS.public)
KEY = NoteKey(LOG, PUBLIC)


def stored(db: Path) -> SignedNote:
    with LedgerReader.open(db) as reader:
        row = reader.storage.head()
    assert row is not None
    return SignedNote.parse(row.note)


def by_log_key(text: str) -> SignedNote:
    key = SIGNING.log_key(LOG)
    return SignedNote.sign(text, key.key, key.sign)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SignedNote]]:
    """A log of 603 records, more than two tiles, of a writer with a key of its own; and its heads
    on the way.
    """
    db = tmp_path_factory.mktemp("ledger") / "a.db"
    heads = []
    with make(db, signing=EPOCHS) as writer:
        for _ in range(3):
            for future in [writer.submit(note()) for _ in range(200)]:
                future.result(20)
            heads.append(stored(db))
    heads.append(stored(db))
    return db, heads


def test_every_record_is_proved_by_the_stored_head(ledger: tuple[Path, list[SignedNote]]) -> None:
    """An epoch key signed it: the proof carries that key's certificate, and the log key alone
    checks it.
    """
    db, heads = ledger
    with LedgerReader.open(db) as reader:
        size = reader.size()
        for seq in (0, 1, 255, 256, 511, 512, size - 3, size - 2):
            proof = make_proof(reader, seq, heads[-2] if seq < 600 else heads[-1])
            checked = check_proof(proof, PUBLIC, verify_signature)
            assert (checked.verdict, proof.line) == (Verdict.GOOD, reader.record(seq))
            assert checked.epoch is not None
            other = Keys.ephemeral().public
            assert (
                check_proof(proof, bytes.fromhex(other), verify_signature).verdict
                is Verdict.KEY_UNKNOWN
            )


def test_a_head_of_the_log_key_needs_no_certificate(ledger: tuple[Path, list[SignedNote]]) -> None:
    """Whoever may use the log key gives out proofs that need nothing else."""
    db, heads = ledger
    with LedgerReader.open(db) as reader:
        proof = make_proof(reader, 7, by_log_key(heads[-1].text))
    assert proof.epoch is None
    assert check_proof(proof, PUBLIC, verify_signature).verdict is Verdict.GOOD


def test_a_head_that_a_witness_signed_comes_first(ledger: tuple[Path, list[SignedNote]]) -> None:
    """Where it covers the record; one that the log key did not sign, or of another history, is
    passed over.
    """
    db, heads = ledger
    line = NoteSignature("w.example/1", b"abcd", bytes(72))
    cosigned = by_log_key(heads[0].text).with_signatures([line])
    size = Checkpoint.parse(cosigned.text).size
    forked = by_log_key(Checkpoint(LOG, 300, bytes(32)).text).with_signatures([line])
    unsigned = SignedNote(heads[1].text, (line, line, line))
    head = by_log_key(heads[-1].text)
    with LedgerReader.open(db) as reader:
        proof = make_proof(reader, 7, head, [forked, unsigned, cosigned])
        assert proof.note == cosigned
        assert make_proof(reader, size, head, [cosigned]).note == head
        again = by_log_key(head.text).with_signatures([line])
        assert line in make_proof(reader, 7, head, [cosigned, again]).note.signatures


def test_a_record_that_is_not_there_has_no_proof(ledger: tuple[Path, list[SignedNote]]) -> None:
    """It says that there is none."""
    db, heads = ledger
    with LedgerReader.open(db) as reader, pytest.raises(LedgerError) as refused:
        make_proof(reader, reader.size(), heads[-1])
    assert refused.value.code == "ledger.no_record"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET line = replace(line, 'admin.start', 'admin.stop ') WHERE seq = 7",
        "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 0",
        "DELETE FROM tile",
        "UPDATE record SET line = '{}' WHERE seq = 0",
    ],
)
def test_a_ledger_that_was_changed_gives_no_proof(tmp_path: Path, statement: str) -> None:
    """It is an error that leads to verify, never a proof that does not hold."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        for future in [writer.submit(note()) for _ in range(600)]:
            future.result(20)
    head = stored(db)
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("DROP TRIGGER record_no_update")
    connection.execute(statement)
    if statement == "DELETE FROM tile":
        connection.execute("DROP TRIGGER record_no_delete")
        connection.execute("DELETE FROM record WHERE seq = 300")
        connection.execute(SCHEMA["record_no_delete"])
    connection.execute(SCHEMA["record_no_update"])
    connection.close()
    with LedgerReader.open(db) as reader, pytest.raises(LedgerError) as refused:
        make_proof(reader, 7, head)
    assert refused.value.code == "ledger.proof"
    assert "verify" in refused.value.hint


def test_heads_of_one_log_are_consistent(ledger: tuple[Path, list[SignedNote]]) -> None:
    """Each with each later one, with a proof where their sizes differ."""
    db, heads = ledger
    with LedgerReader.open(db) as reader:
        assert log_key(reader) == KEY
        for at, old in enumerate(heads):
            for new in heads[at:]:
                answer = compare_heads(old, new, reader, KEY)
                assert answer.relation is HeadRelation.CONSISTENT
                assert bool(answer.path) is (old.text != new.text)


def test_heads_that_do_not_belong_together_are_told_apart(
    ledger: tuple[Path, list[SignedNote]], tmp_path: Path
) -> None:
    """Forked, of another log, unknown here, or signed by nobody who may: each is its own answer."""
    db, heads = ledger
    root = Checkpoint.parse(heads[1].text)
    forked = by_log_key(Checkpoint(LOG, 100, bytes(32)).text)
    twin = by_log_key(Checkpoint(LOG, root.size, bytes(32)).text)
    beyond = by_log_key(Checkpoint(LOG, 5000, bytes(32)).text)
    with make(tmp_path / "b.db") as writer:
        whole_call(writer)
    with reopen(tmp_path / "b.db") as writer:
        writer.append(decision(new_ulid(), writer.process, effect="deny"))
    other = NoteKey("other", PUBLIC)
    stranger = NoteKey(LOG, bytes.fromhex(Keys.ephemeral(b"x" * 32).public))
    with LedgerReader.open(db) as reader:

        def relation(old: SignedNote, new: SignedNote, key: NoteKey = KEY) -> HeadRelation:
            return compare_heads(old, new, reader, key).relation

        assert relation(forked, heads[1]) is HeadRelation.FORKED
        assert relation(twin, heads[1]) is HeadRelation.FORKED
        assert relation(heads[1], beyond) is HeadRelation.NOT_HERE
        assert relation(stored(tmp_path / "b.db"), twin) is HeadRelation.NOT_HERE
        assert relation(heads[0], heads[1], other) is HeadRelation.OTHER_LOG
        assert relation(heads[0], heads[1], stranger) is HeadRelation.KEY_UNKNOWN
        unsigned = SignedNote(heads[1].text, by_log_key("x\n").signatures)
        assert relation(heads[0], unsigned) is HeadRelation.KEY_UNKNOWN


def test_proofs_still_work_where_records_were_pruned(tmp_path: Path) -> None:
    """Of what is left, and between heads of before and after; a record that is gone is said to be
    gone.
    """
    from tests.support.retention import build, cut

    db = tmp_path / "audit.db"
    build(db, 700)
    old = stored(db)
    assert cut(db, 300).deleted == 299
    new = stored(db)
    with LedgerReader.open(db) as reader:
        key = log_key(reader)
        for seq in (0, 300, 511, 699, 700):
            proof = make_proof(reader, seq, new)
            assert check_proof(proof, key.public, verify_signature).verdict is Verdict.GOOD
        assert compare_heads(old, new, reader, key).relation is HeadRelation.CONSISTENT
        with pytest.raises(LedgerError) as refused:
            make_proof(reader, 7, new)
        assert refused.value.code == "ledger.pruned"


def test_a_witness_key_is_not_the_log_key() -> None:
    """Its type is another one, so its id is."""
    assert NoteKey(LOG, PUBLIC, Algorithm.COSIGNATURE_V1).key_id != KEY.key_id
