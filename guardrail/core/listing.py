"""Reads the policy's answer about a tool in a listing: whether the tool is offered to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from guardrail.core.decision import CONTRACT

__all__ = ["ListingAnswer", "parse_listing"]

_KEYS = frozenset({"contract", "offered", "rules"})
_MAX_RULES = 256
_MAX_TEXT = 4_096


class ListingAnswer(NamedTuple):
    """The answer about one tool."""

    offered: bool
    """True only if the answer is well-formed and no rule hides the tool."""
    problem: str = ""
    """The code of the problem with the answer, or an empty string if the answer is well-formed."""


def parse_listing(document: object) -> ListingAnswer:
    """Return the answer in *document*. Never raises an exception: an answer that is not well-formed
    hides the tool.
    """
    if not isinstance(document, Mapping):
        return ListingAnswer(offered=False, problem="not_object")
    if set(document) != _KEYS:
        return ListingAnswer(offered=False, problem="keys")
    if document["contract"] != CONTRACT:
        return ListingAnswer(offered=False, problem="contract")
    offered, rules = document["offered"], document["rules"]
    if type(offered) is not bool:
        return ListingAnswer(offered=False, problem="offered")
    if type(rules) is not list or len(rules) > _MAX_RULES or not all(map(_is_rule, rules)):
        return ListingAnswer(offered=False, problem="rules")
    if offered is bool(rules):
        return ListingAnswer(offered=False, problem="contradiction")
    return ListingAnswer(offered)


def _is_rule(entry: object) -> bool:
    if not isinstance(entry, Mapping):
        return False
    name = entry.get("rule")
    return type(name) is str and 0 < len(name) <= _MAX_TEXT
