"""Attacks on a ledger, by someone without its keys and by someone who has them all, against what
others kept of it.

Each attacker does everything right that they can: hashes, links, tree, tables and the row of the
head are made anew. What one of them can't make is a signature.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.anchoring import LedgerHeads
from guardrail.anchors.file import FileAnchor
from guardrail.anchors.lines import head_line
from guardrail.anchors.witness.client import WitnessAnchor
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.key_epochs import certified_text
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import dumps, leaf_hash
from guardrail.errors import AnchorError, LedgerError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.ledger.heads import HeadRow, Signing, head_signer, sign_head
from guardrail.ledger.sqlite.located import fill, lines_of
from guardrail.ledger.sqlite.tree import SQLiteTree, SQLiteTreeWriter
from guardrail.ledger.tree import TILE
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import OutsideHead, VerifyReport, load_heads, verify_ledger
from guardrail.system.ids import new_ulid
from tests.support.anchors import witness
from tests.support.ledgers import EPOCHS, FAST, KEYS, LOG, SIGNING, decision, make, whole_call

Record = dict[str, Any]
KEY = NoteKey(LOG, bytes.fromhex(KEYS.public))


class Attacker(StrEnum):
    """Who has write access to every file of the ledger's folder."""

    OUTSIDER = "without a key"
    INSIDER = "with the keys"
    """The log key and the keys of the writers, as anyone has who can read what the guard can."""


class Kept(StrEnum):
    """What somebody keeps where the attacker can't change it."""

    NOTHING = "nothing"
    PUBLIC_KEY = "public key"
    FILE = "file anchor"
    WITNESS = "witness"


@dataclass(slots=True)
class Scene:
    """One ledger with its past, and what was kept of it elsewhere."""

    folder: Path
    backup: int = 0
    """Records in an old copy."""
    anchored: int = 0
    """Records that the newest head elsewhere covers."""
    lag: int = 0
    """Records a little later."""
    size: int = 0
    """Records now."""
    heads: dict[Kept, OutsideHead] = field(default_factory=dict)
    witness_url: str = ""
    witness_key: NoteKey | None = None

    def copy(self, name: str) -> Path:
        """The ledger file as it was: ``backup``, ``lag`` or ``now``."""
        return self.folder / f"{name}.db"


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Make it: a guard writes, stops, writes, is anchored at a file and at a witness, and writes
    on.
    """
    made = Scene(folder)
    db = folder / "live" / "a.db"
    db.parent.mkdir()
    with make(db, signing=EPOCHS) as writer:
        made.backup = _write(writer, 70)
    _keep(db, made.copy("backup"))
    with _opened(db) as writer:
        _write(writer, 70)
    heads = LedgerHeads(db, LOG, SIGNING)
    note = heads.head()
    made.anchored = Checkpoint.parse(note.text).size
    file = FileAnchor(folder / "heads.jsonl", key=KEY, verify=verify_signature)
    file.publish(note, heads.prove)
    with witness(folder, _Known(KEY)) as server:  # type: ignore[arg-type]
        made.witness_url, made.witness_key = server.url, server.key  # type: ignore[attr-defined]
        witness_anchor(made).publish(note, heads.prove)
        with _opened(db) as writer:
            _write(writer, 5)
        made.lag = _size(db)
        _keep(db, made.copy("lag"))
        with _opened(db) as writer:
            _write(writer, 5)
        made.size = _size(db)
        _keep(db, made.copy("now"))
        (made.heads[Kept.FILE],) = load_heads(folder / "heads.jsonl")
        latest = witness_anchor(made).latest(LOG)
        assert latest is not None
        made.heads[Kept.WITNESS] = OutsideHead("the witness", latest, Checkpoint.parse(latest.text))
        yield made


@dataclass(frozen=True, slots=True)
class _Known:
    key: NoteKey


def witness_anchor(made: Scene) -> WitnessAnchor:
    assert made.witness_key is not None
    return WitnessAnchor(made.witness_url, key=made.witness_key, verify=verify_signature)


def _opened(db: Path) -> LedgerWriter:
    return LedgerWriter.open(db, signing=EPOCHS, settings=FAST)


def _write(writer: LedgerWriter, calls: int) -> int:
    for _ in range(calls):
        whole_call(writer)
    return writer.append(decision(new_ulid(), writer.process, effect="deny")).seq + 1


def _keep(db: Path, copy: Path) -> None:
    assert not db.with_name(db.name + "-wal").exists(), "the ledger is closed"
    shutil.copyfile(db, copy)


def _size(db: Path) -> int:
    connection = sqlite3.connect(db)
    try:
        return int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
    finally:
        connection.close()


# -- forging
# --------------------------------------------------------------------------------------------------


class Forgery:
    """A ledger file in the hands of an attacker."""

    def __init__(self, db: Path, made: Scene, signing: Signing | None) -> None:
        """*signing* is None for who has no key."""
        self.db, self.scene, self.signing = db, made, signing

    def records(self) -> list[Record]:
        """Every record, decoded."""
        connection = sqlite3.connect(self.db)
        rows = connection.execute("SELECT line FROM record ORDER BY seq").fetchall()
        connection.close()
        return [json.loads(line) for (line,) in rows]

    def leaves(self) -> list[bytes]:
        """The stored hash of every record."""
        connection = sqlite3.connect(self.db)
        rows = connection.execute("SELECT leaf FROM record ORDER BY seq").fetchall()
        connection.close()
        return [leaf for (leaf,) in rows]

    def tile(self, number: int, hashes: Sequence[bytes]) -> None:
        """Put a row of leaves into the stored tree."""
        row = f"(0, {number}, x'{b''.join(hashes).hex()}')"
        self.naively(f"REPLACE INTO tile (level, number, hashes) VALUES {row}")

    def naively(self, *statements: str) -> None:
        """Change rows, and no hash; who has the keys signs what is there."""
        with self._open() as connection:
            for statement in statements:
                connection.execute(statement)

    def rewrite(
        self, records: Sequence[Record], *, since: int = 0, head: HeadRow | None = None
    ) -> None:
        """Make everything anew, linked from *since* on, under *head*, or under a new one where
        there is a key for it.
        """
        lines: list[bytes] = []
        prev = "0" * 64
        numbers: dict[int, int] = {}
        for seq, record in enumerate(records):
            numbers[record["seq"]] = seq
            made = {**record, "prev": prev, "seq": seq}
            if "decision_seq" in made:
                made["decision_seq"] = numbers[made["decision_seq"]]
            if made["type"] == "admin.key_rotated":
                made["detail"] = self._certified(made["detail"], seq)
            lines.append(dumps(made if seq >= since else record))
            prev = leaf_hash(lines[-1]).hex()
        with self._open() as connection:
            stored = SQLiteTree(connection.execute).head()
            assert stored is not None
            edge = _fill(connection, lines)
            _tables(connection, [json.loads(line) for line in lines])
            leaf = leaf_hash(lines[-1])
            if head is None and self.signing is not None:
                head = sign_head(
                    leaf, edge, head_signer(LOG, self.signing.log_key(LOG)), self.signing
                )
            # Without a key the old signature is the best there is, whatever else the row is made to
            # say.
            unsigned = HeadRow(edge.size, leaf, edge.encode(), stored.note, stored.mac)
            SQLiteTreeWriter(connection.execute).write_head(head if head is not None else unsigned)

    def _certified(self, detail: dict[str, Any], seq: int) -> dict[str, Any]:
        """Certify anew a key whose record has moved to the front, where there is a key to do it
        with.
        """
        if self.signing is None or detail["key"] is None or detail["first"] <= seq:
            return detail
        first = min(detail["first"], seq)
        text = certified_text(LOG, detail["key"]["public"], first)
        certificate = base64.b64encode(self.signing.log_key(LOG).sign(text)).decode()
        return {**detail, "first": first, "certificate": certificate}

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.db, isolation_level=None)
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        triggers = connection.execute(query).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")
        for _, sql in triggers:
            connection.execute(sql)
        connection.close()


def _fill(connection: sqlite3.Connection, lines: Sequence[bytes]) -> Edge:
    """Replace records and tiles; return the tree."""
    connection.execute("DELETE FROM record")
    connection.execute("DELETE FROM tile")
    edge = Edge()
    for seq, line in enumerate(lines):
        leaf = leaf_hash(line)
        connection.execute(
            "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", (seq, leaf, line.decode())
        )
        grown = edge.append(leaf)
        if edge.size % TILE == 0:
            SQLiteTreeWriter(connection.execute).store_tile(edge.size, grown)
    return edge


def _tables(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Replace what is cached of the lines: open calls, keys in use."""
    for table in ("call", "place", "epoch"):
        connection.execute(f"DELETE FROM {table}")
    owners = {record["call"]: record["origin"]["process"] for record in records if "call" in record}
    fill(
        connection.execute,
        lines_of(connection.execute),
        owner=lambda call: (owners[call], "h", 1),
    )
    for record in records:
        if record["type"] == "admin.key_rotated":
            detail = record["detail"]
            if detail["key"] is not None:
                values = (detail["key"]["public"], record["seq"], "p", "h", 1)
                connection.execute("INSERT INTO epoch VALUES (?, ?, ?, ?, ?)", values)
            for each in detail["ended"]:
                connection.execute("DELETE FROM epoch WHERE public = ?", (each["public"],))


def with_another_tool(record: Record) -> Record:
    return {**record, "tool": {**record["tool"], "name": "read_email"}}


def forged_records(records: Sequence[Record]) -> list[Record]:
    """A call that never was, to be put in somewhere."""
    at = next(seq for seq, each in enumerate(records) if each["type"] == "call.decision")
    call = new_ulid()
    decided, ended = ({**each, "call": call} for each in records[at : at + 2])
    decided["seq"] = ended["decision_seq"] = -1
    ended["seq"] = -2
    return [decided, ended]


def decision_near(records: Sequence[Record], seq: int) -> int:
    return next(
        at
        for at in range(seq, len(records))
        if records[at]["type"] == "call.decision" and records[at]["decision"]["effect"] == "allow"
    )


def head_row(db: Path) -> HeadRow:
    connection = sqlite3.connect(db)
    row = SQLiteTree(connection.execute).head()
    connection.close()
    assert row is not None
    return row


# -- the attacks
# --------------------------------------------------------------------------------------------------


def edit(ledger: Forgery) -> None:
    at = decision_near(ledger.records(), 20)
    ledger.naively(
        f"UPDATE record SET line = replace(line, 'send_email', 'read_email') WHERE seq = {at}"
    )


def edit_rechained(ledger: Forgery) -> None:
    found = ledger.records()
    at = decision_near(found, 20)
    found[at] = with_another_tool(found[at])
    ledger.rewrite(found, since=at)


def edit_stale_hashes(ledger: Forgery) -> None:
    """Leave the hashes that the covered records had in the stored tree, where no row of it is
    complete yet.
    """
    made = ledger.scene
    found, leaves = ledger.records(), ledger.leaves()
    number = made.anchored // TILE
    at = decision_near(found, number * TILE)
    assert at < made.anchored, "the record is covered"
    found[at] = with_another_tool(found[at])
    ledger.rewrite(found, since=at)
    ledger.tile(number, leaves[number * TILE : made.anchored])


def delete(ledger: Forgery) -> None:
    at = decision_near(ledger.records(), 20)
    ledger.naively(f"DELETE FROM record WHERE seq IN ({at}, {at + 1})")


def delete_rechained(ledger: Forgery) -> None:
    found = ledger.records()
    at = decision_near(found, 20)
    ledger.rewrite(found[:at] + found[at + 2 :])


def reorder(ledger: Forgery) -> None:
    at = decision_near(ledger.records(), 20)
    ledger.naively(
        f"UPDATE record SET seq = 1000 WHERE seq = {at}",
        f"UPDATE record SET seq = {at} WHERE seq = {at + 2}",
        f"UPDATE record SET seq = {at + 2} WHERE seq = 1000",
    )


def reorder_rechained(ledger: Forgery) -> None:
    found = ledger.records()
    at = decision_near(found, 20)
    ledger.rewrite(found[:at] + found[at + 2 : at + 4] + found[at : at + 2] + found[at + 4 :])


def insert_rechained(ledger: Forgery) -> None:
    found = ledger.records()
    at = decision_near(found, 20)
    ledger.rewrite(found[:at] + forged_records(found) + found[at:])


def append(ledger: Forgery) -> None:
    found = ledger.records()
    ledger.rewrite(found + forged_records(found))


def truncate(ledger: Forgery) -> None:
    """Cut what the head elsewhere covers; the signed head of that time was copied then."""
    made = ledger.scene
    ledger.rewrite(ledger.records()[: made.backup + 1], head=head_row(made.copy("backup")))


def truncate_in_lag(ledger: Forgery) -> None:
    """Cut only what no head elsewhere covers."""
    made = ledger.scene
    ledger.rewrite(ledger.records()[: made.lag], head=head_row(made.copy("lag")))


def rewrite_all(ledger: Forgery) -> None:
    """A new history from line 0 on. Who has no key takes a new one."""
    mine = ledger.signing
    found = [each for each in ledger.records() if each["type"] != "admin.key_rotated"]
    found[0] = {**found[0], "nonce": "1" * 32}
    if mine is None:
        mine = Keys.ephemeral().signing(actor={"id": "x"}, epochs=False)
        found[0]["key"] = {"type": "ed25519", "public": mine.public}
    at = decision_near(found, 20)
    found[at] = with_another_tool(found[at])
    Forgery(ledger.db, ledger.scene, mine).rewrite(found)


def roll_back(ledger: Forgery) -> None:
    shutil.copyfile(ledger.scene.copy("backup"), ledger.db)


def fork(ledger: Forgery) -> None:
    """Put the old copy back, and let an honest guard, which was restarted, write on."""
    roll_back(ledger)
    with _opened(ledger.db) as writer:
        _write(writer, 90)
    assert _size(ledger.db) > ledger.scene.size


def delete_all(ledger: Forgery) -> None:
    for part in ("", "-wal", "-shm"):
        Path(f"{ledger.db}{part}").unlink(missing_ok=True)


def plant_rows(ledger: Forgery) -> None:
    """Put a call that never was before line 0, where SQLite tests no constraint for readers."""
    planted = [
        {**each, "seq": seq}
        for seq, each in zip((-2, -1), forged_records(ledger.records()), strict=True)
    ]
    connection = sqlite3.connect(ledger.db, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for record in planted:
        line = dumps(record)
        values = (record["seq"], leaf_hash(line), line.decode())
        connection.execute("INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", values)
    connection.close()


def plant_trigger(ledger: Forgery) -> None:
    """Have every writer's next records changed as they are written."""
    ledger.naively(
        "CREATE TRIGGER zz AFTER INSERT ON record BEGIN INSERT OR REPLACE INTO record "
        "(seq, leaf, line) VALUES (new.seq, new.leaf, replace(new.line, 'send_', 'read_')); END"
    )


def plant_view(ledger: Forgery) -> None:
    """Show readers other records than are there."""
    columns = "seq, leaf, replace(line, 'send_', 'read_') AS line, type, ts, call, session"
    connection = sqlite3.connect(ledger.db, isolation_level=None)
    connection.execute("ALTER TABLE record RENAME TO zz")
    connection.execute(f"CREATE VIEW record AS SELECT {columns} FROM zz")
    connection.close()


def remove_places(ledger: Forgery) -> None:
    """Take away the rows that lead to the records about the log itself and about its sessions."""
    ledger.naively("DELETE FROM place")


def rewrite_in_lag(ledger: Forgery) -> None:
    """Change only what no head elsewhere covers."""
    found = ledger.records()
    at = decision_near(found, ledger.scene.anchored)
    found[at] = with_another_tool(found[at])
    ledger.rewrite(found, since=at)


def append_to_anchor(ledger: Forgery) -> None:
    """Another history, longer than what is anchored, whose head is added to the anchor file, which
    takes whatever is appended.
    """
    found = ledger.records()
    at = decision_near(found, 20)
    found[at] = with_another_tool(found[at])
    ledger.rewrite(found + forged_records(found), since=at)
    row = head_row(ledger.db)
    text = Checkpoint(LOG, row.size, Edge.decode(row.size, row.edge).root()).text
    signed = SignedNote.parse(row.note).signatures
    note = SignedNote(text, signed)
    if ledger.signing is not None:
        key = ledger.signing.log_key(LOG)
        note = SignedNote.sign(text, key.key, key.sign)
    anchor = ledger.db.with_name(_ADDED_TO)
    shutil.copyfile(ledger.scene.folder / "heads.jsonl", anchor)
    with anchor.open("ab") as out:
        out.write(head_line(note))


_ADDED_TO = "added-to.jsonl"


@dataclass(frozen=True, slots=True)
class Attack:
    """One of them."""

    title: str
    play: Callable[[Forgery], None]
    covered: bool = True
    """Whether it changes records that the head elsewhere covers."""

    @property
    def name(self) -> str:
        """What tests call it."""
        return self.play.__name__


ATTACKS: tuple[Attack, ...] = (
    Attack("edit a record, hashes left unchanged", edit),
    Attack("edit a record, everything recomputed", edit_rechained),
    Attack(
        "edit a record, everything recomputed, old hashes left in the stored tree",
        edit_stale_hashes,
    ),
    Attack("delete from the middle, hashes left unchanged", delete),
    Attack("delete from the middle, everything recomputed", delete_rechained),
    Attack("truncate below the covered records, and restore the head of that time", truncate),
    Attack("truncate after the covered records", truncate_in_lag, covered=False),
    Attack("reorder, everything recomputed", reorder_rechained),
    Attack("insert a forged call, everything recomputed", insert_rechained),
    Attack("append a forged call", append, covered=False),
    Attack("rewrite from line 0 (without a key: under a new key)", rewrite_all),
    Attack("restore an older copy", roll_back),
    Attack("fork: restore an older copy and continue writing", fork),
    Attack("delete the whole ledger", delete_all),
    Attack("rewrite only the uncovered records", rewrite_in_lag, covered=False),
    Attack(
        "edit a record, everything recomputed, and append the new head to the file anchor",
        append_to_anchor,
    ),
    Attack("remove the rows that say where records are", remove_places),
    Attack("plant rows outside the log", plant_rows),
    Attack("plant a trigger", plant_trigger),
    Attack("replace the record table with a view", plant_view),
)


def played(attack: Attack, attacker: Attacker, made: Scene, folder: Path) -> Path:
    """Play *attack* on a copy in *folder*; return where that is."""
    db = folder / "a.db"
    shutil.copyfile(made.copy("now"), db)
    signing = SIGNING if attacker is Attacker.INSIDER else None
    attack.play(Forgery(db, made, signing))
    return db


def verified(db: Path, kept: Kept, made: Scene) -> VerifyReport:
    """Return what verify says to someone who kept this."""
    heads = [made.heads[kept]] if kept in made.heads else []
    if kept is Kept.FILE:
        heads = load_heads(_anchor_file(db, made))
    return verify_ledger(db, key=None if kept is Kept.NOTHING else KEYS.public, heads=heads)


def _anchor_file(db: Path, made: Scene) -> Path:
    added_to = db.with_name(_ADDED_TO)
    return added_to if added_to.exists() else made.folder / "heads.jsonl"


def next_head_refused(db: Path, made: Scene) -> str:
    """Return why an honest guard gets no further head of the ledger to the file; empty where it
    gets one.
    """
    copy = db.with_name("heads.jsonl")
    shutil.copyfile(_anchor_file(db, made), copy)
    heads = LedgerHeads(db, LOG, SIGNING)
    file = FileAnchor(copy, key=KEY, verify=verify_signature)
    try:
        file.publish(heads.head(), heads.prove, made.heads[Kept.FILE].head)
    except (AnchorError, LedgerError) as error:
        return error.code
    return ""


# -- the table
# --------------------------------------------------------------------------------------------------

MISSED = "not found"
BEGIN, END = "<!-- attacks: generated -->", "<!-- attacks: end -->"


def _same(cell: str) -> tuple[str, ...]:
    return (cell,) * len(Kept)


EXPECTED: dict[tuple[str, Attacker], tuple[str, ...]] = {
    ("edit", Attacker.OUTSIDER): _same("tampered"),
    ("edit", Attacker.INSIDER): _same("tampered"),
    ("edit_rechained", Attacker.OUTSIDER): _same("tampered"),
    ("edit_rechained", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("edit_stale_hashes", Attacker.OUTSIDER): _same("tampered"),
    ("edit_stale_hashes", Attacker.INSIDER): _same("tampered"),
    ("delete", Attacker.OUTSIDER): _same("tampered"),
    ("delete", Attacker.INSIDER): _same("tampered"),
    ("delete_rechained", Attacker.OUTSIDER): _same("tampered"),
    ("delete_rechained", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("truncate", Attacker.OUTSIDER): (MISSED, MISSED, "rolled_back", "rolled_back"),
    ("truncate", Attacker.INSIDER): (MISSED, MISSED, "rolled_back", "rolled_back"),
    ("truncate_in_lag", Attacker.OUTSIDER): _same(MISSED),
    ("truncate_in_lag", Attacker.INSIDER): _same(MISSED),
    ("reorder_rechained", Attacker.OUTSIDER): _same("tampered"),
    ("reorder_rechained", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("insert_rechained", Attacker.OUTSIDER): _same("tampered"),
    ("insert_rechained", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("append", Attacker.OUTSIDER): _same("tampered"),
    ("append", Attacker.INSIDER): _same(MISSED),
    ("rewrite_all", Attacker.OUTSIDER): (MISSED, "replaced", "replaced", "replaced"),
    ("rewrite_all", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("roll_back", Attacker.OUTSIDER): (MISSED, MISSED, "rolled_back", "rolled_back"),
    ("roll_back", Attacker.INSIDER): (MISSED, MISSED, "rolled_back", "rolled_back"),
    ("fork", Attacker.OUTSIDER): (MISSED, MISSED, "forked", "forked"),
    ("fork", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("delete_all", Attacker.OUTSIDER): (MISSED, MISSED, "missing", "missing"),
    ("delete_all", Attacker.INSIDER): (MISSED, MISSED, "missing", "missing"),
    ("rewrite_in_lag", Attacker.OUTSIDER): _same("tampered"),
    ("rewrite_in_lag", Attacker.INSIDER): _same(MISSED),
    ("append_to_anchor", Attacker.OUTSIDER): _same("tampered"),
    ("append_to_anchor", Attacker.INSIDER): (MISSED, MISSED, "forked", "forked"),
    ("remove_places", Attacker.OUTSIDER): _same("tampered"),
    ("remove_places", Attacker.INSIDER): _same("tampered"),
    ("plant_rows", Attacker.OUTSIDER): _same("tampered"),
    ("plant_rows", Attacker.INSIDER): _same("tampered"),
    ("plant_trigger", Attacker.OUTSIDER): _same("tampered"),
    ("plant_trigger", Attacker.INSIDER): _same("tampered"),
    ("plant_view", Attacker.OUTSIDER): _same("tampered"),
    ("plant_view", Attacker.INSIDER): _same("tampered"),
}
"""(attack, attacker) -> the state that verify names to someone who kept nothing, the public key, a
file anchor's heads, a witness's.
"""


def table(found: Mapping[tuple[str, Attacker], Sequence[str]]) -> str:
    """Return the table as it stands in docs/threat-model.md."""
    lines = [
        "| attack | attacker | " + " | ".join(f"verifier has: {each}" for each in Kept) + " |",
        "|---|---|" + "---|" * len(Kept),
    ]
    for attack in ATTACKS:
        for attacker in Attacker:
            cells = [
                each if each == MISSED else f"**{each}**" for each in found[attack.name, attacker]
            ]
            lines.append(f"| {attack.title} | {attacker.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
