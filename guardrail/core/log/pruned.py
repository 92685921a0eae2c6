"""The content of an ``admin.pruned`` record. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Pruned"]

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pruned:
    """The content of an ``admin.pruned`` record: the record at which the log continues, and the
    tree of the records before it (section 9.3).
    """

    seq: int
    """Number of the ``admin.pruned`` record itself."""
    before: int
    """Records 1 to ``before - 1`` may be missing."""
    edge: tuple[bytes, ...]
    """Roots of the perfect subtrees of the first ``before`` records, the largest first."""
    genesis: bytes
    """Leaf hash of line 0."""
    leaf: bytes
    """Leaf hash of record ``before - 1``."""

    @classmethod
    def claimed(cls, record: Mapping[str, Any]) -> int | None:
        """Return ``before`` from an ``admin.pruned`` record, or None if *record* is not one."""
        detail, seq = record.get("detail"), record.get("seq")
        before = detail.get("before") if isinstance(detail, Mapping) else None
        if record.get("type") != "admin.pruned" or type(before) is not int or type(seq) is not int:
            return None
        return before if before <= seq < 1 << 63 else None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Pruned | None:
        """Return the contents of *record*, or None if it is malformed or of another type."""
        before = cls.claimed(record)
        if before is None or before < 2:
            return None
        detail = record["detail"]
        edge, genesis, leaf = detail.get("edge"), detail.get("genesis"), detail.get("leaf")
        if not isinstance(edge, list) or len(edge) != before.bit_count():
            return None
        if not all(
            isinstance(each, str) and _HASH.fullmatch(each) for each in (*edge, genesis, leaf)
        ):
            return None
        return cls(
            record["seq"],
            before,
            tuple(bytes.fromhex(each) for each in edge),
            bytes.fromhex(genesis),
            bytes.fromhex(leaf),
        )
