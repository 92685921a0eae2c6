"""What a start leaves in the log: settings that are others than before, and policies that were
refused.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.call.journal import Journal
from guardrail.config import Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.core.log.record import decode, dumps
from guardrail.core.redaction.marks import is_mark
from guardrail.errors import LedgerError, PolicyLoadError
from guardrail.keys.log_key import Keys
from guardrail.ledger import proved
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.review.verify import verify_ledger
from guardrail.wiring import startup
from guardrail.wiring.opening import open_journal
from guardrail.wiring.recorded_settings import MAX_VALUE, recorded_values
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


def every_line(settings: Settings) -> list[bytes]:
    """The lines of the ledger, which nothing proves."""
    with LedgerReader.open(settings.ledger.path) as reader:
        return [line for _, _, line in reader.lines()]


def admin(settings: Settings) -> list[dict[str, Any]]:
    """Every record of operation but those about keys."""
    found = list(map(decode, every_line(settings)))
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
    """By name and with both values, and with the digests of both."""
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
    assert there["changes"] == [
        {
            "name": "identity.tenant",
            "old": {"value": "default"},
            "new": {"value": "a-name-of-its-own"},
        },
        {"name": "policy.deadline_ms", "old": {"value": 1000}, "new": {"value": 2718}},
    ]
    assert back["changes"] == [
        {"name": each["name"], "old": each["new"], "new": each["old"]} for each in there["changes"]
    ]
    assert (there["since"], back["since"]) == (records[0]["seq"], records[3]["seq"])
    assert [item["detail"]["since"] for item in records if item["type"] == "admin.start"] == [
        None,
        records[0]["seq"],
        records[3]["seq"],
    ]


def test_settings_that_come_into_force_or_go_are_named(settings: Settings, tmp_path: Path) -> None:
    """A limit on the lag of anchors counts only where it is set."""
    (tmp_path / "elsewhere").mkdir()
    kept = {"file": tmp_path / "elsewhere" / "heads"}
    start(settings, anchors=kept)
    start(settings, anchors={**kept, "max_lag_records": 1_000_000})
    start(settings, anchors=kept)
    there, back = changes(settings)
    assert there["changed"] == ["anchors.max_lag_records", "anchors.max_lag_s"]
    absent = {"absent": "not_in_force"}
    assert there["changes"] == [
        {"name": "anchors.max_lag_records", "old": absent, "new": {"value": 1_000_000}},
        {"name": "anchors.max_lag_s", "old": absent, "new": {"value": 0}},
    ]
    assert [each["new"] for each in back["changes"]] == [absent, absent]


def test_settings_that_are_others_than_those_of_the_genesis_are_recorded_at_the_first_start(
    settings: Settings,
) -> None:
    """Which ones is not known: the genesis has their digest alone."""
    open_journal(settings, epochs=False)[0].close()
    start(settings, policy={"workers": 2})
    [change] = changes(settings)
    assert (change["changed"], change["changes"], change["since"]) == (None, None, None)
    assert change["previous"] == settings.digest(Keys.load(settings.key_path).tenant("default"))


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
    [signer] = change["changes"]
    assert signer["old"] == {"value": []}
    program, *arguments = signer["new"]["value"]
    assert program == sys.executable
    assert len(arguments) == 3
    assert all(map(is_mark, arguments))
    assert str(key) not in str(admin(settings))


def test_the_old_values_of_an_earlier_version_s_start_are_said_not_to_be_recorded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its codes still show which settings changed."""
    real = Journal.admin

    def without_values(self: Journal, type_: str, detail: Mapping[str, Any], **rest: Any) -> Any:
        return real(self, type_, {k: v for k, v in detail.items() if k != "values"}, **rest)

    monkeypatch.setattr(Journal, "admin", without_values)
    start(settings)
    monkeypatch.undo()
    start(settings, policy={"deadline_ms": 2718}, tools={"unknown_arguments": "refuse"})
    [change] = changes(settings)
    assert change["changes"] == [
        {
            "name": "policy.deadline_ms",
            "old": {"absent": "not_recorded"},
            "new": {"value": 2718},
        },
        {
            "name": "tools.unknown_arguments",
            "old": {"absent": "not_in_force"},
            "new": {"value": "refuse"},
        },
    ]


def test_the_codes_of_an_old_start_in_the_genesis_form_are_no_values(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start with neither codes nor values says only that something changed."""
    real = Journal.admin

    def bare(self: Journal, type_: str, detail: Mapping[str, Any], **rest: Any) -> Any:
        gone = ("values", "settings")
        return real(self, type_, {k: v for k, v in detail.items() if k not in gone}, **rest)

    monkeypatch.setattr(Journal, "admin", bare)
    start(settings)
    monkeypatch.undo()
    start(settings, policy={"deadline_ms": 2718})
    [change] = changes(settings)
    assert (change["changed"], change["changes"]) == (None, None)


def test_values_that_are_lists_and_tables_are_recorded_whole(settings: Settings) -> None:
    """Each as in the settings, but the classes of ``[redaction]`` are values, not names of
    secrets; a pattern may spell out a value that it must remove, so it is not shown.
    """
    start(settings)
    start(
        settings,
        policy={"time_zones": ["Europe/Berlin", "Asia/Tokyo"]},
        redaction={
            "keys": {"secret": ["badge"], "customer": ["shop_no", "till"]},
            "patterns": {"codename": ["PROJECT-BLUEBIRD-7"]},
        },
    )
    [change] = changes(settings)
    new = {each["name"]: each["new"]["value"] for each in change["changes"]}
    assert new["policy.time_zones"] == ["Asia/Tokyo", "Europe/Berlin"]
    assert new["redaction.keys"] == [
        {"class": "customer", "names": ["shop_no", "till"]},
        {"class": "secret", "names": ["badge"]},
    ]
    [pattern] = new["redaction.patterns"]
    assert pattern["class"] == "codename"
    assert all(map(is_mark, pattern["patterns"]))
    assert "BLUEBIRD" not in str(admin(settings))


def test_a_value_that_is_not_shown_can_not_be_found_by_trying_candidates(
    settings: Settings,
) -> None:
    """Whoever knows all other settings and the value itself finds no digest of it in the log. A
    change of it is recorded nevertheless.
    """
    made = settings.override(redaction={"patterns": {"codename": ["PROJECT-BLUEBIRD-7"]}})
    with Guard.open(made) as guard, guard.session(principal="alice"):
        guard.call("x", {}, lambda: None)
        guard.reload()
    start(settings, redaction={"patterns": {"codename": ["PROJECT-BLUEBIRD-8"]}})
    text = b"\n".join(every_line(settings)).decode()
    assert '"standard/1+' in text
    for value in (made.governed(), made.redaction.patterns, made.redaction.keys):
        assert hashlib.sha256(dumps(value)).hexdigest()[:16] not in text
    assert redaction_rules(made.redaction).profile not in text
    [change] = changes(settings)
    assert change["changed"] == ["redaction.patterns"]
    assert change["digest"] != change["previous"]


def test_a_start_of_an_earlier_version_with_another_kind_of_digest_is_no_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codes of its settings are those of now."""
    with monkeypatch.context() as patch:
        patch.setattr(Settings, "digest", lambda self, _: "ab" * 32)
        start(settings)
    start(settings)
    assert changes(settings) == []


def test_a_very_large_value_is_recorded_by_its_size(settings: Settings) -> None:
    """As the new value, and as the old one of the next start; all records stay small."""
    many = {"customer": [f"column_{number:04}" for number in range(250)]}
    start(settings)
    start(settings, redaction={"keys": many})
    start(settings)
    there, back = changes(settings)
    [new] = [each["new"] for each in there["changes"] if each["name"] == "redaction.keys"]
    assert new["omitted"] == "size"
    assert new["bytes"] > MAX_VALUE
    assert [each["old"] for each in back["changes"] if each["name"] == "redaction.keys"] == [new]


def test_the_largest_settings_fit_into_a_record(settings: Settings) -> None:
    """Every setting that can be long is as long as is shown, at two starts in turn."""
    issuers = {
        f"https://{number}.login.example.com": {
            "jwks": f"https://{number}.login.example.com/keys",
            "audience": f"https://orders-{number}.example.com",
        }
        for number in range(16)
    }
    values = recorded_values(settings.override(identity={"issuers": issuers}))
    assert values["identity.issuers"]["omitted"] == "size"
    assert all(len(dumps(value)) <= MAX_VALUE + 100 for value in values.values())


def test_an_old_value_is_redacted_by_the_rules_of_now(settings: Settings) -> None:
    """A value that was no secret to the site at the last start is one to its new rules."""
    start(settings, identity={"tenant": "bluebird-7"})
    start(settings, redaction={"patterns": {"codename": ["bluebird-[0-9]"]}})
    [change] = changes(settings)
    [tenant] = [each for each in change["changes"] if each["name"] == "identity.tenant"]
    assert is_mark(tenant["old"]["value"])
    assert tenant["new"] == {"value": "default"}


def test_two_guards_with_other_settings_that_start_in_turn_each_record_the_change(
    settings: Settings,
) -> None:
    """Each start is compared with the one before it, of whichever process."""
    one, other = settings, settings.override(policy={"deadline_ms": 2718})
    for _ in range(2):
        with Guard.open(one), Guard.open(other):
            pass
    steps = [
        (each["changes"][0]["old"]["value"], each["changes"][0]["new"]["value"])
        for each in changes(settings)
    ]
    assert steps == [(1000, 2718), (2718, 1000), (1000, 2718)]
    assert verify_ledger(settings.ledger.path).exit_code == 5


def test_the_old_values_of_a_start_that_somebody_changed_are_not_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come only from a line that the log's head proves."""
    start(settings)
    real, written = startup.last_start, '"policy.deadline_ms":{"value":1000}'

    def tricked(path: Path, proofs: Any) -> Any:
        with hidden(path, "type = 'admin.start'", written, written.replace("1000", "1999")):
            return real(path, proofs)

    monkeypatch.setattr(startup, "last_start", tricked)
    with pytest.raises(LedgerError) as caught:
        start(settings, policy={"deadline_ms": 2718})
    assert caught.value.code == "ledger.unproved"


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
