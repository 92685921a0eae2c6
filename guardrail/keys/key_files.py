"""Reads key files, but only if no other user can read them."""

from __future__ import annotations

import stat
from pathlib import Path

from guardrail.errors import KeysError, os_reason
from guardrail.system.input_files import read_input
from guardrail.system.ownership import denial_of

__all__ = ["check_mode", "read_key"]

_MAX_FILE = 1 << 20
"""Maximum size of a key file in bytes."""


def read_key(path: Path) -> bytes:
    """Return the content of the key file *path*.

    Raises ``KeysError`` if the file is missing, not a regular file, unreadable, or readable by
    others.
    """
    check_mode(path, 0o077, f"chmod 600 {path}")
    try:
        return read_input(path, _MAX_FILE, text=False)
    except OSError as error:
        raise _unreadable(path, error) from None


def check_mode(path: Path, forbidden: int, hint: str, *, folder: bool = False) -> None:
    """Raise ``KeysError`` unless *path* is a file (or a *folder*) whose mode has none of the bits
    in *forbidden*.

    *hint* is the next step if the mode has such a bit.
    """
    try:
        found = path.stat().st_mode
    except FileNotFoundError:
        raise KeysError(
            f"{path}: this key file or folder is missing",
            code="keys.missing",
            hint="restore the folder from a backup, or run guardrail recover",
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(found) != folder:
        kind = "folder" if folder else "regular file"
        raise KeysError(
            f"{path}: can't be read (it is not a {kind})",
            code="keys.unreadable",
            hint=(
                "move it away and restore the key folder from a backup; without a backup: "
                "guardrail recover"
            ),
        )
    mode = stat.S_IMODE(found)
    if mode & forbidden:
        raise KeysError(
            f"{path}: others can read it (mode {mode:o})", code="keys.exposed", hint=hint
        )


def _unreadable(path: Path, error: OSError) -> KeysError:
    missing = denial_of(error, path)
    if missing is None:
        return KeysError(f"{path}: can't be read ({os_reason(error)})", code="keys.unreadable")
    return KeysError(
        f"a key can't be read: {missing.what}", code="keys.permission", hint=missing.hint
    )
