"""What doctor says about the log of who reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.access_log.log import PlannedRead, record_read
from guardrail.config import Settings
from guardrail.keys.log_key import Keys
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.doctor.access import access_log
from guardrail.review.doctor.result import CheckState


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a ledger with its first record alone."""
    found = Settings().override(ledger={"path": tmp_path / "audit.db"})
    keys = Keys.create(found.key_path)
    genesis = {
        "profile": "sha256-json-lines/1",
        "nonce": "0" * 32,
        "key": {"type": "ed25519", "public": keys.public},
        "config": {"digest": "0" * 64},
        "predecessor": None,
    }
    signing = keys.signing(actor={"id": "t"}, epochs=False)
    LedgerWriter.create(found.ledger.path, log="l", genesis=genesis, signing=signing).close()
    return found


def test_an_access_log_that_readers_can_write_is_well(settings: Settings) -> None:
    """Before the first reading and after it."""
    assert access_log(settings).state is CheckState.OK
    record_read(settings, PlannedRead("show"))
    check = access_log(settings)
    assert check.state is CheckState.OK
    assert "2 records" in check.found


@pytest.mark.parametrize(
    ("required", "state"),
    [(False, CheckState.NOTE), (True, CheckState.FAIL)],
    ids=["optional", "required"],
)
def test_what_keeps_readers_out_is_said_with_its_fix(
    settings: Settings, required: bool, state: CheckState
) -> None:
    """No folder, exposed keys, a seal: a failure where every reading is to be recorded, else a
    note.
    """
    settings = settings.override(access={"required": required})
    away = settings.override(access={"path": settings.ledger.path / "no" / "a.db"})
    check = access_log(away)
    assert (check.state, bool(check.fix)) == (state, True)
    record_read(settings, PlannedRead("show"))
    settings.access_key_path.chmod(0o755)
    check = access_log(settings)
    assert (check.state, check.fix) == (state, f"chmod 700 {settings.access_key_path}")
    settings.access_key_path.chmod(0o700)
    seal = {"log": "l", "last_seq": 1, "last_leaf": "", "why": "because", "when": "", "genesis": {}}
    settings.access_path.with_name("audit.access.db-sealed").write_text(json.dumps(seal))
    check = access_log(settings)
    assert check.state is state
    assert check.fix == f"guardrail recover --ledger {settings.access_path}"
