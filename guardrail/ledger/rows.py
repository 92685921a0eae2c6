"""Rows of a log's tables as plain values, so that readers need not import a writing connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Cache", "EpochRow", "OpenCall", "PageFault", "SessionRow"]


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An allowed call without an outcome."""

    call: str
    seq: int
    """Number of its decision."""
    process: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class EpochRow:
    """An epoch key that is certified and not ended."""

    public: str
    seq: int
    """Number of the record that certifies it."""
    process: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session in the log."""

    session: str
    tenant: str
    principal: str
    agent: str
    first_seq: int
    started: str
    last: str
    """Time stamp of its newest call."""
    calls: int
    denied: int
    rejected: int
    """Calls that a framework refused before they were decided."""
    open: int
    errors: int


@dataclass(frozen=True, slots=True)
class PageFault:
    """A fault that the storage backend found in its pages or indexes."""

    in_index: bool
    """True if the pages are in order, and an index is not that of the rows."""
    index: str = ""
    """The index that lacks a record, if the storage backend names it."""
    seq: int | None = None
    """That record."""


@dataclass(slots=True)
class Cache:
    """The correct content of a table that differs from the lines and can be rebuilt from them."""

    table: str
    """``tile``, ``open_call`` or ``epoch``."""
    right: list[tuple[Any, ...]]
    """All rows that it should have; for ``tile`` only the wrong ones, with None if there should be
    no such row.
    """
