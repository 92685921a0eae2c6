"""Who runs this process, as the operating system says: by number, so that environment variables are not asked."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

__all__ = ["group_named", "login_name", "user_name", "user_named"]

_UNSET = 0xFFFF_FFFF
"""Of a process that nobody logged in to start: a service, a timer."""


def user_name() -> str:
    """Return the name of the user that this process runs as, or the number where it has none."""
    return user_named(os.getuid())


def login_name(path: Path = Path("/proc/self/loginuid")) -> str | None:
    """Return who logged in before this process was started, also through ``sudo`` or ``su``; None where unknown.

    The kernel keeps it, where it audits at all, and lets only the superuser change it.
    """
    try:
        uid = int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _UNSET else user_named(uid)


def user_named(uid: int) -> str:
    """Return the name of the user *uid*, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_named(gid: int) -> str:
    """Return the name of the group *gid*, or the number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
