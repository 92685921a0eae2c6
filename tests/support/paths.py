"""Where things are in the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
PROGRAMS = ROOT / "tests" / "support" / "programs"
"""Programs that tests start as processes."""
