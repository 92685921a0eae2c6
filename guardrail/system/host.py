"""The name of this machine, and the cores that this process may use."""

from __future__ import annotations

import os

__all__ = ["host_name", "usable_cores"]


def host_name() -> str:
    """Return the name of this machine according to its kernel, without a DNS lookup."""
    return os.uname().nodename


def usable_cores() -> int:
    """Return the number of processor cores that this process may use, or 1 if it is unknown."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on this system
        return os.cpu_count() or 1
