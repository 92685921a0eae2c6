"""Resets objects in a forked child, before any thread of the child can use them.

A thread of the parent may hold a lock of such an object, or be in the middle of a change, and does
not exist in the child. If the child's first user reset the object instead, a second thread of the
child could see it half reset.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkReset", "reset_in_children"]


class ForkReset(Protocol):
    """An object that a child process must not inherit as it is."""

    def reset(self) -> None:
        """Begin as a new object would. Called while no other thread exists."""


_objects: weakref.WeakSet[ForkReset] = weakref.WeakSet()


def reset_in_children(inherited: ForkReset) -> None:
    """Call ``inherited.reset()`` in each child that is forked from now on, as long as the object
    exists.
    """
    _objects.add(inherited)


def _reset() -> None:
    for each in list(_objects):
        each.reset()


os.register_at_fork(after_in_child=_reset)
