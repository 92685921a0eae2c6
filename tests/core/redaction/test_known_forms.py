"""The forms of known values, and their index."""

from __future__ import annotations

import base64
import json
import string
from html import escape
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.redaction.form_index import SHARED, WINDOW, FormIndex, choose_window
from guardrail.core.redaction.known_forms import KnownForm, forms_of

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
        shared = dict.fromkeys(range(SHARED + 2 + start), 0)
        index.windows[data[start : start + WINDOW]] = shared  # type: ignore[assignment]
    assert choose_window(data, index.windows) == 0
