"""Finds the data that tests replace using ``with``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guardrail.policy.rego.tree import Module, reference

__all__ = ["supplied"]


def supplied(tests: Iterable[Module]) -> frozenset[tuple[str, ...]]:
    """Return the paths below ``data`` that *tests* set using ``with``. When policies are served,
    the program supplies these values.
    """
    found: set[tuple[str, ...]] = set()
    for module in tests:
        todo: list[Any] = [rule.node for rule in module.rules]
        while todo:
            value = todo.pop()
            if isinstance(value, dict):
                for change in value.get("with_mods") or ():
                    target = reference(change["refr"])
                    if target is not None and target.head == "data" and target.static:
                        found.add(target.static)
                todo += value.values()
            elif isinstance(value, list):
                todo += value
    return frozenset(found)
