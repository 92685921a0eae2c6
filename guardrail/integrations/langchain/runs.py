"""Reads the state of the LangGraph run in which a tool is called.

Except for the thread and the attempt, LangGraph does not guarantee the names that this module uses.
If a name is missing, the graph is not paused, and the model is told that the call did not run.
Tests check each name with a real graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config

__all__ = [
    "can_pause",
    "configurable_of_run",
    "is_repeated",
    "messages_of_run",
    "runtime_of_run",
    "thread_of_run",
]

_CHECKPOINTER = "__pregel_checkpointer"
_SCRATCHPAD = "__pregel_scratchpad"
_RESUMING = "__pregel_resuming"
_RUNTIME = "__pregel_runtime"
_THREAD = "thread_id"
_READ = "__pregel_read"
_MESSAGES = "messages"


def configurable_of_run(config: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Return the ``configurable`` values of the run. *config* is the call's config. Without it,
    LangChain's config for the running code is used.
    """
    given = config if config is not None else var_child_runnable_config.get()
    return (given or {}).get("configurable") or {}


def runtime_of_run(configurable: Mapping[str, Any]) -> Any:
    """Return the runtime of the running graph, or None."""
    return configurable.get(_RUNTIME)


def thread_of_run(configurable: Mapping[str, Any]) -> str | None:
    """Return the program's id for the conversation, or None."""
    thread = configurable.get(_THREAD)
    return None if thread is None else str(thread)


def messages_of_run(configurable: Mapping[str, Any]) -> Sequence[Any]:
    """Return the messages in the state of the running graph, or an empty sequence."""
    read = configurable.get(_READ)
    if not callable(read):
        return ()
    try:
        found = read(_MESSAGES)
    except KeyError:  # the graph has no such channel
        return ()
    return found if isinstance(found, list | tuple) else ()


def can_pause() -> bool:
    """Return True if this code runs in a LangGraph graph that can be resumed because it has a
    checkpointer.
    """
    settings = configurable_of_run()
    return settings.get(_CHECKPOINTER) not in (None, False) and _SCRATCHPAD in settings


def is_repeated() -> bool:
    """Return True if LangGraph may be repeating calls: it has resumed the graph and not yet moved
    on, or it is retrying the node.
    """
    settings = configurable_of_run()
    execution = getattr(runtime_of_run(settings), "execution_info", None)
    return bool(settings.get(_RESUMING)) or getattr(execution, "node_attempt", 1) > 1
