"""Ids as a reader sees them: one person can't look like two, and nobody is made of nothing."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.folding import folded

BLANKS = "\u2800\u3164\u115f\u1160\uffa0\U0001d159\U00016fe4\u034f\u0345\ufffc\u0640\U00013441"


def _points(*categories: str) -> list[str]:
    every = map(chr, range(sys.maxunicode + 1))
    return [one for one in every if unicodedata.category(one)[0] in categories]


def test_no_character_that_draws_nothing_makes_another_person() -> None:
    """All control, format, private, unassigned and separating characters there are, and the blank
    glyphs.
    """
    points = [*_points("C", "Z"), *BLANKS]
    for start in range(0, len(points), 1000):
        some = "".join(points[start : start + 1000])
        assert folded(f"ali{some}ce{some}") == "alice"
        assert folded(some) == ""


def test_a_mark_on_a_digit_or_sign_is_decoration() -> None:
    """Only letters take marks that make another letter."""
    assert folded("7\u0307-\u0301a") == "7-a"


def test_no_combining_mark_makes_another_person() -> None:
    """Every mark there is, unless it makes a letter of its own with the one before it, as accents
    do.
    """
    for mark in _points("M"):
        if unicodedata.normalize("NFC", f"e{mark}")[0] != "e":
            assert folded(f"alice{mark}") != "alice"
        else:
            assert folded(f"alice{mark}") == folded(f"ALICE{mark}{mark}") == "alice", ascii(mark)
        assert folded(f"{mark}") == ""


@pytest.mark.parametrize(
    "name",
    [
        "\u0928\u093f\u0924\u093f\u0928",
        "\u0e01\u0e34\u0e48\u0e07",
        "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f",
        "\u05d3\u05b8\u05d5\u05b4\u05d3",
        "\ud55c\uc9c0\ubbfc",
        "jos\xe9",
        "\u042e\u0440\u0438\u0439",
    ],
)
def test_marks_that_are_letters_of_a_script_stay(name: str) -> None:
    """Without them two people would be one."""
    seen = unicodedata.normalize("NFKC", folded(name))
    assert len(seen) == len(unicodedata.normalize("NFKC", name.casefold()))
    assert folded(name[:-1]) != seen
    assert folded(name + name[-1]) != "" != folded(name)


def test_a_mark_that_is_drawn_twice_at_one_place_counts_once() -> None:
    """A reader sees one."""
    assert folded("\u0e01\u0e34\u0e34") == folded("\u0e01\u0e34")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "\u0430lice"),
        ("alice", "alic\u0435"),
        ("alice", "\u0391LICE"),
        ("alice", "\uff41\uff2cice"),
        ("jose\u0301", "JOS\xc9"),
        ("jose\u200d\u0301", "jos\xe9"),
        ("alice smith", "alice\u2003\u200bsmith"),
        ("alice smith", "AliceSmith"),
        ("stra\xdfe", "STRASSE"),
        ("\u1fb3", "\u03b1\u03b9"),
    ],
)
def test_two_spellings_that_look_alike_are_one(one: str, other: str) -> None:
    """Case, width, composition, blanks, and the common letters of Greek and Cyrillic that look like
    Latin ones.
    """
    assert folded(one) == folded(other) != ""


def test_people_who_look_different_stay_two() -> None:
    """A name, an accent, a digit more."""
    names = ["alice", "alicé", "alice2", "alice-b", "bob", "alice@example.com", "анна", "анны"]
    assert len({folded(name) for name in names}) == len(names)


@given(st.text(max_size=20))
def test_folding_changes_nothing_a_second_time(text: str) -> None:
    """What was compared once is compared alike again."""
    once = folded(text)
    assert folded(once) == once
