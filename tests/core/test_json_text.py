"""JSON text that two parsers could read differently is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.json_text import JsonTextError, has_many_values, hides_fields, read

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refusal(text: str) -> tuple[str, int | None]:
    """Return the detail and the position of the error."""
    with pytest.raises(JsonTextError) as caught:
        read(text)
    assert caught.value.__context__ is None, "the context would hold the text"
    return caught.value.detail, caught.value.position


@given(value=values, space=st.text(" \t\r\n", max_size=3))
def test_any_json_is_read_as_the_standard_library_reads_it(value: Any, space: str) -> None:
    """With space around it, and however it is written."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert read(space + text + space) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "detail", "position"),
    [
        ("", "not_json", 0),
        ("nothing", "not_json", 0),
        ('{"a": 1', "not_json", 7),
        ('{"a": "1', "not_json", 6),
        ("{'a': 1}", "not_json", 1),
        ('{"a": }', "not_json", 6),
        ('"a\nb"', "not_json", 2),
        ('"\\q"', "not_json", 1),
        ("\ufeff{}", "not_json", 0),
        ("\u00a0{}", "not_json", 0),
        ("01", "trailing", 1),
        ("{} {}", "trailing", 3),
        ("{}\u00a0", "trailing", 2),
        ('{"a": 1, "a": 2}', "duplicate_key", None),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "duplicate_key", None),
        ("[NaN]", "nan", None),
        ("-Infinity", "nan", None),
        ("9" * 5000, "integer_range", None),
        ("[" * 100_000, "depth", None),
        ('{"a":' * 100_000, "depth", None),
    ],
)
def test_everything_else_is_refused_for_a_reason(
    text: str, detail: str, position: int | None
) -> None:
    """And at a place, if it has one."""
    assert refusal(text)[0] == detail
    assert refusal(text)[1] == position


@given(text=st.text(st.sampled_from('{}[]",:0123eE+-.\\u" \ntrufalsNIy'), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A text that is read has the value that the standard library reads."""
    try:
        value = read(text)
    except JsonTextError:
        return
    assert json.dumps(value) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("text", "many"),
    [
        ("[" + "[]," * 500_000 + "0]", True),
        ("[" + "0," * 999_999 + "0]", False),
        ("[" + "0," * 1_000_000 + "0]", True),
        (json.dumps(["[{," * 500_000, '\\"[' * 500_000]), False),
        ('"' + '\\"' * 600_000 + "[" * 1_000_001, False),
        ('""' + "[" * 1_000_001, True),
        ("x" * 2_000_000, False),
    ],
    ids=["arrays", "at the limit", "above it", "in strings", "no end", "after a string", "text"],
)
def test_values_are_counted_before_they_are_parsed(text: str, many: bool) -> None:
    """Those in strings take no memory of their own."""
    assert has_many_values(text) is many


@pytest.mark.parametrize(
    ("text", "hides"),
    [
        ('{"__proto__": {"a": 1}}', True),
        ('{"a": [{"__proto\\u005f_": null}]}', True),
        ('{"constructor": {"prototype": {}}}', True),
        ('{"constructor": "Bauer AG", "prototype": {}}', False),
        ('{"a": "__proto__"}', False),
    ],
)
def test_an_object_whose_copy_has_other_fields_is_refused_if_it_is_copied(
    text: str, hides: bool
) -> None:
    value = read(text)
    inner = value["a"][0] if isinstance(value.get("a"), list) else value
    assert hides_fields(inner) is hides
    if not hides:
        assert read(text, copied=True) == value
        return
    with pytest.raises(JsonTextError) as refused:
        read(text, copied=True)
    assert refused.value.detail == "prototype"
