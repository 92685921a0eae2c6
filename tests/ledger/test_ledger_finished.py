"""Which calls succeeded or still run is known from every line of the log, hashed once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.core.log.record import Draft
from guardrail.core.repeats import Repeat, names_of
from guardrail.ledger.finished import FinishedCalls
from guardrail.ledger.maintenance.prune import detail, prune
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import SIGNING, common


def fields(type_: str, call: str, writer: LedgerWriter, call_id: str | None) -> dict[str, object]:
    record = common(type_, call, writer.process)
    record["origin"]["call_id"] = call_id
    return record


def decided(writer: LedgerWriter, call_id: str | None, effect: str = "allow") -> tuple[str, int]:
    call = new_ulid()
    record = fields("call.decision", call, writer, call_id)
    record.update(tool={"name": "x"}, input={}, decision={"effect": effect, "cause": "policy"})
    draft = Draft.build(record, opens=effect == "allow", process=writer.process)
    return call, writer.append(draft).seq


def ended(writer: LedgerWriter, call: tuple[str, int], call_id: str | None, status: str) -> None:
    record = fields("call.outcome", call[0], writer, call_id)
    record.update(decision_seq=call[1], status=status, result=None, error=None, omitted=None)
    writer.append(Draft.build(record))


def made(writer: LedgerWriter, call_id: str, status: str = "ok") -> None:
    ended(writer, decided(writer, call_id), call_id, status)


def repeat(db: Path, writer: LedgerWriter, calls: FinishedCalls, call_id: str) -> Repeat | None:
    names = names_of(fields("call.decision", "", writer, call_id))
    with LedgerReader.open(db) as reader:
        return ProvedReader(reader, Proofs(SIGNING, writer.log)).repeat(names, calls)


def test_each_line_is_hashed_once(db: Path, writer: LedgerWriter, hashed: list[bytes]) -> None:
    """A look reads the lines that were added since the last one."""
    calls = FinishedCalls()
    for n in range(300):
        made(writer, f"c-{n}")
    assert repeat(db, writer, calls, "c-7") is Repeat.SUCCEEDED
    assert len(hashed) == 600
    assert repeat(db, writer, calls, "c-299") is Repeat.SUCCEEDED
    assert repeat(db, writer, calls, "c-300") is None
    assert len(hashed) == 600
    made(writer, "c-300")
    assert repeat(db, writer, calls, "c-300") is Repeat.SUCCEEDED
    assert len(hashed) == 602


@pytest.mark.parametrize("most", [8, 0])
def test_a_log_with_too_many_calls_is_searched(db: Path, writer: LedgerWriter, most: int) -> None:
    """The answers are the same."""
    calls = FinishedCalls(most)
    for n in range(4):
        made(writer, f"c-{n}", "ok" if n % 2 else "error")
    running = decided(writer, "c-9")
    for _ in range(2):
        found = [repeat(db, writer, calls, f"c-{n}") for n in range(5)]
        assert found == [None, Repeat.SUCCEEDED, None, Repeat.SUCCEEDED, None]
        assert repeat(db, writer, calls, "c-9") is Repeat.RUNNING
    ended(writer, running, None, "returned")
    assert repeat(db, writer, calls, "c-9") is Repeat.SUCCEEDED


@pytest.mark.parametrize("status", ["error", "cancelled", "interrupted", "unknown"])
def test_only_a_success_counts(db: Path, writer: LedgerWriter, status: str) -> None:
    """A call that was denied never ran, and one without an id is nobody's repetition."""
    calls = FinishedCalls()
    made(writer, "c-1", status)
    decided(writer, "c-2", "deny")
    ended(writer, decided(writer, None), None, "ok")
    assert [repeat(db, writer, calls, name) for name in ("c-1", "c-2", "c-3")] == [None] * 3


def test_a_success_stays_known_after_its_records_are_pruned(db: Path, writer: LedgerWriter) -> None:
    """In the process that saw it; another one can't know."""
    calls = FinishedCalls()
    made(writer, "c-1")
    assert repeat(db, writer, calls, "c-1") is Repeat.SUCCEEDED

    def record(log: str, cut: object) -> Draft:
        about = detail(cut, {})  # type: ignore[arg-type]
        said = {"actor": {}, "origin": {}, "detail": about}
        return Draft.build({"v": 1, "log": log, "type": "admin.pruned", **said})

    made(writer, "c-2")
    prune(db, 3, signing=SIGNING, allow=lambda _: None, record=record)
    made(writer, "c-3")
    assert repeat(db, writer, calls, "c-1") is Repeat.SUCCEEDED
    assert repeat(db, writer, calls, "c-3") is Repeat.SUCCEEDED
    fresh = FinishedCalls()
    found = [repeat(db, writer, fresh, name) for name in ("c-1", "c-2", "c-3")]
    assert found == [None, Repeat.SUCCEEDED, Repeat.SUCCEEDED]


def test_a_forked_child_looks_although_a_thread_of_its_parent_did(
    db: Path, writer: LedgerWriter
) -> None:
    """The thread, which has taken its turn, does not exist in the child."""
    made(writer, "c-1")
    calls = FinishedCalls()
    inside, release = threading.Event(), threading.Event()

    class Slow(list[str]):
        def __iter__(self) -> Iterator[str]:
            inside.set()
            release.wait(60)
            return iter(["c-2"])

    def look() -> None:
        with LedgerReader.open(db) as reader:
            ProvedReader(reader, Proofs(SIGNING, writer.log)).repeat(Slow(), calls)

    thread = threading.Thread(target=look)
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        found = repeat(db, writer, calls, "c-1")
        os._exit(0 if found is Repeat.SUCCEEDED else 1)
    status = os.waitpid(child, 0)[1]
    release.set()
    thread.join()
    assert status == 0
