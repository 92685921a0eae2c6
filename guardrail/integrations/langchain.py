"""LangChain tools under policy: every execution of a tool's body is decided, recorded and settled by the guard.

::

    from guardrail.integrations.langchain import govern

    agent = create_agent(model, tools=govern([search, send_email], guard))

A governed tool is a copy: same name, schema, type and injection, so that the framework can't tell it from the original.
It is governed where its body starts, after the framework has validated the arguments. What the framework injects (state,
store, runtime, config, callbacks, tool call id) travels beside the arguments: neither judged nor recorded.

What this can't see: the original tool object, which stays ungoverned; tools that a provider runs; names that the framework
does not know and answers itself; what tracing and callbacks get, which is the arguments as the model gave them. Outside
ToolNode the framework takes an injected argument from whoever calls the tool: a program that invokes a tool with a model's
own arguments must leave those names out. ``with_fallbacks`` catches every exception, a ``LedgerError`` too: the body did
not run, but the program goes on. Validators that change their own output are denied, since the body would get something
else than the policy saw.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload
from weakref import WeakValueDictionary

from guardrail.errors import ApprovalRequired, Denied, LedgerError, UsageError

try:
    from langchain_core.tools import BaseTool
except ImportError as missing:
    raise ImportError(
        "guardrail.integrations.langchain needs LangChain: pip install 'guardrail-ledger[langchain]'"
    ) from missing

from guardrail.integrations.langchain_binding import (
    CALLABLES,
    KEY,
    Approvals,
    Binding,
    Options,
    bind,
    binding_of,
    config_names,
)
from guardrail.integrations.langchain_calls import (
    INVOCATION,
    Invocation,
    ReportedError,
    aexecute,
    execute,
    langgraph,
    refusal_message,
    reject,
)
from guardrail.integrations.signatures import dress, parameters

if TYPE_CHECKING:
    from guardrail.guard import Guard

    class LedgerStop(LedgerError):
        """A ``LedgerError`` that LangGraph never turns into a message for the model: it reaches the program."""


__all__ = ["LedgerStop", "ReportedError", "govern"]

T = TypeVar("T", bound=BaseTool)


@overload
def govern(
    tools: T,
    guard: Guard,
    *,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    log_output: bool = False,
    server: str | None = None,
    approvals: Approvals | str = Approvals.ERROR,
) -> T: ...
@overload
def govern(
    tools: Sequence[T],
    guard: Guard,
    *,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    log_output: bool = False,
    server: str | None = None,
    approvals: Approvals | str = Approvals.ERROR,
) -> list[T]: ...
def govern(
    tools: T | Sequence[T],
    guard: Guard,
    *,
    target: Sequence[str] = (),
    labels: Sequence[str] = (),
    log_output: bool = False,
    server: str | None = None,
    approvals: Approvals | str = Approvals.ERROR,
) -> T | list[T]:
    """Return a governed copy of a tool, or a list of them: no body runs without a durable, well-formed ``allow``.

    *target*, *labels*, *log_output* and *server* are those of ``guard.declare`` and hold for each tool that is given. A
    tool that this guard governs already is returned as it is. The original is not changed, and not governed.

    A refusal comes back as a ``ToolMessage`` with status ``error`` where a tool call was invoked, and is raised (``Denied``,
    ``ApprovalRequired``) where plain arguments were. With *approvals* ``"interrupt"``, a call that a person must approve
    pauses a LangGraph graph that has a checkpointer, with what to ask as the interrupt's value; it goes on when the graph is
    resumed with the ``answer`` of that value, filled in. A ``LedgerError`` is always raised. Raises ``UsageError`` for what is
    no tool of this process, ``ConfigError`` where another tool of that name has another schema.
    """
    options = Options(tuple(target), tuple(labels), log_output, server, _approvals(approvals))
    if isinstance(tools, BaseTool):
        return cast("T", _govern(tools, guard, options))
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        _refuse(tools)
    return [cast("T", _govern(tool, guard, options)) for tool in tools]


# -- making a governed tool ----------------------------------------------------------------------------------------


def _govern(tool: object, guard: Guard, options: Options) -> BaseTool:
    if not isinstance(tool, BaseTool):
        _refuse(tool)
    found = tool.__dict__.get(KEY)
    if isinstance(found, Binding):
        if found.guard is not guard:
            raise UsageError(
                "this tool is governed by another guard",
                code="usage.governed",
                hint="govern the original tool",
            )
        if options not in (Options(), found.options):
            raise UsageError(
                "this tool is governed already, with other options",
                code="usage.governed",
                hint="govern the original tool",
            )
        return tool
    _check_entries(type(tool))
    langgraph()
    copied = tool.model_copy()
    raw: dict[Callable[..., Any], Callable[..., Any]] = {}
    bind(copied, guard, options, raw)
    for field in CALLABLES:
        body = copied.__dict__.get(field)
        if field in type(tool).model_fields and callable(body):
            governed = _governed_function(copied, body, awaited=field == "coroutine")
            raw[governed] = body
            copied.__dict__[field] = governed
    object.__setattr__(copied, "__class__", _governed_class(type(tool)))
    return copied


_ENTRIES = ("invoke", "ainvoke", "run", "arun", "batch", "abatch", "stream", "astream")


def _check_entries(cls: type[BaseTool]) -> None:
    """Refuse a class with an entry of its own: what it does there would run before, or without, the guard."""
    for name in _ENTRIES:
        module = getattr(getattr(cls, name), "__module__", "")
        if module.split(".")[0] != "langchain_core":
            raise UsageError(
                f"{cls.__name__} overrides {name}: its body can't be told from the rest",
                code="usage.entry",
                hint="put what the tool does into _run and _arun",
            )


def _approvals(value: Approvals | str) -> Approvals:
    try:
        return Approvals(value)
    except ValueError:
        raise UsageError(
            f"approvals: one of {', '.join(Approvals)}", code="usage.approvals"
        ) from None


def _refuse(tool: object) -> NoReturn:
    if isinstance(tool, Mapping):
        raise UsageError(
            "a tool given as a mapping runs at the model's provider and can't be governed here",
            code="usage.provider_tool",
            hint="leave it out, or let the agent have a tool of its own for that",
        )
    hint = "decorate the function with langchain_core.tools.tool first" if callable(tool) else ""
    raise UsageError(
        f"a LangChain tool or a sequence of them, not {type(tool).__name__}",
        code="usage.tool",
        hint=hint,
    )


# -- the classes ---------------------------------------------------------------------------------------------------


class _Governed:
    """Stands before a tool class: errors become what the framework and the model can use."""

    def run(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """As the tool's own ``run``; a refused tool call gives an error message for the model."""
        invocation = Invocation(tool_call_id)
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
        """As ``run``, awaited."""
        invocation = Invocation(tool_call_id)
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
        # The framework's own validation: what fails here never reaches a body, whoever handles the exception.
        try:
            return super()._to_args_and_kwargs(*args, **kwargs)  # type: ignore[misc]
        except Exception as error:
            invocation = INVOCATION.get()
            if invocation is not None:
                invocation.rejected = (
                    "arguments" if type(error).__name__ == "ValidationError" else "input"
                )
            raise

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise UsageError(
            "a governed tool can't be pickled: its guard lives in this process",
            code="usage.pickle",
            hint="pickle the original tool, and govern it where it is loaded",
        )


_CLASSES: WeakValueDictionary[type, type] = WeakValueDictionary()
_CLASSES_LOCK = threading.Lock()


def _governed_class(base: type[BaseTool]) -> type:
    """Return the subclass of *base* whose bodies are governed; one per class."""
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
    # With the metaclass of the tool's own class: pydantic's, or one that a program derived from it.
    metaclass: Any = type(base)
    return cast("type", metaclass(name, bases, space))


def _make_run(base: type[BaseTool], inner: type) -> Callable[..., Any]:
    def _run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        body = functools.partial(base._run, _inner(self, inner))
        return execute(binding_of(self), body, beside, args, kwargs)

    beside = frozenset(config_names(base._run) | {"run_manager"} & set(parameters(base._run)))
    return dress(_run, base._run)


def _make_arun(base: type[BaseTool], inner: type) -> Callable[..., Any]:
    async def _arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        body = functools.partial(base._arun, _inner(self, inner))
        return await aexecute(binding_of(self), body, beside, args, kwargs)

    beside = frozenset(config_names(base._arun) | {"run_manager"} & set(parameters(base._arun)))
    return dress(_arun, base._arun)


def _inner(tool: BaseTool, cls: type) -> BaseTool:
    """Return the ungoverned side of *tool*: same state, own class, so that a body that calls ``self._run`` is one call."""
    inner = cast("BaseTool", object.__new__(cls))
    object.__setattr__(inner, "__dict__", tool.__dict__)
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(inner, slot, getattr(tool, slot))
    return inner


def _inner_class(base: type[BaseTool]) -> type:
    """Return the class of the ungoverned side: *base* itself, or one in which ``func`` and ``coroutine`` are the bodies."""
    fields = [field for field in CALLABLES if field in base.model_fields]
    if not fields:
        return base
    space = {"__module__": base.__module__, "__doc__": base.__doc__}
    made = _new_class(base, base.__name__, (base,), space)
    for field in fields:
        # After the class is made: pydantic refuses a property over a field, attribute access prefers it.
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


# -- a body that is reached as a function ---------------------------------------------------------------------------


def _governed_function(
    tool: BaseTool, body: Callable[..., Any], *, awaited: bool
) -> Callable[..., Any]:
    """Return a function with the signature of *body* that runs it through the guard; *body* can't be reached from it."""
    beside = frozenset(
        config_names(body)
        | {"run_manager", "callbacks"} & set(parameters(body)) - set(_visible(tool))
    )
    holder = tool.__dict__
    if awaited:

        async def governed_async(*args: Any, **kwargs: Any) -> Any:
            return await aexecute(holder[KEY], body, beside, args, kwargs)

        return dress(governed_async, body)

    def governed(*args: Any, **kwargs: Any) -> Any:
        return execute(holder[KEY], body, beside, args, kwargs)

    return dress(governed, body)


def _visible(tool: BaseTool) -> Sequence[str]:
    schema: Any = tool.tool_call_schema if tool.args_schema is not None else {}
    known = (
        schema.get("properties", {})
        if isinstance(schema, Mapping)
        else getattr(schema, "model_fields", {})
    )
    return list(known)


def __getattr__(name: str) -> Any:
    # Made when it is first asked for: its bases depend on whether LangGraph is installed.
    if name == "LedgerStop":
        return langgraph().stop
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
