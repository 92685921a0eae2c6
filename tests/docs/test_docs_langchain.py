"""The LangChain section of docs/integrations.md runs as it is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from guardrail.integrations.langchain import provider, swapping

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## LangChain and LangGraph\n")[1].split("\n## ")[0]


def test_the_graph_of_the_page_runs_each_body_once(tmp_path: Path) -> None:
    """It pauses, is resumed, and the finished call is not made again."""
    (program,) = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    command = "from guardrail.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, "init", "."], cwd=tmp_path, check=True, capture_output=True
    )
    (tmp_path / "graph.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "graph.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "find_order: denied: this call has already succeeded, so it does not run again",
        "ask_customer: yes",
    ]


def test_the_page_names_every_reason_of_a_rejection() -> None:
    """The codes that the adapter writes."""
    reasons = {swapping.UNKNOWN_TOOL, provider.NOT_JSON, provider.PROVIDER_TOOL}
    for reason in {*reasons, "arguments", "input"}:
        assert f"`{reason}`" in SECTION
