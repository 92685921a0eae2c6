"""Someone changes the rows that say where records are, and no record: nothing is hidden from a
reader, and ``verify`` and ``doctor`` report the change.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from guardrail.cli.app import run as command_line
from guardrail.review.verify import VerifyState, verify_ledger
from tests.support.approvals import Asks, ask_for, attempt, guarded
from tests.support.ledgers import EPOCHS, make, whole_call

SETTINGS = (
    '[ledger]\npath = "audit.db"\nreserve_mb = 0\n[approvals]\nunsafe_asserted_approvals = true\n'
)
CHANGES = {
    "no place": "DELETE FROM place",
    "no call": "DELETE FROM call",
    "no place of a request": "DELETE FROM place WHERE kind = 'request'",
    "no place of a session": "DELETE FROM place WHERE kind = 'session'",
    "other places": "UPDATE place SET seq = seq - 1",
    "other calls": "UPDATE call SET decision = decision - 1",
    "a planted place of a request": "INSERT INTO place VALUES ('request', 's-1', 2, 2)",
    "a planted step": "INSERT INTO place SELECT 'step', call, 1, 2 FROM call",
    "planted places of a rotation": "INSERT INTO place SELECT kind, name, number + 99, seq FROM "
    "place WHERE name = 'admin.key_rotated'",
    "a call twice": "INSERT INTO call (open, call, decision) SELECT 0, call || 'A', decision FROM "
    "call",
}

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command in this process; return its exit code and what it printed."""
    for name in ("GUARDRAIL_LEDGER", "GUARDRAIL_CONFIG", "GUARDRAIL_KEYS"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = command_line(list(args))
        return int(code), re.sub(r'"age_s": [0-9.]+', "", capsys.readouterr().out)

    return call


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with a call that ran and one that waits for a person, and the id of the latter."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "guardrail.toml").write_text(SETTINGS)
    with guarded(folder, Asks(rules=())) as guard:
        attempt(guard, None)
    with guarded(folder, Asks()) as guard:
        approval = ask_for(guard)
    return folder, approval


def change(db: Path, statement: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    ("what", "keys"),
    [
        *((what, True) for what in CHANGES),
        *((what, False) for what in ("no place", "no call", "other calls")),
    ],
)
def test_changed_rows_hide_no_record(
    asked: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Ask,
    what: str,
    keys: bool,
) -> None:
    folder, approval = tmp_path / "project", asked[1]
    shutil.copytree(asked[0], folder)
    monkeypatch.chdir(folder)
    if not keys:
        shutil.rmtree(folder / "audit.keys")
    commands = (("sessions",), ("show", "s-1"), ("show", approval), ("why", approval))
    commands = (*commands, ("approvals", "--all"))
    before = [ask(*command, "--json") for command in commands]
    assert all(code == 0 for code, _ in before)
    assert approval in before[-1][1]
    change(folder / "audit.db", CHANGES[what])
    assert [ask(*command, "--json") for command in commands] == before
    code, said = ask("verify", "--json")
    assert code == 1
    assert json.loads(said)["state"] == "tampered"
    code, said = ask("doctor")
    assert code == 1
    assert "makes queries miss" in said or "that no record requires" in said
    asked_at = json.loads(before[2][1])["record"]["seq"]
    assert json.loads(ask("prove", approval)[1])["index"] == asked_at
    if what in ("no call", "other calls") and keys:
        code, said = ask("approve", approval, "--reason", "seen")
        assert code not in (0, 1), "an approval that was not recorded is not said to be"


def test_verify_since_reports_a_hidden_rotation_before_it(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as writer:
        for _ in range(200):
            whole_call(writer)
    change(db, "DELETE FROM place WHERE name = 'admin.key_rotated' AND number = 1")
    report = verify_ledger(db, since=300)
    assert report.state is VerifyState.TAMPERED
    assert report.first_bad == 1
