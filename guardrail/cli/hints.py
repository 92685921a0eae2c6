"""Chooses useful next steps. A hint never repeats the command that has just failed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from guardrail.review.doctor.result import without_doctor

__all__ = ["command_path", "other_than", "repeats"]

_PROGRAM = "guardrail"
_DOCTOR = "guardrail doctor"
_PROSE = re.compile(r"(?!(?:last|forget|move|accept|token|rotate|retire|ran)\b)[a-z][a-z']*[,;:.]*")
"""Matches a word that continues the sentence after a command. The excluded words are values,
actions or subcommands.
"""


def command_path(cli: click.Group, args: Sequence[str]) -> str:
    """Return the names of the command in *args*, for example ``guardrail policy push``."""
    command: click.Command = cli
    path = ["guardrail"]
    for word in args:
        if not isinstance(command, click.Group) or word not in command.list_commands(
            click.Context(command)
        ):
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
        path.append(word)
    return " ".join(path)


def repeats(hint: str, path: str, args: Sequence[str]) -> bool:
    """Return True if *hint* begins with the command *path* and does not add an option, value or
    action to *args*.
    """
    if re.match(rf"{re.escape(path)}(?![\w-])", hint) is None:
        return False
    remainder = hint[len(path) :]
    if path == _PROGRAM or remainder[:1] != " ":
        return path != _PROGRAM
    given = {arg.split("=")[0] for arg in args}
    for word in remainder.split():
        if _PROSE.fullmatch(word) is not None:
            return True
        if word.rstrip(",;:") not in given:
            return False
    return True


def other_than(hint: str, path: str, args: Sequence[str]) -> str:
    """Return *hint*, or a more useful step if *hint* is the command that has just been run with
    *args*.
    """
    if not repeats(hint, path, args):
        return hint
    return (
        without_doctor(hint)
        if path == _DOCTOR
        else f"{_DOCTOR} checks everything that this command needs"
    )
