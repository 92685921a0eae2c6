"""Rows of a log's tables as plain values, so that readers need not import a writing connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Cache", "EpochRow", "OpenCall", "PageFault"]


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An allowed call without an outcome."""

    call: str
    seq: int
    """Number of the call's decision record."""
    process: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class EpochRow:
    """An epoch key that is certified and not retired."""

    public: str
    seq: int
    """Number of the record that certifies it."""
    process: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class PageFault:
    """A fault in the pages or indexes, as reported by the storage backend."""

    in_index: bool
    """True if the pages are intact, but an index does not match the rows."""


@dataclass(slots=True)
class Cache:
    """The correct content of a table that differs from the lines and can be rebuilt from them."""

    table: str
    """``tile``, ``call``, ``place`` or ``epoch``."""
    right: list[tuple[Any, ...]]
    """All rows that the table should have. For ``tile``, only the wrong rows, with None for a row
    that should not exist. For ``call``, only those of open calls. For ``place``, none: both tables
    are filled from the lines.
    """
