"""What the benches share: the limit of the disk, measured beside what is judged by it, and lines
that name their aim.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

from guardrail.bench.disk import RawSyncs
from guardrail.config import Settings

QUICK = bool(os.environ.get("GUARDRAIL_BENCH_QUICK"))
"""True if a round of each measurement is enough: to see that the script runs, not to compare
figures.
"""

UNLIMITED = Settings().override(limits={"calls_per_minute": 0})
"""Settings with which a script is not denied calls because it makes them fast."""


def beside(
    raw: RawSyncs, work: dict[str, Callable[[], float]], rounds: int, spell: float = 0.25
) -> dict[str, list[float]]:
    """Run each of *work* (which return rates) *rounds* times in turn, raw syncs before and after
    each.

    Return the rates by name; ``raw <name>`` are those of the syncs around the same spells.
    """
    rates: dict[str, list[float]] = {}
    limit = raw.rate(spell)
    for _ in range(rounds):
        for name, run in work.items():
            before = limit
            rates.setdefault(name, []).append(run())
            limit = raw.rate(spell)
            rates.setdefault(f"raw {name}", []).append((before + limit) / 2)
    return rates


def ratio(over: list[float], under: list[float]) -> float:
    """Return the median of the ratios of the spells that ran side by side."""
    return statistics.median(one / other for one, other in zip(over, under, strict=True))


def judge(
    what: str,
    value: float,
    *,
    least: float | None = None,
    most: float | None = None,
    unit: str = "",
) -> str:
    """Return one line: the figure, its aim, and MISSED where it is missed. Nothing is asserted:
    machines differ.
    """
    bounds = [f">= {least:g}{unit}"] if least is not None else []
    bounds += [f"<= {most:g}{unit}"] if most is not None else []
    missed = (least is not None and value < least) or (most is not None and value > most)
    aim = f"   aim {' and '.join(bounds)}" if bounds else ""
    return f"{what:58} {value:8.2f}{unit:3}{aim}{'   MISSED' if missed else ''}"


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Return p50 and p99 in microseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6
