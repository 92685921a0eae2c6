"""What README and docs show is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.model_server import Call, ModelServer, Turn

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(
    *command: str,
    cwd: Path,
    code: int | None = 0,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=env,
        input=stdin,
    )
    assert code is None or done.returncode == code, (
        f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


def guardrail(
    *arguments: str, cwd: Path, code: int | None = 0, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return run(
        sys.executable,
        "-c",
        "from guardrail.cli import main; main()",
        *arguments,
        cwd=cwd,
        code=code,
        stdin=stdin,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project in which README's first program has run."""
    folder = tmp_path_factory.mktemp("project")
    guardrail("init", ".", cwd=folder)
    # tests/docs/test_docs_proxy.py runs an agent.
    (folder / "agent.py").write_text('import os\nprint(os.environ["OPENAI_BASE_URL"])\n')
    (folder / "program.py").write_text(blocks(README, "python")[0])
    done = run(sys.executable, "program.py", cwd=folder)
    assert done.stdout.splitlines()[0] == "order 7: shipped"
    assert done.stdout.splitlines()[1].startswith("denied by policy")
    return folder


def test_the_langchain_loop_of_the_readme_runs(project: Path) -> None:
    """With the real client of the provider, and a server that follows a script."""
    (loop,) = (block for block in blocks(README, "python") if "create_agent" in block)
    (project / "langchain_loop.py").write_text(loop)
    script = [
        Turn(calls=[Call("find_order", {"number": 7}), Call("drop_table", {"name": "orders"})]),
        Turn("Order 7 was shipped."),
    ]
    with ModelServer(script) as server:
        env = {**os.environ, "ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": server.anthropic}
        done = run(sys.executable, "langchain_loop.py", cwd=project, env=env)
    assert done.stdout == "Order 7 was shipped.\n"
    answers = server.bodies[1]["messages"][-1]["content"]
    assert "order 7: shipped" in str(answers[0])
    assert "drop_table is not a valid tool" in str(answers[1])
    shown = guardrail("show", "last", "--json", cwd=project).stdout
    assert '"call.rejected"' in shown
    assert shown.count('"status":"ok"') + shown.count('"status": "ok"') == 1


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
    stdin = "nobody@example.org" if words[-1] == "-" else None  # a value that is in no record
    done = guardrail(*words, cwd=project, code=None, stdin=stdin)
    expected = 5 if words == ["verify"] else int(words[0] == "find")
    assert done.returncode == expected, done.stderr + done.stdout
    empty = ("No record contains", "nothing found")
    assert done.stdout or any(text in done.stderr for text in empty)


def test_links_between_pages_lead_somewhere() -> None:
    """Files that are named exist."""
    for page in PAGES:
        text = re.sub(
            r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        )
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
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
