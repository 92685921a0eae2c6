"""The name of this machine."""

from __future__ import annotations

import os

__all__ = ["host_name"]


def host_name() -> str:
    """Return the name of this machine according to its kernel, without a DNS lookup."""
    return os.uname().nodename
