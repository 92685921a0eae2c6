"""Showing records that are not in a ledger any more, or not in one: from copies of segments, and
from exports.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from tests.support.command_line import Cli, build, environment
from tests.support.command_line import command as command_line


def _then(days: float) -> str:
    then = datetime.now(UTC) - timedelta(days=days)
    return then.isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.fixture
def pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Path:
    """A folder, the current one, with a ledger whose first segment was pruned, and its copy in the
    archive.
    """
    folder, other = tmp_path / "work", tmp_path / "elsewhere"
    folder.mkdir()
    other.mkdir()
    with monkeypatch.context() as patch:
        for module in ("sqlite.appending", "sqlite.batch", "writing.writer"):
            patch.setattr(f"guardrail.ledger.{module}.utc_timestamp", lambda: _then(500))
        build(folder / "audit.db")
        (folder / "guardrail.toml").write_text(
            '[ledger]\npath = "audit.db"\n[retention]\narchive = "archive"\narchive_days = 3650\n'
            f'[anchors]\nfile = "{other}/heads"\n'
        )
        monkeypatch.chdir(folder)
        cli("retention", "run", "--reason", "nightly")
    cli("anchor")
    cli("export", "--jsonl", "-o", "before.jsonl")
    assert cli("retention", "run").code == Exit.YES
    return folder


@pytest.fixture
def copy(pruned: Path) -> Path:
    """The copy of the segment that was pruned: the first of the two."""
    return min((pruned / "archive").glob("*.gz"))


def accesses(folder: Path) -> list[dict[str, object]]:
    with LedgerReader.open(next(folder.rglob("*.access.db"))) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [record for record in found if record["type"] == "access.read"]


@pytest.mark.parametrize("command", ["show", "why"])
def test_a_record_that_was_pruned_is_said_to_be_that_with_the_copy_to_read(
    cli: Cli, pruned: Path, copy: Path, command: str
) -> None:
    """The command in the hint shows it."""
    ran = cli(command, "3")
    assert ran.code == Exit.UNKNOWN
    assert "record 3 was pruned: records 1 to 11 are no longer in this log (pruned " in ran.err
    assert f"guardrail {command} 3 --segment {copy}" in ran.err
    shown = cli(command, "3", "--segment", copy)
    assert shown.code == Exit.YES
    assert "mail-external" in shown.out
    assert "NOT VERIFIED: these records come from" in shown.err


@pytest.mark.parametrize("command", ["show", "why"])
def test_a_session_that_may_have_been_pruned_is_answered_with_the_copies(
    cli: Cli, pruned: Path, copy: Path, command: str
) -> None:
    """Its name is in no record that is left."""
    ran = cli(command, "some-session")
    assert ran.code == Exit.UNKNOWN
    assert "records 1 to 11 are no longer in this log (pruned " in ran.err
    assert f"guardrail sessions --segment FILE; the copies: {copy} (to 11)" in ran.err


def test_sessions_says_what_was_pruned_and_where_it_is(cli: Cli, pruned: Path, copy: Path) -> None:
    """In JSON as well; a session that is only in the copy is not found, and the error says where to
    look.
    """
    ran = cli("sessions")
    assert "PRUNED: records 1 to 11 are no longer in this log" in ran.err
    assert str(copy) in ran.err
    said = json.loads(cli("sessions", "--json").out)["pruned"]
    assert (said["first"], said["last"]) == (1, 11)
    assert said["copies"][0] == {"first": 0, "last": 11, "path": str(copy)}
    ran = cli("show", "S-1")
    assert ran.code == Exit.UNKNOWN
    assert "records 1 to 11 are no longer in this log" in ran.err
    assert "guardrail sessions" in ran.err
    assert cli("show", "S-1", "--segment", copy).code == Exit.YES


def test_a_pruned_record_without_a_copy_is_to_come_from_a_backup(
    cli: Cli, pruned: Path, copy: Path
) -> None:
    """A copy without what says what it is counts as none."""
    copy.with_suffix("").with_suffix(".json").unlink()
    ran = cli("show", "3")
    assert "no copy of their segment is in the folders set in [retention]" in ran.err
    shutil.rmtree(copy.parent)
    os.mkfifo(copy.parent)
    assert "no copy of their segment" in cli("show", "3").err


@pytest.mark.parametrize("packed", [False, True])
def test_an_export_shows_what_the_ledger_showed(cli: Cli, pruned: Path, packed: bool) -> None:
    """Sessions, a session, a record and why: the same answers, with the file that they come
    from.
    """
    file = pruned / "before.jsonl"
    lines = file.read_bytes()
    if packed:
        file = pruned / "before.jsonl.gz"
        file.write_bytes(gzip.compress(lines))
    for args in (("sessions",), ("show", "S-1"), ("show", "3"), ("why", "3"), ("why", "last")):
        ran = cli(*args, "--export", file, "--json")
        assert ran.code == Exit.YES, ran.err
        document = json.loads(ran.out)
        assert document["source"] == {"kind": "export", "path": str(file), "verified": False}
        assert document["access_recorded"] is True
    assert json.loads(cli("sessions", "--export", file, "--json").out)["pruned"] is None
    shown = json.loads(cli("show", "3", "--export", file, "--json").out)
    assert shown["record"] == decode(lines.split(b"\n")[3])
    assert cli("show", "S-1", "--export", file).out.count("send_email") == 1


def test_an_answer_that_nobody_reads_is_not_said_to_be_a_file_that_cannot_be_read(
    pruned: Path,
) -> None:
    """``guardrail show ... | head`` is quiet, whatever the records are read from."""
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait(timeout=30)
    assert reader.stdin is not None
    done = subprocess.run(
        command_line("show", "3", "--export", pruned / "before.jsonl"),
        cwd=pruned,
        env=environment({"PYTHONUNBUFFERED": "1"}),
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    reader.stdin.close()
    assert "can't be read" not in done.stderr
    assert done.returncode == Exit.PIPE


def test_an_export_of_a_pruned_ledger_says_so(cli: Cli, pruned: Path) -> None:
    """Its own record about it is in the file."""
    cli("export", "--jsonl", "-o", "after.jsonl")
    ran = cli("show", "3", "--export", "after.jsonl")
    assert ran.code == Exit.UNKNOWN
    assert "record 3 was pruned" in ran.err
    said = json.loads(cli("sessions", "--export", "after.jsonl", "--json").out)["pruned"]
    assert said["last"] == 11


def test_reading_a_file_leaves_an_access_record(cli: Cli, pruned: Path, copy: Path) -> None:
    """In the access log of the settings; it names the file, and no ledger was examined."""
    cli("show", "3", "--segment", copy, "--reason", "INC-7")
    last = accesses(pruned)[-1]
    assert last["command"] == "show"
    assert last["selector"] == {"ref": "3", "segment": True}
    assert last["purpose"] == "INC-7"
    assert last["ledger"] == {
        "path": str(copy),
        "log": None,
        "size": None,
        "root": None,
        "problem": None,
    }


def test_a_file_is_read_where_there_is_no_ledger(
    cli: Cli, pruned: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made beside it; where every reading must be recorded, an access log is."""
    alone = tmp_path / "alone"
    alone.mkdir()
    monkeypatch.chdir(alone)
    assert cli("show", "3", "--segment", copy).code == Exit.YES
    assert list(alone.iterdir()) == []
    (alone / "guardrail.toml").write_text("[access]\nrequired = true\n")
    assert cli("show", "3", "--segment", copy).code == Exit.YES
    assert len(accesses(alone)) == 1


def test_settings_that_cannot_be_read_are_said_to_keep_no_record(
    cli: Cli, pruned: Path, copy: Path
) -> None:
    """Those that were named are an error: nobody knows whether they want every reading recorded."""
    (pruned / "guardrail.toml").write_text("nonsense")
    ran = cli("show", "3", "--segment", copy)
    assert ran.code == Exit.YES
    assert "not recorded in an access log" in ran.err
    ran = cli("show", "3", "--segment", copy, "--config", "guardrail.toml")
    assert ran.code not in {Exit.YES, Exit.BUG}
    assert ran.out == ""


def test_one_source_is_read(cli: Cli, pruned: Path, copy: Path) -> None:
    """Two are a mistake, and which one is meant is not guessed."""
    for more in (("--ledger", "audit.db"), ("--export", "before.jsonl")):
        assert cli("show", "3", "--segment", copy, *more).code == Exit.USAGE


def _changed(lines: list[bytes]) -> dict[str, tuple[bytes, str]]:
    end = b"\n"
    good = end.join(lines) + end
    record = lines[3]
    return {
        "empty": (b"", "the file is empty"),
        "torn": (good[:-1], "is incomplete or too long"),
        "cut": (good[:-40], "is incomplete or too long"),
        "no JSON": (good.replace(record, b"{"), "is not a record"),
        "not a record": (good.replace(record, b"[]"), "is not a record"),
        "twice the same key": (
            good.replace(record, record[:-1] + b',"v":1}'),
            "is not a record",
        ),
        "no number": (
            good.replace(record, record.replace(b'"seq":3', b'"seq":"3"')),
            "does not contain its record number",
        ),
        "missing": (good.replace(record + end, b""), "is record 4, but record 3 comes next"),
        "again": (good.replace(record, lines[2]), "is record 2, but record 3 comes next"),
        "another log": (
            good.replace(record, record.replace(b'"log":"', b'"log":"other-')),
            "belongs to a different log",
        ),
        "too long": (b" " * 200_000 + good, "is incomplete or too long"),
        "zeros": (b"\0" * 100_000, "is incomplete or too long"),
    }


@pytest.mark.parametrize("command", [("sessions",), ("show", "3"), ("why", "last")])
@pytest.mark.parametrize("kind", ["folder", "nothing", "empty", "pipe"])
def test_what_is_no_file_of_records_is_said_with_the_next_step(
    cli: Cli, pruned: Path, kind: str, command: tuple[str, ...]
) -> None:
    """At once, whatever it is."""
    file = pruned / "there"
    if kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    elif kind == "pipe":
        os.mkfifo(file)
    for option in ("--export", "--segment"):
        ran = cli(*command, option, file)
        assert (ran.code, ran.out) == (Exit.UNKNOWN, "")
        assert str(file) in ran.err
        assert "next:  " in ran.err


CHANGES = tuple(_changed([b"a", b"b", b"c", b"d"]))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_not_the_records_of_one_log_shows_nothing(
    cli: Cli, pruned: Path, change: str, packed: bool
) -> None:
    """With the line and what is wrong there, plain and gzip."""
    content, words = _changed((pruned / "before.jsonl").read_bytes().splitlines())[change]
    file = pruned / "changed"
    file.write_bytes(gzip.compress(content) if packed else content)
    for command in (("sessions",), ("show", "3"), ("why", "3")):
        ran = cli(*command, "--export", file)
        assert ran.code == Exit.UNKNOWN
        assert ran.out == ""
        assert words in ran.err


def _no_whole_files(copy: Path) -> tuple[str, ...]:
    """Return a FIFO, a folder, a device, a missing file, and *copy* cut and damaged."""
    os.mkfifo("fifo")
    packed = copy.read_bytes()
    Path("half.gz").write_bytes(packed[: len(packed) // 2])
    Path("bad.gz").write_bytes(packed[:40] + b"\xff" * 40 + packed[80:])
    return ("fifo", ".", "nothing", "half.gz", "bad.gz", "/dev/zero")


def test_what_is_no_file_or_no_whole_gzip_file_is_refused(
    cli: Cli, pruned: Path, copy: Path
) -> None:
    """At once, without waiting for a FIFO."""
    for name in _no_whole_files(copy):
        for option in ("--segment", "--export"):
            ran = cli("show", "3", option, name)
            assert (ran.code, ran.out) == (Exit.UNKNOWN, "")
            assert "Traceback" not in ran.err


def test_more_than_can_be_held_is_refused(
    cli: Cli, pruned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file can unpack to very much."""
    from guardrail.review import lines

    line = (pruned / "before.jsonl").read_bytes().splitlines(keepends=True)
    for name, limit in (("MAX_RECORDS", 5), ("MAX_BYTES", len(b"".join(line[:5])))):
        with monkeypatch.context() as patch:
            patch.setattr(lines, name, limit)
            ran = cli("show", "3", "--export", "before.jsonl")
            assert ran.code == Exit.UNKNOWN
            assert "the file contains more than" in ran.err


def _verified(cli: Cli, *args: str | Path) -> tuple[int, dict[str, object]]:
    ran = cli("verify", *args, "--json")
    return ran.code, json.loads(ran.out)


def test_a_copy_is_verified_against_its_seal_and_the_heads_in_the_anchors(
    cli: Cli, pruned: Path, copy: Path
) -> None:
    """The first segment and a later one, whose records begin in the middle of the log."""
    later = max(copy.parent.glob("*.gz"))
    pub = pruned / "audit.keys" / "log.pub"
    for file, number in ((copy, 1), (later, 2)):
        code, found = _verified(cli, "--segment", file, "--key", pub)
        assert code in {Exit.YES, Exit.RESERVED}, found
        assert found["state"] in {"anchored", "not_anchored"}
        assert any(
            f"This is segment {number}, unchanged since it was closed" in each
            for each in found["notices"]
        )
        assert any("this run did not verify" in each for each in found["not_proved"])


def test_a_copy_alone_proves_no_more_than_that_its_records_are_linked(
    cli: Cli, pruned: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no ledger that sealed it; unpacked as well."""
    later = max(copy.parent.glob("*.gz"))
    alone = tmp_path / "alone"
    alone.mkdir()
    monkeypatch.chdir(alone)
    for file in (copy, later):
        name = file.name.removesuffix(".gz")
        Path(name).write_bytes(gzip.decompress(file.read_bytes()))
        shutil.copy(file.with_suffix("").with_suffix(".json"), alone)
        code, found = _verified(cli, "--segment", name)
        assert (code, found["state"]) == (Exit.RESERVED, "not_anchored")
        assert any("NOT COMPARED WITH ITS LOG" in each for each in found["not_proved"])


@pytest.mark.parametrize("which", [0, 1])
def test_a_copy_whose_records_are_others_is_broken_although_they_are_linked(
    cli: Cli, pruned: Path, copy: Path, which: int
) -> None:
    """Its end is cut, or its last record edited: only the seal shows that."""
    file = sorted(copy.parent.glob("*.gz"))[which]
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    end = lines[-1].replace(b'"ts":"2', b'"ts":"3')
    assert end != lines[-1]
    file.chmod(0o600)
    for changed in (lines[:-1], [*lines[:-1], end]):
        file.write_bytes(gzip.compress(b"".join(changed)))
        code, found = _verified(cli, "--segment", file)
        assert code == Exit.NO
        # An edited record is not the one either that the head in the anchor file is over.
        assert found["state"] == "forked" or "these are not the lines of segment" in found["detail"]
        assert found["state"] in {"tampered", "forked"}
    file.write_bytes(gzip.compress(b"".join([*lines[:1], *lines[2:]])))
    assert _verified(cli, "--segment", file)[1]["state"] == "tampered"


def test_what_stands_beside_a_copy_is_believed_only_if_the_root_fits(
    cli: Cli, pruned: Path, copy: Path
) -> None:
    """Wrong values give another root than the one that was sealed; nonsense, or nothing, is exit
    3.
    """
    later = max(copy.parent.glob("*.gz"))
    beside = later.with_suffix("").with_suffix(".json")
    whole = json.loads(beside.read_text())
    beside.chmod(0o600)
    wrong = [f"{int(each[0], 16) ^ 1:x}{each[1:]}" for each in whole["edge"]]
    beside.write_text(json.dumps({**whole, "edge": wrong}))
    assert _verified(cli, "--segment", later)[0] == Exit.NO
    for nonsense in ({"edge": []}, {"edge": 5}, {"first": 0}, {"log": "other"}):
        beside.write_text(json.dumps({**whole, **nonsense}))
        assert _verified(cli, "--segment", later)[0] == Exit.UNKNOWN
    for text in ("", "[]", "[" * 60_000, " " * 100_000):
        beside.write_text(text)
        assert _verified(cli, "--segment", later)[0] == Exit.UNKNOWN
    beside.unlink()
    assert _verified(cli, "--segment", later)[0] == Exit.UNKNOWN
    os.mkfifo(beside)
    assert _verified(cli, "--segment", later)[0] == Exit.UNKNOWN


def test_a_packed_export_is_verified_as_a_plain_one_is(cli: Cli, pruned: Path) -> None:
    """The same answer, with a head and without."""
    Path("packed.gz").write_bytes(gzip.compress((pruned / "before.jsonl").read_bytes()))
    plain, packed = (_verified(cli, "--export", name)[1] for name in ("before.jsonl", "packed.gz"))
    assert {**plain, "path": ""} == {**packed, "path": ""}
    assert plain["state"] == "not_anchored"


def test_no_verdict_is_given_about_what_is_no_whole_file(
    cli: Cli, pruned: Path, copy: Path
) -> None:
    """A FIFO, a device, a folder, a copy that is cut, and two sources."""
    for name in _no_whole_files(copy):
        for option in ("--segment", "--export"):
            assert cli("verify", option, name).code in {Exit.NO, Exit.UNKNOWN}
    assert cli("verify", "--segment", copy, "--export", "before.jsonl").code == Exit.USAGE


@pytest.mark.parametrize("content", [None, b"", b"no record\n"], ids=["missing", "empty", "other"])
def test_a_copy_that_can_not_be_read_is_not_called_one_of_another_log(
    cli: Cli, pruned: Path, tmp_path: Path, content: bytes | None
) -> None:
    """The answer says what is wrong with the file; the ledger has nothing to do with it."""
    file = tmp_path / "nosuch"
    if content is not None:
        file.write_bytes(content)
    ran = cli("verify", "--segment", file)
    assert ran.code in {Exit.UNKNOWN, Exit.NO}
    assert "another log" not in ran.out + ran.err
