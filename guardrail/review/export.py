"""Records out of the ledger, byte for byte: what is stored is what is hashed and what is exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from guardrail.core.record import leaf_hash
from guardrail.review.records import Records

__all__ = ["Exported", "export_lines"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds."""

    records: int
    bytes: int
    head: str
    """Leaf of the last line, in hex; empty where there is none."""


def export_lines(
    records: Records, out: BinaryIO, *, progress: Callable[[int, int], None] | None = None
) -> Exported:
    """Write every record that is there now to *out*, each followed by a line feed. Memory is constant.

    Records are never changed, so this is one consistent view without keeping writers waiting.
    """
    total = records.size()
    count = size = 0
    last = b""
    for seq, _, line in records.lines(0, total):
        out.write(line + b"\n")
        count, size, last = count + 1, size + len(line) + 1, line
        if progress is not None and seq % 256 == 0:
            progress(count, total)
    return Exported(count, size, leaf_hash(last).hex() if count else "")
