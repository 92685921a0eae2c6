"""Arguments as the text that a model wrote."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.schema.json_copy import ArgumentLimits
from guardrail.errors import ArgumentsError


class Text(str):
    """A str with a way of its own to say everything."""

    __slots__ = ()

    def __str__(self) -> str:
        return "{}"

    def __len__(self) -> int:
        return 0


def refusal(text: Any, limits: ArgumentLimits = ArgumentLimits()) -> tuple[str, str]:  # noqa: B008 - frozen
    """Return the detail and the message of the error."""
    with pytest.raises(ArgumentsError) as caught:
        JsonArguments(text).parse(limits)
    assert caught.value.__context__ is None, "the context would hold the text"
    assert caught.value.code == f"arguments.{caught.value.detail}"
    return caught.value.detail, caught.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": {"b": [1, 2.5, null, true, "x"]}}', {"a": {"b": [1, 2.5, None, True, "x"]}}),
        (b'{"to": "caf\xc3\xa9"}', {"to": "caf\u00e9"}),
        (' \r\n{"a": 1}\t', {"a": 1}),
        ("", {}),
        (b"", {}),
        (" \n", {}),
        ("{}", {}),
        (Text('{"a": 1}'), {"a": 1}),
    ],
)
def test_a_text_is_the_object_that_it_holds(text: Any, value: dict[str, Any]) -> None:
    """A model writes nothing if a tool takes nothing."""
    assert JsonArguments(text).parse() == value


@pytest.mark.parametrize(
    ("text", "detail", "message"),
    [
        ('{"a": 1', "not_json", "the arguments are not JSON (cut off after 7 characters)"),
        ('{"a": }', "not_json", "the arguments are not JSON (at character 7 of 7)"),
        (b'{"a": "\xff"}', "not_json", "the arguments are not JSON (not UTF-8)"),
        (None, "not_json", "the arguments are not JSON (not text)"),
        ({"a": 1}, "not_json", "the arguments are not JSON (not text)"),
        ("{}{}", "trailing", "the arguments are followed by more text (at character 3 of 4)"),
        (
            '{"a": 1, "a": 2}',
            "duplicate_key",
            "an object in the arguments has the same key twice",
        ),
        ("[]", "not_object", "the arguments are JSON, but not an object"),
        ("null", "not_object", "the arguments are JSON, but not an object"),
        ('{"a": NaN}', "nan", "NaN and infinity are not JSON"),
        ("[" * 9000, "depth", "arguments are nested too deeply for this tool"),
        ("9" * 9000, "integer_range", "an integer is outside the 64-bit range"),
    ],
)
def test_a_text_that_is_no_object_is_refused_without_a_word_of_it(
    text: Any, detail: str, message: str
) -> None:
    """The message says where it goes wrong, so that the model can write it again."""
    assert refusal(text) == (detail, message)


def test_a_text_that_is_too_large_is_not_read() -> None:
    """The limit is that of the tool."""
    limits = ArgumentLimits(size=10)
    assert JsonArguments('{"a": 123}').parse(limits) == {"a": 123}
    assert refusal('{"a": 1234}', limits) == (
        "too_large",
        "the text of the arguments is too large for this tool (11 characters, at most 10 allowed)",
    )


def test_the_size_is_that_of_the_text() -> None:
    """Nothing has no size."""
    assert JsonArguments("ab").size == 2
    assert JsonArguments(b"abc").size == 3
    nothing: Any = None
    assert JsonArguments(nothing).size == 0


def test_its_repr_does_not_show_the_text() -> None:
    """It ends up in logs and tracebacks."""
    assert "hunter2" not in repr(JsonArguments('{"password": "hunter2"}'))


@given(text=st.text() | st.binary())
def test_any_text_is_an_object_or_refused(text: str | bytes) -> None:
    """Nothing else is ever raised."""
    with contextlib.suppress(ArgumentsError):
        assert type(JsonArguments(text).parse()) is dict
