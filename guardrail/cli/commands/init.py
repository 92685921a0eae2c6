"""Implements ``guardrail init``."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.output import Style, data, remark
from guardrail.errors import ConfigError, GuardrailError, LedgerOpenError

if TYPE_CHECKING:
    from guardrail.config import Settings

__all__ = ["init"]


@click.command(short_help="Create a project: settings, a policy with a test, keys and a ledger.")
@click.argument(
    "named",
    metavar="[DIR]",
    type=click.Path(path_type=Path, readable=False, file_okay=False),
    required=False,
)
def init(named: Path | None) -> None:
    """Create a project in DIR (default: here): guardrail.toml with comments, a policy with a test,
    and the folder audit/ with the ledger and its keys.

    The command never overwrites a file: if any of these files already exist, it writes nothing. It
    also writes files for editors, unless they exist: the schema of the policy input (schemas/), an
    example of an input (input.json), and settings for Regal, a linter (.regal/). If
    a parent folder has a guardrail.toml, specify DIR to create a separate project. The command also
    adds lines to .gitignore that keep the ledger and the keys out of the repository.
    """
    from guardrail.authoring.editors import editor_files
    from guardrail.authoring.scaffold import scaffold
    from guardrail.config import DEFAULT_LEDGER, FILE_NAME, Settings
    from guardrail.policy.sources import installed_folder

    folder = Path() if named is None else named
    if folder.is_symlink() and not folder.exists():
        raise ConfigError(
            f"{folder} is a broken link; nothing was written",
            code="config.exists",
            hint="guardrail init OTHER_FOLDER, or remove the link",
        )
    above = _project_above(folder)
    if named is None and above is not None:
        raise ConfigError(
            f"this folder belongs to the project of {above}; nothing was written",
            code="config.exists",
            hint=(
                "guardrail doctor checks that project; guardrail init . creates a separate one here"
            ),
        )
    # The environment may point to a different project, so only the new settings file is used.
    planned = Settings().override(ledger={"path": (folder / DEFAULT_LEDGER).absolute()})
    _refuse_project(folder, planned)
    _refuse_old_log(planned)
    _require_room(planned)
    made = scaffold(folder, installed_folder() / "starter", editor_files())
    settings = Settings.load(folder / FILE_NAME, environment={})
    _create_log(settings)
    for path in (*made.written, settings.ledger.path, settings.key_path):
        data(f"made  {_relative(path, folder)}{'/' if path.is_dir() else ''}")
    for line in made.ignored:
        data(f"added {line} to .gitignore")
    if above is not None:
        remark(f"In this folder, these settings replace those of {above}.")
    _next_steps(folder)


def _project_above(folder: Path) -> Path | None:
    """Return the settings file that currently applies to commands in *folder*, if it is in a parent
    folder.
    """
    from guardrail.config.file import FILE_NAME, find
    from guardrail.review.terminal import one_line

    found = find(folder, environment={})
    if found is None or found.parent == Path(os.path.realpath(folder / FILE_NAME)).parent:
        return None
    return Path(one_line(str(found)))


def _refuse_project(folder: Path, planned: Settings) -> None:
    """Raise ``ConfigError`` if *folder* contains a settings file. It is then already a project, or
    a clone of one, in which the first guard that is opened creates the ledger.
    """
    from guardrail.config import FILE_NAME, Settings
    from guardrail.ledger.files import traces

    there = folder / FILE_NAME
    if not there.is_file():
        return
    with contextlib.suppress(ConfigError):  # `doctor` reports problems with these settings
        planned = Settings.load(there, environment={}, named=False)
    bare = not traces(planned.ledger.path) and not planned.key_path.exists()
    makes = "to create the keys and the ledger, open a guard in a program; "
    raise ConfigError(
        f"{folder.absolute()} already contains {FILE_NAME}: it is a project; nothing was written",
        code="config.exists",
        hint=(
            f"{(makes if bare else '')}guardrail doctor checks it for missing parts; or run "
            "guardrail init OTHER_FOLDER"
        ),
    )


def _relative(path: Path, folder: Path) -> str:
    from guardrail.review.terminal import escape

    try:
        return escape(
            str(folder / Path(os.path.realpath(path)).relative_to(os.path.realpath(folder)))
        )
    except ValueError:
        return escape(str(path))


def _refuse_old_log(settings: Settings) -> None:
    """Raise ``GuardrailError`` if a log exists or existed here, or if its folder can't be used."""
    from guardrail.ledger.files import traces
    from guardrail.wiring.ledger_folder import check_new, refuse_linked, refuse_second_log
    from guardrail.wiring.missing_policies import RESTORE

    refuse_linked(settings)
    refuse_second_log(settings)
    left = traces(settings.ledger.path)
    if left or settings.key_path.exists():
        names = ", ".join(
            item.name
            for item in (*left, *([settings.key_path] if settings.key_path.exists() else []))
        )
        raise ConfigError(
            f"a ledger, or part of one, already exists: {names}; nothing was written",
            code="config.exists",
            hint=RESTORE,
        )
    check_new(settings.ledger.path.parent)


def _require_room(settings: Settings) -> None:
    """Raise ``ConfigError`` if the disk is so full that a guard would deny every call."""
    from guardrail.ledger.reserve import room_needed
    from guardrail.system.disk import nearest_folder

    folder = nearest_folder(settings.ledger.path)
    there = folder / settings.ledger.path.name
    needed, free = room_needed(there, settings.ledger.reserve_mb << 20)
    if free is not None and free < needed:
        raise ConfigError(
            f"{folder}: {needed / (1 << 20):.1f} MB are needed before calls are accepted, "
            f"{free / (1 << 20):.1f} MB are free; nothing was written",
            code="config.room",
            hint="make room on this disk, or run guardrail init OTHER_FOLDER",
        )


def _create_log(settings: Settings) -> None:
    """Create the keys and the ledger. If the ledger can't be created, remove the keys again."""
    from guardrail.wiring.ledger_folder import make_folder
    from guardrail.wiring.opening import create_keys, create_log

    folder = settings.ledger.path.parent
    make_folder(settings, folder, "[ledger] path")
    folder.chmod(0o700)
    keys = create_keys(settings)
    try:
        create_log(settings, keys, epochs=False).close()
    except GuardrailError as error:
        shutil.rmtree(settings.key_path)
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise LedgerOpenError(
            f"the files were written, but the ledger could not be created: {error.message}",
            code=error.code,
            hint=error.hint,
        ) from None


def _next_steps(folder: Path) -> None:
    inside = (
        "" if os.path.realpath(folder) == str(Path.cwd()) else f"cd {shlex.quote(str(folder))} && "
    )
    remark("")
    remark("Next:", Style.STRONG)
    remark(f"  {inside}guardrail policy test    run the policy's tests")
    remark(f"  {inside}guardrail doctor         check disk, keys and policies")
    remark('  in your program:  guard = Guard.open("guardrail.toml")')
    remark(f"  and then:  {inside}guardrail show last")
