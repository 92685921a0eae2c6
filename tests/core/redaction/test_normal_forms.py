"""Spellings of one value have one normal form, and different values have different ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.redaction.key_names import CLASSES
from guardrail.core.redaction.marks import is_mark
from guardrail.core.redaction.normal_forms import NORMAL_FORM, needs_mark, normal_form
from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import REDACTOR

SAME = {
    "contact": (
        ("bob@example.com", " Bob@Example.COM ", "mailto:bob@example.com", "\uff42ob@example.com"),
        ("bu\u0308cher@example.com", "b\u00fccher@example.com", "B\u00dcCHER@example.com"),
        ("b\u200bob@example.org", "bob@example.org"),
        ("+49 30 123456-78", "+49 (0)30 123456-78", "004930 12345678", "tel:+49-30-123456\u201178"),
        ("+966 50 123 4567", "+\u0669\u0666\u0666 50 123 4567"),
    ),
    "payment": (
        ("DE89 3704 0044 0532 0130 00", "de89370400440532013000", "DE89-3704-0044-0532-0130-00"),
        ("4111 1111 1111 1111", "4111\u20111111\u20111111\u20111111", "4111111111111111"),
    ),
    "government_id": (("123-45-6789", "123 45 6789", "123456789"), ("X1234567Z", "x-1234567-z")),
    "name": (
        ("Zo\u00eb O'Brien", "ZOE\u0308  O\u2019BRIEN", " zo\u00eb o'brien\n"),
        ("\u03a3\u03a9\u039a\u03a1\u0391\u03a4\u0397\u03a3", "\u03c3\u03c9\u03ba\u03c1\u03b1\u03c4\u03b7\u03c2"),
    ),
    "address": (("12 Main Street", "12  main street"),),
    "dob": (("1980-05-17", " 1980-05-17"),),
}  # fmt: skip
"""Spellings of one value, by class."""

DIFFERENT = {
    "contact": (
        ("bob@example.com", "b.ob@example.com"),
        ("bob@example.com", "bob@example.co"),
        ("bob+a@example.com", "bob@example.com"),
        ("stra\u00dfe@example.de", "strasse@example.de"),
        ("030 12345678", "+49 30 12345678"),
        ("+49 30 12345678", "+4930 1234567"),
        ("001", "+1"),
    ),
    "payment": (("j.doe@bank", "jdoe@bank"), ("4111111111111111", "4111111111111112")),
    "name": (("Strau\u00df", "Strauss"), ("Anne Marie", "Annemarie"), ("Ng", "\u00d1g")),
    "person_id": (("Bob", "bob"),),
    "opaque": (("aB3", "ab3"),),
    "dob": (("1980-05-06", "1980-06-05"),),
}
"""Pairs of values that look alike, by class."""


@pytest.mark.parametrize("cls", SAME)
def test_spellings_of_one_value_are_equal(cls: str) -> None:
    """Case, width, separators and invisible characters do not matter where they can't matter."""
    for spellings in SAME[cls]:
        assert len({normal_form(NORMAL_FORM, cls, each) for each in spellings}) == 1, spellings


@pytest.mark.parametrize("cls", DIFFERENT)
def test_values_that_look_alike_are_not_merged(cls: str) -> None:
    """In no version."""
    for one, other in DIFFERENT[cls]:
        assert normal_form(NORMAL_FORM, cls, one) != normal_form(NORMAL_FORM, cls, other)


@given(st.sampled_from(CLASSES), st.text(max_size=40), st.sampled_from([1, 2]))
def test_a_normal_form_is_its_own_normal_form(cls: str, value: str, version: int) -> None:
    """Otherwise, whether two values are equal would depend on how often they were recorded."""
    once = normal_form(version, cls, value)
    assert normal_form(version, cls, once) == once


def test_the_first_version_is_the_one_of_existing_ledgers() -> None:
    """Their tokens must be found, so it never changes."""
    assert normal_form(1, "contact", " Bob@X.org") == "bob@x.org"
    assert normal_form(1, "contact", "+49 (0)30/12-3.4") == "+490301234"
    assert normal_form(1, "payment", "de89 3704.j@x") == "DE893704J@X"
    assert normal_form(1, "name", " Bob ") == " Bob "


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        ("secret", "hunter22"),
        ("pin", "a long pin"),
        ("otp", "837219"),
        ("one_time_code", "837219"),
        ("cvv", "123"),
        ("payment", "123"),
        ("payment", " 4242 "),
        ("payment", "42 42"),
        ("text", "1 - 2 - 3 - 4"),
        ("government_id", "\uff11\uff12\uff13\uff14"),
    ],
)
def test_what_can_be_guessed_gets_a_random_mark(cls: str, value: str) -> None:
    """Under any class that a schema gives it."""
    assert needs_mark(cls, value)
    schema = {"properties": {"x": {"type": "string", "x-guardrail": {"class": cls}}}}
    marks = [
        REDACTOR.value({"x": value}, Memory(), schema).value["x"]  # type: ignore[index]
        for _ in range(2)
    ]
    assert all(map(is_mark, marks))
    assert marks[0] != marks[1]
    assert marks[0].split(":")[2] == "-"


@pytest.mark.parametrize(
    ("cls", "value"), [("payment", "41111"), ("person_id", "1234"), ("address", "8001")]
)
def test_ids_and_places_keep_their_tokens(cls: str, value: str) -> None:
    """A short id is not a secret: reviewers must be able to follow it."""
    assert not needs_mark(cls, value)


def test_addresses_of_different_hosts_have_different_forms() -> None:
    """Their separators are a part of the value, unlike those of an IMEI."""
    assert len({normal_form(2, "device", each) for each in ("10.1.1.11", "10.1.11.1")}) == 2
    assert normal_form(2, "device", "49-015420-323751-8") == "490154203237518"
