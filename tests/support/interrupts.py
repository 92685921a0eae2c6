"""A Ctrl-C at a chosen instant of chosen code."""

from __future__ import annotations

import contextlib
import dis
import sys
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

CHECKED = {dis.opmap[name] for name in ("RESUME", "JUMP_BACKWARD")}
"""Instructions at which the interpreter looks for signals; it also does after calls of functions
that are not written in Python.
"""
CALLS = {dis.opmap[name] for name in ("CALL", "CALL_FUNCTION_EX")}


class Interrupt:
    """Raises ``KeyboardInterrupt`` at the place *at* of the code in *parts* of guardrail, as a
    signal would; also in a lock of the standard library that has just been taken. With *threads*,
    also while the standard library starts or joins a thread.
    """

    def __init__(self, at: int, parts: tuple[str, ...], *, threads: bool = False) -> None:
        self._threads = {"Thread.start", "Thread.join"} if threads else set()
        self._left = at
        self._parts = tuple(f"/guardrail/{part}" for part in parts)
        self._called: FrameType | None = None
        """Where the last instruction was a call, of nothing that is written in Python so far."""
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = sys.gettrace()  # coverage, perhaps
        sys.settrace(self)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def __call__(self, frame: FrameType, _event: str, _: object) -> Any:
        """Trace *frame*, which is entered, if it is in that code."""
        self._called = None
        path, name = frame.f_code.co_filename, frame.f_code.co_qualname
        if path == threading.__file__ and name == "Condition.__enter__":
            return self._lock
        of_thread = path == threading.__file__ and name in self._threads
        if of_thread or any(part in path for part in self._parts):
            frame.f_trace_opcodes = True
            return self._instruction
        return None

    def _lock(self, _frame: FrameType, event: str, _: object) -> None:
        if event == "return":
            self._count()

    def _instruction(self, frame: FrameType, event: str, _: object) -> None:
        if event != "opcode":
            return
        operation = frame.f_code.co_code[frame.f_lasti]
        place = operation in CHECKED or self._called is frame
        self._called = frame if operation in CALLS else None
        if place:
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            sys.settrace(None)
            raise KeyboardInterrupt


@contextlib.contextmanager
def renamed_threads() -> Generator[None]:
    """Give the threads that an interrupted ``Thread.start`` left behind a name that no other test
    looks for. Python still lists them, although they never call anything.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.name = "interrupted"
