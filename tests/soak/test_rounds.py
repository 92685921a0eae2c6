"""The rounds of ``rounds.py``: six if CI=true, or as many as GUARDRAIL_ROUNDS says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ROUNDS = os.environ.get("GUARDRAIL_ROUNDS") or ("6" if os.environ.get("CI") == "true" else "")


@pytest.mark.skipif(not ROUNDS, reason="NOT RUN: GUARDRAIL_ROUNDS is not set, nor CI=true")
def test_a_limit_is_spent_exactly_while_processes_are_killed(tmp_path: Path) -> None:
    """Four processes with eight threads each compete for ten calls in each round."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.soak.rounds", ROUNDS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300 + 60 * int(ROUNDS),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith(f"{ROUNDS} rounds")
    assert ran.stdout.endswith(": 10 admitted in each\n")
