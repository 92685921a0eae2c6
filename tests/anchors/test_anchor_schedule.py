"""Anchoring beside the calls: when heads are sent, by whom, what happens when it fails, and how far
behind that leaves them.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.anchors.anchor import Anchor, AnchoredHead, Prove
from guardrail.anchors.configured import configured
from guardrail.anchors.file import FileAnchor
from guardrail.anchors.lines import parse_lines
from guardrail.anchors.schedule import AnchorLag, AnchorWatch
from guardrail.anchors.state import (
    LAGS,
    AnchorState,
    AnchorStates,
    lock_path,
    read_state,
    state_path,
    write_state,
)
from guardrail.config import AnchorSettings
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import AnchorError, ConfigError, KeysError, LedgerError
from tests.support.anchors import ORIGIN, Log, verify_signature, witness
from tests.support.waiting import until


class Source:
    """A log in memory as the ledger, with a heartbeat that is a leaf."""

    log = ORIGIN

    def __init__(self, log: Log | None = None) -> None:
        self.it = log or Log().grow(5)
        self.beats: list[Mapping[str, Any]] = []
        self.broken = False

    def size(self) -> int:
        self._check()
        return len(self.it.leaves)

    def head(self) -> SignedNote:
        self._check()
        return self.it.note()

    def prove(self, first: int, size: int) -> Sequence[bytes]:
        self._check()
        return self.it.prove(first, size)

    def signed(self, note: SignedNote) -> bool:
        return note.signed_by(self.it.key, verify_signature)

    def heartbeat(self, detail: Mapping[str, Any]) -> None:
        self._check()
        self.beats.append(detail)
        self.it.grow(1)

    def _check(self) -> None:
        if self.broken:
            raise LedgerError("the disk is full")


class Switch:
    """An anchor that works, fails or hangs as it is told."""

    def __init__(self, name: str = "switch") -> None:
        self.name = name
        self.error: AnchorError | None = None
        self.took: list[int] = []
        self.knew: list[int | None] = []
        self.gate = threading.Event()
        self.gate.set()

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        self.gate.wait(30)
        self.knew.append(None if known is None else known.size)
        if self.error is not None:
            raise self.error
        head = Checkpoint.parse(note.text)
        self.took.append(head.size)
        return AnchoredHead(self.name, head.size, time.time(), note)

    def is_proved_by(self, note: SignedNote) -> bool:
        return True

    def latest(self, origin: str) -> SignedNote | None:
        return None


Make = Callable[..., AnchorWatch]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make watches over the ledger ``audit.db``; they are closed at the end."""
    made: list[AnchorWatch] = []

    def one(
        source: Source,
        *anchors: Anchor,
        clock: Callable[[], float] = time.time,
        **settings: int,
    ) -> AnchorWatch:
        chosen = replace(AnchorSettings(interval_s=3600, heartbeat_s=0), **settings)
        watch = AnchorWatch(tmp_path / "audit.db", source, anchors, chosen, clock=clock, tick=0.01)
        made.append(watch)
        return watch

    yield one
    for each in made:
        each.close()


def state(tmp_path: Path) -> AnchorStates:
    """What other processes know."""
    return read_state(state_path(tmp_path / "audit.db"), ORIGIN)


# -- when
# --------------------------------------------------------------------------------------------------


def test_the_first_head_goes_out_at_once_and_the_last_at_the_end(
    make: Make, tmp_path: Path
) -> None:
    """A program that runs for a moment is anchored all the same."""
    source, there = Source(), Switch()
    watch = make(source, there)
    watch.start()
    until(lambda: there.took == [5])
    source.it.grow(3)
    watch.close()
    assert there.took == [5, 8]
    assert there.knew == [None, 5]
    assert state(tmp_path).of("switch").size == 8


def test_so_many_new_records_are_sent_before_the_interval_is_over(make: Make) -> None:
    """And fewer wait."""
    source, there = Source(), Switch()
    make(source, there, records=10).start()
    until(lambda: there.took == [5])
    source.it.grow(9)
    time.sleep(0.1)
    assert there.took == [5]
    source.it.grow(1)
    until(lambda: there.took == [5, 15])


def test_after_the_interval_one_new_record_is_enough_and_none_is_not(make: Make) -> None:
    """Nothing new, nothing sent."""
    source, there = Source(), Switch()
    now = [1000.0]
    watch = make(source, there, interval_s=60, clock=lambda: now[0])
    watch.start()
    until(lambda: there.took == [5])
    now[0] += 61
    time.sleep(0.1)
    assert there.took == [5]
    source.it.grow(1)
    until(lambda: there.took == [5, 6])


def test_a_heartbeat_is_recorded_and_sent_when_nothing_happens(make: Make, tmp_path: Path) -> None:
    """One for each interval, saying how far the anchors were; and it goes out at once."""
    source, there = Source(), Switch()
    now = [1_700_000_000.0]
    watch = make(source, there, heartbeat_s=300, clock=lambda: now[0])
    watch.start()
    until(lambda: there.took == [5])
    now[0] += 299
    time.sleep(0.1)
    assert source.beats == []
    now[0] += 2
    until(lambda: there.took == [5, 6])
    assert len(source.beats) == 1
    (beat,) = source.beats
    assert beat["interval_s"] == 300
    (told,) = beat["anchors"]
    assert (told["name"], told["size"]) == ("switch", 5)
    assert told["ts"].endswith("Z")
    until(lambda: state(tmp_path).heartbeat == now[0])
    now[0] -= 86_400  # a clock that was set back a day must not silence it for a day
    until(lambda: len(source.beats) >= 2)


def test_a_heartbeat_that_cannot_be_recorded_is_not_tried_at_each_look(make: Make) -> None:
    """A ledger that is down has callers who wait for it already; heads still leave."""
    source, there = Source(), Switch()
    now = [1000.0]
    tried: list[float] = []

    def broken(_: Mapping[str, Any]) -> None:
        tried.append(now[0])
        raise LedgerError("the disk is full")

    source.heartbeat = broken  # type: ignore[method-assign]
    make(source, there, clock=lambda: now[0], heartbeat_s=300).start()
    until(lambda: there.took == [5])
    now[0] += 301
    until(lambda: tried)
    time.sleep(0.2)
    assert len(tried) == 1
    source.it.grow(2000)
    until(lambda: there.took == [5, 2005])
    now[0] += 61
    until(lambda: len(tried) == 2)


def test_heartbeats_go_on_without_any_anchor(make: Make) -> None:
    """A gap between them says that nobody was alive, or that somebody was silenced."""
    source = Source()
    watch = make(source, heartbeat_s=1)
    watch.start()
    until(lambda: source.beats)
    assert watch.lag() == AnchorLag(0, 0.0)
    assert not watch.denial_reason()


# -- failing
# --------------------------------------------------------------------------------------------------


def test_an_anchor_that_fails_is_tried_again_and_seen_by_all(make: Make, tmp_path: Path) -> None:
    """Its error stands in the file for every process and for doctor; the others go on."""
    source, bad, good = Source(), Switch("bad"), Switch("good")
    bad.error = AnchorError("nobody there", hint="look")
    watch = make(source, bad, good)
    watch.start()
    until(lambda: state(tmp_path).of("bad").failures == 2)
    told = state(tmp_path).of("bad")
    assert (told.code, told.message, told.hint) == ("anchor.unreachable", "nobody there", "look")
    assert (told.size, told.behind is not None) == (0, True)
    assert good.took == [5]
    bad.error = None
    until(lambda: bad.took == [5])
    until(lambda: state(tmp_path).of("bad").failures == 0)
    assert state(tmp_path).of("bad").behind is None
    assert state(tmp_path).of("bad").code == ""


def test_a_failing_anchor_is_left_alone_for_longer_each_time(make: Make) -> None:
    """Not a try for each look."""
    source, bad = Source(), Switch()
    bad.error = AnchorError("nobody there")
    make(source, bad).start()
    time.sleep(0.5)
    assert len(bad.knew) == 1


def test_an_anchor_that_hangs_delays_nobody_who_asks_or_closes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls looks at numbers in memory."""
    monkeypatch.setattr("guardrail.anchors.schedule.CLOSE_S", 0.1)
    source, there = Source(), Switch()
    there.gate.clear()
    watch = make(source, there, max_lag_records=3000)
    monkeypatch.setattr("guardrail.anchors.schedule.START_S", 0.1)
    watch.start()
    watch.note_size(5)
    assert not watch.denial_reason()
    assert watch.lag().records == 5
    watch.close()
    there.gate.set()


def test_a_ledger_that_cannot_be_read_is_looked_at_again(make: Make) -> None:
    """Nothing is sent meanwhile, and nobody is told twice what the calls are told."""
    source, there = Source(), Switch()
    source.broken = True
    make(source, there, heartbeat_s=1).start()
    time.sleep(0.1)
    assert there.took == []
    source.broken = False
    until(lambda: there.took)


def test_a_head_that_cannot_be_signed_is_seen_and_not_asked_for_at_each_look(
    make: Make, tmp_path: Path
) -> None:
    """A signer may take seconds each time, and its owner wants to know."""
    source, one, two = Source(), Switch("one"), Switch("two")
    asked: list[int] = []
    head = source.head

    def signer() -> SignedNote:
        asked.append(1)
        if len(asked) < 3:
            raise KeysError("the signer did not answer in time", code="keys.signer")
        return head()

    source.head = signer  # type: ignore[method-assign]
    make(source, one, two).start()
    until(lambda: state(tmp_path).of("two").failures == 1)
    assert state(tmp_path).of("one").code == "keys.signer"
    time.sleep(0.2)
    assert len(asked) == 1
    until(lambda: one.took == two.took == [5])


def test_where_no_lock_can_be_had_heads_leave_all_the_same(make: Make, tmp_path: Path) -> None:
    """Two processes that anchor do no harm, and none would."""
    lock_path(tmp_path / "audit.db").mkdir()
    source, one, two = Source(), Switch("one"), Switch("two")
    make(source, one).start()
    make(source, two).start()
    until(lambda: one.took and two.took)
    time.sleep(0.1)
    assert one.took == two.took == [5]
    source.it.grow(2000)
    until(lambda: one.took[-1] == two.took[-1] == 2005)


def test_a_ledger_that_was_rolled_back_is_a_conflict_that_stays_visible(
    make: Make, tmp_path: Path
) -> None:
    """The anchor's file holds more than the ledger."""
    log = Log().grow(20)
    (tmp_path / "away").mkdir()
    there = FileAnchor(tmp_path / "away" / "a", key=log.key, verify=verify_signature)
    there.publish(log.note(), log.prove)
    make(Source(log.fork(12)), there).start()
    until(lambda: state(tmp_path).of("file").failures)
    assert state(tmp_path).of("file").code == "anchor.conflict"
    assert len(parse_lines((tmp_path / "away" / "a").read_bytes())) == 1


def test_an_anchor_that_is_ahead_of_an_older_head_gets_the_newest(make: Make) -> None:
    """``guardrail anchor`` may have come in between: that is no conflict."""
    source = Source()

    class Ahead(Switch):
        def publish(
            self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
        ) -> AnchoredHead:
            if not self.knew:
                source.it.grow(4)
                self.knew.append(None)
                raise AnchorError("it holds more", code="anchor.conflict")
            return super().publish(note, prove, known)

    there = Ahead()
    make(
        source, there, clock=lambda: 1000.0
    ).start()  # no time passes after which it would be tried again
    until(lambda: there.took == [9])


def test_what_a_witness_signed_goes_into_the_file_that_follows(make: Make, tmp_path: Path) -> None:
    """The file then proves to others what the witness saw, without asking it."""
    source = Source()
    (tmp_path / "away").mkdir()
    with witness(tmp_path, source.it) as server:
        settings = AnchorSettings(
            witness=(f"{server.url} {server.key}",), file=tmp_path / "away" / "a"
        )
        anchors = configured(
            settings,
            ledger=tmp_path / "home" / "audit.db",
            key=source.it.key,
            verify=verify_signature,
            certificates=lambda _: [],
        )
        watch = make(source, *anchors)
        watch.start()
        until(lambda: state(tmp_path).of("file").size == 5)
        watch.close()
        (line,) = parse_lines((tmp_path / "away" / "a").read_bytes())
        assert line.note.signed_by(source.it.key, verify_signature)
        assert line.note.cosigned_by(server.key, verify_signature) is not None


# -- how far behind
# --------------------------------------------------------------------------------------------------


def test_the_lag_is_that_of_the_slowest_anchor(make: Make) -> None:
    """Records that no head there covers, and since when."""
    source, good, bad = Source(), Switch("good"), Switch("bad")
    now = [1000.0]
    watch = make(source, good, bad, clock=lambda: now[0])
    watch.start()
    until(lambda: good.took == bad.took == [5])
    until(lambda: watch.lag() == AnchorLag(0, 0.0))
    watch.note_size(9)
    assert watch.lag() == AnchorLag(4, 0.0)
    now[0] += 30
    assert watch.lag() == AnchorLag(4, 30.0)
    bad.error = AnchorError("nobody there")
    source.it.grow(2000)
    until(lambda: good.took[-1] == 2005 and bad.knew[-1] == 5)
    lag = watch.lag()
    assert lag.records == 2000
    assert lag.seconds >= 30


def test_calls_are_denied_past_either_limit_and_no_longer_when_it_has_caught_up(make: Make) -> None:
    """Without a limit, never."""
    source, there = Source(), Switch()
    now = [1000.0]
    watch = make(source, there, records=5, max_lag_records=10, max_lag_s=7200, clock=lambda: now[0])
    watch.start()
    assert there.took == [5]  # start waits for the first where a limit is set
    there.error = AnchorError("nobody there")
    watch.note_size(15)
    assert not watch.denial_reason()
    watch.note_size(16)
    assert watch.denial_reason()
    watch._saw = 6
    assert not watch.denial_reason()
    now[0] += 7201
    assert watch.denial_reason()
    source.it.grow(11)
    there.error = None
    now[0] += 60
    until(lambda: not watch.denial_reason())
    assert there.took[-1] == 16


def test_being_behind_outlives_a_restart(make: Make, tmp_path: Path) -> None:
    """A program that is started again and again can't get new time each time."""
    write_state(
        state_path(tmp_path / "audit.db"),
        AnchorStates(
            ORIGIN,
            {
                "switch": AnchorState(
                    size=3, note=str(Log().grow(3).note()), behind=500.0, failures=9, tried=999.0
                )
            },
        ),
    )
    source, there = Source(), Switch()
    there.error = AnchorError("nobody there")
    watch = make(source, there, max_lag_s=7200, clock=lambda: 10_000.0)
    watch.start()
    until(watch.denial_reason)
    assert watch.lag() == AnchorLag(2, 9500.0)


@pytest.mark.parametrize(
    "forged",
    [
        AnchorState(size=100),
        AnchorState(size=100, note=str(Log().grow(5).note())),
        AnchorState(size=100, note=str(Log(seed=b"x" * 32).grow(100).note())),
        AnchorState(size=100, note=str(Log("other/log").grow(100).note())),
        AnchorState(size=100, note="nonsense"),
    ],
)
def test_a_state_that_promises_what_no_signature_shows_is_not_believed(
    make: Make, tmp_path: Path, forged: AnchorState
) -> None:
    """Whoever can write beside the ledger could else keep heads from leaving, and calls from being
    denied.
    """
    write_state(state_path(tmp_path / "audit.db"), AnchorStates(ORIGIN, {"switch": forged}))
    source, there = Source(), Switch()
    watch = make(source, there)
    watch.note_size(5)
    assert watch.lag().records == 5
    watch.start()
    until(lambda: there.took == [5])
    assert there.knew == [None]


def test_a_witness_counts_by_its_own_signature_alone(make: Make, tmp_path: Path) -> None:
    """Also for whoever has the log's key."""
    source = Source()
    with witness(tmp_path, source.it) as server:
        (there,) = configured(
            AnchorSettings(witness=(f"{server.url} {server.key}",)),
            ledger=tmp_path / "audit.db",
            key=source.it.key,
            verify=verify_signature,
            certificates=lambda _: [],
        )
        forged = AnchorState(size=5, note=str(source.it.note()))
        write_state(state_path(tmp_path / "audit.db"), AnchorStates(ORIGIN, {there.name: forged}))
        watch = make(source, there)
        watch.note_size(5)
        assert watch.lag().records == 5
        watch.start()
        until(lambda: server.store.latest(ORIGIN))


def test_a_ledger_that_became_smaller_or_another_one_is_noticed_at_the_start(
    make: Make, tmp_path: Path
) -> None:
    """Not only once it has outgrown what it was; and with a limit set, calls are denied."""
    log = Log().grow(20)
    for number, other in enumerate((log.fork(12), log.fork(12).grow(8, "x"))):
        (tmp_path / f"{number}").mkdir()
        there = FileAnchor(tmp_path / f"{number}" / "a", key=log.key, verify=verify_signature)
        made = there.publish(log.note(), log.prove)
        write_state(
            state_path(tmp_path / "audit.db"),
            AnchorStates(ORIGIN, {"file": AnchorState(size=20, note=str(made.note))}),
        )
        watch = make(Source(other), there, max_lag_records=5, records=1)
        watch.start()
        assert state(tmp_path).of("file").code == "anchor.conflict"
        assert state(tmp_path).of("file").size == 20
        assert watch.denial_reason()
        watch.close()


# -- one process of many
# --------------------------------------------------------------------------------------------------


def test_one_of_several_anchors_and_another_takes_over(make: Make) -> None:
    """Not one head per process; and the others know how far it is."""
    source = Source()
    one, two = Switch(), Switch()
    first, second = make(source, one), make(source, two)
    first.start()
    until(lambda: one.took == [5])
    second.start()
    until(lambda: second.lag() == AnchorLag(0, 0.0))
    assert two.took == []
    source.it.grow(3)
    first.close()
    assert one.took == [5, 8]
    source.it.grow(2000)
    until(lambda: two.took[-1:] == [2008])
    assert two.knew[0] == 8


def test_a_lock_file_that_was_removed_does_not_leave_two_for_long(
    make: Make, tmp_path: Path
) -> None:
    """Whoever holds the old file lets go of it."""
    source = Source()
    one, two = Switch("one"), Switch("two")
    first, second = make(source, one), make(source, two)
    first.start()
    until(lambda: one.took)
    lock_path(tmp_path / "audit.db").unlink()
    second.start()
    until(lambda: first._leads != second._leads)
    until(lambda: lock_path(tmp_path / "audit.db").exists())


_LEADER = """
import sys, time
from pathlib import Path
from tests.anchors.test_anchor_schedule import Source, Switch
from guardrail.anchors.schedule import AnchorWatch
from guardrail.config import AnchorSettings
watch = AnchorWatch(Path(sys.argv[1]), Source(), [Switch()], AnchorSettings(), tick=0.01)
watch.start()
while not watch._state.of("switch").size:
    time.sleep(0.001)
print("leads", flush=True)
time.sleep(60)
"""


def test_death_lets_another_process_take_over(make: Make, tmp_path: Path) -> None:
    """kill -9 of the one that anchors."""
    with subprocess.Popen(
        [sys.executable, "-c", _LEADER, str(tmp_path / "audit.db")], stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"leads\n"
        source, there = Source(), Switch()
        make(source, there).start()
        source.it.grow(2000)
        time.sleep(0.1)
        assert there.took == []
        leader.kill()
        until(lambda: there.took[-1:] == [2005])


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on_and_does_not_keep_the_parents_lock(
    make: Make, tmp_path: Path
) -> None:
    """The child's copy of the lock is closed: when the parent lets go, the lock is free for whoever
    comes first.
    """
    source, there = Source(), Switch()
    watch = make(source, there)
    watch.start()
    until(lambda: there.took == [5])
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()

    def child() -> None:
        source.it.grow(2000)
        time.sleep(0.2)
        led = watch._leads  # while the parent has the lock, this copy of it does not count
        ready.set()
        go.wait(30)
        assert not led
        until(lambda: there.took[-1:] == [2005])
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    ready.wait(30)
    assert not watch.lag().records
    watch.close()
    go.set()
    process.join(30)
    assert process.exitcode == 0


# -- the file
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"v":1}',
        b'{"v":2,"log":"host/audit","heartbeat":null,"anchors":{}}',
        b'{"v":1,"log":"other","heartbeat":1,"anchors":{}}',
        b'{"v":1,"log":"host/audit","heartbeat":"x","anchors":{}}',
        b'{"v":1,"log":"host/audit","heartbeat":1,"anchors":{"a":{"size":"5"}}}',
        b'{"v":1,"log":"host/audit","heartbeat":1,"anchors":{"a":{"size":true}}}',
        b'{"v":1,"log":"host/audit","heartbeat":1,"anchors":[]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_of_a_state_counts_as_lagging(tmp_path: Path, content: bytes) -> None:
    """What is not known is found out again from the anchors, and until then no limit is kept."""
    path = tmp_path / "state"
    path.write_bytes(content)
    found = read_state(path, ORIGIN)
    assert found.heartbeat in (None, 1)
    assert found.of("a") == (LAGS if b'"x"' not in content else AnchorState())


NONSENSE = {
    "behind since a time to come": {"behind": 4e9},
    "behind since no time": {"behind": float("nan")},
    "behind since the end of time": {"behind": float("inf")},
    "behind since before time": {"behind": -1.0},
    "tried at a time to come": {"tried": 4e9},
    "tried never": {"tried": float("nan")},
    "a time to come": {"time": 1e300},
    "fewer than no failures": {"failures": -10},
    "a size below nothing": {"size": -5},
    "an endless size": {"size": 10**30},
    "a size that is a float": {"size": 5.0},
    "truth for a number": {"failures": True},
    "a text for a time": {"behind": "now"},
    "a list for a text": {"note": []},
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_a_state_that_no_guard_writes_counts_as_lagging(
    make: Make, tmp_path: Path, nonsense: dict[str, object]
) -> None:
    """For the process that only reads it as well; who anchors writes its own again."""
    path = state_path(tmp_path / "audit.db")
    source, there = Source(), Switch()
    leader = make(source, there, max_lag_s=7200)
    leader.start()
    until(lambda: there.took == [5])
    other = make(source, Switch(), max_lag_s=7200)
    other.start()
    assert not other.denial_reason()
    good = path.read_text()
    forged = json.loads(good)
    forged["anchors"]["switch"] |= nonsense
    alone = tmp_path / "alone"
    alone.write_text(json.dumps(forged))
    assert read_state(alone, ORIGIN).of("switch") == LAGS
    path.write_text(json.dumps(forged))
    until(lambda: json.loads(path.read_text()) == json.loads(good))
    until(lambda: not other.denial_reason())
    assert leader._thread is not None
    assert leader._thread.is_alive()


def test_a_process_that_only_reads_denies_where_the_state_is_nonsense(
    make: Make, tmp_path: Path
) -> None:
    """Nobody writes it again here: who leads has stopped."""
    path = state_path(tmp_path / "audit.db")
    lock = os.open(lock_path(tmp_path / "audit.db"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    source = Source()
    watch = make(source, Switch(), max_lag_s=7200)
    watch.start()
    note = str(source.it.note())
    known = AnchorState(5, time.time(), note, tried=time.time())
    for odd in NONSENSE.values():
        write_state(path, AnchorStates(ORIGIN, {"switch": known}))
        until(lambda: not watch.denial_reason())
        document = {"v": 1, "log": ORIGIN, "heartbeat": None}
        document["anchors"] = {"switch": {"size": 5, "note": note, **odd}}
        path.write_text(json.dumps(document))
        until(watch.denial_reason)
    write_state(path, AnchorStates(ORIGIN, {"switch": known}))
    until(lambda: not watch.denial_reason())
    path.unlink()
    os.mkfifo(path)
    until(watch.denial_reason)
    os.close(lock)


def test_an_anchor_that_raises_what_nobody_expects_is_asked_again(
    make: Make, tmp_path: Path
) -> None:
    """The thread goes on, and meanwhile the anchor counts as failing, under a code of its own."""

    class Breaks(Switch):
        broken = True

        def publish(self, *args: object, **options: object) -> AnchoredHead:
            if self.broken:
                raise ZeroDivisionError
            return super().publish(*args, **options)  # type: ignore[arg-type]

    source, there = Source(), Breaks()
    watch = make(source, there, max_lag_records=1, records=1)
    watch.start()
    assert watch.denial_reason()
    assert watch._state.of("switch").code == "anchor.failed"
    there.broken = False
    until(lambda: there.took == [5])
    until(lambda: not watch.denial_reason())


def test_a_state_survives_the_way_through_the_file(tmp_path: Path) -> None:
    """Also with fields that a later version adds; and what can't be a head is none."""
    path = tmp_path / "state"
    note = str(Log().grow(5).note())
    wanted = AnchorStates(
        ORIGIN, {"a": AnchorState(5, 1.5, note, 2.5, 3, "c", "m", "h", 4.5)}, 9.25
    )
    write_state(path, wanted)
    assert read_state(path, ORIGIN) == wanted
    document = json.loads(path.read_text())
    document["anchors"]["a"]["later"] = {}
    path.write_text(json.dumps(document))
    found = read_state(path, ORIGIN)
    assert found == wanted
    known = found.of("a").known
    assert known is not None
    assert known.size == 5
    assert AnchorState(note="nonsense").known is None
    assert path.stat().st_mode & 0o777 != 0
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


# -- settings
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"witness": ("http://127.0.0.1:1",)}, "config.anchor_key"),
        ({"witness": ("http://127.0.0.1:1 w+00000000+AAAA",)}, "config.anchor_key"),
        ({"tsa": "http://127.0.0.1:1"}, "config.anchor_tls"),
        ({"max_lag_s": 100}, "config.anchor_lag"),
        ({"max_lag_s": 60, "stream": "stderr"}, "config.anchor_lag"),
        ({"max_lag_records": 1000, "stream": "stderr"}, "config.anchor_lag"),
        ({"file": Path("here/audit.anchor")}, "config.anchor_file"),
    ],
)
def test_settings_that_can_not_work_are_refused(settings: dict[str, Any], code: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError) as refused:
        configured(
            AnchorSettings(**settings),
            ledger=Path("here/audit.db"),
            key=Log().key,
            verify=verify_signature,
            certificates=lambda _: [],
        )
    assert refused.value.code == code
    assert refused.value.hint


def test_every_anchor_that_is_set_is_made_those_first_that_sign(tmp_path: Path) -> None:
    """So that the file and the lines keep what the witness signed."""
    asked: list[Path] = []
    with witness(tmp_path, Log()) as server:
        made = configured(
            AnchorSettings(
                file=tmp_path / "away" / "a",
                stream="stdout",
                syslog=Path("/dev/log"),
                witness=(f"{server.url} {server.key}",),
                tsa="http://127.0.0.1:1",
                tsa_root=tmp_path / "root.pem",
            ),
            ledger=tmp_path / "home" / "audit.db",
            key=Log().key,
            verify=verify_signature,
            certificates=lambda path: asked.append(path) or [],
        )
    names = [each.name for each in made]
    assert names == ["witness:w.example/1", "tsa", "file", "syslog", "stdout"]
    assert asked == [tmp_path / "root.pem"]


def test_two_witnesses_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their states could not be told apart."""
    with witness(tmp_path, Log()) as server, pytest.raises(ConfigError, match="same name"):
        configured(
            AnchorSettings(witness=(f"{server.url} {server.key}",) * 2),
            ledger=tmp_path / "audit.db",
            key=Log().key,
            verify=verify_signature,
            certificates=lambda _: [],
        )
