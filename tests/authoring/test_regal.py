"""Regal, the linter for Rego, on everything that is shipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from guardrail.authoring.editors import editor_files
from guardrail.authoring.scaffold import scaffold
from guardrail.policy.sources import installed_folder


@pytest.fixture
def regal() -> str:
    """The program. No package registry has it, so the tests are NOT RUN where it is missing."""
    found = os.environ.get("GUARDRAIL_REGAL") or shutil.which("regal")
    if not found:
        pytest.skip("NOT RUN: GUARDRAIL_REGAL, the program regal, which may also be on PATH")
    return found


def findings(regal: str, config: Path, folder: Path) -> str:
    """Return what ``regal lint`` says of *folder*, or an empty string if it has no findings."""
    command = [regal, "lint", "--config-file", str(config), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_regal_accepts_the_shipped_policies(regal: str) -> None:
    root = Path(__file__).resolve().parents[2]
    assert findings(regal, root / ".regal" / "config.yaml", installed_folder()) == ""


def test_regal_accepts_a_new_project(tmp_path: Path, regal: str) -> None:
    scaffold(tmp_path, installed_folder() / "starter", editor_files())
    config = tmp_path / ".regal" / "config.yaml"
    assert findings(regal, config, tmp_path / "policies") == ""
