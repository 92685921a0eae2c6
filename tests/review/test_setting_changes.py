"""The changes of settings in words, from records of any version."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.review.setting_changes import SettingChange, setting_changes


def changed(detail: dict[str, Any]) -> list[SettingChange]:
    """What a record with this detail says."""
    return setting_changes({"type": "admin.config_changed", "detail": detail})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"value": ["a", 1]}, '["a", 1]'),
        ({"value": None}, "null"),
        ({"omitted": "size", "bytes": 4_096}, "(4,096 bytes, too large to be recorded)"),
        ({"absent": "not_in_force"}, "(not in force)"),
        ({"absent": "not_recorded"}, "(not recorded)"),
        ({"absent": "of a later version"}, "(not recorded)"),
        ({"omitted": "size", "bytes": True}, "(not recorded)"),
        ("not an object", "(not recorded)"),
    ],
)
def test_each_form_of_a_value_has_words(form: object, words: str) -> None:
    """Those of later versions, and malformed ones, say nothing that is not recorded."""
    [change] = changed({"changes": [{"name": "a.b", "old": form, "new": form}]})
    assert change == SettingChange("a.b", words, words)


def test_a_record_of_an_earlier_version_names_the_settings() -> None:
    """It has no values."""
    assert changed({"changed": ["a.b"]}) == [
        SettingChange("a.b", "(not recorded)", "(not recorded)")
    ]
    assert changed({"changed": None}) == changed({}) == []


def test_nothing_recorded_reaches_the_terminal_raw() -> None:
    """Neither a name nor a value."""
    bad = "\x1b[2J\n"
    [change] = changed({"changes": [{"name": bad, "old": {"value": bad}, "new": {"value": bad}}]})
    assert not any(char in part for char in bad[:1] + "\n" for part in (change.name, change.old))
    assert changed({"changes": ["no object", 1]}) == []
