"""``guardrail tenants add`` that is killed at any step leaves settings that can be read, and a
tenant that works, that can be added, or that ``guardrail recover`` brings into use.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.config import Settings
from guardrail.errors import GuardrailError, LedgerOpenError
from tests.support.guards import whole
from tests.support.projects import ALLOW_ALL

PROGRAM = """
import os, signal, sys
left, seen = int(sys.argv[1]), []
def hook(event, args):
    global left
    if event == "open":
        changes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        changes = event in CHANGES
    path = args[0] if args else ""
    if changes and isinstance(path, (str, bytes, os.PathLike)) and FOLDER in os.fsdecode(path):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.chmod", "os.link", "sqlite3.connect"}
FOLDER = os.getcwd()
sys.addaudithook(hook)
from guardrail.cli import main
sys.argv[1:] = ["tenants", "add", "acme", "--config", os.path.join(FOLDER, "guardrail.toml")]
main()
"""
AT_ONCE = 6
"""Steps in one test."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 37, AT_ONCE))
def test_a_killed_command_leaves_a_tenant_that_works_or_none(tmp_path: Path, first: int) -> None:
    """The first steps write the settings, and the later ones the ledger and its keys."""
    for step in range(first, first + AT_ONCE):
        folder = tmp_path / str(step)
        (folder / "policies").mkdir(parents=True)
        (folder / "policies" / "policy.rego").write_text(ALLOW_ALL)
        file = folder / "guardrail.toml"
        file.write_text("# ours\n")
        command = [sys.executable, "-c", PROGRAM]
        ended = subprocess.run([*command, str(step)], cwd=folder, capture_output=True, check=False)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        made = Settings.load(file, environment={})
        if "acme" not in made.tenants:
            subprocess.run([*command, "0"], cwd=folder, check=True, capture_output=True)
            made = Settings.load(file, environment={})
        assert file.read_text().startswith("# ours\n")
        with Guard.open(file) as guard:
            guard.declare("send", schema={"type": "object"})
            with guard.session("alice"):
                guard.call("send", {}, lambda: None)
            found: GuardrailError | None = None
            try:
                guard.session("alice", tenant="acme")
            except LedgerOpenError as error:
                found = error
        if found is not None:  # keys alone look like a ledger that was lost
            assert found.code == "ledger.half"
            assert "guardrail recover" in found.hint
            recover(file)
        with Guard.open(file) as guard:
            guard.declare("send", schema={"type": "object"})
            with guard.session("alice", tenant="acme"):
                guard.call("send", {}, lambda: None)
        whole(made.tenants["acme"].ledger.path)


def recover(file: Path) -> None:
    """Run the command that the hint names."""
    words = ("recover", "--tenant", "acme", "--config", str(file), "--yes", "--reason", "killed")
    command = [sys.executable, "-c", "from guardrail.cli import main; main()", *words]
    ended = subprocess.run(command, cwd=file.parent, check=False, capture_output=True)
    assert ended.returncode in (0, 5), ended.stderr  # 5: no one knows how many records were lost
