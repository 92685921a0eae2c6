"""What a call reads from the ledger comes in time, or the call ends with an error."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.call.drivers import drive
from guardrail.call.journal import Journal
from guardrail.errors import LedgerError
from guardrail.testing import MemoryLedger


@pytest.fixture
def journal() -> Journal:
    ledger = MemoryLedger()
    return Journal(ledger, deadline=5.0, owner=ledger.owner, requests=ledger)


def test_an_answer_of_the_ledger_is_returned(journal: Journal) -> None:
    steps: Any = journal.look_up(lambda: "found")
    assert drive(steps) == "found"


@pytest.mark.parametrize(("patience", "waits"), [(0.0, 5.0), (60.0, 60.0)])
def test_an_answer_that_comes_too_late_is_an_error(
    journal: Journal, patience: float, waits: float
) -> None:
    """After the deadline of a call, or after the patience of a longer search."""
    steps = journal.look_up(lambda: "found", patience=patience)
    assert next(steps).timeout == waits  # type: ignore[union-attr]
    with pytest.raises(LedgerError) as caught:
        steps.throw(TimeoutError())
    assert caught.value.code == "ledger.unreadable"
