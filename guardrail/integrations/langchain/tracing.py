"""Warns about a LangSmith tracer that sends unredacted arguments to LangSmith.

A tracer receives a tool's input before the guard does, so even a denied call is traced with its
arguments.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from langchain_core.runnables.config import var_child_runnable_config

from guardrail.errors import UsageError

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["TracingWarning", "warn_of_tracing"]

_TRACERS = "langchain_core.tracers.langchain"
"""Module of the tracer. It is inspected only if it is already loaded, because importing it loads
LangSmith's client.
"""
_TOLD: WeakSet[Guard] = WeakSet()


class TracingWarning(UsageError, UserWarning):
    """A tracer sends the arguments of tool calls to LangSmith before guardrail redacts them,
    including those of denied calls.
    """

    default_code = "usage.tracing"


def warn_of_tracing(guard: Guard) -> None:
    """Warn, once per guard, if a tracer receives the tool inputs of the running code.

    The tracer may have been enabled by the environment, ``tracing_context``, ``configure`` or a
    callback. There is no warning if its client hides inputs and outputs, or has an anonymizer.
    """
    if guard in _TOLD or _TRACERS not in sys.modules:
        return
    if any(_sends(tracer) for tracer in _tracers()):
        _TOLD.add(guard)
        # The message contains the remedy, because Python displays a warning without its hint.
        problem = TracingWarning(
            (
                "LangSmith receives the arguments of tool calls before guardrail redacts them, "
                "including those of denied calls; to mask them, set LANGSMITH_HIDE_INPUTS=true "
                "and LANGSMITH_HIDE_OUTPUTS=true"
            ),
            hint="or pass a Client(anonymizer=...) to the tracer: docs/integrations.md, Tracing",
        )
        warnings.warn(problem, stacklevel=2)


def _tracers() -> list[Any]:
    config = var_child_runnable_config.get() or {}
    callbacks: Any = config.get("callbacks") or ()
    tracer = sys.modules[_TRACERS].LangChainTracer
    handlers = getattr(callbacks, "handlers", callbacks)
    return [handler for handler in handlers if isinstance(handler, tracer)]


def _sends(tracer: Any) -> bool:
    # LangSmith guarantees its client's arguments but not these attributes. If they are missing, the
    # client is assumed to hide nothing.
    client = getattr(tracer, "client", None)
    if getattr(client, "_anonymizer", None):
        return False
    hidden = (getattr(client, name, False) for name in ("_hide_inputs", "_hide_outputs"))
    return not all(hidden)
