"""Finds the names of the tools that a request offers to the model. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from guardrail.model_apis.api import Api

__all__ = ["NOTHING_OFFERED", "TOOL_SETS", "OfferedTools", "offered_tools"]

_SPACE = "namespace"
TOOL_SETS = {"browser_toolset": "browser", "computer_toolset": "computer"}
"""Types of Anthropic's tool sets, without their dates, mapped to the names that calls use."""


class OfferedTools(NamedTuple):
    """The tools that a request offers to the model. The contents have not been checked."""

    names: frozenset[str] = frozenset()
    """Names of tools outside namespaces."""
    members: frozenset[tuple[str, str]] = frozenset()
    """Pairs of (namespace, name of a tool in the namespace)."""
    sets: frozenset[str] = frozenset()
    """Names of tool sets, whose tools the provider defines."""

    def has_member(self, space: object, name: object) -> bool:
        """Return True if the tool *name* was offered in the namespace or tool set *space*. Both
        arguments can be any value.
        """
        if not isinstance(space, str) or not isinstance(name, str):
            return False
        return space in self.sets or (space, name) in self.members


NOTHING_OFFERED = OfferedTools()


def offered_tools(api: Api, body: Mapping[str, Any]) -> OfferedTools:
    """Return the tools that the request *body* offers to the model."""
    names: set[str] = set()
    members: set[tuple[str, str]] = set()
    sets: set[str] = set()
    for tool in _tools(body):
        kind = str(tool.get("type"))
        name = _name_of(tool)
        if api is Api.RESPONSES and kind == _SPACE:
            inner = [_name_of(each) for each in _objects(tool.get("tools"))]
            members.update((str(name), each) for each in inner if each is not None)
        elif api is Api.MESSAGES and kind.rpartition("_")[0] in TOOL_SETS:
            sets.add(TOOL_SETS[kind.rpartition("_")[0]])
        elif name is not None:
            names.add(name)
    return OfferedTools(frozenset(names), frozenset(members), frozenset(sets))


def _tools(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from _objects(body.get("tools"))
    yield from _objects(body.get("functions"))
    for item in _objects(body.get("input")):
        yield from _objects(item.get("tools"))


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in (value if isinstance(value, list) else ()) if type(each) is dict)


def _name_of(tool: Mapping[str, Any]) -> str | None:
    inner = tool.get("function") or tool.get("custom")
    found = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return found if isinstance(found, str) else None
