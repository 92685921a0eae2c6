"""Nothing recorded reaches a terminal raw."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.review import terminal
from tests.support.records import STEADY

TEXTS = st.text(alphabet=st.characters(), max_size=60)
HOSTILE = {
    "escape sequence": "\x1b[2J\x1b]0;owned\x07",
    "C1 control": "\x9b31m",
    "line feed": "ok\nFORGED ROW",
    "carriage return": "safe\rFORGED",
    "bidi override": "\u202etxt.exe",
    "bidi isolate": "\u2066abc\u2069",
    "zero width space": "ad\u200bmin",
    "soft hyphen": "ad\u00admin",
    "tag characters": "hi\U000e0041\U000e0042",
    "variation selector": "a\ufe0f\U000e0100",
    "line separator": "a\u2028b",
    "no-break space": "a\u00a0b",
    "hangul filler": "a\u3164b",
    "byte order mark": "\ufeffabc",
    "private use": "\ue0b0",
    "lone surrogate": "\ud800",
    "delete": "a\x7fb",
    "grapheme joiner": "a\u034fb",
}


def is_visible(text: str) -> bool:
    """Whether every character of *text* is printable by Unicode's own account, and none is
    invisible.
    """
    return all(
        char == " " or unicodedata.category(char)[0] not in "CZ" for char in text
    ) and not any(char in text for char in "\u034f\u115f\u3164\ufe0f\U000e0100")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_shown_as_escapes(name: str) -> None:
    """Each kind of hidden character becomes a visible escape, in every way that text is shown."""
    text = HOSTILE[name]
    for shown in (
        terminal.escape(text),
        terminal.quote(text),
        terminal.inline({text: [text]}, 400),
        terminal.arguments({text: text}, 400),
        terminal.name(text),
        "\n".join(terminal.tree({text: [text]})).replace("\n", ""),
    ):
        assert is_visible(shown)
        assert "\\" in shown


def test_an_escape_names_the_character() -> None:
    """What is hidden can still be told."""
    assert terminal.escape("a\u202eb\x1b[0m\n") == "a\\u{202e}b\\u{1b}[0m\\n"


def test_an_escape_in_the_text_can_not_pass_for_one_of_ours() -> None:
    """A literal backslash is doubled."""
    assert terminal.escape("\\u{202e}") == "\\\\u{202e}"


@pytest.mark.parametrize(
    "text", ["plain", "größe", "日本語", "नमस्ते", "e\u0301", "עִבְרִית", "👍", "a b"]
)
def test_printable_text_of_any_language_is_kept(text: str) -> None:
    """Only what is hidden is escaped."""
    assert terminal.escape(text) == text


def test_stacked_combining_marks_are_cut_off() -> None:
    """Marks that would draw over other lines are escaped after the third, and so is one without a
    base.
    """
    assert terminal.escape("a" + "\u0301" * 5) == "a" + "\u0301" * 3 + "\\u{301}" * 2
    assert terminal.escape("\u0301a") == "\\u{301}a"
    assert terminal.escape("\u200b\u0301") == "\\u{200b}\\u{301}"


@STEADY
@given(TEXTS)
def test_escaping_leaves_nothing_hidden_and_loses_nothing(text: str) -> None:
    """Any text comes out visible, and two different texts never look alike."""
    shown = terminal.escape(text)
    assert is_visible(shown)
    assert unescape(shown) == text


def unescape(shown: str) -> str:
    """The inverse of ``escape``."""
    out, position = [], 0
    while position < len(shown):
        if shown[position] != "\\":
            out.append(shown[position])
            position += 1
        elif shown[position + 1] == "u":
            end = shown.index("}", position)
            out.append(chr(int(shown[position + 3 : end], 16)))
            position = end + 1
        else:
            out.append({"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[shown[position + 1]])
            position += 2
    return "".join(out)


@STEADY
@given(TEXTS, st.integers(1, 30))
def test_a_padded_cell_has_exactly_its_columns(text: str, columns: int) -> None:
    """Tables line up whatever stands in them: width is taken after escaping."""
    shown = terminal.pad(terminal.escape(text), columns)
    assert terminal.width(shown) == columns


def test_wide_characters_count_as_two_columns() -> None:
    """A cell of Chinese text is cut at the column, not at the character."""
    assert terminal.width("日本") == 4
    assert terminal.clip("日本語", 5) == "日本…"
    assert terminal.pad("日本語", 4) == "日… "


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@STEADY
@given(JSON)
def test_json_is_valid_equal_and_visible(value: object) -> None:
    """``--json`` shows no control or bidi character raw, and reads back as the same value."""
    shown = terminal.json_text(value)
    assert json.loads(shown) == value
    assert is_visible(shown)


@STEADY
@given(JSON, st.integers(1, 80))
def test_one_line_is_never_longer_than_asked(value: object, columns: int) -> None:
    """Any value fits on its line, visible."""
    shown = terminal.inline(value, columns)
    assert terminal.width(shown) <= columns
    assert is_visible(shown)


@STEADY
@given(JSON)
def test_a_tree_shows_any_value(value: object) -> None:
    """Every line of a tree is visible."""
    assert all(is_visible(line) for line in terminal.tree(value))


def test_deep_values_are_cut_and_counted() -> None:
    """Nesting beyond the limit neither fails nor goes unmentioned."""
    value: object = ["x"]
    for _ in range(900):
        value = [value]
    assert "…" in terminal.inline(value, 200)
    assert "more below" in list(terminal.tree(value))[-1]


def test_removed_values_are_told_from_text() -> None:
    """A token has brackets and no quotes; text that imitates one has quotes."""
    token = "gr1:payment:k1:" + "x7k2q9" + "a" * 18
    assert terminal.inline({"card": token}, 80) == "{card: [payment x7k2q9…]}"
    assert terminal.inline({"card": "[payment x7k2q9…]"}, 80) == '{card: "[payment x7k2q9…]"}'
    assert terminal.inline({"card": token + "a"}, 80) == f'{{card: "{token}a"}}'
    assert list(terminal.tree({"card": token})) == [f"card: [{token}]"]


def test_a_shape_that_stands_for_a_value_is_one_word_in_brackets() -> None:
    """Kind, length and the beginning of its token; an object that only resembles one is shown as an
    object.
    """
    token = "gr1:text:kid4567x:" + "a" * 24
    assert terminal.inline({"to": {"$t": "str", "len": 9, "tok": token}}, 80) == (
        "{to: [str, length 9, text aaaaaa…]}"
    )
    shape = {"$t": "int", "tok": token}
    assert list(terminal.tree({"a": shape, "b": [shape]})) == [
        f"a: [int, {token}]",
        "b:",
        f"  - [int, {token}]",
    ]
    for other in ({"$t": "str", "len": 9}, {**shape, "x": 1}, {"$t": "an order", "tok": token}):
        assert "[" not in terminal.inline(other, 80).replace("[text aaaaaa…]", "")


def test_a_long_text_is_shown_line_by_line() -> None:
    """Complete, each line in quotes; after type, length and token if only its beginning is
    recorded.
    """
    token = "gr1:data:kid4567x:" + "a" * 24
    cut = {"$t": "str", "len": 9_000, "tok": token, "head": "Dear \x1bBob,\n\nsee you"}
    lines = ['"Dear \\u{1b}Bob,\\n"', '"\\n"', '"see you"']
    marker = f"[str, length 9000, {token}] begins:"
    assert list(terminal.tree({"a": cut, "b": [cut]})) == [
        f"a: {marker}",
        *[f"  {line}" for line in lines],
        "b:",
        f"  - {marker}",
        *[f"    {line}" for line in lines],
    ]
    assert list(terminal.tree(cut)) == [marker, *lines]
    whole = "a line\n" * 40 + "the end"
    assert next(terminal.tree({"a": whole})) == "a:"
    assert "".join(line[3:-1] for line in list(terminal.tree({"a": whole}))[1:]) == whole.replace(
        "\n", "\\n"
    )
    assert len(list(terminal.tree(whole))) == 41
    assert list(terminal.tree({"a": "two\nlines"})) == ['a: "two\\nlines"']
    assert terminal.inline({"a": cut}, 90) == (
        '{a: "Dear \\u{1b}Bob,\\n\\nsee you" [str, length 9000, data aaaaaa…]}'
    )
    assert terminal.inline(cut, 9) == '"Dear \\u…'
    for other in ({**cut, "head": 5}, {**cut, "$t": "object"}):
        assert "begins" not in str(list(terminal.tree(other)))


def test_messages_keep_their_lines_and_nothing_else_that_is_hidden() -> None:
    """An error of ours that quotes a foreign path can not drive the terminal."""
    assert terminal.message("first\nfile \x1b[31m\u202e") == "first\nfile \\u{1b}[31m\\u{202e}"


def test_one_line_stays_one_line() -> None:
    """A path that holds a line feed can not forge a line of ours; a backslash in it can still be
    copied.
    """
    assert terminal.one_line("a\\b\nok: all well\x1b[0m") == "a\\b\\nok: all well\\u{1b}[0m"


def test_work_on_one_line_is_bounded_by_its_width() -> None:
    """A huge value costs no more than the columns that are shown: a generator past the end is never
    reached.
    """

    class Endless(dict[str, object]):
        def items(self):  # type: ignore[no-untyped-def,override]
            for index in range(1000):
                yield f"k{index}", index
            raise AssertionError("read past the end of the line")

    assert terminal.width(terminal.arguments(Endless(), 40)) == 40
    assert terminal.width(terminal.inline(Endless(a=1), 40)) == 40


def test_a_name_that_imitates_our_words_is_quoted() -> None:
    """Nobody is shown as verified because he is called so."""
    assert terminal.name("alice@example.com") == "alice@example.com"
    assert terminal.name("bob (verified by oidc)") == '"bob (verified by oidc)"'
    assert terminal.name("") == "-"
    assert terminal.name("gr1:principal:k1:" + "x7k2q9" + "a" * 18) == "[principal x7k2q9…]"


@pytest.mark.parametrize(
    ("ts", "shown"),
    [
        ("2026-11-24T06:00:00.123456Z", "2026-11-24 06:00:00 UTC"),
        ("2026-11-24T06:00:00Z", "2026-11-24 06:00:00 UTC"),
        ("2026-11-24T06:00:00+00:00", "2026-11-24 06:00:00 UTC"),
        ("2026-11-24T06:00:00+02:00", "2026-11-24T06:00:00+02:00"),
        ("2026-11-24T06:00:00Z\n", "2026-11-24T06:00:00Z\\n"),
        ("soon\x1b", "soon\\u{1b}"),
        ("", "unknown"),
    ],
)
def test_times_have_one_form_and_what_is_none_stays(ts: str, shown: str) -> None:
    """To the second, with the zone."""
    assert terminal.clock(ts) == shown


@given(
    text=st.text(alphabet="ab 日\u0301", max_size=80),
    first=st.integers(2, 20),
    rest=st.integers(2, 20),
)
def test_broken_text_fits_and_keeps_every_character(text: str, first: int, rest: int) -> None:
    """A combining mark stays with its letter; spaces at the end of a line take no room."""
    lines = list(terminal.wrap(text, first, rest))
    assert "".join(lines) == text
    assert terminal.width(lines[0].rstrip(" ")) <= first
    assert all(terminal.width(line.rstrip(" ")) <= rest for line in lines[1:])


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("str", "[str, text osonqs…]"), ("float", "[float, osonqs…]"), ("int", "[int, osonqs…]")],
)
def test_a_number_of_which_a_token_is_recorded_is_not_called_text(kind: str, shown: str) -> None:
    """The class of such tokens is text, whatever the value was; a number's kind says enough."""
    assert terminal.inline({"$t": kind, "tok": "gr1:text:hekzyvjv:osonqs" + "a" * 18}, 60) == shown
