"""Running parts of guardrail as another user, for tests that root runs."""

from __future__ import annotations

import functools
import json
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

# One process imports everything, once, because another user may not be allowed to read the
# interpreter's files; each piece of code runs in a fork of it.
_FORKS = """
import atexit, codecs, importlib, json, os, pkgutil, signal, sys, threading, traceback
import encodings.idna, sqlite3, sqlite_utils, click, cryptography, gzip, ssl, socket, http.client
import guardrail
for each in pkgutil.walk_packages(guardrail.__path__, "guardrail."):
    if not each.name.startswith(("guardrail.integrations", "guardrail.demo")):
        try:
            importlib.import_module(each.name)
        except ModuleNotFoundError:
            pass  # only the policy worker can load this module, from its own folder
for each in ("ascii", "latin-1", "utf-8", "idna"):
    codecs.lookup(each)

def run(asked):
    signal.alarm(120)
    for number, path in enumerate([os.devnull, asked["out"], asked["err"]]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    if os.getuid() != asked["user"]:
        os.setgroups([])
        os.setgid(asked["user"])
        os.setuid(asked["user"])
    sys.argv = ["guardrail", *asked["args"]]
    exec(compile(asked["code"], "<test>", "exec"), {"__name__": "__main__"})

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            run(json.loads(line))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
_CLI = "from guardrail.cli import main; main()"


@functools.cache
def _forks() -> subprocess.Popen[str]:
    """Return the process whose forks run what tests ask for. It ends with this process, as its
    input does.
    """
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _FORKS],
        env={**os.environ, "PYTHONPATH": str(Path(guardrail.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def python(user: int, code: str, *, cwd: Path, args: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run *code* as *user* in *cwd*; return the exit code and all that it wrote."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GUARDRAIL_")}
    env = {**kept, "PYTHONPATH": str(Path(guardrail.__file__).parents[1]), "HOME": str(cwd)}
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        asked = {"user": user, "code": code, "args": args, "cwd": str(cwd), "env": env}
        forks = _forks()
        assert forks.stdin is not None
        assert forks.stdout is not None
        forks.stdin.write(json.dumps({**asked, "out": str(out), "err": str(err)}) + "\n")
        forks.stdin.flush()
        return int(forks.stdout.readline()), out.read_text() + err.read_text()


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
