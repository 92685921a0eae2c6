"""Proofs, heads and keys on the command line: what is written, what is said of it, and the exit
code that goes with it.
"""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from guardrail.anchors.state import AnchorState, AnchorStates, state_path, write_state
from guardrail.core.log.checkpoint import SignedNote
from guardrail.keys.anchor_keys import WitnessKey
from guardrail.keys.log_key import Keys
from guardrail.ledger.writing.writer import LedgerWriter
from tests.support.command_line import Cli


def public(path: Path) -> Path:
    return path.with_suffix(".keys") / "log.pub"


def head(cli: Cli, path: Path, into: Path) -> Path:
    into.write_text(cli("checkpoint", "--ledger", path).out)
    return into


def grow(path: Path) -> None:
    from guardrail.core.log.record import Draft
    from tests.support.records import rejected

    signing = Keys.load(path.with_suffix(".keys")).signing(actor={"id": "x"}, epochs=True)
    with LedgerWriter.open(path, signing=signing) as writer:
        writer.append(Draft.build(rejected()))


def test_a_proof_is_written_and_checked_without_the_ledger(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """Exit 0 with the key that was kept, in whatever form; and words for what it does not prove."""
    proof = tmp_path / "proof.json"
    assert cli("prove", "3", "--ledger", path, "--out", proof).code == 0
    assert proof.stat().st_mode & 0o777 == 0o600
    key = public(path).read_text().strip()
    note_key = cli("keys", "--ledger", path).out.splitlines()[1]
    kept = tmp_path / "log.pub"
    shutil.copyfile(public(path), kept)
    path.unlink()
    for given in (key, note_key, kept):
        ran = cli("check-proof", proof, "--key", given)
        assert ran.code == 0, ran.err
        assert ran.out.startswith("PROVED\n")
        assert "record   3: call.decision" in ran.out
        assert "Not proved" in ran.out
    document = json.loads(cli("check-proof", proof, "--key", key, "--json").out)
    assert (document["verdict"], document["signed_by"], document["record"]["seq"]) == (
        "good",
        "log",
        3,
    )


def test_a_proof_on_stdout_is_the_same_proof(cli: Cli, path: Path, tmp_path: Path) -> None:
    """What a terminal would obey is escaped, and reads back as the same bytes."""
    ran = cli("prove", "5", "--ledger", path)
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    (tmp_path / "proof").write_text(ran.out)
    assert cli("check-proof", tmp_path / "proof", "--key", public(path)).code == 0


def test_a_call_id_stands_for_its_decision(cli: Cli, path: Path, tmp_path: Path) -> None:
    """As everywhere else; a session is no record."""
    shown = json.loads(cli("show", "1", "--ledger", path, "--json").out)
    proof = json.loads(cli("prove", shown["record"]["call"], "--ledger", path).out)
    assert proof["index"] == 1
    assert cli("prove", "last", "--ledger", path).code == 3
    ran = cli("prove", "99", "--ledger", path)
    assert ran.code == 3
    assert "next:" in ran.err


def test_what_is_wrong_with_a_proof_is_said(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Changed: 1; another key: 3; no proof: 3; no key: 2; nothing is overwritten."""
    proof = tmp_path / "proof.json"
    cli("prove", "3", "--ledger", path, "--out", proof)
    assert cli("prove", "3", "--ledger", path, "--out", proof).code == 2
    assert cli("check-proof", proof).code == 2
    ran = cli("check-proof", proof, "--key", Keys.ephemeral().public)
    assert (ran.code, ran.out.splitlines()[0]) == (3, "KEY UNKNOWN")
    assert cli("check-proof", proof, "--key", "nonsense").code == 3
    proof.write_text(proof.read_text().replace("eve@evil", "bob@evil"))
    ran = cli("check-proof", proof, "--key", public(path))
    assert (ran.code, ran.out.splitlines()[0]) == (1, "NOT PROVED")
    proof.write_text("{}")
    ran = cli("check-proof", proof, "--key", public(path))
    assert ran.code == 3
    assert "guardrail prove" in ran.err
    assert cli("check-proof", tmp_path / "none", "--key", public(path)).code == 3
    assert cli("check-proof", proof, "--key", public(path), "--witness", "x").code == 2


def test_without_the_log_key_a_proof_carries_the_certificate_of_a_process_key(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """Exit 5: who may read the ledger, and not the keys, can prove as well."""
    kept = tmp_path / "log.pub"
    shutil.copyfile(public(path), kept)
    grow(path)
    shutil.rmtree(path.with_suffix(".keys"))
    ran = cli("prove", "3", "--ledger", path, "--out", tmp_path / "proof")
    assert ran.code == 0
    assert "a process key" in ran.err
    ran = cli("check-proof", tmp_path / "proof", "--key", kept)
    assert ran.code == 5
    assert "a key that the log key certified" in ran.out


def test_a_proof_brings_what_witnesses_signed(cli: Cli, path: Path, tmp_path: Path) -> None:
    """As the state of the anchors has it; a witness that did not sign is named."""
    witness = WitnessKey.create(tmp_path / "w.keys", "w.example/1")
    other = WitnessKey.create(tmp_path / "v.keys", "w.example/2")
    note = SignedNote.parse(cli("checkpoint", "--ledger", path).out)
    cosigned = note.with_signatures(witness.cosign(note.text, 1_795_500_000).signatures)
    anchors = {"witness:w.example/1": AnchorState(size=12, note=str(cosigned))}
    write_state(state_path(path), AnchorStates(note.text.split("\n")[0], anchors))
    grow(path)
    assert cli("prove", "3", "--ledger", path, "--out", tmp_path / "proof").code == 0
    check = (
        "check-proof",
        tmp_path / "proof",
        "--key",
        public(path),
        "--witness",
        str(witness.key),
    )
    ran = cli(*check, "--witness", str(other.key))
    assert ran.code == 0
    assert "cosigned 2026-11-24 06:00:00 UTC by w.example/1" in ran.out
    assert "NOT cosigned by w.example/2" in ran.out
    assert json.loads(cli(*check, "--json").out)["not_cosigned"] == []
    write_state(
        state_path(path), AnchorStates(note.text.split("\n")[0], {"x": AnchorState(note="x")})
    )
    assert cli("prove", "3", "--ledger", path, "--out", tmp_path / "again").code == 0


def test_heads_are_consistent_or_forked(cli: Cli, path: Path, tmp_path: Path) -> None:
    """0 with the key, 5 without it, 1 for two histories, 2 for the wrong order, 3 where nobody can
    tell.
    """
    shutil.copytree(path.parent, tmp_path / "copy", ignore=lambda *_: ["copy"])
    old = head(cli, path, tmp_path / "old")
    grow(path)
    new = head(cli, path, tmp_path / "new")
    ledger = ("--ledger", path, "--key", public(path))
    ran = cli("consistency", old, new, *ledger)
    assert (ran.code, ran.out.splitlines()[0]) == (0, "CONSISTENT")
    ran = cli("consistency", old, new, "--ledger", path)
    assert ran.code == 5
    assert "KEY NOT PINNED" in ran.out
    assert json.loads(cli("consistency", old, new, *ledger, "--json").out)["proof"]
    assert cli("consistency", new, old, *ledger).code == 2
    fork = tmp_path / "copy" / "audit.db"
    grow(fork)
    other = head(cli, fork, tmp_path / "fork")
    grow(path)
    ran = cli("consistency", other, head(cli, path, tmp_path / "newer"), *ledger)
    assert (ran.code, ran.out.splitlines()[0]) == (1, "FORKED")
    assert cli("consistency", old, tmp_path / "newer", "--ledger", fork).code == 3
    assert (
        cli("consistency", old, new, "--ledger", path, "--key", Keys.ephemeral().public).code == 3
    )
    (tmp_path / "bad").write_text("no head")
    assert cli("consistency", old, tmp_path / "bad", *ledger).code == 3
    assert cli("consistency", tmp_path / "none", new, *ledger).code == 3


def test_the_public_key_is_shown_and_no_other(cli: Cli, path: Path) -> None:
    """As hex and as a note key; where the folder is another log's, it is refused."""
    ran = cli("keys", "--ledger", path)
    key = public(path).read_text().strip()
    assert ran.code == 0
    assert ran.out.splitlines()[0] == key
    assert "+" in ran.out.splitlines()[1]
    private = (path.with_suffix(".keys") / "log.key").read_text().splitlines()[1]
    assert private not in ran.out + ran.err
    document = json.loads(cli("keys", "--ledger", path, "--json").out)
    assert (document["public"], document["held_by"]) == (key, "folder")
    shutil.rmtree(path.with_suffix(".keys"))
    ran = cli("keys", "--ledger", path)
    assert (ran.code, ran.out.splitlines()[0]) == (0, key)
    assert "read only from the ledger" in ran.err
    Keys.create(path.with_suffix(".keys"))
    assert cli("keys", "--ledger", path).code == 3


def test_a_proof_is_made_while_a_writer_writes(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Head and hashes are of one moment, or fit each other all the same."""
    from guardrail.core.log.record import Draft
    from tests.support.records import rejected

    signing = Keys.load(path.with_suffix(".keys")).signing(actor={"id": "x"}, epochs=True)
    stop = threading.Event()
    with LedgerWriter.open(path, signing=signing) as writer:

        def write() -> None:
            while not stop.is_set():
                writer.append(Draft.build(rejected()))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for number in range(8):
                out = tmp_path / f"proof-{number}"
                ran = cli("prove", "3", "--ledger", path, "--out", out)
                assert ran.code == 0, ran.err
                assert cli("check-proof", out, "--key", public(path)).code == 0
        finally:
            stop.set()
            thread.join()


def test_an_export_comes_with_the_head_over_exactly_its_lines(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """Also while writers go on; the two are enough for any verifier."""
    import subprocess
    import sys

    from guardrail.core.log.checkpoint import Checkpoint
    from guardrail.core.log.record import Draft
    from tests.support.records import rejected

    signing = Keys.load(path.with_suffix(".keys")).signing(actor={"id": "x"}, epochs=True)
    stop = threading.Event()
    with LedgerWriter.open(path, signing=signing) as writer:

        def write() -> None:
            while not stop.is_set():
                writer.append(Draft.build(rejected()))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for number in range(5):
                lines, kept = tmp_path / f"{number}.jsonl", tmp_path / f"{number}.head"
                ran = cli("export", "--jsonl", "-o", lines, "--head", kept, "--ledger", path)
                assert ran.code == 0, ran.err
                size = Checkpoint.parse(SignedNote.parse(kept.read_bytes()).text).size
                assert lines.read_bytes().count(b"\n") == size
                verifier = Path(__file__).parents[1] / "vectors" / "verify_standalone.py"
                key = public(path).read_text().strip()
                command = [sys.executable, verifier, lines, "--head", kept, "--key", key]
                assert subprocess.run(command, check=False, timeout=60).returncode == 0
        finally:
            stop.set()
            thread.join()
    assert (
        cli("export", "--jsonl", "-o", tmp_path / "x", "--head", kept, "--ledger", path).code == 2
    )


def test_a_head_that_is_not_over_the_records_is_not_exported(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """Cut, or without a head: an error that leads to verify, and no file."""
    import sqlite3

    from guardrail.ledger.sqlite.database import SCHEMA

    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER record_no_delete")
    connection.execute("DELETE FROM record WHERE seq = 11")
    connection.execute(SCHEMA["record_no_delete"])
    connection.commit()
    connection.close()
    out, kept = tmp_path / "out", tmp_path / "head"
    ran = cli("export", "--jsonl", "-o", out, "--head", kept, "--ledger", path)
    assert ran.code == 3
    assert "guardrail verify" in ran.err
    assert not out.exists()
    assert not kept.exists()
    assert cli("export", "--jsonl", "-o", out, "--ledger", path).code == 0


@pytest.mark.parametrize(
    "content", ["no note", "a\n1\nAAAA\n\n\u2014 x y\n", "[ledger]\n\nx = 1\n"]
)
def test_a_file_that_is_no_head_and_no_proof_is_named(
    cli: Cli, path: Path, tmp_path: Path, content: str
) -> None:
    """Two files are given, and only one of them is wrong."""
    good, bad = head(cli, path, tmp_path / "good"), tmp_path / "bad"
    bad.write_text(content)
    for command in (
        ("consistency", good, bad, "--ledger", path),
        ("consistency", bad, good, "--ledger", path),
        ("check-proof", bad, "--key", public(path)),
    ):
        ran = cli(*command)
        assert ran.code == 3
        assert f"error: {bad}: " in ran.err
        assert "next:" in ran.err
        assert str(good) not in ran.err
