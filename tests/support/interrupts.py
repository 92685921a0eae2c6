"""A Ctrl-C at a chosen instant of chosen code."""

from __future__ import annotations

import dis
import sys
import threading
from types import FrameType
from typing import Any

CHECKED = {dis.opmap[name] for name in ("RESUME", "JUMP_BACKWARD")}
"""Instructions at which the interpreter looks for signals; it also does after calls of functions
that are not written in Python.
"""
CALLS = {dis.opmap[name] for name in ("CALL", "CALL_FUNCTION_EX")}


class Interrupt:
    """Raises ``KeyboardInterrupt`` at the place *at* of the code in *parts* of guardrail, as a
    signal would; also in a lock of the standard library that has just been taken.
    """

    def __init__(self, at: int, parts: tuple[str, ...]) -> None:
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
        if any(part in path for part in self._parts):
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
