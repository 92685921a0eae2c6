"""The folders for files that guardrail keeps for a user, outside the folders of ledgers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["TEMPORARY", "is_temporary", "state_folder"]

_ROOTS_FOLDER = Path("/var/lib/guardrail")
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - only compared


def state_folder(part: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return this user's folder for *part*, or None if the user has no home directory. Nothing is
    created.

    The folder is ``/var/lib/guardrail/PART`` for root, otherwise ``guardrail/PART`` below
    ``XDG_STATE_HOME`` (``~/.local/state`` by default, XDG Base Directory Specification).
    """
    if os.geteuid() == 0:
        return _ROOTS_FOLDER / part
    environment = os.environ if environment is None else environment
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state) / "guardrail" / part
    try:
        return Path.home() / ".local" / "state" / "guardrail" / part
    except RuntimeError:
        return None


def is_temporary(path: Path) -> bool:
    """Return True if *path* is in a temporary directory, so the file is expected to disappear. As
    in ``tempfile``, ``TMPDIR``, ``TEMP`` and ``TMP`` can specify temporary directories.
    """
    real = Path(os.path.realpath(path))
    # tempfile.gettempdir would write a file to find out which of them can be used.
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    roots = {os.path.realpath(folder) for folder in (*TEMPORARY, *filter(None, named))}
    return any(str(parent) in roots for parent in real.parents)
