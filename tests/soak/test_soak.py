"""The soak of ``make soak``, for half a minute: if CI=true, or for as long as
GUARDRAIL_SOAK_MINUTES says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MINUTES = os.environ.get("GUARDRAIL_SOAK_MINUTES") or (
    "0.5" if os.environ.get("CI") == "true" else ""
)


@pytest.mark.skipif(not MINUTES, reason="NOT RUN: GUARDRAIL_SOAK_MINUTES is not set, nor CI=true")
def test_killed_frozen_and_full_processes_lose_nothing(tmp_path: Path) -> None:
    """Four processes that are disturbed in every way, anchors on: nothing acknowledged is lost, and
    all of it is intact.
    """
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("soak.py")), MINUTES, str(tmp_path / "soak")],
        capture_output=True,
        text=True,
        check=False,
        timeout=float(MINUTES) * 60 + 300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 lost, intact" in ran.stdout
