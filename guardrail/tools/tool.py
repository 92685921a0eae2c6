"""A tool as the guard sees it, including how the tool's arguments are validated and copied."""

from __future__ import annotations

import functools
import json
import sys
import threading
import unicodedata
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.amounts import check_amounts
from guardrail.core.effect_values import check_effect_values
from guardrail.core.schema.compiled import Checker, CompiledSchema, UnknownArguments, compile_schema
from guardrail.core.schema.json_copy import ArgumentLimits, clone
from guardrail.core.schema.snapshot import Snapshot, snapshot
from guardrail.errors import ConfigError, SchemaError, SchemaWarning, UsageError
from guardrail.tools.options import amount_pointers, key_pointers, labels_of, pointers_of

__all__ = [
    "Tool",
    "ToolRegistry",
    "check_options",
    "declare",
    "from_function",
    "take_json",
    "tool_name",
    "undeclared",
]

_MAX_NAME = 256
_LONGEST = 1_000_000
"""Maximum timeout for a tool in seconds (eleven days). The system's timers do not accept much
larger numbers.
"""
_LAMBDA = "<lambda>"
"""``__name__`` of every lambda."""
# Unicode categories: control, format (including bidi marks), surrogate, private, unassigned; line
# and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Tool:
    """A declared tool. Immutable."""

    name: str
    server: str | None = None
    """The tool server that the tool belongs to, or None for the program's own tool."""
    declared: bool = False
    """False if there is no accepted schema. The policy sees this flag, and records of calls of an
    undeclared tool contain only the minimal view of the arguments.
    """
    schema: CompiledSchema | None = None
    target: tuple[str, ...] = ()
    """RFC 6901 pointers to the arguments that identify the object that the tool acts on."""
    labels: tuple[str, ...] = ()
    """Labels for the policy, which sees them as ``resource.properties.labels``."""
    amounts: tuple[str, ...] = ()
    """RFC 6901 pointers to the arguments that are amounts, which policies add up."""
    effect_key: tuple[str, ...] = ()
    """RFC 6901 pointers to the arguments that identify the effect of a call, which may happen once.
    """
    log_output: bool = False
    """True if the redacted result is recorded in addition to its type, size and token."""
    model: Any = None
    """The pydantic model that coerces the arguments, or None if a plain JSON Schema checks them."""
    description: str = ""
    unsafe_stream: bool = False
    """True if the body may be a generator, which runs after its outcome is recorded."""
    refused: str = ""
    """The error code if the schema was rejected (``schema.<detail>``), ``NOT_REQUESTED`` if the
    model was not offered the tool, otherwise an empty string.
    """
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The body's keyword argument for each field of ``model``."""
    timeout: float | None = None
    """Time limit for a body in seconds, or None for no limit."""
    take: Callable[[object], tuple[Snapshot, Mapping[str, Any]]] = field(
        init=False, repr=False, compare=False
    )
    """Returns the snapshot for policy and record, and the keyword arguments for the body. Uses
    ``guardrail.tools.models.take_model`` if there is a model, otherwise ``take_json``.

    The snapshot, the keyword arguments and the caller's arguments do not share containers, so the
    body can't change the record, and the caller can't change the body's arguments. Raises only
    ``ArgumentsError``.
    """

    def __post_init__(self) -> None:
        take: Callable[[object], tuple[Snapshot, Mapping[str, Any]]]
        if self.model is None or self.schema is None:
            take = functools.partial(take_json, self.schema)
        else:
            from guardrail.tools.models import take_model

            take = functools.partial(take_model, self.model, self.schema, self.parameters)
        if self.amounts or self.effect_key:
            take = functools.partial(_take_declared, take, self.amounts, self.effect_key)
        object.__setattr__(self, "take", take)

    @property
    def limits(self) -> ArgumentLimits:
        """Limits on the size of a call's arguments."""
        return ArgumentLimits() if self.schema is None else self.schema.limits


def take_json(schema: CompiledSchema | None, args: object) -> tuple[Snapshot, dict[str, Any]]:
    """Check *args* against the JSON Schema, if there is one, and return the snapshot and a copy of
    the snapshot for the body. Raises only ``ArgumentsError``.
    """
    taken = snapshot(schema, args)
    return taken, clone(taken.args)


def _take_declared(
    take: Callable[[object], tuple[Snapshot, Mapping[str, Any]]],
    amounts: tuple[str, ...],
    effect_key: tuple[str, ...],
    args: object,
) -> tuple[Snapshot, Mapping[str, Any]]:
    """Return the result of *take*, whose snapshot has a valid amount at each of *amounts*, and a
    value at each pointer of *effect_key*.
    """
    taken = take(args)
    check_amounts(taken[0].args, amounts)
    check_effect_values(taken[0].args, effect_key)
    return taken


def tool_name(name: object) -> str:
    """Return *name* if it can be displayed and recorded unchanged.

    Raises ``UsageError`` if *name* is not a string, is empty, is longer than 256 characters, begins
    or ends with a space, or contains control, format (bidi), private or unassigned characters, line
    breaks or lone surrogates.
    """
    return _check_shown(name, "a tool name")


def _check_shown(name: object, what: str) -> str:
    if type(name) is not str or not name:
        raise UsageError(f"{what} must be a non-empty string", code="usage.name")
    if len(name) > _MAX_NAME:
        raise UsageError(f"{what} must have at most {_MAX_NAME} characters", code="usage.name")
    if name != name.strip() or any(
        unicodedata.category(character) in _REFUSED_CATEGORIES for character in name
    ):
        raise UsageError(
            f"{what} contains line breaks, control or format characters, or begins or ends with "
            "a space",
            code="usage.name",
        )
    return name


def _labels(labels: Sequence[str]) -> tuple[str, ...]:
    shown = (
        labels if isinstance(labels, str) else [_check_shown(each, "a label") for each in labels]
    )
    return labels_of(shown)


def _seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    if type(timeout) not in {int, float} or not 0 < timeout <= _LONGEST:  # type: ignore[operator]
        raise UsageError(
            f"timeout must be a number of seconds above 0 and at most {_LONGEST:,}",
            code="usage.timeout",
            hint="timeout=30, or None for no limit",
        )
    return float(timeout)  # type: ignore[arg-type]


def undeclared(name: str, server: str | None = None) -> Tool:
    """Return an undeclared tool. Raises ``UsageError`` for a name that can't be recorded."""
    return Tool(
        name=tool_name(name),
        server=None if server is None else _check_shown(server, "a server name"),
    )


def declare(
    name: str,
    *,
    schema: Any = None,
    server: str | None = None,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    amounts: Sequence[str] = (),
    effect_key: Sequence[str] = (),
    log_output: bool = False,
    unsafe_stream: bool = False,
    timeout: float | None = None,
    description: str = "",
    unknown: UnknownArguments = UnknownArguments.ACCEPT,
) -> Tool:
    """Return a tool with *schema*, which is a JSON Schema, a pydantic model class, or None.

    A JSON Schema may come from a different program. If it is rejected, no exception is raised: the
    tool counts as undeclared, ``refused`` contains the code, and a ``SchemaWarning`` states the
    tool and the reason. *unknown* determines how a JSON Schema treats arguments that it does not
    declare. A model is part of the program, so ``SchemaError`` is raised if it can't be used.
    Raises ``UsageError`` for an invalid name, label, target, amount or timeout.
    """
    compiled, model, refused = _compiled(name, schema, unknown)
    parameters = {} if model is None else {field: field for field in model.model_fields}
    if model is not None:
        description = description or (model.__doc__ or "").strip()
    return Tool(
        name=tool_name(name),
        server=None if server is None else _check_shown(server, "a server name"),
        declared=compiled is not None,
        schema=compiled,
        target=pointers_of("target", target, "/account"),
        labels=_labels(labels),
        amounts=amount_pointers(amounts, compiled),
        effect_key=key_pointers(effect_key, compiled),
        log_output=log_output,
        model=model,
        description=description,
        unsafe_stream=unsafe_stream,
        refused=refused,
        parameters=parameters,
        timeout=_seconds(timeout),
    )


def _compiled(
    name: str, schema: Any, unknown: UnknownArguments
) -> tuple[CompiledSchema | None, Any, str]:
    """Return the compiled *schema*, the pydantic model that it is, and the code with which it was
    rejected.
    """
    if schema is None:
        return None, None, ""
    if isinstance(schema, type):
        from guardrail.tools.models import describe, is_model

        if not is_model(schema):
            raise UsageError(
                "schema must be a JSON Schema or a pydantic model", code="usage.schema"
            )
        return compile_schema(describe(schema), checker=Checker.MODEL), schema, ""
    try:
        return compile_schema(schema, unknown=unknown), None, ""
    except SchemaError as error:
        _warn(name, error)
        return None, None, error.code


def _warn(name: str, error: SchemaError) -> None:
    """Warn that a tool's schema was rejected. The warning appears once for each line in the program
    that declares the tool.
    """
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("guardrail."):
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"guardrail rejects the schema of the tool {tool_name(name)!r} ({error.code}: "
        f"{error.message}); the tool counts as undeclared until its schema is accepted",
        SchemaWarning,
        stacklevel=level,
    )


def from_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    server: str | None = None,
    description: str | None = None,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    amounts: Sequence[str] = (),
    effect_key: Sequence[str] = (),
    log_output: bool = False,
    unsafe_stream: bool = False,
    timeout: float | None = None,
    injected: Collection[str] = (),
) -> Tool:
    """Return a tool for *function*. The name, schema and descriptions come from the signature and
    the docstring.

    *function* may be a coroutine function, a method, a class, a ``functools.partial`` or any other
    callable. Parameters listed in *injected* are not arguments of the tool, because the program
    supplies them. Raises ``UsageError`` for generators (unless *unsafe_stream*), ``*args``,
    ``**kwargs`` and signatures without a schema, and ``SchemaError`` for types that can't be
    rebuilt from JSON.
    """
    from guardrail.tools.functions import is_generator, read_function
    from guardrail.tools.models import describe

    signature = read_function(function, injected)
    if not unsafe_stream and is_generator(function):
        raise UsageError(
            "a generator would run after its outcome was recorded",
            code="usage.generator",
            hint="return a list, or declare the tool with unsafe_stream=True",
        )
    if name is None and signature.name is None:
        raise UsageError("a callable object has no name: pass name=", code="usage.name")
    if name is None and signature.name == _LAMBDA:
        raise UsageError(
            "a lambda has no name that a policy could use",
            code="usage.name",
            hint='pass name="find_order", or define a function',
        )
    schema = compile_schema(describe(signature.model), checker=Checker.MODEL)
    return Tool(
        name=tool_name(signature.name if name is None else name),
        server=None if server is None else _check_shown(server, "a server name"),
        declared=True,
        schema=schema,
        target=pointers_of("target", target, "/account"),
        labels=_labels(labels),
        amounts=amount_pointers(amounts, schema),
        effect_key=key_pointers(effect_key, schema),
        log_output=log_output,
        model=signature.model,
        description=signature.description if description is None else description,
        unsafe_stream=unsafe_stream,
        parameters=signature.parameters,
        timeout=_seconds(timeout),
    )


def check_options(options: Collection[str], allowed: Collection[str]) -> None:
    """Raise ``TypeError``, with Python's own message, if *options* contains an option that is not
    in *allowed*.
    """
    for name in options:
        if name not in allowed:
            raise TypeError(f"tool() got an unexpected keyword argument {name!r}")


class ToolRegistry:
    """One guard's tools, keyed by name and server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tools: dict[tuple[str, str | None], Tool] = {}

    def get(self, name: str, server: str | None = None) -> Tool:
        """Return the tool, or an undeclared tool with that name. Raises ``UsageError`` for a name
        that can't be recorded.
        """
        try:
            # No lock is needed: a lookup is atomic, and an entry is replaced but never changed.
            found = self._tools.get((name, server))
        except TypeError:
            found = None
        return undeclared(name, server) if found is None else found

    def put(self, tool: Tool, *, replace: bool = False) -> Tool:
        """Register *tool*, and return the registered tool.

        A second declaration of the same tool must be identical, except for the description in the
        schema. Otherwise, raises ``ConfigError``, because two parts of the program would disagree
        about how the tool is checked and recorded. If *replace* is True, the new declaration
        replaces the old one.
        """
        key = (tool.name, tool.server)
        with self._lock:
            known = self._tools.get(key)
            if known is not None and not replace and not _same(known, tool):
                raise ConfigError(
                    f"{tool.name}: a tool with this name and server is already declared "
                    "with a different schema or different options",
                    code="config.tool",
                    hint="use a different name or server, or declare it only once",
                )
            self._tools[key] = tool
        return tool

    def all(self) -> list[Tool]:
        """Return every registered tool, in order of declaration."""
        with self._lock:
            return list(self._tools.values())

    def names(self) -> list[tuple[str, str | None]]:
        """Return (name, server) for every registered tool, in order of declaration."""
        with self._lock:
            return list(self._tools)


def _same(known: Tool, tool: Tool) -> bool:
    """Return True if both tools are checked and recorded in the same way."""
    return _declared_fields(known) == _declared_fields(tool) and (
        _digest(known) == _digest(tool) or _checks(known) == _checks(tool)
    )


def _digest(tool: Tool) -> str | None:
    return None if tool.schema is None else tool.schema.digest


def _checks(tool: Tool) -> str | None:
    """Return the schema without the description, which a framework may generate differently for
    each agent.
    """
    if tool.schema is None:
        return None
    rest = {name: value for name, value in tool.schema.schema.items() if name != "description"}
    return json.dumps(rest, sort_keys=True)


def _declared_fields(tool: Tool) -> tuple[object, ...]:
    return (
        tool.declared,
        tool.target,
        tool.labels,
        tool.amounts,
        tool.effect_key,
        tool.log_output,
        tool.unsafe_stream,
        tool.refused,
        tool.model is None,
        tool.timeout,
    )
