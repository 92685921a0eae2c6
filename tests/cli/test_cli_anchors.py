"""``guardrail checkpoint``, ``anchor`` and ``witness``: what they print, and what they answer to
ledgers that were changed.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail import Denied, Guard
from guardrail.anchors.lines import head_line, parse_lines
from guardrail.anchors.state import read_state, state_path
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.keys.log_key import Keys, verify_signature
from tests.support.command_line import Cli, command, environment
from tests.support.projects import new_project, record_call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a ledger of some records, whose anchor is a file elsewhere; it is the current
    folder.
    """
    home = new_project(tmp_path / "home")
    (tmp_path / "away").mkdir()
    configure(home, 'file = "../away/heads"')
    monkeypatch.chdir(home)
    record_call(home)
    return home


def configure(home: Path, *lines: str) -> None:
    """Write guardrail.toml with these lines in [anchors]."""
    text = "\n".join(("[ledger]", 'path = "audit.db"', "[anchors]", "heartbeat_s = 0", *lines, ""))
    (home / "guardrail.toml").write_text(text)


def size(home: Path) -> int:
    """How many records there are."""
    connection = sqlite3.connect(home / "audit.db")
    try:
        return int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
    finally:
        connection.close()


def log_key(home: Path, log: str) -> NoteKey:
    """The log's key."""
    return NoteKey(log, bytes.fromhex(Keys.load(home / "audit.keys").public))


@contextmanager
def copied(home: Path, to: Path) -> Iterator[None]:
    """Bring the ledger back afterwards as it is now: a copy of an older state."""
    shutil.copytree(home, to)
    yield
    for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
        (home / name).unlink(missing_ok=True)
        if (to / name).exists():
            shutil.copy(to / name, home / name)


# -- checkpoint
# --------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_note_signed_by_the_log_key_over_every_record(
    cli: Cli, project: Path
) -> None:
    """On stdout, and nothing else: it can be redirected into a file and kept."""
    ran = cli("checkpoint")
    assert (ran.code, ran.err) == (0, "")
    note = SignedNote.parse(ran.out.encode())
    head = Checkpoint.parse(note.text)
    assert head.size == size(project)
    assert note.signed_by(log_key(project, head.origin), verify_signature)
    document = json.loads(cli("checkpoint", "--json").out)
    assert document["note"] == ran.out
    assert (document["log"], document["size"], document["signed_by"]) == (
        head.origin,
        head.size,
        "log",
    )


def test_without_the_keys_the_stored_head_is_printed_and_said_to_be_one_of_a_process(
    cli: Cli, project: Path
) -> None:
    """Whoever may only read the ledger can keep its head."""
    shutil.move(project / "audit.keys", project / "elsewhere")
    ran = cli("checkpoint")
    assert ran.code == 0
    assert "process key" in ran.err
    head = Checkpoint.parse(SignedNote.parse(ran.out.encode()).text)
    assert head.size == size(project)
    assert json.loads(cli("checkpoint", "--json").out)["signed_by"] == "epoch"


def test_a_head_that_no_holder_of_the_keys_wrote_is_not_signed(cli: Cli, project: Path) -> None:
    """A forged end must not get an honest signature, and a head that is gone is no head."""
    connection = sqlite3.connect(project / "audit.db")
    connection.execute("UPDATE head SET mac = zeroblob(32)")
    connection.commit()
    ran = cli("checkpoint")
    assert (ran.code, ran.out) == (3, "")
    assert "without this log's keys" in ran.err
    assert "guardrail verify" in ran.err
    connection.execute("UPDATE head SET note = 'x'")
    connection.commit()
    connection.close()
    assert "malformed" in cli("checkpoint").err
    assert cli("anchor").code == 3


def test_a_ledger_named_alone_is_not_signed_by_the_keys_found_here(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    """The settings here are about another one."""
    other = tmp_path / "other"
    shutil.copytree(project, other)
    (other / "guardrail.toml").unlink()
    shutil.move(project / "audit.keys", project / "mine")
    ran = cli("checkpoint", "--ledger", other / "audit.db", "--json")
    assert json.loads(ran.out)["signed_by"] == "log"
    (other / "audit.keys").rename(other / "gone")
    shutil.move(project / "mine", project / "audit.keys")
    ran = cli("checkpoint", "--ledger", other / "audit.db", "--json")
    assert json.loads(ran.out)["signed_by"] == "epoch"


# -- anchor
# --------------------------------------------------------------------------------------------------


def test_anchoring_now_says_what_each_anchor_answered(cli: Cli, project: Path) -> None:
    """And the state beside the ledger knows it."""
    ran = cli("anchor")
    assert (ran.code, ran.err) == (0, "")
    assert f"kept    file  {size(project)} records" in ran.out
    (line,) = parse_lines((project.parent / "away" / "heads").read_bytes())
    assert line.note.signed_by(log_key(project, line.head.origin), verify_signature)
    state = read_state(state_path(project / "audit.db"), line.head.origin)
    assert state.of("file").size == line.head.size
    document = json.loads(cli("anchor", "--json").out)
    (told,) = document["anchors"]
    assert (document["exit"], told["kept"], told["size"], told["code"]) == (
        0,
        True,
        line.head.size,
        None,
    )


def test_a_ledger_that_was_rolled_back_or_forked_is_no(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    """Exit code 1, and the next command to run; also where the state beside the ledger was brought
    back with it.
    """
    with copied(project, tmp_path / "old"):
        record_call(project)
        assert cli("anchor").code == 0
        state_path(project / "audit.db").unlink()
    ran = cli("anchor")
    assert ran.code == 1
    assert "truncated, rolled back or replaced" in ran.out
    assert "next:  guardrail verify" in ran.err
    record_call(project)
    record_call(project)
    ran = cli("anchor", "--json")
    assert ran.code == 1
    (told,) = json.loads(ran.out)["anchors"]
    assert (told["code"], told["kept"]) == ("anchor.conflict", False)
    assert "changed or forked" in told["message"]


@pytest.mark.parametrize("case", ["longer", "forked", "fits", "longer, ours", "forked, ours"])
def test_guard_and_verify_judge_each_head_in_an_anchor_alike(
    cli: Cli, project: Path, case: str
) -> None:
    """Also one signed by another key: calls are denied exactly if verify exits 1."""
    assert cli("anchor").code == 0
    place = project.parent / "away" / "heads"
    (line,) = parse_lines(place.read_bytes())
    head = line.head
    if case.startswith("longer"):
        head = Checkpoint(head.origin, head.size + 100, b"r" * 32)
    elif case.startswith("forked"):
        head = Checkpoint(head.origin, head.size, b"r" * 32)
    private = Ed25519PrivateKey.generate()
    signer = NoteKey(head.origin, private.public_key().public_bytes_raw())
    note = SignedNote.sign(head.text, signer, private.sign)
    if case.endswith("ours"):
        signing = Keys.load(project / "audit.keys").signing(actor={}, epochs=False)
        key = signing.log_key(head.origin)
        note = SignedNote.sign(head.text, key.key, key.sign)
    with place.open("ab") as out:
        out.write(head_line(note))
    ran = cli("verify", "--key", Keys.load(project / "audit.keys").public)
    with Guard.open(project / "guardrail.toml") as guard, guard.session(principal="alice"):
        try:
            guard.call("f", {}, lambda: None)
            denied = ""
        except Denied as error:
            denied = error.code
    assert (ran.code, denied) == ((0, "") if case == "fits" else (1, "denied.anchor"))


def moved(home: Path) -> Path:
    """Name another anchor file in the settings; return the one from before."""
    configure(home, 'file = "../away/new"')
    return home.parent / "away" / "heads"


def denied(home: Path) -> str:
    """Return the code with which a call is denied; empty if it is not."""
    with Guard.open(home / "guardrail.toml") as guard, guard.session(principal="alice"):
        try:
            guard.call("f", {}, lambda: None)
        except Denied as error:
            return error.code
    return ""


def put_foreign_head(home: Path, *, size: int = 1000, ours: bool = False) -> None:
    """Append a head that the ledger contradicts to the anchor file."""
    place = home.parent / "away" / "heads"
    (line, *_) = parse_lines(place.read_bytes())
    head = Checkpoint(line.head.origin, size, b"r" * 32)
    private = Ed25519PrivateKey.generate()
    signer = NoteKey(head.origin, private.public_key().public_bytes_raw())
    note = SignedNote.sign(head.text, signer, private.sign)
    if ours:
        signing = Keys.load(home / "audit.keys").signing(actor={}, epochs=False)
        key = signing.log_key(head.origin)
        note = SignedNote.sign(head.text, key.key, key.sign)
    with place.open("ab") as out:
        out.write(head_line(note))


def test_an_anchor_file_that_was_moved_denies_calls_until_its_heads_are_there(
    cli: Cli, project: Path
) -> None:
    """Guard, doctor and recover name the command that moves them; it is a record, and the old file
    stays.
    """
    for _ in range(3):
        assert cli("anchor").code == 0
        record_call(project)
    old = moved(project)
    before = old.read_bytes()
    assert denied(project) == "denied.anchor"
    asked = cli("doctor", "--json").out
    (check,) = [each for each in json.loads(asked)["checks"] if each["name"] == "anchors"]
    assert check["state"] == "fail"
    assert "guardrail anchor move OLD_FILE --reason" in check["fix"]
    ran = cli("recover")
    assert ran.code == 5
    assert "guardrail anchor move OLD_FILE --reason" in " ".join(ran.err.split())
    (told,) = json.loads(cli("recover", "--json").out)["conflicts"]
    assert told["anchor"] == "file"

    ran = cli("anchor", "move", old, "--reason", "another disk", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    new = project.parent / "away" / "new"
    assert new.read_bytes() == before == old.read_bytes()
    assert (document["heads"], document["added"], document["left_out"]) == (3, 3, [])
    record = json.loads(cli("show", str(document["seq"]), "--json").out)["record"]
    assert record["type"] == "admin.anchor_moved"
    assert record["detail"]["reason"] == "another disk"
    assert (record["detail"]["from"], record["detail"]["heads"]) == (str(old), 3)
    assert cli("anchor", "move", old, "--reason", "again").code == 0
    assert new.read_bytes() == before
    assert cli("anchor").code == 0
    assert denied(project) == ""
    assert cli("recover").code == 0


@pytest.mark.parametrize("size", [2, 1000])
def test_a_foreign_head_in_the_file_is_left_behind_by_a_move(
    cli: Cli, project: Path, size: int
) -> None:
    """Doctor names the way out; it takes a reason, and lists what stays. The old file still shows
    it.
    """
    assert cli("anchor").code == 0
    put_foreign_head(project, size=size)
    assert denied(project) == "denied.anchor"
    said = " ".join(cli("doctor").out.split())
    assert "signed by a key other than the log's" in said
    assert "guardrail anchor move OLD_FILE --reason TEXT" in said
    old = moved(project)
    ran = cli("anchor", "move", old, "--reason", "another program's log")
    assert ran.code == 0, ran.err
    assert f"left a head of {size:,} records that a different key signed" in " ".join(
        ran.out.split()
    )
    assert cli("anchor").code == 0
    assert denied(project) == ""
    key = project / "audit.keys" / "log.pub"
    assert cli("verify", "--key", key).code == 0
    assert cli("verify", "--key", key, "--checkpoint", old).code == 1


def test_a_head_of_the_log_that_the_ledger_contradicts_is_not_left_behind(
    cli: Cli, project: Path
) -> None:
    """It is evidence that the ledger was changed: the ways out are the right ledger, and
    recover.
    """
    assert cli("anchor").code == 0
    put_foreign_head(project, ours=True)
    ran = cli("anchor", "move", moved(project), "--reason", "it is in the way")
    assert ran.code == 3
    assert "anchor.conflict" in ran.err or "signed by the log's key" in ran.err
    assert "guardrail recover" in " ".join(ran.err.split())
    assert not (project.parent / "away" / "new").exists()


def test_an_anchor_file_that_is_lost_for_good_is_begun_again_with_its_newest_head(
    cli: Cli, project: Path
) -> None:
    """Which the state beside the ledger holds, signed; it is a record."""
    assert cli("anchor").code == 0
    place = project.parent / "away" / "heads"
    before = place.read_bytes()
    place.unlink()
    assert denied(project) == "denied.anchor"
    ran = cli("anchor", "move", place, "--reason", "the disk died")
    assert ran.code == 3
    assert "guardrail anchor move --lost" in " ".join(ran.err.split())
    ran = cli("anchor", "move", "--lost", "--reason", "the disk died", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["from"] is None
    (line,), (old,) = parse_lines(place.read_bytes()), parse_lines(before)
    assert line.note == old.note
    assert cli("anchor").code == 0
    assert denied(project) == ""


def test_a_move_says_what_it_lacks(cli: Cli, project: Path) -> None:
    """A reason, an old file that is another one, and an anchor file to move into."""
    assert cli("anchor").code == 0
    old = project.parent / "away" / "heads"
    for args in (
        ("move", old, "--reason", "x"),
        ("move", "--reason", "x"),
        ("move", old, "--lost", "--reason", "x"),
        ("forget", "--reason", "x"),
        ("--lost",),
    ):
        assert cli("anchor", *args).code == 2
    moved(project)
    assert cli("anchor", "move", old).code == 2
    (project.parent / "away" / "new").write_text("mine\n")
    ran = cli("anchor", "move", old, "--reason", "x")
    assert ran.code == 3
    assert "not an anchor file" in ran.err
    configure(project)
    ran = cli("anchor", "move", old, "--reason", "x")
    assert ran.code == 3
    assert "[anchors] file is not set" in ran.err


def lose_ledger(home: Path) -> None:
    """Remove the ledger's files."""
    for each in home.glob("audit.db*"):
        if not each.is_dir():
            each.unlink()


def lose_all(home: Path) -> None:
    """Remove the keys too."""
    lose_ledger(home)
    shutil.rmtree(home / "audit.keys")


def tear(home: Path) -> None:
    """Leave something that is no database."""
    lose_ledger(home)
    (home / "audit.db").write_text("torn\n" * 500)


@pytest.mark.parametrize("lose", [lose_ledger, lose_all, tear])
def test_a_lost_ledger_that_an_anchor_knows_is_no(
    cli: Cli, project: Path, lose: Callable[[Path], None]
) -> None:
    """The anchors are asked although no ledger says which log it was; the way out is a recovery,
    from a copy if there is one.
    """
    assert cli("anchor").code == 0
    count = size(project)
    lose(project)
    ran = cli("verify")
    assert ran.code == 1
    if lose is tear:
        assert ran.out.startswith("TORN, although an external head covers records of it\n")
        return
    assert ran.out.startswith("MISSING, although an external head covers records of it\n")
    assert f"with {count} records is in file" in " ".join(ran.out.split())
    assert "guardrail recover, with --backup FILE" in ran.err
    assert "keep the file" not in ran.err
    document = json.loads(cli("verify", "--json").out)
    assert (document["state"], document["exit"]) == ("missing", 1)


def test_a_lost_ledger_that_was_begun_again_is_known_by_its_later_name(
    cli: Cli, project: Path
) -> None:
    """Also if nothing on this machine remembers that name. The log that began says what was
    lost.
    """
    assert cli("anchor").code == 0
    before = size(project)
    lose_ledger(project)
    assert cli("recover", "--yes", "--reason", "lost").code == 5
    assert cli("anchor").code == 0
    count = size(project)
    notices = " ".join(json.loads(cli("verify", "--json").out)["notices"])
    assert f"at least {before:,} records were lost" in notices
    assert cli("verify").code == cli("verify", "--key", "audit.keys/log.pub").code == 5
    assert cli("doctor").code in {0, 5}
    assert cli("recover", "--dry-run").code == 0
    lose_all(project)
    ran = cli("verify")
    assert ran.code == 1
    assert f"~2 with {count} records" in " ".join(ran.out.split())


def test_heads_of_another_ledgers_log_do_not_make_a_missing_one_known(
    cli: Cli, project: Path
) -> None:
    """Two projects of one host may share an anchor file and a name: the key tells them apart."""
    assert cli("anchor").code == 0
    lose_all(project)
    Keys.create(project / "audit.keys")
    ran = cli("verify")
    assert (ran.code, ran.out.startswith("MISSING\n")) == (3, True)


def test_an_anchor_that_cannot_be_reached_is_not_known(cli: Cli, project: Path) -> None:
    """Exit code 3: neither yes nor no. The others are told all the same."""
    key = "w.example/1+a37062ec+BL5mrg/xCDzeXVxqYPm6vb4GFkqJ8mD6iIuFEdWZRr9Q"
    configure(project, 'file = "../away/heads"', f'witness = "http://127.0.0.1:1 {key}"')
    ran = cli("anchor")
    assert ran.code == 3
    assert "failed  witness:w.example/1" in ran.out
    assert "kept    file" in ran.out


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "no anchor is configured"),
        (('file = "heads"',), "ledger's directory"),
        (('witness = "http://127.0.0.1:1"',), "the witness's key"),
        (('syslog = "/no-such-socket"',), "No such file"),
        (('tsa = "http://127.0.0.1:1"',), "tsa_root"),
        (("max_lag_s = 100", "interval_s = 60"), "there is no anchor"),
    ],
)
def test_settings_that_cannot_work_are_named(
    cli: Cli, project: Path, lines: tuple[str, ...], words: str
) -> None:
    """With what to write instead."""
    configure(project, *lines)
    ran = cli("anchor")
    assert ran.code == 3
    assert words in ran.out + ran.err
    assert "next:  " in ran.err


def test_keys_that_are_missing_or_of_another_log_are_named(cli: Cli, project: Path) -> None:
    """Nothing is sent."""
    shutil.move(project / "audit.keys", project / "gone")
    assert cli("anchor").code == 3
    Keys.create(project / "audit.keys")
    ran = cli("anchor")
    assert ran.code == 3
    assert not (project.parent / "away" / "heads").exists()


# -- a witness, as its users run it
# ----------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """``guardrail witness serve`` as a process; yields its URL."""
    running = subprocess.Popen(
        command("witness", "serve", "--db", "w.db", "--key", "w.keys", "--listen", "127.0.0.1:0")
        + list(options),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    try:
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        code = running.wait(30)
        running.stdout.close()
    assert code == 0


def test_a_witness_is_made_told_about_a_log_and_finds_a_fork(
    cli: Cli, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From ``init`` to the evidence."""
    second = tmp_path / "second-host"
    second.mkdir()
    log = json.loads(cli("checkpoint", "--json").out)["log"]
    vkey = str(log_key(project, log))
    monkeypatch.chdir(second)
    made = cli("witness", "init", "--db", "w.db", "--key", "w.keys", "--name", "w.example/1")
    assert made.code == 0
    witness_key = NoteKey.parse(made.out)
    again = cli("witness", "init", "--db", "w.db", "--key", "w.keys2", "--name", "w.example/1")
    assert again.code == 2
    assert not (second / "w.keys2").exists()
    assert "no log is registered" in cli("witness", "status", "--db", "w.db").err
    assert cli("witness", "add", "--db", "w.db", "--log", vkey).out == f"added  {log}\n"
    assert cli("witness", "add", "--db", "w.db", "--log", vkey).out == f"known  {log}\n"
    assert cli("witness", "status", "--db", "w.db").out == f"{log}  no head yet\n"
    with serving(second) as url:
        monkeypatch.chdir(project)
        configure(project, f'witness = ["{url} {witness_key}"]')
        with copied(project, tmp_path / "old"):
            record_call(project)
            assert cli("anchor").code == 0
            state_path(project / "audit.db").unlink()
        assert cli("anchor").code == 1
        for _ in range(2):
            record_call(project)
        ran = cli("anchor")
        assert ran.code == 1
        assert "a different history" in ran.out
    monkeypatch.chdir(second)
    status = cli("witness", "status", "--db", "w.db")
    assert status.code == 1
    assert "REFUSED 1 signed head" in status.out
    document = json.loads(cli("witness", "status", "--db", "w.db", "--json").out)
    (told,) = document["logs"]
    (refused,) = told["refused"]
    assert told["key"] == vkey
    assert SignedNote.parse(refused).signed_by(NoteKey.parse(vkey), verify_signature)
    seen = cli("witness", "status", "--db", "w.db", "--since", "2999-01-01")
    assert (seen.code, "REFUSED 1 signed head" in seen.out) == (0, True)
    assert cli("witness", "status", "--db", "w.db", "--since", "2020-01-01T00:00:00Z").code == 1


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--listen", "0.0.0.0:0"), 2, "--unsafe-listen"),
        (("--listen", "[::]:0"), 2, "--unsafe-listen"),
        (("--listen", "w.example:0"), 2, "--listen"),
        (("--listen", "127.0.0.1"), 2, "--listen"),
        (("--listen", "127.0.0.1:99999"), 2, "--listen"),
        (("--tls-cert", "x"), 2, "used together"),
        (("--tls-cert", "x", "--tls-key", "x"), 3, "can't be used"),
        (("--log", "nonsense"), 2, "--log"),
        (("--db", "none.db"), 3, "does not exist"),
        (("--key", "none"), 3, "missing"),
    ],
)
def test_a_witness_that_cannot_serve_says_why(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    """One line and the next step; nothing listens."""
    monkeypatch.chdir(tmp_path)
    cli("witness", "init", "--db", "w.db", "--key", "w.keys", "--name", "w.example/1")
    ran = cli("witness", "serve", "--db", "w.db", "--key", "w.keys", *options)
    assert ran.code == code
    assert words in ran.err
    assert "next:  " in ran.err


def test_a_port_that_is_taken_is_named(tmp_path: Path, cli: Cli) -> None:
    """Two witnesses can't have one."""
    cli("witness", "init", "--db", tmp_path / "w.db", "--key", tmp_path / "w.keys", "--name", "w")
    with serving(tmp_path) as url:
        port = url.rpartition(":")[2]
        ran = cli(
            *("witness", "serve", "--db", tmp_path / "w.db", "--key", tmp_path / "w.keys"),
            *("--listen", f"127.0.0.1:{port}"),
        )
        assert ran.code == 3
        assert "can't listen" in ran.err


def test_start_up_of_the_command_that_a_timer_runs_loads_no_server() -> None:
    """``guardrail checkpoint`` needs none of what a witness needs."""
    program = "import sys, guardrail.cli.commands.checkpoint; print('http.server' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert done.stdout == "False\n"


def test_heads_of_the_log_before_a_recovery_are_told_from_those_of_any_other_log(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They still do not cover this log, but the answer says what they can prove, and how to compare
    this log's own heads alone.
    """
    folder, heads = tmp_path / "shop", tmp_path / "heads.jsonl"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "all.rego").write_text("package guardrail.policy\n")
    (folder / "guardrail.toml").write_text(f'[anchors]\nmemory = false\nfile = "{heads}"\n')
    monkeypatch.chdir(folder)
    with Guard.open("guardrail.toml"):
        pass
    for each in (folder / "audit").glob("ledger.db*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    assert cli("recover", "--yes", "--reason", "lost").code == 5
    with Guard.open("guardrail.toml"):
        pass
    ran = cli("verify", "--checkpoint", heads)
    told = " ".join(ran.out.split())
    assert ran.code == 1
    assert "which a recovery replaced by this one. Record 1 names its remaining files" in told
    assert "guardrail verify --ledger OLD_FILE" in ran.err
    assert "guardrail recover" not in ran.err
    assert cli("verify").code == 5
