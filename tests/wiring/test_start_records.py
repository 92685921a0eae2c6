"""What a start leaves in the log: settings that are others than before, and policies that were
refused.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, PolicyLoadError
from guardrail.ledger import proved
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.review.verify import verify_ledger
from guardrail.wiring import startup
from guardrail.wiring.opening import open_journal
from tests.support.hidden_records import hidden
from tests.support.projects import ALLOW_ALL, new_project

SIGNER = """
import sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a project with a policy and nothing else."""
    project = new_project(tmp_path / "project")
    return Settings().override(
        ledger={"path": project / "audit.db"}, policy={"path": [project / "policies"]}
    )


def start(settings: Settings, **sections: Mapping[str, object]) -> None:
    """Open a guard and close it."""
    Guard.open(settings.override(**sections) if sections else settings).close()


def admin(settings: Settings) -> list[dict[str, Any]]:
    """Every record of operation but those about keys."""
    with LedgerReader.open(settings.ledger.path) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return [
        record
        for record in found
        if record["type"].startswith("admin.") and record["type"] != "admin.key_rotated"
    ]


def changes(settings: Settings) -> list[dict[str, Any]]:
    """The detail of each change of settings that is recorded."""
    return [item["detail"] for item in admin(settings) if item["type"] == "admin.config_changed"]


def test_a_start_with_the_settings_of_before_changes_nothing(settings: Settings) -> None:
    """Neither the first one, on the log that it made, nor the next."""
    start(settings)
    start(settings)
    assert [record["type"] for record in admin(settings)] == ["admin.start", "admin.stop"] * 2


def test_releasing_results_before_their_outcomes_is_a_recorded_change(settings: Settings) -> None:
    """The default is in no digest, so all digests of earlier versions stay the same."""
    assert "outcome" not in settings.governed()["ledger"]
    start(settings)
    start(settings, ledger={"outcome": "soon"})
    assert [each["changed"] for each in changes(settings)] == [["ledger.outcome"]]


def test_settings_that_are_others_than_at_the_last_start_are_recorded_before_this_one(
    settings: Settings,
) -> None:
    """By name, with the digests of both, and no value: a code of each value stands in every
    start.
    """
    start(settings)
    start(
        settings,
        policy={"deadline_ms": 2718},
        identity={"tenant": "a-name-of-its-own"},
    )
    start(settings)
    records = admin(settings)
    assert [record["type"] for record in records] == [
        "admin.start",
        "admin.stop",
        "admin.config_changed",
        "admin.start",
        "admin.stop",
        "admin.config_changed",
        "admin.start",
        "admin.stop",
    ]
    there, back = changes(settings)
    assert there["changed"] == back["changed"] == ["identity.tenant", "policy.deadline_ms"]
    assert (there["previous"], there["digest"]) == (back["digest"], back["previous"])
    assert records[3]["detail"]["config"] == there["digest"] != there["previous"]
    assert "a-name-of-its-own" not in str(records)
    # as a whole word: a digest may hold the digits
    assert not re.search(r"\b2718\b", str([record["detail"] for record in records]))


def test_settings_that_come_into_force_or_go_are_named(settings: Settings, tmp_path: Path) -> None:
    """A limit on the lag of anchors counts only where it is set."""
    (tmp_path / "elsewhere").mkdir()
    kept = {"file": tmp_path / "elsewhere" / "heads"}
    start(settings, anchors=kept)
    start(settings, anchors={**kept, "max_lag_records": 1_000_000})
    assert changes(settings)[0]["changed"] == ["anchors.max_lag_records", "anchors.max_lag_s"]


def test_settings_that_are_others_than_those_of_the_genesis_are_recorded_at_the_first_start(
    settings: Settings,
) -> None:
    """Which ones is not known: the genesis has their digest alone."""
    open_journal(settings, epochs=False)[0].close()
    start(settings, policy={"workers": 2})
    [change] = changes(settings)
    assert change["changed"] is None
    assert change["previous"] == settings.digest()


def test_a_log_key_that_moves_to_a_signer_is_recorded(settings: Settings, tmp_path: Path) -> None:
    """Its command decides who signs heads, so it counts as governing although the digest is without
    it.
    """
    start(settings)
    key = shutil.copy(settings.key_path / "log.key", tmp_path / "elsewhere")
    start(settings, keys={"signer": [sys.executable, "-c", SIGNER, str(key)]})
    [change] = changes(settings)
    assert change["changed"] == ["keys.signer"]
    assert change["digest"] == change["previous"]


def test_policies_that_are_refused_at_the_start_are_recorded(settings: Settings) -> None:
    """With the code of the refusal, and nothing that stays in force; where there is no log, none is
    made for it.
    """
    policy = settings.policy.path[0] / "main.rego"
    policy.write_text("package guardrail.policy\n\nallow contains {")
    with pytest.raises(PolicyLoadError):
        start(settings)
    assert not settings.ledger.path.exists()
    assert not settings.key_path.exists()
    policy.write_text(ALLOW_ALL)
    start(settings)
    policy.write_text("package guardrail.policy\n\nallow contains {")
    with pytest.raises(PolicyLoadError) as caught:
        start(settings)
    last = admin(settings)[-1]
    assert last["type"] == "admin.policy_refused"
    assert last["detail"] == {"code": caught.value.code, "kept": None}


def test_policies_that_are_refused_are_so_although_that_cannot_be_recorded(
    settings: Settings,
) -> None:
    """The reason that is raised is the policy's."""
    start(settings)
    (settings.policy.path[0] / "main.rego").write_text(
        "package guardrail.policy\n\nallow contains {"
    )
    shutil.rmtree(settings.key_path)
    with pytest.raises(PolicyLoadError):
        start(settings)


# -- a start that somebody hides for a moment
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("newest", ["1", "-1"])
def test_a_start_that_is_hidden_for_a_moment_hides_no_change_of_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, newest: str
) -> None:
    """No older start is taken for the last one, and no log for one without a start."""
    start(settings)
    start(settings, policy={"deadline_ms": 2718})
    real = startup.last_start

    newest_starts = f"type = 'admin.start' ORDER BY seq DESC LIMIT {newest}"

    def tricked(path: Path, proofs: Any) -> Any:
        with hidden(path, newest_starts, '"type":"admin.start"', '"type":"admin.hidde"'):
            return real(path, proofs)

    monkeypatch.setattr(startup, "last_start", tricked)
    with pytest.raises(LedgerError) as caught:
        start(settings)
    assert caught.value.code == "ledger.unproved"
    monkeypatch.undo()
    start(settings)
    assert len(changes(settings)) == 2
    assert verify_ledger(settings.ledger.path).exit_code == 5


def test_nor_does_one_that_only_the_index_lacks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lines are what they were."""
    start(settings)
    start(settings)
    oldest = lambda storage, type_: storage.admin(type_)[0]
    monkeypatch.setattr(SQLiteStorage, "last_admin", oldest)
    with pytest.raises(LedgerError) as caught:
        start(settings)
    assert caught.value.code == "ledger.unproved"


def test_guards_that_start_at_once_are_compared_with_each_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the start before it in the log, whichever it looked at first."""
    start(settings)
    real, others = startup.last_start, [2718, 3141]

    def meanwhile(path: Path, proofs: Any) -> Any:
        found = real(path, proofs)
        if others:
            deadline = others.pop()
            monkeypatch.setattr(startup, "last_start", real)
            start(settings, policy={"deadline_ms": deadline})
            monkeypatch.setattr(startup, "last_start", meanwhile)
        return found

    monkeypatch.setattr(startup, "last_start", meanwhile)
    start(settings)
    assert [record["type"] for record in admin(settings) if "stop" not in record["type"]] == [
        "admin.start",
        *("admin.config_changed", "admin.start") * 2,
        "admin.config_changed",  # between the look and the start, another guard started
        "admin.config_changed",
        "admin.start",
    ]
    assert verify_ledger(settings.ledger.path).exit_code == 5


def test_a_guard_gives_up_where_others_start_all_the_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not start without saying what changed."""
    start(settings)
    real = startup.last_start

    def always(path: Path, proofs: Any) -> Any:
        found = real(path, proofs)
        monkeypatch.setattr(startup, "last_start", real)
        start(settings)
        monkeypatch.setattr(startup, "last_start", always)
        return found

    monkeypatch.setattr(startup, "TRIES", 2)
    monkeypatch.setattr(startup, "last_start", always)
    with pytest.raises(LedgerError) as caught:
        start(settings)
    assert caught.value.code == "ledger.start_taken"


def test_a_start_far_back_is_taken_as_it_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More lines than a start may take to read are left to ``verify``."""
    start(settings)
    monkeypatch.setattr(proved, "LONGEST_GAP", -1)
    start(settings, policy={"deadline_ms": 2718})
    assert len(changes(settings)) == 1
