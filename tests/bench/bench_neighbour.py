"""One call with much to redact, and the calls of another session meanwhile: python -m
tests.bench.bench_neighbour [SPELLS]

Spells in which a session makes small calls alone, and spells in which another one makes hostile
calls as well, alternate, so that a busy machine hits both; the figure is the median of the ratios
of the spells, for ``call`` in threads and for ``acall`` on one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.errors import Denied
from tests.support.benchmarks import QUICK, judge

SPELL = 0.5 if QUICK else 2.0
POLICY = 'package guardrail.policy\n\nallow contains "any"\n'
HOSTILE: dict[str, Callable[[], dict[str, Any]]] = {
    "runs of passwords": lambda: {"l": ["password: " * 1_638] * 40},
    "passwords": lambda: {"l": [f"password: k9x{i:05d} " * 700 for i in range(40)]},
    "addresses": lambda: {"l": ["a@b.co " * 2_300] * 38},
    "many keys": lambda: {f"password{i}": f"Zq7!kd{i}dLpX" for i in range(2_400)},
    "keywords": lambda: {"l": ["pass word " * 1_600] * 38},
}


def body(**_: Any) -> None:
    """Do nothing."""


async def abody(**_: Any) -> None:
    """As ``body``, awaited."""


def by_threads(guard: Guard, hostile: dict[str, Any] | None) -> float:
    """Return the median seconds of a small call, while another thread calls with *hostile*."""
    waits: list[float] = []
    stop = threading.Event()

    def neighbour() -> None:
        with guard.session(principal="bob", agent="bench"):
            while not stop.is_set():
                began = time.perf_counter()
                guard.call("ping", {"a": "hello"}, body)
                waits.append(time.perf_counter() - began)

    thread = threading.Thread(target=neighbour)
    thread.start()
    until = time.perf_counter() + SPELL
    with guard.session(principal="eve", agent="bench"):
        while time.perf_counter() < until:
            if hostile is None:
                time.sleep(SPELL / 10)
            else:
                with contextlib.suppress(Denied):
                    guard.call("send", hostile, body)
    stop.set()
    thread.join()
    return statistics.median(waits)


async def on_a_loop(guard: Guard, hostile: dict[str, Any] | None) -> float:
    """As ``by_threads``, with tasks of one event loop."""
    waits: list[float] = []
    stopped = False

    async def neighbour() -> None:
        with guard.session(principal="bob", agent="bench"):
            while not stopped:
                began = time.perf_counter()
                await guard.acall("ping", {"a": "hello"}, abody)
                waits.append(time.perf_counter() - began)

    task = asyncio.ensure_future(neighbour())
    until = time.perf_counter() + SPELL
    with guard.session(principal="eve", agent="bench"):
        while time.perf_counter() < until:
            if hostile is None:
                await asyncio.sleep(SPELL / 10)
            else:
                with contextlib.suppress(Denied):
                    await guard.acall("send", hostile, abody)
    stopped = True
    await task
    return statistics.median(waits)


def main() -> None:
    """Print the ratios."""
    spells = int(sys.argv[1]) if len(sys.argv) > 1 else (1 if QUICK else 5)
    with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR", ".")) as name:
        folder = Path(name)
        (folder / "policies").mkdir()
        (folder / "policies" / "main.rego").write_text(POLICY)
        settings = folder / "guardrail.toml"
        settings.write_text(
            '[policy]\npath = "policies"\n[ledger]\npath = "audit.db"\n[limits]\ncalls_per_minute'
            " = 0\n"
        )
        with Guard.open(settings) as guard:
            guard.declare("send", schema={"type": "object", "additionalProperties": True})
            guard.declare("ping", schema={"type": "object", "additionalProperties": True})
            ways: dict[str, Callable[[dict[str, Any] | None], float]] = {
                "call": lambda hostile: by_threads(guard, hostile),
                "acall": lambda hostile: asyncio.run(on_a_loop(guard, hostile)),
            }
            for how, run in ways.items():
                run(None)  # warm
                for kind, make in HOSTILE.items():
                    hostile, pairs = make(), []
                    for _ in range(spells):
                        pairs.append((run(None), run(hostile)))
                    alone, meanwhile = (
                        statistics.median(part) for part in zip(*pairs, strict=True)
                    )
                    ratio = statistics.median(after / before for before, after in pairs)
                    print(
                        f"{how}, {kind}: alone {alone * 1e3:.1f} ms, meanwhile"
                        f" {meanwhile * 1e3:.1f} ms"
                    )
                    print("  " + judge(f"{how} meanwhile / alone", ratio, most=3.0))


if __name__ == "__main__":
    main()
