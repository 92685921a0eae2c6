"""Reads the settings file, and checks that it is a plain file of this user.

A folder from someone else may contain settings, too. Therefore, a file that the user did not
specify, but that guardrail found, can't start a command or send a secret to a server. A file owned
by a different user is rejected, because that user could change it at any time.
"""

from __future__ import annotations

import os
import pwd
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigError, os_reason
from guardrail.system.ownership import denial_of

__all__ = ["FILE_NAME", "SettingsFile", "find", "is_named", "read_settings"]

FILE_NAME = "guardrail.toml"
_VARIABLE = "GUARDRAIL_CONFIG"
_MAX_BYTES = 1 << 20
_ALIKE = 0.8
"""Minimum similarity, from 0 to 1, at which one name counts as a misspelling of another."""
_DATABASE = b"SQLite format 3\0"
_LEDGER = "specify a ledger with --ledger FILE, or in a program with Guard.open(ledger=FILE)"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The contents of a settings file."""

    raw: dict[str, Any]
    path: Path
    """Real path of the file."""
    writable: bool
    """True if every user of this machine can write to the file."""


def find(start: Path | None = None, *, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the settings file: the one in ``GUARDRAIL_CONFIG``, otherwise guardrail.toml in
    *start* or in the nearest parent folder that has one. Return None if there is none.
    """
    environment = os.environ if environment is None else environment
    named = environment.get(_VARIABLE)
    if named:
        return Path(named)
    here = Path(os.path.realpath(start or Path.cwd()))
    for folder in (here, *here.parents):
        candidate = folder / FILE_NAME
        if candidate.is_file():
            return candidate
    return None


def is_named(environment: Mapping[str, str] | None = None) -> bool:
    """Return True if ``GUARDRAIL_CONFIG`` is an absolute path, so it means the same file in every
    working directory.
    """
    environment = os.environ if environment is None else environment
    return os.path.isabs(environment.get(_VARIABLE) or "")


def read_settings(path: Path, owners: Collection[int] = ()) -> SettingsFile:
    """Read the settings file *path*, which must be owned by this user, by root or by one of
    *owners*. Never blocks.

    Raises ``ConfigError`` if the file is missing, not a plain file, too large, owned by a different
    user, or not TOML.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as source:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise _unreadable(path, "it is not a regular file")
            if about.st_uid not in owners:
                _check_owner(path, about.st_uid)
            content = source.read(_MAX_BYTES + 1)
        if content.startswith(_DATABASE):
            raise _unreadable(path, "it is a database, not a settings file", _LEDGER)
        if len(content) > _MAX_BYTES:
            raise _unreadable(path, f"it is larger than {_MAX_BYTES >> 20} MB")
        raw = tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file", code="config.missing", hint=_instead_of(path)
        ) from None
    except IsADirectoryError:
        raise _unreadable(path, "it is a folder", _in_folder(path)) from None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not UTF-8 text") from None
    except OSError as error:
        missing = denial_of(error, path)
        if missing is not None:
            raise ConfigError(
                f"the settings can't be read: {missing.what}",
                code="config.unreadable",
                hint=missing.hint,
            ) from None
        raise _unreadable(path, os_reason(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path}: this file is not valid TOML: {error}",
            code="config.syntax",
            hint="correct that line; guardrail init FOLDER writes a file with every key",
        ) from None
    return SettingsFile(raw, path.resolve(), bool(about.st_mode & stat.S_IWOTH))


def _check_owner(path: Path, owner: int) -> None:
    """Raise ``ConfigError`` unless this user or root owns the file."""
    if owner in (0, os.geteuid()):
        return
    raise ConfigError(
        f"{path}: user {_name(owner)} owns these settings, and could change which files and "
        "programs guardrail uses",
        code="config.owner",
        hint=(
            "read the file, then take ownership (chown); or use --ledger FILE, which needs no "
            "settings"
        ),
    )


def _name(owner: int) -> str:
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def _unreadable(path: Path, why: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"{path}: can't be read ({why})",
        code="config.unreadable",
        hint=hint
        or f"specify a settings file, such as the {FILE_NAME} that guardrail init creates",
    )


def _in_folder(folder: Path) -> str:
    """Return a hint to specify the settings file in *folder*, not the folder itself."""
    inside = folder / FILE_NAME
    if inside.is_file():
        return f"specify the file in that folder: {inside}"
    return f"that folder contains no {FILE_NAME}; guardrail init FOLDER creates a project with one"


def _instead_of(path: Path) -> str:
    """Return the next step if there are no settings at *path*: the file that may have been meant,
    or how to create one.
    """
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix == ".toml"]
    except OSError:
        names = []
    import difflib

    near = difflib.get_close_matches(path.name, names, n=1, cutoff=_ALIKE)
    for name in (*near, FILE_NAME):
        if name in names:
            return f"correct the path: {path.parent / name} exists"
    if (path.parent / "audit").is_dir() or (path.parent / "policies").is_dir():  # init refuses
        return (
            "restore it from version control or a backup; or run guardrail init OTHER_FOLDER and "
            "copy it from there"
        )
    return "guardrail init"
