"""What a start leaves in the log: settings that are others than before, and policies that were refused."""

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
from guardrail.core.record import decode
from guardrail.errors import PolicyLoadError
from guardrail.ledger.reader import LedgerReader
from guardrail.opening import open_journal

ALLOW = 'package guardrail.policy\n\nallow contains "all"\n'

SIGNER = """
import sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a project with a policy and nothing else."""
    project = tmp_path / "project"
    (project / "policies").mkdir(parents=True)
    (project / "policies" / "main.rego").write_text(ALLOW)
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


def test_settings_that_are_others_than_at_the_last_start_are_recorded_before_this_one(
    settings: Settings,
) -> None:
    """By name, with the digests of both, and no value: a code of each value stands in every start."""
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
    """Its command decides who signs heads, so it counts as governing although the digest is without it."""
    start(settings)
    key = shutil.copy(settings.key_path / "log.key", tmp_path / "elsewhere")
    start(settings, keys={"signer": [sys.executable, "-c", SIGNER, str(key)]})
    [change] = changes(settings)
    assert change["changed"] == ["keys.signer"]
    assert change["digest"] == change["previous"]


def test_policies_that_are_refused_at_the_start_are_recorded(settings: Settings) -> None:
    """With the code of the refusal, and nothing that stays in force; where there is no log, none is made for it."""
    policy = settings.policy.path[0] / "main.rego"
    policy.write_text("package guardrail.policy\n\nallow contains {")
    with pytest.raises(PolicyLoadError):
        start(settings)
    assert not settings.ledger.path.exists()
    assert not settings.key_path.exists()
    policy.write_text(ALLOW)
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
