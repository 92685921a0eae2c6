"""The calls of a tenant while another tenant of the same process is broken: python -m
tests.bench.bench_tenants [SPELLS]

In each spell, a thread makes calls for one tenant as fast as it can, and another thread tries a
call for a second tenant every 5 ms. Spells with a healthy second tenant and spells with a broken
one alternate, so that a busy machine hits both; the figure is the median of the ratios.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from guardrail import Guard
from guardrail.errors import GuardrailError
from tests.support.benchmarks import QUICK, judge
from tests.support.guards import journal_of

SPELL = 0.5 if QUICK else 2.0
PACE = 0.005
MOST = 1.1
"""Most times the usual median that a call may take while another tenant is broken."""
ALLOW = 'package guardrail.policy\n\nallow contains "any"\n'
SLOW = (
    'package guardrail.policy\n\nallow contains "slow" if count([1 | numbers.range(1, 3000)[_] > '
    "numbers.range(1, 3000)[_]]) > 0\n"
)
TABLES = """\
[policy]
path = "policies"
[limits]
calls_per_minute = 0
[tenants.own]
[tenants.healthy]
[tenants.unwritable]
[tenants.refused.policy]
path = "malformed"
[tenants.slow.policy]
path = "slow"
eval_limit_ms = 50
[tenants.full.limits]
tenant_calls = 1
"""
BROKEN = {
    "its ledger can't be written": "unwritable",
    "its policies do not load": "refused",
    "its policy exceeds its time": "slow",
    "its quota is used up": "full",
}


def median_call(guard: Guard, other: str) -> float:
    """Return the median seconds of a call of one tenant, while another thread tries calls of the
    tenant *other*.
    """
    stop = threading.Event()

    def neighbour() -> None:
        while not stop.wait(PACE):
            with contextlib.suppress(GuardrailError), guard.session("bob", tenant=other):
                guard.call("ping", {"a": "hello"}, lambda a: None)

    thread = threading.Thread(target=neighbour)
    thread.start()
    waits: list[float] = []
    until = time.perf_counter() + SPELL
    with guard.session("alice", tenant="own"):
        while time.perf_counter() < until:
            began = time.perf_counter()
            guard.call("ping", {"a": "hello"}, lambda a: None)
            waits.append(time.perf_counter() - began)
    stop.set()
    thread.join()
    return statistics.median(waits)


def write_project(folder: Path) -> Path:
    """Write the settings and policies of all tenants; return the settings file."""
    for name, text in (
        ("policies", ALLOW),
        ("malformed", "package guardrail.policy\n\nallow contains"),
        ("slow", SLOW),
    ):
        (folder / name).mkdir()
        (folder / name / "main.rego").write_text(text)
    settings = folder / "guardrail.toml"
    settings.write_text(TABLES)
    return settings


def main() -> None:
    """Print the ratios."""
    spells = int(sys.argv[1]) if len(sys.argv) > 1 else (1 if QUICK else 5)
    parent = os.environ.get("GUARDRAIL_BENCH_DIR", ".")
    with (
        tempfile.TemporaryDirectory(dir=parent) as name,
        Guard.open(write_project(Path(name))) as guard,
    ):
        guard.declare("ping", schema={"type": "object", "additionalProperties": True})
        for tenant in ("own", "healthy", "slow", "full"):
            guard.of_tenant(tenant)
        journal_of(guard.of_tenant("unwritable")).ledger.close()
        for what, tenant in BROKEN.items():
            ratios = [
                median_call(guard, tenant) / median_call(guard, "healthy") for _ in range(spells)
            ]
            print(judge(f"a call while {what}", statistics.median(ratios), most=MOST))


if __name__ == "__main__":
    main()
