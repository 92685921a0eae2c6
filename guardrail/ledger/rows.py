"""Rows of a log's tables as values, so that readers need not import a writing connection."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EpochRow", "OpenCall"]


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
