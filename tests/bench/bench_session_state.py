"""What session state costs: python -m tests.bench.bench_session_state

The calls of guards whose policies read nothing, counts, and the recent calls alternate, so that a
busy machine hits all of them. Each guard has its own ledger on the same disk, and every principal
has 40 recent calls before anything is measured.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from guardrail import Guard
from guardrail.bench.workload import SMALL_POLICY, schema_of, small_args
from tests.support.benchmarks import QUICK, UNLIMITED, judge

CALLS = 100 if QUICK else 1_500
WARM_UP = 60
POLICIES = {
    "nothing": "",
    "nothing, again": "",
    "counts": 'deny contains "many" if input.context.principal_state.calls > 1000000\n',
    "recent": """deny contains "refused" if {
  input.context.principal_state.recent[_].outcome == "refused"
}
""",
}
"""The rule that is added to the small policy of ``guardrail bench``."""


def opened(folder: Path, rule: str) -> Guard:
    """Open a guard whose policies contain *rule*."""
    policies = folder / "policies"
    policies.mkdir(parents=True)
    (policies / "main.rego").write_text(SMALL_POLICY + rule, encoding="utf-8")
    guard = Guard.open(UNLIMITED, policies=policies, ledger=folder / "ledger.db")
    guard.declare("order", schema=schema_of(small_args(0)))
    return guard


def body(**_: object) -> None:
    """Do nothing, so that the cost of a call is only the cost of governance."""


def timed(make: Callable[[], object]) -> tuple[float, float]:
    """Return the time and the CPU time of the whole process that *make* takes, in microseconds."""
    began, used = time.perf_counter(), time.process_time()
    make()
    return (time.perf_counter() - began) * 1e6, (time.process_time() - used) * 1e6


def measure(guards: dict[str, Guard]) -> dict[str, tuple[list[float], list[float]]]:
    """Make calls in turns; return the times of each guard's calls."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in guards}
    names = list(guards)
    for number in range(WARM_UP + CALLS):
        args = small_args(number)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            guard = guards[name]
            with guard.session(principal="bench@example.com", agent="bench", id=f"s{number // 50}"):
                wall, cpu = timed(lambda guard=guard: guard.call("order", args, body))  # type: ignore[misc]
            if number >= WARM_UP:
                found[name][0].append(wall)
                found[name][1].append(cpu)
    return found


def main() -> None:
    """Print the medians, and their ratios to a policy that reads nothing."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        guards = {
            name: stack.enter_context(opened(Path(folder) / str(number), rule))
            for number, (name, rule) in enumerate(POLICIES.items())
        }
        gc.collect()
        found = measure(guards)
    base, base_cpu = (statistics.median(each) for each in found["nothing"])
    # The calls of one round were made side by side, so their differences are steadier than medians.
    added = {
        name: [
            statistics.median(one - other for one, other in zip(mine, plain, strict=True))
            for mine, plain in zip(each, found["nothing"], strict=True)
        ]
        for name, each in found.items()
    }
    print(f"a call of a policy that reads nothing: {base:.0f} us, {base_cpu:.0f} us of CPU")
    for name, most in (("nothing, again", 1.05), ("counts", 1.1), ("recent", 1.1)):
        wall, cpu = added[name]
        print(judge(f"reads {name}", 1 + wall / base, most=most, unit="x"))
        print(f"  CPU {1 + cpu / base_cpu:.2f} x")


if __name__ == "__main__":
    main()
