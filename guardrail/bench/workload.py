"""Policies and arguments for the measured calls.

Each call has new values. A value that a session has already seen costs less, because the session
remembers it and knows that it is clean.
"""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CALLERS",
    "CALLS_PER_SESSION",
    "CASES",
    "SMALL_POLICY",
    "Case",
    "by_session",
    "fresh",
    "medium_args",
    "medium_policy",
    "schema_of",
    "small_args",
]

CALLERS = 64
"""Number of concurrent callers in a measurement under load."""
CALLS_PER_SESSION = 50
"""Number of calls after which a measurement starts a new session."""

SMALL_POLICY = """package guardrail.policy
allow contains "declared" if input.resource.properties.declared == true
deny contains "amount" if {
  is_number(input.action.properties.args.amount)
  input.action.properties.args.amount > 1000
}
"""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


def fresh(make: Callable[[int], dict[str, Any]], count: int = 4_096) -> Iterator[dict[str, Any]]:
    """Cycle endlessly through *count* sets of arguments, which *make* creates in advance from their
    numbers. *count* exceeds the number of calls in a session and the size of the cache of clean
    texts.
    """
    return itertools.cycle([make(number) for number in range(count)])


def by_session(calls: int) -> Iterator[int]:
    """Yield the number of calls for each session, *calls* in total."""
    while calls > 0:
        yield min(calls, CALLS_PER_SESSION)
        calls -= CALLS_PER_SESSION


def small_args(number: int) -> dict[str, Any]:
    """Return arguments of about 200 bytes, without values that must be redacted."""
    some = random.Random(number)  # noqa: S311 - the same arguments in every run
    return {
        "order": 48_213 + number,
        "item": f"garden chair, {_random_word(some, 5)}",
        "note": f"leave it at the back door, the {_random_word(some, 4)} is broken and the dog is"
        " friendly but loud",
        "count": 2,
        "gift": False,
    }


def medium_args(number: int) -> dict[str, Any]:
    """Return arguments of about 1 KB, with ten values that must be redacted."""
    some = random.Random(number)  # noqa: S311 - the same arguments in every run
    first, last = _random_word(some, 7), _random_word(some, 8)
    born = dt.date(1940, 1, 1) + dt.timedelta(days=some.randrange(20_000))
    return {
        "customer": {
            "first_name": first.title(),
            "last_name": f"{last.title()}-{_random_word(some, 5).title()}",
            "email": f"{first}.{last}@example.com",
            "phone": f"+49 30 {_random_text(some, _DIGITS, 7)}",
            "date_of_birth": born.isoformat(),
            "address": {
                "street": f"{_random_word(some, 5).title()} Gasse {some.randrange(1, 99)}",
                "zip": _random_text(some, _DIGITS, 5),
                "city": _random_word(some, 6).title(),
            },
        },
        "payment": {
            "card_number": _card(some),
            "cvv": _random_text(some, _DIGITS, 3),
            "holder": f"{first[0].upper()} {last.title()}",
        },
        "api_key": _random_text(some, _LETTERS + _DIGITS, 32),
        "items": [
            {
                "sku": f"chair-{_random_word(some, 5)}-04",
                "count": 2,
                "note": f"the one with the {_random_word(some, 4)} back, as in the catalogue",
            },
            {
                "sku": f"table-{_random_word(some, 3)}-11",
                "count": 1,
                "note": f"unfinished {_random_word(some, 7)}, oil comes separately",
            },
        ],
        "comment": f"Please call before {_random_word(some, 4)}. "
        + "The gate is to the left of the blue house. " * 9,
        "amount_3": 640,
        "priority": "normal",
    }


def medium_policy() -> str:
    """Return a policy of about 145 lines: one allow rule, and typical deny rules."""
    parts = [
        "package guardrail.policy",
        'args := object.get(input.action.properties, "args", {})',
        (
            'allow contains {"rule": "declared", "message": "a declared tool"} if'
            " input.resource.properties.declared == true"
        ),
    ]
    parts += [
        f"""
deny contains {{"rule": "limit-{number}", "message": "over the limit", "severity": "high"}} if {{
	amount := object.get(args, "amount_{number}", 0)
	is_number(amount)
	amount > {1000 + number}
}}"""
        for number in range(28)
    ]
    return "\n".join(parts) + "\n"


def schema_of(value: Any) -> dict[str, Any]:
    """Return a JSON Schema that fits *value*."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: schema_of(item) for key, item in value.items()},
            "required": list(value),
        }
    if isinstance(value, list):
        return {"type": "array", "items": schema_of(value[0])}
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[type(value)]}


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of call to measure."""

    name: str
    policy: str
    """Text of the policy module."""
    make: Callable[[int], dict[str, Any]]
    """Creates the arguments for a call from the call's number."""


CASES = (
    Case("200 bytes, nothing to remove", SMALL_POLICY, small_args),
    Case("1 KB, ten removals", medium_policy(), medium_args),
)
"""A call with a few short arguments, and a call with ten values that the redactor removes."""


def _random_word(some: random.Random, size: int) -> str:
    return _random_text(some, _LETTERS, size)


def _random_text(some: random.Random, letters: str, size: int) -> str:
    return "".join(some.choices(letters, k=size))


def _card(some: random.Random) -> str:
    """Return a card number with a valid check digit (ISO/IEC 7812-1)."""
    digits = "4" + _random_text(some, _DIGITS, 14)
    total = sum(
        sum(divmod(2 * int(digit), 10)) if index % 2 == 0 else int(digit)
        for index, digit in enumerate(digits)
    )
    digits += str(-total % 10)
    return " ".join(digits[start : start + 4] for start in range(0, 16, 4))
