"""Measures governed calls and, between them, syncs to the same disk."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.bench.disk import RawSyncs
from guardrail.bench.workload import CALLERS, CALLS_PER_SESSION, CASES, Case, fresh, schema_of
from guardrail.errors import LedgerError, os_reason
from guardrail.system.threads import BackgroundThread

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["BenchReport", "CallTimes", "LoadRate", "run"]

_WARM_UP = 50
_LEAST = 20
"""Minimum number of calls that are measured, even if they take longer than planned."""


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Times of sequential calls by one caller. All times are in microseconds."""

    case: str
    argument_bytes: int
    calls: int
    call_p50_us: float
    call_p99_us: float
    sync_p50_us: float
    sync_p99_us: float

    @property
    def over_two_syncs(self) -> float:
        """Median time of a call, divided by the median time of two syncs."""
        return self.call_p50_us / (2 * self.sync_p50_us)


@dataclass(frozen=True, slots=True)
class LoadRate:
    """The rate of calls by many concurrent callers, and the rate of syncs by one thread."""

    case: str
    callers: int
    calls_per_s: float
    syncs_per_s: float

    @property
    def over_syncs(self) -> float:
        """Calls per second, divided by syncs per second."""
        return self.calls_per_s / self.syncs_per_s


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The figures of one run."""

    folder: str
    one_caller: tuple[CallTimes, ...]
    load: tuple[LoadRate, ...]

    @property
    def quiet(self) -> bool:
        """True if the 99th percentile of the syncs was less than three times the median. Otherwise,
        another program used the disk or the processor, and the figures differ between runs.
        """
        return all(each.sync_p99_us < 3 * each.sync_p50_us for each in self.one_caller)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON (``guardrail bench --json``)."""
        return {
            "folder": self.folder,
            "quiet": self.quiet,
            "one_caller": [
                _rounded({**dataclasses.asdict(each), "over_two_syncs": each.over_two_syncs})
                for each in self.one_caller
            ],
            "load": [
                _rounded({**dataclasses.asdict(each), "over_syncs": each.over_syncs})
                for each in self.load
            ],
        }


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Return *figures* rounded to four significant digits, which is more precise than the
    measurement is repeatable.
    """
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }


def run(
    folder: Path, seconds: float, progress: Callable[[int, int], None] = lambda *_: None
) -> BenchReport:
    """Measure for about *seconds* on the disk that contains *folder*, and return the figures.

    Policies, keys and ledger are stored in a new folder inside *folder*, which is removed at the
    end. *progress* is called with the number of finished steps and the total number. Raises
    ``LedgerError`` if *folder* can't be written, and ``GuardrailError`` as ``Guard.open`` and
    ``Guard.call`` do.
    """
    steps = 2 * len(CASES)
    alone, load = [], []
    try:
        with tempfile.TemporaryDirectory(prefix="guardrail-bench-", dir=folder) as temporary:
            for number, case in enumerate(CASES):
                place = Path(temporary) / str(number)
                place.mkdir(mode=0o700)
                with closing(RawSyncs(place / "syncs")) as raw, _guard(place, case) as guard:
                    alone.append(_measure_alone(guard, raw, case, seconds * 0.3))
                    progress(2 * number + 1, steps)
                    load.append(_measure_load(guard, raw, case, seconds * 0.2))
                    progress(2 * number + 2, steps)
    except OSError as error:
        raise LedgerError(
            f"{folder}: can't measure here: {os_reason(error)}",
            code="bench.folder",
            hint="use a folder that you can write to, with 50 MB of free space",
        ) from error
    return BenchReport(str(folder), tuple(alone), tuple(load))


def _guard(place: Path, case: Case) -> Guard:
    """Open a guard with default settings, so that neither the environment nor a project's settings
    affect the figures. Only the limit on calls per minute is disabled.
    """
    from guardrail.config import LimitSettings, Settings
    from guardrail.guard import Guard

    (place / "policies").mkdir()
    (place / "policies" / "main.rego").write_text(case.policy, encoding="utf-8")
    settings = Settings(limits=LimitSettings(calls_per_minute=0))
    guard = Guard.open(settings, policies=place / "policies", ledger=place / "ledger.db")
    guard.declare("order", schema=schema_of(case.make(0)))
    return guard


def _body(**_: Any) -> None:
    """Do nothing, so that the cost of a call is only the cost of governance."""


def _measure_alone(guard: Guard, raw: RawSyncs, case: Case, seconds: float) -> CallTimes:
    """Measure one caller. Two syncs precede each call, so that a busy disk affects calls and syncs
    alike.
    """
    given = fresh(case.make)
    _time_calls(guard, itertools.islice(given, _WARM_UP), lambda: None)
    syncs: list[float] = []
    until = time.perf_counter() + seconds
    calls: list[float] = []
    while time.perf_counter() < until or len(calls) < _LEAST:
        calls += _time_calls(
            guard,
            itertools.islice(given, CALLS_PER_SESSION),
            lambda: syncs.extend((raw.sync(), raw.sync())),
        )
    call_cuts, sync_cuts = _median_and_p99(calls), _median_and_p99(syncs)
    size = len(str(case.make(0)))
    return CallTimes(case.name, size, len(calls), *call_cuts, *sync_cuts)


def _time_calls(
    guard: Guard, given: Iterator[dict[str, Any]], before: Callable[[], None]
) -> list[float]:
    """Make one call for each item in *given*, in one session. Return the duration of each call in
    seconds, without the duration of *before*.
    """
    times = []
    with guard.session(principal="bench@example.com", agent="bench"):
        for args in given:
            before()
            began = time.perf_counter()
            guard.call("order", args, _body)
            times.append(time.perf_counter() - began)
    return times


def _median_and_p99(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile in microseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


def _measure_load(guard: Guard, raw: RawSyncs, case: Case, seconds: float) -> LoadRate:
    """Measure the rate of calls by ``CALLERS`` threads, and the rate of syncs by one thread before
    and after.
    """
    share = max(seconds / 4, 0.1)
    given = [fresh(case.make, 256) for _ in range(CALLERS)]
    before = raw.rate(share)
    began = time.perf_counter()
    until = began + 2 * share
    made = [0] * CALLERS
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with guard.session(principal="bench@example.com", agent=f"bench-{number}"):
                while time.perf_counter() < until and not failed:
                    guard.call("order", next(given[number]), _body)
                    made[number] += 1
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            failed.append(error)

    threads = [BackgroundThread(work, "guardrail-bench", number) for number in range(CALLERS)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:  # interrupted: each thread ends after its current call
        failed.append(error)
        for thread in threads:
            thread.join()
        raise
    if failed:
        raise failed[0]
    calls = sum(made) / (time.perf_counter() - began)
    return LoadRate(case.name, CALLERS, calls, (before + raw.rate(share)) / 2)
