"""What detectors find, what they leave, and that no text makes them slow."""

from __future__ import annotations

import base64
import faulthandler
import sys
from collections.abc import Callable

import pytest

from guardrail.core.redaction.detectors.scan import JOINT, looks_random, scan, scan_secrets
from guardrail.core.redaction.marks import normalised
from tests.support.detectors import removed

# Built at run time, so that no secret scanner takes this file for a leak.
_PROVIDER_KEYS = [
    "AKIA" + "Q7" * 8,
    "AKIA" + "QWERTZUI" * 2,
    "ghp_" + "aB3" * 12,
    "github_pat_" + "aB3_" * 6,
    "glpat-" + "aB3-" * 5,
    "sk_" + "live_" + "aB3" * 8,
    "sk-" + "aB3" * 8,
    "xoxb-" + "123456789-" * 2 + "abc",
    "AIza" + "aB3" * 12,
    "SG." + "aB3" * 7 + "." + "aB3" * 14,
    "npm_" + "aB3" * 12,
    "pypi-" + "aB3" * 12,
    "dop_v1_" + "ab12" * 16,
    "hf_" + "aB3" * 11,
    "shpat_" + "ab12" * 8,
    "hvs." + "aB3" * 8,
    "NRAK-" + "AB3" * 9,
    "12345678:" + "aB3-" * 8 + "aB3",
    "ya29." + "aB3_" * 6,
]


@pytest.mark.parametrize("key", _PROVIDER_KEYS, ids=lambda key: key[:8])
@pytest.mark.parametrize(
    "around",
    ["{}", "use {} now", "key={}", '{{"x":"{}"}}', "https://example.com/?k={}", "({})", "{}\n"],
)
def test_a_provider_key_is_found_wherever_it_stands(key: str, around: str) -> None:
    """Keys with a provider's prefix go, whole, in any surroundings."""
    text = around.format(key)
    hits = scan_secrets(text)
    assert any(
        hit.start <= text.index(key) and hit.end >= text.index(key) + len(key) for hit in hits
    )


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password=hunter2", "hunter2"),
        ("password: hunter2", "hunter2"),
        ("the password is hunter2x", "hunter2x"),
        ('{"db_password": "hunter2"}', "hunter2"),
        ("{'apiKey': 'hunter2'}", "hunter2"),
        ("DB_PASS=hunter2;x", "hunter2"),
        ('password := "hunter2"', "hunter2"),
        ("client_secret => 'hunter2'", "hunter2"),
        ("Authorization: Bearer hunter2.abc", "Bearer hunter2.abc"),
        ("Cookie: sid=hunter2; theme=dark", "sid=hunter2; theme=dark"),
        ("X-Api-Key: hunter2", "hunter2"),
        ("send Bearer abcdef123456 with it", "abcdef123456"),
        ("https://alice:hunter2@example.com/x", "alice:hunter2"),
        ("postgres://u:p@ss@db.example:5432/x", "u:p@ss"),
        ("https://example.com/cb?access_token=hunter2&x=1", "hunter2"),
        ("https://example.com/cb#id_token=hunter2", "hunter2"),
        ("curl -u alice:hunter2 https://example.com", "alice:hunter2"),
        ("mysql --password hunter2 db", "hunter2"),
        ("mysql --db-password=hunter2 db", "hunter2"),
        ("vendor KEY 0123456789abcdefABCDEF0123456789", "0123456789abcdefABCDEF0123456789"),
        ("$2b$12$" + "R9h/cIPz0gi.URNNX3kh2O" * 2, "$2b$12$" + "R9h/cIPz0gi.URNNX3kh2O" * 2),
        (
            "https://hooks.example.com/services/T0AB12CD9/B0AB12CD9/x",
            "services/T0AB12CD9/B0AB12CD9/x",
        ),
        ("AccountKey=" + "aB3/" * 12 + "==", "aB3/" * 12 + "=="),
    ],
)
def test_a_secret_is_found_by_what_stands_before_it(text: str, secret: str) -> None:
    """Assignments, headers, URLs, command lines: the value goes, the name stays."""
    assert (secret, "secret") in removed(text)


def test_a_private_key_goes_whole_and_also_when_it_is_cut_off() -> None:
    """From its first line to its last, or to the end of the text."""
    head = "-----BEGIN " + "RSA PRIVATE KEY-----"
    body = "\n" + "abcd" * 16 + "\n"
    tail = "-----END " + "RSA PRIVATE KEY-----"
    assert removed(f"x {head}{body}{tail} y") == [(f"{head}{body}{tail}", "secret")]
    assert removed(f"x {head}{body}") == [(f"{head}{body}", "secret")]
    assert removed(f"{head}{body}{JOINT}after") == [(f"{head}{body}", "secret")]


def test_a_json_web_token_is_found() -> None:
    """Three parts, the first two JSON in base64."""
    text = "eyJ" + "hbGciOiJIUzI1NiJ9" + "." + "eyJ" + "zdWIiOiIxIn0" + "." + "c2lnbmF0dXJl"
    assert removed(f"jwt {text}") == [(text, "secret")]


@pytest.mark.parametrize(
    ("text", "found", "cls"),
    [
        ("write to bob.ohara+x@mail.example.co.uk.", "bob.ohara+x@mail.example.co.uk", "contact"),
        ("mailto:bob@example.com?subject=x", "bob@example.com", "contact"),
        ("pay with 4111 1111 1111 1111 please", "4111 1111 1111 1111", "payment"),
        ("pay with 4111-1111-1111-1111", "4111-1111-1111-1111", "payment"),
        ("pan 378282246310005.", "378282246310005", "payment"),
        ("to GB82 WEST 1234 5698 7654 32, today", "GB82 WEST 1234 5698 7654 32", "payment"),
        ("DE89370400440532013000", "DE89370400440532013000", "payment"),
        ("ssn 078-05-1120", "078-05-1120", "government_id"),
        ("call +49 30 1234567 now", "+49 30 1234567", "contact"),
        ("call (415) 555-2671", "(415) 555-2671", "contact"),
        ("call 415-555-2671", "415-555-2671", "contact"),
        ("{'first_name': 'Yara', 'n': 3}", "Yara", "name"),
        ("https://example.com/?last_name=Muller&x=1", "Muller", "name"),
    ],
)
def test_personal_data_is_found_by_its_shape(text: str, found: str, cls: str) -> None:
    """E-mail, cards, IBAN, social security and telephone numbers; named values in code and URLs."""
    assert (found, cls) in removed(text)


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog.",
        "550e8400-e29b-41d4-a716-446655440000",
        "d41d8cd98f00b204e9800998ecf8427e",
        "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
        "sha256:" + "ab12" * 16,
        "2024-05-15T10:00:00.123456Z",
        "2024-05-15 10:00:00 to 2024-05-16",
        "4111 1111 1111 1112",
        "GB82 WEST 1234 5698 7654 33",
        "000-12-3456 and 666-12-3456",
        "/usr/local/lib/python3.11/site-packages/numpy/core/__init__.py",
        "com.example.project.controllers.UserAccountController2",
        "image_8618240224293913315.jpg",
        "max_tokens=500 next_token: none primary_key=12 monkey: banana",
        "https://example.com/products/blue-shoes?page=2&sort=price",
        "git@github.com:example/project.git",
        "order 49117825 of 10000000000 items at 1,299.00",
        "latitude 37.774929, longitude -122.419416",
        "ProjectOverviewDraftForTheSecondQuarter",
        "Please send the token of appreciation to the passenger in the key seat.",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Prose, ids, digests, dates, paths and numbers that fail their checksum stay readable."""
    assert removed(text) == []


@pytest.mark.parametrize(
    "invisible", ["\u200b", "\u00ad", "\u2060", "\ufeff", "\u202e", "\ufe0f", "\x00"]
)
def test_invisible_characters_hide_nothing(invisible: str) -> None:
    """Characters without width are taken out before anything is looked for."""
    assert removed(normalised(invisible.join("bob@example.com"))) == [
        ("bob@example.com", "contact")
    ]


def test_full_width_characters_hide_nothing() -> None:
    """Compatibility forms count as the characters that they stand for."""
    assert removed(normalised("\uff14" + "\uff11" * 3 + (" " + "\uff11" * 4) * 3)) == [
        ("4111 1111 1111 1111", "payment")
    ]


def test_normalising_takes_out_every_format_character() -> None:
    """The table of invisible characters holds all of category Cf that this Python knows."""
    import unicodedata

    left = [
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) == "Cf" and normalised(chr(code)) != ""
    ]
    assert left == []


def test_own_marks_are_no_hits() -> None:
    """A mark is passed over, also as the value of something that says secret."""
    mark = "gr1:secret:-:" + "a2b3" * 6
    assert removed(f"password={mark} {mark} https://{mark}@example.com/?token={mark}") == []


@pytest.mark.parametrize(
    ("word", "random"),
    [
        ("3lyTWqHMt5UySny2drdPYheRTEzrNux8Cn5JWFHL", True),
        ("aB3dE5fG7hI9jK1lM3nO", True),
        ("thisIsAVeryLongCamelCaseIdentifier", False),
        ("some_long_snake_case_identifier_2024", False),
        ("11111111111111111111111111", False),
        ("svc_" + "0123456789abcdef" * 2, True),
    ],
)
def test_a_random_word_is_told_from_a_name(word: str, random: bool) -> None:
    """By how often letters, digits and case change."""
    assert looks_random(word) is random


_SIZE = 65_536
_ATTACKS = {
    "letters": "a",
    "digits": "1",
    "digit space": "1 ",
    "digit dash": "1-",
    "at": "@",
    "letter at": "a@",
    "dots": "a.",
    "equals": "=",
    "name equals": "key=",
    "colons": ":",
    "keywords": "password",
    "keyword space": "token ",
    "urls": "https://",
    "url userinfo": "://a:",
    "url at": "://a@",
    "begin": "-----BEGIN ",
    "begin key": "-----BEGIN PRIVATE KEY-----",
    "jwt": "eyJ",
    "jwt dots": "eyJa.",
    "quotes": "\"'",
    "quoted names": "'a':",
    "upper digits": "AA11",
    "upper digits space": "AA11 ",
    "plus": "+1",
    "parentheses": "(1",
    "slashes": "a1/",
    "prefixes": "sk_live_",
    "dollar": "$1$",
    "hooks": "://hook/",
    "dashes u": "-u ",
    "marks": "gr1:secret:-:",
    "blanks": " ",
    "key blanks": "key" + " " * 30,
    "backslashes": "\\",
    "escapes": "\\u0061",
    "percent": "%61",
    "basic": "basic ",
    "mixed": "aB3",
    "long names": "password_" * 9 + "=",
    "is": "pass is ",
}


@pytest.mark.parametrize("attack", _ATTACKS.values(), ids=_ATTACKS.keys())
def test_no_text_makes_detectors_slow(attack: str) -> None:
    """64 KiB of anything repeated, with a last character that fits nowhere, end: a pattern that
    backtracks would not.
    """
    faulthandler.dump_traceback_later(200, exit=True)
    try:
        for end in ("", "\n!", "@", "=", "x" * 70 + "!"):
            text = (attack * (_SIZE // len(attack) + 1))[:_SIZE] + end
            scan(text)
            normalised(text)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, bytes.hex])
def test_a_key_that_was_encoded_is_found(encode: Callable[[bytes], bytes | str]) -> None:
    """However random its encoded form looks: it is decoded."""
    key = "AKIA" + "P8IX4EA4Q9OM4894"
    for before in ("", "a ", "key="):
        made = encode(f"{before}{key}".encode())
        text = made if isinstance(made, str) else made.decode()
        if len(text) % 4 == 0:
            assert any(hit.cls == "secret" for hit in scan(text)), before


def test_encoded_text_that_is_no_key_is_none() -> None:
    """Bytes that are no text, text that holds no key, hexadecimal of an odd kind."""
    for text in (b"\xff\xfe" * 12, b"some ordinary words, that is all"):
        assert not any(hit.rule == "encoded-key" for hit in scan(base64.b64encode(text).decode()))
    assert not any(hit.rule == "encoded-key" for hit in scan("0x" + "ab" * 13))


_SIGNATURE = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"


@pytest.mark.parametrize(
    "url",
    [
        "https://b.s3.example.com/r.pdf?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={}",
        "https://storage.example.com/b/o?X-Goog-Date=20250101T000000Z&X-Goog-Signature={}&x=1",
        "https://b.oss.example.com/o?Expires=1700000000&Signature={}",
        "https://b.oss.example.com/o?x-oss-signature={}",
        "https://a.blob.example.net/c/f?sv=2022-11-02&sig={}&se=2030-01-01",
        "https://a.blob.example.net/c/f?sv=2022-11-02&amp;sig={}",
        "https://a.blob.example.net/c/f?sv=2022-11-02\\u0026sig={}",
        "X-Amz-Signature={}",
    ],
)
def test_the_signature_of_a_presigned_url_goes(url: str) -> None:
    """Whoever has it has the file: the four large clouds, and URLs in HTML and JSON."""
    assert (_SIGNATURE, "secret") in removed(url.format(_SIGNATURE))


@pytest.mark.parametrize(
    "text",
    [
        "Signature=" + _SIGNATURE,
        "https://example.com/?sig=none",
        "https://example.com/?sig=",
        "def f(signature=signature_of_the_document)",
    ],
)
def test_other_signatures_stay(text: str) -> None:
    """Of documents and functions, and values that are too short to be one."""
    assert removed(text) == []


@pytest.mark.parametrize(
    "name",
    ["passwort", "contraseña", "senha", "wachtwoord", "mot_de_passe", "Mot de passe ", "parola", "parola d'ordine", "hasło", "lösenord", "şifre", "Пароль", "密码", "密碼",
     "您的密码", "パスワード", "비밀번호", "passord", "κωδικός", "mật khẩu", "kata sandi",
     "clé secrète", "Clé d'API", "votre mot de passe", "chiave segreta", "klucz tajny", "token dostępu", "poświadczenia", "hemlig nyckel", "gizli anahtar", "секретный ключ", "кодовое слово",
     "秘密のキー", "API 키", "비밀 키", "시크릿"],
)  # fmt: skip
def test_a_password_is_found_by_its_name_in_many_languages(name: str) -> None:
    """Before a colon, with accents and without, in other scripts and full-width."""
    for colon in (":", ": ", "\uff1a"):
        found = removed(normalised(f"{name}{colon}Sommer2024x"))
        assert [(text.lstrip(":"), cls) for text, cls in found] == [("Sommer2024x", "secret")]


@pytest.mark.parametrize(
    "text",
    [
        "un mot de passage: la Loire2024",
        "press the API key: F12abc",
        "gizli bir yer: Ankara2024",
        "api: Loire2024",
    ],
)
def test_other_words_of_such_names_stay(text: str) -> None:
    """One word of them means nothing by itself."""
    assert removed(text) == []


def test_a_keyword_in_a_long_run_is_judged_by_its_beginning_and_goes_to_the_end() -> None:
    """The rest of a run is read once, not once for each keyword in it."""
    run = "aB3dE5fG-" * 200
    assert (run, "secret") in removed(f"token {run}")
    assert (run, "secret") in removed(f"token {run} and more")
