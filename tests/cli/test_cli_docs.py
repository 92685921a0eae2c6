"""docs/cli.md and the command line say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import guardrail
from guardrail.cli.acting import TOKEN_FILE
from guardrail.cli.app import Exit, cli
from guardrail.cli.reading import REASON
from guardrail.core.types import Status
from guardrail.review.doctor.result import CheckState
from guardrail.review.why import headline
from tests.support.command_line import Ran

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below *group* with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*names, name)), command


ALL = dict(commands(cli))


def section(name: str) -> str:
    """What docs/cli.md says about one command."""
    match = re.search(
        rf"^### `guardrail {re.escape(name)}[ `].*?(?=^### |^## |\Z)",
        DOCS,
        re.MULTILINE | re.DOTALL,
    )
    assert match is not None, f"docs/cli.md has no section for guardrail {name}"
    return match[0]


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_documented_with_every_option(name: str) -> None:
    """A section of its own, each option and argument in its heading line or text."""
    text = section(name)
    for parameter in ALL[name].params:
        if parameter is REASON:  # of every command that reads, and described once
            assert "`--reason TEXT`" in DOCS
        elif parameter is TOKEN_FILE:  # of every command whose records name an actor
            assert "`--token-file FILE`" in DOCS
        elif isinstance(parameter, click.Option):
            assert any(
                re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)
                for option in parameter.opts
            ), parameter.opts
        else:
            assert (
                parameter.make_metavar(click.Context(ALL[name]))
                .strip("[]")
                .split("|")[0]
                .rstrip(".")
                in text
            )


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_help(name: str) -> None:
    """``--help`` explains each of them."""
    command = ALL[name]
    assert command.help
    assert command.get_short_help_str(200).endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.opts


def test_no_command_is_documented_that_does_not_exist() -> None:
    """Every section is about a command that can be run."""
    documented = set(re.findall(r"^### `guardrail ([a-z]+(?:[ -][a-z]+)*)", DOCS, re.MULTILINE))
    assert documented == set(ALL)


def test_every_option_in_a_heading_exists() -> None:
    """The heading of a section promises no option that the command does not take."""
    for name, command in ALL.items():
        heading = section(name).split("\n", 1)[0]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--?[a-z][a-z-]*", heading.split(name, 1)[1])) <= known


def test_every_exit_code_verdict_outcome_and_state_is_documented() -> None:
    """Words and numbers that a reader meets are explained."""
    for code in Exit:
        assert re.search(rf"^\| {int(code)} \|", DOCS, re.MULTILINE)
    for effect in ("allow", "deny", "require_approval", "?"):
        assert f"| {headline(effect)} |" in DOCS
    for status in Status:
        assert status.value in section("show")
    for state in CheckState:
        assert state.value in section("doctor")


@pytest.mark.parametrize(
    "name",
    [
        *("sessions", "show", "why", "verify", "doctor", "recover", "policy check", "policy test"),
        *("checkpoint", "anchor", "witness status"),
    ],
)
def test_every_reading_command_answers_in_json(name: str) -> None:
    """``--json`` is on each of them, and its document is described."""
    assert any("--json" in parameter.opts for parameter in ALL[name].params)
    assert "```" in section(name) or "`{" in section(name)


@pytest.mark.parametrize(
    "name", ["sessions", "show", "why", "verify", "export", "doctor", "recover"]
)
def test_every_command_about_a_ledger_can_be_told_which(name: str) -> None:
    """``--ledger`` and ``--config`` are on each of them."""
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert {"--ledger", "--config"} <= options


def test_every_environment_variable_that_the_code_names_is_documented() -> None:
    """In one table, which names no others of guardrail's."""
    text = DOCS.split("## Environment variables")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([A-Z][A-Z_0-9]+)`", text))
    named: set[str] = set()
    read: set[str] = set()
    for path in Path(guardrail.__file__).parent.rglob("*.py"):
        source = re.sub(r"(?m)^ *#.*", "", path.read_text(encoding="utf-8"))
        named |= set(re.findall(r"\bGUARDRAIL_[A-Z_]+", source))
        read |= set(re.findall(r"environ(?:ment)?(?:\.get\(|\[)\"([A-Z]\w*)\"", source))
    assert "GUARDRAIL_KEYS" in named
    assert "GUARDRAIL_DEBUG" in read
    assert named | read <= documented
    assert {each for each in documented if each.startswith("GUARDRAIL_")} == named


def test_every_check_of_doctor_is_documented(cli: Callable[..., Ran], tmp_path: Path) -> None:
    """With each engine, of a project that is whole."""
    assert cli("init", tmp_path / "p").code == 0
    config = tmp_path / "p" / "guardrail.toml"
    text = config.read_text()
    made: list[str] = []
    for engine in ("embedded", "opa"):
        changed, count = re.subn(r'#? ?engine = "embedded"', f'engine = "{engine}"', text)
        assert count == 1
        config.write_text(changed)
        ran = cli("doctor", "--config", config, "--json")
        made += [check["name"] for check in json.loads(ran.out)["checks"]]
    assert {"opening", "identity", "opa"} <= set(made)
    told = section("doctor")
    assert [name for name in made if f"`{name}`" not in told] == []
