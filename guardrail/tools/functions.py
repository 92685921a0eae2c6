"""Describes a Python callable as a tool: converts the signature and the docstring to a pydantic
model.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from guardrail.errors import UsageError
from guardrail.tools.docstrings import read_docstring

__all__ = [
    "FunctionSignature",
    "innermost",
    "is_generator",
    "is_method",
    "owner_parameter",
    "read_function",
    "returns_coroutine",
    "visible_signature",
]


_OWNERS = ("self", "cls")


@dataclass(frozen=True, slots=True)
class FunctionSignature:
    """The parameters of a function, as a pydantic model."""

    name: str | None
    """``__name__`` of the function, or None if it has no name."""
    description: str
    model: type[BaseModel]
    parameters: dict[str, str]
    """The function's keyword for each field of the model. The fields have generated names, because
    a parameter can have a name that pydantic reserves, such as ``schema``.
    """


def is_generator(function: Callable[..., Any]) -> bool:
    """Return True if *function*, or the function that it wraps, is a sync or async generator
    function.
    """
    inner = innermost(function)
    return inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)


def returns_coroutine(function: Callable[..., Any]) -> bool:
    """Return True if *function* is a coroutine function, an object whose ``__call__`` is a
    coroutine function, or a ``functools.partial`` of either.
    """
    inner = _unwrap_partials(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)


def is_method(function: Callable[..., Any]) -> bool:
    """Return True if *function* is defined in a class and receives an object or the class as its
    first argument.
    """
    if not inspect.isfunction(function):
        return False
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.name not in _OWNERS:
        return False
    scope = function.__qualname__.rpartition(".")[0]
    return first.annotation is first.empty or (bool(scope) and not scope.endswith("<locals>"))


def owner_parameter(method: Callable[..., Any]) -> str:
    """Return the name of the parameter of *method* that receives its object. Raises ``UsageError``
    if there is no such parameter.
    """
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            return parameter.name
    raise UsageError("a method needs a parameter for its object", code="usage.signature")


def innermost(function: Callable[..., Any]) -> Any:
    """Return the function inside all partials, wrappers and bound methods of *function*. A class is
    returned unchanged.
    """
    inner: Any = function
    for _ in range(64):
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner) or isinstance(inner, staticmethod | classmethod):
            inner = inner.__func__
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif not inspect.isroutine(inner) and not isinstance(inner, type):
            inner = type(inner).__call__
        else:
            break
    return inner


def read_function(
    function: Callable[..., Any], injected: Collection[str] = ()
) -> FunctionSignature:
    """Return the parameters of *function* as a model that rejects unknown arguments.

    Parameters listed in *injected*, and parameters that a ``functools.partial`` has bound, are
    omitted, because the program supplies them. The parameters of a class are those of its
    constructor. Raises ``UsageError`` for ``*args``, ``**kwargs``, positional-only parameters, and
    annotations that can't be resolved.
    """
    if not callable(function):
        raise UsageError("a tool must be a function or another callable", code="usage.tool")
    inner = innermost(function)
    description, texts = read_docstring(inspect.getdoc(inner))
    if isinstance(inner, type):
        inner = _constructor(inner)
        texts = {**read_docstring(inspect.getdoc(inner))[1], **texts}
    fields: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    for parameter in _parameters(function, injected):
        field = f"a{len(fields)}"
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[field] = (_annotation(parameter, inner, texts.get(parameter.name, "")), default)
        parameters[field] = parameter.name
    name = _name_of(function)
    problem = ""
    try:
        model = create_model(
            name or "Arguments",
            __config__=ConfigDict(extra="forbid", validate_default=True),
            __doc__=description or None,
            **fields,
        )
    except Exception as error:  # noqa: BLE001 - border: annotations bring their own code, and pydantic its own tree
        problem = type(error).__name__
    if problem:
        raise UsageError(
            f"the signature can't be converted to a schema ({problem})", code="usage.signature"
        )
    return FunctionSignature(name, description, model, parameters)


def _unwrap_partials(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(function: Any) -> str | None:
    inner = _unwrap_partials(function)
    if isinstance(inner, type):
        return inner.__name__
    return getattr(innermost(inner), "__name__", None) if inspect.isroutine(inner) else None


def _constructor(cls: type) -> Any:
    """Return the function that determines the parameters for calling *cls*."""
    made = cls.__dict__.get("__signature__")  # pydantic's models define this attribute
    chosen: Any = cls.__new__ if cls.__init__ is object.__init__ else cls.__init__  # type: ignore[misc]
    return cls if made is not None else innermost(chosen)


def visible_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of *function* without the parameters that a ``functools.partial`` has
    bound. Raises ``UsageError`` if the function has no signature.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise UsageError("the callable has no signature", code="usage.signature") from None
    bound: set[str] = set()
    while isinstance(function, functools.partial):
        bound.update(function.keywords)
        function = function.func
    if not bound:
        return signature
    kept = [each for each in signature.parameters.values() if each.name not in bound]
    return signature.replace(parameters=kept)


def _parameters(function: Callable[..., Any], injected: Collection[str]) -> list[inspect.Parameter]:
    kept = []
    for number, parameter in enumerate(visible_signature(function).parameters.values()):
        if parameter.name in injected:
            continue
        if number == 0 and parameter.name in _OWNERS and parameter.annotation is parameter.empty:
            # The language model would have to supply the object, so every call would be denied.
            raise UsageError(
                (
                    "this is an unbound method, and a model can't supply the object for its "
                    f"argument {parameter.name}"
                ),
                code="usage.method",
                hint="make a tool from the bound method: find = guard.tool(orders.find)",
            )
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise UsageError(
                "*args and **kwargs have no schema: name each parameter", code="usage.signature"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise UsageError(
                "a parameter is positional-only, but tools are called with keyword arguments",
                code="usage.signature",
            )
        kept.append(parameter)
    return kept


def _annotation(parameter: inspect.Parameter, inner: Any, described: str) -> Any:
    """Return a parameter's annotation for the model, including its alias and its description from
    the docstring or ``Annotated``.
    """
    annotation = _resolve_annotation(parameter, inner)
    metadata: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
    if metadata:
        annotation = annotation.__origin__
    text = described or next((item for item in metadata if isinstance(item, str)), "")
    # Later metadata overrides earlier metadata: the program's Field overrides the docstring, and
    # the parameter's name overrides every alias.
    infos = [Field(description=text)] if text else []
    try:
        if parameter.default is None and annotation is not Any:
            # Many programs write ``limit: int = None``.
            annotation = annotation | None
        return Annotated[(annotation, *infos, *metadata, Field(alias=parameter.name))]
    except (TypeError, AttributeError):
        pass
    raise UsageError(
        f"the annotation of parameter {parameter.name} is not a type", code="usage.signature"
    )


def _resolve_annotation(parameter: inspect.Parameter, inner: Any) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    # Each annotation is resolved separately, because the annotation of an injected parameter may be
    # importable only by type checkers.
    holder = types.SimpleNamespace(__annotations__={"value": parameter.annotation})
    try:
        hints = typing.get_type_hints(
            holder, globalns=getattr(inner, "__globals__", {}), include_extras=True
        )
    except Exception:  # noqa: BLE001 - border: evaluating an annotation runs the program's own code
        hints = {}
    if "value" not in hints:
        raise UsageError(
            f"the annotation of parameter {parameter.name} can't be resolved",
            code="usage.signature",
            hint="import it where the function is defined, at module level",
        )
    return hints["value"]
