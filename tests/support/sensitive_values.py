"""Invented sensitive values of many classes, and the forms in which a call may contain them.

All values are made at run time from a seed. None belongs to a person or opens anything.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

__all__ = ["CLASSES", "FORMS", "Form", "ValueClass", "is_gone"]

_LETTERS = string.ascii_letters + string.digits
_FIRST = [
    "Ana",
    "Ludovic",
    "Siobhan",
    "Takeshi",
    "Priya",
    "Mateusz",
    "Oluwaseun",
    "Ingrid",
    "Farouk",
    "Chiara",
]
_LAST = [
    "Ruiz",
    "Marchetti",
    "O'Sullivan",
    "Watanabe",
    "Krishnan",
    "Kowalczyk",
    "Adeyemi",
    "Bergqvist",
    "Haddad",
]
_STREETS = ("Elm Street", "Harbour Road", "Old Mill Lane", "Station Avenue", "Cedar Drive")


@dataclass(frozen=True, slots=True)
class ValueClass:
    """One kind of sensitive value."""

    title: str
    name: str
    """A usual name of a field for it."""
    words: str
    """What prose calls it."""
    make: Callable[[random.Random], str]
    """Makes a value."""


def _text(rng: random.Random, size: int, of: str = _LETTERS) -> str:
    return "".join(rng.choice(of) for _ in range(size))


def _digits(rng: random.Random, size: int) -> str:
    return str(rng.randint(1, 9)) + _text(rng, size - 1, string.digits)


def _card(rng: random.Random) -> str:
    body = rng.choice(["4", "51", "55"])
    body += _text(rng, 15 - len(body), string.digits)
    total = sum(
        digit if index % 2 else sum(divmod(2 * digit, 10))
        for index, digit in enumerate(map(int, body))
    )
    return body + str(-total % 10)


def _iban(rng: random.Random) -> str:
    account = _text(rng, 18, string.digits)
    number = int(f"{account}131400")  # DE as digits, and 00
    return f"DE{98 - number % 97:02d}{account}"


def _jwt(rng: random.Random) -> str:
    def part(value: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    head = part({"alg": "ES256", "typ": "JWT"})
    body = part({"sub": _text(rng, 8), "exp": 1_900_000_000, "scope": "read"})
    return f"{head}.{body}.{_text(rng, 86)}"


def _email(rng: random.Random) -> str:
    return f"{rng.choice(_FIRST).lower()}.{_text(rng, 5, string.ascii_lowercase)}@example.org"


def _phone(rng: random.Random) -> str:
    return f"+44 20 {_digits(rng, 4)} {_digits(rng, 4)}"


def _ssn(rng: random.Random) -> str:
    return f"{rng.randint(101, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"


def _password(rng: random.Random) -> str:
    return _text(rng, 6) + rng.choice("!%+?") + _text(rng, 4) + _digits(rng, 2)


def _name(rng: random.Random) -> str:
    return f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"


def _address(rng: random.Random) -> str:
    return f"{rng.randint(2, 980)} {rng.choice(_STREETS)}"


def _born(rng: random.Random) -> str:
    return f"19{rng.randint(40, 99)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _ip(rng: random.Random) -> str:
    return ".".join(str(rng.randint(11, 240)) for _ in range(4))


CLASSES: tuple[ValueClass, ...] = (
    ValueClass("provider key", "api_key", "API key", lambda rng: "sk_live_" + _text(rng, 24)),
    ValueClass("web token", "access_token", "access token", _jwt),
    ValueClass("random key", "secret_key", "secret key", lambda rng: _text(rng, 32)),
    ValueClass("password", "password", "password", _password),
    ValueClass("card", "card_number", "card number", _card),
    ValueClass("IBAN", "iban", "IBAN", _iban),
    ValueClass("e-mail", "email", "e-mail address", _email),
    ValueClass("phone", "phone", "phone number", _phone),
    ValueClass("US SSN", "ssn", "SSN", _ssn),
    ValueClass("account", "account_number", "account number", lambda rng: _digits(rng, 10)),
    ValueClass("IP", "ip_address", "IP address", _ip),
    ValueClass("name", "customer_name", "name", _name),
    ValueClass("address", "street_address", "address", _address),
    ValueClass("birth date", "date_of_birth", "date of birth", _born),
)


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a call may contain a value."""

    title: str
    args: Callable[[ValueClass, str], dict[str, Any]]
    """Makes the arguments of the call."""
    hidden: Callable[[ValueClass, str], str] = lambda _, value: value
    """Returns the text that must not be recorded."""


def _labelled(cls: ValueClass, value: str) -> str:
    return f"{cls.name}={value}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _split(value: str) -> str:
    """Return *value* with an invisible character after each three characters."""
    return "\u200b".join(value[at : at + 3] for at in range(0, len(value), 3))


FORMS: tuple[Form, ...] = (
    Form("field with its name", lambda cls, value: {"user": {cls.name: value}}),
    Form("field with an unrelated name", lambda _, value: {"field_7": value}),
    Form(
        "JSON in a string",
        lambda cls, value: {"body": json.dumps({"data": [{cls.name: value}]})},
        lambda _, value: json.dumps(value)[1:-1],
    ),
    Form("neighbouring name", lambda cls, value: {"rows": [{"name": cls.name, "value": value}]}),
    Form(
        "URL, user info",
        lambda _, value: {"target": f"https://deploy:{quote(value, safe='')}@db.example.org/x"},
        lambda _, value: quote(value, safe=""),
    ),
    Form(
        "URL, query",
        lambda cls, value: {"target": f"https://example.org/x?{cls.name}={quote(value, safe='')}"},
        lambda _, value: quote(value, safe=""),
    ),
    Form(
        "header",
        lambda cls, value: {
            "text": f"X-{cls.name.replace('_', '-').title()}: {value}\nAccept: */*"
        },
    ),
    Form(
        "command-line option",
        lambda cls, value: {"command": f"tool --{cls.name.replace('_', '-')} '{value}' --verbose"},
    ),
    Form("environment", lambda cls, value: {"script": f"export {cls.name.upper()}='{value}'"}),
    Form("error message", lambda cls, value: {"log": f"ValueError: invalid {cls.name}: '{value}'"}),
    Form(
        "prose that names it",
        lambda cls, value: {"text": f"Hello, my {cls.words} is {value}. Thank you."},
    ),
    Form("prose that does not", lambda _, value: {"text": f"Please use {value} for this."}),
    Form(
        "base64 of an assignment",
        lambda cls, value: {"data": _base64(_labelled(cls, value))},
        lambda cls, value: _base64(_labelled(cls, value)),
    ),
    Form(
        "hex of an assignment",
        lambda cls, value: {"data": _labelled(cls, value).encode().hex()},
        lambda cls, value: _labelled(cls, value).encode().hex(),
    ),
    Form(
        "field, with invisible characters",
        lambda cls, value: {cls.name: _split(value)},
        lambda _, value: value,
    ),
    Form(
        "prose, with invisible characters",
        lambda cls, value: {"text": f"The {cls.words} is {_split(value)}."},
        lambda _, value: value,
    ),
    Form(
        "split over two arguments",
        lambda _, value: {"head": value[: len(value) // 2], "tail": value[len(value) // 2 :]},
        lambda _, value: value,
    ),
)


def is_gone(hidden: str, recorded: object) -> bool:
    """Return True if *recorded* does not contain *hidden*: in no key or string, with or without
    invisible characters, and not if all strings are joined.
    """
    strings = [each.replace("\u200b", "") for each in _strings(recorded)]
    return hidden not in "".join(strings) and hidden not in json.dumps(recorded)


def _strings(value: object) -> list[str]:
    members = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        return [each for member in members for each in _strings(member)]
    return [value if isinstance(value, str) else json.dumps(value)]
