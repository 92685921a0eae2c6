"""What the proxy adds to a model's answer: to its first token, to a chunk, to a whole answer with a
call; and its memory with 200 streams at the same time.

    python -m tests.bench.bench_proxy [--minutes N]

The upstream and the proxy are processes of their own, ``guardrail proxy`` with a real ledger and a
real policy. Answers through the proxy and from the upstream itself are measured in turn. The CPU
time is that of the process of the proxy, without that of its policy worker.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from guardrail import Guard
from tests.support.benchmarks import QUICK, UNLIMITED, judge
from tests.support.command_line import command, environment
from tests.support.paths import PROGRAMS

ROUNDS = 40 if QUICK else 1000
BURST = 500 if QUICK else 5000
STREAMS = 200
PAUSE = 0.02 if QUICK else 0.1
CHUNKS = 100
"""Each of the concurrent streams has that many chunks, one every ``PAUSE`` seconds, and a call."""
TURNS = 10
POLICY = """package guardrail.policy

allow contains "weather" if input.resource.id == "weather"
deny contains "far" if input.action.properties.args.city == "Atlantis"
"""
SETTINGS = """[ledger]
path = "audit.db"

[policy]
path = "policies"
deadline_ms = 10000

[limits]
calls_per_minute = 0

[proxy]
outcome_wait_s = 30
"""
"""The last call of a conversation has no result. Its state is kept until it is closed as unknown:
with this wait, the first minute shows the memory that is kept from then on.
"""
ARGUMENTS = {"city": "Bern", "days": 3, "note": "x" * 120}
_TICK = os.sysconf("SC_CLK_TCK")
_MILLI, _MICRO = 1_000, 1_000_000


@contextmanager
def running(argv: list[str], cwd: Path, pattern: str) -> Iterator[tuple[str, int]]:
    """Run a program; yield the URL that it prints, and its process id."""
    with subprocess.Popen(
        argv, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdout is not None
        try:
            found = re.search(pattern, program.stdout.readline().decode())
            assert found is not None
            yield found[0], program.pid
        finally:
            program.terminate()


def cpu(pid: int) -> float:
    """Return the seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> float:
    """Return the resident memory of a process, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


class Line:
    """A connection that is kept open."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._path = f"{parts.path}/chat/completions"
        self._line = http.client.HTTPConnection(str(parts.hostname), parts.port or 80)
        self._line.connect()

    def _ask(self, model: str) -> http.client.HTTPResponse:
        stream = model.startswith("stream")
        body = {"model": model, "messages": [{"role": "user", "content": "Sun?"}], "stream": stream}
        self._line.request("POST", self._path, json.dumps(body))
        return self._line.getresponse()

    def whole(self, model: str) -> float:
        """Return the seconds until an answer is complete."""
        began = time.perf_counter()
        answer = self._ask(model)
        text = answer.read()
        assert answer.status == 200, text
        return time.perf_counter() - began

    def first_token(self) -> float:
        """Return the seconds until the first token of a stream."""
        began = time.perf_counter()
        answer = self._ask("stream:2:0.002")
        read = answer.read1(65536)
        while b"content" not in read:
            read += answer.read1(65536)
        took = time.perf_counter() - began
        answer.read()
        return took


def in_turn(rounds: int, **work: Callable[[], float]) -> dict[str, list[float]]:
    """Run each of *work* in turn, *rounds* times and twice before; return the seconds of each."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 2):
        for name, run in work.items():
            took = run()
            if turn >= 2:
                found[name].append(took)
    return found


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def first_tokens(upstream: str, proxy: str) -> None:
    direct, proxied = Line(upstream), Line(proxy)
    found = in_turn(ROUNDS, direct=direct.first_token, proxied=proxied.first_token)
    for percent, aim in ((50, 2.0), (99, 5.0)):
        added = percentile(found["proxied"], percent) - percentile(found["direct"], percent)
        what = f"first token, added at p{percent}"
        print(judge(what, _MILLI * added, most=aim, unit=" ms"))


def chunks_in_bursts(proxy: str, pid: int) -> None:
    line = Line(proxy)
    line.whole(f"stream:{BURST}:0")
    used = cpu(pid)
    for _ in range(4):
        line.whole(f"stream:{BURST}:0")
    each = _MICRO * (cpu(pid) - used) / (4 * BURST)
    print(judge("CPU of a chunk, sent as fast as it goes", each, most=100, unit=" us"))


def whole_answers(upstream: str, proxy: str, root: Path) -> None:
    """Compare a governed answer with its parts."""
    direct, proxied = Line(upstream), Line(proxy)
    with Guard.open(
        UNLIMITED, policies=root / "policies", ledger=root / "own" / "ledger.db"
    ) as guard:
        guard.declare("weather")
        with guard.session("alice"):

            def call() -> float:
                began = time.perf_counter()
                guard.call("weather", ARGUMENTS, lambda **_: "sun")
                return time.perf_counter() - began

            found = in_turn(
                ROUNDS,
                direct=lambda: direct.whole("whole:text"),
                hop=lambda: proxied.whole("whole:text"),
                governed=lambda: proxied.whole("whole:call"),
                call=call,
            )
    middle = {name: statistics.median(each) for name, each in found.items()}
    hop = middle["hop"] - middle["direct"]
    print(
        f"the hop: {_MILLI * hop:.2f} ms ({_MILLI * middle['direct']:.2f} ms from the upstream,"
        f" {_MILLI * middle['hop']:.2f} ms through the proxy)"
    )
    parts = middle["hop"] + middle["call"]
    print(
        f"a governed answer: {_MILLI * middle['governed']:.2f} ms; the answer without a call and a"
        f" governed call: {_MILLI * parts:.2f} ms"
    )
    print(judge("governed answer over its parts", middle["governed"] / parts, most=1.15))


async def one_client(base: str, until: float, counted: list[int]) -> None:
    """Ask for streams over one connection, each time with the result of the last call. After
    ``TURNS`` answers, another conversation begins.
    """
    parts = urlsplit(base)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\n"
    asked = {"model": f"stream:{CHUNKS}:{PAUSE}", "stream": True}
    results: list[dict[str, str]] = []
    for turn in itertools.count():
        if time.monotonic() > until:
            break
        told = results if turn % TURNS else []
        body = json.dumps({**asked, "messages": told}).encode()
        writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        text = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert b"[DONE]" in text, text[-500:]
        found = re.findall(r"call_[0-9]+", text.decode())
        results = [{"role": "tool", "tool_call_id": each, "content": "sun"} for each in found]
        counted[0] += text.count(b"data: ")
    writer.close()


async def many_streams(base: str, pid: int, minutes: float) -> None:
    """Keep all streams busy, and compare the memory early with the memory at the end."""
    early = min(60.0, 60 * minutes / 3)
    end = time.monotonic() + 60 * minutes
    counted = [0]
    tasks = [asyncio.create_task(one_client(base, end, counted)) for _ in range(STREAMS)]
    await asyncio.sleep(early)
    before, used, chunks = resident(pid), cpu(pid), counted[0]
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    after = resident(pid)
    each = _MICRO * (cpu(pid) - used) / (counted[0] - chunks)
    await asyncio.gather(*tasks)
    print(
        f"{STREAMS} streams: {counted[0]} chunks; {before:.0f} MB after {early:.0f} s,"
        f" {after:.0f} MB after {60 * minutes:.0f} s"
    )
    print(judge(f"memory with {STREAMS} streams, late over early", after / before, most=1.10))
    print(judge(f"CPU of a chunk, {STREAMS} streams with their calls", each, most=100, unit=" us"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.2 if QUICK else 10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        (root / "policies" / "main.rego").write_text(POLICY)
        (root / "guardrail.toml").write_text(SETTINGS)
        program = [sys.executable, str(PROGRAMS / "bench_upstream.py")]
        url = r"http://[0-9.:]+/v1"
        with running(program, root, url) as (upstream, _):
            served = command("proxy", "--upstream", upstream, "--listen", "127.0.0.1:0")
            with running(served, root, url) as (proxy, pid):
                first_tokens(upstream, proxy)
                chunks_in_bursts(proxy, pid)
                whole_answers(upstream, proxy, root)
                asyncio.run(many_streams(proxy, pid, given.minutes))


if __name__ == "__main__":
    main()
