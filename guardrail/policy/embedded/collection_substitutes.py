"""Replacements for built-in functions that read objects, arrays, sets and graphs. They return OPA's
results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from rego_values import (  # type: ignore[import-not-found]  # found in its own folder
    identity,
    require_complete,
    require_text,
    require_whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES", "read_path"]

_MOST_PATHS = 10_000


# Subsets.


def subset(whole: Any, part: Any) -> bool:
    """Return True if *part* is a subset of *whole*: two objects, two sets, two arrays, or an array
    and a set.
    """
    found = _collection_subset(whole, part)
    if found is not None:
        return found
    if isinstance(whole, list) and isinstance(part, set):
        return _array_covers(whole, part)
    raise ValueError("two types without subsets")


def _collection_subset(whole: Any, part: Any) -> bool | None:
    """Return whether *part* is a subset of *whole*, or None if they are not of one collection
    type.
    """
    if isinstance(whole, dict) and isinstance(part, dict):
        return _object_subset(whole, part)
    if isinstance(whole, set) and isinstance(part, set):
        return _set_subset(whole, part)
    if isinstance(whole, list) and isinstance(part, list):
        return _array_subset(whole, part)
    return None


def _object_subset(whole: dict[Any, Any], part: dict[Any, Any]) -> bool:
    require_complete(whole)
    require_complete(part)
    return all(key in whole and _value_subset(whole[key], part[key]) for key in part)


def _value_subset(whole: Any, part: Any) -> bool:
    found = _collection_subset(whole, part)
    return bool(identity(whole) == identity(part)) if found is None else found


def _set_subset(whole: set[Any], part: set[Any]) -> bool:
    require_complete(whole)
    require_complete(part)
    return part <= whole


def _array_subset(whole: list[Any], part: list[Any]) -> bool:
    """Return True if *part* occurs in *whole* without gaps."""
    needle, hay = list(map(identity, part)), list(map(identity, whole))
    if not needle:
        return True
    # For each position, the length of the longest beginning of the needle that ends there, so that
    # no item is compared twice (Knuth, Morris and Pratt).
    lengths = [0] * len(needle)
    size = 0
    for index in range(1, len(needle)):
        while size and needle[index] != needle[size]:
            size = lengths[size - 1]
        size += needle[index] == needle[size]
        lengths[index] = size
    size = 0
    for item in hay:
        while size and item != needle[size]:
            size = lengths[size - 1]
        size += item == needle[size]
        if size == len(needle):
            return True
    return False


def _array_covers(whole: list[Any], part: set[Any]) -> bool:
    """Return True if as many items of *whole* are in *part* as it has members. OPA counts an item
    again if it occurs again.
    """
    require_complete(part)
    members = set(map(identity, part))
    missing = len(members)
    for item in whole:
        missing -= identity(item) in members
        if not missing:
            return True
    return False


# Paths.


def read_path(path: object) -> list[Any]:
    """Return the segments of a path, which is a text with slashes or an array."""
    if isinstance(path, list | tuple):
        return list(path)
    text = require_text(path)
    if not text:
        return []
    parts = text.lstrip("/").split("/")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _selection(paths: object) -> dict[Any, Any]:
    """Return the tree of *paths*, keyed by the identity of each segment. A leaf is None; a path
    below a leaf is dropped.
    """
    if isinstance(paths, set):
        require_complete(paths)
    elif not isinstance(paths, list):
        raise ValueError("not an array or set")
    root: dict[Any, Any] = {}
    for path in paths:
        segments = [identity(segment) for segment in read_path(path)]
        node: dict[Any, Any] | None = root
        for segment in segments[:-1]:
            node = node.setdefault(segment, {}) if node is not None else None
        if segments and node is not None:
            node[segments[-1]] = None
    return root


def filter_paths(value: object, paths: object) -> Any:
    """Return the parts of an object that *paths* select."""
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return require_whole(_filtered(value, _selection(paths)))


def _filtered(value: Any, selection: dict[Any, Any] | None) -> Any:
    if selection is None:
        return value
    if isinstance(value, list):
        # The segments that select items of arrays are texts.
        return [
            _filtered(item, selection[str(index)])
            for index, item in enumerate(value)
            if str(index) in selection
        ]
    if isinstance(value, dict):
        require_complete(value)
        return {
            key: _filtered(item, selection[identity(key)])
            for key, item in value.items()
            if identity(key) in selection
        }
    if isinstance(value, set):
        require_complete(value)
        return {item for item in value if identity(item) in selection}
    return value


def remove_paths(value: object, paths: object) -> Any:
    """Return an object without the parts that *paths* select."""
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return require_whole(_without(value, _selection(paths)))


_NOWHERE: dict[Any, Any] = {}


def _without(value: Any, selection: dict[Any, Any]) -> Any:
    if not selection:
        return value
    if isinstance(value, list):
        return [
            _without(item, selection.get(str(index), _NOWHERE))
            for index, item in enumerate(value)
            if selection.get(str(index), _NOWHERE) is not None
        ]
    if isinstance(value, dict):
        require_complete(value)
        return {
            key: _without(item, selection.get(identity(key), _NOWHERE))
            for key, item in value.items()
            if selection.get(identity(key), _NOWHERE) is not None
        }
    if isinstance(value, set):
        require_complete(value)
        return {item for item in value if selection.get(identity(item), _NOWHERE) is not None}
    return value


def refuse(value: object) -> None:
    """Raise ``ValueError``: *value* has a type for which OPA raises an error."""
    raise ValueError(f"not a {type(value).__name__}")


# Graphs.


def _edges(graph: dict[Any, Any], node: Any) -> list[Any] | None:
    """Return the neighbours of *node*, or None if it is not in the graph."""
    scalar = node is None or isinstance(node, int | float | str)
    if not scalar or isinstance(node, bool) or node not in graph:
        return None
    edges = graph[node]
    if isinstance(edges, set):
        require_complete(edges)
        return list(edges)
    return edges if isinstance(edges, list) else []


class _Paths:
    """Collects the longest paths without a cycle."""

    def __init__(self, graph: dict[Any, Any]) -> None:
        self.graph = graph
        self.found: set[tuple[Any, ...]] = set()
        self.steps = 0

    def add(self, path: tuple[Any, ...]) -> None:
        require_complete(path)
        self.found.add(path)

    def follow(self, node: Any, path: tuple[Any, ...], reached: frozenset[Any]) -> None:
        """Add the paths that continue *path*, whose nodes are *reached*, with *node*."""
        self.steps += 1
        if self.steps > _MOST_PATHS:
            raise ValueError("too many paths")
        edges = _edges(self.graph, node)
        if edges is None:
            self.add(path)
            return
        path, reached = (*path, node), reached | {node}
        if not edges:
            self.add(path)
        for neighbour in edges:
            if identity(neighbour) in reached:
                self.add(path)
            else:
                self.follow(neighbour, path, reached)


def reachable_paths(graph: object, initial: object) -> set[Any]:
    """Return the paths that lead from *initial* through the graph, as tuples."""
    if not isinstance(graph, dict) or not isinstance(initial, list | set):
        raise ValueError("not a graph")
    require_complete(graph)
    if isinstance(initial, set):
        require_complete(initial)
    paths = _Paths(graph)
    for node in initial:
        edges = _edges(graph, node)
        if edges is not None and not edges:
            paths.add((node,))
        for neighbour in edges or ():
            # OPA does not look for a cycle at the first step.
            paths.follow(neighbour, (node,), frozenset([node]))
    return paths.found


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "guardrail.refuse": (1, refuse),
    "graph.reachable_paths": (2, reachable_paths),
    "json.filter": (2, filter_paths),
    "json.remove": (2, remove_paths),
    "object.subset": (2, subset),
}
"""Number of arguments and replacement of each function, by name."""
