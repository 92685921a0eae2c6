"""Cost of redaction: inspection, view and the last gate of a call, and single texts. ``python -m
tests.bench.bench_redaction``

Each call has other values, as real calls have, and each session has 50 calls. Prints p50 and p99 of
wall time and the CPU time per call of one thread, hot. Nothing is asserted: a number is judged by a
person who knows the machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from guardrail.bench.workload import CALLS_PER_SESSION, fresh, medium_args, small_args
from guardrail.core.log.fields import strings
from guardrail.core.redaction.detectors.scan import scan
from guardrail.core.redaction.normal_forms import NORMAL_FORM
from guardrail.core.redaction.redactor import Inspection, Redactor, View
from guardrail.core.redaction.session_memory import Memory
from guardrail.keys.tenant_keys import TenantKeys
from guardrail.keys.token_keys import TokenEpoch
from tests.support.benchmarks import QUICK

ROUNDS = 300 if QUICK else 3_000


class Timing:
    """Wall times and the processor time of one step."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._walls: list[float] = []
        self._cpu = 0.0

    def __call__(self, work: Callable[[], Any]) -> Any:
        """Run *work* and add its time."""
        cpu = time.thread_time()
        start = time.perf_counter()
        value = work()
        self._walls.append(time.perf_counter() - start)
        self._cpu += time.thread_time() - cpu
        return value

    def __str__(self) -> str:
        walls, count = sorted(self._walls), len(self._walls)
        return (
            f"{self._name:<44} p50 {walls[count // 2] * 1e6:7.1f}  p99"
            f" {walls[count * 99 // 100] * 1e6:7.1f}  CPU {self._cpu / count * 1e6:7.1f} us"
        )


def measure(name: str, work: Callable[[], object]) -> None:
    """Print the times of *work*, which is the same in each round."""
    timing = Timing(name)
    for _ in range(ROUNDS):
        timing(work)
    print(timing)


def calls(redactor: Redactor, make: Callable[[int], dict[str, Any]]) -> None:
    """Print the times of each step of redaction in calls with fresh values, and with values that
    the session knows.
    """
    first = redactor.inspect(make(0), schema=None, declared=True, memory=Memory()).view()
    size, texts = len(json.dumps(make(0))), strings(first.value)
    print(f"-- {size} bytes, {len(first.removed)} removals, {len(texts)} strings in the view")
    for kind, given in (("fresh values", fresh(make)), ("values known before", fresh(make, 1))):
        timings = {step: Timing(f"{step}, {kind}") for step in ("inspect", "view", "gate")}
        for number in range(ROUNDS):
            if number % CALLS_PER_SESSION == 0:
                memory = Memory()
            args = next(given)
            inspection: Inspection = timings["inspect"](
                lambda args=args, memory=memory: redactor.inspect(
                    args, schema=None, declared=True, memory=memory
                )
            )
            view: View = timings["view"](inspection.view)
            leaves = strings(view.value)
            timings["gate"](lambda leaves=leaves, memory=memory: redactor.gate(leaves, memory))
        for timing in timings.values():
            print(timing)


def main() -> None:
    """Print the table."""
    keys = TenantKeys(b"\x07" * 32, "bench", TokenEpoch(1, b"\x08" * 32, NORMAL_FORM))
    redactor = Redactor(token=keys.value_token, mark=keys.mark)
    for make in (small_args, medium_args):
        calls(redactor, make)
    text = str(medium_args(0)["comment"])[:200]
    print(f"-- text of {len(text)} characters")
    measure("scan", lambda: scan(text))
    measure("text", lambda: redactor.text(text, Memory()))
    measure("token", lambda: keys.value_token("contact", "maria.f@example.org"))


if __name__ == "__main__":
    main()
