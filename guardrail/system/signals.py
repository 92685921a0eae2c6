"""Handles signals while a block runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator, Iterable
from types import FrameType

__all__ = ["ENDING", "handled"]

ENDING = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop a server."""


@contextlib.contextmanager
def handled(
    signals: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], object]
) -> Generator[None]:
    """Call *handler* for each of *signals* that arrives inside the block. Only a process's main
    thread can enter the block.
    """
    before = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)
