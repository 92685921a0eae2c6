"""The witness's memory: one history per log, whatever is asked, in whatever order, by however many
at once.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest

from guardrail.anchors.witness.store import WitnessRuling, WitnessStore, WitnessVerdict
from guardrail.core.log.checkpoint import Algorithm, Checkpoint, NoteKey
from guardrail.errors import ConfigError, GuardrailError, KeysError, LedgerOpenError
from guardrail.keys.anchor_keys import WitnessKey
from tests.support.anchors import ORIGIN, Log, verify_signature


@pytest.fixture
def key(tmp_path: Path) -> WitnessKey:
    """A witness's key."""
    return WitnessKey.create(tmp_path / "keys", "w.example/1")


@pytest.fixture
def store(tmp_path: Path, key: WitnessKey) -> WitnessStore:
    """A witness's memory."""
    return WitnessStore.create(tmp_path / "w.db", key.key)


def ask(store: WitnessStore, key: WitnessKey, log: Log, old: int, size: int) -> WitnessVerdict:
    """Ask for the head of *size*, naming *old*, with the right proof for *log*."""
    proof = log.prove(old, size) if 0 < old < size else []
    return store.judge(old, proof, log.note(size), 1700000000, key.cosign)


def test_heads_that_follow_are_cosigned_and_remembered(
    store: WitnessStore, key: WitnessKey
) -> None:
    """Also the same head again, and the empty one first."""
    log = Log().grow(30)
    store.add(log.key)
    for old, size in ((0, 0), (0, 7), (7, 7), (7, 8), (8, 30)):
        verdict = ask(store, key, log, old, size)
        assert verdict.ruling is WitnessRuling.COSIGNED
        assert verdict.note is not None
        assert verdict.note.cosigned_by(key.key, verify_signature) is not None
        latest = store.latest(ORIGIN)
        assert latest is not None
        assert latest.text == log.head(size).text
        assert latest.signed_by(log.key, verify_signature)
        assert latest.cosigned_by(key.key, verify_signature) is not None


def test_nothing_else_is(store: WitnessStore, key: WitnessKey) -> None:
    """A wrong old size, another root, a bad proof and a smaller tree change nothing."""
    log = Log().grow(30)
    store.add(log.key)
    ask(store, key, log, 0, 10)
    fork = log.fork(9).grow(21, "x")
    assert ask(store, key, log, 5, 20).ruling is WitnessRuling.WRONG_OLD_SIZE
    assert ask(store, key, log, 0, 20).ruling is WitnessRuling.WRONG_OLD_SIZE
    assert ask(store, key, fork, 10, 10).ruling is WitnessRuling.FORK
    assert ask(store, key, fork, 10, 20).ruling is WitnessRuling.BAD_PROOF
    assert store.judge(10, [], log.note(20), 0, key.cosign).ruling is WitnessRuling.BAD_PROOF
    assert (
        store.judge(10, [b"x" * 32], log.note(10), 0, key.cosign).ruling is WitnessRuling.BAD_PROOF
    )
    assert store.judge(10, [], log.note(5), 0, key.cosign).ruling is WitnessRuling.BAD_PROOF
    empty = Checkpoint(ORIGIN, 0, b"x" * 32)
    other = Log("other/log").grow(1)
    store.add(other.key)
    forged = type(other.note()).sign(
        Checkpoint("other/log", 0, empty.root).text, other.key, other.private.sign
    )
    assert store.judge(0, [], forged, 0, key.cosign).ruling is WitnessRuling.FORK
    latest = store.latest(ORIGIN)
    assert latest is not None
    assert latest.text == log.head(10).text


def test_heads_that_do_not_follow_are_kept_as_evidence(
    store: WitnessStore, key: WitnessKey
) -> None:
    """Two signed heads that can't both be true convict whoever holds the key; the same one is kept
    once.
    """
    log = Log().grow(10)
    store.add(log.key)
    ask(store, key, log, 0, 10)
    fork = log.fork(9).grow(300, "x")
    for _ in range(2):
        ask(store, key, fork, 10, 10)
        ask(store, key, fork, 10, 20)
    assert store.evidence(ORIGIN) == [fork.note(10), fork.note(20)]
    for size in range(21, 180):
        ask(store, key, fork, 10, size)
    (known,) = store.logs()
    assert (known.key, known.size, known.refused) == (log.key, 10, 100)
    assert (
        store.refused_since(known.key.name, 1 << 60) == 100
    )  # no more are kept: a later one would not show


def test_no_two_roots_of_a_size_are_ever_cosigned_whatever_is_asked(
    store: WitnessStore, key: WitnessKey
) -> None:
    """A thousand random questions of three histories: what was cosigned is one history, growing."""
    rng = random.Random(1)
    log = Log().grow(5)
    logs = [log.grow(40), log.fork(5).grow(40, "x"), log.fork(20).grow(25, "y")]
    store.add(log.key)
    seen: list[Checkpoint] = []
    for _ in range(1000):
        asked = rng.choice(logs)
        held = seen[-1].size if seen and rng.random() < 0.8 else rng.randint(0, 45)
        size = rng.randint(held, 45) if rng.random() < 0.1 else min(45, held + rng.randint(0, 3))
        verdict = ask(store, key, asked, held, size)
        if verdict.note is not None:
            seen.append(Checkpoint.parse(verdict.note.text))
    assert len(seen) > 15
    assert [each.size for each in seen] == sorted(each.size for each in seen)
    assert len({each.size for each in seen}) == len(set(seen))
    (history,) = [each for each in logs if all(each.head(head.size) == head for head in seen)][:1]
    assert history is not None


def test_many_at_once_get_one_history(store: WitnessStore, key: WitnessKey, tmp_path: Path) -> None:
    """Threads race with two forks through two handles on one database."""
    log = Log().grow(3)
    forks = [log.fork(3).grow(60, "a"), log.fork(3).grow(60, "b")]
    store.add(log.key)
    stores = [store, WitnessStore.open(tmp_path / "w.db", key.key)]
    cosigned: list[Checkpoint] = []

    def run(number: int) -> None:
        mine, fork = stores[number % 2], forks[number // 2]
        held = 0
        for _ in range(30):
            size = max(held, 3) + 1
            verdict = ask(mine, key, fork, held, size)
            held = verdict.size
            if verdict.note is not None:
                cosigned.append(Checkpoint.parse(verdict.note.text))
            if held >= 60:
                return

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [fork for fork in forks if all(fork.head(head.size) == head for head in cosigned)]
    assert len(winners) == 1
    assert len({head.size for head in cosigned}) == len(set(cosigned))
    stores[1].close()


def test_a_log_is_known_by_one_key(store: WitnessStore) -> None:
    """Once known, a name stays with its key; and a witness's key is no log's."""
    log = Log()
    assert store.add(log.key)
    assert not store.add(log.key)
    with pytest.raises(ConfigError, match="a different key"):
        store.add(Log(seed=b"x" * 32).key)
    with pytest.raises(ConfigError, match="0x01"):
        store.add(NoteKey("new/log", log.key.public, Algorithm.COSIGNATURE_V1))
    assert store.key_of(ORIGIN) == log.key
    assert store.key_of("new/log") is None


def test_a_witness_without_its_memory_does_not_start(tmp_path: Path, key: WitnessKey) -> None:
    """A missing, foreign, damaged or other witness's database is refused, and none is
    overwritten.
    """
    with pytest.raises(LedgerOpenError) as refused:
        WitnessStore.open(tmp_path / "none.db", key.key)
    assert refused.value.code == "witness.missing"
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_bytes(b"not a database" * 100)
    with sqlite3.connect(tmp_path / "foreign.db") as foreign:
        foreign.execute("CREATE TABLE me(id, key)")
    foreign.close()
    (tmp_path / "empty.db").write_bytes(b"")
    for name in ("text", "foreign", "empty"):
        with pytest.raises(LedgerOpenError) as refused:
            WitnessStore.open(tmp_path / f"{name}.db", key.key)
        assert refused.value.code == "witness.database"
    WitnessStore.create(tmp_path / "w.db", key.key).close()
    other = WitnessKey.create(tmp_path / "other", "w.example/2")
    with pytest.raises(ConfigError) as another:
        WitnessStore.open(tmp_path / "w.db", other.key)
    assert another.value.code == "witness.other_key"
    with pytest.raises(ConfigError, match="already"):
        WitnessStore.create(tmp_path / "w.db", key.key)
    with pytest.raises(ConfigError, match="can't create a database"):
        WitnessStore.create(tmp_path / "no" / "w.db", key.key)


def test_nothing_is_cosigned_that_could_not_be_remembered(
    store: WitnessStore, key: WitnessKey
) -> None:
    """A disk that takes nothing more costs an answer, not the promise; and it goes on when it does
    again.
    """
    log = Log().grow(10)
    store.add(log.key)
    ask(store, key, log, 0, 5)
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(GuardrailError) as refused:
        ask(store, key, log, 5, 10)
    assert refused.value.code == "witness.database"
    store._connection.execute("PRAGMA query_only = OFF")
    latest = store.latest(ORIGIN)
    assert latest is not None
    assert latest.text == log.head(5).text
    assert ask(store, key, log, 5, 10).ruling is WitnessRuling.COSIGNED


def test_a_key_that_fails_leaves_the_memory_as_it_was(store: WitnessStore, key: WitnessKey) -> None:
    """The memory and the cosignature come together or not at all."""
    log = Log().grow(10)
    store.add(log.key)

    def broken(text: str, time: int) -> None:
        raise KeysError("no key")

    with pytest.raises(KeysError):
        store.judge(0, [], log.note(), 0, broken)  # type: ignore[arg-type]
    assert store.latest(ORIGIN) is None
    assert ask(store, key, log, 0, 10).ruling is WitnessRuling.COSIGNED


def test_a_witness_key_is_private_whole_and_never_overwritten(
    tmp_path: Path, key: WitnessKey
) -> None:
    """As the log's own key."""
    folder = tmp_path / "keys"
    assert WitnessKey.load(folder).key == key.key
    with pytest.raises(KeysError, match="never overwritten"):
        WitnessKey.create(folder, "w.example/1")
    with pytest.raises(KeysError, match="not contain spaces"):
        WitnessKey.create(tmp_path / "more", "a name")
    (folder / "witness.key").chmod(0o644)
    with pytest.raises(KeysError, match="others can read"):
        WitnessKey.load(folder)
    (folder / "witness.key").chmod(0o600)
    other = WitnessKey.create(tmp_path / "other", "w.example/1")
    (folder / "witness.pub").write_text(f"{other.key}\n")
    with pytest.raises(KeysError, match="do not match"):
        WitnessKey.load(folder)
    (folder / "witness.pub").unlink()
    with pytest.raises(KeysError, match="missing"):
        WitnessKey.load(folder)
