"""How much of a processor's time one view, text or gate of the redactor may take, and that other threads run meanwhile."""

from __future__ import annotations

import time

from guardrail.errors import RedactionError

__all__ = ["SECONDS", "Meter"]

SECONDS = 0.25
"""Time of the thread's own processor. A view of 640 kB of ordinary text takes about a fifth of it."""
_STEP = 4_096
_PAUSE = 0.000_1


class Meter:
    """Told of the work of one view; stops it when it has used up its time. For one thread.

    What is stopped is recorded in its bare form: a decision denies, an outcome keeps status and time.
    """

    __slots__ = ("_end", "_units")

    def __init__(self) -> None:
        self._units = 0
        self._end: float | None = None

    def __call__(self, units: int) -> None:
        """Count *units* of work, characters about. Raises ``RedactionError`` where the time is used up."""
        self._units += units
        if self._units < _STEP:
            return
        self._units = 0
        now = time.thread_time()
        if self._end is None:
            self._end = now + SECONDS
        elif now > self._end:
            raise RedactionError(
                "redacting this takes too long; give less text, or less that looks sensitive",
                code="redaction.budget",
            )
        # Python would hand over only every 5 ms, and a call of another session asks for its turn many times.
        time.sleep(_PAUSE)
