"""Who holds an effect key is proved from every line of the log; no row has the fact."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.core.log.effects import EffectStep, KeyHolder
from guardrail.core.log.record import Draft
from guardrail.errors import Denied, LedgerError
from guardrail.ledger.effects import EFFECT_BEHIND, EFFECT_HELD, EffectKeys
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.system.ids import new_ulid
from tests.support.command_line import edit
from tests.support.guards import PAYMENT, Body, guarded, lines, records
from tests.support.ledgers import common
from tests.support.retention import (
    LOG,
    SIGNING,
    build,
    head,
    intact,
    noted,
    open_manager,
    reopen,
)
from tests.wiring.test_token_rotation import rotate


def pay(folder: Path, invoice: int) -> str:
    """Pay *invoice* in a new process of the guard; return the code of its denial, or nothing."""
    with guarded(folder) as guard:
        guard.declare("pay", schema=PAYMENT, effect_key=["/invoice"])
        try:
            guard.call("pay", {"invoice": invoice}, Body())
        except Denied as error:
            return error.code
    return ""


def test_deleted_rows_free_no_key(tmp_path: Path) -> None:
    """The tables ``call`` and ``place`` have no part in it."""
    assert pay(tmp_path, 1) == ""
    edit(tmp_path / "audit.db", "DELETE FROM place", "DELETE FROM call")
    assert pay(tmp_path, 1) == "denied.effect"


HIDE = "replace(line, '\"effect\":{', '\"effexx\":{')"


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE record SET line = {HIDE} WHERE seq = 2",
        f"UPDATE record SET line = {HIDE}, leaf = leaf_of({HIDE}) WHERE seq = 2",
        "DELETE FROM record WHERE seq = 2",
    ],
)
def test_a_changed_line_is_found_before_a_decision_relies_on_it(
    tmp_path: Path, change: str
) -> None:
    """The ledger is sealed, and the body does not run."""
    body = Body()
    assert pay(tmp_path, 0) == ""
    (seq, *_) = [each["seq"] for each in records(tmp_path / "audit.db") if "effect" in each]
    with guarded(tmp_path) as guard:
        guard.declare("pay", schema=PAYMENT, effect_key=["/invoice"])
        edit(tmp_path / "audit.db", change.replace("seq = 2", f"seq = {seq}"))
        with pytest.raises(LedgerError):
            guard.call("pay", {"invoice": 0}, body)
    assert body.runs == 0
    assert verify_ledger(tmp_path / "audit.db").state is VerifyState.TAMPERED


def test_a_new_key_for_tokens_frees_no_key(tmp_path: Path) -> None:
    """Effect keys are made like the tokens of ids, whose key is not replaced."""
    assert pay(tmp_path, 1) == ""
    rotate(tmp_path)
    assert pay(tmp_path, 1) == "denied.effect"
    first, second = records(tmp_path / "audit.db", "call.decision")
    assert first["effect"] == second["effect"]
    assert first["redaction"]["key"] != second["redaction"]["key"]


def holder(db: Path, step: EffectStep, keys: EffectKeys) -> KeyHolder | None:
    with LedgerReader.open(db) as reader:
        return ProvedReader(reader, Proofs(SIGNING, LOG)).effect_holder(step, keys)


def taken(writer: LedgerWriter, key: str) -> int:
    """Write a call that takes *key* and ends; return the number of its decision."""
    call = new_ulid()
    record = {**common("call.decision", call, writer.process), "log": LOG, "effect": {"key": key}}
    record |= {"decision": {"effect": "allow", "cause": "policy"}, "commitment": "c"}
    seq = writer.append(Draft.build(record, opens=True, process=writer.process)).seq
    ended = {**common("call.outcome", call, writer.process), "log": LOG, "decision_seq": seq}
    writer.append(Draft.build({**ended, "status": "ok", "error": None}))
    return seq


def test_pruning_repeats_the_keys_of_old_calls(tmp_path: Path) -> None:
    """A process that starts afterwards knows them, too; a key that was taken later has a line."""
    db = tmp_path / "audit.db"
    build(db, 20)
    old, new = EffectStep("OLD"), EffectStep("NEW")
    with reopen(db) as writer:
        assert holder(db, old, writer.effects) is None
        first = taken(writer, "OLD")
        writer.append(noted("later"))
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    kept = head(db)
    with open_manager(db, days=401) as manager:
        assert manager.prune(why=None, given=[kept]).before > first
    found = holder(db, old, EffectKeys())
    assert found is not None
    assert (found.seq, found.state) == (first, "ok")
    assert holder(db, new, EffectKeys()) is None
    assert intact(db, kept)


def test_a_writer_that_does_not_know_the_keys_writes_no_decision(tmp_path: Path) -> None:
    """Nor one whose knowledge is old: the caller must look again first."""
    db = tmp_path / "audit.db"
    build(db, 20)
    with reopen(db) as writer:
        with pytest.raises(LedgerError) as caught:
            taken(writer, "A")
        assert caught.value.code == EFFECT_BEHIND
        assert holder(db, EffectStep("A"), writer.effects) is None
        with reopen(db) as other:
            holder(db, EffectStep("A"), other.effects)
            taken(other, "A")
        with pytest.raises(LedgerError) as caught:
            taken(writer, "A")
        assert caught.value.code == EFFECT_HELD
        taken(writer, "B")
        with reopen(db) as other:
            for number in range(1_100):
                other.submit(noted(f"{number}"))
            other.append(noted("last"))
        with pytest.raises(LedgerError) as caught:
            taken(writer, "C")
        assert caught.value.code == EFFECT_BEHIND


def test_verify_finds_two_calls_with_one_key(tmp_path: Path) -> None:
    """Whoever has the keys of the log could write them."""
    assert pay(tmp_path, 1) == ""
    before = len(lines(tmp_path / "audit.db"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guardrail.core.log.effects.HeldKeys.blocking", lambda *_: None)
        assert pay(tmp_path, 1) == ""
    report = verify_ledger(tmp_path / "audit.db")
    assert report.state is VerifyState.TAMPERED
    assert "effect key" in str(report)
    assert len(lines(tmp_path / "audit.db")) > before
