"""Each command that a message names exists, has every option that it needs, and is not the one that
just failed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import guardrail
from guardrail.cli.app import cli
from guardrail.cli.hints import command_path, other_than, repeats
from guardrail.errors import ConfigError
from guardrail.review.doctor.result import without_doctor
from tests.support.command_line import Ran

ROOT = Path(guardrail.__file__).parent
_WORD = r"(?:[a-z][a-z-]*|--?[a-z][a-z-]*|--(?= )|-(?![a-z-])|[A-Z][A-Z_]*|\"[^\"]*\"|\.)"
_NAMED = re.compile(rf"\bguardrail ({_WORD}(?: {_WORD})*)")
_VALUE = re.compile(r"-|[A-Z][A-Z_]*|\"[^\"]*\"|\.|last")


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield every text of a module that is no docstring; ``VALUE`` stands for what is filled in."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inner.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in ast.walk(node) if part is not node)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "VALUE"
                for part in node.values
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def problem(told: str) -> str:
    """Return what is wrong with the command that *told*, the words after ``guardrail``, begins
    with; empty if nothing is.

    A command that a verb follows is spoken of (`guardrail keys prints it`), and need not be
    complete.
    """
    words = re.findall(r'"[^"]*"|\S+', told)
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return "" if words[0] == "VALUE" else f"no command {words[0]}"
        command, words = found, words[1:]
    options = {
        name: each
        for each in command.params
        if isinstance(each, click.Option)
        for name in (*each.opts, *each.secondary_opts)
    }
    given: list[click.Parameter] = []
    values = 0
    while words and (words[0].startswith("-") or _VALUE.fullmatch(words[0])):
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            values += 1
            continue
        if word == "--":
            continue
        if word not in options:
            return f"no option {word}"
        given.append(options[word])
        if not options[word].is_flag and (not words or not _VALUE.fullmatch(words.pop(0))):
            return f"{word} without a value"
    needed = [each for each in command.params if each.required and each not in given]
    missing = [each.name for each in needed if isinstance(each, click.Option)]
    missing += [each.name for each in needed if isinstance(each, click.Argument)][values:]
    return "" if words else ", ".join(f"{name} is missing" for name in missing)


def test_every_command_that_a_message_names_can_be_run_as_it_stands() -> None:
    """In hints, next steps, notes and explanations. Sentences with guardrail as their subject name
    no command.
    """
    found: list[str] = []
    commands = 0
    for path in sorted(ROOT.rglob("*.py")):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for match in _NAMED.finditer(text):
                wrong = problem(match[1])
                spoken = match[1].split()[0] not in cli.list_commands(click.Context(cli))  # type: ignore[attr-defined]
                commands += not spoken
                if wrong and not spoken:
                    found.append(f"{path.relative_to(ROOT)}: {match[0]}: {wrong}")
    assert found == []
    assert commands > 200


@pytest.mark.parametrize("keyword", ["hint", "fix"])
def test_no_hint_begins_with_a_command_that_is_not_there(keyword: str) -> None:
    """Also a word that is not among the commands, where a command must stand."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == keyword:
                for text in texts(ast.Module([ast.Expr(ast.List([node.value], ast.Load()))], [])):
                    match = re.match(r"guardrail (?!VALUE)([a-z-]+)", text)
                    assert match is None or not problem(match[1]).startswith("no command"), text


def test_an_incomplete_or_unknown_command_is_noticed() -> None:
    """Else the tests above could not fail."""
    assert problem("approve VALUE") == "reason is missing"
    assert problem("approve") == "reason is missing, ref is missing"
    assert problem("approve ID --reason TEXT") == ""
    assert problem("verify --checkpoint") == "--checkpoint without a value"
    assert problem("verify --nothing") == "no option --nothing"
    assert problem("policy tests") == "no command tests"
    assert problem("witness init prints it") == ""


@pytest.mark.parametrize(
    ("hint", "args", "is_itself"),
    [
        ("guardrail anchor", "anchor", True),
        ("guardrail anchor; please report it", "anchor --json", True),
        ("guardrail doctor, which shows the remaining files", "doctor", True),
        ("guardrail verify names the records", "verify", True),
        ("guardrail policy push", "policy push --url x", True),
        ("guardrail recover --yes", "recover --yes --reason a", True),
        ("guardrail recover --yes --reason TEXT", "recover --yes", False),
        ("guardrail backup FILE, with another name", "backup x.db", False),
        ("guardrail verify --checkpoint FILE", "verify", False),
        ("guardrail check-proof", "check", False),
        ("guardrail policy check", "policy push", False),
        ("guardrail init . creates a separate one", "init", False),
        ("wait until that process ends, then run: guardrail anchor", "anchor", False),
        ("guardrail show 3 --segment /x/y.gz", "show 3", False),
        ("guardrail show 4", "show 3", False),
        ("guardrail anchor move OLD --reason TEXT", "anchor", False),
        ("guardrail anchor forget audit.db", "anchor", False),
        ("guardrail show last, then guardrail why SEQ", "show", False),
        ("guardrail why 7", "nonsense", False),
        ("", "anchor", False),
    ],
)
def test_a_hint_that_is_the_command_itself_is_told_from_one_that_says_more(
    hint: str, args: str, is_itself: bool
) -> None:
    """By its options and values; prose that follows is none."""
    words = args.split()
    path = command_path(cli, words)  # type: ignore[arg-type]
    assert repeats(hint, path, words) is is_itself
    assert (other_than(hint, path, words) != hint) is is_itself


def test_an_action_that_is_an_argument_is_told_from_prose() -> None:
    """Each word that an argument of some command takes, and each command of the one group that also
    runs by itself.
    """
    proxy = cli.get_command(click.Context(cli), "proxy")
    assert isinstance(proxy, click.Group)
    for inner in proxy.list_commands(click.Context(proxy)):
        assert not repeats(f"guardrail proxy {inner} X", "guardrail proxy", ["proxy"])
    for names in paths(cli):  # type: ignore[arg-type]
        command: click.Command = cli
        for name in names:
            command = command.get_command(click.Context(command), name)  # type: ignore[attr-defined]
        own = f"guardrail {' '.join(names)}"
        for each in command.params:
            if isinstance(each, click.Argument) and isinstance(each.type, click.Choice):
                for action in each.type.choices:
                    assert not repeats(f"{own} {action} X", own, names)


def test_doctor_leads_to_its_other_checks_in_place_of_itself() -> None:
    """Every other command leads to doctor."""
    assert without_doctor("guardrail doctor").startswith("fix what the other checks report")
    assert without_doctor("guardrail verify") == "guardrail verify"
    assert other_than("guardrail doctor", "guardrail doctor", ["doctor"]) == without_doctor(
        "guardrail doctor"
    )
    assert other_than("guardrail seal", "guardrail seal", ["seal"]).startswith(
        "guardrail doctor checks"
    )


def paths(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    """The names of every command below *group*."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from paths(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("names", list(paths(cli)), ids=" ".join)  # type: ignore[arg-type]
def test_no_error_of_a_command_says_to_run_that_command(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """Whatever raised it: the library does not know which command calls it."""
    own = f"guardrail {' '.join(names)}"

    def fails(_: click.Context) -> None:
        raise ConfigError("it went wrong", hint=own)

    command: click.Command = cli
    for name in names:
        found = command.get_command(click.Context(command), name)  # type: ignore[attr-defined]
        assert found is not None
        command = found
    monkeypatch.setattr(command, "parse_args", lambda *_: [])
    monkeypatch.setattr(command, "invoke", fails)
    run: Callable[..., Ran] = request.getfixturevalue("cli")
    ran = run(*names)
    assert ran.code == 3
    assert "it went wrong" in ran.err
    (step,) = re.findall(r"^next: +(.*)", ran.err, re.MULTILINE)
    assert step != own
    assert step
