"""The classes of governed tools: subclasses of each tool's own class whose bodies go through the
guard.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn, cast
from weakref import WeakValueDictionary

from langchain_core.tools import BaseTool

from guardrail.errors import ApprovalRequired, Denied, UsageError
from guardrail.integrations.langchain.binding import KEY, Binding, binding_of
from guardrail.integrations.langchain.calls import (
    INVOCATION,
    Invocation,
    aexecute,
    execute,
    refusal_message,
    reject,
)
from guardrail.integrations.langchain.injection import (
    CALLABLES,
    config_names,
    hidden_names,
    unseen_names,
)
from guardrail.integrations.signatures import dress, parameters

__all__ = ["govern_functions", "governed_class"]


def govern_functions(tool: BaseTool) -> None:
    """Replace the bodies of *tool*, including those that a copy brought with it, with governed
    functions.
    """
    binding: Binding = tool.__dict__[KEY]
    raw: dict[Callable[..., Any], Callable[..., Any]] = {}
    for field in CALLABLES:
        found = tool.__dict__.get(field)
        if field in type(tool).model_fields and callable(found):
            body = binding.raw.get(found, found)
            governed = _governed_function(tool, body, awaited=field == "coroutine")
            raw[governed] = body
            tool.__dict__[field] = governed
    tool.__dict__[KEY] = replace(binding, raw=raw)


class _Governed:
    """Mixin for tool classes: turns guardrail's errors into results that the framework and the
    model can use.
    """

    def run(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool as its own ``run`` does. If the call is refused, return an error message for
        the model.
        """
        invocation = Invocation(tool_call_id, kwargs.get("config"))
        token = INVOCATION.set(invocation)
        try:
            return super().run(*args, tool_call_id=tool_call_id, **kwargs)  # type: ignore[misc]
        except (Denied, ApprovalRequired) as refusal:
            if tool_call_id is None:
                raise
            return refusal_message(cast("BaseTool", self), refusal, tool_call_id)
        finally:
            INVOCATION.reset(token)
            if invocation.rejected is not None:
                reject(cast("BaseTool", self), invocation)

    async def arun(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Async version of ``run``."""
        invocation = Invocation(tool_call_id, kwargs.get("config"))
        token = INVOCATION.set(invocation)
        try:
            return await super().arun(*args, tool_call_id=tool_call_id, **kwargs)  # type: ignore[misc]
        except (Denied, ApprovalRequired) as refusal:
            if tool_call_id is None:
                raise
            return refusal_message(cast("BaseTool", self), refusal, tool_call_id)
        finally:
            INVOCATION.reset(token)
            if invocation.rejected is not None:
                await asyncio.to_thread(reject, cast("BaseTool", self), invocation)

    def _to_args_and_kwargs(self, *args: Any, **kwargs: Any) -> Any:
        # The framework's own validation failed: the call never reaches a body, no matter who
        # handles the exception.
        try:
            given, named = super()._to_args_and_kwargs(*args, **kwargs)  # type: ignore[misc]
            binding = binding_of(cast("BaseTool", self))
            if not binding.injected.isdisjoint(binding.positional[: len(given)]):
                # A string input becomes the first argument, and may come from the model; an
                # injected argument is neither judged nor recorded.
                raise TypeError(
                    f"{binding.name}: a string can't be its first argument, because that "
                    "argument is injected"
                )
            return given, named
        except Exception as error:
            invocation = INVOCATION.get()
            if invocation is not None:
                invocation.rejected = (
                    "arguments" if type(error).__name__ == "ValidationError" else "input"
                )
            raise

    @property
    def tool_call_schema(self) -> Any:
        """The schema that the model sees: the tool's own, without the names that LangChain shows
        and then fills in itself.
        """
        tool = cast("BaseTool", self)
        schema = super().tool_call_schema  # type: ignore[misc]
        hidden = hidden_names(tool)
        if hidden.isdisjoint(getattr(schema, "model_fields", ())):
            return schema
        return _without(schema, frozenset(hidden))

    def get_input_schema(self, config: Any = None) -> Any:
        """Return the tool's own schema, plus injected arguments that only its methods declare.
        ToolNode removes a model's value for an argument only if it knows that the argument is
        injected.
        """
        schema = self.given_input_schema(config)
        unseen = unseen_names(cast("BaseTool", self))
        return _extended(schema, unseen) if unseen and hasattr(schema, "model_fields") else schema

    def given_input_schema(self, config: Any = None) -> Any:
        """Return the tool's own input schema."""
        return super().get_input_schema(config)  # type: ignore[misc]

    def __init__(self, **_: Any) -> None:
        # LangChain builds a configured tool from the fields of another one, and the guard is not a
        # field.
        raise UsageError(
            f"{type(self).__name__} can't be created from its fields or configured, because it "
            "would have no guard",
            code="usage.governed",
            hint=(
                "copy the governed tool with model_copy, or configure the original tool and "
                "govern it"
            ),
        )

    def __copy__(self) -> Any:
        return _own(super().__copy__())  # type: ignore[misc]

    def __deepcopy__(self, memo: Any = None) -> Any:
        return _own(super().__deepcopy__(memo))  # type: ignore[misc]

    def model_copy(self, **how: Any) -> Any:
        """Copy the tool. The copy is decided under its own name, and functions given to it are
        governed.
        """
        return _own(super().model_copy(**how))  # type: ignore[misc]

    def copy(self, **how: Any) -> Any:
        """Copy the tool, as ``model_copy`` does."""
        return _own(super().copy(**how))  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in CALLABLES and KEY in self.__dict__:
            govern_functions(cast("BaseTool", self))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise UsageError(
            "a governed tool can't be pickled: its guard lives in this process",
            code="usage.pickle",
            hint="pickle the original tool, and govern it where it is loaded",
        )


def _own(copied: Any) -> Any:
    """Return *copied* with its governed functions decided under its own name instead of the
    original's.
    """
    if KEY in copied.__dict__:
        govern_functions(copied)
    return copied


def _extended(schema: Any, more: Mapping[str, tuple[Any, Any]]) -> Any:
    from pydantic import BaseModel, ConfigDict, RootModel, create_model

    # LangChain turns a JSON Schema into a model of a single value, which can't have fields.
    bases = () if issubclass(schema, RootModel) else (schema,)
    body = {"model_config": ConfigDict(arbitrary_types_allowed=True), "__module__": __name__}
    base: Any = type(schema.__name__, bases or (BaseModel,), body)
    fields: dict[str, Any] = dict(more)
    return create_model(schema.__name__, __base__=base, **fields)


@functools.lru_cache(maxsize=256)
def _without(schema: Any, names: frozenset[str]) -> Any:
    from pydantic import ConfigDict, create_model

    kept: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in schema.model_fields.items()
        if name not in names
    }
    config = ConfigDict(arbitrary_types_allowed=True)
    return create_model(schema.__name__, __config__=config, __doc__=schema.__doc__, **kept)


_CLASSES: WeakValueDictionary[type, type] = WeakValueDictionary()
_CLASSES_LOCK = threading.Lock()


def governed_class(base: type[BaseTool]) -> type:
    """Return the subclass of *base* with governed bodies; one per class."""
    with _CLASSES_LOCK:
        made = _CLASSES.get(base)
        if made is None:
            inner = _inner_class(base)
            space: dict[str, Any] = {
                "__module__": __name__,
                "__doc__": base.__doc__,
                "_run": _make_run(base, inner),
            }
            if base._arun is not BaseTool._arun:
                space["_arun"] = _make_arun(base, inner)
            made = _new_class(base, f"Governed{base.__name__}", (_Governed, base), space)
            _CLASSES[base] = made
        return made


def _new_class(base: type, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> type:
    # Use the metaclass of the tool's own class: pydantic's, or one that a program derived from it.
    metaclass: Any = type(base)
    return cast("type", metaclass(name, bases, space))


def _make_run(base: type[BaseTool], inner: type) -> Callable[..., Any]:
    # Positional-only: an argument may be called self.
    def _run(self: BaseTool, /, *args: Any, **kwargs: Any) -> Any:
        body = functools.partial(base._run, _inner(self, inner))
        return execute(binding_of(self), body, beside, args, kwargs)

    beside = frozenset(config_names(base._run) | {"run_manager"} & set(parameters(base._run)))
    return dress(_run, base._run)


def _make_arun(base: type[BaseTool], inner: type) -> Callable[..., Any]:
    async def _arun(self: BaseTool, /, *args: Any, **kwargs: Any) -> Any:
        body = functools.partial(base._arun, _inner(self, inner))
        return await aexecute(binding_of(self), body, beside, args, kwargs)

    beside = frozenset(config_names(base._arun) | {"run_manager"} & set(parameters(base._arun)))
    return dress(_arun, base._arun)


def _inner(tool: BaseTool, cls: type) -> BaseTool:
    """Return the ungoverned side of *tool*, with the same state and its own class, so that a body
    that calls ``self._run`` counts as one call.
    """
    inner = cast("BaseTool", object.__new__(cls))
    object.__setattr__(inner, "__dict__", tool.__dict__)
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(inner, slot, getattr(tool, slot))
    return inner


def _inner_class(base: type[BaseTool]) -> type:
    """Return the class of the ungoverned side: *base* itself, or a subclass whose ``func`` and
    ``coroutine`` are the bodies.
    """
    fields = [field for field in CALLABLES if field in base.model_fields]
    if not fields:
        return base
    space = {"__module__": base.__module__, "__doc__": base.__doc__}
    made = _new_class(base, base.__name__, (base,), space)
    for field in fields:
        # Set after the class is made: pydantic refuses a property over a field, but attribute
        # access prefers it.
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


# -- a body that is reached as a function


def _governed_function(
    tool: BaseTool, body: Callable[..., Any], *, awaited: bool
) -> Callable[..., Any]:
    """Return a function with the signature of *body* that runs it through the guard; it gives no
    access to *body*.
    """
    beside = frozenset(config_names(body) | {"run_manager", "callbacks"} & set(parameters(body)))
    if awaited:

        async def governed_async(*args: Any, **kwargs: Any) -> Any:
            return await aexecute(binding_of(tool), body, beside, args, kwargs)

        return dress(governed_async, body)

    def governed(*args: Any, **kwargs: Any) -> Any:
        return execute(binding_of(tool), body, beside, args, kwargs)

    return dress(governed, body)
