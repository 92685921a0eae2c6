"""A label that stands alone identifies the secret after it, and a secret goes to its real end."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.detectors.scan import scan
from tests.support.detectors import without_secrets

SIGNS = "&,;<>(){}[]|'\"`!@#$%^*~?/+"


@pytest.mark.parametrize(
    "text",
    [
        "**Password:** Q7z&kx-9p", "- **API Key**: `Q7z&kx-9p`", "*Passwort*: Q7z&kx-9p", "**Mot de passe :** Q7z&kx-9p\nA", "| Password | `Q7z&kx-9p` |\n| User | bob |", "User | bob\nPassword | Q7z&kx-9p",
        "Password \u2192 Q7z&kx-9p", "Password - Q7z&kx-9p\r\nBye", "Password:\nQ7z&kx-9p", "Password:\r\n\r\n    Q7z&kx-9p\r\nBye", "Your new password is:\n> Q7z&kx-9p", "Kennwort:\nQ7z&kx-9p", "password:\n    - Q7z&kx-9p",
        "Password\n========\nQ7z&kx-9p", "API key:\nQ7z&kx-9p",
    ],
)  # fmt: skip
def test_a_value_goes_by_the_label_before_it(text: str) -> None:
    """In Markdown, in a cell, after a dash, and in the next lines; everything else stays."""
    assert without_secrets(text) == text.replace("Q7z&kx-9p", "#")


@pytest.mark.parametrize(
    "text",
    [
        "| password | varchar(255) |", "| Tokens | 4,096 |", "**Tokens:** 4,096", "secrets:\n  - db_password_1\n", "password:\n  type: string\n", "password:\n  type:string9x\n", "Password:\nrequired", "**Token**: `${TOKEN}`",
        "Password reset - PR-1234-x9z&kx", "Primary key:\n550e8400-e29b-41d4-a716-446655440000", "Password - https://h.example/x9z&kx7", "keys - values",
    ],
)  # fmt: skip
def test_other_things_after_a_label_stay(text: str) -> None:
    """Types, counts, names, references, addresses, and values with other labels."""
    assert without_secrets(text) == text


def test_a_token_in_the_path_of_a_bot_goes() -> None:
    """The word before it is no part of it, but has no boundary either."""
    text = f"https://api.telegram.org/bot5912345678:{'Qz7x_' * 7}/getMe"
    assert "Qz7x" not in without_secrets(text)


@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_does_not_end_a_password(sign: str) -> None:
    """Without quotes, and in other quotes than the sign."""
    value = f"Qz7x{sign}kx9Z"
    for form in ("password: {}", "password={} ok", "DB_PASSWORD={}\nA=1", "X-Api-Key: {}"):
        assert without_secrets(form.format(value)) == form.format("#")
    for quote in "'\"":
        if sign != quote:
            left = f"x {{{quote}password{quote}: {quote}#{quote}, 1}}"
            assert without_secrets(left.replace("#", value)) == left
    escaped = '{\\"password\\": \\"#\\", \\"a\\": 1}'
    if sign != '"':
        assert without_secrets(escaped.replace("#", value)) == escaped


@pytest.mark.parametrize(
    "text",
    [
        "password=#&user=bob", "(password: #)", "{password: #}", "f(password=#, user)", "<b>password: #</b>", "password: #<br>next", "password=#; ls -l", "password=#;ls -l", "password=#&&curl x", "password=#|grep x", "password=#, user: bob",
        "Server=a;Password=#;Encrypt=yes", '["password=#","user"]', "'password=#','user'", 'sh -c "mysql --password=#"', 'x = {\\"password\\": \\"#\\", \\"user\\": 1}',
    ],
)  # fmt: skip
def test_the_syntax_around_a_password_stays(text: str) -> None:
    """Parameters, brackets, tags, commands and quotes."""
    assert without_secrets(text.replace("#", "Qz7xkx9Z")) == text


@pytest.mark.parametrize(
    "text",
    [
        "# 123", "# 12/29 123", "20.50 #", "# 20.50", "2026-01-01 # 20.50", "50 #", "pay with # 999 please",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "card", ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "3782 822463 10005"]
)
def test_a_card_number_goes_from_between_other_numbers(text: str, card: str) -> None:
    """A check code, a date or an amount next to it."""
    written = text.replace("#", card)
    assert card in [written[hit.start : hit.end] for hit in scan(written) if "card" in hit.rule]
