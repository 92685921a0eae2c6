"""Files that somebody hands over: what is no regular file of a sensible size is refused at once, by
every command.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.ledger.files import seal_path
from guardrail.ledger.seal import Seal
from guardrail.system.input_files import open_input, read_input


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def sparse(path: Path) -> Path:
    with path.open("wb") as out:
        out.truncate(1 << 40)
        out.seek((1 << 40) - 1)
        out.write(b"\n")
    return path


def holes(path: Path) -> Path:
    """Within every limit, and nothing in it."""
    with path.open("wb") as out:
        out.truncate(1 << 12)
    return path


def device(_: Path) -> Path:
    return Path("/dev/zero")


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def linked(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


BAD = [fifo, sparse, holes, device, folder, linked]


@pytest.mark.parametrize("make", BAD)
def test_what_is_no_text_file_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """And of what is too large nothing is read."""
    began = time.monotonic()
    with pytest.raises(OSError):
        read_input(make(tmp_path / "x"), 1 << 20)
    assert time.monotonic() - began < 1


def test_what_is_read_is_what_is_there_up_to_the_limit(tmp_path: Path) -> None:
    """To the last byte."""
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100)
    assert read_input(path, 100) == b"a" * 100
    with pytest.raises(OSError, match="larger than 99 bytes"):
        read_input(path, 99)
    path.write_bytes(b"a\0b")
    with pytest.raises(OSError, match="NUL bytes"):
        read_input(path, 100)
    assert read_input(path, 100, text=False) == b"a\0b"
    with open_input(path) as source:
        assert source.read() == b"a\0b"
    with pytest.raises(FileNotFoundError):
        read_input(tmp_path / "none", 100)


_RUN = "import sys; from guardrail.cli.app import run; raise SystemExit(run(sys.argv[1:]))"
_COMMANDS = {
    "verify --checkpoint": ["verify", "--ledger", "{db}", "--checkpoint", "{file}"],
    "verify --key": ["verify", "--ledger", "{db}", "--key", "{file}"],
    "verify --export": ["verify", "--export", "{file}"],
    "check-proof": ["check-proof", "{file}", "--key", "ab" * 32],
    "check-proof --key": ["check-proof", "{db}", "--key", "{file}"],
    "consistency": ["consistency", "{file}", "{file}", "--ledger", "{db}"],
    "--config": ["doctor", "--config", "{file}"],
    "--ledger": ["show", "last", "--ledger", "{file}"],
    "verify --ledger": ["verify", "--ledger", "{file}"],
    "policy check --tools": ["policy", "check", "{db}", "--tools", "{file}"],
    "policy check": ["policy", "check", "{file}"],
}


@pytest.mark.parametrize("arguments", _COMMANDS.values(), ids=_COMMANDS)
@pytest.mark.parametrize("make", [fifo, sparse, device])
def test_every_command_refuses_what_is_no_file_of_its_kind(
    tmp_path: Path, arguments: list[str], make: Callable[[Path], Path]
) -> None:
    """With an exit code that is no yes and no bug, and in the memory that it needs anyway."""
    (tmp_path / "db").write_text("nothing\n")
    file = make(tmp_path / "x")
    command = [each.format(db=tmp_path / "db", file=file) for each in arguments]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            _RUN,
            *command,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=limited,
    )
    assert ran.returncode in (1, 2, 3), ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("error:") or ran.stdout
    assert not list(Path("/dev").glob("zero?*"))


def test_a_marker_that_is_no_file_seals_all_the_same(tmp_path: Path) -> None:
    """A FIFO in its place keeps nobody waiting."""
    fifo(seal_path(tmp_path / "a.db"))
    seal = Seal.read(tmp_path / "a.db")
    assert seal is not None
    assert seal.why == "the marker can't be read"
