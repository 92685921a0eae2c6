"""Defaults for missing properties, collected once per schema and filled in for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from guardrail.core.schema.cost_limits import follow
from guardrail.core.schema.json_copy import ArgumentLimits, Refused, clone

__all__ = ["Defaults", "plan_defaults"]

_Sized: TypeAlias = tuple[Any, int, int, int]
"""The default, the number of values in it, their characters, and its levels of containers."""

_VISITS = 20
"""Maximum average number of visits to an object, because a recursive schema can describe one
location in many ways.
"""


class Defaults:
    """The defaults for one location in a schema and for everything below it. Recursive schemas
    share these objects, so they do not form a tree.
    """

    __slots__ = ("below", "items", "useful", "values")

    def __init__(self) -> None:
        self.values: dict[str, _Sized] = {}
        self.below: list[tuple[str, Defaults]] = []
        """The defaults below this location, in a list, because a property can be described several
        times.
        """
        self.items: list[Defaults] = []
        self.useful = False

    def fill(self, args: dict[str, Any], limits: ArgumentLimits) -> None:
        """Add to *args* a copy of every missing default, including those in nested objects and in
        arrays of objects.

        A missing object without its own default stays missing. Raises ``Refused`` if the result
        would exceed *limits*: a small schema could otherwise produce a huge value.
        """
        _fill_object(self, args, 1, _budget(limits))


def _budget(limits: ArgumentLimits) -> list[int]:
    return [limits.nodes, limits.size, limits.depth, _VISITS * limits.nodes]


def _fill_object(plan: Defaults, target: dict[str, Any], depth: int, budget: list[int]) -> None:
    budget[3] -= 1
    if budget[3] < 0:
        raise Refused("nodes")
    for key, default in plan.values.items():
        if key not in target:
            _charge(default, depth, budget)
            target[key] = clone(default[0])
    for key, below in plan.below:
        found = target.get(key)
        if type(found) is dict or type(found) is list:
            _fill(below, found, depth + 1, budget)


def _charge(default: _Sized, depth: int, budget: list[int]) -> None:
    _, nodes, size, levels = default
    budget[0] -= nodes
    budget[1] -= size
    if budget[0] < 0:
        raise Refused("nodes")
    if budget[1] < 0:
        raise Refused("size")
    if depth + levels > budget[2]:
        raise Refused("depth")


def _fill(plan: Defaults, target: Any, depth: int, budget: list[int]) -> None:
    if type(target) is dict:
        _fill_object(plan, target, depth, budget)
    elif type(target) is list:
        for below in plan.items:
            for item in target:
                _fill(below, item, depth + 1, budget)


def plan_defaults(
    root: dict[str, Any],
    fits: Callable[[str, Any], bool],
    limits: ArgumentLimits = ArgumentLimits(),  # noqa: B008 - frozen
) -> Defaults | None:
    """Return the defaults of *root*, or None if it has none.

    Only schemas that apply unconditionally are considered: ``properties`` and ``items``, through
    ``allOf`` and local references. Those in ``anyOf``, ``oneOf`` or ``if`` might not apply and are
    ignored. *root* has passed ``survey``. *fits* returns True if a value fits the part of *root* at
    a pointer. A default that does not fit, with the defaults below it filled in, is dropped, so the
    policy can see that the argument is missing. All checked values together stay within *limits*: a
    third-party schema can contain defaults that are expensive to check.
    """
    plans: dict[int, Defaults] = {}
    todo: list[dict[str, Any]] = []
    values = _Values(root)

    def plan_of(schema: Any) -> Defaults | None:
        if not isinstance(schema, dict):
            return None
        plan = plans.get(id(schema))
        if plan is None:
            plan = plans[id(schema)] = Defaults()
            todo.append(schema)
        return plan

    first = plan_of(root)
    parents: dict[int, list[Defaults]] = {}
    candidates: list[tuple[Defaults, str, dict[str, Any]]] = []
    while todo:
        schema = todo.pop()
        plan = plans[id(schema)]
        for part in _certain(root, schema):
            for key, item in _properties(part):
                nested = plan_of(item)
                if nested is not None:
                    plan.below.append((key, nested))
                    parents.setdefault(id(nested), []).append(plan)
                if key not in plan.values and (found := values.find(item)) is not None:
                    plan.values[key] = found
                    candidates.append((plan, key, item))
            nested = plan_of(part.get("items"))
            if nested is not None:
                plan.items.append(nested)
                parents.setdefault(id(nested), []).append(plan)
    if candidates:
        _drop_unfit(candidates, _pointers(root), fits, _budget(limits))
    _keep_useful(list(plans.values()), parents)
    return first if first is not None and first.useful else None


def _drop_unfit(
    candidates: list[tuple[Defaults, str, dict[str, Any]]],
    pointers: dict[int, str],
    fits: Callable[[str, Any], bool],
    budget: list[int],
) -> None:
    # Scalars come first, because a container is checked together with the defaults below it, of
    # which only those that fit are left by then.
    for plan, key, item in sorted(candidates, key=lambda found: found[0].values[found[1]][:0:-1]):
        value = clone(plan.values[key][0])
        try:
            _charge(plan.values[key], 1, budget)
            for name, below in plan.below:
                if name == key and type(value) in {dict, list}:
                    _fill(below, value, 2, budget)
            fit = fits(pointers[id(item)], value)
        except Refused:
            fit = False
        if not fit:
            del plan.values[key]


def _pointers(root: dict[str, Any]) -> dict[int, str]:
    """Return the RFC 6901 pointer of every object in *root*, keyed by the object's identity."""
    found: dict[int, str] = {}
    todo: list[tuple[str, Any]] = [("", root)]
    while todo:
        pointer, value = todo.pop()
        if isinstance(value, dict):
            found[id(value)] = pointer
            todo += [
                (f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", item)
                for key, item in value.items()
            ]
        elif isinstance(value, list):
            todo += [(f"{pointer}/{index}", item) for index, item in enumerate(value)]
    return found


class _Values:
    """The default of each schema, and its size, which is measured once."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._found: dict[int, _Sized | None] = {}

    def find(self, schema: Any) -> _Sized | None:
        if not isinstance(schema, dict):
            return None
        if id(schema) not in self._found:
            self._found[id(schema)] = None
            for part in _certain(self._root, schema):
                if "default" in part:
                    self._found[id(schema)] = (part["default"], *_size(part["default"]))
                    break
        return self._found[id(schema)]


def _certain(root: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield *schema* and the schemas that it always applies.

    This terminates, because ``survey`` rejects cycles.
    """
    seen: set[int] = set()
    todo: list[Any] = [schema]
    while todo:
        part = todo.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if "$ref" in part:
            todo.append(follow(root, part["$ref"]))
        every = part.get("allOf")
        if isinstance(every, list):
            todo += reversed(every)


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        yield from properties.items()


def _keep_useful(plans: list[Defaults], parents: dict[int, list[Defaults]]) -> None:
    """Drop every branch that contains no default, so that calls do not visit it."""
    todo = [plan for plan in plans if plan.values]
    while todo:
        plan = todo.pop()
        if not plan.useful:
            plan.useful = True
            todo += parents.get(id(plan), ())
    for plan in plans:
        plan.below = [(key, nested) for key, nested in plan.below if nested.useful]
        plan.items = [nested for nested in plan.items if nested.useful]


def _size(value: Any) -> tuple[int, int, int]:
    """Return the number of values, the number of characters and the nesting depth of a JSON
    value.
    """
    if isinstance(value, str):
        return 1, len(value), 0
    if isinstance(value, dict):
        parts = [_size(item) for item in value.values()]
        keys = sum(len(key) for key in value)
    elif isinstance(value, list):
        parts, keys = [_size(item) for item in value], 0
    else:
        return 1, 0, 0
    return (
        1 + sum(part[0] for part in parts),
        keys + sum(part[1] for part in parts),
        1 + max((part[2] for part in parts), default=0),
    )
