"""Running parts of guardrail as another user, for tests that root runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import guardrail

AGENT = 65534
"""A user that is not root, and need not have a name."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as two users")

# Everything that may be needed is imported first: another user may not be allowed to read the interpreter's files.
_AS = """
import codecs, importlib, os, pkgutil, sys
import encodings.idna, sqlite3, sqlite_utils, click, cryptography, gzip, ssl, socket, http.client
import guardrail
for each in pkgutil.walk_packages(guardrail.__path__, "guardrail."):
    if not each.name.startswith(("guardrail.integrations", "guardrail.demo")):
        importlib.import_module(each.name)
for each in ("ascii", "latin-1", "utf-8", "idna"):
    codecs.lookup(each)
uid = int(sys.argv[1])
if os.getuid() != uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
sys.argv = ["guardrail", *sys.argv[3:]]
exec(sys.stdin.read())
"""
_CLI = "from guardrail.cli import main; main()"


def python(user: int, code: str, *, cwd: Path, args: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run *code* as *user* in *cwd*; return the exit code and all that it wrote."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GUARDRAIL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _AS, str(user), "-", *args],
        input=code,
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(Path(guardrail.__file__).parents[1]), "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def command(user: int, *args: str, cwd: Path) -> tuple[int, str]:
    """Run a command line as *user*."""
    return python(user, _CLI, cwd=cwd, args=args)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="guardrail-owners-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def strangers(folder: Path, owner: int) -> list[str]:
    """Return what in *folder* belongs to anybody but *owner*."""
    return sorted(
        f"{each.relative_to(folder)} of {each.lstat().st_uid}:{each.lstat().st_gid}"
        for each in folder.rglob("*")
        if (each.lstat().st_uid, each.lstat().st_gid) != (owner, owner)
    )
