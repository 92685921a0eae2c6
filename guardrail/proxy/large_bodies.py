"""Processes large bodies in threads, so that other requests are served meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["processed"]

R = TypeVar("R")

_LARGE = 256 * 1024
"""Bodies that are larger than this number of bytes are processed in a thread."""


async def processed(size: int, function: Callable[..., R], *given: Any) -> R:
    """Return ``function(*given)``, which processes a body of *size* bytes."""
    if size > _LARGE:
        return await asyncio.to_thread(function, *given)
    return function(*given)
