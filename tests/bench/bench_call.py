"""One governed call: p50 and p99, each stage's share, and the ratio to two raw fdatasync calls of
the same run.

    python -m tests.bench.bench_call [--rounds N] [--json]

Raw syncs (8 KiB into a preallocated ring, as a write-ahead log after its first wrap) and governed
calls alternate, so that a busy disk or machine hits both. Each call has other values, as real calls
have, and each session has 50 calls. A p99 is worth reading only where the raw
p99 is below three times the raw p50.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.bench.disk import RawSyncs
from guardrail.bench.workload import CASES, Case, by_session, fresh, schema_of
from tests.support.benchmarks import QUICK, UNLIMITED, judge

ROUNDS = 50 if QUICK else 1500
WARM_UP = 200
AIMS = {"before_release": (3.9, 5.0), "soon": (2.4, 3.4)}
"""Most times two raw syncs that a call of each case should take, by ``[ledger] outcome``."""


def at(values: list[float], share: float) -> float:
    """Return a quantile, in microseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e6


def worker_cpu(pids: list[int]) -> float:
    """Return the CPU seconds that these processes have used."""
    total = 0.0
    for pid in pids:
        parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
    return total


def children() -> list[int]:
    """Return the pids of this process's children: the policy workers."""
    done = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        int(line.split()[0]) for line in done.stdout.splitlines() if "ps" not in line.split()[1:]
    ]


def stages(guard: Guard, given: Iterator[dict[str, Any]], rounds: int) -> dict[str, float]:
    """Return the median microseconds of each stage of a call, measured one by one on the same
    guard.
    """
    calls, recorder, engine = guard.calls, guard._recorder, guard._policies.engine
    tool = guard.find_tool("order", None)
    from guardrail.call.options import CallOptions
    from guardrail.call.outcome_record import build_outcome as outcome
    from guardrail.call.stages import Admitted, Decided, Ended, Prepared
    from guardrail.core import decision as decisions
    from guardrail.core.types import Enforcement, Status

    options, body = CallOptions(), Enforcement.BODY
    found: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        value = step()
        found.setdefault(name, []).append(time.perf_counter() - began)
        return value

    def one(args: dict[str, Any]) -> None:
        request = timed("(1) who", lambda: calls.request(tool, args, options, body))
        state = request.state
        snapshot, own = timed("(2) snapshot", lambda: tool.take(args))
        inspection = timed(
            "(3) classify",
            lambda: state.redactor.inspect(
                snapshot.args, schema=tool.schema.schema, declared=True, memory=state.memory
            ),
        )
        document = timed(
            "(4) input", lambda: recorder.policy_input(request, snapshot.args, inspection)
        )
        prepared = Prepared(request, snapshot.args, snapshot.encoded, own, inspection, document)
        reply = timed(
            "(5) decide", lambda: engine.decide(document, shard="s", deadline=1.0).result()
        )
        verdict = timed("(6) parse", lambda: decisions.parse(reply.document))
        decided = Decided(prepared, verdict, reply)
        view = timed("(6) view", lambda: inspection.view(verdict.redact))
        recorded = timed("(6) recorded input", lambda: recorder.recorded_input(prepared, view))
        draft, origin = timed("(7) draft", lambda: recorder.full(decided, view, recorded, True))
        receipt = timed("(7) append", lambda: guard._journal.append(draft))
        admitted = Admitted(request, own, verdict, origin, receipt.seq)
        ended = Ended(None, None, 0.0)
        draft = timed("(9) draft", lambda: outcome(admitted, Status.OK, ended))
        timed("(9) append", lambda: guard._journal.append(draft))

    for count in by_session(rounds):
        with guard.session(principal="alice@example.com", agent="bench"):
            for args in itertools.islice(given, count):
                one(args)
    return {name: statistics.median(values) * 1e6 for name, values in found.items()}


def measure(case: Case, rounds: int, outcome: str, aim: float) -> dict[str, Any]:
    """Measure one kind of call with one setting of ``[ledger] outcome``. At most *aim* times two
    raw syncs are wanted.
    """
    with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR", ".")) as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        (root / "policies" / "main.rego").write_text(case.policy)
        ring = RawSyncs(root / "raw")
        settings = UNLIMITED.override(
            policy={"path": [root / "policies"]},
            ledger={"path": root / "audit.db", "outcome": outcome},
        )
        with Guard.open(settings) as guard:
            guard.declare("order", schema=schema_of(case.make(0)))
            given = fresh(case.make)
            run = lambda **_: None
            with guard.session(principal="alice@example.com", agent="bench"):
                for args in itertools.islice(given, WARM_UP):
                    guard.call("order", args, run)
            raw: list[float] = []
            calls: list[float] = []
            pids = children()
            worker_before, own_before = worker_cpu(pids), resource.getrusage(resource.RUSAGE_SELF)
            for count in by_session(rounds):
                with guard.session(principal="alice@example.com", agent="bench"):
                    for args in itertools.islice(given, count):
                        raw.append(ring.sync())
                        raw.append(ring.sync())
                        began = time.perf_counter()
                        guard.call("order", args, run)
                        calls.append(time.perf_counter() - began)
            own = resource.getrusage(resource.RUSAGE_SELF)
            cpu = (own.ru_utime + own.ru_stime - own_before.ru_utime - own_before.ru_stime) / rounds
            # what the raw syncs of the same loop cost
            before = resource.getrusage(resource.RUSAGE_SELF)
            for _ in range(400):
                ring.sync()
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu -= 2 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 400
            return {
                "case": case.name,
                "outcome": outcome,
                "aim": aim,
                "args_bytes": len(json.dumps(case.make(0))),
                "policy_lines": case.policy.count("\n"),
                "raw_sync_us": {"p50": at(raw, 0.5), "p99": at(raw, 0.99)},
                "call_us": {"p50": at(calls, 0.5), "p99": at(calls, 0.99)},
                "p50_over_two_raw_syncs": at(calls, 0.5) / (2 * at(raw, 0.5)),
                "p99_over_two_raw_p99": at(calls, 0.99) / (2 * at(raw, 0.99)),
                "quiet": at(raw, 0.99) < 3 * at(raw, 0.5),
                "cpu_us": {
                    "caller": cpu * 1e6,
                    "worker": (worker_cpu(pids) - worker_before) / rounds * 1e6,
                },
                "stages_us": stages(guard, given, min(rounds, 400)),
            }


def imports() -> dict[str, float]:
    """Return the milliseconds of ``import guardrail`` over bare Python, and of ``guardrail
    --help``, medians of 15.
    """

    def run(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - began

    bare, imported, helped = [], [], []
    for _ in range(1 if QUICK else 15):
        bare.append(run("-c", "pass"))
        imported.append(run("-c", "import guardrail"))
        helped.append(run("-c", "from guardrail.cli import main; main()", "--help"))
    middle = statistics.median
    return {
        "bare_python_ms": middle(bare) * 1e3,
        "import_guardrail_over_bare_ms": (middle(imported) - middle(bare)) * 1e3,
        "help_ms": middle(helped) * 1e3,
    }


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--json", action="store_true")
    options.add_argument("--no-imports", action="store_true")
    chosen = options.parse_args()
    found: dict[str, Any] = {
        "cases": [
            measure(case, chosen.rounds, outcome, aim)
            for at, case in enumerate(CASES)
            for outcome, aim in ((name, aims[at]) for name, aims in AIMS.items())
        ]
    }
    if not chosen.no_imports:
        found["imports"] = imports()
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    for case in found["cases"]:
        raw, call, cpu = case["raw_sync_us"], case["call_us"], case["cpu_us"]
        print(
            f"\n{case['case']}, outcome {case['outcome']} ({case['args_bytes']} bytes of"
            f" arguments, policy of {case['policy_lines']} lines)"
        )
        print(
            f"  raw fdatasync 8 KiB   p50 {raw['p50']:7.0f} us   p99 {raw['p99']:7.0f} us"
            + ("" if case["quiet"] else "   (busy: p99 is not judged)")
        )
        print(f"  governed no-op call   p50 {call['p50']:7.0f} us   p99 {call['p99']:7.0f} us")
        print(f"  over two raw syncs                       p99 {case['p99_over_two_raw_p99']:7.2f}")
        over = case["p50_over_two_raw_syncs"]
        print("  " + judge("governed call / two raw syncs, by the medians", over, most=case["aim"]))
        print(
            f"  CPU                caller {cpu['caller']:7.0f} us  worker {cpu['worker']:7.0f} us"
        )
        total = sum(case["stages_us"].values())
        for stage, value in case["stages_us"].items():
            print(f"    {stage:20} {value:7.1f} us  {100 * value / total:5.1f} %")
    if "imports" in found:
        print("\n" + "   ".join(f"{name} {value:.0f}" for name, value in found["imports"].items()))


if __name__ == "__main__":
    main()
