"""Separates a model's arguments from the injected arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guardrail.integrations.langchain.binding import Binding

__all__ = ["split"]


def split(
    binding: Binding, beside: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]]:
    """Separate the model's arguments from the injected arguments. Return the model's arguments, and
    a function that assembles all arguments for the body.

    Only names that are known to be injected bypass the policy. An argument with an unknown name is
    treated as the model's, so the policy judges it.
    """
    named = dict(kwargs)
    order = []
    for index, value in enumerate(args):
        name = binding.positional[index] if index < len(binding.positional) else f"arg{index}"
        if name in named:
            raise TypeError(f"{binding.name}: got multiple values for the argument {name}")
        named[name] = value
        order.append(name)
    outside = binding.injected | beside
    # A value that is the default object itself is omitted: the declared model fills it in without
    # validation, as LangChain does.
    missing = object()
    given = {
        name: value
        for name, value in named.items()
        if name not in outside and value is not binding.defaults.get(name, missing)
    }
    extra = {name: value for name, value in named.items() if name in outside}

    def assemble(arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        merged = {
            name: value
            for name, value in {**arguments, **extra}.items()
            if name in named or name not in binding.variadic
        }
        return [merged.pop(name) for name in order], merged

    return given, assemble
