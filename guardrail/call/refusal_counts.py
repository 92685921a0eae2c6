"""Records how often something was refused, at most once a minute, so that nobody can fill the
ledger with requests or tokens that are refused.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from guardrail.core.times import record_time
from guardrail.errors import LedgerError, RecordError

__all__ = ["OTHERS", "RefusalCounts", "record_all"]

OFTEN_S = 60.0
"""Seconds from the first refusal to the record that counts it."""
OTHERS = "others"
"""The name of the values that are counted together."""

_COUNTING: weakref.WeakSet[RefusalCounts] = weakref.WeakSet()
"""The instances that have counted a refusal and are not closed."""


class RefusalCounts:
    """Counts refusals by reason and origin. Thread-safe; starts from zero after a fork."""

    _type: ClassVar[str]
    """The type of the record, without ``admin.``."""
    _most: ClassVar[Mapping[str, int]] = {}
    """Maximum number of different values in the counts with these names, whose values come from
    outside. Further values are counted together.
    """

    def __init__(
        self, record: Callable[[str, Mapping[str, Any]], object], *, often_s: float = OFTEN_S
    ) -> None:
        """*record* writes an ``admin.*`` record."""
        self._record = record
        self._often = often_s
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._since = ""
        self._timer: threading.Timer | None = None
        self._pid = os.getpid()  # set last: another thread must not see the lock of the parent

    def _add(self, **values: str | None) -> None:
        """Count a refusal, in the counts with these names. A value that is None is left out. Never
        blocks.
        """
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if not self._counts:
                self._since = record_time(datetime.now(UTC))
            for name, value in values.items():
                if value is not None:
                    counts, most = self._counts[name], self._most.get(name)
                    known = most is None or value in counts or len(counts) < most
                    counts[value if known else OTHERS] += 1
            if self._timer is None and not self._closed:
                _COUNTING.add(self)
                timer = threading.Timer(self._often, self.record)
                timer.daemon = True
                timer.start()
                self._timer = timer  # set last: Ctrl-C can interrupt the start

    def close(self) -> None:
        """Record the refusals that were counted since the last record. Idempotent."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            timer = self._timer
        if timer is not None:
            timer.cancel()
        self.record()
        _COUNTING.discard(self)

    def record(self) -> None:
        """Record the refusals that were counted since the last record, if there are any. Does
        nothing in a forked process that has counted none.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            counts, self._counts = self._counts, defaultdict(Counter)
            self._timer = None
            since = self._since
        if counts:
            # If the ledger can't be written, nothing is admitted either.
            with contextlib.suppress(LedgerError):
                try:
                    self._record(self._type, {"since": since, **self._detail(counts)})
                except RecordError:  # for values from outside: the numbers count without them
                    ours = {name: counts[name] for name in counts if name not in self._most}
                    self._record(self._type, {"since": since, **self._detail(ours)})

    def _detail(self, counts: Mapping[str, Counter[str]]) -> dict[str, Any]:
        """Return the rest of the record's detail."""
        return {name: dict(each) for name, each in counts.items()}


def record_all() -> None:
    """Record the refusals that the open guards of this process have counted. Called when a server
    shuts down, and when the interpreter exits, for guards that were not closed.
    """
    for counting in list(_COUNTING):
        counting.record()


atexit.register(record_all)
