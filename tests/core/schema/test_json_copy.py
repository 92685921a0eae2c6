"""The private copy, for values that no schema looks at."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from guardrail.core.schema.json_copy import ArgumentLimits, Foreign, arguments_error, take
from guardrail.core.schema.snapshot import copy_json
from guardrail.errors import ArgumentsError


def test_flags_numbers_and_nothing_are_copied_in_lists_and_objects() -> None:
    """Each keeps its value and its type; nothing of the original is shared."""
    given: dict[str, Any] = {
        "f": 1.5,
        "n": None,
        "t": True,
        "l": [True, None, 1.5, 7, "x", [False]],
    }
    copied = take(given, ArgumentLimits())
    assert copied == given
    assert [type(item) for item in copied["l"]] == [bool, type(None), float, int, str, list]
    given["l"][5].append(1)
    given["l"].append(2)
    assert copied["l"] == [True, None, 1.5, 7, "x", [False]]


def test_a_value_of_a_foreign_type_is_kept_only_where_a_model_takes_it() -> None:
    """Otherwise it is refused, and the error names the declared place alone."""
    foreign = object()
    assert take({"a": [foreign]}, ArgumentLimits(), Foreign.KEPT) == {"a": [foreign]}
    with pytest.raises(ArgumentsError) as caught:
        copy_json({"a": {"b": foreign}}, schema={"properties": {"a": {}}})
    assert (caught.value.detail, caught.value.pointer) == ("not_json", "/a")


def test_an_error_shows_its_pointer_and_guardrails_own_remark() -> None:
    """Both are optional."""
    assert str(arguments_error("size")) == "arguments are too large for this tool"
    assert str(arguments_error("value", "/a", "3 of them")).endswith("(/a: 3 of them)")


def test_words_of_an_enumeration_are_plain_text() -> None:
    """In the copy there is nothing left of the class."""

    class Word(StrEnum):
        YES = "yes"

    copied = take({"w": Word.YES, "l": [Word.YES]}, ArgumentLimits())
    assert [type(copied["w"]), type(copied["l"][0])] == [str, str]
