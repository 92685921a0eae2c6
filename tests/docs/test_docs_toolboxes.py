"""The loops that README and docs/integrations.md show run, with the official clients, against a
scripted model.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.guards import records
from tests.support.model_server import Call, ModelServer, Turn

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
CONVERSATION = (Turn("Let me see.", [Call("find_order", {"number": 7})]), Turn("It is on its way."))


def blocks(text: str, *parts: str) -> list[str]:
    """Return the blocks of Python that hold each of *parts*."""
    found = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if all(part in block for part in parts)]


def block(text: str, *parts: str) -> str:
    """Return the one block of Python that holds each of *parts*."""
    (found,) = blocks(text, *parts)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project."""
    program = "from guardrail.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", program, "init", "."], cwd=tmp_path, check=True, capture_output=True
    )
    return tmp_path


def run(program: str, script: Sequence[Turn], cwd: Path) -> tuple[str, ModelServer]:
    """Run *program* with a scripted model in place of the provider; return what it printed."""
    with ModelServer(script) as server:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=cwd,
            env={
                **os.environ,
                "OPENAI_BASE_URL": server.openai,
                "OPENAI_API_KEY": "none",
                "ANTHROPIC_BASE_URL": server.anthropic,
                "ANTHROPIC_API_KEY": "none",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout, server


LOOPS = {
    "readme": (block(README, "integrations.openai"), 1),
    "openai": (block(PAGE, "integrations.openai", "client.responses.stream"), 2),
    "anthropic": (block(PAGE, "integrations.anthropic"), 1),
}


@pytest.mark.parametrize(("program", "conversations"), LOOPS.values(), ids=LOOPS)
def test_a_loop_runs_as_it_is_shown(project: Path, program: str, conversations: int) -> None:
    """The model gets the result of its call, and every call is on record."""
    printed, server = run(program, CONVERSATION * conversations, project)
    assert printed == "It is on its way.\n" * conversations
    assert len(server.bodies) == 2 * conversations
    for body in server.bodies[1::2]:
        assert "order 7: shipped" in str(body)
    found = records(project / "audit" / "ledger.db", "call.outcome")
    assert [each["status"] for each in found] == ["ok"] * conversations


@pytest.mark.parametrize(("program", "conversations"), LOOPS.values(), ids=LOOPS)
def test_a_denial_is_a_result_and_the_loop_goes_on(
    project: Path, program: str, conversations: int
) -> None:
    """A tool that there is not, and arguments that do not fit."""
    turn = Turn(calls=[Call("drop_table", {}), Call("find_order", {"number": "seven"})])
    printed, server = run(program, (turn, CONVERSATION[1]) * conversations, project)
    assert printed == "It is on its way.\n" * conversations
    for body in server.bodies[1::2]:
        assert "not run: drop_table: there is no such tool" in str(body)
        assert "denied: the tool's signature does not accept the arguments" in str(body)
    found = records(project / "audit" / "ledger.db")
    kinds = [each["type"] for each in found if each["type"].startswith("call.")]
    assert sorted(kinds) == sorted(["call.decision", "call.rejected"] * conversations)


def test_the_program_with_a_governed_client_runs_as_it_is_shown(project: Path) -> None:
    """An allowed call is answered by the program; a denied one arrives as a refusal."""
    program = block(PAGE, "govern_client(client, guard)")
    printed, server = run(program, CONVERSATION, project)
    assert printed == "It is on its way.\n"
    assert "order 7: shipped" in str(server.bodies[1])
    found = records(project / "audit" / "ledger.db", "call.outcome")
    assert [each["status"] for each in found] == ["returned"]
    denied = Turn(calls=[Call("find_order", {"number": "seven"})])
    printed, server = run(program, [denied], project)
    assert printed.startswith("find_order: denied: the arguments do not fit the tool's schema")
    assert len(server.bodies) == 1


def test_the_custom_tool_of_the_page_can_be_registered(project: Path) -> None:
    """And is called with text."""
    before = """
from openai import OpenAI
from guardrail import Guard
from guardrail.integrations.openai import ToolBox
guard = Guard.open("guardrail.toml")
box = ToolBox(guard)
"""
    after = """
print(box.tools()[0]["type"])
guard.close()
"""
    printed, _ = run(before + block(PAGE, "@box.custom") + after, (), project)
    assert printed == "custom\n"


def test_the_loop_of_the_readme_is_short() -> None:
    """From the conversation to its end."""
    lines = block(README, "integrations.openai").splitlines()
    loop = lines[next(i for i, line in enumerate(lines) if line.startswith("items =")) :]
    assert len([line for line in loop if line.strip()]) <= 10
