"""Which values a session may recognise anywhere, and which would be found by chance."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.improbable import improbable
from guardrail.core.redaction.session_memory import BLANK, Memory

_ORDINARY = [
    # words, in any script
    "recipient", "string", "required", "Fernandez", "Übergrößenträger", "пользователь", "authentication",
    "internationalization", "strengths",
    # identifiers
    "transfer_money", "small-payments", "read-only", "getUserAccountName", "getHTTPServerByName", "x-amz-Meta-Owner2", "EXAMPLE_CONSTANT", "OrderStatus.OPEN", "os.environ",
    "get_token()", "var.db_password", "Content-Type", "X-Api-Key", "sha256", "base64", "utf-8", "en_US.UTF-8", "us-east-1",
    "gpt-4o-mini", "ubuntu-22.04", "k8s-prod", "x86_64", "oauth2-client-id", "order-12345", "report2024", "hunter2",
    "application/json", "approve-refund-over-500", "h264x", "abcabcabc",
    # paths and addresses of pages
    "/var/log/app", "users/42", "C:\\Users\\bob", "https://shop.example.com/orders/1734567", "README.md",
    # numbers, dates, versions
    "1234567", "1765432198765432109", "12.50", "1e1000", "12 EUR", "192.168.0.1", "v1.2.3", "2024-01-01", "2024-01-01T10:00:00Z",
    "24.12.2024", "10:30:00", "1,000,000", "backup-20240131",
    # code and prose
    "list[str]", "$TOKEN", "--verbose", "status=open", "q?id=55", "only to ACME", "Invalid API key", "hello world", "Hello, world!",
    # too short, blank, blanks around what is said by chance
    "", "short", "x", "      ", "     x    ", " amount", " from ", "  12  ", "-----", "___---___",
]  # fmt: skip
_TELLING = [
    "hunter2!", "Sommer2024", "Tr0ub4dor&3", "p4ss$word", "plainword!secret", "hunter2-and-more", "AB12-CD34-EF56", "k7Xp9QzW2",
    "aBcDeFgHiJkL", "qwxzrtplkjhgf", "getQwxzrtplkjhgfValue", "abcdefghijklmnopqrstuvwxyz", "αβγδεζηθικλμνξοπρστυφχψω",
    "550e8400-e29b-41d4-a716-446655440000", "d41d8cd98f00b204e9800998ecf8427e", "DE89370400440532013000",
    "alice@example.com", "4111111111111111", "4111 1111 1111 1111", "+49 30 12345678", "123-45-6789",
    "1" * 12 + "2345678901234", "credit_card_4421486", "Maria Fernandez", "the quick brown fox jumps", "Zürich-Geheim",
    "wait...for-it-99", "  ab12 ", "12%34#56", "3hcMNWcyTLvJ", "Zx9&kQ72-mmP", "t3#mijVoFcFO", "q9Lp/Zx4+kKm",
]  # fmt: skip


@pytest.mark.parametrize("value", _ORDINARY)
def test_what_turns_up_by_chance_is_not_remembered(value: str) -> None:
    """Words, identifiers, paths, numbers, dates: whoever could have them remembered could strike
    them from the record.
    """
    memory = Memory()
    memory.remember(value, "secret")
    assert not improbable(value)
    assert len(memory) == 0


@pytest.mark.parametrize("value", _TELLING)
def test_what_hardly_turns_up_by_chance_is_remembered(value: str) -> None:
    """Passwords, numbers of cards and people, addresses, names in full, sentences."""
    memory = Memory()
    memory.remember(value, "secret")
    assert memory.knows(f"a ({value}) b") == "secret"


def test_a_blank_memory_accepts_nothing() -> None:
    """It stands for no session: what host and policy supplied is cleaned with it."""
    BLANK.remember("Tr0ub4dor&3", "secret")
    assert len(BLANK) == 0
    assert BLANK.knows("Tr0ub4dor&3") is None
