"""Names of this process's user and group. They are looked up by number, so environment variables
can't change them.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

__all__ = ["group_named", "login_name", "user_name", "user_named"]

_UNSET = 0xFFFF_FFFF
"""Login id of a process that was started without a login: a service or a timer."""


def user_name() -> str:
    """Return the name of the user that this process runs as, or the user's number if there is no
    name.
    """
    return user_named(os.getuid())


def login_name(path: Path = Path("/proc/self/loginuid")) -> str | None:
    """Return the name of the user who logged in and started this process, even through ``sudo`` or
    ``su``, or None if unknown.

    The kernel records that user if auditing is enabled, and lets only the superuser change the
    entry.
    """
    try:
        uid = int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _UNSET else user_named(uid)


def user_named(uid: int) -> str:
    """Return the name of the user *uid*, or the number if there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_named(gid: int) -> str:
    """Return the name of the group *gid*, or the number if there is no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
