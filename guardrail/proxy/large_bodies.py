"""Processes large bodies in threads, so that other requests are served in the meantime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["processed"]

R = TypeVar("R")

_LARGE = 256 * 1024
"""Bodies larger than this number of bytes are processed in a thread."""


async def processed(size: int, function: Callable[..., R], *given: Any) -> R:
    """Return ``function(*given)``, run in a thread if *size*, the size of the body in bytes, is
    large.
    """
    if size > _LARGE:
        return await asyncio.to_thread(function, *given)
    return function(*given)
