"""P9: nothing that shows, replays or explains can run a tool or write to the log that it reads."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail.errors import Denied
from guardrail.testing import StaticPolicy, allow, deny
from tests.support.guards import OPEN, Body, cli, guarded, records

READING = ["guardrail.review", "guardrail.authoring"]

COMMANDS = [
    ["sessions"],
    ["sessions", "--json"],
    ["show", "last"],
    ["show", "last", "--json"],
    ["show", "1"],
    ["show", "s-1"],
    ["why", "1"],
    ["why", "3", "--json"],
    ["verify"],
    ["verify", "--json"],
    ["export", "--jsonl"],
]
"""Every command that reads, on a ledger with one session."""


def loaded(statement: str) -> set[str]:
    """Return the modules of guardrail that *statement* loads in a fresh interpreter."""
    script = (
        f"{statement}\nimport sys\nprint(*[n for n in sys.modules if n.split('.')[0] =="
        " 'guardrail'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def everything(package: str) -> str:
    return (
        "import importlib, pkgutil\n"
        f"import {package} as package\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
    )


@pytest.mark.parametrize("package", READING)
def test_reading_never_loads_what_runs_tools(package: str) -> None:
    """Every module of the package, in a fresh interpreter: no guard, no integration, no proxy."""
    modules = loaded(everything(package))
    assert package in modules
    running = (
        "guardrail.guard",
        "guardrail.call.drivers",
        "guardrail.call.steps",
        "guardrail.call.admission",
    )
    assert not modules & set(running)
    assert not {
        name for name in modules if name.startswith(("guardrail.integrations", "guardrail.proxy"))
    }


@pytest.mark.parametrize("command", ["sessions", "show", "why", "verify", "export"])
def test_a_command_that_reads_never_loads_the_guard(command: str) -> None:
    """Its module, and what it imports."""
    assert "guardrail.guard" not in loaded(f"import guardrail.cli.commands.{command}")


def test_importing_the_package_loads_no_guard_and_no_framework() -> None:
    """Names are resolved when they are asked for."""
    script = (
        "import guardrail, sys\nheavy = {'pydantic', 'sqlite_utils', 'cryptography', 'click',"
        " 'langchain_core', 'orjson'}\nprint(*(heavy & set(sys.modules)), *[n for n in sys.modules"
        " if n == 'guardrail.guard'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def fingerprint(folder: Path) -> dict[str, str]:
    """Return what is in each file of the ledger. Shared memory holds only locks of readers; the
    access log and what is remembered of it are theirs.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.endswith("-shm")
        and not str(path.relative_to(folder)).startswith(("audit.access.", "audit.db-access/"))
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with a closed ledger: an allowed, a denied and a failed call."""
    replies = iter([allow(), deny("no"), allow()])
    with guarded(tmp_path, StaticPolicy(lambda _: next(replies))) as guard:
        guard.declare("send", schema=OPEN)
        with guard.session(principal="alice", agent="bot", id="s-1"):
            guard.call("send", {"text": "hello"}, Body())
            with pytest.raises(Denied):
                guard.call("send", {"text": "hello"}, Body())
            with pytest.raises(ValueError, match="x"):
                guard.call("send", {"text": "hello"}, Body(ValueError("x")))
    return tmp_path


def test_commands_that_read_leave_every_byte_as_it_was(written: Path) -> None:
    """Of a ledger that nobody has open, and of its keys and leases; no file is added."""
    before = fingerprint(written)
    for words in COMMANDS:
        cli(words[0], *words[1:], "--ledger", written / "audit.db", cwd=written, code=None)
        after = fingerprint(written)
        after = {name: value for name, value in after.items() if name in before or value}
        assert {n: after.get(n) for n in before} == before, words
        added = set(after) - set(before)
        assert all((written / name).stat().st_size == 0 for name in added), (words, added)


def test_commands_that_read_leave_a_live_ledger_as_it_was(tmp_path: Path) -> None:
    """While a guard has it open, with an open call: not a byte of database and -wal changes, and
    the call stays open.
    """
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        with guard.session(principal="alice", agent="bot", id="s-1"):
            guard.call("send", {}, Body())
            admission = guard.admit("send", {})
        before = fingerprint(tmp_path)
        for words in COMMANDS:
            cli(words[0], *words[1:], "--ledger", tmp_path / "audit.db", cwd=tmp_path, code=None)
            assert fingerprint(tmp_path) == before, words
        admission.settle()
    assert len(records(tmp_path / "audit.db", "call.outcome")) == 2


def test_the_ledger_refuses_to_be_written_through_a_reader(written: Path) -> None:
    """Also by whoever gets hold of its connection."""
    from guardrail.errors import LedgerError
    from guardrail.ledger.reader import LedgerReader

    with LedgerReader.open(written / "audit.db") as reader:
        for sql in (
            "DELETE FROM record",
            "INSERT INTO record (seq, leaf, line) VALUES (99, x'00', '{}')",
            "PRAGMA user_version = 7",
        ):
            with pytest.raises(LedgerError):
                reader.storage.ask(sql)
