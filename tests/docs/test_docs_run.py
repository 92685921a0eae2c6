"""What README and docs show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(*command: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert code is None or done.returncode == code, (
        f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


def guardrail(*arguments: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return run(
        sys.executable,
        "-c",
        "from guardrail.cli import main; main()",
        *arguments,
        cwd=cwd,
        code=code,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project in which README's first program has run."""
    folder = tmp_path_factory.mktemp("project")
    guardrail("init", ".", cwd=folder)
    (folder / "program.py").write_text(blocks(README, "python")[0])
    done = run(sys.executable, "program.py", cwd=folder)
    assert done.stdout.splitlines()[0] == "order 7: shipped"
    assert done.stdout.splitlines()[1].startswith("denied by policy")
    return folder


def test_the_langchain_lines_of_the_readme_run(project: Path) -> None:
    """With tools and a model in place of the reader's own."""
    before = """
from langchain_core.tools import tool
from guardrail import Guard
guard = Guard.open(policies="policies", ledger="langchain.db")
@tool
def search_orders(text: str) -> str:
    "Search."
    return f"found {text}"
@tool
def refund(order: int) -> str:
    "Refund."
    return "done"
model, create_agent = None, lambda model, tools: tools
"""
    after = """
assert [tool.name for tool in agent] == ["search_orders", "refund"]
with guard.session(principal="alice", agent="bot"):
    assert agent[0].invoke({"text": "x"}) == "found x"
guard.close()
"""
    (project / "langchain_lines.py").write_text(before + blocks(README, "python")[1] + after)
    run(sys.executable, "langchain_lines.py", cwd=project)


def commands() -> list[str]:
    """Return the guardrail commands that README shows, without their comments."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    return [line.split("#")[0].strip() for line in lines if line.startswith("guardrail ")]


def test_the_readme_shows_commands() -> None:
    """So that the next test is about something."""
    assert len(commands()) > 6


@pytest.mark.parametrize(
    "command", [command for command in commands() if command != "guardrail init"]
)
def test_each_command_of_the_readme_answers(project: Path, command: str) -> None:
    """Yes, or yes with a reservation (verify without a head); a record number stands for one that
    exists.
    """
    (project / "head.txt").write_text(guardrail("checkpoint", cwd=project, code=0).stdout)
    command, _, _ = command.partition(" >")
    words = [("3" if word == "42" else word) for word in command.split()[1:]]
    done = guardrail(*words, cwd=project, code=None)
    expected = 5 if words == ["verify"] else 0
    assert done.returncode == expected, done.stderr + done.stdout
    assert done.stdout


def test_links_between_pages_lead_somewhere() -> None:
    """Files that are named exist."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_name_no_machine_and_say_nothing_of_other_things() -> None:
    """No absolute path of somebody's machine."""
    for page in PAGES:
        assert not re.search(
            r"(?<![\w.])/(?:work|home|Users)/", page.read_text(encoding="utf-8")
        ), page.name


def test_rego_in_the_pages_passes_the_check(tmp_path: Path) -> None:
    """Every block of Rego that is a whole module."""
    from guardrail.authoring.check import check

    seen = 0
    for page in PAGES:
        for number, block in enumerate(blocks(page.read_text(encoding="utf-8"), "rego")):
            if not block.startswith("package guardrail.policy\n"):
                continue
            seen += 1
            folder = tmp_path / f"{page.stem}-{number}"
            folder.mkdir()
            (folder / "shown.rego").write_text(block)
            report = check([folder])
            assert report.ok, f"{page.name}: {report}"
    if (ROOT / "docs" / "writing-policies.md").exists():
        assert seen
