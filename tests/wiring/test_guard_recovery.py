"""Recover from every state in which a guard does not open: it acts and the guard opens, or says why
it can't.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail.anchoring import CONTRADICTIONS, LedgerHeads, anchors_of, renew_memory
from guardrail.cli.app import run
from guardrail.cli.options import settings_for
from guardrail.config import Settings
from guardrail.core.log.checkpoint import SignedNote
from guardrail.core.log.record import decode
from guardrail.errors import GuardrailError, LedgerOpenError
from guardrail.ledger.maintenance.backup import backup
from guardrail.ledger.maintenance.recovery_plan import Action
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.seal import Seal
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.review.doctor import opening as doctor_opening
from guardrail.review.doctor.opening import opening
from guardrail.review.doctor.result import CheckState
from guardrail.review.verify import OutsideHead, VerifyState, verify_ledger
from guardrail.wiring import diagnosis
from guardrail.wiring.diagnosis import Diagnosis, diagnose
from guardrail.wiring.opening import open_journal
from guardrail.wiring.recovery import carry_out
from tests.support.ledgers import ACTOR
from tests.support.projects import new_project


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a project with a memory and an anchor file."""
    text = '[ledger]\npath = "audit.db"\n[anchors]\nmemory = "../heads"\n'
    return new_project(tmp_path / "p", text) / "guardrail.toml"


def anchored(config: Path) -> None:
    """Turn the memory off and an anchor file on."""
    config.write_text(
        '[ledger]\npath = "audit.db"\n[anchors]\nmemory = false\nfile = "../anchors/heads.txt"\n'
    )
    (config.parent.parent / "anchors").mkdir(exist_ok=True)


def plain(config: Path) -> None:
    """Turn the memory off."""
    config.write_text('[ledger]\npath = "audit.db"\n[anchors]\nmemory = false\n')


def load(config: Path) -> Settings:
    """Return the settings as they are now."""
    return Settings.load(config, environment={})


def calls(config: Path, count: int = 3) -> None:
    """Open the ledger as a guard does, write records, close it; anchors and memory get its head."""
    settings = load(config)
    journal, keys = open_journal(settings, epochs=True)
    for _ in range(count):
        journal.admin("heartbeat", {"interval_s": 60})
    journal.close()
    signing = keys.signing(actor=ACTOR, epochs=False)
    heads = LedgerHeads(settings.ledger.path, journal.log, signing)
    for anchor in anchors_of(settings, signing, journal.log):
        anchor.publish(heads.head(), heads.prove)
    renew_memory(settings, signing)


def opens(config: Path) -> str:
    """Open the ledger; return the code of what refuses that, or an empty string."""
    try:
        calls(config, 1)
    except GuardrailError as error:
        return error.code
    return ""


def refusal(config: Path) -> GuardrailError:
    """Open the ledger; return what refuses that."""
    with pytest.raises(GuardrailError) as caught:
        open_journal(load(config), epochs=True)
    return caught.value


def command(config: Path, *args: str) -> int:
    """Run ``guardrail recover``; return its exit code."""
    return int(run(["recover", "--config", str(config), *args]))


def recovered(config: Path, *backups: Path) -> tuple[Diagnosis, str]:
    """Recover; return what was found and the name of the log that goes on."""
    found = diagnose(load(config), backups)
    report, problem = carry_out(load(config), found, who=ACTOR, reason="a test")
    assert problem is None
    return found, report.log


def record(config: Path, seq: int) -> Any:
    """Return a record of the ledger."""
    with LedgerReader.open(config.with_name("audit.db")) as reader:
        return decode(reader.record(seq) or b"")


def _size(config: Path) -> int:
    with LedgerReader.open(config.with_name("audit.db")) as reader:
        return reader.size()


def remove(folder: Path, *names: str) -> None:
    """Remove files or folders below *folder*, by pattern."""
    for name in names:
        for path in folder.glob(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _database(folder: Path) -> None:
    remove(folder, "audit.db*")


def made(db: Path) -> None:
    """Make another ledger with keys of its own."""
    open_journal(Settings().override(ledger={"path": db}), epochs=False)[0].close()


def _torn(folder: Path) -> None:
    remove(folder, "audit.db-wal", "audit.db-shm")
    (folder / "audit.db").write_bytes(b"no database")


def _swapped_database(folder: Path) -> None:
    """Put the database of another log in its place."""
    other = folder / "other"
    made(other / "audit.db")
    _database(folder)
    shutil.copy(other / "audit.db", folder / "audit.db")
    shutil.rmtree(other)


STATES: dict[str, Callable[[Path], object]] = {
    "log.key": lambda folder: (folder / "audit.keys" / "log.key").unlink(),
    "tokens.key": lambda folder: (folder / "audit.keys" / "tokens.key").unlink(),
    "all keys": lambda folder: remove(folder, "audit.keys/*"),
    "the key folder": lambda folder: remove(folder, "audit.keys"),
    "a torn key": lambda folder: (folder / "audit.keys" / "log.key").write_bytes(b"-----"),
    "the database": _database,
    "the database and log.key": lambda folder: (
        _database(folder),
        (folder / "audit.keys" / "log.key").unlink(),
    ),
    "the database, and the -wal is left": lambda folder: (
        _database(folder),
        (folder / "audit.db-wal").write_bytes(b"x"),
    ),
    "database and keys, and the -wal is left": lambda folder: (
        remove(folder, "audit*"),
        (folder / "audit.db-wal").write_bytes(b"x"),
    ),
    "the database is torn": _torn,
    "the database is torn, the keys are gone": lambda folder: (
        _torn(folder),
        remove(folder, "audit.keys"),
    ),
    "the database is empty": lambda folder: (
        remove(folder, "audit.db-wal", "audit.db-shm"),
        os.truncate(folder / "audit.db", 0),
    ),
    "another database": _swapped_database,
}


def _files(config: Path) -> list[str]:
    """Return the names of what there is, but of the log of who read it."""
    found = (str(path.relative_to(config.parent)) for path in config.parent.rglob("*"))
    return sorted(
        each for each in found if "access" not in each and not each.endswith(("-wal", "-shm"))
    )


PLAIN = ("log.key", "the database", "database and keys, and the -wal is left")
"""States that are tried without a memory too."""


@pytest.mark.parametrize(
    ("state", "memory"),
    [*((each, "memory") for each in STATES), *((each, "plain") for each in PLAIN)],
)
def test_recover_acts_on_what_keeps_a_guard_from_opening(
    config: Path, state: str, memory: str
) -> None:
    """Looking changes nothing, doctor fails, recover acts, the ledger opens, and nothing is left to
    do.
    """
    if memory == "plain":
        plain(config)
    calls(config)
    STATES[state](config.parent)
    before = _files(config)
    refused = refusal(config)
    assert "guardrail recover" in refused.hint
    told = opening(load(config))
    assert told.state is CheckState.FAIL
    assert refused.code in CONTRADICTIONS or refused.hint == told.fix
    assert command(config, "--dry-run") == 1
    assert _files(config) == before
    found = diagnose(load(config))
    assert found.plan.action is Action.RESTART
    assert command(config, "--yes", "--reason", "a test") == 5
    log = record(config, 0)["log"]
    assert log.endswith("~2")
    assert opens(config) == ""
    assert diagnose(load(config)).plan.action is Action.NOTHING
    assert opening(load(config)).state is CheckState.OK
    if memory == "memory":
        assert record(config, 0)["predecessor"]["size"] >= 5
    assert (found.keys is None) == (
        not state.startswith(("the database", "another")) or "log.key" in state or "keys" in state
    )


def _foreign_keys(folder: Path) -> None:
    made(folder / "x.db")
    shutil.rmtree(folder / "audit.keys")
    (folder / "x.keys").rename(folder / "audit.keys")
    remove(folder, "x.*")


def _directory(folder: Path) -> None:
    remove(folder, "audit.db*")
    (folder / "audit.db").mkdir()


REASONS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "keys of another log": (_foreign_keys, "keys.other_log", "GUARDRAIL_KEYS"),
    "others can read a key": (
        lambda folder: (folder / "audit.keys" / "log.key").chmod(0o644),
        "keys.exposed",
        "chmod 600",
    ),
    "a key is a folder": (
        lambda folder: (
            (folder / "audit.keys" / "log.key").unlink(),
            (folder / "audit.keys" / "log.key").mkdir(mode=0o700),
        ),
        "keys.unreadable",
        "move it away",
    ),
    "a key is a folder that others read": (
        lambda folder: (
            (folder / "audit.keys" / "log.key").unlink(),
            (folder / "audit.keys" / "log.key").mkdir(mode=0o755),
        ),
        "keys.unreadable",
        "move it away",
    ),
    "the key folder is a file": (
        lambda folder: (
            shutil.rmtree(folder / "audit.keys"),
            (folder / "audit.keys").write_text("x"),
        ),
        "keys.unreadable",
        "move it away",
    ),
    **{
        f"a folder stands at the {suffix} file": (
            lambda folder, suffix=suffix: (
                (folder / f"audit.db{suffix}").unlink(missing_ok=True),
                (folder / f"audit.db{suffix}").mkdir(),
            ),
            "ledger.not_a_file",
            "move it away",
        )
        for suffix in ("-lock", "-wal", "-shm", "-journal")
    },
    "the folder of leases is a file": (
        lambda folder: (
            shutil.rmtree(folder / "audit.db-leases"),
            (folder / "audit.db-leases").write_text("x"),
        ),
        "ledger.not_a_file",
        "move it away",
    ),
    "the ledger has two names": (
        lambda folder: os.link(folder / "audit.db", folder / "b.db"),
        "ledger.linked",
        "remove the other names",
    ),
    "the ledger is a folder": (_directory, "ledger.not_a_file", "move it away"),
    "the ledger is a folder with a ledger in it": (
        lambda folder: (
            (folder / "audit.db").rename(folder / "x"),
            remove(folder, "audit.db*"),
            (folder / "audit.db").mkdir(),
            (folder / "x").rename(folder / "audit.db" / "ledger.db"),
        ),
        "ledger.not_a_file",
        "use the ledger in that folder",
    ),
    "a rollback journal was planted": (
        lambda folder: (folder / "audit.db-journal").write_text("x"),
        "ledger.journal",
        "move ",
    ),
    "the settings name another log": (
        lambda folder: (folder / "guardrail.toml").write_text(
            '[ledger]\npath = "audit.db"\nlog = "other"\n[anchors]\nmemory = false\n'
        ),
        "ledger.other_name",
        "log = ",
    ),
    "the signer is missing": (
        lambda folder: (
            (folder / "audit.keys" / "log.key").unlink(),
            (folder / "guardrail.toml").write_text(
                '[ledger]\npath = "audit.db"\n[keys]\nsigner = ["/none/signer"]\n'
                "[anchors]\nmemory = false\n"
            ),
        ),
        "keys.signer",
        "[keys] signer",
    ),
}


@pytest.mark.parametrize("target", ["nowhere.db", "no-folder/audit.db"])
def test_a_link_in_place_of_the_ledger_that_leads_nowhere_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    """It is no missing ledger, which would lead to a new one, and no folder is missing."""
    plain(config)
    (config.parent / "audit.db").symlink_to(config.parent / target)
    assert refusal(config).code == "ledger.linked"
    command(config, "--dry-run")
    told = capsys.readouterr()
    assert "is a symbolic link" in told.out + told.err


@pytest.mark.parametrize("memory", [False, True], ids=["plain", "memory"])
@pytest.mark.parametrize("reason", REASONS)
def test_recover_says_why_it_can_not_help_and_what_does(
    config: Path, reason: str, *, memory: bool
) -> None:
    """What is somebody else's to mend is left as it is: an error with the next step, from all of
    them.
    """
    if not memory:
        plain(config)
    calls(config)
    spoil, code, hint = REASONS[reason]
    spoil(config.parent)
    before = _files(config)
    refused = refusal(config)
    with pytest.raises(GuardrailError) as caught:
        diagnose(load(config))
    assert caught.value.code == refused.code == code
    assert caught.value.message == refused.message
    assert hint in caught.value.hint
    found = opening(load(config))
    assert (found.state, found.found) == (CheckState.FAIL, caught.value.message)
    assert found.fix == refused.hint == caught.value.hint
    assert command(config, "--dry-run") == command(config, "--yes", "--reason", "a test") == 3
    assert _files(config) == before


def test_a_folder_in_place_of_the_seal_is_set_aside(config: Path) -> None:
    """It seals the ledger, as an unreadable marker does; recover lifts it and the log continues."""
    calls(config)
    marker = config.parent / "audit.db-sealed"
    marker.mkdir()
    assert refusal(config).code == "ledger.sealed"
    assert command(config, "--yes", "--reason", "a test") == 0
    assert not marker.exists()
    assert [each.is_dir() for each in config.parent.glob("audit.db-broken-*-sealed")] == [True]
    assert opens(config) == ""


@pytest.mark.parametrize("code", ["ledger.unreadable", "ledger.permission"])
def test_a_ledger_that_this_user_can_not_read_is_not_set_aside(
    config: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Nothing is wrong with the file: its owner can read it."""
    from guardrail.ledger.maintenance import recovery_plan

    calls(config)

    def denied(*_: object, **__: object) -> None:
        raise LedgerOpenError("can't be opened: Permission denied", code=code)

    monkeypatch.setattr(recovery_plan.LedgerReader, "open", denied)
    with pytest.raises(LedgerOpenError) as caught:
        diagnose(load(config))
    assert caught.value.code == code


# -- what is known from elsewhere -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "lost"),
    [("memory", ("audit.db*",)), ("memory", ("audit*",)), ("anchor", ("audit.db*",))],
)
def test_the_last_known_head_is_the_predecessor_of_a_lost_log(
    config: Path, known: str, lost: tuple[str, ...]
) -> None:
    """By the memory or an anchor; the record says how many were lost, and what was known."""
    if known == "anchor":
        anchored(config)
    calls(config)
    size = _size(config)
    remove(config.parent, *lost)
    found, _ = recovered(config)
    assert (found.plan.lost, found.plan.judged.proven) == (size, 0)
    first = record(config, 0)
    assert first["predecessor"]["size"] == size
    assert len(first["predecessor"]["root"]) == 64
    said = record(config, 1)
    assert said["type"] == "admin.recovered"
    assert (said["detail"]["lost"], said["detail"]["proven"]) == (size, 0)
    assert max(each["size"] for each in said["detail"]["known"]) == size
    assert opens(config) == ""


@pytest.mark.parametrize("known", ["memory", "anchor"])
def test_a_backup_says_what_is_not_lost(config: Path, tmp_path: Path, known: str) -> None:
    """Anchors hold each head, so they prove the backup's; the memory holds the last one alone."""
    if known == "anchor":
        anchored(config)
    calls(config)
    kept = _size(config)
    backup(config.with_name("audit.db"), tmp_path / "b.db", check=lambda _: "")
    calls(config)
    size = _size(config)
    remove(config.parent, "audit.db*")
    found, _ = recovered(config, tmp_path / "b.db")
    assert found.plan.lost == size - kept
    assert found.plan.judged.proven == (kept if known == "anchor" else 0)
    assert record(config, 0)["predecessor"]["size"] == size


@pytest.mark.parametrize("written", [False, True], ids=["older", "forked"])
def test_recover_works_from_an_older_copy(config: Path, tmp_path: Path, *, written: bool) -> None:
    """It is set aside: going on in it would fork what this machine remembers."""
    calls(config)
    old = _size(config)
    (tmp_path / "old").mkdir()
    _copy(config.parent, tmp_path / "old")
    calls(config)
    size = _size(config)
    remove(config.parent, "audit*")
    _copy(tmp_path / "old", config.parent)
    if written:
        toml = config.read_text()
        plain(config)
        calls(config, 20)
        config.write_text(toml)
    assert opens(config) == ("ledger.forked" if written else "ledger.rolled_back")
    found, _ = recovered(config)
    assert found.plan.lost == (size if written else size - old)
    assert record(config, 0)["predecessor"]["size"] == size
    assert opens(config) == ""


def _copy(source: Path, target: Path) -> None:
    for path in source.glob("audit*"):
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, target / path.name)


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "no memory"])
@pytest.mark.parametrize("state", ["log.key", "the database", "the database is torn", "a record"])
def test_heads_of_the_log_before_are_no_word_against_the_one_that_goes_on(
    config: Path, state: str, *, memory: bool
) -> None:
    """Recover again changes nothing, before and after the anchor has a head of the new log; heads
    of that one still count.
    """
    anchored(config)
    if memory:
        config.write_text(config.read_text().replace("memory = false", 'memory = "../heads"'))
    calls(config)
    spoil = STATES.get(state, lambda folder: edited(folder, "= 3"))
    spoil(config.parent)
    assert command(config, "--yes", "--reason", "a test") == 5
    for again in (False, True):
        before, size = _files(config), _size(config)
        assert opening(load(config)).state is CheckState.OK
        assert command(config, "--dry-run") == command(config, "--yes", "--reason", "x") == 0
        assert (_files(config), _size(config)) == (before, size)
        if not again:
            calls(config, 1)
    (old := config.parent.parent / "old").mkdir()
    _copy(config.parent, old)
    calls(config)
    more = _size(config) - size
    remove(config.parent, "audit*")
    _copy(old, config.parent)
    found, log = recovered(config)
    assert log.endswith("~3")
    assert found.plan.lost == more


def test_nobody_without_the_keys_makes_a_log_that_continues_another(config: Path) -> None:
    """A name such as ``NAME~2`` alone does not silence the heads that anchors hold of the log
    before.
    """
    anchored(config)
    calls(config)
    size = _size(config)
    remove(config.parent, "audit.db*")
    _, log = recovered(config)
    changed(config.parent, "UPDATE head SET mac = zeroblob(32), note = 'x'")
    plan = diagnose(load(config)).plan
    assert plan.action is Action.RESTART
    assert f"a head of {size} records of the log {log.removesuffix('~2')}" in plan.found


def test_a_memory_that_a_recovery_could_not_renew_begins_no_further_log(config: Path) -> None:
    """The log is whole: the memory has to forget the one before it, and recover says how."""
    calls(config)
    memory = {each: each.read_bytes() for each in (config.parent.parent / "heads").glob("*.json")}
    remove(config.parent, "audit.db*")
    recovered(config)
    for path, raw in memory.items():
        path.write_bytes(raw)
    assert opens(config) == "ledger.replaced"
    before = _files(config)
    with pytest.raises(GuardrailError) as caught:
        diagnose(load(config))
    assert "guardrail anchor forget" in caught.value.hint
    assert command(config, "--yes", "--reason", "a test") == 3
    assert _files(config) == before
    assert (
        run(["anchor", "forget", str(config.with_name("audit.db")), "--config", str(config)]) == 0
    )
    assert opens(config) == ""


# -- what is lost ---------------------------------------------------------------------------------


LOSSES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "a record is edited": (lambda config: edited(config.parent, "= 3"), 3, "at_least"),
    "a record is gone": (
        lambda config: deleted(config.parent, 3),
        3,
        "at_least",
    ),
    "the file is torn": (lambda config: _torn(config.parent), 0, "unknown"),
    "the file is gone": (lambda config: remove(config.parent, "audit.db"), 0, "unknown"),
    "the head is gone, and a record is edited": (
        lambda config: (
            edited(config.parent, "= 3"),
            changed(config.parent, "DELETE FROM head"),
        ),
        0,
        "unknown",
    ),
    "the keys are gone": (lambda config: remove(config.parent, "audit.keys"), 0, "none_known"),
}
"""What is done to a log of six records, how many of them are lost by what is left, and what that
number is worth.
"""


@pytest.mark.parametrize("known", ["plain", "memory", "anchor", "backup"])
@pytest.mark.parametrize("state", LOSSES)
def test_what_a_recovery_says_of_lost_records_is_true(
    config: Path, tmp_path: Path, state: str, known: str
) -> None:
    """All that is known counts: the file's signed head, memory, anchors, a backup. Of later records
    nobody knows.
    """
    {"plain": plain, "anchor": anchored}.get(known, lambda _: None)(config)
    calls(config)
    assert _size(config) == 6
    backups = []
    if known == "backup":
        plain(config)
        backup(config.with_name("audit.db"), tmp_path / "b.db", check=lambda _: "")
        backups.append(tmp_path / "b.db")
    spoil, lost, loss = LOSSES[state]
    spoil(config)
    if known in ("memory", "anchor") and loss != "none_known":
        lost, loss = (3 if "record is" in state else 6), "at_least"
    if known == "backup" and loss == "at_least":
        lost, loss = 0, "unknown"
    found, _ = recovered(config, *backups)
    assert (found.plan.lost, str(found.plan.loss)) == (lost, loss)
    detail = record(config, 1)["detail"]
    assert (detail["lost"], detail["loss"]) == (lost, loss)
    calls(config)
    with LedgerReader.open(config.with_name("audit.db")) as reader:
        key = reader.genesis["key"]["public"]
    head = OutsideHead.parse("kept elsewhere", str(_head(config)))
    report = verify_ledger(config.with_name("audit.db"), key=key, heads=[head])
    assert report.state is VerifyState.ANCHORED
    assert report.exit_code == (0 if loss == "none_known" else 5)
    (said,) = [line for line in report.notices if "A recovery began this log" in line]
    words = {
        "none_known": "no record is known to be lost",
        "at_least": f"at least {lost} records were lost",
        "unknown": "the number of lost records is unknown",
    }
    assert words[loss] in said
    reserved = [line for line in report.not_proved if line.startswith("RECOVERED")]
    assert [words[loss] in line for line in reserved] == ([] if loss == "none_known" else [True])


def _head(config: Path) -> SignedNote:
    settings = load(config)
    _, keys = open_journal(settings, epochs=False)
    log = str(record(config, 0)["log"])
    return LedgerHeads(settings.ledger.path, log, keys.signing(actor=ACTOR, epochs=False)).head()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("known", ["memory", "anchor", "plain"])
def test_no_restart_takes_a_name_again(config: Path, known: str, *, named: bool) -> None:
    """Anchors would take it for the log of that name, forked. Also if the settings name the log."""
    if known != "memory":
        (anchored if known == "anchor" else plain)(config)
    if named:
        config.write_text(config.read_text().replace("[ledger]\n", '[ledger]\nlog = "shop"\n'))
    calls(config)
    for number in (2, 3, 4):
        remove(config.parent, "audit.db*")
        _, log = recovered(config)
        assert log.endswith(f"~{number}")
        assert opens(config) == ""
    assert not named or log == "shop~4"


@pytest.mark.parametrize(
    "spoil",
    [
        STATES["log.key"],
        STATES["the database is torn"],
        REASONS["keys of another log"][0],
        REASONS["others can read a key"][0],
        REASONS["the settings name another log"][0],
        lambda folder: changed(folder, "DROP TRIGGER record_no_update"),
        lambda folder: changed(folder, "DELETE FROM head"),
        lambda folder: changed(folder, "UPDATE head SET mac = x'00'"),
        lambda folder: Seal("x", 1, "a" * 64, "a test", "", {}).write(folder / "audit.db"),
        lambda folder: edited(folder, "= (SELECT max(seq) FROM record)"),
    ],
)
def test_doctor_fails_on_a_large_ledger_that_no_guard_opens(
    config: Path, spoil: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads what a guard reads of it, and both name the same way out."""
    monkeypatch.setattr(diagnosis, "WHOLE", 2)
    plain(config)
    calls(config)
    assert opening(load(config)).state is CheckState.OK
    spoil(config.parent)
    told, refused = opening(load(config)), refusal(config)
    assert told.state is CheckState.FAIL
    assert told.fix
    assert refused.hint


def test_doctor_says_what_it_did_not_read_of_a_large_ledger(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that was edited far from the end keeps no guard from opening: that is for verify to
    find.
    """
    monkeypatch.setattr(diagnosis, "WHOLE", 2)
    monkeypatch.setattr(doctor_opening, "TAIL", 5)
    plain(config)
    calls(config, 20)
    edited(config.parent, "= 5")
    told = opening(load(config))
    assert told.state is CheckState.OK
    assert "only the last 5 of 23 records were read, and guardrail verify reads all" in told.found


def edited(folder: Path, which: str) -> None:
    """Change a record, and put back the trigger that is in the way."""
    (made,) = (sql for name, sql in SCHEMA.items() if name == "record_no_update")
    changed(
        folder,
        "DROP TRIGGER record_no_update",
        f"UPDATE record SET line = replace(line, 'admin', 'nimda') WHERE seq {which}",
        made,
    )


def deleted(folder: Path, seq: int) -> None:
    """Delete a record, and put back the trigger that is in the way."""
    (made,) = (sql for name, sql in SCHEMA.items() if name == "record_no_delete")
    changed(folder, "DROP TRIGGER record_no_delete", f"DELETE FROM record WHERE seq = {seq}", made)


def changed(folder: Path, *statements: str) -> None:
    """Run SQL on the ledger, as somebody without keys can."""
    with contextlib.closing(sqlite3.connect(folder / "audit.db")) as connection, connection:
        for each in statements:
            connection.execute(each)


def test_recover_looks_for_keys_where_a_guard_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GUARDRAIL_KEYS counts if --ledger alone is given, as it does for Guard.open(ledger=...)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUARDRAIL_KEYS", str(tmp_path / "k"))
    assert settings_for(None, tmp_path / "l" / "audit.db").key_path == tmp_path / "k"
