"""Corners of what is recorded: odd types, odd depths, JSON in strings, marks, texts that are
cut.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from enum import IntEnum
from typing import Any, NamedTuple

import pytest

from guardrail.core.log.record import dumps
from guardrail.core.redaction.session_memory import Memory
from guardrail.errors import RedactionError
from tests.support.redaction import REDACTOR, is_secret, redactor, token, view

BOB = "bob@example.com"


# --- values of odd types ---


class Colour(IntEnum):
    """An integer with a text of its own."""

    RED = 4

    def __repr__(self) -> str:
        return "says anything"

    __str__ = __repr__


class Loud(float):
    """A float that says something else."""

    def __repr__(self) -> str:
        return "says anything"


class Row(NamedTuple):
    """A tuple with names."""

    email: str
    note: str


class Items(list[object]):
    """A list that hides what it holds."""

    def __iter__(self) -> Any:
        return iter(())


class Octets(bytes):
    """Bytes that run code when they are looked at."""

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("asked")

    def __bytes__(self) -> bytes:
        raise RuntimeError("asked")


def test_subclasses_of_numbers_and_lists_are_taken_plainly() -> None:
    """What a subclass says about itself is in no view, and what it holds is."""
    args = {
        "n": Colour.RED,
        "pin": Colour.RED,
        "x": Loud(1.5),
        "row": Row(BOB, "plain"),
        "items": Items([BOB, 7]),
        "all": OrderedDict(a=1),
    }
    shown = view(args)
    assert shown.value == {
        "n": 4,
        "pin": shown.value["pin"],  # type: ignore[index]
        "x": 1.5,
        "row": [token("contact", BOB), "plain"],
        "items": [token("contact", BOB), 7],
        "all": {"a": 1},
    }
    assert is_secret(shown.value["pin"])  # type: ignore[index]
    assert b"anything" not in dumps(shown.value)
    assert type(shown.value["n"]) is int  # type: ignore[index]


def test_a_policy_pointer_to_a_subclass_makes_the_token_of_its_plain_value() -> None:
    """Equal values have equal tokens, whatever class they come in."""

    class Text(str):
        def __repr__(self) -> str:
            return "says anything"

    shown = view({"n": Colour.RED, "x": Loud(1.5), "t": Text("value-1")}, "/*")
    assert shown.value == {
        "n": token("policy", "4"),
        "x": token("policy", "1.5"),
        "t": token("policy", "value-1"),
    }


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, Octets])
def test_bytes_are_recorded_by_size(kind: Any, declared: bool) -> None:
    """Their content is not looked at and no method of theirs runs; equal bytes have equal
    tokens.
    """
    shown = view({"b": kind(b"value-1"), "n": 5}, declared=declared)
    plain = view({"b": b"value-1"})
    assert shown.truncated
    assert shown.value["b"] == plain.value["b"]  # type: ignore[index]
    assert shown.value["b"].keys() == {"$t", "len", "tok"}  # type: ignore[index]
    assert shown.value["b"]["len"] == 7  # type: ignore[index]


def test_a_key_that_is_a_subclass_of_str_is_its_text() -> None:
    """It is classified and recorded by what it holds."""

    class Key(str):
        def __str__(self) -> str:
            return "harmless"

    shown = view({Key("password"): "value-1"})
    assert list(shown.value) == ["password"]  # type: ignore[call-overload]
    assert is_secret(shown.value["password"])  # type: ignore[index]


@pytest.mark.parametrize("plain_first", [True, False])
def test_an_object_that_holds_one_key_twice_is_refused(plain_first: bool) -> None:
    """Only one of the two could be recorded, and the tool might read the other."""

    class Key(str):
        def __eq__(self, other: object) -> bool:
            return self is other

        __hash__ = str.__hash__

    keys = ["email", Key("email")] if plain_first else [Key("email"), Key("email")]
    args = dict.fromkeys(keys, "value-1")
    assert len(args) == 2
    with pytest.raises(RedactionError) as caught:
        view(args)
    assert caught.value.code == "redaction.type"


# --- depth and size ---


def test_a_value_deeper_than_python_can_walk_is_refused() -> None:
    """Where the limit is set higher than the interpreter's own, an error of guardrail's comes, and
    no other.
    """
    deep: Any = "value-1"
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(RedactionError) as caught:
        redactor(depth=1_000_000).value(deep, Memory())
    assert caught.value.code == "redaction.depth"


@pytest.mark.parametrize("wide", [True, False])
def test_objects_beyond_the_limits_are_recorded_by_kind(wide: bool) -> None:
    """Too deep or too many: nothing of what they hold is readable, and the view says that it is
    truncated.
    """
    inner: dict[str, Any] = {"note": "value-1"}
    if wide:
        inner |= {f"k{index}": 1 for index in range(30)}
    else:
        for _ in range(10):
            inner = {"a": inner}
    shown = view({"x": inner, "n": 5}, by=redactor(depth=8, nodes=20))
    assert shown.truncated
    assert b"value-1" not in dumps(shown.value)
    assert b'"$t":"object"' in dumps(shown.value)


@pytest.mark.parametrize("bad", [{"a": {"b": {"c": object()}}}, {"a": {"b": {"\ud800": 1}}}])
def test_what_is_not_json_is_refused_beyond_the_limits_too(bad: dict[str, Any]) -> None:
    """No token can be made of it."""
    with pytest.raises(RedactionError) as caught:
        view(bad, by=redactor(depth=2))
    assert caught.value.code == "redaction.type"


def test_a_large_view_that_is_not_unicode_is_refused() -> None:
    """A lone surrogate in a key has no bytes: nothing is recorded rather than something else."""
    with pytest.raises(RedactionError) as caught:
        view({"\ud800": "word " * 3_000})
    assert caught.value.code == "redaction.type"


def test_a_list_that_does_not_fit_is_recorded_by_kind() -> None:
    """At the root there is no member that could be left away."""
    shown = REDACTOR.value(["word " * 700] * 20, Memory())
    assert shown.truncated
    assert shown.value.keys() == {"$t", "len", "tok"}  # type: ignore[attr-defined]
    assert shown.value["$t"] == "array"  # type: ignore[index]


def test_members_that_are_sized_already_are_not_sized_again() -> None:
    """Their long keys make them candidates, and nothing would be won."""
    sized = {"$t": "str", "len": 900_000, "tok": token("data", "x")}
    args = {"a-" + "k" * 35_000: sized, "b": "word " * 600, "c": "word " * 700}
    shown = view(args)
    assert shown.truncated
    assert next(iter(shown.value.values())) == sized  # type: ignore[attr-defined]
    assert len(dumps(shown.value)) <= 40_960


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_sized_already_stays_as_it_is(declared: bool) -> None:
    """A recorded view is not redacted again, whichever rule is applied to it."""
    sized = {"$t": "str", "len": 900_000, "tok": token("data", "x")}
    memory = Memory()
    shown = view({"a": sized, "l": [sized], "n": "k9x-va1ue"}, "/a", memory=memory)
    assert shown.value["a"] == sized  # type: ignore[index]
    again = view({"a": sized, "m": "has k9x-va1ue"}, "/m", memory=memory, declared=declared)
    assert again.value["a"] == sized  # type: ignore[index]


@pytest.mark.parametrize("size", [4111111111111111, -5, 1.5, 10**400])
def test_a_forged_size_is_looked_at_like_any_number(size: Any) -> None:
    """What looks like guardrail's own note but holds a number that no size has is an ordinary
    object.
    """
    shown = view({"card_number": {"$t": "str", "len": size}})
    assert shown.value["card_number"]["len"] != size  # type: ignore[index]


# --- JSON inside strings ---


def test_json_nested_in_too_many_strings_is_recorded_by_kind() -> None:
    """What is not taken apart is not shown."""
    text = json.dumps({"first_name": "Aurelia"})
    for _ in range(4):
        text = json.dumps([text])
    shown = view({"body": text}, by=redactor(json_depth=3))
    assert shown.truncated
    assert b"Aurelia" not in dumps(shown.value)


def test_json_nested_deeper_than_python_can_read_is_recorded_by_kind() -> None:
    """Another reader may have no such limit: what key names mark in it must not be shown as plain
    text.
    """
    text = "[" * 3_000 + '{"address": {"line": "5 Elm"}}' + "]" * 3_000
    shown = view({"body": text})
    assert shown.truncated
    assert b"5 Elm" not in dumps(shown.value)


def test_json_with_a_number_that_python_does_not_read_is_still_taken_apart() -> None:
    """Thousands of digits hide nothing beside them."""
    text = f'{{"n": {"9" * 5_000}, "address": {{"line": "5 Elm"}}, "m": 12}}'
    shown = view({"body": text}, by=redactor(string=8_000))
    content = json.loads(shown.value["body"])  # type: ignore[index]
    assert content == {"n": {"$t": "int"}, "address": {"line": token("address", "5 Elm")}, "m": 12}


def test_a_marked_json_string_makes_its_values_known_whatever_its_numbers() -> None:
    """Integers of any length are known as they were written, and so is what stands beside them."""
    memory = Memory()
    long, longer = "1207" * 250, "9486" * 1_250
    view({"password": f'{{"a": {long}, "b": [{longer}, "va1ue-0ne"]}}'}, memory=memory)
    for known in (long, longer, "va1ue-0ne"):
        assert memory.knows(f"it is {known}") == "secret"


@pytest.mark.parametrize("text", ["{not json}", "[1, 2", '"', "  \n ", "[1] and [2]"])
def test_text_that_only_looks_like_json_stays_text(text: str) -> None:
    """It is recorded as it is, and what is sensitive in it still goes."""
    assert view({"body": text}).value == {"body": text}
    assert BOB not in view({"body": f"{text} {BOB}"}).value["body"]  # type: ignore[index]


def test_json_beyond_its_limit_is_plain_text() -> None:
    """Detectors look at it; nothing is parsed."""
    text = json.dumps({"note": f"write to {BOB}", "more": "word " * 20})
    shown = view({"body": text}, by=redactor(json_string=50))
    assert BOB not in shown.value["body"]  # type: ignore[index]
    assert json.loads(shown.value["body"])["more"] == "word " * 20  # type: ignore[index]


def test_json_in_a_string_under_a_key_that_is_renamed_is_found_again() -> None:
    """The key goes, and so does what the JSON below it holds."""
    shown = view({BOB: json.dumps({"first_name": "Aurelia", "n": 1})})
    assert list(shown.value) == [token("contact", BOB)]  # type: ignore[call-overload]
    (content,) = (json.loads(text) for text in shown.value.values())  # type: ignore[attr-defined]
    assert content == {"first_name": token("name", "Aurelia"), "n": 1}
    listed = view({BOB: 1, "l": ['{"first_name": "Aurelia"}']})
    assert listed.value == {
        token("contact", BOB): 1,
        "l": [f'{{"first_name":"{token("name", "Aurelia")}"}}'],
    }


# --- marks ---


def test_words_and_other_marks_may_touch_a_mark() -> None:
    """What stood side by side is recorded side by side, and is not redacted again."""
    card = "4111 1111 1111 1111"
    for text, wanted in (
        (f"{BOB}{card}", token("contact", BOB) + token("payment", card.replace(" ", ""))),
        (f"{card}abcdefgh", token("payment", card.replace(" ", "")) + "abcdefgh"),
    ):
        shown = view({"key:": [text]})
        assert shown.value == {"key:": [wanted]}
        assert not view(shown.value).changed


def test_what_is_left_of_a_value_whose_name_hints_is_judged_as_well() -> None:
    """Blanks inside what goes are no sign that the rest is prose: else the recorded view would be
    redacted again.
    """
    for rest in ("a1b2c3d4e5f6gx", "ordinary words 2x"):
        shown = view({"acme_key": f"{rest}4111 1111 1111 1111"})
        assert is_secret(shown.value["acme_key"]) is (" " not in rest)  # type: ignore[index]
        assert not view(shown.value).changed


def test_a_mark_or_nothing_in_a_marked_place_stays() -> None:
    """There is nothing left to remove."""
    own = token("secret", "x")
    args = {"password": own, "email": "", "note": own, "api_key": ""}
    assert not view(args).changed
    assert view({"note": own}, "/note", "/note").value == {"note": own}


def test_a_mark_used_as_a_key_below_a_marked_place_stays() -> None:
    """It says nothing that could be removed."""
    schema = {"properties": {"box": {"x-guardrail": "health"}}}
    own = token("health", "x")
    assert view({"box": {own: own}}, schema=schema).value == {"box": {own: own}}


def test_text_that_hits_again_and_again_goes_as_a_whole() -> None:
    """Each key becomes visible only when the one before it is gone; after a few rounds nothing of
    it is kept.
    """
    glued = "".join("SK" + str(index) * 3 + "1234567890"[:-1] * 3 + "12" for index in range(1, 7))
    shown = view({"note": f"use {glued} now"})
    assert is_secret(shown.value["note"])  # type: ignore[index]
    assert is_secret(REDACTOR.text(f"use {glued} now", Memory()))


def test_the_store_of_clean_texts_is_bounded_and_changes_no_answer() -> None:
    """The gate still finds sensitive values after thousands of clean texts, short and long."""
    own = redactor()
    page = "the same words again " * 20
    for index in range(9_000):
        assert own.gate([f"word {index}"], Memory()) is None
        if index % 50 == 0:
            assert own.gate([f"{page}{index}", f"{page * 20}{index}"], Memory()) is None
    assert own.gate([BOB], Memory()) == "contact"
    assert own.gate([f"{page}0 {BOB}"], Memory()) == "contact"
    assert own.gate(["word 1", "word 8999", f"{page}0"], Memory()) is None
    assert len(own._replacer.clean) <= 4_200


def test_a_clean_text_is_searched_again_for_a_value_that_the_session_learns_later() -> None:
    """A text is clean for detectors only: known values are searched for each time."""
    own, memory = redactor(), Memory()
    page = "the garden is open and " * 20 + "Xk9mWq27Lp"
    assert own.gate([page], memory) is None
    memory.remember("Xk9mWq27Lp", "secret")
    assert own.gate([page], memory) == "secret"


def test_schemas_beyond_the_cache_are_read_again() -> None:
    """However many tools there are, the marks of each hold."""
    own = redactor()
    schemas = [{"properties": {f"f{index}": {"writeOnly": True}}} for index in range(600)]
    for index, schema in [*enumerate(schemas)] * 2:
        for text in ("value", "other"):
            shown = view({f"f{index}": text}, schema=schema, by=own)
            assert is_secret(shown.value[f"f{index}"])  # type: ignore[index]
    assert not view({"f1": "value"}, schema=schemas[0], by=own).changed


# --- free text, identities, the gate ---


def test_long_text_is_cut_and_nothing_is_cut_in_two() -> None:
    """A secret across the cut goes whole; what stands before it stays."""
    own = redactor(text=2_000)
    key = "AKIA" + "Q7" * 8
    for at in range(1_960, 2_010, 3):
        text = "x " * (at // 2) + key + " y" * 4_000
        shown = own.text(text, Memory())
        assert "AKIA" not in shown
        assert shown.startswith("x x x")
        assert len(shown) <= 2_050
        assert own.text("x " * (at // 2) + key + " y" * 50, Memory())[:1_900] == shown[:1_900]


def test_long_text_that_shrinks_shows_no_half_of_what_was_cut() -> None:
    """Where much was removed, the place of the cut must not come into sight."""
    own = redactor(text=2_000)
    key = "AKIA" + "Q7" * 8
    for back in range(1, 20):
        start = f"password={'v' * 2_500} "
        text = start + "x " * 500
        text = text[: 2_000 + 512 - back] + key + " y" * 500
        assert "AKIA" not in own.text(text, Memory())
        assert "AKIA" not in json.dumps(view({"t": text}, by=redactor(string=1_000)).value)


def test_an_identity_that_is_no_unicode_can_be_recorded() -> None:
    """It is shown as far as it has bytes, and other letters stay as they are."""
    assert REDACTOR.identity("Zoë Müller") == "Zoë Müller"
    shown = REDACTOR.identity("bot\ud800")
    assert shown.encode("utf-8").startswith(b"bot")


def test_the_gate_sees_through_compatibility_forms() -> None:
    """Full-width letters and invisible characters hide nothing from it, nor does an odd joint."""
    assert REDACTOR.gate(["plain", "ｂob@example.com"], Memory()) == "contact"
    assert REDACTOR.gate(["né", "plain"], Memory()) is None
    assert REDACTOR.gate(["a\x00b", "bob@exam\x00ple.com"], Memory()) == "contact"
    assert REDACTOR.gate([f"password={token('name', 'x')}"], Memory()) is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (" va1ue-0ne-two ", "va1ue-0ne-two"),
        ("Bearer va1ue-0ne", "va1ue-0ne"),
        ("Basic\tva1ue-0ne-two", "va1ue-0ne-two"),
        ("some-user:va1ue-0ne", "va1ue-0ne"),
        ('{"a": ["va1ue-0ne", null, true]}', "va1ue-0ne"),
        ('{"a": ["va1ue-0ne", 4111111111111111]}', "4111111111111111"),
        ('{"a": "[\\"va1ue-0ne\\"]"}', "va1ue-0ne"),
        ('\n {"a": ["va1ue-0ne"]}', "va1ue-0ne"),
        ("{va1ue-0ne}", "{va1ue-0ne}"),
        ("https://u:va1ue-0ne", "https://u:va1ue-0ne"),
        ("tw0 w0rds: here", "tw0 w0rds: here"),
    ],
)
def test_what_is_secret_inside_a_secret_is_known_by_itself(text: str, known: str) -> None:
    """Without the scheme, the user or the blanks before it, and as a member of a marked JSON
    string.
    """
    memory = Memory()
    view({"password": text}, memory=memory)
    assert memory.knows(f"it is {known}.") == "secret"
    for word in ("Bearer of news", "some-user wrote", "here are two words"):
        assert memory.knows(word) is None


def test_json_nested_in_a_marked_string_is_followed_a_few_levels() -> None:
    """Each level is known as text; work is bounded."""
    text = '["va1ue-0ne"]'
    for _ in range(8):
        text = json.dumps([text])
    memory = Memory()
    view({"password": text}, memory=memory)
    assert memory.knows(text) == "secret"


def test_the_text_of_nothing_is_nothing() -> None:
    """No text, no hit, no failure."""
    memory = Memory()
    memory.remember("c0rrect h0rse", "secret")
    assert REDACTOR.text("", memory) == ""
    assert REDACTOR.value({}, memory).value == {}
    assert REDACTOR.value([], memory).value == []


def test_a_value_in_the_form_of_a_recorded_one_is_hidden_at_a_marked_place() -> None:
    """``{"$t": "str", "len": 48151623}`` may be a code of eight digits, and a model may send it."""
    schema = {"properties": {"x": {"writeOnly": True}}}
    value = {"x": {"$t": "str", "len": 48_151_623}}
    marked = REDACTOR.inspect(value, schema=schema, declared=True, memory=Memory())
    assert "48151623" not in str(marked.view([]).value)
    plain = REDACTOR.inspect(value, schema={}, declared=True, memory=Memory())
    assert plain.view([]).value == value
