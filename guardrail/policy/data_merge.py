"""Combines the data documents of several files."""

from __future__ import annotations

from guardrail.core.types import Json

__all__ = ["merge_data"]


def merge_data(
    into: dict[str, Json], value: dict[str, Json], at: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Merge *value* into *into*, which is at the path *at*. Return the path of the first value that
    is in both, or None.
    """
    for key, item in value.items():
        if key not in into:
            into[key] = item
            continue
        present = into[key]
        if isinstance(present, dict) and isinstance(item, dict):
            clash = merge_data(present, item, (*at, key))
            if clash is not None:
                return clash
        else:
            # This is rejected even if both values are equal. Otherwise, the duplicate would be
            # noticed only after one of them is edited.
            return (*at, key)
    return None
