"""The classes of governed tools: subclasses of the tools' own classes, whose bodies go through the
guard.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, cast
from weakref import WeakValueDictionary

from langchain_core.tools import BaseTool

from guardrail.integrations.langchain.binding import KEY, Binding
from guardrail.integrations.langchain.calls import governed_coroutine_method, governed_method
from guardrail.integrations.langchain.governed import Governed
from guardrail.integrations.langchain.injection import CALLABLES

__all__ = ["governed_class"]


_CLASSES: WeakValueDictionary[type, type] = WeakValueDictionary()
_CLASSES_LOCK = threading.Lock()


def governed_class(base: type[BaseTool]) -> type:
    """Return the governed subclass of *base*. Each class has exactly one governed subclass."""
    with _CLASSES_LOCK:
        made = _CLASSES.get(base)
        if made is None:
            ungoverned = functools.partial(_ungoverned, _inner_class(base))
            space: dict[str, Any] = {
                "__module__": __name__,
                "__doc__": base.__doc__,
                "_run": governed_method(base, ungoverned),
            }
            if base._arun is not BaseTool._arun:
                space["_arun"] = governed_coroutine_method(base, ungoverned)
            made = _new_class(base, f"Governed{base.__name__}", (Governed, base), space)
            _CLASSES[base] = made
        return made


def _new_class(base: type, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> type:
    # Use the metaclass of the tool's class: pydantic's metaclass, or a metaclass that the program
    # derived from it.
    metaclass: Any = type(base)
    return cast("type", metaclass(name, bases, space))


def _ungoverned(cls: type, tool: BaseTool) -> BaseTool:
    """Return the ungoverned tool inside *tool*, with the same state and the original class, so that
    a body that calls ``self._run`` counts as one call.
    """
    inner = cast("BaseTool", object.__new__(cls))
    object.__setattr__(inner, "__dict__", tool.__dict__)
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(inner, slot, getattr(tool, slot))
    return inner


def _inner_class(base: type[BaseTool]) -> type:
    """Return the class of the ungoverned tool: *base*, or a subclass whose ``func`` and
    ``coroutine`` are the original bodies.
    """
    fields = [field for field in CALLABLES if field in base.model_fields]
    if not fields:
        return base
    space = {"__module__": base.__module__, "__doc__": base.__doc__}
    made = _new_class(base, base.__name__, (base,), space)
    for field in fields:
        # Set after the class is created, because pydantic rejects a property with the name of a
        # field. Attribute access prefers the property.
        setattr(made, field, _raw_field(field))
    return made


def _raw_field(field: str) -> property:
    def read(self: BaseTool) -> Any:
        value = self.__dict__.get(field)
        binding: Binding = self.__dict__[KEY]
        return value if value is None else binding.raw.get(value, value)

    def write(self: BaseTool, value: Any) -> None:
        self.__dict__[field] = value

    return property(read, write)
