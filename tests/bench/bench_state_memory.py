"""How session state grows: python -m tests.bench.bench_state_memory

The memory of one process for the states of many sessions and principals, and the length of the
records that repeat them when their records are pruned.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from guardrail.core.kept_states import KeptStates, kept_details
from guardrail.core.log.record import dumps
from guardrail.core.session_state import CallStates
from tests.support.benchmarks import QUICK, judge

SESSIONS = 5_000 if QUICK else 100_000
PRINCIPALS = 500 if QUICK else 10_000
CALLS = 3
"""Calls in each session."""


def memory() -> int:
    """Return the memory of this process in bytes (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def decision(seq: int, session: int) -> dict[str, Any]:
    """Return the decoded record of an admitted call."""
    return {
        "type": "call.decision",
        "seq": seq,
        "ts": "2026-01-01T00:00:00.000000Z",
        "call": f"01JGFJJZ00{seq:016d}",
        "session": f"01JGFJJZ01{session:016d}",
        "tenant": "default",
        "principal": {"id": f"user{session % PRINCIPALS}@example.com", "issuer": None},
        "agent": {"id": f"agent{session % 10}"},
        "tool": {"name": ("pay", "mail", "search")[seq % 3]},
        "target": [f"DE{seq:020d}"],
        "amounts": {"/amount": seq % 100},
        "decision": {"effect": "allow", "rules": [{"rule": "declared"}], "labels": ["web"]},
    }


def main() -> None:
    """Print one line per figure."""
    before, states, seq = memory(), CallStates(), 0
    for session in range(SESSIONS):
        for _ in range(CALLS):
            record = decision(seq, session)
            states.take(record)
            end = {"type": "call.outcome", "seq": seq + 1, "call": record["call"], "status": "ok"}
            states.take({**end, "ts": record["ts"]})
            seq += 2
    used = memory() - before
    print(f"{SESSIONS} sessions of {PRINCIPALS} principals, {CALLS} calls in each session")
    print(judge("memory", used / 1e6, most=150, unit="MB"))
    print(judge("  for each state", used / len(states), most=1_500, unit="B"))
    kept = [dumps(each) for each in kept_details(states, seq, KeptStates(), ())]
    length = sum(map(len, kept))
    print(judge("records that repeat the principals", length / 1e6, most=10, unit="MB"))
    print(judge("  for each principal", length / PRINCIPALS, most=1_000, unit="B"))


if __name__ == "__main__":
    main()
