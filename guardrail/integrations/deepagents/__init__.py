"""Govern a deep agent: its own tools, the tools that deepagents adds, and the tools of all
sub-agents.

::

    from guardrail.integrations.deepagents import create_deep_agent

    agent = create_deep_agent(model, [search], subagents=[researcher], guard=guard)

A sub-agent does not inherit the middleware of the main agent, so ``GuardMiddleware`` in
``middleware=`` would not govern it.
"""

from __future__ import annotations

try:
    import deepagents as _installed  # noqa: F401 - nothing here works without it
except ImportError as missing:
    raise ImportError(
        "guardrail.integrations.deepagents needs deepagents:"
        " install guardrail with the 'deepagents' extra (README.md)"
    ) from missing

from guardrail.integrations.deepagents.agent import create_deep_agent

__all__ = ["create_deep_agent"]
