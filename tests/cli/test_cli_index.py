"""Commands that read use the reader's index, say if it is wrong, and `guardrail index` names it."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import Cli, build, command, environment


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """A ledger in a project whose settings name a folder for the index."""
    build(tmp_path / "audit.db")
    config = tmp_path / "guardrail.toml"
    config.write_text('[ledger]\npath = "audit.db"\n[review]\nindex = "index"\n')
    return config


def test_index_prints_the_path_of_a_file_for_datasette(cli: Cli, indexed: Path) -> None:
    """The path goes to stdout alone, so that it can be an argument of another program."""
    done = cli("index", "--config", indexed)
    assert done.code == 0
    path = Path(done.out.strip())
    assert path.parent == indexed.parent / "index"
    assert "12 records, updated " in done.err
    document = json.loads(cli("index", "--config", indexed, "--json").out)
    assert (document["path"], document["records"], document["next"]) == (str(path), 12, 12)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone() == (8,)


def test_commands_answer_with_the_index_as_without(cli: Cli, indexed: Path) -> None:
    """The answers, in text and as JSON, do not show whether there is an index."""
    ledger = indexed.parent / "audit.db"
    for args in (["sessions"], ["show", "last"], ["show", "5"], ["why", "3"], ["show", "S-1"]):
        for json_ in ([], ["--json"]):
            with_index = cli(*args, *json_, "--config", indexed)
            settings = indexed.read_text()
            indexed.write_text(settings.replace('"index"', "false"))
            without = cli(*args, *json_, "--ledger", ledger)
            indexed.write_text(settings)
            assert with_index.code == without.code == 0
            assert _comparable(with_index.out) == _comparable(without.out)
            assert with_index.err == without.err
    assert len(os.listdir(indexed.parent / "index")) == 1


def _comparable(out: str) -> object:
    if not out.startswith("{"):
        return out
    return {name: value for name, value in json.loads(out).items() if name != "access"}


def test_commands_say_that_a_wrong_index_is_built_again(cli: Cli, indexed: Path) -> None:
    """A damaged index changes no answer."""
    path = Path(cli("index", "--config", indexed).out.strip())
    right = cli("show", "S-1", "--config", indexed)
    path.write_bytes(b"x" * 5000)
    damaged = cli("show", "S-1", "--config", indexed)
    assert (damaged.code, damaged.out) == (0, right.out)
    assert f"note: the index {path} is being rebuilt: it is damaged" in damaged.err
    assert cli("show", "S-1", "--config", indexed).err == right.err
    path.chmod(0o644)
    refused = cli("show", "S-1", "--config", indexed)
    assert (refused.code, refused.out) == (0, right.out)
    assert f"note: the index {path} can't be used: other users can open it" in refused.err


def test_rebuild_makes_the_index_again(cli: Cli, indexed: Path) -> None:
    """Also if its rows look right, so that a reader who mistrusts them can be sure."""
    path = Path(cli("index", "--config", indexed).out.strip())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE record SET tool = 'forged' WHERE seq = 1")
    assert cli("index", "--config", indexed).code == 0
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT tool FROM record WHERE seq = 1").fetchone() == ("forged",)
    assert cli("index", "--config", indexed, "--rebuild").code == 0
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT tool FROM record WHERE seq = 1").fetchone() == ("read_file",)


def test_without_an_index_the_command_says_why(cli: Cli, indexed: Path) -> None:
    """Turned off, or a ledger in a temporary directory."""
    (indexed.parent / "other").mkdir()
    done = cli("index", "--ledger", build(indexed.parent / "other" / "audit.db"))
    assert (done.code, done.out) == (3, "")
    assert "this ledger has no index" in done.err
    assert "[review] index" in done.err
    indexed.write_text(indexed.read_text().replace('"index"', "false"))
    assert cli("index", "--config", indexed).code == 3
    indexed.write_text(indexed.read_text().replace("false", '"file"'))
    (indexed.parent / "file").write_text("a file")
    done = cli("index", "--config", indexed)
    assert (done.code, done.out) == (3, "")
    assert "can't be used" in done.err


def test_progress_is_shown_on_a_terminal_only(indexed: Path) -> None:
    """A first index of a large ledger takes long; a pipe gets no progress."""
    program = (
        "import guardrail.cli.output as output, guardrail.review.index.records as records\n"
        "records.CHUNK = 4\n"
        "ticks = iter(range(0, 1000, 2))\n"
        "output.time.monotonic = lambda: next(ticks)\n"
        "output.Progress.__init__.__kwdefaults__['clock'] = lambda: next(ticks)\n"
        "from guardrail.cli.app import run\n"
        f"run(['index', '--config', {str(indexed)!r}])\n"
    )
    leader, follower = pty.openpty()
    start = [*command()[:1], "-c", program]
    subprocess.run(start, stderr=follower, stdout=subprocess.PIPE, env=environment(), check=True)
    os.close(follower)
    seen = b""
    while b"updated" not in seen:
        seen += os.read(leader, 65536)
    os.close(leader)
    assert b"indexed 4 of 12 (33 %)" in seen
    assert b"indexed 8 of 12 (66 %)" in seen
    done = subprocess.run(
        [*start[:-1], program.replace("index'", "index', '--rebuild'")],
        capture_output=True,
        env=environment(),
        check=True,
    )
    assert b"indexed" not in done.stderr
