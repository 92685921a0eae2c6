"""``verify --backup`` and ``consistency --backup``: an older copy that says that it is one is no
rollback, if it is a prefix.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail import Guard
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.types import Json
from tests.support.command_line import Cli
from tests.support.projects import new_project, record_call


@pytest.fixture
def project(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger that is anchored in a file elsewhere, a copy of it from before its last records, and
    heads of both times.
    """
    (tmp_path / "away").mkdir()
    anchored = '[anchors]\nheartbeat_s = 0\nfile = "../away/heads"\n[ledger]\npath = "audit.db"\n'
    home = new_project(tmp_path / "home", anchored)
    monkeypatch.chdir(home)
    record_call(home)
    assert cli("anchor").code == 0
    (home / "old").write_text(cli("checkpoint").out)
    record_call(home)
    assert cli("backup", "copy.db").code == 0
    record_call(home)
    assert cli("anchor").code == 0
    (home / "new").write_text(cli("checkpoint").out)
    return home


def size_of(name: str) -> int:
    """How many records a head in a file is over."""
    return Checkpoint.parse(SignedNote.parse(Path(name).read_bytes()).text).size


def records(path: Path) -> int:
    """How many records a ledger has."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
    finally:
        connection.close()


def answer(cli: Cli, *args: str | Path) -> dict[str, Json]:
    """Run ``verify --backup copy.db`` and return its document, whose exit code was its own."""
    ran = cli("verify", "--backup", "copy.db", *args, "--json")
    found: dict[str, Json] = json.loads(ran.out)
    assert found["exit"] == ran.code
    return found


def away(project: Path) -> None:
    """Lose the ledger; what is left is the copy, and what others keep."""
    for path in project.glob("audit.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_an_older_copy_is_a_prefix_of_the_ledger_and_not_rolled_back(
    cli: Cli, project: Path
) -> None:
    """Every record of it is proven by the ledger; without the option it is what it would be in the
    ledger's place.
    """
    last = records(project / "copy.db") - 1
    ran = cli("verify", "--backup", "copy.db", "--key", "audit.keys/log.pub")
    assert ran.code == 5
    assert ran.out.startswith(f"INTACT, A PREFIX of the log, proven up to record {last}\n")
    words = " ".join(ran.out.split())
    assert f"the ledger {project / 'audit.db'} begins with these records" in words
    assert f"covers record {size_of('new') - 1}" in words
    found = answer(cli)
    assert (found["state"], found["proven_to"]) == ("prefix", last)
    assert found["anchored_to"] == size_of("old") - 1
    assert "next:  guardrail verify checks the ledger itself" in ran.err
    plain = cli("verify", "--ledger", "copy.db", "--checkpoint", "new")
    assert (plain.code, plain.out.splitlines()[0]) == (1, "ROLLED BACK")


def test_without_the_ledger_a_head_from_before_the_copy_proves_how_far_it_goes(
    cli: Cli, project: Path
) -> None:
    """Anchors keep one; if none is contained in the copy, nothing tells it from a log that was
    cut.
    """
    away(project)
    found = answer(cli)
    assert (found["state"], found["exit"]) == ("prefix", 5)
    assert found["proven_to"] == found["anchored_to"] == size_of("old") - 1
    (project.parent / "away" / "heads").unlink()
    found = answer(cli, "--checkpoint", "new")
    assert (found["state"], found["exit"]) == ("rolled_back", 1)
    assert "no ledger and no head" in str(found["detail"])
    assert str(found["next"]).startswith("['guardrail verify --backup copy.db --checkpoint FILE")
    found = answer(cli, "--checkpoint", "new", "--checkpoint", "old")
    assert (found["state"], found["proven_to"]) == ("prefix", size_of("old") - 1)
    assert answer(cli)["state"] == "not_anchored"


def test_a_copy_that_is_not_the_beginning_of_the_log_is_forked(cli: Cli, project: Path) -> None:
    """Somebody went on in it, with the keys: the ledger has other records in that place."""
    shutil.copytree("audit.keys", "copy.keys")
    record_call(project, "copy.db")
    (project.parent / "away" / "heads").unlink()
    record_call(project)
    found = answer(cli)
    assert (found["state"], found["exit"]) == ("forked", 1)
    assert str(found["detail"]).endswith("audit.db begins with other records")
    assert answer(cli, "--checkpoint", "old")["state"] == "forked"


def test_what_is_wrong_with_the_copy_itself_is_said(cli: Cli, project: Path) -> None:
    """An edited record, another key, no file: that it is a backup excuses none of it."""
    assert answer(cli, "--key", "0" * 64)["state"] == "replaced"
    connection = sqlite3.connect(project / "copy.db")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("UPDATE record SET line = replace(line, 'alice', 'mallo') WHERE seq = 2")
    connection.commit()
    connection.close()
    assert answer(cli)["exit"] == 1
    (project / "copy.db").unlink()
    assert answer(cli)["exit"] in {1, 3}


def test_only_heads_of_this_log_are_beyond_a_copy(cli: Cli, project: Path) -> None:
    """One by another key, over more records, is of the log that took its place: it counts, whoever
    signed it.
    """
    text = SignedNote.parse(Path("new").read_bytes()).text
    key = Ed25519PrivateKey.generate()
    named = NoteKey(Checkpoint.parse(text).origin, key.public_key().public_bytes_raw())
    Path("foreign").write_text(str(SignedNote.sign(text, named, key.sign)))
    found = answer(cli, "--checkpoint", "foreign")
    assert (found["state"], found["exit"]) == ("rolled_back", 1)
    assert "foreign" in str(found["detail"])


def test_what_this_machine_remembers_of_the_ledger_is_beyond_its_copy(
    cli: Cli, project: Path
) -> None:
    """It contradicts a ledger that was cut, and no copy that says that it is one."""
    memory = project.parent / "memory"
    (project / "guardrail.toml").write_text(
        f'[ledger]\npath = "audit.db"\n[anchors]\nmemory = "{memory}"\n'
    )
    with Guard.open("guardrail.toml"):
        pass
    away(project)
    found = answer(cli, "--checkpoint", "old")
    assert (found["state"], found["memory"]) == ("prefix", None)
    assert answer(cli)["state"] == "rolled_back"
    assert cli("verify").code == 1


def test_a_copy_that_is_not_older_gets_the_answer_of_a_ledger(cli: Cli, project: Path) -> None:
    """And one that the ledger is shorter than, or of another log, is not compared with it, which is
    said.
    """
    assert cli("backup", "now.db").code == 0
    ran = cli("verify", "--backup", "now.db", "--key", "audit.keys/log.pub", "--json")
    found = json.loads(ran.out)
    assert (found["state"], ran.code, found["proven_to"]) == ("anchored", 0, None)
    shutil.copy("copy.db", "short.db")
    shutil.copytree("audit.keys", "short.keys")
    ran = cli("verify", "--backup", "now.db", "--ledger", "short.db", "--json")
    assert "guardrail verify on the ledger shows more" in " ".join(json.loads(ran.out)["notices"])
    with Guard.open(policies=project / "policies", ledger=project / "other.db"):
        pass
    ran = cli("verify", "--backup", "now.db", "--ledger", "other.db", "--json")
    assert "nothing was compared with it" in " ".join(json.loads(ran.out)["notices"])
    Path("torn.db").write_text("torn")
    ran = cli("verify", "--backup", "now.db", "--ledger", "torn.db", "--json")
    assert "could not be read" in " ".join(json.loads(ran.out)["notices"])


def test_a_backup_is_named_alone_and_reading_it_is_recorded(cli: Cli, project: Path) -> None:
    """In the access log of the settings, as for exports."""
    assert cli("verify", "--backup", "copy.db", "--export", "x").code == 2
    assert cli("verify", "--backup", "copy.db").code == 5
    [entry] = json.loads(cli("access", "--json", "--limit", "2").out)["accesses"][:1]
    assert (entry["command"], entry["selector"]) == ("verify", {"backup": True})
    assert entry["ledger"]["path"] == str(project / "copy.db")
    assert not (project / "copy.access.db").exists()


def test_a_head_beyond_the_copy_is_consistent_as_far_as_the_copy_goes(
    cli: Cli, project: Path
) -> None:
    """5 if the copy has the records of the old head, 1 if it has others, 3 if it can't tell."""
    ran = cli("consistency", "old", "new", "--backup", "copy.db", "--key", "audit.keys/log.pub")
    assert (ran.code, ran.out.splitlines()[0]) == (
        5,
        "A PREFIX of the log, proven up to the old head",
    )
    ran = cli("consistency", "old", "new", "--backup", "copy.db", "--json")
    assert json.loads(ran.out)["relation"] == "prefix"
    assert cli("consistency", "old", "new", "--ledger", "copy.db").code == 3
    record_call(project)
    Path("newer").write_text(cli("checkpoint").out)
    assert cli("consistency", "new", "newer", "--backup", "copy.db").code == 3
    shutil.copytree("audit.keys", "fork.keys")
    shutil.copy("copy.db", "fork.db")
    for _ in range(3):
        record_call(project, "fork.db")
    ran = cli("consistency", "new", "newer", "--backup", "fork.db", "--json")
    assert json.loads(ran.out)["relation"] in {"forked", "not_here"}
    assert ran.code in {1, 3}
    assert cli("consistency", "old", "new", "--backup", "none.db").code == 3
