"""What ``guardrail verify`` says of each kind of finding: which record, when, and what to do next,
for people and in the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from tests.support.command_line import Cli, Ran, edit


def line_as(seq: int, change: str) -> list[str]:
    """Change a line, and the hash that is stored with it."""
    return [
        f"UPDATE record SET line = {change} WHERE seq = {seq}",
        f"UPDATE record SET leaf = leaf_of(line) WHERE seq = {seq}",
    ]


KINDS: dict[str, tuple[list[str], str, int | None]] = {
    "leaf": (
        ["UPDATE record SET line = replace(line, 'send', 'read') WHERE seq = 3"],
        "leaf",
        3,
    ),
    "missing": (["DELETE FROM record WHERE seq = 4"], "sequence", 4),
    "no record": (line_as(5, "'[]'"), "line", 5),
    "too long": (line_as(5, "'[\"' || hex(zeroblob(1000000)) || '\"]'"), "line", 5),
    "number": (line_as(5, "replace(line, '\"seq\":5', '\"seq\":6')"), "number", 5),
    "link": (line_as(5, 'replace(line, \'"ts":"2\', \'"ts":"3\')'), "prev", 6),
    "log": (line_as(5, 'replace(line, \'"log":"\', \'"log":"x\')'), "log", 5),
    "version": (line_as(5, "replace(line, '\"v\":1', '\"v\":9')"), "version", 5),
    "open call that no log has": (
        ["INSERT INTO call VALUES (1, 'c', -7, NULL, 'p', 'h', 1)"],
        "open_calls",
        None,
    ),
    "open call that is none": (
        ["INSERT INTO call VALUES (1, 'c', 3, NULL, 'p', 'h', 1)"],
        "open_calls",
        3,
    ),
    "epochs": (
        ["DELETE FROM epoch", "INSERT INTO epoch VALUES ('k', 3, 'p', 'h', 1)"],
        "epochs",
        3,
    ),
    "tree": (["INSERT INTO tile VALUES (0, 0, zeroblob(32))"], "tile", None),
    "pruned": (["INSERT INTO pruned VALUES (0, 5)"], "pruned", 1),
    "no head": (["DELETE FROM head"], "head", None),
    "row before the log": (
        ["INSERT INTO record (seq, leaf, line) VALUES (-1, zeroblob(32), '{}')"],
        "rows",
        None,
    ),
    "tile of no size": (["INSERT INTO tile VALUES (0, 7, zeroblob(33))"], "rows", None),
    "value in a table": (["UPDATE head SET note = hex(zeroblob(1000000))"], "rows", None),
    "schema": (["CREATE TABLE other (a)"], "schema", None),
    "index": (["DELETE FROM place WHERE kind = 'session'"], "index", 1),
}


def both(cli: Cli, path: Path, *args: str | Path) -> tuple[Ran, dict[str, Any]]:
    """Return what people and what programs are told; the exit code is the same."""
    shown, document = cli("verify", *args), cli("verify", *args, "--json")
    assert shown.code == document.code
    return shown, json.loads(document.out)


def names_time_and_step(shown: Ran, document: dict[str, Any]) -> None:
    """The time of a record by which one can tell when, and what to do next, in both forms."""
    assert bool(document["next"]) is (shown.code != 0)
    said = " ".join(shown.err.split())
    for step in document["next"]:
        assert f"next: {' '.join(step.split())}" in said
    time = document["first_bad_ts"] or document["last_ts"]
    assert (time is not None) is bool(document["records"])
    if time is not None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
        assert f"was written {time[:10]} {time[11:19]} UTC" in shown.out


@pytest.mark.parametrize(("statements", "differs", "seq"), KINDS.values(), ids=KINDS)
def test_each_finding_names_the_record_the_time_and_the_next_step(
    cli: Cli, path: Path, statements: list[str], differs: str, seq: int | None
) -> None:
    """If it is about no record, the words say what it is about."""
    edit(path, *statements)
    shown, document = both(cli, path, "--ledger", path)
    assert (shown.code, document["differs"], document["first_bad"]) == (1, differs, seq)
    assert document["detail"]
    where = "" if seq is None else f" at record {seq}"
    assert shown.out.splitlines()[0] == f"BROKEN{where}"
    if seq is not None and seq > 0:
        assert document["last_ts"] or document["first_bad_ts"] or not document["records"]
    names_time_and_step(shown, document)
    assert any("guardrail recover --dry-run" in step for step in document["next"])


def head(path: Path, cli: Cli, change: Callable[[Checkpoint], Checkpoint], name: str) -> Path:
    """Write a head that differs from the ledger's own, by another key, as a file anchor keeps
    it.
    """
    own = Checkpoint.parse(SignedNote.parse(cli("checkpoint", "--ledger", path).out).text)
    new = change(own)
    private = Ed25519PrivateKey.generate()
    key = NoteKey(new.origin, private.public_key().public_bytes_raw())
    note = SignedNote.sign(new.text, key, private.sign)
    line = {
        "guardrail": "head/1",
        "log": new.origin,
        "note": str(note),
        "size": new.size,
        "ts": "2026-03-01T09:30:00Z",
    }
    file = path.with_name(name)
    file.write_text(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n")
    return file


HEADS: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str, int]] = {
    "longer": (lambda own: Checkpoint(own.origin, own.size + 5, own.root), "rolled_back", 1),
    "another history": (lambda own: Checkpoint(own.origin, 4, b"r" * 32), "forked", 1),
    "another log": (lambda own: Checkpoint("other/log", own.size, own.root), "replaced", 1),
    "no key": (lambda own: own, "key_unknown", 3),
}


@pytest.mark.parametrize(("change", "state", "code"), HEADS.values(), ids=HEADS)
def test_each_head_that_the_log_contradicts_is_named_with_its_time(
    cli: Cli, path: Path, change: Callable[[Checkpoint], Checkpoint], state: str, code: int
) -> None:
    """Where it was, the last record that it covers, and since when it was there."""
    file = head(path, cli, change, "heads")
    shown, document = both(cli, path, "--ledger", path, "--checkpoint", file)
    assert (shown.code, document["state"]) == (code, state)
    against = document["against"]
    assert (against["by"], against["ts"]) == (str(file), "2026-03-01T09:30:00Z")
    assert isinstance(against["last"], int)
    assert "2026-03-01 09:30:00 UTC" in " ".join(shown.out.split())
    names_time_and_step(shown, document)


def test_each_answer_without_a_finding_names_the_next_step_too(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """Missing, torn, unreadable, not anchored, files, and a head that is none; the best answer
    needs none.
    """
    key = path.with_name("audit.keys") / "log.pub"
    kept, nonsense, torn = tmp_path / "kept", tmp_path / "nonsense", tmp_path / "torn.db"
    kept.write_text(cli("checkpoint", "--ledger", path).out)
    nonsense.write_text("nonsense")
    torn.write_bytes(path.read_bytes()[:4096])
    export = tmp_path / "a.jsonl"
    assert cli("export", "--ledger", path, "--jsonl", "-o", export).code == 0
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(export.read_bytes()[:-1])
    for args in (
        ("--ledger", path),
        ("--ledger", path, "--key", key),
        ("--ledger", path, "--checkpoint", kept),
        ("--ledger", path, "--checkpoint", kept, "--key", key),
        ("--ledger", path, "--checkpoint", nonsense),
        ("--ledger", path, "--since", "5"),
        ("--ledger", tmp_path / "none.db"),
        ("--ledger", tmp_path / "none.db", "--checkpoint", kept),
        ("--ledger", torn),
        ("--ledger", nonsense),
        ("--export", export),
        ("--export", export, "--checkpoint", kept, "--key", key),
        ("--export", cut),
        ("--export", tmp_path / "none.jsonl"),
    ):
        shown, document = both(cli, path, *args)
        names_time_and_step(shown, document)
        assert not any("--ledger" in step for step in document["next"]) or "--ledger" in args
