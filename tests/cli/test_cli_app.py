"""The border of the command line: help, unknown commands, and an exit code for every way to end."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest

from guardrail.cli import app
from guardrail.cli.app import Exit
from guardrail.cli.app import cli as tree
from guardrail.cli.entries import COMMANDS, GROUPS
from guardrail.errors import (
    ApprovalRequired,
    ConfigError,
    Denied,
    GuardrailError,
    LedgerOpenError,
    UsageError,
)
from tests.support.command_line import Cli, build, command, environment


def test_help_lists_every_command_without_importing_one(process: Cli) -> None:
    """The list comes from the entries; nothing heavy is loaded for it."""
    code = (
        "import sys\nfrom guardrail.cli.app import run\nassert run(['--help']) == 0\nheavy ="
        " {'pydantic', 'sqlite3', 'sqlite_utils', 'cryptography', 'orjson', 'jsonschema_rs',"
        " 'asyncio', 'guardrail.guard'}\nheavy |= {name for name in sys.modules if"
        " name.startswith('guardrail.cli.commands.')}\nprint(sorted(heavy & set(sys.modules)),"
        " file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_help_shows_each_command_under_exactly_one_purpose(cli: Cli) -> None:
    """Nobody has to read all commands to find theirs, and no command is missing from the groups."""
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)
    shown: dict[str, list[str]] = {}
    title = ""
    for line in cli("--help").out.splitlines():
        if not line.startswith(" "):
            title = line.removesuffix(":")
        elif title in GROUPS and re.match(r"  \S", line):
            shown.setdefault(title, []).append(line.split()[0])
    assert list(shown.items()) == [(title, list(names)) for title, names in GROUPS.items()]


def test_the_summary_of_an_entry_is_that_of_its_command() -> None:
    """Help says the same in the list and in the command."""
    for name, entry in COMMANDS.items():
        found = tree.get_command(click.Context(tree), name)
        if found is not None:
            assert found.get_short_help_str(200) == entry.summary


def test_an_unknown_command_names_the_nearest(cli: Cli) -> None:
    """A slip of the finger is answered, as a usage error."""
    ran = cli("sesions")
    assert ran.code == Exit.USAGE
    assert "sessions" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "args", [("show",), ("sessions", "--limit", "0"), ("--nonsense",), ("why", "1", "2"), ()]
)
def test_wrong_usage_is_2_and_says_how_to_get_help(cli: Cli, args: tuple[str, ...]) -> None:
    """No command, or a wrong one, is a usage error; its text goes to stderr."""
    ran = cli(*args)
    assert ran.code == Exit.USAGE
    assert ran.out == ""
    assert "Usage: guardrail" in ran.err


def test_a_hostile_argument_does_not_reach_the_terminal_raw(cli: Cli) -> None:
    """What was typed is quoted in the error, with its control characters visible."""
    ran = cli("\x1b[31mboo\u202e")
    assert ran.code == Exit.USAGE
    assert "\x1b" not in ran.err
    assert "\u202e" not in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("settings are wrong", hint="guardrail doctor"), Exit.UNKNOWN),
        (LedgerOpenError("no ledger", hint="guardrail init"), Exit.UNKNOWN),
        (UsageError("not so", hint="but so"), Exit.USAGE),
        (LedgerOpenError("it is there", code="ledger.exists", hint="another name"), Exit.USAGE),
        (Denied("no", seq=7), Exit.NO),
        (ApprovalRequired("ask", seq=7), Exit.NO),
        (GuardrailError("anything else"), Exit.UNKNOWN),
        (ValueError("secret value of a record"), Exit.BUG),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (click.Abort(), Exit.INTERRUPTED),
        (click.FileError("x", "can't"), Exit.UNKNOWN),
    ],
)
def test_every_exception_has_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    """No, usage, could not find out, a bug and interrupted never share a code; nothing is written
    to stdout.
    """

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(app.cli, "get_command", lambda *_: broken)
    ran = cli("broken")
    assert ran.code == code
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert "secret value" not in ran.err
    if isinstance(error, GuardrailError):
        assert error.message in ran.err
        assert error.hint in ran.err


def test_a_bug_shows_its_traceback_only_when_asked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and how to report; with GUARDRAIL_DEBUG=1 the rest, escaped."""

    @click.command()
    def broken() -> None:
        raise ValueError("text with \x1b[31m in it")

    monkeypatch.setattr(app.cli, "get_command", lambda *_: broken)
    quiet = cli("broken")
    assert "ValueError" in quiet.err
    assert "GUARDRAIL_DEBUG=1" in quiet.err
    monkeypatch.setenv("GUARDRAIL_DEBUG", "1")
    loud = cli("broken")
    assert "Traceback" in loud.err
    assert "\\u{1b}[31m" in loud.err
    assert loud.code == Exit.BUG


def test_the_exit_code_of_a_process_is_that_of_run(process: Cli) -> None:
    """The installed script hands the code on."""
    assert process("--version").code == Exit.YES
    assert process("--nonsense").code == Exit.USAGE


def test_a_closed_pipe_is_quiet() -> None:
    """``guardrail ... | head`` neither complains nor claims to have found something out."""
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait(timeout=30)
    assert reader.stdin is not None
    done = subprocess.run(
        command("--help"),
        env=environment(),
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    reader.stdin.close()
    assert done.stderr == ""
    assert done.returncode == Exit.PIPE


def test_an_answer_that_can_not_be_written_is_not_taken_for_one() -> None:
    """A full disk under stdout: exit 3 and one line, whether the buffer is small or large."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("--help"),
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == Exit.UNKNOWN
    assert done.stderr == "error: the output can't be written (No space left on device)\n"


def test_a_closed_stdout_is_survived() -> None:
    """Started without a stdout, a command still ends with its own code."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command("sesions")],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == Exit.USAGE
    assert "Did you mean" in done.stderr


def test_a_command_that_reads_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """The start of a command is most of its cost. Detectors, servers, clients and the builder of
    the index are loaded by what needs them.
    """
    build(tmp_path / "audit.db")
    (tmp_path / "guardrail.toml").write_text('[review]\nindex = "index"\n')
    code = (
        "import sys\nfrom guardrail.cli.app import run\n"
        "args = ['--ledger', 'audit.db', '--config', 'guardrail.toml']\n"
        "assert run([*sys.argv[1:], *args]) == 0\n"
        "heavy = {'sqlite_utils', 'ssl', 'asyncio', 'ctypes', 'subprocess', 'tempfile', 'difflib',"
        " 'cryptography.hazmat.primitives.serialization', 'guardrail.anchors.configured',"
        " 'guardrail.core.redaction.detectors', 'guardrail.approvals.rules',"
        " 'guardrail.review.documents'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    for words in (["sessions"], ["show", "last"], ["show", "last"], ["show", "1"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_the_garbage_collection_begins_after_the_modules_are_loaded() -> None:
    """It is off for no longer, because some commands run for days."""
    code = (
        "import gc, sys\nusual = gc.get_threshold()\nfrom guardrail.cli import main\n"
        "sys.argv = ['guardrail', '--version']\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert left.code == 0\n"
        "assert gc.get_threshold()[0] > 10 * usual[0]\nassert gc.get_freeze_count() > 1000\n"
        "gc.collect()\nassert gc.get_threshold() == usual\nassert gc.callbacks == []\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), timeout=60, check=True)


def test_the_package_runs_as_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """For environments in which no script is on the path."""
    ran: list[bool] = []
    monkeypatch.setattr("guardrail.cli.main", lambda: ran.append(True))
    runpy.run_module("guardrail", run_name="__main__")
    assert ran == [True]
