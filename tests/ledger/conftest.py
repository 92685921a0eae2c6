"""A ledger with its writer, and the lines that were read from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.core.log.record import leaf_hash
from guardrail.ledger import steps
from guardrail.ledger.writing.writer import LedgerWriter
from tests.support.ledgers import make


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def writer(db: Path) -> Iterator[LedgerWriter]:
    with make(db) as made:
        yield made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every line that was read and hashed."""
    lines: list[bytes] = []

    def counted(line: bytes) -> bytes:
        lines.append(line)
        return leaf_hash(line)

    monkeypatch.setattr(steps, "leaf_hash", counted)
    return lines
