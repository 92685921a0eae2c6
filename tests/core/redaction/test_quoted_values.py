"""The values of a call that a text of its policy may quote."""

from __future__ import annotations

from typing import Any

from guardrail.core.redaction.quoted_values import QuotedValues
from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import REDACTOR


def quoted(
    args: dict[str, Any], *redact: str, schema: dict[str, Any] | None = None
) -> QuotedValues:
    """Return the classified values of *args*."""
    inspection = REDACTOR.inspect(args, schema=schema, declared=True, memory=Memory())
    return QuotedValues(inspection, redact)


def test_a_value_that_two_arguments_have_is_removed_once() -> None:
    values = quoted({"password": "opensesame", "pin": "opensesame", "list": ["opensesame"]})
    text = values.remove("is opensesame right?")
    assert text.startswith("is gr1:secret:-:")
    assert text.endswith(" right?")


def test_values_that_overlap_are_both_gone() -> None:
    """Also if there are so many values that they are searched in several batches."""
    many = [f"value-{index:05d}" for index in range(1_100)]
    values = quoted({"passwords": ["opensesame door", *many, "door opensesame"]})
    text = values.remove("opensesame door opensesame")
    assert "opensesame" not in text
    assert "door" not in text


def test_a_key_below_an_annotation_is_a_value() -> None:
    schema = {"properties": {"health": {"type": "object", "x-guardrail": {"class": "health"}}}}
    values = quoted({"health": {"diabetes-two": 1}}, schema=schema)
    assert "diabetes" not in values.remove("has diabetes-two")


def test_values_in_lists_and_behind_pointers_are_removed() -> None:
    values = quoted({"passwords": ["opensesame", "blue-horse"], "note": "wishful"}, "/note")
    text = values.remove("opensesame, blue-horse, wishful, unwishful")
    assert text.endswith(", unwishful")
    for value in ("opensesame", "blue-horse", " wishful"):
        assert value not in text


def test_a_call_without_classified_values_has_none() -> None:
    assert not quoted({"city": "Rome"})
