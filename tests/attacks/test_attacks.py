"""P5, played: every attack by either attacker against whatever was kept elsewhere, and the table of
it in the threat model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.core.log.chain import Difference
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.ledger.heads import HeadKey, Signing
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import OutsideHead, VerifyState, verify_ledger
from tests.support.attacks import (
    ATTACKS,
    BEGIN,
    END,
    EXPECTED,
    KEYS,
    LOG,
    MISSED,
    SIGNING,
    Attack,
    Attacker,
    Forgery,
    Kept,
    Scene,
    next_head_refused,
    played,
    reorder,
    scene,
    table,
    verified,
)
from tests.support.ledgers import ACTOR, EPOCHS, FAST, make, note, whole_call

PAGE = Path(__file__).parents[2] / "docs" / "threat-model.md"
PAIRS = [(attack, attacker) for attack in ATTACKS for attacker in Attacker]


def named(pair: tuple[Attack, Attacker]) -> str:
    return f"{pair[0].name}-{pair[1].name.lower()}"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One past for all attacks."""
    with scene(tmp_path_factory.mktemp("scene")) as ready:
        yield ready


@pytest.fixture(scope="session")
def forged(made: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every attack, played once by each attacker."""
    return {named(pair): played(*pair, made, tmp_path_factory.mktemp("forged")) for pair in PAIRS}


@pytest.mark.parametrize("kept", Kept)
def test_what_was_not_attacked_is_intact(made: Scene, kept: Kept, tmp_path: Path) -> None:
    """Else finding attacks would mean nothing."""
    db = tmp_path / "a.db"
    shutil.copyfile(made.copy("now"), db)
    report = verified(db, kept, made)
    anchored = kept in (Kept.FILE, Kept.WITNESS)
    assert report.exit_code == (0 if anchored else 5)
    assert report.anchored_to == (made.anchored - 1 if anchored else None)
    assert next_head_refused(db, made) == ""


@pytest.mark.parametrize("kept", Kept)
@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_an_attack_is_found_or_said_not_to_be(
    made: Scene, forged: dict[str, Path], pair: tuple[Attack, Attacker], kept: Kept
) -> None:
    """Exit code 1 with its state; where it can't be found, never more than what was kept can
    show.
    """
    report = verified(forged[named(pair)], kept, made)
    found = report.state.value if report.exit_code == 1 else MISSED
    attack, attacker = pair
    assert found == EXPECTED[attack.name, attacker][list(Kept).index(kept)]
    if kept in (Kept.NOTHING, Kept.PUBLIC_KEY):
        assert report.exit_code != 0, "without a head from elsewhere nothing is called anchored"
    if found == MISSED and report.exit_code == 0:
        assert report.anchored_to == made.anchored - 1
        assert any("came after the external head" in line for line in report.not_proved) or (
            report.last_seq == report.anchored_to
        )


@pytest.mark.parametrize("kept", [Kept.FILE, Kept.WITNESS])
def test_every_attack_on_covered_records_is_found(kept: Kept) -> None:
    """The promise: whoever the attacker is, and whatever keys they hold."""
    place = list(Kept).index(kept)
    missed = [
        named(pair)
        for pair in PAIRS
        if pair[0].covered and EXPECTED[pair[0].name, pair[1]][place] == MISSED
    ]
    assert missed == []


def test_without_a_key_nothing_can_be_added_or_changed_unseen() -> None:
    """Not even behind the covered records, and with nothing but the public key kept: only taking
    away is left.
    """
    place = list(Kept).index(Kept.PUBLIC_KEY)
    missed = {
        attack.name
        for attack in ATTACKS
        if EXPECTED[attack.name, Attacker.OUTSIDER][place] == MISSED
    }
    assert missed == {"truncate", "truncate_in_lag", "roll_back", "fork", "delete_all"}


@pytest.mark.parametrize(
    "pair",
    [pair for pair in PAIRS if "not found" not in EXPECTED[pair[0].name, pair[1]][2:]],
    ids=named,
)
def test_a_changed_history_gets_no_further_head_to_an_anchor(
    made: Scene, forged: dict[str, Path], pair: tuple[Attack, Attacker]
) -> None:
    """An honest guard that goes on with it is told: before anybody runs verify. Hashes left as they
    are need verify.
    """
    why = next_head_refused(forged[named(pair)], made)
    if pair[0].name in ("edit", "delete", "remove_places"):
        assert why == ""
    else:
        assert why in (
            "anchor.conflict",
            "ledger.head",
            "ledger.missing",
            "ledger.rows",
            "ledger.schema",
        )


@pytest.mark.parametrize("attacker", Attacker)
def test_records_that_change_places_with_their_hashes_are_found_by_the_chain(
    made: Scene, attacker: Attacker, tmp_path: Path
) -> None:
    """The naive way, which the table leaves out: it needs nothing from elsewhere."""
    db = played(Attack("reorder", reorder), attacker, made, tmp_path)
    assert verified(db, Kept.NOTHING, made).state is VerifyState.TAMPERED


class Watched:
    """Signs as writers do, and keeps the keys of their processes: what a debugger would find in
    memory.
    """

    public, actor = EPOCHS.public, EPOCHS.actor

    def __init__(self) -> None:
        self.seen: list[HeadKey] = []

    def log_key(self, log: str) -> HeadKey:
        return EPOCHS.log_key(log)

    def epoch_key(self, log: str, first: int) -> HeadKey | None:
        made = EPOCHS.epoch_key(log, first)
        assert made is not None
        self.seen.append(made)
        return made

    def mac(self, message: bytes) -> bytes:
        return EPOCHS.mac(message)


class Stolen:
    """Signs with one key that was stolen from a process, and with nothing else."""

    public, actor = EPOCHS.public, ACTOR

    def __init__(self, key: HeadKey) -> None:
        self._key = key

    def log_key(self, log: str) -> HeadKey:
        return self._key

    def epoch_key(self, log: str, first: int) -> None:
        return None

    def mac(self, message: bytes) -> bytes:
        return EPOCHS.mac(message)


@pytest.mark.parametrize("ended", [False, True])
def test_a_key_stolen_from_a_process_signs_until_its_end_is_recorded(
    tmp_path: Path, ended: bool
) -> None:
    """The log key is needed to sign for longer; what the key signed before others kept a head stays
    as it is.
    """
    db = tmp_path / "a.db"
    watched = Watched()
    signing: Signing = watched
    with make(db, signing=signing) as writer:
        whole_call(writer)
        writer.append(note())
    if not ended:
        # As if the process were still there: its last record, which ends the key, is not written
        # yet.
        forged = Forgery(db, Scene(tmp_path), Stolen(watched.seen[0]))  # type: ignore[arg-type]
        forged.rewrite([each for each in forged.records() if not _ends(each)])
        assert verify_ledger(db, key=KEYS.public).state is VerifyState.NOT_ANCHORED
    forged = Forgery(db, Scene(tmp_path), Stolen(watched.seen[0]))  # type: ignore[arg-type]
    found = forged.records()
    forged.rewrite([*found, {**found[-1], **_harmless(found)}], since=len(found))
    report = verify_ledger(db, key=KEYS.public)
    if ended:
        assert (report.state, report.differs) == (VerifyState.TAMPERED, Difference.HEAD)
        assert "no valid signature by a key" in report.detail
    else:
        assert report.state is VerifyState.NOT_ANCHORED, report


def _ends(record: dict[str, object]) -> bool:
    detail = record.get("detail")
    return isinstance(detail, dict) and bool(detail.get("ended"))


def _harmless(records: list[dict[str, object]]) -> dict[str, object]:
    return {"type": "admin.note", "seq": -1, "detail": {}}


def test_a_witness_refuses_a_fork_that_the_keys_signed(made: Scene, tmp_path: Path) -> None:
    """409: two histories under one key never get a second cosignature."""
    from guardrail.anchoring import LedgerHeads
    from guardrail.errors import AnchorError
    from tests.support.attacks import fork, witness_anchor

    db = played(Attack("fork", fork), Attacker.INSIDER, made, tmp_path)
    heads = LedgerHeads(db, LOG, SIGNING)
    with pytest.raises(AnchorError) as refused:
        witness_anchor(made).publish(heads.head(), heads.prove, made.heads[Kept.WITNESS].head)
    assert refused.value.code == "anchor.conflict"


def test_records_that_are_deleted_as_if_they_had_been_pruned_are_found(
    made: Scene, tmp_path: Path
) -> None:
    """Only a record under a signed head makes a gap a pruned one."""
    db = tmp_path / "a.db"
    shutil.copyfile(made.copy("now"), db)
    Forgery(db, made, None).naively(
        "DELETE FROM record WHERE seq > 0 AND seq < 100", "INSERT INTO pruned VALUES (0, 100)"
    )
    report = verified(db, Kept.NOTHING, made)
    assert (report.state, report.differs, report.first_bad) == (
        VerifyState.TAMPERED,
        Difference.PRUNED,
        1,
    )


def test_who_has_the_keys_can_prune_and_it_shows(made: Scene, tmp_path: Path) -> None:
    """What was deleted is said in a record; what it held can't be made to say something else."""
    from guardrail.core.log import fields
    from guardrail.core.log.record import Draft
    from guardrail.ledger.maintenance.prune import PruneCut, detail, prune

    db = tmp_path / "a.db"
    shutil.copyfile(made.copy("now"), db)

    def record(log: str, cut: PruneCut) -> Draft:
        about = detail(cut, {"retention_days": 1, "floor_days": 1})
        return Draft.build(fields.admin(log, "pruned", actor=ACTOR, where={}, detail=about))

    prune(db, 100, signing=SIGNING, allow=lambda _: None, record=record)
    report = verified(db, Kept.WITNESS, made)
    assert (report.exit_code, report.pruned_before) == (0, 100)
    assert any("pruned" in line for line in report.not_proved)


def test_a_head_in_reach_of_the_attacker_is_no_head_elsewhere(made: Scene, tmp_path: Path) -> None:
    """Who has the keys and the anchor file makes both anew: nothing shows, and the threat model
    says so.
    """
    from tests.support.attacks import edit_rechained

    db = played(Attack("edit", edit_rechained), Attacker.INSIDER, made, tmp_path)
    head = verify_ledger(db).note
    kept = OutsideHead(
        "a file of the same user",
        SignedNote.parse(head),
        Checkpoint.parse(SignedNote.parse(head).text),
    )
    assert verify_ledger(db, key=KEYS.public, heads=[kept]).exit_code == 0


def test_an_honest_writer_never_signs_over_a_forged_end(
    made: Scene, forged: dict[str, Path]
) -> None:
    """It opens no ledger whose head was not written by a holder of the keys: a forged record is
    never made good.
    """
    from guardrail.errors import LedgerError

    db = forged["append-outsider"]
    copy = db.with_name("copy.db")
    shutil.copyfile(db, copy)
    with pytest.raises(LedgerError) as refused:
        LedgerWriter.open(copy, signing=SIGNING, settings=FAST)
    assert refused.value.code == "ledger.sealed"


@pytest.mark.parametrize("attacker", Attacker)
@pytest.mark.parametrize("name", ["plant_rows", "plant_trigger", "plant_view"])
def test_no_reader_and_no_writer_takes_what_was_planted(
    made: Scene, forged: dict[str, Path], name: str, attacker: Attacker, tmp_path: Path
) -> None:
    """Readers, backups, recovery and writers find it as verify does, whoever put it there."""
    from guardrail.errors import LedgerError
    from guardrail.ledger.maintenance.backup import backup
    from guardrail.ledger.maintenance.recovery_plan import Action, inspect
    from guardrail.ledger.reader import LedgerReader

    db = tmp_path / "a.db"
    shutil.copyfile(forged[f"{name}-{attacker.name.lower()}"], db)
    codes = ("ledger.schema", "ledger.rows", "ledger.sealed")
    for use in (
        lambda: LedgerReader.open(db),
        lambda: backup(db, tmp_path / "copy.db", check=lambda _: ""),
        lambda: LedgerWriter.open(db, signing=SIGNING, settings=FAST),
    ):
        with pytest.raises(LedgerError) as refused:
            use()
        assert refused.value.code in codes
    assert inspect(db, signing=SIGNING).action is not Action.NOTHING


def test_the_table_in_the_threat_model_is_what_was_played() -> None:
    """Every cell of it has a test above."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table(EXPECTED).strip()
