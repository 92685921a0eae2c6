"""The name of this machine."""

from __future__ import annotations

import os

__all__ = ["host_name"]


def host_name() -> str:
    """Return the name of this machine as its kernel gives it. Asks no resolver."""
    return os.uname().nodename
