"""A known value is recognised in every encoding, whichever reading brings it up."""

from __future__ import annotations

import base64
import html
import json
import quopri
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.redaction.decodings import decodings
from guardrail.core.redaction.scan import scan_all
from guardrail.core.redaction.session_memory import Memory


def _lines(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


ENCODINGS: dict[str, Callable[[str], str]] = {
    "encodeURI": lambda text: quote(text, safe="~@#$&()*!+=:;,.?/'"),
    "encodeURIComponent": lambda text: quote(text, safe="!'()*"),
    "path segment": lambda text: quote(text, safe="!$&'()*+,;=:@"),
    "form": quote_plus,
    "quoted in small letters": lambda text: "".join(f"%{one:02x}" for one in text.encode()),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with capitals": lambda text: "".join(f"\\u{ord(one):04X}" for one in text),
    "\\x": lambda text: "".join(f"\\x{ord(one):02X}" for one in text),
    "octets": lambda text: repr(text.encode())[2:-1],
    "octal octets": lambda text: "".join(f"\\{one:03o}" for one in text.encode()),
    "\\u{}": lambda text: "".join(f"\\u{{{ord(one):x}}}" for one in text),
    "\\U": lambda text: "".join(f"\\U{ord(one):08x}" for one in text),
    "octal": lambda text: "".join(f"\\{ord(one):03o}" for one in text),
    "%u": lambda text: "".join(f"%u{ord(one):04x}" for one in text),
    "HTML": html.escape,
    "decimal entities": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "entities without semicolons": lambda text: "".join(f"&#{ord(one):06}" for one in text),
    "hex entities": lambda text: "".join(f"&#X{ord(one):X};" for one in text),
    "quoted-printable": lambda text: quopri.encodestring(text.encode(), quotetabs=True).decode(),
    "soft breaks": lambda text: "=3D".join("=\n".join(_lines(part, 4)) for part in text.split("=")),
    "hex": lambda text: text.encode().hex(),
    "hex in capitals": lambda text: text.encode().hex().upper(),
    "hex in both": lambda text: "".join(
        one.upper() if at % 3 else one for at, one in enumerate(text.encode().hex())
    ),
    "hex with colons": lambda text: text.encode().hex(":"),
    "hex with dashes": lambda text: text.encode().hex("-").upper(),
    "hex with blanks": lambda text: text.encode().hex(" ", 2),
    "hex in lines": lambda text: text.encode().hex("\n", 4),
    "C array": lambda text: ", ".join(f"0x{one:02X}" for one in text.encode()),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "URL-safe": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: "\r\n".join(
        _lines(base64.b64encode(text.encode()).decode(), 12)
    ),
}
SIGNS = "+/=%&'\"\\<>;:!#~@?"
SECRETS = st.builds(
    lambda rest, sign, at: f"{rest[:at]}{sign}{rest[at:]}x9Kp7Lm2Qw",
    st.text("abcXYZ0189" + SIGNS, min_size=4, max_size=12),
    st.sampled_from(SIGNS),
    st.integers(0, 4),
)


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_secret_is_known_in_each_encoding(encode: Callable[[str], str]) -> None:
    """Also if it is a part of a longer text."""
    memory = Memory()
    memory.remember("ab=+x9Kp7Lm2Qw", "secret")
    assert memory.knows(f"see https://x.example/{encode('ab=+x9Kp7Lm2Qw')}/end") == "secret"


@given(SECRETS, st.sampled_from(sorted(ENCODINGS)), st.sampled_from(sorted(ENCODINGS)))
def test_a_secret_is_known_in_each_encoding_and_in_one_upon_another(
    secret: str, one: str, other: str
) -> None:
    """Whatever signs it holds, and whichever of two readings is meant."""
    memory = Memory()
    memory.remember(secret, "secret")
    once = ENCODINGS[one](secret)
    assert memory.knows(f"see https://x.example/{once}/end") == "secret", (one, once)
    upon = {"base64", "base64 without padding", "URL-safe", "base64 in lines"}
    if "hex" not in other and other not in {*upon, "C array"}:
        twice = ENCODINGS[other](once)
        assert memory.knows(f"({twice})") == "secret", (one, other, twice)


@given(
    SECRETS,
    st.sampled_from(sorted(ENCODINGS)),
    st.permutations(["plain", "encoded", "both", "neither"]),
    st.integers(1, 4),
)
def test_an_encoded_secret_goes_whatever_stands_next_to_it(
    secret: str, how: str, order: list[str], count: int
) -> None:
    """Also if the secret itself stands in the same text or in another one of the call, and no other
    text goes.
    """
    memory = Memory()
    memory.remember(secret, "secret")
    encoded = ENCODINGS[how](secret)
    made = {
        "plain": f"see ({secret}) here",
        "encoded": f"see ({encoded}) here",
        "both": f"first ({encoded}), then ({secret})",
        "neither": "good morning",
    }
    chosen = order[:count]
    texts = [made[name] for name in chosen]
    for name, text, hits in zip(chosen, texts, scan_all(texts, memory), strict=True):
        if name == "neither":
            assert not hits, (how, texts)
            continue
        parts, end = [], 0
        for hit in hits:
            parts.append(text[end : hit.start])
            end = hit.end
        left = "\x00".join([*parts, text[end:]])
        assert memory.knows(left) is None, (how, chosen, left)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a+b%22", 'a+b"'),
        ("a+b%22", 'a b"'),
        ("a+b", "a b"),
        ("caf%E9", "café"),
        ("b'caf\\xc3\\xa9'", "b'café'"),
        ("caf\\303\\251", "café"),
        ("\\UFFFFFFFF", "\\UFFFFFFFF"),
        ("\\n\\/", "\n/"),
        ("=41%41", "A%41"),
        ("61:62:63:64:65:66", "616263646566"),
        ("\\ud83d\\ude00", "\U0001f600"),
    ],
)
def test_both_readings_are_there(text: str, plain: str) -> None:
    """A plus sign or a blank, UTF-8 or Latin-1; what names no character stays."""
    assert plain in {text, *decodings(text, lambda _: None)}


def test_each_reading_comes_once() -> None:
    """A text that is written as it is searched is not searched again."""
    assert list(decodings("0123456789abcdef", lambda _: None)) == []
    assert list(decodings("plain words, and\nmore of them", lambda _: None)) == []
    twice = "0x0123456789AB, 0xCDEF\\"
    assert list(decodings(twice, lambda _: None)) == ["0123456789abcdef"]
    assert list(decodings("abcdefghi\njkl", lambda _: None)) == ["abcdefghijkl"]
    assert list(decodings("a%20b+c", lambda _: None)) == ["a b+c", "a b c"]


def test_the_work_is_counted_and_grows_with_the_text_alone() -> None:
    """Text made of escapes of every kind ends."""
    work: list[int] = []
    text = "%2525\\\\\\\\&amp;amp;=3D=3D+" * 400
    found = list(decodings(text, work.append))
    assert len(found) < 600
    assert sum(work) < 600 * len(text)
