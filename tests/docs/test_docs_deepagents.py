"""The deepagents section of docs/integrations.md runs as it is shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.model_server import Call, ModelServer, Turn

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## deepagents\n")[1].split("\n## ")[0]
COMMAND = (sys.executable, "-c", "from guardrail.cli import main; main()")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def run(*command: str, cwd: Path, **more: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **more},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_deep_agent_of_the_page_runs_under_the_policy_of_the_page(tmp_path: Path) -> None:
    """Its sub-agent's call is recorded under the task call; a file that no rule allows is not
    written.
    """
    run(*COMMAND, "init", ".", cwd=tmp_path)
    (rules,) = blocks("rego")
    (tmp_path / "policies" / "deep_agent.rego").write_text(rules)
    program, check = blocks("python")
    (tmp_path / "agent.py").write_text(f"{program}\n{check}")
    order = {"description": "Where is order 7?", "subagent_type": "researcher"}
    script = [
        Turn(calls=[Call("task", order)]),
        Turn(calls=[Call("find_order", {"number": 7})]),
        Turn("Order 7 was shipped."),
        Turn(calls=[Call("write_file", {"file_path": "/a.txt", "content": "x"})]),
        Turn("It was shipped."),
    ]
    with ModelServer(script) as server:
        told = run(
            sys.executable,
            "agent.py",
            cwd=tmp_path,
            ANTHROPIC_API_KEY="none",
            ANTHROPIC_BASE_URL=server.anthropic,
        )
    assert told == "It was shipped.\n"
    shown: dict[str, Any] = json.loads(run(*COMMAND, "show", "last", "--json", cwd=tmp_path))
    calls = [call for call in shown["calls"] if call["type"] == "call.decision"]
    assert [(call["tool"], call["effect"]) for call in calls] == [
        ("task", "allow"),
        ("find_order", "allow"),
        ("write_file", "deny"),
    ]
    assert calls[1]["parent"] == calls[0]["call"]
