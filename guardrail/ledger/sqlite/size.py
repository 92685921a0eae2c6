"""Measures the size of a log's database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["used_bytes"]


def used_bytes(ask: Callable[[str], list[tuple[Any, ...]]]) -> int:
    """Return the number of bytes of the database that are in use. *ask* returns the rows of a
    query.

    Deleted records free their pages for later ones, but the file does not shrink. Raises the errors
    of *ask*.
    """
    pages, free, size = (
        int(ask(f"PRAGMA {name}")[0][0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
