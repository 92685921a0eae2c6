"""A record and its bytes."""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.log.fields import strings
from guardrail.core.log.record import (
    MAX_LINE,
    Draft,
    decode,
    decode_or_none,
    dumps,
    leaf_hash,
    parse,
)
from guardrail.errors import RecordError

TS = "2026-11-24T09:00:00.000000Z"


class Word(StrEnum):
    """A StrEnum, as effects and causes are."""

    YES = "yes"


def test_the_strings_of_a_value_are_found_in_every_container() -> None:
    """Keys too, and strings and containers of other classes than JSON has."""
    value = {
        "a": ["b", ("c", Word.YES), 1, None, True, 2.5],
        "d": MappingProxyType({"e": "f"}),
        "g": b"h",
    }
    assert sorted(strings(value)) == ["a", "b", "c", "d", "e", "f", "g", "yes"]


def test_a_line_is_sorted_json_without_spaces() -> None:
    """The spliced fields stand where sorting puts them."""
    draft = Draft.build(
        {
            "v": 1,
            "type": "x",
            "log": "l",
            "prex": 1,
            "sea": 2,
            "set": 3,
            "tt": 4,
            "a": {"b": 1, "a": 2},
        }
    )
    line = draft.finish(seq=7, prev="0" * 64, ts=TS)
    keys = list(json.loads(line))
    assert keys == sorted(keys)
    assert {"prev", "seq", "ts"} < set(keys)
    assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")).encode()


def test_a_record_of_only_its_type_is_a_line() -> None:
    """Empty segments leave no stray commas."""
    assert json.loads(Draft.build({"type": "x"}).finish(seq=0, prev="0" * 64, ts=TS))["seq"] == 0


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=6).filter(
            lambda key: key not in ("prev", "seq", "ts")
        ),
        st.integers(-(2**63), 2**63 - 1),
    )
)
def test_every_field_survives(fields: dict[str, int]) -> None:
    """What goes in comes out, and the keys are in code point order."""
    line = Draft.build(fields | {"type": "x"}).finish(seq=1, prev="ab" * 32, ts=TS)
    found = json.loads(line)
    assert {key: found[key] for key in fields if key != "type"} == {
        key: fields[key] for key in fields if key != "type"
    }
    assert list(found) == sorted(found)
    assert b"\n" not in line


def test_numbers_stay_as_they_are() -> None:
    """Integers of any size are exact, floats read back the same."""
    values = [0, -0.0, 1e16, 1e-7, 0.1, 2**63, -(2**70), 10**40]
    assert json.loads(dumps(values)) == values
    assert dumps(2**64) == b"18446744073709551616"


def test_enums_are_their_words() -> None:
    """A StrEnum is written as its value, also beside an integer that is too long for the fast
    path.
    """
    assert dumps({"w": Word.YES}) == b'{"w":"yes"}'
    assert dumps({"w": Word.YES, "n": 2**70}) == b'{"n":%d,"w":"yes"}' % 2**70


def test_a_subclass_of_str_is_its_text() -> None:
    """None of its code runs."""

    class Text(str):
        def __str__(self) -> str:
            return "says anything"

        __repr__ = __str__

    assert dumps({"a": [Text("plain")]}) == b'{"a":["plain"]}'


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, b"bytes", object(), {1, 2}, {3: "x"}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """Lone surrogates, bytes, sets, foreign objects and keys that are no strings have no line."""
    with pytest.raises(RecordError):
        dumps([value])


def test_a_cyclic_value_is_refused() -> None:
    """It has no bytes, and asking for them ends."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecordError):
        dumps(value)


def test_a_line_never_exceeds_the_limit() -> None:
    """A draft that could is refused before anything is written, and one that fits stays below
    it.
    """
    room = MAX_LINE - 300
    line = Draft.build({"type": "x", "a": "b" * room}).finish(seq=10**18, prev="0" * 64, ts=TS)
    assert len(line) <= MAX_LINE
    with pytest.raises(RecordError) as caught:
        Draft.build({"type": "x", "a": "b" * MAX_LINE})
    assert caught.value.code == "record.too_large"


def test_the_leaf_hash_is_that_of_rfc_6962() -> None:
    """SHA-256(0x00) of the empty entry, the known answer of the certificate transparency tests."""
    assert (
        leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )


@pytest.mark.parametrize("line", [b"", b"[]", b"null", b"{", b'"x"', b"\xff", b"{}{}"])
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    """Torn and foreign lines are not records."""
    with pytest.raises(RecordError):
        decode(line)
    assert decode_or_none(line) is None


def test_unknown_fields_are_kept() -> None:
    """A later version may have added them."""
    for read in (decode, decode_or_none):
        assert read(b'{"later":{"x":1},"v":9}') == {"later": {"x": 1}, "v": 9}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"[ ]",
        b"null",
        b"{}{}",
        b"{}\r",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b'{"a":"\t"}',
        b'{"a":1,"a":1}',
        b'{"a":[{"b":1,"\\u0062":2}]}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":' + b"9" * 500 + b"}",
        b'{"a":' + b"[" * 512 + b"]" * 512 + b"}",
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"a":' + b"9" * 4_301 + b"}",
        b"{" + b" " * MAX_LINE + b"}",
    ],
)
def test_a_line_that_two_readers_could_read_differently_is_refused(line: bytes) -> None:
    """A verifier must not say yes to what another reader sees otherwise or not at all."""
    with pytest.raises(RecordError):
        parse(line)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'{"a":[1,0.5,"\xc3\xa9"]}', {"a": [1, 0.5, "é"]}),
        (b' {"b":1e16,\t"a":-0} ', {"a": 0, "b": 1e16}),
        (b'{"a":"\\ud83d\\ude00\\u0000"}', {"a": "\U0001f600\x00"}),
        (b'{"a":18446744073709551616}', {"a": 2**64}),
        (b'{"a":-' + b"9" * 4_300 + b"}", {"a": 1 - 10**4_300}),
        (b'{"a":1e999}', {"a": float("inf")}),
    ],
)
def test_a_line_in_another_spelling_is_read_exactly(line: bytes, value: object) -> None:
    """White space, the order of keys and the form of numbers are the writer's business."""
    assert parse(line) == value


def test_a_line_may_be_nested_as_deeply_as_the_format_says() -> None:
    """512 objects and arrays inside each other, with the line's own."""
    assert parse(b'{"a":' + b"[" * 511 + b"]" * 511 + b"}")["a"]


def test_an_integer_that_no_float_can_hold_is_read_back() -> None:
    """What the writer takes, every reader reads."""
    assert decode(dumps({"n": 10**400})) == {"n": 10**400}
