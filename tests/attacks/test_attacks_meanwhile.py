"""Someone exchanges a line of a ledger in use, lets it be read, and puts it back: who believes it,
by either attacker.

The line becomes a grant that nobody gave, or the first call of a session that somebody else is to
own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode, dumps, leaf_hash
from guardrail.errors import Denied, IdentityError, LedgerSealedError
from guardrail.keys.log_key import Keys
from guardrail.ledger.heads import head_signer, sign_head
from guardrail.ledger.sqlite.located import fill, lines_of
from guardrail.ledger.sqlite.tree import SQLiteTreeWriter
from guardrail.ledger.tree import TILE
from guardrail.review.verify import verify_ledger
from tests.support.approvals import Asks, Body, ask_for, attempt, granted, guarded, run
from tests.support.attacks import Attacker
from tests.support.guards import journal_of

PAGE = Path(__file__).parents[2] / "docs" / "threat-model.md"
CACHES = ("tile", "head", "call", "place")
BEGIN, END = "<!-- meanwhile: generated -->", "<!-- meanwhile: end -->"
PEOPLE = (
    '[ledger]\npath = "audit.db"\nreserve_mb = 0\n[approvals]\nunsafe_asserted_approvals = true\n'
)


@dataclass
class Played:
    """A guard, its ledger, and what an attacker makes of it."""

    guard: Guard
    folder: Path
    approval: str
    attacker: Attacker

    @property
    def db(self) -> Path:
        return self.folder / "audit.db"

    def lines(self) -> list[bytes]:
        connection = sqlite3.connect(self.db)
        rows = connection.execute("SELECT CAST(line AS BLOB) FROM record ORDER BY seq").fetchall()
        connection.close()
        return [row[0] for row in rows]

    @contextmanager
    def exchanged(self, place: int, line: bytes) -> Iterator[None]:
        """Let *line* stand for record *place*; with the keys, link and sign everything behind it as
        well. Then put all back.
        """
        connection = sqlite3.connect(self.db, isolation_level=None, timeout=10)
        tables = {
            name: connection.execute(f"SELECT {columns} FROM {name}").fetchall()
            for name, columns in (("record", "seq, leaf, line"), *((each, "*") for each in CACHES))
        }
        lines = self.lines()
        lines[place] = line
        with _unlocked(connection):
            if self.attacker is Attacker.INSIDER:
                self._sign(connection, lines, place)
            else:
                sql = "UPDATE record SET leaf = ?, line = ? WHERE seq = ?"
                connection.execute(sql, (leaf_hash(line), line.decode(), place))
        try:
            yield
        finally:
            with _unlocked(connection):
                for name, rows in tables.items():
                    columns = " (seq, leaf, line)" if name == "record" else ""
                    connection.execute(f"DELETE FROM {name}")
                    for row in rows:
                        marks = ", ".join("?" * len(row))
                        connection.execute(f"INSERT INTO {name}{columns} VALUES ({marks})", row)
            connection.close()

    def _sign(self, connection: sqlite3.Connection, lines: list[bytes], place: int) -> None:
        connection.execute("DELETE FROM record")
        connection.execute("DELETE FROM tile")
        edge, prev = Edge(), "0" * 64
        for seq, line in enumerate(lines):
            made = line if seq < place else dumps({**decode(line), "seq": seq, "prev": prev})
            leaf = leaf_hash(made)
            values = (seq, leaf, made.decode())
            connection.execute("INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", values)
            grown = edge.append(leaf)
            if edge.size % TILE == 0:
                SQLiteTreeWriter(connection.execute).store_tile(edge.size, grown)
            prev = leaf.hex()
        for table in ("call", "place"):
            connection.execute(f"DELETE FROM {table}")
        fill(connection.execute, lines_of(connection.execute), owner=lambda _: ("p", "h", 1))
        signing = Keys.load(self.folder / "audit.keys").signing(actor={"id": "x"}, epochs=False)
        log = decode(lines[0])["log"]
        key = signing.log_key(log)
        SQLiteTreeWriter(connection.execute).write_head(
            sign_head(bytes.fromhex(prev), edge, head_signer(log, key), signing)
        )

    def grant(self) -> tuple[int, bytes]:
        """A grant of the request, in the place of a note behind it."""
        lines = self.lines()
        asked = next(line for line in lines if self.approval.encode() in line)
        place = next(
            seq
            for seq, line in enumerate(lines)
            if seq > decode(asked)["seq"] and b'"admin.note"' in line
        )
        return place, granted(asked, seq=place)

    def first_call(self) -> tuple[int, bytes]:
        """Mallory's call, in the place of alice's first of her session."""
        lines = self.lines()
        place = next(seq for seq, line in enumerate(lines) if b'"call.decision"' in line)
        return place, lines[place].replace(b'"alice"', b'"mallory"')


@contextmanager
def _unlocked(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    kept = triggers.fetchall()
    for name, _ in kept:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in kept:
        connection.execute(sql)
    connection.execute("COMMIT")


# -- who reads
# --------------------------------------------------------------------------------------------------


def runs_the_call(scene: Played) -> str:
    """A guard that is given the approval."""
    body = Body()
    with scene.exchanged(*scene.grant()):
        try:
            attempt(scene.guard, scene.approval, body)
        except LedgerSealedError:
            return "sealed"
        except Denied:
            return "denied"
        finally:
            assert body.runs == 0
    return "believed"


def takes_an_answer(scene: Played) -> str:
    """A guard whose interrupt was answered, and that counts the answers before."""
    with scene.exchanged(*scene.grant()):
        try:
            case = scene.guard.approvals.case(scene.approval)
        except LedgerSealedError:
            return "sealed"
        return "believed" if case.steps else "not read"


def opens_the_session(scene: Played) -> str:
    """A guard that started again, whose owner of the session comes."""
    with scene.exchanged(*scene.first_call()):
        scene.guard._entry._sessions._states.clear()
        try:
            scene.guard.session(principal="alice", agent="bot", id="s-1")
        except LedgerSealedError:
            return "sealed"
        except IdentityError:
            return "believed"
        return "not read"


def lists_requests(scene: Played) -> str:
    """``guardrail approvals``."""
    (scene.folder / "guardrail.toml").write_text(PEOPLE)
    with scene.exchanged(*scene.grant()):
        ran = run(scene.folder, "approvals", "--json")
    if ran.returncode == 3 and "signed" in ran.stderr:
        return "refused"
    assert ran.returncode == 0, ran.stderr
    return "believed" if '"granted"' in ran.stdout else "not read"


def approves(scene: Played) -> str:
    """``guardrail refuse``, whose answer depends on the answers before; ``approve`` does the
    same.
    """
    (scene.folder / "guardrail.toml").write_text(PEOPLE)
    place, line = scene.grant()
    with scene.exchanged(place, line):
        ran = run(scene.folder, "refuse", scene.approval, "--reason", "no")
    assert ran.returncode == 3, ran.stdout
    return "refused"


def verifies_meanwhile(scene: Played) -> str:
    """``verify``, while the other line is there."""
    with scene.exchanged(*scene.grant()):
        return _verdict(scene)


def verifies_afterwards(scene: Played) -> str:
    """``verify``, when all is as it was."""
    with scene.exchanged(*scene.grant()):
        pass
    return _verdict(scene)


def _verdict(scene: Played) -> str:
    report = verify_ledger(scene.db)
    return report.state.value if report.exit_code == 1 else "not found"


READERS: dict[str, Callable[[Played], str]] = {
    "a guard that is given the approval": runs_the_call,
    "a guard that asks a person through an interrupt": takes_an_answer,
    "a guard that looks up the owner of a session": opens_the_session,
    "`guardrail approvals`": lists_requests,
    "`guardrail approve`, `refuse`": approves,
    "`guardrail verify`, during the swap": verifies_meanwhile,
    "`guardrail verify`, after the swap": verifies_afterwards,
}
EXPECTED: dict[str, tuple[str, str]] = {
    "a guard that is given the approval": ("sealed", "sealed"),
    "a guard that asks a person through an interrupt": ("sealed", "believed"),
    "a guard that looks up the owner of a session": ("sealed", "believed"),
    "`guardrail approvals`": ("refused", "believed"),
    "`guardrail approve`, `refuse`": ("refused", "-"),
    "`guardrail verify`, during the swap": ("tampered", "not found"),
    "`guardrail verify`, after the swap": ("not found", "not found"),
}
"""Reader -> what it does, by an attacker without a key and by one with the keys; ``-`` where it
would write, which is forking.
"""
PLAYED = [
    (reader, attacker)
    for reader in READERS
    for attacker, word in zip(Attacker, EXPECTED[reader], strict=True)
    if word != "-"
]


def table() -> str:
    rows = ["| reader during the swap | without a key | with the keys |", "|---|---|---|"]
    for reader, words in EXPECTED.items():
        good = [
            f"**{word}**" if word in ("sealed", "refused", "tampered") else word for word in words
        ]
        rows.append(f"| {reader} | {' | '.join(good)} |")
    return "\n".join(rows)


@pytest.mark.parametrize(("reader", "attacker"), PLAYED)
def test_a_line_that_was_exchanged_for_a_moment(
    tmp_path: Path, reader: str, attacker: Attacker
) -> None:
    """No body runs, whoever the attacker is; without a key nobody believes it."""
    policy = Asks()

    def decide(asked: dict[str, object]) -> object:
        tool = asked["resource"]
        policy.rules = ("large",) if tool["id"] == "pay" else ()  # type: ignore[index]
        return policy(asked)  # type: ignore[arg-type]

    with guarded(tmp_path, decide) as guard:
        guard.declare("ping", schema={"type": "object"})
        with guard.session(principal="alice", agent="bot", id="s-1"):
            guard.call("ping", {}, lambda: 1)
            approval = ask_for(guard)
            journal_of(guard).admin("note", {})
            guard.call("ping", {}, lambda: 1)
        scene = Played(guard, tmp_path, approval, attacker)
        did = READERS[reader](scene)
        assert did == EXPECTED[reader][list(Attacker).index(attacker)]


def test_the_table_of_readers_in_the_threat_model_is_what_was_played() -> None:
    """Every cell of it has a test above."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()
