"""Stale stored hashes, played against every command that reads a ledger: none of them takes these
for the records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardrail.core.log.checkpoint import SignedNote
from guardrail.errors import GuardrailError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance.backup import backup
from guardrail.ledger.maintenance.recovery_plan import inspect
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.deletion_evidence import survey, vouched
from guardrail.review.proofs import compare_heads, make_proof
from guardrail.review.verify import VerifyReport, parts, verify_export, verify_ledger
from tests.support.attacks import (
    KEY,
    KEYS,
    SIGNING,
    Attack,
    Attacker,
    Kept,
    Scene,
    edit_stale_hashes,
    next_head_refused,
    played,
    scene,
    verified,
)

PAGE = Path(__file__).parents[2] / "docs" / "threat-model.md"
BEGIN, END = "<!-- readers: generated -->", "<!-- readers: end -->"
STALE = Attack("stale stored hashes", edit_stale_hashes)


def said(report: VerifyReport) -> str:
    return report.state.value if report.exit_code == 1 else "not found"


def refused(act: Callable[[], object]) -> str:
    try:
        act()
    except GuardrailError as error:
        return error.code
    return "not found"


def of_jobs(db: Path, made: Scene) -> str:
    return said(verify_ledger(db, key=KEYS.public, heads=[made.heads[Kept.WITNESS]], jobs=2))


def of_since(db: Path, made: Scene) -> str:
    head = made.heads[Kept.WITNESS]
    return said(verify_ledger(db, key=KEYS.public, heads=[head], since=made.anchored - 2))


def of_export(db: Path, made: Scene) -> str:
    export = db.with_name("a.jsonl")
    with LedgerReader.open(db) as reader:
        export.write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines()))
    return said(verify_export(export, key=KEYS.public, heads=[made.heads[Kept.WITNESS]]))


def of_recover(db: Path, made: Scene) -> str:
    plan = inspect(db, signing=SIGNING, verify=verify_signature)
    return "reported and rebuilt" if "tile" in plan.caches else "not found"


def of_backup(db: Path, made: Scene) -> str:
    def check(copy: Path) -> str:
        return said(verify_ledger(copy))

    return refused(lambda: backup(db, db.with_name(f"copy-{os.getpid()}.db"), check=check))


def of_prove(db: Path, made: Scene) -> str:
    note = made.heads[Kept.WITNESS].note
    assert note is not None
    with LedgerReader.open(db) as reader:
        return refused(lambda: make_proof(reader, made.anchored - 1, note))


def of_consistency(db: Path, made: Scene) -> str:
    kept = made.heads[Kept.WITNESS].note
    assert kept is not None
    with LedgerReader.open(db) as reader:
        row = reader.storage.head()
        assert row is not None
        return str(compare_heads(kept, SignedNote.parse(row.note), reader, KEY).relation)


def of_prune(db: Path, made: Scene) -> str:
    head = made.heads[Kept.WITNESS].head
    assert head is not None
    return refused(lambda: vouched(survey(db, SIGNING, {head.size}), [head], 100))


@dataclass(frozen=True, slots=True)
class Reader:
    """A command that reads the ledger, and what it says to each attacker's work."""

    name: str
    ask: Callable[[Path, Scene], str]
    outsider: str
    insider: str


READERS = (
    Reader(
        "`verify`", lambda db, made: said(verified(db, Kept.WITNESS, made)), "tampered", "tampered"
    ),
    Reader("`verify --jobs`", of_jobs, "tampered", "tampered"),
    Reader("`verify --since`", of_since, "tampered", "tampered"),
    Reader("`verify --export` (an export holds only lines)", of_export, "forked", "forked"),
    Reader("`recover`", of_recover, "reported and rebuilt", "reported and rebuilt"),
    Reader("`backup`", of_backup, "ledger.damaged", "ledger.damaged"),
    Reader("`prove`, against an external checkpoint", of_prove, "ledger.proof", "ledger.proof"),
    Reader(
        "`consistency`, with an external checkpoint and the ledger's head",
        of_consistency,
        "not_here",
        "forked",
    ),
    Reader("`prune`", of_prune, "retention.not_whole", "retention.not_whole"),
    Reader(
        "a guard that sends its next head to an anchor",
        next_head_refused,
        "ledger.head",
        "anchor.conflict",
    ),
)


def table() -> str:
    """Return the table as it stands in docs/threat-model.md."""
    lines = ["| reader | without a key | with the keys |", "|---|---|---|"]
    lines += [f"| {each.name} | **{each.outsider}** | **{each.insider}** |" for each in READERS]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One past."""
    with scene(tmp_path_factory.mktemp("scene")) as ready:
        yield ready


@pytest.fixture(scope="module")
def forged(made: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[Attacker, Path]:
    """The attack, played by each attacker."""
    return {each: played(STALE, each, made, tmp_path_factory.mktemp("forged")) for each in Attacker}


@pytest.mark.parametrize("attacker", Attacker)
@pytest.mark.parametrize("reader", READERS, ids=[each.name for each in READERS])
def test_no_reader_takes_stale_hashes_for_the_records(
    made: Scene,
    forged: dict[Attacker, Path],
    reader: Reader,
    attacker: Attacker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each says in its own way that something is wrong."""
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    wanted = reader.outsider if attacker is Attacker.OUTSIDER else reader.insider
    assert reader.ask(forged[attacker], made) == wanted


def test_the_table_of_readers_in_the_threat_model_is_what_was_played() -> None:
    """Every cell of it has a test above."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table().strip()
