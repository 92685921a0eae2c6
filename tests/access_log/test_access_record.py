"""One record for each reading, in a log of its own, before anything is shown; and what happens
where it can't be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import guardrail
from guardrail.access_log.log import (
    MAX_PURPOSE,
    PlannedRead,
    RecordedRead,
    UnrecordedRead,
    record_read,
)
from guardrail.config import Settings
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import AccessError, UsageError
from guardrail.ledger.files import lock_path
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.system.os_user import login_name, user_name
from tests.support.access_log import accesses, ledger
from tests.support.full_disk import small_disk

CARD = "4111 1111 1111 1111"
SECRET = "AKIAIOSFODNN7EXAMPLE"


def head_of(db: Path) -> tuple[int, str]:
    """Size and root of the stored head."""
    with LedgerReader.open(db) as reader:
        row = reader.storage.head()
    assert row is not None
    head = Checkpoint.parse(SignedNote.parse(row.note).text)
    return head.size, head.root.hex()


def test_a_record_says_who_read_what_when_and_why(tmp_path: Path) -> None:
    """User, place, command, selector, the ledger with its head at that moment, and the purpose."""
    settings = ledger(tmp_path)
    done = record_read(settings, PlannedRead("show", names={"ref": "S-1"}, purpose="ticket 42"))
    assert done == RecordedRead(tmp_path / "audit.access.db", 1)
    [record] = accesses(settings.access_path)
    size, root = head_of(settings.ledger.path)
    assert record["actor"] == {
        "id": user_name(),
        "assurance": "asserted",
        "method": "os_user",
        "uid": os.getuid(),
        "login": login_name(),
    }
    assert record["ledger"] == {
        "path": str(settings.ledger.path),
        "log": "test/log",
        "size": size,
        "root": root,
        "problem": None,
    }
    assert record["origin"]["pid"] == os.getpid()
    assert (record["command"], record["selector"]) == ("show", {"ref": "S-1"})
    assert record["purpose"] == "ticket 42"


def test_the_log_of_readers_has_a_name_and_keys_of_its_own(tmp_path: Path) -> None:
    """It verifies by itself, its files are its owner's alone, and the ledger keeps every byte."""
    settings = ledger(tmp_path)
    before = settings.ledger.path.read_bytes()
    for _ in range(3):
        record_read(settings, PlannedRead("show"))
    report = verify_ledger(settings.access_path)
    assert (report.state, report.records) == (VerifyState.NOT_ANCHORED, 4)
    with LedgerReader.open(settings.access_path) as reader:
        key = reader.genesis["key"]["public"]
        assert reader.log.endswith(f".access-{key[:8]}")
        assert reader.genesis["holds"] == "access"
        assert reader.genesis["key"] != _genesis_key(settings.ledger.path)
    assert settings.access_path.stat().st_mode & 0o077 == 0
    assert settings.access_key_path.stat().st_mode & 0o077 == 0
    assert settings.ledger.path.read_bytes() == before


def test_a_log_with_a_name_of_its_own_gives_it_to_its_readers(tmp_path: Path) -> None:
    """Without what no name of a log can hold."""
    settings = ledger(tmp_path).override(
        ledger={"path": tmp_path / "audit.db", "log": "acme/a b+c"}
    )
    record_read(settings, PlannedRead("show"))
    with LedgerReader.open(settings.access_path) as reader:
        assert reader.log == "acme/a-b-c.access"


def _genesis_key(db: Path) -> object:
    with LedgerReader.open(db) as reader:
        return reader.genesis["key"]


def test_names_stay_and_what_is_sensitive_does_not(tmp_path: Path) -> None:
    """An id that is an address says what was read; a card number in words, or a secret anywhere,
    does not get through.
    """
    settings = ledger(tmp_path)
    record_read(
        settings,
        PlannedRead(
            "find",
            names={"ref": "alice@example.com", "key": SECRET, "many": ("a", SECRET), "limit": 5},
            texts={"value": f"card {CARD}", "none": None},
            purpose=f"a card {CARD} leaked, with {SECRET}",
        ),
    )
    [record] = accesses(settings.access_path)
    selector = record["selector"]
    assert selector["ref"] == "alice@example.com"
    assert selector["key"].startswith("gr1:secret:-:")
    assert selector["many"][0] == "a"
    assert (selector["limit"], selector["none"]) == (5, None)
    assert record["purpose"].startswith("a card gr1:payment:")
    for path in tmp_path.rglob("audit.access*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert CARD.encode() not in path.read_bytes()


def test_equal_words_get_equal_tokens_in_one_access_log(tmp_path: Path) -> None:
    """So that what one reader looked for can be followed."""
    settings = ledger(tmp_path)
    for _ in range(2):
        record_read(settings, PlannedRead("find", texts={"value": CARD}))
    first, second = accesses(settings.access_path)
    assert first["selector"] == second["selector"]
    assert first["selector"]["value"].startswith("gr1:payment:")


def test_what_is_no_text_or_too_long_is_recorded_all_the_same(tmp_path: Path) -> None:
    """File names may hold any bytes, and a command line may be longer than a record."""
    settings = ledger(tmp_path)
    record_read(
        settings,
        PlannedRead("export", names={"output": os.fsdecode(b"a\xffb"), "long": "x y " * 1000}),
    )
    record_read(
        settings,
        PlannedRead("verify", names={"checkpoint": [f"file {n}" * 40 for n in range(300)]}),
    )
    first, second = accesses(settings.access_path)
    assert first["selector"]["output"] == "a\\udcffb"
    assert len(first["selector"]["long"]) == 501
    assert second["selector"] == {"omitted": "size"}


def test_a_purpose_that_is_too_long_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Nothing is recorded."""
    settings = ledger(tmp_path)
    with pytest.raises(UsageError):
        record_read(settings, PlannedRead("show", purpose="x" * (MAX_PURPOSE + 1)))
    assert not settings.access_path.exists()


def test_reading_the_access_log_is_recorded_in_the_access_log(tmp_path: Path) -> None:
    """Named by the settings, by its file name, or known by its first record: there is never a third
    log.
    """
    settings = ledger(tmp_path)
    record_read(settings, PlannedRead("show"))
    alone = Settings().override(ledger={"path": settings.access_path})
    assert record_read(alone, PlannedRead("sessions")) == RecordedRead(settings.access_path, 2)
    elsewhere = settings.override(
        access={"path": tmp_path / "readers.db", "keys": tmp_path / "readers.keys"}
    )
    record_read(elsewhere, PlannedRead("show"))
    unknown = Settings().override(ledger={"path": tmp_path / "readers.db"})
    assert record_read(unknown, PlannedRead("verify")) == RecordedRead(tmp_path / "readers.db", 2)
    assert sorted(path.name for path in tmp_path.glob("*.db")) == [
        "audit.access.db",
        "audit.db",
        "readers.db",
    ]


def test_where_nothing_is_there_to_read_nothing_is_made(tmp_path: Path) -> None:
    """A mistyped path leaves no log."""
    assert (
        record_read(Settings().override(ledger={"path": tmp_path / "no.db"}), PlannedRead("show"))
        is None
    )
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_cannot_be_opened_leaves_a_record_with_the_reason(tmp_path: Path) -> None:
    """Damaged, or gone while its access log is there: both are what an investigator wants to
    know.
    """
    settings = ledger(tmp_path)
    settings.ledger.path.write_bytes(b"no database at all" * 100)
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
    settings.ledger.path.unlink()
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
    first, second = accesses(settings.access_path)
    assert (first["ledger"]["problem"], first["ledger"]["size"]) == ("ledger.not_a_ledger", None)
    assert second["ledger"]["problem"] == "ledger.missing"


def test_an_access_log_without_its_keys_and_keys_without_theirs_are_said(tmp_path: Path) -> None:
    """Neither is made anew: that would hide that somebody took the other away."""
    settings = ledger(tmp_path)
    record_read(settings, PlannedRead("show"))
    away = settings.access_key_path.rename(tmp_path / "away")
    done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "access.half"
    away.rename(settings.access_key_path)
    for path in tmp_path.glob("audit.access.db*"):
        if path.is_file():
            path.unlink()
    for lease in (tmp_path / "audit.access.db-leases").iterdir():
        lease.unlink()
    done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "access.missing"
    shutil.rmtree(tmp_path / "audit.db-access")
    done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "access.half"
    assert str(settings.access_key_path) in done.hint


def test_keys_of_another_log_or_that_others_can_read_record_nothing(tmp_path: Path) -> None:
    """The reason is passed on, with what to do."""
    settings = ledger(tmp_path)
    record_read(settings, PlannedRead("show"))
    foreign = settings.override(access={"keys": settings.key_path, "path": settings.access_path})
    assert isinstance(record_read(foreign, PlannedRead("show")), UnrecordedRead)
    settings.access_key_path.chmod(0o755)
    done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "keys.exposed"
    assert done.hint.startswith("chmod 700")


def test_a_folder_that_is_none_keeps_nobody_from_reading(tmp_path: Path) -> None:
    """The reading is said not to be recorded, and where."""
    settings = ledger(tmp_path)
    (tmp_path / "file").write_text("")
    away = settings.override(access={"path": tmp_path / "file" / "access.db"})
    done = record_read(away, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.path == tmp_path / "file" / "access.db"
    assert "Not a directory" in done.why


def test_where_every_reading_must_be_recorded_one_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """With the reason and what to do; where it can, nothing is different."""
    settings = ledger(tmp_path).override(access={"required": True})
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
    settings.access_key_path.chmod(0o755)
    with pytest.raises(AccessError) as caught:
        record_read(settings, PlannedRead("show"))
    assert caught.value.code == "access.required"
    assert caught.value.hint.startswith("chmod 700")


def test_a_log_that_another_process_holds_is_given_up_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader does not hang on it: neither on a log that is there, nor on a folder in which one is
    to be made.
    """
    monkeypatch.setattr("guardrail.access_log.log.PATIENCE", 0.1)
    monkeypatch.setattr("guardrail.access_log.log.PATIENCE_CREATING", 0.1)
    settings = ledger(tmp_path)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    done = record_read(settings, PlannedRead("show"))
    os.close(folder)
    assert isinstance(done, UnrecordedRead)
    assert done.code == "ledger.timeout"
    record_read(settings, PlannedRead("show"))
    with lock_path(settings.access_path).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "ledger.timeout"
    assert done.hint == f"guardrail doctor --ledger {settings.access_path}"


def test_a_full_disk_keeps_nobody_from_reading(tmp_path: Path) -> None:
    """The reading is said not to be recorded; as soon as there is room again the next one is."""
    settings = ledger(tmp_path)
    with small_disk(tmp_path / "small", "1m") as disk:
        away = settings.override(access={"path": disk / "access.db"})
        assert isinstance(record_read(away, PlannedRead("show")), RecordedRead)
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
            while True:
                out.write(b"x" * 4096)
        done = record_read(away, PlannedRead("show"))
        assert isinstance(done, UnrecordedRead), done
        filler.unlink()
        assert record_read(away, PlannedRead("show")) == RecordedRead(disk / "access.db", 2)


_READ = """
import sys
from pathlib import Path
from guardrail.access_log.log import PlannedRead, RecordedRead, record_read
from guardrail.config import Settings
settings = Settings().override(ledger={"path": Path(sys.argv[1])})
for number in range(int(sys.argv[2])):
    done = record_read(settings, PlannedRead("show", names={"ref": number}))
    assert isinstance(done, RecordedRead), done
"""


def test_four_readers_that_come_first_at_once_make_one_log(tmp_path: Path) -> None:
    """Each of them records each reading, and the log is intact."""
    settings = ledger(tmp_path)
    root = str(Path(guardrail.__file__).parents[1])
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", _READ, str(settings.ledger.path), "5"],
            env={**os.environ, "PYTHONPATH": root},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for reader in readers:
        _, told = reader.communicate(timeout=60)
        assert reader.returncode == 0, told
    assert len(accesses(settings.access_path)) == 20
    assert verify_ledger(settings.access_path).state is VerifyState.NOT_ANCHORED


def test_who_logged_in_is_told_by_the_kernel_or_not_at_all(tmp_path: Path) -> None:
    """A number without a name stays a number; a service has none."""
    path = tmp_path / "loginuid"
    assert login_name(path) is None
    path.write_text("4294967295")
    assert login_name(path) is None
    path.write_text("3999999999")
    assert login_name(path) == "3999999999"
    path.write_text(str(os.getuid()))
    assert login_name(path) == user_name()
