"""Reading a log while it is written."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.core.log.record import Draft, decode
from guardrail.errors import LedgerError, LedgerOpenError
from guardrail.ledger.lease import ProcessState
from guardrail.ledger.reader import LedgerReader
from guardrail.system.ids import new_ulid
from tests.support.ledgers import decision, driven, make, note, outcome, whole_call


def test_lines_are_read_in_order_and_in_part(tmp_path: Path) -> None:
    """From a start, before a stop, across the chunks they are fetched in."""
    with make(tmp_path / "a.db") as writer:
        for future in [writer.submit(note()) for _ in range(600)]:
            future.result(10)
        with LedgerReader.open(writer.path) as reader:
            assert [row[0] for row in reader.lines()] == list(range(601))
            assert [row[0] for row in reader.lines(255, 259)] == [255, 256, 257, 258]
            assert list(reader.lines(601)) == []
            assert reader.size() == 601
            head = reader.head()
            assert head is not None
            assert (head.log, head.size) == ("test/log", 601)
            assert reader.record(601) is None


@pytest.mark.slow
def test_reading_goes_on_while_writers_write(tmp_path: Path) -> None:
    """A reader sees an intact chain at every moment, and keeps no writer waiting."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        done = threading.Event()

        def write() -> None:
            for _ in range(150):
                whole_call(writer)
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        sizes = []
        while not done.is_set():
            report = chain.verify(reader.lines())
            assert report.first_bad is None
            sizes.append(report.records)
        thread.join()
        assert sizes == sorted(sizes)
        assert reader.size() == 301


def test_a_snapshot_stays_as_it_was(tmp_path: Path) -> None:
    """Inside, records that were written meanwhile do not show; outside they do."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        with reader.snapshot(), reader.snapshot():
            assert reader.size() == 1
            writer.append(note())
            assert reader.size() == 1
        assert reader.size() == 2


def test_a_reader_can_not_write(tmp_path: Path) -> None:
    """Whatever SQL reaches it."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        for sql in (
            "DELETE FROM call WHERE open = 1",
            "DROP TABLE call",
            "PRAGMA user_version = 9",
            "VACUUM",
        ):
            with pytest.raises(LedgerError):
                reader.storage.ask(sql)
        assert reader.storage.ask("PRAGMA user_version") == [(3,)]
        writer.append(note())


def test_records_are_found_by_call_and_session(tmp_path: Path) -> None:
    """Decision, outcome, claim and rejection; by prefix; the first of a session."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        call, other = new_ulid(), new_ulid()
        seq = writer.append(decision(call, writer.process, session="s-a")).seq
        writer.append(outcome(call, seq, writer.process))
        claim = {"v": 1, "log": writer.log, "type": "call.claim", "call": call, "session": "s-a"}
        writer.append(Draft.build(claim))
        rejected = {
            "v": 1,
            "log": writer.log,
            "type": "call.rejected",
            "call": other,
            "session": "s-b",
        }
        writer.append(Draft.build(rejected))
        types = [decode(line)["type"] for line in reader.by_call(call)]
        assert types == ["call.decision", "call.outcome", "call.claim"]
        assert [decode(line)["call"] for line in reader.calls("s-a")] == [call]
        assert [decode(line)["call"] for line in reader.calls("s-b")] == [other]
        assert reader.find_calls(call[:20]) == [call]
        assert reader.find_sessions("s-") == ["s-a", "s-b"]
        first = reader.first_of_session("s-a")
        assert first is not None
        assert decode(first)["seq"] == seq
        assert reader.first_of_session("s-none") is None


def test_open_calls_tell_whether_their_process_lives(tmp_path: Path) -> None:
    """Own, alive, dead."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        writer.append(decision(new_ulid(), writer.process))
        with driven(tmp_path / "a.db") as other:
            other.ask("decide")
            assert [state for _, state in reader.open_calls()] == [
                ProcessState.OWN,
                ProcessState.ALIVE,
            ]
            other.kill()
            assert [state for _, state in reader.open_calls()] == [
                ProcessState.OWN,
                ProcessState.DEAD,
            ]


def test_what_is_no_ledger_is_told_apart(tmp_path: Path) -> None:
    """Missing and foreign files have codes of their own, and reading creates nothing."""
    (tmp_path / "text.db").write_bytes(b"x" * 5000)
    for name, code in {"missing.db": "ledger.missing", "text.db": "ledger.not_a_ledger"}.items():
        with pytest.raises(LedgerOpenError) as caught:
            LedgerReader.open(tmp_path / name)
        assert (name, caught.value.code) == (name, code)
    assert [item.name for item in tmp_path.iterdir()] == ["text.db"]


def test_a_closed_log_is_read_and_left_to_writers(tmp_path: Path) -> None:
    """A reader that comes and goes while nobody writes does not keep the next writer out."""
    make(tmp_path / "a.db").close()
    with LedgerReader.open(tmp_path / "a.db") as reader:
        assert reader.size() == 1
        with driven(tmp_path / "a.db") as driver:
            assert "ok" in driver.ask("call")
            driver.ask("stop")
        assert reader.size() == 3
