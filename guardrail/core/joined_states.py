"""Joins the states of one subject whose records have it under several names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from guardrail.core.call_tally import EMPTY, MOST_RECENT, SUM, number
from guardrail.core.types import JsonObject

__all__ = ["joined"]


def _without_gaps(documents: Sequence[JsonObject], recent: Sequence[Any]) -> list[Any]:
    """Return *recent* by time. Calls of a tool that are older than a dropped one are left out, so
    that each dropped call of a tool is older than those that are left.
    """
    floors: dict[str, str] = {}
    for each in documents:
        held: Mapping[str, Any] = each
        for tool, counts in held["by_tool"].items():
            if not counts["recent_complete"]:
                kept = (str(entry["time"]) for entry in held["recent"] if entry["tool"] == tool)
                floors[tool] = max(floors.get(tool, ""), min(kept, default="~"))
    left = [entry for entry in recent if str(entry["time"]) >= floors.get(entry["tool"], "")]
    return sorted(left, key=lambda entry: str(entry["time"]))


def joined(documents: Sequence[JsonObject]) -> JsonObject:
    """Return one state for several of the same subject, whose records have it under several names:
    an id and its token, for example.
    """
    made: dict[str, Any] = dict(EMPTY)
    tools: dict[str, dict[str, Any]] = {}
    recent: list[Any] = []
    for each in documents:
        held: Mapping[str, Any] = each
        for name in ("calls", "denied", "in_flight"):
            made[name] += held[name]
        made["since"] = min(filter(None, (made["since"], held["since"])), default="")
        made["labels"] = sorted({*made["labels"], *held["labels"]})
        made["recent_complete"] = made["recent_complete"] and held["recent_complete"]
        recent.extend(held["recent"])
        for tool, counts in held["by_tool"].items():
            kept = tools.setdefault(
                tool,
                {
                    "calls": 0,
                    "denied": 0,
                    "in_flight": 0,
                    "amounts": {},
                    "recent_complete": True,
                },
            )
            kept["recent_complete"] = kept["recent_complete"] and counts["recent_complete"]
            for name in ("calls", "denied", "in_flight"):
                kept[name] += counts[name]
            for place, total in counts["amounts"].items():
                before = Decimal(str(kept["amounts"].get(place, 0)))
                kept["amounts"][place] = number(SUM.add(before, Decimal(str(total))))
    recent = _without_gaps(documents, recent)
    if len(recent) > MOST_RECENT:
        recent, made["recent_complete"] = recent[-MOST_RECENT:], False
        for counts in tools.values():
            counts["recent_complete"] = False
    return {**made, "by_tool": tools, "recent": recent}
