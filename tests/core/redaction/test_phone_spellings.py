"""The spellings of an international telephone number in its own country."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.detectors.phones import national_spellings


@pytest.mark.parametrize(
    ("text", "spellings"),
    [
        ("+1 415 555 0123", {"4155550123"}),
        ("0049 30 901820", {"030901820", "30901820"}),
        ("+49 (0)30 901820", {"030901820", "30901820"}),
        ("+39 06 69812345", {"0669812345"}),
        ("415-555-0123", set()),
        ("+999999999999", set()),
        ("call +1 415 555 0123", set()),
        ("", set()),
    ],
)
def test_spellings_in_the_own_country(text: str, spellings: set[str]) -> None:
    """With the trunk prefix, if the country has one, and without it."""
    assert set(national_spellings(text)) == spellings
