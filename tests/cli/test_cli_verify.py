"""Verify and recover: what they say, and the exit code that goes with it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.support.command_line import Cli, build, command, edit, environment


def leaf(cli: Cli, path: Path) -> str:
    """Return the leaf of the last record."""
    return str(json.loads(cli("show", "11", "--ledger", path, "--json").out)["leaf"])


def seal(path: Path, seq: int, leaf: str) -> None:
    """Leave the marker of a guard that found its files contradicting what it had acknowledged."""
    from guardrail.ledger.seal import Seal

    Seal(
        "test-host/audit.db",
        seq,
        leaf,
        "the database file is replaced",
        "2026-11-24T09:00:00.000000Z",
        {},
    ).write(path)


def test_an_intact_ledger_without_an_outside_head_is_5_and_says_what_is_not_proved(
    cli: Cli, path: Path
) -> None:
    """Never just OK."""
    ran = cli("verify", "--ledger", path)
    assert ran.code == 5
    assert ran.out.startswith("INTACT, NOT ANCHORED, KEY NOT PINNED\n")
    assert "12 records, all valid" in ran.out
    assert "Not proved" in ran.out


def test_a_head_that_was_kept_elsewhere_is_compared(cli: Cli, path: Path, tmp_path: Path) -> None:
    """The head that checkpoint prints can be given back, with the key; another log's, or another
    state's, is told apart.
    """
    head = tmp_path / "head"
    head.write_text(cli("checkpoint", "--ledger", path).out)
    ran = cli("verify", "--ledger", path, "--checkpoint", head)
    assert ran.code == 5
    assert "ANCHORED up to record 11, KEY NOT PINNED" in ran.out
    key = path.with_suffix(".keys") / "log.pub"
    ran = cli("verify", "--ledger", path, "--checkpoint", head, "--key", key)
    assert ran.code == 0
    assert "up to record 11, recorded" in ran.out
    ran = cli("verify", "--ledger", path, "--checkpoint", head, "--key", "ab" * 32)
    assert ran.code == 1
    assert "REPLACED" in ran.out
    other = tmp_path / "other"
    other.mkdir()
    build(other / "audit.db")
    head.write_text(cli("checkpoint", "--ledger", other / "audit.db").out)
    ran = cli("verify", "--ledger", path, "--checkpoint", head, "--key", key)
    assert ran.code == 1
    assert "FORKED" in ran.out
    head.write_text("nonsense")
    ran = cli("verify", "--ledger", path, "--checkpoint", head)
    assert ran.code == 3
    assert "guardrail checkpoint" in " ".join(ran.out.split())
    assert cli("verify", "--ledger", path, "--checkpoint", tmp_path / "none").code == 3
    assert cli("verify", "--ledger", path, "--key", "nonsense").code == 3


def test_an_edited_byte_is_broken_at_its_record(cli: Cli, path: Path) -> None:
    """Exit 1 with the number of the first record that differs, as text and as JSON."""
    edit(path, "UPDATE record SET line = replace(line, 'eve@evil', 'bob@evil') WHERE seq = 3")
    ran = cli("verify", "--ledger", path)
    assert ran.code == 1
    assert ran.out.startswith("BROKEN at record 3\n")
    document = json.loads(cli("verify", "--ledger", path, "--json").out)
    assert (document["state"], document["exit"], document["first_bad"], document["differs"]) == (
        "tampered",
        1,
        3,
        "leaf",
    )


def test_what_can_not_be_checked_is_3_and_1_where_a_head_covers_it(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """Missing is not tampered, unless an outside head says that records were there."""
    head = tmp_path / "head"
    head.write_text(cli("checkpoint", "--ledger", path).out)
    (tmp_path / "text.db").write_text("no ledger\n" * 500)
    for name, word, covered in (
        ("none.db", "MISSING", "MISSING"),
        ("text.db", "NOT A LEDGER", "TORN"),
    ):
        ran = cli("verify", "--ledger", tmp_path / name)
        assert (ran.code, word in ran.out) == (3, True)
        assert "next:" in ran.err
        ran = cli("verify", "--ledger", tmp_path / name, "--checkpoint", head)
        assert ran.code == 1
        assert f"{covered}, although an external head covers records of it" in ran.out


def test_an_export_is_verified_without_the_ledger(cli: Cli, path: Path, tmp_path: Path) -> None:
    """A file alone is enough, and an edit in it shows."""
    out = tmp_path / "out.jsonl"
    assert cli("export", "--jsonl", "-o", out, "--ledger", path).code == 0
    path.unlink()
    assert cli("verify", "--export", out).code == 5
    out.write_bytes(out.read_bytes().replace(b"eve@evil", b"bob@evil"))
    ran = cli("verify", "--export", out)
    assert ran.code == 1
    assert "BROKEN at record 4" in ran.out
    assert cli("verify", "--export", out, "--ledger", path).code == 2
    assert cli("verify", "--export", tmp_path / "none").code == 3


def test_open_calls_of_a_dead_process_are_listed(cli: Cli, tmp_path: Path) -> None:
    """A process is killed between decision and outcome: verify names its call."""
    path = tmp_path / "audit.db"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.support.records import LOG,"
        " SIGNING, decision, genesis\nfrom guardrail.core.log.record import Draft\nfrom"
        " guardrail.ledger.writing.writer import LedgerWriter\nwriter ="
        " LedgerWriter.create(Path(sys.argv[1]), log=LOG, genesis=genesis(), signing=SIGNING)\nmade"
        " = decision()\nmade['origin'] = {**made['origin'], 'process':"
        " writer.process}\nwriter.append(Draft.build(made, opens=True,"
        " process=writer.process))\nprint('open', flush=True)\ntime.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, path],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    ran = cli("verify", "--ledger", path)
    assert "running  1 call without an outcome yet" in ran.out
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    child.stdout.close()
    ran = cli("verify", "--ledger", path)
    assert ran.code == 5
    assert "Open calls of dead processes" in ran.out
    assert "record 1: call" in ran.out
    assert len(json.loads(cli("verify", "--ledger", path, "--json").out)["dead_calls"]) == 1


def test_ctrl_c_is_130(path: Path) -> None:
    """Interrupted is its own answer, in one line."""
    code = (
        "import os, signal, sys\n"
        "import guardrail.review.verify as v\n"
        "def hang(*a, **k):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "v.verify_ledger = hang\n"
        "from guardrail.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "--ledger", path],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_recover_does_nothing_where_nothing_is_wrong(cli: Cli, path: Path) -> None:
    """It says so and exits 0 without asking."""
    before = path.read_bytes()
    ran = cli("recover", "--ledger", path)
    assert ran.code == 0
    assert "Nothing is wrong" in ran.out
    assert path.read_bytes() == before


def test_recover_of_a_ledger_without_its_keys_says_what_can_be_done(cli: Cli, path: Path) -> None:
    """A guard refuses such a ledger with a hint to recover, so recover must not say that nothing is
    wrong.
    """
    shutil.rmtree(path.with_suffix(".keys"))
    ran = cli("recover", "--ledger", path, "--dry-run")
    assert ran.code == 1
    assert "keys are gone" in ran.out
    assert "backup" in ran.out


def test_recover_never_acts_without_being_told(cli: Cli, process: Cli, path: Path) -> None:
    """No terminal and no --yes, or no reason: usage, and the ledger stays sealed. --dry-run says
    what would be done.
    """
    seal(path, 11, leaf(cli, path))
    marker = path.with_name("audit.db-sealed")
    for args in ((), ("--yes",), ("--reason", "x")):
        assert process("recover", "--ledger", path, *args).code == 2
        assert marker.exists()
    ran = process("recover", "--ledger", path, "--dry-run")
    assert ran.code == 1
    assert "Sealed: the database file is replaced" in ran.out
    assert "The seal is lifted" in ran.out
    assert marker.exists()


def test_recover_lifts_a_seal_on_an_intact_chain_and_records_it(
    cli: Cli, process: Cli, path: Path
) -> None:
    """The log goes on in the same file with an admin.recovered record that holds the reason,
    without its secrets.
    """
    seal(path, 11, leaf(cli, path))
    key = "AKIA" + "Z7QH3KX2" + "PLM4WN6T"
    ran = process("recover", "--ledger", path, "--yes", "--reason", f"disk swapped, {key}")
    assert ran.code == 0
    assert "Recovered: record 12" in ran.out
    assert not path.with_name("audit.db-sealed").exists()
    shown = cli("show", "12", "--ledger", path, "--json").out
    assert "disk swapped" in shown
    assert key not in shown
    assert key.encode() not in path.read_bytes()
    assert cli("verify", "--ledger", path).code == 5


def test_verify_names_what_a_recovery_took_over(cli: Cli, process: Cli, path: Path) -> None:
    """In its first line, among what is not proved, and in its document."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE head SET mac = zeroblob(32)")
    connection.close()
    assert process("recover", "--ledger", path, "--yes", "--reason", "a test").code == 0
    head = path.with_name("later.note")
    head.write_text(cli("checkpoint", "--ledger", path).out)
    ran = cli("verify", "--ledger", path, "--checkpoint", head)
    assert ran.code == 5
    assert "RECOVERED RECORDS NOT COVERED" in ran.out.splitlines()[0]
    assert "no signed head covered records 0 to 11" in " ".join(ran.out.split())
    (found,) = json.loads(cli("verify", "--ledger", path, "--json").out)["recovered"]
    assert (found["seq"], found["first"], found["last"], found["lost"]) == (12, 0, 11, 0)


def test_backup_and_consistency_name_what_a_recovery_took_over(
    cli: Cli, process: Cli, path: Path
) -> None:
    """The copy holds it as well, and two heads that continue each other are no word for it."""
    old, new = path.with_name("old.note"), path.with_name("new.note")
    old.write_text(cli("checkpoint", "--ledger", path).out)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE head SET mac = zeroblob(32)")
    connection.close()
    assert process("recover", "--ledger", path, "--yes", "--reason", "a test").code == 0
    new.write_text(cli("checkpoint", "--ledger", path).out)
    key = path.with_name("audit.keys") / "log.pub"
    asked = ("--ledger", path, "--key", key)
    assert cli("consistency", old, new, *asked).code == 0
    ran = cli("consistency", new, new, *asked)
    assert ran.code == 5
    assert "no signed head covered records 0 to 11" in " ".join(ran.out.split())
    (found,) = json.loads(cli("consistency", new, new, *asked, "--json").out)["recovered"]
    assert (found["seq"], found["first"], found["last"]) == (12, 0, 11)
    ran = cli("backup", path.with_name("copy.db"), "--ledger", path)
    assert ran.code == 0
    assert "no signed head covered records 0 to 11" in " ".join(ran.err.split())
    ran = cli("backup", path.with_name("again.db"), "--ledger", path, "--json")
    assert "records 0 to 11" in json.loads(ran.out)["recovered"][0]


def test_recover_sets_a_broken_log_aside_and_begins_a_new_one(
    cli: Cli, process: Cli, path: Path
) -> None:
    """Exit 5: usable again, and not the whole of what was there."""
    edit(path, "UPDATE record SET line = replace(line, 'eve@evil', 'bob@evil') WHERE seq = 3")
    ran = process("recover", "--ledger", path, "--yes", "--reason", "found by verify", "--json")
    assert ran.code == 5
    document = json.loads(ran.out)
    assert (document["action"], document["first_bad"], document["intact"]["size"]) == (
        "restart",
        3,
        3,
    )
    kept = min(document["done"]["set_aside"], key=len)
    assert cli("verify", "--ledger", kept).code == 1
    assert cli("verify", "--ledger", path).code == 5
    genesis = json.loads(cli("show", "0", "--ledger", path, "--json").out)["record"]
    assert genesis["predecessor"]["size"] == 3


def test_recover_where_there_is_nothing_says_so(cli: Cli, tmp_path: Path) -> None:
    """No ledger and no trace of one: could not find out, and what makes one."""
    ran = cli("recover", "--ledger", tmp_path / "none.db")
    assert ran.code == 3
    assert "guardrail init" in ran.err


def answer(path: Path, typed: str) -> tuple[int, str]:
    """Run recover on a terminal and type *typed*."""
    primary, replica = pty.openpty()
    child = subprocess.Popen(
        command("recover", "--ledger", path),
        env=environment({"NO_COLOR": "1", "TERM": "xterm"}),
        stdin=replica,
        stdout=replica,
        stderr=replica,
        start_new_session=True,
    )
    os.close(replica)
    os.write(primary, typed.encode())
    out = b""
    while True:
        try:
            part = os.read(primary, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
    os.close(primary)
    return child.wait(timeout=60), out.decode()


def test_recover_asks_on_a_terminal(cli: Cli, path: Path) -> None:
    """No changes nothing, yes does it."""
    seal(path, 11, leaf(cli, path))
    code, out = answer(path, "looked at it\nn\n")
    assert code == 1
    assert "nothing was changed" in out
    assert path.with_name("audit.db-sealed").exists()
    code, out = answer(path, "looked at it\ny\n")
    assert code == 0
    assert "Recovered: record 12" in out
