"""P5: what was changed in a log that a guard wrote is found, with its number where that can be
told.

Without a head from elsewhere an older copy can't be seen, and ``verify`` says so instead of OK.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.core.log.record import decode, leaf_hash
from guardrail.review.verify import OutsideHead, VerifyState, verify_ledger
from tests.support.guards import OPEN, cli, guarded, lines

CALLS = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a closed ledger of some calls."""
    folder = tmp_path_factory.mktemp("written")
    with guarded(folder) as guard:
        guard.declare("send", schema=OPEN)
        for number in range(CALLS):
            guard.call("send", {"n": number}, lambda n: n)
    return folder


@pytest.fixture
def db(written: Path, tmp_path: Path) -> Path:
    """A copy of it, without the triggers that keep accidents away."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy" / "audit.db"


def change(db: Path, *statements: str) -> None:
    """Do what someone with write access to the file can do."""
    connection = sqlite3.connect(db)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    kept = triggers.fetchall()
    for name, _ in kept:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for _, sql in kept:
        connection.execute(sql)
    connection.commit()
    connection.close()


def head(db: Path) -> OutsideHead:
    """Return the signed head of now, kept elsewhere."""
    return OutsideHead.parse("kept", verify_ledger(db).note)


def public(db: Path) -> str:
    """Return the log's public key, as somebody wrote it down."""
    return (db.parent / "audit.keys" / "log.pub").read_text().strip()


EDITS: dict[str, tuple[str, int]] = {
    "a value": ("UPDATE record SET line = replace(line, 'allow', 'allox') WHERE seq = 5", 5),
    "one byte of a value": (
        "UPDATE record SET line = replace(line, '\"n\":3', '\"n\":4') WHERE seq = 7",
        7,
    ),
    "white space": ("UPDATE record SET line = line || ' ' WHERE seq = 7", 7),
    "the genesis": (
        "UPDATE record SET line = replace(line, 'genesis', 'genesiS') WHERE seq = 0",
        0,
    ),
    "a stored hash": ("UPDATE record SET leaf = zeroblob(32) WHERE seq = 6", 6),
    "a deletion": ("DELETE FROM record WHERE seq = 9", 9),
    "a deletion at the start": ("DELETE FROM record WHERE seq = 0", 0),
    "an insertion": (
        "INSERT INTO record (seq, leaf, line) SELECT max(seq) + 1, zeroblob(32), '{}' FROM record",
        2 * CALLS + 2,
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found_with_its_number(db: Path, edit: str) -> None:
    """By library and by command line: exit code 1, and the first record that is not as it must
    be.
    """
    statement, expected = EDITS[edit]
    change(db, statement)
    report = verify_ledger(db)
    assert (report.state, report.exit_code, report.first_bad) == (VerifyState.TAMPERED, 1, expected)
    shown = cli("verify", "--ledger", db, cwd=db.parent, code=1)
    assert str(expected).encode() in shown.stdout + shown.stderr


@pytest.mark.parametrize("one", [1, 3, 2 * CALLS - 1])
def test_two_records_that_change_places_are_found(db: Path, one: int) -> None:
    """Lines and hashes exchanged together."""
    change(
        db,
        f"UPDATE record SET seq = 1000 WHERE seq = {one}",
        f"UPDATE record SET seq = {one} WHERE seq = {one + 1}",
        f"UPDATE record SET seq = {one + 1} WHERE seq = 1000",
    )
    report = verify_ledger(db)
    assert (report.state, report.first_bad) == (VerifyState.TAMPERED, one)


def truncated(db: Path) -> None:
    change(db, f"DELETE FROM record WHERE seq > {2 * CALLS - 4}")


def rewritten(db: Path) -> None:
    """A forger who knows the format makes every later hash right again."""
    found = [decode(line) for line in lines(db)]
    found[3]["decision"]["rules"] = []
    from guardrail.core.log.record import dumps

    connection = sqlite3.connect(db)
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    prev = "0" * 64
    for record in found:
        record["prev"] = prev
        line = dumps(record)
        prev = leaf_hash(line).hex()
        connection.execute(
            "UPDATE record SET line = ?, leaf = ? WHERE seq = ?",
            (line.decode(), bytes.fromhex(prev), record["seq"]),
        )
    connection.commit()
    connection.close()


@pytest.mark.parametrize("how", [truncated, rewritten])
def test_what_a_chain_cannot_show_is_never_called_intact(
    db: Path, how: Callable[[Path], None]
) -> None:
    """A cut tail and a rewritten log: against a head from elsewhere TAMPERED, without one NOT
    ANCHORED at best.
    """
    kept = head(db)
    assert verify_ledger(db, key=public(db), heads=[kept]).exit_code == 0
    how(db)
    assert verify_ledger(db).exit_code == 1, "nobody without a key makes a head that fits"
    report = verify_ledger(db, heads=[kept])
    assert report.exit_code == 1
    assert report.state in (VerifyState.TAMPERED, VerifyState.TRUNCATED)


@pytest.mark.parametrize("how", ["removed", "another", "older"])
def test_a_log_that_was_exchanged_is_found_against_a_head(
    db: Path, written: Path, tmp_path: Path, how: str
) -> None:
    """Wiped, swapped for another log, or brought back from an older copy."""
    older = tmp_path / "older.db"
    shutil.copyfile(db, older)
    with guarded(db.parent) as guard:
        guard.call("send", {"n": 99}, lambda n: n)
    kept = head(db)
    for part in ("", "-wal", "-shm"):
        Path(f"{db}{part}").unlink(missing_ok=True)
    if how == "another":
        (tmp_path / "other").mkdir()
        with guarded(tmp_path / "other") as guard:
            for number in range(40):
                guard.call("send", {"n": number}, lambda n: n)
        shutil.copyfile(tmp_path / "other" / "audit.db", db)
    elif how == "older":
        shutil.copyfile(older, db)
    assert verify_ledger(db, heads=[kept]).exit_code == 1


def test_a_ledger_that_contradicts_what_it_acknowledged_takes_no_calls(tmp_path: Path) -> None:
    """An open guard notices what was cut behind its back at the next call, and opens no more
    afterwards.
    """
    from guardrail.errors import LedgerError, LedgerSealedError

    runs: list[int] = []
    with guarded(tmp_path) as guard:
        guard.call("send", {}, lambda: runs.append(1))
        change(tmp_path / "audit.db", "DELETE FROM record WHERE seq = 2")
        with pytest.raises(LedgerSealedError):
            guard.call("send", {}, lambda: runs.append(1))
    assert runs == [1]
    with pytest.raises(LedgerError), guarded(tmp_path):
        pass
