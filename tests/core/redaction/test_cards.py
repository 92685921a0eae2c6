"""Which numbers are card numbers, and which only fit the check digit."""

from __future__ import annotations

import random
import uuid

import pytest

from guardrail.core.redaction.detectors.scan import scan


def _cards(text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in scan(text) if "card" in hit.rule]


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("pay with 4111 1111 1111 1111.", "4111 1111 1111 1111"),
        ("1.4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("no.4111111111111111", "4111111111111111"),
        ("card...4111111111111111", "4111111111111111"),
        ("4111111111111111.0", "4111111111111111"),
        ("cc4111111111111111", "4111111111111111"),
        ("card-4111111111111111", "4111111111111111"),
        ("4111111111111111exp", "4111111111111111"),
        ("3782 822463 10005", "3782 822463 10005"),
        ("6212345678901234569", "6212345678901234569"),
        ("my card: 612345678901234566", "612345678901234566"),
    ],
)
def test_a_card_number_goes_whatever_touches_it(text: str, card: str) -> None:
    """Words, points and signs around it; groups; long numbers of networks that have them, or that
    are called cards.
    """
    assert _cards(text) == [card]


@pytest.mark.parametrize(
    "text",
    [
        "translate(0%, -0.5309136012499991%)",
        ".4111111111111111",
        "5123456789012346.75",
        "47223179-9330-4259-b66c-f2db26efb20c",
        "501ef2f8ba620569175030673170f24e38b218ba",
        "72f4302499005904",
        "00-d3a4fe6b9c6ca72dfe591c5b4b7cc496-8687010597710f94-01",
        "612345678901234566",
        "4123456789012345677",
    ],
)
def test_digits_of_other_numbers_are_no_card(text: str) -> None:
    """Decimals, UUIDs, digests, trace ids, ids of messages."""
    assert _cards(text) == []


def test_random_numbers_are_no_cards() -> None:
    """Of thousands of decimals, UUIDs, digests and ids, though every tenth fits the check digit."""
    drawn = random.Random(7)
    texts = []
    for _ in range(3_000):
        texts += [
            repr(drawn.random()),
            repr(drawn.random() * 10 ** drawn.randint(-9, 12)),
            str(uuid.UUID(int=drawn.getrandbits(128), version=4)),
            f"{drawn.getrandbits(160):040x}",
            f"{drawn.getrandbits(256):064X}",
            str(drawn.randint(10**17, 21 * 10**17)),
        ]
    assert [text for text in texts if _cards(text)] == []
