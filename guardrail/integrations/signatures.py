"""Copies a function's name, docstring and parameters to a wrapper that does not expose the
original.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["dress", "hints", "parameters"]


def dress(function: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Give *function* the name, docstring and signature of *original*, but no reference to it.
    Annotations are resolved.

    ``functools.wraps`` would set ``__wrapped__``, which exposes the ungoverned body to any code.
    Without that attribute, Python can't look up names in the annotations in the original's module,
    so the annotations are resolved here.
    """
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        value = getattr(original, name, None)
        if value is not None:
            setattr(function, name, value)
    try:
        signature = inspect.signature(original)
    except (TypeError, ValueError):
        return function
    found = hints(original)
    named = [
        parameter.replace(annotation=found.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
    ]
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=named, return_annotation=found.get("return", signature.return_annotation)
    )
    function.__annotations__ = found
    return function


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of *function*, keyed by name, or an empty mapping if its signature is
    not available.
    """
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of *function*. Each annotation is resolved separately; an annotation
    that can't be resolved remains a string.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {}
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    if not hasattr(inner, "__globals__") and not hasattr(inner, "__func__"):
        inner = type(inner).__call__
    inner = getattr(inner, "__func__", inner)
    namespace = getattr(inner, "__globals__", {})
    found = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.annotation is not parameter.empty
    }
    if signature.return_annotation is not signature.empty:
        found["return"] = signature.return_annotation
    return {name: _resolved(annotation, namespace) for name, annotation in found.items()}


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation

    def holder() -> None: ...

    holder.__annotations__ = {"value": annotation}
    try:
        return typing.get_type_hints(holder, globalns=namespace, include_extras=True)["value"]
    except Exception:  # noqa: BLE001 - evaluating a foreign annotation may raise anything; unresolved, it means nothing
        return annotation
