"""What a command says that it wrote is on the disk with its name: the folder is synced behind the
file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import build

_SPY = """
import os, sys
real, synced = os.fsync, []
def fsync(descriptor):
    real(descriptor)
    synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
os.fsync = fsync
from guardrail.cli.app import run
code = run(sys.argv[2:])
place = os.path.realpath(sys.argv[1])
print("SYNCED" if code in (0, 5) and synced and synced[-1] == place else f"{code} {synced}")
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["prove", "2", "--out", "{out}/p.json", "--ledger", "{db}"],
        ["export", "--jsonl", "-o", "{out}/e.jsonl", "--ledger", "{db}"],
        ["export", "--jsonl", "-o", "{out}/e.jsonl", "--head", "{out}/h", "--ledger", "{db}"],
        ["backup", "{out}/b.db", "--ledger", "{db}"],
        ["policy", "bundle", "{policies}", "-o", "{out}/bundle.tar.gz"],
    ],
    ids=["prove", "export", "export with head", "backup", "bundle"],
)
def test_the_name_of_what_was_written_is_synced(tmp_path: Path, arguments: list[str]) -> None:
    """Last of all: after that it survives a loss of power."""
    db = build(tmp_path / "audit.db")
    out = tmp_path / "out"
    out.mkdir()
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "a.rego").write_text(
        'package guardrail.policy\n\nimport rego.v1\n\nallow contains "reading" if {\n'
        '\tinput.resource.id == "read"\n}\n'
    )
    command = [each.format(db=db, out=out, policies=policies) for each in arguments]
    ran = subprocess.run(
        [sys.executable, "-c", _SPY, str(out), *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert ran.stdout.splitlines()[-1] == "SYNCED", ran.stdout[-300:] + ran.stderr[-300:]
