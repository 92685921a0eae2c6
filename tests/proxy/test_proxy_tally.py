"""Whatever breaks while answers stream through the proxy, no call is handed over without a record,
and every allowed call has one outcome in the end. The proxy is a real process.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from guardrail import Guard
from tests.support.command_line import command, environment
from tests.support.effort import effort
from tests.support.guards import records, whole
from tests.support.model_server import MODEL, Call, ModelServer, Turn
from tests.support.projects import new_project
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

CLIENTS = 6
PATHS = {"chat/completions": "messages", "responses": "input"}
SETTINGS = """[ledger]
path = "audit.db"

[policy]
path = "policies"
deadline_ms = 60000

[proxy]
outcome_wait_s = 3600
stop_s = 10
"""
_ID = re.compile(rb"call_[0-9a-f]{24}")


@contextmanager
def proxy_process(project: Path, upstream: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``guardrail proxy``; yield its base URL and the process."""
    with subprocess.Popen(
        command("proxy", "--upstream", upstream, "--listen", "127.0.0.1:0"),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"OPENAI_BASE_URL=(\S+)", process.stdout.readline())
            assert found is not None
            yield found[1], process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


class Clients:
    """Programs that ask for answers all the time, and note the ids of the calls that they get."""

    def __init__(self, base: str, chance: random.Random) -> None:
        self._base = base
        self._seeds = [chance.random() for _ in range(CLIENTS)]
        self._stopped = threading.Event()
        self.got: set[str] = set()
        self.told: set[str] = set()
        self.answers = self.faults = self.left = 0
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed),)) for seed in self._seeds
        ]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join()

    def _run(self, chance: random.Random) -> None:
        results: list[dict[str, Any]] = []
        with httpx2.Client(timeout=60) as client:
            while not self._stopped.is_set():
                try:
                    results = self._ask(client, chance, results)
                except httpx2.HTTPError:
                    self.faults += 1
                    time.sleep(0.02)

    def _ask(
        self, client: httpx2.Client, chance: random.Random, results: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Ask once, and read the answer: all of it, or a part. Return results to tell."""
        path = chance.choice(list(PATHS))
        chat = path == "chat/completions"
        history = [{"role": "user", "content": "Sun?"}, *(results if chat else [])]
        body = {"model": MODEL, PATHS[path]: history, "stream": chance.random() < 0.8}
        leaves = chance.randrange(100, 4000) if chance.random() < 0.3 else None
        read = b""
        with client.stream("POST", f"{self._base}/{path}", json=body) as answer:
            for piece in answer.iter_bytes():
                read += piece
                if leaves is not None and len(read) > leaves:
                    self.left += 1
                    break
        if chat:
            self.told.update(each["tool_call_id"] for each in results)
        ids = {each.decode() for each in _ID.findall(read)}
        self.got |= ids
        self.answers += 1
        return [{"role": "tool", "tool_call_id": each, "content": "sun"} for each in sorted(ids)]


def answers(chance: random.Random) -> Any:
    """Return a script of the upstream: some answers are cut, slow or no answers at all."""

    def answer(_: dict[str, Any]) -> Turn:
        calls = [Call("weather", {"city": f"city {n}"}) for n in range(chance.randrange(4))]
        luck = chance.random()
        wire = Wire()
        if luck < 0.25:
            wire = Wire(cut=chance.randrange(1, 4000))
        elif luck < 0.3:
            wire = Wire(body=b"<html>", content_type="text/html")
        elif luck < 0.6:
            wire = Wire(piece=200, pause=0.003)
        return Turn("Let me see.", calls, wire=wire)

    return answer


def calls_of(db: Path) -> dict[str, str]:
    """Return the call of each framework id that was allowed."""
    return {
        each["origin"]["call_id"]: each["call"]
        for each in records(db, "call.decision")
        if each["decision"]["effect"] == "allow"
    }


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_no_call_is_handed_over_without_a_record_and_each_has_one_outcome(
    tmp_path: Path, end: signal.Signals, record_property: Any
) -> None:
    """Upstreams that die in the middle of a call, clients that go away, and then the proxy."""
    project = new_project(tmp_path / "project", SETTINGS)
    chance = random.Random(7)
    seconds = 30 if os.environ.get("GUARDRAIL_SOAK") else effort(6, part=4)
    with (
        ModelServer([answers(chance)], repeat=True) as upstream,
        proxy_process(project, upstream.openai) as (base, process),
        Clients(base, chance) as clients,
    ):
        time.sleep(seconds)
        process.send_signal(end)
        process.wait(timeout=120)
    db = project / "audit.db"
    with Guard.open(project / "guardrail.toml"):
        pass  # a new process closes the calls that a dead one left open
    whole(db)
    allowed = calls_of(db)
    assert clients.answers > 20
    assert clients.left > 0
    assert clients.faults > 0
    assert clients.got - set(allowed) == set()
    statuses = {each["call"]: each["status"] for each in records(db, "call.outcome")}
    cancelled = {each for each in clients.got if statuses[allowed[each]] == "cancelled"}
    assert cancelled == set(), "a call that a client has got is recorded as withdrawn"
    record_property(
        "figure",
        f"proxy, {end.name}: {clients.answers} answers, {clients.faults} broken, {clients.left}"
        f" left by the client; {len(clients.got)} calls handed over, 0 without a record;"
        f" {len(allowed)} allowed calls with one outcome each",
    )


def test_a_ledger_that_fails_while_a_stream_is_open_ends_it(tmp_path: Path) -> None:
    """The text that came before is with the client. The call is not."""
    project = new_project(tmp_path / "project", SETTINGS)
    db = project / "audit.db"
    turn = Turn("Sun. " * 50, [Call("weather", {"city": "Bern"})], wire=Wire(piece=100, pause=0.02))
    with (
        ModelServer([turn], repeat=True) as upstream,
        proxy_process(project, upstream.openai) as (base, _),
    ):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Sun?"}], "stream": True}
        read = b""
        with httpx2.stream("POST", f"{base}/chat/completions", json=body, timeout=120) as answer:
            for piece in answer.iter_bytes():
                if not read:
                    db.rename(db.with_suffix(".away"))
                read += piece
        assert b"Sun." in read
        assert b"can't be recorded" in read
        assert b"[DONE]" not in read
        assert not _ID.search(read)
        refused = httpx2.post(
            f"{base}/chat/completions", json={**body, "stream": False}, timeout=60
        )
        assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "false")
        assert not _ID.search(refused.content)
    db.with_suffix(".away").rename(db)
    assert not records(db, "call.decision")
