"""Attacks on the stored rows from which the states of sessions follow, by someone without a key.

Alice has made both calls that the policy admits. Each attack wants one more. It must be found
before a decision uses the states, and ``verify`` must report it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard
from guardrail.core.kept_states import KEPT_STATES
from guardrail.core.log import fields
from guardrail.core.log.record import Draft, decode, leaf_hash
from guardrail.errors import LedgerError
from guardrail.ledger.heads import HeadRow
from guardrail.ledger.lease import own_origin
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.testing import StaticPolicy, allow, deny
from guardrail.wiring.opening import load_keys
from tests.support.attacks import head_row
from tests.support.guards import Body, guarded, lines, settings
from tests.support.ledgers import ACTOR
from tests.support.retention import cut

CHANGE = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=10)
triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
for name, _ in triggers:
    db.execute(f"DROP TRIGGER {name}")
for statement, values in json.load(sys.stdin):
    db.execute(statement, [bytes.fromhex(v[4:]) if str(v)[:4] == "hex:" else v for v in values])
for _, again in triggers:
    db.execute(again)
db.commit()
"""
"""Another process, because a process that closes a database loses its locks on it."""

Statement = tuple[str, list[Any]]


def limited() -> StaticPolicy:
    """Return a policy that admits two calls of each principal."""

    def decide(document: dict[str, Any]) -> dict[str, Any]:
        calls = document["context"]["principal_state"]["calls"]
        return allow("few") if calls < 2 else deny("too-many")

    return StaticPolicy(decide, state_reads={"session", "principal_state", "recent"})


def pay(guard: Guard, principal: str = "alice") -> None:
    with guard.session(principal=principal, agent="bot", id=f"of-{principal}"):
        guard.call("pay", {}, run=Body())


def keep(folder: Path, *, delete: bool) -> None:
    """Repeat the states of all records, as pruning does, and *delete* these records."""
    db = folder / "audit.db"
    signing = load_keys(settings(folder)).signing(actor=ACTOR, epochs=False)
    with LedgerReader.open(db) as reader:
        log, end = reader.log, reader.size()
        details = ProvedReader(reader, Proofs(signing, log)).kept_states(end)
    with LedgerWriter.open(db, signing=signing) as writer:
        for detail in details:
            where = own_origin("retention")
            writer.append(
                Draft.build(
                    fields.admin(log, "states_kept", actor=ACTOR, where=where, detail=detail)
                )
            )
    if delete:
        cut(db, end, signing=signing)


@dataclass(frozen=True, slots=True)
class Scene:
    """One ledger, what was there before, and a ledger of somebody else."""

    folder: Path
    older: Path
    """A copy of the ledger before Alice's second call."""
    other: Path
    """Another ledger with as many records, in which Alice has made no call."""
    kept: bool
    """True if the records of the calls were pruned."""

    def lines(self) -> list[tuple[int, str]]:
        """Return the numbers and lines of the records that count Alice's calls, oldest first."""
        return counting(self.folder / "audit.db", kept=self.kept)


def counting(db: Path, *, kept: bool, principal: str = "alice") -> list[tuple[int, str]]:
    found = []
    for line in lines(db):
        record = decode(line)
        counts = (
            record["type"] == KEPT_STATES
            if kept
            else record["type"] == "call.decision" and record["principal"]["id"] == principal
        )
        if counts:
            found.append((int(record["seq"]), line.decode()))
    return found


def build(folder: Path, *, kept: bool, people: tuple[str, ...]) -> Path:
    """Make the ledger; return the copy of it before its last call."""
    folder.mkdir()
    older = folder / "older.db"
    with guarded(folder, limited()) as guard:
        for each in people[:-1]:
            pay(guard, each)
    if kept:
        keep(folder, delete=False)
    shutil.copy(folder / "audit.db", older)
    with guarded(folder, limited()) as guard:
        pay(guard, people[-1])
    if kept:
        keep(folder, delete=True)
    return older


@pytest.fixture(scope="module", params=["records", "kept states"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    kept = request.param == "kept states"
    folder = tmp_path_factory.mktemp("states")
    older = build(folder / "own", kept=kept, people=("alice", "carol", "alice"))
    build(folder / "other", kept=kept, people=("bobby", "carol", "bobby"))
    return Scene(folder / "own", older, folder / "other" / "audit.db", kept)


@pytest.fixture
def copy(scene: Scene, tmp_path: Path) -> Path:
    """A copy of the folder to attack."""
    return Path(shutil.copytree(scene.folder, tmp_path / "own"))


def line(seq: int, text: str, *, leaf: bool = True) -> list[Statement]:
    made: list[Statement] = [("UPDATE record SET line = ? WHERE seq = ?", [text, seq])]
    if leaf:
        value = f"hex:{leaf_hash(text.encode()).hex()}"
        made.append(("UPDATE record SET leaf = ? WHERE seq = ?", [value, seq]))
    return made


def fewer(text: str) -> str:
    """Return *text* with fewer calls of Alice."""
    changed = text.replace('"id":"alice"', '"id":"mallo"').replace('"calls":2', '"calls":0')
    assert changed != text
    return changed


def edited(scene: Scene) -> list[Statement]:
    seq, text = scene.lines()[-1]
    return line(seq, fewer(text), leaf=False)


def edited_with_hash(scene: Scene) -> list[Statement]:
    seq, text = scene.lines()[-1]
    return line(seq, fewer(text))


def rolled_back(scene: Scene) -> list[Statement]:
    seq, _ = scene.lines()[-1]
    return line(seq, counting(scene.older, kept=scene.kept)[0][1])


def deleted(scene: Scene) -> list[Statement]:
    return [("DELETE FROM record WHERE seq = ?", [scene.lines()[-1][0]])]


def of_another_ledger(scene: Scene) -> list[Statement]:
    seq, _ = scene.lines()[-1]
    people = {} if scene.kept else {"principal": "bobby"}
    return line(seq, counting(scene.other, kept=scene.kept, **people)[-1][1])


def of_another_session(scene: Scene) -> list[Statement]:
    """Exchange the line with one of Carol's, or let the subjects of a kept state change places."""
    seq, text = scene.lines()[-1]
    if scene.kept:
        return line(
            seq, text.replace("alice", "-").replace("carol", "alice").replace("-", "carol", 1)
        )
    ((its, hers),) = counting(scene.folder / "audit.db", kept=False, principal="carol")
    return line(seq, hers) + line(its, text)


def said_to_be_pruned(scene: Scene) -> list[Statement]:
    """Delete the records up to the newest one that counts a call, as if they had been pruned."""
    seq, _ = scene.lines()[-1]
    return [
        ("DELETE FROM record WHERE seq > 0 AND seq <= ?", [seq]),
        ("REPLACE INTO pruned (id, before) VALUES (0, ?)", [seq + 1]),
    ]


def edited_head(scene: Scene) -> list[Statement]:
    row = head_row(scene.folder / "audit.db")
    edge = row.edge[:-1] + bytes([row.edge[-1] ^ 1])
    return head(replace(row, edge=edge), row.mac)


def older_head(scene: Scene) -> list[Statement]:
    row = head_row(scene.older)
    return head(row, row.mac)


def deleted_head(_: Scene) -> list[Statement]:
    return [("DELETE FROM head", [])]


def head_of_another_ledger(scene: Scene) -> list[Statement]:
    row = head_row(scene.other)
    return head(row, row.mac)


def head(row: HeadRow, mac: bytes) -> list[Statement]:
    values = [row.size, f"hex:{row.leaf.hex()}", f"hex:{row.edge.hex()}", row.note]
    statement = "UPDATE head SET size = ?, leaf = ?, edge = ?, note = ?, mac = ?"
    return [(statement, [*values, f"hex:{mac.hex()}"])]


ATTACKS: dict[str, Callable[[Scene], list[Statement]]] = {
    each.__name__: each
    for each in (
        edited,
        edited_with_hash,
        rolled_back,
        deleted,
        of_another_ledger,
        of_another_session,
        said_to_be_pruned,
        edited_head,
        older_head,
        deleted_head,
        head_of_another_ledger,
    )
}


def attack(db: Path, statements: list[Statement]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHANGE, str(db)],
        input=json.dumps(statements).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_without_an_attack_the_policy_denies(copy: Path) -> None:
    """Otherwise finding the attacks would mean nothing."""
    attack(copy / "audit.db", [])
    with guarded(copy, limited()) as guard:
        with pytest.raises(Denied, match="too-many"):
            pay(guard)
        pay(guard, "dora")
    assert verify_ledger(copy / "audit.db").state is VerifyState.NOT_ANCHORED


@pytest.mark.parametrize("name", ATTACKS)
def test_a_new_process_finds_it_before_it_decides(scene: Scene, copy: Path, name: str) -> None:
    attack(copy / "audit.db", ATTACKS[name](scene))
    assert verify_ledger(copy / "audit.db").exit_code == 1
    with pytest.raises(LedgerError) as caught, guarded(copy, limited()) as guard:
        pay(guard)
    assert caught.value.hint
    assert verify_ledger(copy / "audit.db").exit_code == 1


@pytest.mark.parametrize("name", ATTACKS)
def test_a_process_that_runs_admits_no_more_calls(scene: Scene, copy: Path, name: str) -> None:
    """It has read the records already, so it either finds the change or still knows the truth."""
    with guarded(copy, limited()) as guard:
        with pytest.raises(Denied, match="too-many"):
            pay(guard)
        attack(copy / "audit.db", ATTACKS[name](scene))
        with pytest.raises((Denied, LedgerError)):
            pay(guard)
    assert verify_ledger(copy / "audit.db").exit_code == 1


def test_a_process_that_runs_finds_that_the_whole_file_is_an_older_one(
    scene: Scene, copy: Path
) -> None:
    with guarded(copy, limited()) as guard:
        with pytest.raises(Denied, match="too-many"):
            pay(guard)
        older = head_row(scene.older)
        newer: list[Statement] = [("DELETE FROM record WHERE seq >= ?", [older.size])]
        attack(copy / "audit.db", newer + head(older, older.mac))
        with pytest.raises(LedgerError):
            pay(guard)
