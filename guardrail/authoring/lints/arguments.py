"""Finds deny rules that would not fire if an argument or the model name that they depend on is
missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.authoring.lints.findings import Code, Lint, lint
from guardrail.authoring.lints.flow import ValueFlow
from guardrail.authoring.lints.shape import ARGS, CONTEXT, ZONES, InputShape, Path, written
from guardrail.authoring.lints.walk import Event, EventKind
from guardrail.policy.rego.tree import reference

__all__ = ["check"]


def check(event: Event, flow: ValueFlow, shape: InputShape) -> Iterator[Lint]:
    """Yield a lint for each read of an argument, or of a field that the program may omit, if a call
    in which the value is missing would be allowed.
    """
    if event.what is not EventKind.READ or not event.open or not _reads(event, flow):
        return
    tools = event.frame.tools
    checked = {guard.path for guard in event.guards}
    for origin in flow.origins(event.node, event.frame):
        path = origin.path
        while path and path[-1] is None:
            # An element of a list is always present if the list is.
            path = path[:-1]
        about = _context(path)
        if about and not (origin.sure or shape.unknown(path) or _is_checked(path, checked)):
            yield _unsaid(event, path, about)
        if path[: len(ZONES)] == ZONES and len(path) > len(ZONES) and not origin.sure:
            yield _zone(event)
        if path[: len(ARGS)] != ARGS or len(path) == len(ARGS) or origin.sure:
            continue
        if path[len(ARGS)] is None or path in checked or shape.always(path, tools):
            continue
        if shape.undeclared(path, tools):
            yield _undeclared(event, path, shape)
        else:
            yield _optional(event, path)


def _context(path: Path) -> str:
    """Return the object that contains *path* if that object is null unless the program supplies it.
    Otherwise, return an empty string.
    """
    return next(
        (
            written(where)
            for where in CONTEXT
            if len(path) > len(where) and path[: len(where)] == where
        ),
        "",
    )


def _is_checked(path: Path, checked: set[Path]) -> bool:
    return any(path[: len(at)] == at for at in checked)


def _reads(event: Event, flow: ValueFlow) -> bool:
    """Return True if *event* reads the value instead of only assigning it to another name."""
    found = reference(event.node)
    assert found is not None
    if found.head is None or found.head == "input" or found.head in event.frame.scope.imports:
        return found.head is not None
    if found.head in event.frame.definition.rule.local:
        return bool(found.parts)
    definitions, used = flow.named(found, event.frame)
    names = [item.rule.simple is not None for item in definitions if not item.rule.default]
    return len(found.parts) > used or all(names)


def _effect(event: Event) -> str:
    # The path from an allow rule to this event contains a ``not``.
    root = event.root
    if root.name == "allow":
        return f"without it, the allow rule on line {root.line} allows the call"
    return f"without it, the {root.name} rule on line {root.line} does not fire"


def _optional(event: Event, path: Path) -> Lint:
    name = written(path[len(ARGS) :])
    top = path[len(ARGS)]
    value = (
        f'data.guardrail.lib.args.value("{top}", ...)'
        if len(path) == len(ARGS) + 1
        else "object.get"
    )
    return lint(
        event,
        Code.OPTIONAL_ARGUMENT,
        f"the argument {name} may be missing; {_effect(event)}",
        (
            f"negate a rule that describes the allowed calls; or use {value} or a type check "
            "(is_...) in the same body; or pass the tools' schemas with --tools"
        ),
    )


def _unsaid(event: Event, path: Path, about: str) -> Lint:
    return lint(
        event,
        Code.OPTIONAL_CONTEXT,
        f"input.{about} is null if the program does not set it; {_effect(event)}",
        f"negate a rule that describes the allowed calls; or add is_string(input.{written(path)}) "
        "to the same body",
    )


def _zone(event: Event) -> Lint:
    return lint(
        event,
        Code.OPTIONAL_CONTEXT,
        f"input.context.zones may lack this time zone; {_effect(event)}",
        "use data.guardrail.lib.time, whose functions fail the decision instead",
    )


def _undeclared(event: Event, path: Path, shape: InputShape) -> Lint:
    name = written(path[len(ARGS) :])
    similar = shape.similar(path, event.frame.tools)
    return lint(
        event,
        Code.UNDECLARED_ARGUMENT,
        f"none of the rule's tools declares the argument {name}; {_effect(event)}",
        f"did you mean {similar!r}?" if similar else "check the names of the argument and the tool",
    )
