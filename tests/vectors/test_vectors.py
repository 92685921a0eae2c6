"""The vectors say what the format is: the code must still make them, and the standalone verifier must judge them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail.core.record import leaf_hash

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "bad" / "expected.json").read_text())


def standalone(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier without guardrail on its path: -I leaves only the standard library."""
    command = [sys.executable, "-I", "-S", str(HERE / "verify_standalone.py"), str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_code_still_makes_the_same_bytes(tmp_path: Path) -> None:
    """What was written once is never written differently."""
    subprocess.run([sys.executable, str(HERE / "make_vectors.py"), str(tmp_path)], check=True)
    for name in ("log.jsonl", "leaves.txt", *[f"bad/{name}.jsonl" for name in EXPECTED]):
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes(), name


def test_the_leaves_are_those_of_the_lines() -> None:
    """leaves.txt holds SHA-256(0x00 || line) of each line."""
    lines = (HERE / "log.jsonl").read_bytes().splitlines()
    assert [leaf_hash(line).hex() for line in lines] == (HERE / "leaves.txt").read_text().split()


def test_keys_are_sorted_and_nothing_is_spaced() -> None:
    """Every line is in the one form that the format page describes, but for the spelling of floats."""
    for line in (HERE / "log.jsonl").read_bytes().splitlines():
        keys = list(json.loads(line))
        assert keys == sorted(keys)
        assert b'": ' not in line


def test_the_standalone_verifier_accepts_the_log_and_says_that_it_is_not_anchored() -> None:
    """An intact chain without a head from elsewhere is never called just OK."""
    done = standalone(HERE / "log.jsonl")
    assert done.returncode == 0
    assert "NOT ANCHORED" in done.stdout


def test_the_standalone_verifier_checks_a_head_from_elsewhere() -> None:
    """A right head covers its lines; a wrong one, or one of a longer log, is a broken log."""
    leaves = (HERE / "leaves.txt").read_text().split()
    assert standalone(HERE / "log.jsonl", "--head", f"5:{leaves[4]}").returncode == 0
    assert standalone(HERE / "log.jsonl", "--head", f"5:{leaves[5]}").returncode == 1
    assert standalone(HERE / "log.jsonl", "--head", f"99:{leaves[4]}").returncode == 1


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_standalone_verifier_names_the_first_bad_line(name: str) -> None:
    """Each broken log is found broken at the line that the vectors name."""
    done = standalone(HERE / "bad" / f"{name}.jsonl")
    assert done.returncode == 1
    assert done.stdout.startswith(f"BROKEN at {EXPECTED[name]}:")


def test_the_standalone_verifier_does_not_accept_what_it_cannot_read(tmp_path: Path) -> None:
    """Missing and empty files are neither intact nor broken."""
    (tmp_path / "empty").write_bytes(b"")
    assert standalone(tmp_path / "empty").returncode == 3
    assert standalone(tmp_path / "missing").returncode == 3
