"""The section of docs/integrations.md about plain functions runs as it is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.guards import records

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Plain functions\n")[1].split("\n## ")[0]


def test_the_program_of_the_page_is_governed_and_times_out(tmp_path: Path) -> None:
    """Without waiting for the body; its tools are those of the policy check."""
    (program,) = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    guardrail = [sys.executable, "-c", "from guardrail.cli import main; main()"]
    subprocess.run([*guardrail, "init", "."], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "orders.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "orders.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "order 7: shipped from Paris",
        "search_manual timed out after 0.1 s and may still be running: it may have had side effects",
    ]
    db = tmp_path / "audit" / "ledger.db"
    args = [each["input"]["action"]["properties"]["args"] for each in records(db, "call.decision")]
    assert args == [{"number": 7}, {"text": "returns"}]
    found, late = records(db, "call.outcome")
    assert (found["status"], late["status"], late["body"]) == ("ok", "error", "running")
    assert json.loads((tmp_path / "tools.json").read_text()).keys() == {
        "find_order",
        "search_manual",
    }
    checked = subprocess.run(
        [*guardrail, "policy", "check", "--tools", "tools.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
