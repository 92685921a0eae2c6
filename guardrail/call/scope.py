"""Tracks the session that the current code runs in: entering it, leaving it, and binding functions
to it.

A session applies to the code inside its ``with`` block: in this thread or task, and in threads and
tasks that start with a copy of its context. It ends with the block, also in those copies, because a
task that outlives its request must not act for that request's user. A call in an ended session is
denied, and so is a call without a session. No call is ever made in a session left behind by another
request.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast

from guardrail.call.bodies import is_async
from guardrail.core.types import Json, Session
from guardrail.errors import UsageError
from guardrail.identity.session import SessionState
from guardrail.system.yielding import yields_inside

__all__ = ["ScopeEntry", "SessionScope", "bound", "current"]

P = ParamSpec("P")
R = TypeVar("R")

CLOSED = "closed"
"""Detail of cause ``identity``: ``session.close()`` was called."""
ENDED = "ended"
"""Detail of cause ``identity``: the ``with`` block in which this code got its session has ended."""
SUSPENDED = "suspended"
"""Detail of cause ``identity``: a generator entered the session through a function, and the call is
made outside that generator.
"""

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_MANAGERS = frozenset({"contextlib"})
_FIXTURES = frozenset({"_pytest.fixtures", "pytest_asyncio.plugin"})
"""Functions that run a generator up to its only ``yield``, and finish it before generators that
were started earlier.
"""
_FORKING = frozenset({"multiprocessing.popen_fork", "billiard.popen_fork"})
_ENTERING = frozenset({"__enter__", "__aenter__"})
_WORKERS = frozenset({"concurrent.futures.thread", "threading"})


class ScopeEntry:
    """One entry into a session. Copies of the context share this object, so all of them see that
    the entry has ended.
    """

    __slots__ = ("guard", "lapse", "owner", "scope")

    def __init__(
        self, guard: int, scope: SessionScope, owner: FrameType | None = None, lapse: str = ""
    ) -> None:
        """*owner* is the generator that must be running when a call is made, or None if any code
        may make calls.
        """
        self.guard = guard
        self.scope = scope
        self.owner = owner
        self.lapse = lapse

    def refusal(self) -> str:
        """Return the reason that no call can be made in this session (a detail of cause
        ``identity``), or an empty string if calls can be made.
        """
        return self.scope.refusal() or self.lapse


# One stack for all guards. Entering a session pushes an entry, and leaving it pops the entry. The
# value is immutable, so each thread and task has its own stack. An entry contains the key of its
# guard, so that two guards in one program do not see each other's sessions.
_STACK: ContextVar[tuple[ScopeEntry, ...]] = ContextVar("guardrail_sessions", default=())


def current(guard: int) -> ScopeEntry | None:
    """Return the entry of the innermost session that was entered in this context for *guard*, or
    None.

    The entry of an ended session is returned as well, because code that runs in a copy of its
    context must not fall back to another identity. The same applies to a session owned by a
    generator that is not running here. No call can be made in either session.
    """
    for entry in reversed(_STACK.get()):
        if entry.guard == guard:
            if entry.owner is not None and not _runs(entry.owner, sys._getframe()):
                return ScopeEntry(guard, entry.scope, lapse=SUSPENDED)
            return entry
    return None


def _runs(owner: FrameType, frame: FrameType | None) -> bool:
    """Return True if *owner* is *frame* or one of its callers."""
    while frame is not None:
        if frame is owner:
            return True
        frame = frame.f_back
    return False


class SessionScope:
    """A session as a context manager, sync and async.

    Entering the object makes it the current session until the block ends, for this thread or task
    and for those that start with a copy of its context. Other threads and tasks can enter the
    object themselves or pass it as ``session=``, even after the block has ended. It can be entered
    any number of times until it is closed.
    """

    __slots__ = ("_closed", "_entries", "_guard", "_state", "token_refusal")

    def __init__(
        self, guard: int, state: SessionState, token_refusal: Callable[[], str] | None = None
    ) -> None:
        """*token_refusal* returns the reason that the token with which the session was opened can't
        be used now, or an empty string; None if it was opened without a token.
        """
        self._guard = guard
        self.token_refusal = token_refusal
        self._state = state
        self._closed = False
        self._entries: list[ScopeEntry] = []

    @property
    def id(self) -> str:
        """The session id: the one that the program chose, or a new ULID."""
        return self._state.session.id

    @property
    def session(self) -> Session:
        """The identity and its context."""
        return self._state.session

    @property
    def state(self) -> SessionState:
        """The guard's state of this session. For the guard's own use."""
        return self._state

    @property
    def guard(self) -> int:
        """Key of the guard that created the session. For the guard's own use."""
        return self._guard

    @property
    def attributes(self) -> Mapping[str, Json]:
        """The program's description of the session."""
        return self._state.session.attributes

    def close(self) -> None:
        """End the session permanently: no more calls can be made through this object. Idempotent.

        Calls that are already decided continue. ``guard.session`` with the same id opens the
        session again.
        """
        self._closed = True

    def refusal(self) -> str:
        """Return the reason that no call can be made in this session (a detail of cause
        ``identity``), or an empty string if calls can be made.
        """
        return CLOSED if self._closed else ""

    def __enter__(self) -> Self:
        if self._closed:
            raise UsageError(
                "this session is closed",
                code="usage.session_closed",
                hint="open another with guard.session(...)",
            )
        self.push(_owner(sys._getframe()))
        return self

    def push(self, owner: FrameType | None = None) -> ScopeEntry:
        """Make this the current session of the context, without checking the code that enters it.
        Undone by ``pop``.
        """
        entry = ScopeEntry(self._guard, self, owner)
        self._entries.append(entry)
        _STACK.set((*_STACK.get(), entry))
        return entry

    def pop(self) -> None:
        """End the newest entry into this session in the current context, and in every copy of the
        context.
        """
        stack = _STACK.get()
        for place in range(len(stack) - 1, -1, -1):
            if stack[place].scope is self:
                self._end(stack[place])
                _STACK.set(stack[:place] + stack[place + 1 :])
                return
        # It was entered in another context, for example by a dependency whose two halves run in
        # different threads. Code that runs there next must not inherit it.
        self._end(*self._entries)

    def _end(self, *entries: ScopeEntry) -> None:
        for entry in entries:
            entry.lapse = ENDED
            entry.owner = None  # a frame keeps all of its variables alive
            with suppress(ValueError):  # another thread ended it at the same time
                self._entries.remove(entry)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pop()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise UsageError(
            "a session can't be pickled: its guard lives in this process",
            code="usage.pickle",
            hint="pass the identity instead, and open a guard and a session in the other process",
        )


def _owner(frame: FrameType | None) -> FrameType | None:
    """Return the generator that owns a session entered here, or None if no generator does. Raises
    ``UsageError``.

    A generator that yields inside the block gives the session to its caller, and takes over the
    caller's session when it resumes. Two such generators in one thread would act under each other's
    identity, so a generator may not enter a session. If it enters one through a function, guardrail
    can't see when the session is left, so only code that the generator calls can make calls in that
    session. A generator wrapped by a context manager is an exception, because its caller is inside
    the context manager's block.
    """
    helped = False
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in _MANAGERS or frame.f_code.co_name in _ENTERING:
            frame = frame.f_back
            continue
        if not helped and module in _WORKERS:
            raise UsageError(
                "the function that runs in this thread only enters the session, so only later jobs "
                "would run in it",
                code="usage.session_thread",
                hint=(
                    "enter it inside the function that makes the calls, or use guard.bind(session)"
                ),
            )
        generator = bool(frame.f_code.co_flags & _GENERATOR)
        driver = frame.f_back
        by = "" if driver is None or not generator else driver.f_globals.get("__name__")
        if by in _FIXTURES:
            return None
        if by in _MANAGERS:
            helped = False
        elif not yields_inside(frame.f_code, frame.f_lasti):
            return None  # a block that begins here, and ends before this frame yields
        elif not generator:
            helped = True
        elif helped:
            return frame
        else:
            raise UsageError(
                "a generator must not yield inside a session: between two values, its "
                "caller would be in the same session",
                code="usage.session_generator",
                hint=(
                    "pass session= to the calls in the generator, or turn it into a context "
                    "manager with contextlib"
                ),
            )
        frame = driver
    return None


def _after_fork() -> None:
    """Forget all sessions in a child process that a library forked to run jobs, because the child
    may outlive the block and serve other callers.
    """
    if sys._getframe(1).f_globals.get("__name__") in _FORKING:
        _STACK.set(())


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _inside(scope: SessionScope) -> Generator[None]:
    scope.push()
    try:
        yield
    finally:
        scope.pop()


def bound(scope: SessionScope, function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that runs *function* in *scope*, wherever it is called. Raises
    ``UsageError`` for a generator function.
    """
    if not callable(function):
        raise UsageError(
            f"bind: expected a callable, not {type(function).__name__}", code="usage.bind"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(
            "bind: a generator function runs after it has returned, outside the session",
            code="usage.session_generator",
            hint="pass session= to the calls in the generator",
        )

    async def finish(awaitable: Awaitable[Any]) -> Any:
        with _inside(scope):
            return await awaitable

    if is_async(function):

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with _inside(scope):
                return await cast("Any", function)(*args, **kwargs)

        return cast("Callable[P, R]", awaited)

    @functools.wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> R:
        with _inside(scope):
            result = function(*args, **kwargs)
        # The function may only return a coroutine: the awaited code runs in the session too.
        return cast("R", finish(result)) if inspect.iscoroutine(result) else result

    return plain
