"""A decision by an OPA server: p50 and p99, beside a bare keep-alive request to the same server; a
decision by a private OPA, beside one by the embedded engine; the governed call with each engine.

    python -m tests.bench.bench_opa [--rounds N] [--json]

The bare request is ``http.client`` on a kept connection with the same bytes. It and the decisions
alternate, so that a busy machine hits both; so do the governed calls of the two engines. Needs opa:
GUARDRAIL_OPA, or PATH.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.authoring.bundle import make_bundle
from guardrail.bench.workload import fresh, medium_policy, schema_of, small_args
from guardrail.config import Settings
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.engine import Engine
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.reply import DECISION_PATH, OpaQuestion
from guardrail.policy.sources import load_policies
from tests.bench.bench_policy import call
from tests.support.benchmarks import QUICK

WARM_UP = 300
AIM_US = 300
PRIVATE_AIM_US = 400


@contextmanager
def served(program: str, folder: Path, bundle: Path) -> Iterator[str]:
    """Run OPA on a free port; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--bundle", str(bundle)], stdout=log, stderr=log)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Bare:
    """The least that a Python program can do to ask: a kept connection of ``http.client``."""

    def __init__(self, address: str, body: bytes) -> None:
        host, _, port = address.partition(":")
        self._connection = http.client.HTTPConnection(host, int(port))
        self._body = OpaQuestion.about(body).body

    def ask(self) -> None:
        """Ask, and read the whole reply."""
        self._connection.request(
            "POST", DECISION_PATH, self._body, {"Content-Type": "application/json"}
        )
        response = self._connection.getresponse()
        assert response.status == 200
        response.read()


def timed(step: Callable[[], object]) -> float:
    """Return the seconds that *step* took."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def figures(times: list[float]) -> dict[str, float]:
    """Return p50 and p99 in microseconds, without the warm-up."""
    ordered = sorted(times[WARM_UP:])
    return {"p50": statistics.median(ordered) * 1e6, "p99": ordered[int(len(ordered) * 0.99)] * 1e6}


def decide(engine: Engine, body: bytes) -> Callable[[], object]:
    """Return a step that asks for a decision and waits for it."""
    return lambda: engine.decide(body, shard="bench\0s\0tool", deadline=5).result(5)


def decisions(address: str, policies: Path, rounds: int) -> dict[str, Any]:
    """Measure bare requests and decisions of the server, of a private OPA and of the embedded
    engine, in turn.
    """
    body = call()
    settings = Settings().override(opa={"url": f"http://{address}"}).opa
    server = OpaEngine.connect(settings, local=load_policies([policies]))
    private = OpaEngine.connect(Settings().opa, local=load_policies([policies]))
    embedded = EmbeddedEngine.load([policies])
    steps = {
        "bare": Bare(address, body).ask,
        "server": decide(server, body),
        "private": decide(private, body),
        "embedded": decide(embedded, body),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    try:
        for _ in range(rounds + WARM_UP):
            for name, step in steps.items():
                times[name].append(timed(step))
    finally:
        for engine in (server, private, embedded):
            engine.close()
    found: dict[str, Any] = {name: figures(values) for name, values in times.items()}
    found["server_over_bare_p50_us"] = found["server"]["p50"] - found["bare"]["p50"]
    found["private_over_embedded_p50_us"] = found["private"]["p50"] - found["embedded"]["p50"]
    return found


def governed(address: str, policies: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Measure governed no-op calls with each engine, in turn."""
    guards = {}
    for name in ("embedded", "opa"):
        settings = Settings().override(
            ledger={"path": folder / f"{name}.db"},
            policy={"path": [policies], "engine": name},
            opa={"url": f"http://{address}"},
            limits={"calls_per_minute": 0},
        )
        guards[name] = Guard.open(settings)
        guards[name].declare("order", schema=schema_of(small_args(0)))
    times: dict[str, list[float]] = {name: [] for name in guards}
    given = fresh(small_args)
    run = lambda **_: None
    try:
        for _ in range(rounds + WARM_UP):
            args = next(given)
            for name, guard in guards.items():
                with guard.session(principal="alice@example.com", agent="bench", id=name):
                    times[name].append(
                        timed(lambda guard=guard, args=args: guard.call("order", args, run))
                    )  # type: ignore[misc]
    finally:
        for guard in guards.values():
            guard.close()
    return {name: figures(values) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50 if QUICK else 1500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    program = os.environ.get("GUARDRAIL_OPA") or shutil.which("opa")
    if not program:
        print("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR")) as place:
        folder = Path(place)
        policies = folder / "policies"
        policies.mkdir()
        (policies / "policy.rego").write_text(medium_policy())
        bundle = folder / "bundle.tar.gz"
        bundle.write_bytes(make_bundle([policies]).content)
        with served(program, folder, bundle) as address:
            found = {
                "decision_us": decisions(address, policies, options.rounds),
                "governed_call_us": governed(address, policies, folder, options.rounds),
            }
    if options.json:
        print(json.dumps(found))
        return
    asked = found["decision_us"]
    for name in ("bare", "server", "private", "embedded"):
        p50, p99 = asked[name]["p50"], asked[name]["p99"]
        print(f"decision, {name:10} p50 {p50:7.0f} us   p99 {p99:7.0f} us")
    for pair, aim in (("server_over_bare", AIM_US), ("private_over_embedded", PRIVATE_AIM_US)):
        over = asked[f"{pair}_p50_us"]
        verdict = "holds" if over <= aim else "MISSED"
        print(f"{pair.replace('_', ' '):21} p50 {over:+5.0f} us   (aim: at most +{aim}, {verdict})")
    for name, value in found["governed_call_us"].items():
        print(f"governed, {name:10} p50 {value['p50']:7.0f} us   p99 {value['p99']:7.0f} us")


if __name__ == "__main__":
    main()
