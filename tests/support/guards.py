"""Shared by the promise tests: guards on a real ledger, bodies that count their runs, real
processes to be harmed.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.call.journal import Journal
from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring.opening import open_guard, open_journal
from guardrail.wiring.tenants import TenantGuards
from tests.support.paths import PROGRAMS
from tests.support.waiting import PATIENCE

OPEN = {"type": "object", "additionalProperties": True}
"""A schema that takes every argument."""
PAYMENT = {"type": "object", "properties": {"invoice": {}}}
"""A schema that declares an invoice, and takes every argument."""


class Body:
    """A tool body that counts its runs. Thread-safe."""

    def __init__(self, result: Any = "done") -> None:
        self.runs = 0
        self._result = result
        self._lock = threading.Lock()

    def __call__(self, **arguments: Any) -> Any:
        with self._lock:
            self.runs += 1
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result(**arguments) if callable(self._result) else self._result


def settings(folder: Path, **sections: Mapping[str, object]) -> Settings:
    """Return settings with everything in *folder*, that take calls of nobody; *sections* as for
    ``Settings.override``.
    """
    base = Settings().override(
        ledger={"path": folder / "audit.db"},
        policy={"path": [folder / "policies"]},
        identity={"require": "any"},
    )
    return base.override(**sections) if sections else base


@contextmanager
def guarded(folder: Path, engine: Any = None, **sections: Mapping[str, object]) -> Iterator[Guard]:
    """Open a guard on a real ledger in *folder*, with *engine* (default: a policy that allows
    everything).
    """
    chosen = settings(folder, **sections)
    journal, keys = open_journal(chosen, epochs=False)
    guard = Guard(
        settings=chosen, engine=engine or StaticPolicy(allow()), journal=journal, keys=keys
    )
    try:
        yield guard
    finally:
        guard.close()


@contextmanager
def ruled(folder: Path, rego: str, **sections: Mapping[str, object]) -> Iterator[Guard]:
    """Open a guard whose policy is *rego* (without its package line), on the real engine."""
    write_policy(folder, rego)
    with open_guard(Guard, settings(folder, **sections), None) as guard:
        yield guard


def write_policy(folder: Path, rego: str) -> Path:
    """Write *rego* as the one policy in *folder*/policies."""
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "policy.rego").write_text(f"package guardrail.policy\n\n{rego}\n", encoding="utf-8")
    return policies


def journal_of(guard: Guard) -> Journal:
    """Return the journal of *guard*: a test appends to it what no call would, or breaks it."""
    return guard._journal


def tenants_of(guard: Guard) -> TenantGuards[Guard]:
    """Return the guards of the tenants of *guard*: a test closes those that are idle."""
    return guard._tenants


def engine_of(guard: Guard) -> Any:
    """Return the engine that *guard* asks: a test looks at its workers, or stops them."""
    return guard._policies.engine


def lines(db: Path) -> list[bytes]:
    """Return every line of the ledger."""
    with LedgerReader.open(db) as reader:
        return [line for _, _, line in reader.lines()]


def records(db: Path, type_: str | None = None) -> list[dict[str, Any]]:
    """Return the records of the ledger, of one type or of all."""
    found = [decode(line) for line in lines(db)]
    return [record for record in found if type_ is None or record["type"] == type_]


def whole(db: Path, *, still_open: int = 0) -> list[dict[str, Any]]:
    """Make sure that the chain is intact and that every allowed call has one outcome; return all
    records.
    """
    report = verify_ledger(db)
    assert report.state is VerifyState.NOT_ANCHORED, report
    found = records(db)
    outcomes = Counter(record["call"] for record in found if record["type"] == "call.outcome")
    allowed = Counter(
        record["call"]
        for record in found
        if record["type"] == "call.decision" and record["decision"]["effect"] == "allow"
    )
    assert max(outcomes.values(), default=0) <= 1
    assert max(allowed.values(), default=0) <= 1
    assert set(outcomes) <= set(allowed)
    assert len(allowed) - len(outcomes) == still_open
    return found


def verdicts(db: Path) -> list[tuple[str, str, str]]:
    """Return (effect, cause, detail) of every decision."""
    return [
        (record["decision"]["effect"], record["decision"]["cause"], record["decision"]["detail"])
        for record in records(db, "call.decision")
    ]


def appearances(secret: str, data: bytes) -> list[str]:
    """Return the forms in which *secret* stands in *data*: plain, escaped, quoted, hex, base64 at
    any offset.
    """
    return [name for name, form in _forms(secret).items() if form and form in data]


@functools.cache
def _forms(secret: str) -> Mapping[str, bytes]:
    raw = secret.encode()
    forms = {
        "plain": raw,
        "json": json.dumps(secret)[1:-1].encode(),
        "json twice": json.dumps(json.dumps(secret))[3:-3].encode(),
        "quoted": urllib.parse.quote(secret, safe="").encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "reversed": secret[::-1].encode(),
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        # The first and last characters depend on what stands beside the secret.
        forms[f"base64+{shift}"] = encoded[4:-2] if shift else encoded[:-2]
        forms[f"base64url+{shift}"] = forms[f"base64+{shift}"].translate(
            bytes.maketrans(b"+/", b"-_")
        )
    return forms


def cli(*words: object, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in *cwd*, as a user does."""
    done = subprocess.run(
        [sys.executable, "-c", "from guardrail.cli import main; main()", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
        timeout=60,
    )
    assert code is None or done.returncode == code, done.stderr
    return done


class Child:
    """A process with a guard, driven over its standard streams: see programs/guarded.py."""

    def __init__(
        self, folder: Path, *, env: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self.folder = folder
        self.errors = folder / f"stderr-{len(list(folder.glob('stderr-*')))}"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(PROGRAMS / "guard_driver.py"),
                    str(folder),
                    json.dumps(options),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(env or {})},
            )
        self.opened = self.answer()

    def send(self, name: str, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, *words]).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.process.wait(), self.errors.read_text())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, name: str, *words: object) -> dict[str, Any]:
        self.send(name, *words)
        return self.answer()

    def died(self) -> int:
        """Wait for the end of a process that kills itself; return its exit code."""
        code = self.process.wait(30)
        self.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.died()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


@contextmanager
def child(folder: Path, *, env: Mapping[str, str] | None = None, **options: Any) -> Iterator[Child]:
    """Run a child and make sure that it ends."""
    running = Child(folder, env=env, **options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        running.close()


def until_ok(running: Child) -> dict[str, Any]:
    """Call until a call goes through, or patience ends. Return the last answer."""
    end = time.monotonic() + PATIENCE
    while True:
        answer: dict[str, Any] = running.ask("call")
        if "ok" in answer or time.monotonic() > end:
            return answer
        time.sleep(0.01)
