"""The session of a LangChain run: handed over in its config or its runtime context, where the context of threads gets lost.

::

    agent.invoke(messages, config={"configurable": {"guardrail_session": session}})
    agent.invoke(messages, context={"guardrail_session": session})  # LangGraph, for the whole graph

A model can fill in neither. What stands there comes before the session that was entered around the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.runnables.config import var_child_runnable_config

__all__ = ["KEY", "session_of_run"]

KEY = "guardrail_session"
"""Under ``configurable`` of a run's config; key or attribute of a graph's runtime context."""


def session_of_run(config: Mapping[str, Any] | None = None) -> Any:
    """Return what the run says is its session, or None where it says nothing; the guard checks it.

    *config* is that of the call, by default the one that LangChain keeps for the code that runs.
    """
    current = config if config is not None else var_child_runnable_config.get()
    configurable = (current or {}).get("configurable") or {}
    if KEY in configurable:
        return configurable[KEY]
    # A graph's runtime travels in the config, where LangGraph is installed and a graph runs.
    context = getattr(configurable.get("__pregel_runtime"), "context", None)
    if isinstance(context, Mapping):
        return cast("Mapping[str, Any]", context).get(KEY)
    return getattr(context, KEY, None)
