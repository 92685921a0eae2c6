"""The forms of known values, and their index."""

from __future__ import annotations

import base64
import json
import string
from html import escape
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.redaction.form_index import WINDOW, FormIndex, choose_window
from guardrail.core.redaction.known_forms import (
    LONG,
    KnownForm,
    encoded_forms,
    escaped_forms,
    forms_of,
    may_hold_encoded,
    may_hold_escaped,
)
from guardrail.core.redaction.session_memory import Memory

_VALUES = st.one_of(
    st.text(st.sampled_from(string.printable), min_size=6, max_size=20),
    st.text(st.sampled_from("ab1 %+/.@"), min_size=6, max_size=12),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=12),
)


@settings(max_examples=300, deadline=None)
@given(_VALUES)
def test_every_encoder_gives_a_form(value: str) -> None:
    """Also for the values that contain nothing to escape, whose forms are not made by encoders."""
    forms = [text for text, _ in forms_of(value, value)]
    octets = value.encode()
    assert len(forms) == len(set(forms))
    assert {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(value)[1:-1])[1:-1],
        escape(value),
        escape(value, quote=False),
        repr(value)[1:-1],
        ascii(value)[1:-1],
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        octets.hex(),
        octets.hex().upper(),
    } <= set(forms)
    for before in (b"", b"u", b"u:"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(before + octets + b"tail").decode()
            assert any(form.encoded and text in encoded for text, form in forms_of(value, value))


@settings(max_examples=100, deadline=None)
@given(st.lists(_VALUES, min_size=1, max_size=40, unique=True), st.data())
def test_the_index_finds_exactly_the_forms_in_a_text(
    values: list[str], data: st.DataObject
) -> None:
    """However many there are, and however the forms were added."""
    index, every = FormIndex(), list[tuple[str, KnownForm]]()
    for value in values:
        new = forms_of(value, value)
        every += new
        index = index.extended(new)
    shown = data.draw(st.lists(st.sampled_from(every), max_size=5))
    text = data.draw(_VALUES) + data.draw(st.sampled_from(["", "-", " x "])).join(
        text for text, _ in shown
    )
    assert set(index.candidates(text, lambda _: None)) == {
        (form, known) for form, known in every if form in text
    }


def test_a_value_whose_every_stretch_is_shared_is_known_all_the_same() -> None:
    """Then the least shared one is taken."""
    index = FormIndex()
    data = bytes(range(64, 64 + 40))
    last = len(data) - WINDOW
    for start in (0, last // 2, last // 4, last * 3 // 4, last - 3, last):
        shared = dict.fromkeys(range(2 + start), 0)
        index.windows[data[start : start + WINDOW]] = shared
    assert choose_window(data, index.windows) == 0


def test_forms_that_are_equal_and_share_every_window_are_all_found() -> None:
    """Two values can have a form in common, and it can be added before or after it was shared."""
    one, other = ("0123456789" * 5)[:40], "abcdefgh"
    forms = [
        (one[:size], KnownForm(str(copy), False)) for copy in range(3) for size in (40, 30, 40)
    ]
    others = [(f"{other}{number}", KnownForm(other, True)) for number in range(48)]
    index = FormIndex().extended(others)
    for form in forms:
        index = index.extended([form])
    assert set(index.candidates(f"x{one[:30]}", lambda _: None)) == set(forms[1::3])
    assert set(index.candidates(f"x{one} {other}7", lambda _: None)) == {
        *forms,
        (f"{other}7", KnownForm(other, True)),
    }


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(string.printable), min_size=6, max_size=20))
def test_the_forms_that_are_deferred_are_the_rest_and_are_announced_by_the_text(value: str) -> None:
    """A text that contains one of them is never taken for a text that can't."""
    escaped, encoded = escaped_forms(value), encoded_forms(value)
    assert {(value, KnownForm(value, False)), *escaped, *encoded} == set(forms_of(value, value))
    assert all(may_hold_escaped(form) for form, _ in escaped)
    assert len(value) < LONG or all(may_hold_encoded(f"a {form} b") for form, _ in encoded)


def test_deferred_forms_are_found_however_many_values_came_since() -> None:
    """Also if the values are so many that their forms are added before any text needs them."""
    values = [f"k{number:04d} x9/va1ue-q7 {number}z" for number in range(700)]
    memory = Memory()
    for value in values:
        memory.remember(value, "text")
    assert memory.knows("an ordinary text") is None
    for value in values[:2] + values[-2:]:
        assert memory.knows(f"a {value} b") == "text"
        assert memory.knows(f"q={quote(value, safe='')}") == "text"
        assert memory.knows(f"q={quote_plus(value)}&r=1") == "text"
        assert memory.knows(f"x {value.encode().hex()}") == "text"
        assert memory.knows(base64.b64encode(b"u:" + value.encode()).decode()) == "text"
    assert memory.knows("a%20text+with/many-signs-and-a-long-run") is None
