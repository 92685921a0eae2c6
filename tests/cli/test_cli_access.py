"""Every command that reads a ledger is in its access log before it shows anything, and says so
where it can't be.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.app import cli as commands
from guardrail.cli.entries import CommandReads
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from tests.support.command_line import Cli, build, command, environment

TRIED: dict[str, list[str]] = {
    "init": ["fresh"],
    "demo": [],
    "bench": ["--seconds", "1"],
    "doctor": [],
    "sessions": [],
    "show": ["last"],
    "why": ["3"],
    "find": ["--value", "-"],
    "index": [],
    "rederive": [],
    "upgrade": [],
    "approvals": [],
    "approve": ["4", "--reason", "fine"],
    "missed": [],
    "refuse": ["4", "--reason", "no"],
    "resolve": ["4", "ran", "--reason", "fine"],
    "suspend": ["agent:bot", "--reason", "leaks"],
    "resume": ["agent:bot"],
    "suspensions": [],
    "verify": [],
    "recover": ["--dry-run"],
    "export": ["--jsonl", "-o", "out.jsonl"],
    "access": [],
    "checkpoint": [],
    "anchor": [],
    "seal": [],
    "archive": [],
    "prune": ["--policy", "--reason", "old"],
    "hold add": ["case-1", "--reason", "court order"],
    "hold release": ["case-1", "--reason", "over"],
    "hold list": [],
    "tenants list": [],
    "tenants add": ["acme"],
    "tenants disable": ["acme", "--reason", "x"],
    "tenants enable": ["acme", "--reason", "x"],
    "retention run": [],
    "retention status": [],
    "backup": ["copy.db"],
    "prove": ["3"],
    "check-proof": ["proof", "--key", "x"],
    "consistency": ["old", "new"],
    "keys": [],
    "witness init": ["--db", "w.db", "--key", "w.keys", "--name", "w"],
    "witness add": ["--db", "w.db", "--log", "x"],
    "witness status": ["--db", "w.db"],
    "witness serve": ["--db", "w.db", "--key", "w.keys"],
    "redact": ["value.json"],
    "policy check": ["policies"],
    "policy test": ["policies"],
    "policy eval": ["policies", "--from", "3"],
    "policy schema": [],
    "policy bundle": ["policies"],
    "policy push": ["policies"],
    "proxy accept": [],
    "proxy token": ["alice", "--callers", "callers.txt"],
    "run": ["--upstream", "http://127.0.0.1:9/v1", "--", "true"],
    "policy reload": ["--wait", "0"],
}
"""A way to run each command that gets as far as it can without help from outside. Every command
must be here.
"""
WRITERS = {"run", "upgrade"}
"""Commands that open the ledger to write, and show none of its records. ``run`` opens it as a
guard, whose records of its start and end say so. ``upgrade`` changes only the format, and nothing
can be recorded in an access log of the old format before it.
"""


def entries(group: LazyGroup, *names: str) -> Iterator[tuple[str, click.Command, CommandReads]]:
    """Every command with its full name and what its entry says that it reads."""
    context = click.Context(group)
    for name, entry in group.entries.items():
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, LazyGroup):
            yield from entries(found, *names, name)
        else:
            yield " ".join((*names, name)), found, entry.reads


assert isinstance(commands, LazyGroup)
ALL = {name: (found, reads) for name, found, reads in entries(commands)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger, which is the current one."""
    (tmp_path / "audit").mkdir()
    build(tmp_path / "audit" / "ledger.db")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text("package guardrail.policy\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def accesses(folder: Path) -> list[dict[str, Any]]:
    """Every reading that the access log in *folder* has."""
    db = folder / "audit" / "ledger.access.db"
    if not db.exists():
        return []
    with LedgerReader.open(db) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record for record in found if record["type"] == "access.read"]


@pytest.fixture
def opened(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records the access log had each time when a command, and not the record of it,
    opened the ledger.
    """
    found: list[int] = []
    recording = [False]
    connect = sqlite3.connect

    def watching(database: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        if f"{project / 'audit' / 'ledger.db'}?" in str(database) and not recording[0]:
            found.append(_count(connect, project / "audit" / "ledger.access.db"))
        connection: sqlite3.Connection = connect(database, *args, **kwargs)
        return connection

    import guardrail.access_log.log

    record = guardrail.access_log.log.record_read

    def recorded(*args: Any, **how: Any) -> Any:
        recording[0] = True
        try:
            return record(*args, **how)
        finally:
            recording[0] = False

    monkeypatch.setattr(sqlite3, "connect", watching)
    monkeypatch.setattr(guardrail.access_log.log, "record_read", recorded)
    return found


def _count(connect: Callable[..., sqlite3.Connection], db: Path) -> int:
    if not db.exists():
        return 0
    connection = connect(f"file:{db}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT count(*) FROM records WHERE type = 'access.read'")
        return int(rows.fetchone()[0])
    finally:
        connection.close()


def test_every_command_is_tried_here() -> None:
    """A new one is to be added to the table above, with a way to run it."""
    assert set(TRIED) == set(ALL)


@pytest.mark.parametrize("words", TRIED)
def test_a_command_that_opens_the_ledger_is_recorded_before_it_does(
    cli: Cli, project: Path, opened: list[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its entry says: what it opened and when is compared with what the access log has,
    then and afterwards.
    """
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bob@example.com")))
    found, reads = ALL[words]
    own = any(parameter.name == "ledger" for parameter in found.params)
    cli(
        *words.split(),
        *TRIED[words],
        *(["--ledger", project / "audit" / "ledger.db"] if own else []),
    )
    recorded = accesses(project)
    if reads is CommandReads.NO_RECORDS or not own:
        assert recorded == []
        assert opened == [] or words in WRITERS
        return
    assert [record["command"] for record in recorded] == ([] if words == "access" else [words])
    assert opened or words == "access"
    assert all(count == 1 for count in opened)


def test_a_reading_command_is_recorded_although_its_answer_reached_nobody(project: Path) -> None:
    """The record is first: also where stdout takes nothing."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("show", "last"), cwd=project, env=environment(), stdout=full, check=False
        )
    assert done.returncode == Exit.UNKNOWN
    assert [record["command"] for record in accesses(project)] == ["show"]


def test_the_record_holds_what_was_asked_and_why(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given on the command line by its name there; the reason from the option, else from
    the environment.
    """
    cli("sessions", "--limit", "7", "--json", "--reason", "ticket 1")
    monkeypatch.setenv("GUARDRAIL_ACCESS_REASON", "ticket 2")
    cli("show", "session:S-1")
    cli("export", "--jsonl", "-o", "out.jsonl", "--reason", "ticket 3")
    cli("recover", "--dry-run", "--reason", "ticket 4")
    asked = [(entry["command"], entry["selector"], entry["purpose"]) for entry in accesses(project)]
    assert asked == [
        ("sessions", {"limit": 7}, "ticket 1"),
        ("show", {"ref": "session:S-1"}, "ticket 2"),
        ("export", {"jsonl": True, "output": "out.jsonl"}, "ticket 3"),
        ("recover", {"dry-run": True}, "ticket 4"),
    ]


def test_what_was_refused_as_usage_or_only_explained_is_no_reading(cli: Cli, project: Path) -> None:
    """Nothing was about to be read."""
    assert cli("show").code == Exit.USAGE
    assert cli("sessions", "--limit", "0").code == Exit.USAGE
    assert cli("sessions", "--help").code == Exit.YES
    assert cli("sessions", "--reason", "x" * 1001).code == Exit.USAGE
    assert not (project / "audit" / "ledger.access.db").exists()


def test_an_export_that_is_verified_is_not_the_ledger(cli: Cli, project: Path) -> None:
    """It is a file of its own, wherever it came from."""
    cli("export", "--jsonl", "-o", "out.jsonl")
    assert cli("verify", "--export", "out.jsonl").code in {Exit.YES, Exit.RESERVED}
    assert [record["command"] for record in accesses(project)] == ["export"]


def test_a_reading_that_fails_is_recorded_with_the_reason(cli: Cli, project: Path) -> None:
    """A ledger that is damaged, or gone, while somebody tries to read it."""
    cli("sessions")
    (project / "audit" / "ledger.db").rename(project / "audit" / "away.db")
    assert cli("sessions").code == Exit.UNKNOWN
    assert [entry["ledger"]["problem"] for entry in accesses(project)] == [None, "ledger.missing"]


@pytest.mark.parametrize("args", [("sessions",), ("show", "5"), ("show", "last"), ("why", "3")])
def test_the_answer_says_whether_the_reading_is_recorded(
    cli: Cli, project: Path, args: tuple[str, ...]
) -> None:
    """In JSON always; on stderr where it is not. The exit code and the rest of the answer are the
    same.
    """
    good = cli(*args, "--json")
    assert good.err == ""
    (project / "audit" / "ledger.access.keys").chmod(0o755)
    bad = cli(*args, "--json")
    assert bad.code == good.code == Exit.YES
    first, second = json.loads(good.out), json.loads(bad.out)
    assert (first.pop("access_recorded"), first.pop("access_problem")) == (True, None)
    assert second.pop("access_recorded") is False
    assert "others can read it" in second.pop("access_problem")
    assert first == second
    assert (
        "warning: this read is not recorded in the access log "
        f"{project / 'audit' / 'ledger.access.db'}: " in bad.err
    )
    assert f"next:  chmod 700 {project / 'audit' / 'ledger.access.keys'}" in bad.err
    assert cli(*args).code == Exit.YES


def test_where_every_reading_must_be_recorded_nothing_is_shown_without(
    cli: Cli, project: Path
) -> None:
    """Also where the ledger is named on the command line; a ledger that the settings are not about
    is not concerned.
    """
    (project / "guardrail.toml").write_text("[access]\nrequired = true\n")
    assert cli("sessions").code == Exit.YES
    (project / "audit" / "ledger.access.keys").chmod(0o755)
    for args in (
        ("sessions",),
        ("sessions", "--ledger", "audit/ledger.db"),
        ("export", "--jsonl", "-o", "o"),
    ):
        ran = cli(*args)
        assert (ran.code, ran.out) == (Exit.UNKNOWN, "")
        assert "require every read to be recorded" in ran.err
    assert not (project / "o").exists()
    build(project / "other.db")
    assert cli("sessions", "--ledger", "other.db").code == Exit.YES


@pytest.mark.parametrize(
    "way", ["another folder", "link", "linked folder", "environment", "config"]
)
def test_that_every_reading_must_be_recorded_holds_from_wherever_the_ledger_is_named(
    cli: Cli, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Its own folder says so: neither another folder, nor a link, nor other settings are a way
    around it.
    """
    (project / "guardrail.toml").write_text("[access]\nrequired = true\n")
    assert cli("sessions").code == Exit.YES
    away = tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    (away / "x.db").symlink_to(project / "audit" / "ledger.db")
    (away / "y").symlink_to(project / "audit")
    (away / "mine.toml").write_text(f'[ledger]\npath = "{project / "audit" / "ledger.db"}"\n')
    if way == "environment":
        monkeypatch.setenv("GUARDRAIL_LEDGER", str(project / "audit" / "ledger.db"))
    args = {
        "another folder": ["--ledger", str(project / "audit" / "ledger.db")],
        "link": ["--ledger", "x.db"],
        "linked folder": ["--ledger", "y/ledger.db"],
        "environment": [],
        "config": ["--config", "mine.toml"],
    }[way]
    assert cli("sessions", *args).code == Exit.YES
    assert len(accesses(project)) == 2
    (project / "audit" / "ledger.access.keys").chmod(0o755)
    ran = cli("sessions", *args)
    assert (ran.code, ran.out) == (Exit.UNKNOWN, "")
    assert "require every read to be recorded" in ran.err


def test_a_ledger_can_be_examined_whatever_is_in_the_folder(cli: Cli, project: Path) -> None:
    """Settings that are refused keep nobody from reading a ledger that is named; they name no
    access log either.
    """
    (project / "guardrail.toml").write_text("[nonsense]\n")
    assert cli("sessions", "--ledger", "audit/ledger.db").code == Exit.YES
    assert [record["command"] for record in accesses(project)] == ["sessions"]
    assert cli("sessions").code == Exit.UNKNOWN


def test_access_says_who_read_what(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, this one last; as a table, in few columns, and as JSON, by either name of
    the log.
    """
    cli("show", "S-1", "--reason", "ticket \x1b[31m42")
    cli("sessions")
    monkeypatch.setenv("COLUMNS", "200")
    wide = cli("access").out.splitlines()
    assert [line.split("  ")[0] for line in wide][:1] == ["WHEN (UTC)"]
    assert 'show ref="S-1"' in wide[1]
    assert "\x1b" not in wide[1]
    assert "access" in wide[3]
    monkeypatch.setenv("COLUMNS", "80")
    assert "ticket" in cli("access").out
    for path in ("audit/ledger.db", "audit/ledger.access.db"):
        document = json.loads(cli("access", "--ledger", path, "--json", "--limit", "1").out)
        [last] = document["accesses"]
        assert (last["command"], last["selector"]) == ("access", {"limit": 1})
        assert document["total"] == last["seq"]
    everything = json.loads(cli("access", "--all", "--json").out)
    assert [entry["command"] for entry in everything["accesses"]][:2] == ["show", "sessions"]
    assert everything["accesses"][0]["ledger"]["size"] == 12
    assert everything["accesses"][0]["uid"] == os.getuid()


def test_access_where_nothing_was_read_yet_makes_no_log(cli: Cli, project: Path) -> None:
    """It says how one comes to be."""
    ran = cli("access")
    assert ran.code == Exit.UNKNOWN
    assert "no access log" in ran.err
    assert not (project / "audit" / "ledger.access.db").exists()


def test_the_access_log_is_a_ledger_for_every_other_command(cli: Cli, project: Path) -> None:
    """Each of them is recorded in it, and in nothing else."""
    cli("sessions")
    assert cli("verify", "--ledger", "audit/ledger.access.db").code == Exit.RESERVED
    assert cli("show", "1", "--ledger", "audit/ledger.access.db").code == Exit.YES
    assert (
        cli("export", "--jsonl", "-o", "x.jsonl", "--ledger", "audit/ledger.access.db").code
        == Exit.YES
    )
    assert [record["command"] for record in accesses(project)] == [
        "sessions",
        "verify",
        "show",
        "export",
    ]
    assert not list((project / "audit").glob("ledger.access.access*"))


def test_an_access_log_elsewhere_is_worked_on_with_its_own_keys(cli: Cli, project: Path) -> None:
    """By its name alone, where the settings found here say that it is the access log."""
    (project / "readers").mkdir()
    (project / "guardrail.toml").write_text(
        '[access]\npath = "readers/log.db"\nkeys = "readers-keys"\n'
    )
    cli("sessions")
    assert not (project / "audit" / "ledger.access.db").exists()
    assert cli("recover", "--ledger", "readers/log.db").code == Exit.YES
    signed = json.loads(cli("checkpoint", "--ledger", "readers/log.db", "--json").out)
    assert (signed["signed_by"], signed["size"]) == ("log", 4)
    read = json.loads(cli("access", "--json").out)["accesses"]
    assert [entry["command"] for entry in read] == ["sessions", "recover", "checkpoint", "access"]


def test_the_access_log_is_kept_and_deleted_by_the_same_rules(cli: Cli, project: Path) -> None:
    """Sealed, archived and looked through by the commands that do it for the ledger, each of which
    it has.
    """
    archive = project.parent / f"{project.name}-archive"
    archive.mkdir()
    (project / "guardrail.toml").write_text(f'[retention]\narchive = "{archive}"\n')
    cli("sessions")
    for words in (["seal", "--reason", "now"], ["archive"], ["retention", "run"]):
        ran = cli(*words, "--ledger", "audit/ledger.access.db")
        assert ran.code == Exit.YES, ran.err
    assert cli("verify", "--ledger", "audit/ledger.access.db").code == Exit.RESERVED
    assert len(list((project / "audit" / "ledger.access.db-segments").glob("*.gz"))) == 1
    listed = cli("access").out
    assert "retention run" in listed
    assert '"retention run"' not in listed


def test_four_commands_at_once_are_all_recorded(project: Path) -> None:
    """The first ones make the log; nobody waits in vain and nothing is lost."""
    running = [
        subprocess.Popen(
            [*command("show", str(number)), "--json"],
            cwd=project,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for one in running:
        out, err = one.communicate(timeout=60)
        assert (one.returncode, err) == (0, "")
        assert json.loads(out)["access_recorded"] is True
    assert sorted(entry["selector"]["ref"] for entry in accesses(project)) == ["0", "1", "2", "3"]


def test_a_ledger_on_a_read_only_disk_is_read_and_said_not_to_be_recorded(
    cli: Cli, tmp_path: Path
) -> None:
    """The examination of a copy must not need a place to write."""
    (tmp_path / "disk").mkdir()
    build(tmp_path / "disk" / "audit" / "ledger.db")
    flags = ["mount", "--bind", "-o", "ro", str(tmp_path / "disk"), str(tmp_path / "disk")]
    if subprocess.run(flags, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        ran = cli("verify", "--ledger", tmp_path / "disk" / "audit" / "ledger.db", "--json")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)
    assert ran.code == Exit.RESERVED
    document = json.loads(ran.out)
    assert document["access_recorded"] is False
    assert "not recorded" in ran.err
