"""Where a detector's hit begins and ends, and what it takes for none."""

from __future__ import annotations

import base64

import pytest

from guardrail.core.redaction.detectors.scan import looks_random, looks_secret, scan, scan_secrets
from tests.support.detectors import removed

_MARK = "gr1:secret:-:" + "a2b3" * 6


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("password: Bearer hunter2.abc", ("Bearer hunter2.abc", "secret")),
        ("token = Basic 'aGk6aGk'", ("Basic 'aGk6aGk", "secret")),
        ("password: bearer ,", ("bearer", "secret")),
        ("token: bearer abcdefgh", ("bearer abcdefgh", "secret")),
        ("password=foobar12", ("foobar12", "secret")),
        ("password=b'foobar12'", ("foobar12", "secret")),
        ("password = basic", ("basic", "secret")),
        ("password: see", ("see", "secret")),
        ("パスワード: hunter two", ("hunter", "secret")),
        ("auth: basic YWxh", ("basic YWxh", "secret")),
        ("password: hunter two", ("hunter", "secret")),
        ("token: hunter2 two", ("hunter2", "secret")),
        ('if password == "hunter"', ("hunter", "secret")),
        ('if token == "hunter2"', ("hunter2", "secret")),
        ("PASSWORD = N'hunter two'", ("hunter two", "secret")),
        ("SET PASSWORD FOR 'a'@'%' = 'hunter'", ("hunter", "secret")),
        ("password=see below", ("see", "secret")),
        ("connect(password=hunter)", ("hunter", "secret")),
        ("password: see/below1", ("see/below1", "secret")),
        ("acme_key: 123456789012345", ("123456789012345", "secret")),
        ("İİ the password is hunter2x", ("hunter2x", "secret")),
        ("İ vendor KEY 0123456789abcdefABCDEF", ("0123456789abcdefABCDEF", "secret")),
        ("**bob@example.com**", ("bob@example.com", "contact")),
        ("'bob@example.com'", ("bob@example.com", "contact")),
        ("mail bob@example.com- now", ("bob@example.com", "contact")),
        ("mail bob@example.com_- now", ("bob@example.com", "contact")),
        ("x=bob@example.com", ("bob@example.com", "contact")),
    ],
)  # fmt: skip
def test_a_hit_is_what_belongs_to_the_value(text: str, found: tuple[str, str]) -> None:
    """Schemes before it, quotes and dashes around it, letters that change their length in lower
    case.
    """
    assert found in removed(text)


@pytest.mark.parametrize(
    "text",
    [
        "Cookie:", "Authorization: ", "Set-Cookie:\nnext line", "password: none", "password = ---", "{'email': 'none'}", "https://example.com/?email=null&x=1",
        "acme_key: 12345678901234", "+12345678901234567890123", "2000 0000 0000 0000", "9999 9999 9999 9999", "AB12 3456 7890", "4444 4444 4444 4444", "api_key: ",
        "bob@12", "a:b", "x://y", "sha_" + "0123456789abcdef" * 2, "the secret", "auth: user alice logged in", "invalid token: unexpected ',' at 3", "pam_unix(sudo:auth): authentication failure", "auth: bearer", "--from-file=password=./pw.txt",
        "UPDATE u SET password = :password", "token: see below", "Password: ask your admin", "- password: the one from the letter",
    ],
)  # fmt: skip
def test_what_is_no_value_is_left(text: str) -> None:
    """Empty headers, placeholders, and numbers of the wrong length."""
    assert removed(text) == []


def test_a_private_key_in_base64_goes_whole() -> None:
    """As configuration files hold it."""
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "abcd" * 16
    text = base64.b64encode(key.encode()).decode()
    assert text.startswith("LS0tLS1CRUdJTi")
    assert (text, "secret") in removed(f"see {text}")


_PUTTY = "PuTTY-User-Key-File-3: ssh-rsa\nPublic-Lines: 1\nAAAA\nPrivate-" + "Lines: 2\nQz7\nQz7\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (_PUTTY + "Private-MAC: 0123abcd\nafter", _PUTTY.partition("Private")[0] + "#\nafter"),
        ((_PUTTY + "Private-MAC: 01\nx").replace("\n", "\\n"), _PUTTY.partition("Private")[0].replace("\n", "\\n") + "#\\nx"),
        (_PUTTY, _PUTTY.partition("Private")[0] + "#"),
        ("---- BEGIN SSH2 ENCRYPTED " + "PRIVATE KEY ----\nComment: x\nQz7\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\nx", "#\nx"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----"),
        ("Private-Lines: of a play", "Private-Lines: of a play"),
    ],
)  # fmt: skip
def test_private_keys_of_other_forms_go_whole(text: str, left: str) -> None:
    """PuTTY's, also cut off or as JSON writes it, and SSH2's; public parts stay."""
    for hit in reversed(scan(text)):
        text = text[: hit.start] + "#" + text[hit.end :]
    assert text == left


def test_hexadecimal_pieces_are_no_random_words() -> None:
    """Digests joined by dashes are digests; one more kind of piece decides otherwise."""
    assert not looks_random("d41d8cd98f00b204-e9800998ecf8427e")
    assert not looks_random("d41d8cd98f00b204e9800998ecf8427e_x")
    assert looks_random("aB3dE5fG7hI9jK1l-d41d8cd98f00b204")


def test_a_number_is_secret_only_when_it_is_long() -> None:
    """After a name that only hints: counts and dates are shorter."""
    assert looks_secret("123456789012345")
    assert not looks_secret("12345678901234")
    assert not looks_secret("111111111111111")


def test_own_marks_are_passed_over_and_what_follows_is_not() -> None:
    """Both searches, and a text that is nothing but too short."""
    key = "AKIA" + "Q7" * 8
    assert scan_secrets(f"password={_MARK} {key}") == scan(f"password={_MARK} {key}")
    assert [hit.cls for hit in scan_secrets(f"{_MARK} {key}")] == ["secret"]
    assert scan_secrets(_MARK) == []
    assert scan_secrets("k=1") == scan("k=1") == []
    assert scan_secrets("bob@example.com") == []
