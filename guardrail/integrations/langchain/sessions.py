"""Finds the session of a LangChain run. The program passes the session, or the caller's identity,
in the run's config or its runtime context.

::

    agent.invoke(messages, config={"configurable": {"guardrail_session": session}})
    agent.invoke(messages, context={"guardrail_session": session})  # LangGraph, for the whole graph
    agent.invoke(
        messages,
        config={"configurable": {"guardrail_principal": "alice", "thread_id": "support-7"}},
    )

A model can't set any of these keys. A session passed this way takes precedence over a session that
was entered around the run. A principal passed this way does not, and is recorded as ``asserted``.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.call.scope import SessionScope, current
from guardrail.integrations.langchain.runs import (
    configurable_of_run,
    runtime_of_run,
    thread_of_run,
)

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["KEY", "RunIdentity", "asession_of_run", "session_of_run"]

KEY = "guardrail_session"
"""Key under ``configurable`` in a run's config; key or attribute of a graph's runtime context."""
PRINCIPAL, AGENT, SESSION_ID = "guardrail_principal", "guardrail_agent", "guardrail_session_id"
"""Keys for the principal, the agent, and the session id (default: the thread id)."""

_MOST = 1024
_OPEN: weakref.WeakKeyDictionary[Guard, OrderedDict[RunIdentity, SessionScope]] = (
    weakref.WeakKeyDictionary()
)
_LOCK = threading.Lock()


class RunIdentity(NamedTuple):
    """The caller's identity as asserted by the program."""

    principal: Any
    agent: Any
    session: str | None
    """The session's id, or None to open a new session."""


def session_of_run(guard: Guard, config: Mapping[str, Any] | None = None) -> SessionScope | None:
    """Return the session set in the run's config or context, or None to use the current session.
    The guard checks the session.

    *config* is the call's config. Without it, LangChain's config for the running code is used.
    Raises ``IdentityError`` if the run's identity is malformed or its session belongs to a
    different principal, and ``LedgerError``.
    """
    named = _session_or_identity(config)
    return _unless_entered(_new_session(guard, named)) if isinstance(named, RunIdentity) else named


async def asession_of_run(
    guard: Guard, config: Mapping[str, Any] | None = None
) -> SessionScope | None:
    """Async version of ``session_of_run``. Does not block the event loop."""
    named = _session_or_identity(config)
    if not isinstance(named, RunIdentity):
        return named
    opened = _open_session(guard, named)
    if opened is None:
        opened = await asyncio.to_thread(_new_session, guard, named)
    return _unless_entered(opened)


def _unless_entered(session: SessionScope) -> SessionScope | None:
    """Return *session*, or None if the program has entered a different session around the run."""
    return session if current(session.guard) is None else None


def _session_or_identity(config: Mapping[str, Any] | None) -> SessionScope | RunIdentity | None:
    configurable = configurable_of_run(config)
    context = getattr(runtime_of_run(configurable), "context", None)
    session: SessionScope | None = _value_of(configurable, context, KEY)
    return _identity(configurable, context) if session is None else session


def _identity(configurable: Mapping[str, Any], context: object) -> RunIdentity | None:
    principal, agent, session = (
        _value_of(configurable, context, key) for key in (PRINCIPAL, AGENT, SESSION_ID)
    )
    if principal is None and agent is None and session is None:
        return None
    return RunIdentity(
        principal, agent, thread_of_run(configurable) if session is None else session
    )


def _value_of(configurable: Mapping[str, Any], context: object, key: str) -> Any:
    if configurable.get(key) is not None:
        return configurable[key]
    if isinstance(context, Mapping):
        return context.get(key)
    return getattr(context, key, None)


def _open_session(guard: Guard, who: RunIdentity) -> SessionScope | None:
    with _LOCK:
        known = _OPEN.setdefault(guard, OrderedDict())
        try:
            known.move_to_end(who)
        except (KeyError, TypeError):  # not open yet, or there is no identity
            return None
        return known[who]


def _new_session(guard: Guard, who: RunIdentity) -> SessionScope:
    found = _open_session(guard, who)
    if found is not None:
        return found
    made = guard.session(who.principal, who.agent, id=who.session)
    if who.session is not None:
        with _LOCK:
            known = _OPEN[guard]
            known[who] = made
            while len(known) > _MOST:
                known.popitem(last=False)
    return made
