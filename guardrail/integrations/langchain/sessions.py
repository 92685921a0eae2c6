"""Passes a session to a LangChain run in its config or its runtime context, for runs whose threads
lose the session.

::

    agent.invoke(messages, config={"configurable": {"guardrail_session": session}})
    agent.invoke(messages, context={"guardrail_session": session})  # LangGraph, for the whole graph

A model can't set either. The session given there takes precedence over the one entered around the
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.runnables.config import var_child_runnable_config

__all__ = ["KEY", "session_of_run"]

KEY = "guardrail_session"
"""Key under ``configurable`` in a run's config; key or attribute of a graph's runtime context."""


def session_of_run(config: Mapping[str, Any] | None = None) -> Any:
    """Return the session that the run names, or None if it names none. The guard checks it.

    *config* is the call's config; the default is the one that LangChain holds for the running code.
    """
    current = config if config is not None else var_child_runnable_config.get()
    configurable = (current or {}).get("configurable") or {}
    if KEY in configurable:
        return configurable[KEY]
    # If LangGraph is installed and a graph runs, its runtime is in the config.
    context = getattr(configurable.get("__pregel_runtime"), "context", None)
    if isinstance(context, Mapping):
        return cast("Mapping[str, Any]", context).get(KEY)
    return getattr(context, KEY, None)
