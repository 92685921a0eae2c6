"""Reads the changes of settings from ``admin.config_changed`` records, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.words import counted
from guardrail.review.terminal import escape
from guardrail.review.values import obj, text

__all__ = ["SettingChange", "setting_changes"]

_ABSENT = {"not_in_force": "(not in force)", "not_recorded": "(not recorded)"}


@dataclass(frozen=True, slots=True)
class SettingChange:
    """The change of one setting, in a form that can be printed."""

    name: str
    """Name of the setting: ``section.key``."""
    old: str
    """The value before, as JSON without sensitive values, or words in parentheses."""
    new: str
    """The value from then on, in the same form."""


def setting_changes(record: Mapping[str, Any]) -> list[SettingChange]:
    """Return the changes in an ``admin.config_changed`` record. Records of earlier versions contain
    only the names of the settings.
    """
    detail = obj(record, "detail")
    changes = detail.get("changes")
    if isinstance(changes, list):
        return [
            SettingChange(
                escape(text(each, "name")), _described(each, "old"), _described(each, "new")
            )
            for each in changes
            if isinstance(each, Mapping)
        ]
    names = detail.get("changed")
    unknown = _ABSENT["not_recorded"]
    if not isinstance(names, list):
        return []
    return [SettingChange(escape(str(name)), unknown, unknown) for name in names]


def _described(change: Mapping[str, Any], side: str) -> str:
    form = obj(change, side)
    if "value" in form:
        return escape(json.dumps(form["value"], ensure_ascii=False))
    size = form.get("bytes")
    if type(size) is int:
        return f"({counted(size, 'byte')}, too large to be recorded)"
    return _ABSENT.get(text(form, "absent"), "(not recorded)")
