"""Verifying a ledger verifies the log of who read it in the same run."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.app import Exit
from guardrail.ledger.sqlite.database import SCHEMA
from tests.support.command_line import Cli, Ran, build


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger that somebody has read, a head of each log that was kept, and the
    ledger's key.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "audit").mkdir()
    build(folder / "audit" / "ledger.db")
    monkeypatch.chdir(folder)
    return folder


def kept(cli: Cli, project: Path) -> list[str]:
    """Keep the key of the ledger, and one file with a head of each log; return the options that
    name both.
    """
    cli("sessions")
    cli("show", "last")
    heads = []
    for name in ("ledger", "ledger.access"):
        head = project.parent / f"{name}.head"
        head.write_text(cli("checkpoint", "--ledger", f"audit/{name}.db").out)
        heads += ["--checkpoint", str(head)]
    return ["--key", str(project / "audit" / "ledger.keys" / "log.pub"), *heads]


def answer(ran: Ran) -> dict[str, Any]:
    """The document, which says the same exit code as the process."""
    document: dict[str, Any] = json.loads(ran.out)
    assert document["exit"] == ran.code
    return document


def damage(db: Path) -> None:
    """Change one record where it stands, as whoever can write the file may."""
    connection = sqlite3.connect(db)
    connection.execute("DROP TRIGGER record_no_update")
    connection.execute(
        "UPDATE record SET line = replace(line, '\"show\"', '\"none\"') WHERE seq = 2"
    )
    connection.execute(SCHEMA["record_no_update"])
    connection.commit()
    connection.close()


def test_both_logs_are_verified_each_against_its_own_heads(cli: Cli, project: Path) -> None:
    """Each has a state of its own; the ledger's answer is not that of the access log."""
    options = kept(cli, project)
    plain = answer(cli("verify", "--json"))
    assert (plain["state"], plain["access"]["state"]) == ("not_anchored", "not_anchored")
    both = answer(cli("verify", *options, "--json"))
    assert both["exit"] == Exit.YES
    assert both["access"]["state"] == "anchored"
    assert re.search(r"/project\.access-[0-9a-f]{8}$", both["access"]["log"])
    assert both["access"]["path"] == str(project / "audit" / "ledger.access.db")
    text = cli("verify", *options).out
    assert "Who read it (the access log)" in text
    assert text.count("ANCHORED") == 2


def test_an_access_log_that_is_not_anchored_changes_no_answer(cli: Cli, project: Path) -> None:
    """Looking at a ledger that is anchored must not turn what verify says of it into a
    reservation.
    """
    options = kept(cli, project)
    document = answer(cli("verify", *options[:4], "--json"))
    assert document["access"]["state"] == "not_anchored"
    assert document["exit"] == Exit.YES
    for path in (project / "audit").glob("ledger.access*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (project / "guardrail.toml").write_text('[access]\npath = "nowhere/log.db"\n')
    without = answer(cli("verify", *options[:4], "--json"))
    assert without["access"] is None
    assert without["exit"] == Exit.YES


def test_a_change_to_who_read_makes_the_answer_no(cli: Cli, project: Path) -> None:
    """Although nothing of the ledger itself was changed; the record that differs is named."""
    kept(cli, project)
    damage(project / "audit" / "ledger.access.db")
    document = answer(cli("verify", "--json"))
    assert document["exit"] == Exit.NO
    assert document["state"] == "not_anchored"
    assert document["access"]["state"] == "tampered"
    assert document["access"]["first_bad"] == 2
    ran = cli("verify")
    assert "BROKEN at record 2" in ran.out
    assert "guardrail verify --ledger" in ran.err


def test_readers_that_were_cut_off_are_missed_by_a_head_that_was_kept(
    cli: Cli, project: Path
) -> None:
    """An older state of the access log, whole in itself, is behind its head."""
    cli("sessions")
    older = project.parent / "older.db"
    shutil.copy(project / "audit" / "ledger.access.db", older)
    options = kept(cli, project)
    for suffix in ("-wal", "-shm"):
        Path(f"{project / 'audit' / 'ledger.access.db'}{suffix}").unlink(missing_ok=True)
    shutil.copy(older, project / "audit" / "ledger.access.db")
    document = answer(cli("verify", *options, "--json"))
    assert document["exit"] == Exit.NO
    assert document["access"]["exit"] == Exit.NO
    assert document["state"] != document["access"]["state"]


def test_the_ledger_in_the_place_of_its_access_log_draws_no_heads_to_itself(
    cli: Cli, project: Path
) -> None:
    """Whoever puts another log in the ledger's place, and the ledger where the readers' log was, is
    found out.
    """
    options = kept(cli, project)
    for path in (project / "audit").glob("ledger.access.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in list((project / "audit").glob("ledger.db*")):
        if path.is_file():
            path.rename(path.with_name(path.name.replace("ledger.db", "ledger.access.db")))
    build(project / "other.db")
    for path in list(project.glob("other.db*")):
        path.rename(project / "audit" / path.name.replace("other.db", "ledger.db"))
    document = answer(cli("verify", *options[2:4], "--json"))
    assert document["exit"] == Exit.NO
    assert document["state"] in {"replaced", "forked", "truncated"}


def test_an_access_log_is_not_verified_beside_itself(cli: Cli, project: Path) -> None:
    """Nor is one where there is none, or beside an export."""
    kept(cli, project)
    assert answer(cli("verify", "--ledger", "audit/ledger.access.db", "--json"))["access"] is None
    cli("export", "--jsonl", "-o", "out.jsonl")
    assert answer(cli("verify", "--export", "out.jsonl", "--json"))["access"] is None


def test_an_access_log_that_is_torn_is_not_known_to_be_whole(cli: Cli, project: Path) -> None:
    """No head says that something was there, so this is no proof of tampering."""
    options = kept(cli, project)
    os.truncate(project / "audit" / "ledger.access.db", 0)
    document = answer(cli("verify", *options[:4], "--json"))
    assert document["access"]["state"] == "torn"
    assert document["exit"] == Exit.UNKNOWN


def test_an_access_log_that_this_version_or_user_cannot_read_is_a_reservation(
    cli: Cli, project: Path
) -> None:
    """The ledger was checked, and who read it was not."""
    options = kept(cli, project)
    connection = sqlite3.connect(project / "audit" / "ledger.access.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    document = answer(cli("verify", *options[:4], "--json"))
    assert (document["state"], document["access"]["state"]) == ("anchored", "unreadable")
    assert document["exit"] == Exit.RESERVED


def test_an_access_log_that_was_removed_makes_the_answer_no(cli: Cli, project: Path) -> None:
    """Until somebody says that its end was meant."""
    options = kept(cli, project)
    assert cli("verify", *options, "--json").code == 0
    for path in (project / "audit").glob("ledger.access.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ran = cli("verify", *options[:4], "--json")
    document = answer(ran)
    assert document["exit"] == 1
    assert any("It is not known who read the ledger" in each for each in document["notices"])
    assert not (project / "audit" / "ledger.access.db").exists()
    assert (
        cli("anchor", "forget", "audit/ledger.access.db", "--ledger", "audit/ledger.db").code == 0
    )
    assert cli("verify", *options[:4], "--json").code == 0
