"""``guardrail demo`` goes as it tells, at 80 columns, and leaves nothing behind unless it is asked
to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guardrail.ledger.reader import LedgerReader

COMMAND = [sys.executable, "-c", "from guardrail.cli import main; main()", "demo"]


def demo(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("demo")
    return demo(folder, "--keep", "kept"), folder / "kept"


def records(folder: Path) -> list[dict[str, Any]]:
    with LedgerReader.open(folder / "audit" / "ledger.db") as reader:
        return [json.loads(line) for _, _, line in reader.lines()]


def test_the_demo_shows_every_kind_of_call(
    kept: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Allowed, needing approval, denied, redacted, failing and killed: told, and recorded like
    that.
    """
    done, folder = kept
    assert done.returncode == 0, done.stderr
    found = records(folder)
    decisions = [record for record in found if record["type"] == "call.decision"]
    assert [(item["tool"]["name"], item["decision"]["effect"]) for item in decisions] == [
        ("lookup_order", "allow"),
        ("refund", "allow"),
        ("refund", "require_approval"),
        ("send_email", "deny"),
        ("send_email", "allow"),
        ("track_parcel", "allow"),
        ("ship_order", "allow"),
    ]
    outcomes = [record["status"] for record in found if record["type"] == "call.outcome"]
    assert outcomes == ["ok", "ok", "ok", "error", "unknown"]
    assert {record["session"] for record in decisions} == {"demo"}
    for word in ("ALLOWED", "NEEDS APPROVAL", "DENIED", "gr1:secret:", "error", "unknown"):
        assert word in done.stdout


def test_the_demo_says_what_verify_proves_and_finds_the_edit(
    kept: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Not anchored first; broken, at the very record that was edited, afterwards."""
    done, folder = kept
    refund = next(
        record["seq"]
        for record in records(folder)
        if record["type"] == "call.decision" and record["tool"]["name"] == "refund"
    )
    assert "NOT ANCHORED" in done.stdout
    assert done.stdout.index("exit code 5") < done.stdout.index(f"BROKEN at record {refund}")
    assert done.stdout.count("exit code 1\n") == 1
    edited, ledger = (
        (folder / "edited.db").read_bytes(),
        (folder / "audit" / "ledger.db").read_bytes(),
    )
    assert len([index for index in range(len(ledger)) if ledger[index] != edited[index]]) == 1


def test_the_demo_s_token_is_sent_and_in_no_byte_of_the_ledger(
    kept: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """The tool did its work with the real value."""
    _, folder = kept
    token = (folder / "outbox" / "1.txt").read_text().split()[-1]
    assert token.startswith("ghp_")
    for path in folder.glob("*.db*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes()


def test_the_demo_fits_eighty_columns_and_is_plain_text(
    kept: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """No escape sequence where no terminal is; the one long line is the head, which is meant to be
    copied.
    """
    done, folder = kept
    assert "\x1b" not in done.stdout + done.stderr
    # how long the path of the folder is, is not the demo's choice
    lines = done.stdout.replace(str(folder), "kept").splitlines()
    assert [line for line in lines if len(line) > 80 and '"leaf"' not in line] == []


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither in the current folder nor in the temporary one."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = demo(tmp_path, TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_the_demo_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    """Nothing of the user's is overwritten."""
    (tmp_path / "mine.txt").write_text("mine")
    done = demo(tmp_path, "--keep", ".")
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demo_says_what_to_install_where_langchain_is_missing(tmp_path: Path) -> None:
    """One line, the command, and an exit code that is no yes."""
    code = (
        "import sys; sys.modules['langchain_core'] = None; import guardrail.demo;"
        " sys.exit(guardrail.demo.run())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "install guardrail with the 'langchain' extra (README.md)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_demo_that_does_not_go_as_it_tells_says_so(tmp_path: Path) -> None:
    """Without the policy's rule on refunds the story is not true: exit code 4, and where it
    broke.
    """
    code = (
        "import sys, pathlib, guardrail.demo, guardrail.demo.shop as shop\ntext ="
        ' shop.POLICY.read_text().replace(\'"money" in support_labels\', \'"gold" in'
        " support_labels')\nshop.POLICY = pathlib.Path('other.rego');"
        " shop.POLICY.write_text(text)\nsys.exit(guardrail.demo.run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert "refund: deny" in done.stderr
