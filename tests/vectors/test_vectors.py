"""The vectors say what the format is: the code must still make them, and the standalone verifier
must judge them.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from guardrail.core.log.record import leaf_hash

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "bad" / "expected.json").read_text())
CASES = json.loads((HERE / "expected.json").read_text())


def standalone(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier without guardrail on its path: -I leaves only the standard library."""
    command = [sys.executable, "-I", "-S", str(HERE / "verify_standalone.py"), str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def verifier() -> ModuleType:
    """The same verifier, in this process."""
    spec = importlib.util.spec_from_file_location(
        "verify_standalone", HERE / "verify_standalone.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_code_still_makes_the_same_bytes(tmp_path: Path) -> None:
    """What was written once is never written differently."""
    subprocess.run([sys.executable, str(HERE / "make_vectors.py"), str(tmp_path)], check=True)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(HERE)
        for pattern in ("*.jsonl", "*.txt", "*.json", "*/*.jsonl", "*/*.txt", "*/*.json")
        for path in HERE.glob(pattern)
    }
    assert made == kept
    for name in sorted(made):
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes(), name


def test_the_leaves_are_those_of_the_lines() -> None:
    """leaves.txt holds SHA-256(0x00 || line) of each line."""
    lines = (HERE / "log.jsonl").read_bytes().splitlines()
    assert [leaf_hash(line).hex() for line in lines] == (HERE / "leaves.txt").read_text().split()


def test_keys_are_sorted_and_nothing_is_spaced() -> None:
    """Every line is in the one form that the format page describes, but for the spelling of
    floats.
    """
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
    """A right head covers its records; one of another history or of more records does not."""

    def code(export: str, head: str) -> int:
        path = HERE / "exports" / f"{export}.jsonl"
        return standalone(path, "--head", str(HERE / "heads" / f"{head}.txt")).returncode

    assert code("log", "log-first-five") == 0
    assert code("log", "fork") == 1
    assert code("cut", "log") == 1
    assert code("log", "bad-no-root") == 3


def test_the_standalone_verifier_says_that_it_checked_no_signatures() -> None:
    """With the standard library alone a stranger's head looks like any other, and the output says
    so.
    """
    head = HERE / "heads" / "by-stranger.txt"
    done = standalone(HERE / "exports" / "log.jsonl", "--head", str(head))
    assert done.returncode == 0
    assert "SIGNATURES NOT CHECKED" in done.stdout


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


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_standalone_verifier_says_what_the_vectors_say(
    verifier: ModuleType, case: dict[str, Any]
) -> None:
    """Verdict, first bad record and last covered one."""
    export = (HERE / "exports" / f"{case['export']}.jsonl").read_bytes()
    note = (HERE / "heads" / f"{case['head']}.txt").read_bytes() if case["head"] else None
    verdict, first_bad, last_covered, _ = verifier.judge(export, note, case["key"])
    expected = (case["verdict"], case["first_bad"], case["last_covered"])
    assert (verdict, first_bad, last_covered) == expected


def test_every_verdict_has_a_case() -> None:
    """No word of section 10 goes without a vector."""
    words = (
        "anchored not_anchored tampered replaced truncated forked torn key_unknown head_malformed"
    )
    assert {case["verdict"] for case in CASES} == set(words.split())
