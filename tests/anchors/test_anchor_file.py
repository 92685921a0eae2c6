"""The anchor file: heads are appended, what is there is believed only where the log's key signed
it, and it can't be rewound.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guardrail.anchors.file import FileAnchor, check_place
from guardrail.anchors.lines import head_line, parse_lines
from guardrail.errors import AnchorError, ConfigError
from tests.support.anchors import ORIGIN, Log, verify_signature


def anchor(path: Path, log: Log) -> FileAnchor:
    """The anchor of *log* in *path*."""
    return FileAnchor(path, key=log.key, verify=verify_signature)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the anchor file is."""
    return tmp_path / "anchor.jsonl"


def test_heads_are_appended_and_the_newest_is_found(path: Path) -> None:
    """Each head is one line more, and what was there stays byte for byte."""
    log = Log().grow(5)
    made = anchor(path, log).publish(log.note(), log.prove)
    before = path.read_bytes()
    log.grow(7)
    anchor(path, log).publish(log.note(), log.prove, log.head(5))
    assert made.size == 5
    assert path.read_bytes().startswith(before)
    assert [each.head.size for each in parse_lines(path.read_bytes())] == [5, 12]
    assert anchor(path, log).latest(ORIGIN) == log.note(12)
    assert anchor(path, log).latest("other/log") is None


def test_the_same_head_twice_is_one_line(path: Path) -> None:
    """Anchoring again without a new record adds nothing."""
    log = Log().grow(5)
    for _ in range(2):
        anchor(path, log).publish(log.note(), log.prove)
    assert len(path.read_bytes().splitlines()) == 1


def test_a_smaller_head_is_refused(path: Path) -> None:
    """A ledger that was cut or rolled back can't be anchored over a larger head."""
    log = Log().grow(9)
    anchor(path, log).publish(log.note(), log.prove)
    with pytest.raises(AnchorError, match="truncated, rolled back or replaced") as refused:
        anchor(path, log).publish(log.note(8), log.prove)
    assert refused.value.code == "anchor.conflict"
    assert len(path.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("more", [0, 1, 20])
def test_another_history_is_refused(path: Path, more: int) -> None:
    """A head that does not begin with the one there is a fork, whatever its size."""
    log = Log().grow(9)
    anchor(path, log).publish(log.note(), log.prove)
    other = log.fork(8).grow(1 + more, "forged")
    with pytest.raises(AnchorError, match="changed or forked") as refused:
        anchor(path, other).publish(other.note(), other.prove)
    assert refused.value.code == "anchor.conflict"


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_torn_line_is_left_behind_and_the_next_begins_anew(path: Path, left: int) -> None:
    """A crash in the middle of a line costs that line alone."""
    log = Log().grow(5)
    anchor(path, log).publish(log.note(), log.prove)
    log.grow(5)
    whole = head_line(log.note())
    with path.open("ab") as out:
        out.write(whole[:left])
    assert anchor(path, log).latest(ORIGIN) == log.note(5 if left != -1 else 10)
    log.grow(5)
    anchor(path, log).publish(log.note(), log.prove)
    assert anchor(path, log).latest(ORIGIN) == log.note(15)
    assert parse_lines(path.read_bytes())[-1].head.size == 15


def test_every_head_in_the_file_is_returned_once(path: Path) -> None:
    """In the order in which they came, whoever signed them; lines of other logs and torn ones are
    none.
    """
    log, other = Log().grow(5), Log("other/log")
    there = anchor(path, log)
    assert there.heads(ORIGIN) == ()
    there.publish(log.note(), log.prove)
    forked = log.fork(3).grow(9, "x")
    with path.open("ab") as out:
        out.write(head_line(other.grow(4).note()) + head_line(log.note()) + b"torn\n")
        out.write(head_line(forked.note()))
    assert [each.text for each in there.heads(ORIGIN)] == [log.head(5).text, forked.head(12).text]


def test_a_line_of_another_history_does_not_make_the_file_forget_the_true_one(path: Path) -> None:
    """Appended by someone who has the log's key: neither history gets a further head into the
    file.
    """
    log = Log().grow(20)
    forked = log.fork(12).grow(30, "x")
    there = anchor(path, log)
    there.publish(log.note(), log.prove)
    with path.open("ab") as out:
        out.write(head_line(forked.note()))
    # Once by a process that knows the file, and once by one that starts.
    log.grow(40)
    for guard in (there, anchor(path, log)):
        with pytest.raises(AnchorError) as refused:
            guard.publish(log.note(), log.prove)
        assert refused.value.code == "anchor.conflict"
    forked.grow(1, "y")
    with pytest.raises(AnchorError) as refused:
        anchor(path, forked).publish(forked.note(), forked.prove)
    assert refused.value.code == "anchor.conflict"
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "content", ["export PATH=/bin\n", '{"guardrail":"head/2"}\n', "\n", "{\n", "{ "]
)
def test_a_file_that_is_no_anchor_file_is_not_written_to(path: Path, content: str) -> None:
    """Settings of somebody else could name any file that this user can write."""
    log = Log().grow(5)
    path.write_text(content)
    with pytest.raises(AnchorError) as refused:
        anchor(path, log).publish(log.note(), log.prove)
    assert refused.value.code == "anchor.refused"
    assert path.read_text() == content


def test_a_file_that_lost_heads_is_a_conflict(path: Path) -> None:
    """What was put there and is gone was taken away by someone: removed, emptied or cut."""
    log = Log().grow(5)
    anchor(path, log).publish(log.note(), log.prove)
    first = path.read_bytes()
    anchor(path, log.grow(5)).publish(log.note(), log.prove)
    for content in (first, b"", None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(AnchorError) as refused:
            anchor(path, log).publish(log.note(), log.prove, log.head(10))
        assert refused.value.code == "anchor.conflict"
    assert not path.exists()


def foreign(leaves: list[bytes]) -> Log:
    """A log of the same name and other keys."""
    return Log(seed=b"x" * 32, leaves=leaves)


def test_a_head_by_another_key_that_fits_says_nothing(path: Path) -> None:
    """Someone else who can write the file neither makes a head of this log there nor keeps one
    out.
    """
    log = Log().grow(5)
    path.write_bytes(head_line(foreign(log.leaves).note()))
    assert anchor(path, log).latest(ORIGIN) is None
    anchor(path, log).publish(log.note(), log.prove)
    assert anchor(path, log).latest(ORIGIN) == log.note()
    with path.open("ab") as out:
        out.write(head_line(foreign(log.leaves).note()))
    there = anchor(path, log.grow(1))
    assert there.publish(log.note(), log.prove, log.head(5)).size == 6
    assert there.latest(ORIGIN) == log.note()


@pytest.mark.parametrize("other", [[b"x"] * 3, [b"x"] * 9], ids=["forked", "longer"])
def test_a_head_by_another_key_that_contradicts_the_ledger_is_a_conflict(
    path: Path, other: list[bytes]
) -> None:
    """It can be of the log whose place the ledger took, under its name and with keys of its own."""
    log = Log().grow(5)
    for before in (b"", head_line(log.note(3))):
        path.write_bytes(before + head_line(foreign(other).note()))
        with pytest.raises(AnchorError, match="a key other than the log's") as refused:
            anchor(path, log).publish(log.note(), log.prove)
        assert refused.value.code == "anchor.conflict"
        assert "find out who wrote there" in refused.value.hint
    # Also before more heads than are compared at first: only the log's own are counted.
    log.grow(1100)
    path.write_bytes(
        head_line(foreign(other).note())
        + b"".join(head_line(foreign(log.leaves).note(size)) for size in range(1, 1100))
    )
    with pytest.raises(AnchorError) as refused:
        anchor(path, log).publish(log.note(), log.prove)
    assert refused.value.code == "anchor.conflict"


def test_heads_are_taken_over_from_another_file_with_their_times(path: Path) -> None:
    """Each once, also behind a torn line; the newest stands last, so that the next head follows
    it.
    """
    log = Log().grow(9)
    old = path.with_name("old.jsonl")
    old.write_bytes(b"".join(head_line(log.note(size), 1e9 + size) for size in (2, 5, 7)))
    lines = anchor(old, log).lines(ORIGIN)
    assert lines is not None
    assert anchor(path, log).lines(ORIGIN) is None
    assert anchor(path, log).take_over(lines) == 3
    assert path.read_bytes() == old.read_bytes()
    assert anchor(path, log).take_over(lines) == 0
    assert path.read_bytes() == old.read_bytes()

    anchor(path, log).publish(log.note(), log.prove, log.head(7))
    old.write_bytes(head_line(log.note(3), 1e9) + b"no time\n" + head_line(log.note(4)))
    raw = old.read_bytes().replace(b'"ts":"2', b'"ts":"x2')
    old.write_bytes(raw)
    more = anchor(old, log).lines(ORIGIN)
    assert more is not None
    with path.open("ab") as out:
        out.write(b'{"guardrail":"head/1","lo')
    other = Log(origin="other/log").grow(99)
    with path.open("ab") as out:
        out.write(b"\n" + head_line(other.note()) + b'{"guardrail":"head/1","lo')
    assert anchor(path, log).take_over(more) == 2
    kept = parse_lines(path.read_bytes(), ORIGIN)
    assert [each.head.size for each in kept] == [2, 5, 7, 9, 3, 4, 9]
    assert anchor(path, log).latest(ORIGIN) == log.note()
    anchor(path, log.grow(1)).publish(log.note(), log.prove, log.head(9))


def test_several_logs_share_a_file(path: Path) -> None:
    """Heads of other logs are left alone, and lines that are no heads are skipped."""
    one, two = Log().grow(5), Log("other/log", seed=b"o" * 32).grow(3)
    anchor(path, one).publish(one.note(), one.prove)
    with path.open("ab") as out:
        out.write(b"not a head\n" + b"x" * 300_000 + b"\n\xff\n{}\n[1]\n")
    anchor(path, two).publish(two.note(), two.prove)
    assert anchor(path, one).latest(ORIGIN) == one.note()
    assert anchor(path, two).latest("other/log") == two.note()


@pytest.mark.parametrize(
    "change",
    [
        {"size": 4},
        {"log": "other/log"},
        {"note": "host/audit\n5\n"},
        {"note": 5},
        {"ts": None},
        {"guardrail": "head/2"},
    ],
)
def test_a_line_at_odds_with_itself_is_no_head(change: dict[str, object]) -> None:
    """A line says the same thing twice: both must agree."""
    line = json.loads(head_line(Log().grow(5).note()))
    changed = json.dumps({**line, **change}, sort_keys=True, separators=(",", ":")).encode()
    assert parse_lines(changed) == []


def test_a_link_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """Nothing is written through a link that someone put there, and nothing waits on a pipe."""
    log = Log().grow(5)
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(AnchorError) as refused:
            anchor(tmp_path / name, log).publish(log.note(), log.prove)
        assert refused.value.code in {"anchor.refused", "anchor.unreachable"}
    assert (tmp_path / "real").read_bytes() == b""


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The message says what the system said, and the hint what to do."""
    log = Log().grow(5)
    with pytest.raises(AnchorError, match="No such file or directory") as refused:
        anchor(tmp_path / "no" / "anchor.jsonl", log).publish(log.note(), log.prove)
    assert refused.value.code == "anchor.unreachable"
    assert refused.value.hint


def test_a_full_disk_is_unreachable_and_the_next_head_goes_on(path: Path) -> None:
    """A file that may not grow takes no head; when it may again, nothing of the torn line is
    believed.
    """
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom tests.support.anchors import"
        " Log, verify_signature\nfrom guardrail.anchors.file import FileAnchor\nfrom"
        " guardrail.errors import AnchorError\nsignal.signal(signal.SIGXFSZ,"
        " signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100,"
        " resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\nlog = Log().grow(5)\ntry:\n   "
        " FileAnchor(Path(sys.argv[1]), key=log.key, verify=verify_signature).publish(log.note(),"
        " log.prove)\nexcept AnchorError as error:\n    print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "anchor.unreachable\n", done.stderr
    assert path.stat().st_size == 100
    log = Log().grow(5)
    anchor(path, log).publish(log.note(), log.prove)
    assert anchor(path, log).latest(ORIGIN) == log.note()


def test_many_writers_do_not_tear_each_others_lines(path: Path) -> None:
    """Whoever appends holds the file: each head is whole, and none is smaller than the one
    before.
    """
    log = Log().grow(64)

    others: list[str] = []

    def run() -> None:
        for size in range(1, 65):
            try:
                anchor(path, log).publish(log.note(size), log.prove)
            except AnchorError as error:
                others.append(error.code)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = [each.head.size for each in parse_lines(path.read_bytes())]
    assert set(others) <= {"anchor.conflict"}  # someone had appended a larger head meanwhile
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 64
    assert len(path.read_bytes().splitlines()) == len(sizes)


def test_a_place_beside_the_ledger_is_refused(tmp_path: Path) -> None:
    """Whoever can replace the ledger's folder must not be able to replace the anchor with it."""
    ledger = tmp_path / "home" / "audit.db"
    ledger.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "way").symlink_to(ledger.parent)
    for inside in (ledger.parent / "a", ledger.parent / "below" / "a", tmp_path / "way" / "a"):
        with pytest.raises(ConfigError, match="ledger's directory"):
            check_place(inside, ledger)
    check_place(tmp_path / "elsewhere" / "a", ledger)
