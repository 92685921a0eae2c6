"""One decision through a worker: p50 and p99, beside an echo through the same worker and the engine
in this process.

    python -m tests.bench.bench_policy [--rounds N] [--threads N] [--json]

Decisions and echoes alternate, so that a busy machine hits both. CPU is of this process and of the
worker, per decision.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.process import Frame, frame
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.embedded.request import EngineRequest
from tests.support.benchmarks import QUICK

WARM_UP = 300
RULES = 28


def medium_policy() -> str:
    """Return a policy of about 145 lines: one allow rule and deny rules of the usual kinds."""
    parts = [
        "package guardrail.policy\n",
        'args := object.get(input.action.properties, "args", {})\n',
        'allow contains "declared" if input.resource.properties.declared == true\n',
    ]
    parts += [
        f"""
deny contains {{"rule": "limit-{number}", "message": "over the limit"}} if {{
	amount := object.get(args, "amount_{number}", 0)
	amount > {1000 + number}
}}
"""
        for number in range(RULES)
    ]
    return "".join(parts)


def call() -> bytes:
    """Return a policy input of about 1 KB."""
    args: dict[str, object] = {f"field_{number}": "a value of some length" for number in range(8)}
    return sample_input("send_email", args={**args, "amount_1": 5}).encode()


def echo(engine: EmbeddedEngine, body: bytes) -> None:
    """Send *body* through the worker and back, on the same path as a decision."""
    rid = os.urandom(16)

    def settle(request: EngineRequest, answer: Frame) -> None:
        request.set_result(answer)  # type: ignore[arg-type]

    now = time.monotonic()
    request = EngineRequest(rid, frame(rid, b"E", body), "echo", now, now + 5, settle=settle)
    engine._lanes[0].submit(request)
    request.result(5)


def decide(engine: EmbeddedEngine, body: bytes) -> None:
    """Ask for one decision and wait for it."""
    engine.decide(body, shard="bench\0s\0tool", deadline=5).result(5)


def percentiles(times: list[float]) -> dict[str, float]:
    """Return p50 and p99 in microseconds."""
    ordered = sorted(times)
    return {
        "p50": statistics.median(ordered) * 1e6,
        "p99": ordered[int(len(ordered) * 0.99)] * 1e6,
    }


def worker_cpu(engine: EmbeddedEngine) -> float:
    """Return the CPU seconds that the worker has used."""
    fields = Path(f"/proc/{engine._lanes[0].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raw(body: bytes, rounds: int, text: str) -> dict[str, float]:
    """Return what the engine alone takes, in this process."""
    import regorus

    from guardrail.policy.sources import installed_folder

    engine = regorus.Engine()
    own = (installed_folder() / "guardrail" / "policy.rego").read_text()
    engine.add_policy("p", text + own.partition("package guardrail.policy\n")[2])
    engine.add_policy("m", (installed_folder() / "guardrail" / "main.rego").read_text())
    times = []
    document = body.decode()
    for _ in range(rounds + WARM_UP):
        started = time.perf_counter()
        engine.set_input_json(document)
        engine.eval_rule_as_json("data.guardrail.main.decision")
        times.append(time.perf_counter() - started)
    return percentiles(times[WARM_UP:])


def throughput(engine: EmbeddedEngine, body: bytes, threads: int, rounds: int) -> float:
    """Return decisions per second of *threads* callers together."""

    def run() -> None:
        for _ in range(rounds):
            decide(engine, body)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * rounds / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100 if QUICK else 3000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    text, body = medium_policy(), call()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "policy.rego").write_text(text)
        started = time.perf_counter()
        engine = EmbeddedEngine.load([Path(folder)])
        load = (time.perf_counter() - started) * 1000
    try:
        decisions, echoes = [], []
        cpu, child = time.process_time(), worker_cpu(engine)
        for _ in range(options.rounds + WARM_UP):
            started = time.perf_counter()
            decide(engine, body)
            middle = time.perf_counter()
            echo(engine, body)
            echoes.append(time.perf_counter() - middle)
            decisions.append(middle - started)
        cpu, child = time.process_time() - cpu, worker_cpu(engine) - child
        pairs = options.rounds + WARM_UP
        report: dict[str, Any] = {
            "policy_lines": text.count("\n"),
            "input_bytes": len(body),
            "load_ms": load,
            "decision_us": percentiles(decisions[WARM_UP:]),
            "echo_us": percentiles(echoes[WARM_UP:]),
            "engine_alone_us": raw(body, options.rounds, text),
            "caller_cpu_us_per_decision_and_echo": cpu / pairs * 1e6,
            "worker_cpu_us_per_decision_and_echo": child / pairs * 1e6,
            "decisions_per_second": throughput(engine, body, options.threads, options.rounds // 10),
        }
    finally:
        engine.close()
    if options.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        if isinstance(value, dict):
            print(f"{name:40} p50 {value['p50']:8.0f}  p99 {value['p99']:8.0f}")
        else:
            print(f"{name:40} {value:12.0f}")


if __name__ == "__main__":
    main()
