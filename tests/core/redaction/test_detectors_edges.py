"""Texts that detectors of people begin to read and then leave alone."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.detectors.address_book import address_book
from guardrail.core.redaction.detectors.columns import columns
from guardrail.core.redaction.detectors.names import names
from guardrail.core.redaction.detectors.table import MOST_ROWS


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN:VCARD\nFN: ;\nEND:VCARD",
        "ATTENDEE;CN=room-4;X=1:mailto:r4@example.org",
        "see the <a.b@example.org> for more",
    ],
    ids=["an empty name", "no person", "no name"],
)
def test_address_books_without_people(text: str) -> None:
    assert not list(address_book(text))


def test_a_row_whose_cell_is_too_long_does_not_belong_to_the_table() -> None:
    assert not list(columns(f"email,city\n{'x' * 600},Rome\n"))


def test_a_long_table_is_read_to_its_limit() -> None:
    rows = "".join(f"p{index}@example.org,Rome\n" for index in range(MOST_ROWS + 3))
    assert len(list(columns(f"email,city\n{rows}"))) == MOST_ROWS


def test_a_sign_that_announces_no_name() -> None:
    assert not list(names("Mr - Anna Bauer"))
