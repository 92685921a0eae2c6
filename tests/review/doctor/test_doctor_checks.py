"""Every check of doctor: what it finds, and that it names a fix for what is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.core.log.record import GENESIS_PREV, Draft
from guardrail.keys.log_key import TOKENS_FILE, Keys
from guardrail.ledger.seal import Seal
from guardrail.ledger.sqlite.database import create
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.doctor import checks as doctor
from guardrail.review.doctor.checks import check_all
from guardrail.review.doctor.result import Check, CheckState
from guardrail.review.doctor.token_keys import lost_token_key
from guardrail.system.durable import replace_file
from tests.support.guards import OPEN, guarded, settings
from tests.support.ledgers import ACTOR
from tests.support.records import LOG, SIGNING, decision, genesis
from tests.support.tokens import jwk, key_set

POLICY = (
    'package guardrail.policy\n\nimport rego.v1\n\nallow contains "reading" if input.resource.id =='
    ' "read_file"\n'
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Settings, a policy, keys and a ledger with two records."""
    (tmp_path / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[policy]\npath = "policies"\n'
    )
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "tools.rego").write_text(POLICY)
    keys = Keys.create(tmp_path / "audit.keys")
    signing = keys.signing(actor=ACTOR, epochs=False)
    with LedgerWriter.create(
        tmp_path / "audit.db", log=LOG, genesis=genesis(keys.public), signing=signing
    ) as writer:
        writer.append(Draft.build(decision()))
    return tmp_path


@pytest.fixture
def check(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Check]]:
    """Run all checks over the project; the policy engine is started only where it matters."""

    def run(*, engine: bool = False, **environment: str) -> dict[str, Check]:
        if not engine:
            monkeypatch.setattr(
                doctor,
                "_policies",
                lambda _: Check("policies", CheckState.OK, "not asked in this test"),
            )
        return {
            item.name: item for item in check_all(project / "guardrail.toml", None, environment)
        }

    return run


Run = Callable[..., dict[str, Check]]


def test_a_sound_project_has_nothing_to_mend(check: Run) -> None:
    """All checks are made, and none fails or is left open."""
    checks = check(engine=True)
    assert list(checks) == [
        "python",
        "regorus",
        "sqlite",
        "settings",
        "folder",
        "room",
        "sync",
        "keys",
        "identity",
        "policies",
        "seal",
        "ledger",
        "opening",
        "anchors",
        "memory",
        "access",
        "retention",
        "suspensions",
        "leases",
        "running",
        "clock",
        "tracing",
    ]
    assert [
        item for item in checks.values() if item.state not in (CheckState.OK, CheckState.NOTE)
    ] == []
    assert "chain intact over all of them" in checks["ledger"].found
    assert "digest" in checks["policies"].found


def test_it_reads_the_keys_of_issuers(check: Run, project: Path) -> None:
    """And says which key set can't be used, as a guard would when it starts."""
    settings = project / "guardrail.toml"
    settings.write_text(
        settings.read_text() + '\n[identity]\nrequire = "verified"\n'
        '[identity.issuers."https://login.example.com"]\njwks = "jwks.json"\naudience = "me"\n'
    )
    (project / "jwks.json").write_text("<html>")
    found = check()["identity"]
    assert (found.state, "HTML" in found.found) == (CheckState.FAIL, True)
    (project / "jwks.json").write_text(key_set(jwk(), jwk("k2", number=1)))
    found = check()["identity"]
    assert found.state is CheckState.OK
    assert "tokens of 1 issuer are verified (2 keys)" in found.found


@pytest.mark.parametrize(
    ("require", "state", "words"),
    [
        ("asserted", CheckState.OK, "must name its principal"),
        ("any", CheckState.NOTE, "not denied"),
        ("verified", CheckState.FAIL, "without an issuer"),
    ],
)
def test_it_says_whose_calls_are_taken(
    check: Run, project: Path, require: str, state: CheckState, words: str
) -> None:
    """And finds the rule that no guard starts with."""
    settings = project / "guardrail.toml"
    settings.write_text(settings.read_text() + f'\n[identity]\nrequire = "{require}"\n')
    found = check()["identity"]
    assert found.state is state
    assert words in found.found
    assert bool(found.fix) is (state is not CheckState.OK)


def test_it_leaves_nothing_behind(check: Run, project: Path) -> None:
    """The scratch file is gone and the ledger's bytes are what they were."""
    before = {path.name for path in project.iterdir()}, (project / "audit.db").read_bytes()
    check()
    after = {path.name for path in project.iterdir()} - {"audit.db-wal", "audit.db-shm"}
    assert (after, (project / "audit.db").read_bytes()) == before


def test_settings_that_are_refused_end_it_with_the_mistake(check: Run, project: Path) -> None:
    """Nothing below can be found without settings."""
    (project / "guardrail.toml").write_text("[ledger]\npth = 1\n")
    checks = check()
    assert list(checks)[-1] == "settings"
    assert checks["settings"].state is CheckState.FAIL
    assert "path" in checks["settings"].fix


def test_policies_that_are_refused_lead_to_policy_check(check: Run, project: Path) -> None:
    """The findings are for the command that lists them."""
    (project / "policies" / "tools.rego").write_text("package guardrail.policy\n\nallow contains\n")
    found = check(engine=True)["policies"]
    assert (found.state, found.fix) == (CheckState.FAIL, "guardrail policy check")


def test_a_policy_test_that_fails_leads_to_the_command_that_shows_it(
    check: Run, project: Path
) -> None:
    """`policy check` runs no tests, and would say that all is well."""
    failing = project / "policies" / "wrong_test.rego"
    failing.write_text("package guardrail.policy_test\n\ntest_wrong := false\n")
    found = check(engine=True)["policies"]
    assert (found.state, found.fix) == (CheckState.FAIL, "guardrail policy test")
    failing.write_text("package guardrail.policy_test\n\ntest_wrong = {\n")
    assert check(engine=True)["policies"].fix == "guardrail policy check"


def test_missing_policies_are_found_with_where_to_put_them(check: Run, project: Path) -> None:
    """A guard would not open without them; ``init`` makes none where there are settings."""
    (project / "policies" / "tools.rego").unlink()
    (project / "policies").rmdir()
    found = check(engine=True)["policies"]
    fix = "put policies in that folder, or correct path in [policy]"
    assert (found.state, found.fix) == (CheckState.FAIL, fix)


def test_keys_that_others_can_read_are_found_with_the_command_that_mends_them(
    check: Run, project: Path
) -> None:
    """Folder and files, each."""
    (project / "audit.keys").chmod(0o755)
    found = check()["keys"]
    assert found.state is CheckState.FAIL
    assert "chmod 700" in found.fix
    (project / "audit.keys").chmod(0o700)
    (project / "audit.keys" / "tokens.key").chmod(0o640)
    found = check()["keys"]
    assert found.state is CheckState.FAIL
    assert "chmod 600" in found.fix


@pytest.mark.parametrize("content", ["", "0" * 64 + "\n", None])
def test_a_public_key_that_is_not_that_of_the_log_is_found(
    check: Run, project: Path, content: str | None
) -> None:
    """A guard opens, but whoever verifies with this file is told that the log is another one."""
    public = project / "audit.keys" / "log.pub"
    right = public.read_text()
    public.unlink() if content is None else public.write_text(content)
    found = check()["keys"]
    assert found.state is CheckState.FAIL
    assert str(public) in found.found
    assert "guardrail keys" in found.fix
    public.write_text(right)
    public.chmod(0o600)
    assert check()["keys"].state is CheckState.OK


@pytest.mark.parametrize("half", ["audit.db", "audit.keys"])
def test_one_of_ledger_and_keys_without_the_other_fails(
    check: Run, project: Path, half: str
) -> None:
    """A guard refuses to open them, so doctor says it first."""
    (project / half).rename(project / "away")
    if half == "audit.db":
        for path in project.glob("audit.db-*"):
            path.rename(project / f"away{path.name[8:]}")
    found = check()["ledger" if half == "audit.db" else "keys"]
    assert found.state is CheckState.FAIL
    assert "recover" in found.fix


def test_a_project_that_never_ran_is_no_failure(check: Run, project: Path) -> None:
    """Neither ledger nor keys: both are made together, later."""
    for path in (*project.glob("audit.db*"), *(project / "audit.keys").iterdir()):
        path.rmdir() if path.is_dir() else path.unlink()
    (project / "audit.keys").rmdir()
    checks = check()
    assert checks["keys"].state is checks["ledger"].state is CheckState.NOTE


def test_a_seal_is_found(check: Run, project: Path) -> None:
    """Every call is blocked while it is there."""
    Seal(
        LOG, 1, "a" * 64, "the database file is replaced", "2026-11-24T09:00:00.000000Z", {}
    ).write(project / "audit.db")
    found = check()["seal"]
    assert (found.state, found.fix) == (CheckState.FAIL, "guardrail recover")
    assert "replaced" in found.found


def test_a_broken_chain_in_the_tail_is_found(check: Run, project: Path) -> None:
    """What was edited lately shows without a whole verification."""
    import sqlite3

    from guardrail.ledger.sqlite.database import SCHEMA

    connection = sqlite3.connect(project / "audit.db")
    connection.execute("DROP TRIGGER record_no_update")
    connection.execute("UPDATE record SET line = replace(line, 'alice', 'mallory') WHERE seq = 1")
    connection.execute(SCHEMA["record_no_update"])
    connection.commit()
    connection.close()
    found = check()["ledger"]
    assert (found.state, found.fix) == (CheckState.FAIL, "guardrail verify")
    assert "record 1" in found.found


def test_a_ledger_that_others_can_read_is_noted(check: Run, project: Path) -> None:
    """It holds what people did."""
    (project / "audit.db").chmod(0o644)
    found = check()["ledger"]
    assert found.state is CheckState.NOTE
    assert "chmod 600" in found.fix


def test_a_file_that_is_no_ledger_fails(check: Run, project: Path) -> None:
    """Doctor says what a guard would."""
    for path in project.glob("audit.db*"):
        path.rmdir() if path.is_dir() else path.unlink()
    (project / "audit.db").write_text("not a ledger\n" * 400)
    assert check()["ledger"].state is CheckState.FAIL


def test_a_clock_behind_the_last_record_is_noted(check: Run, project: Path) -> None:
    """Records keep their order, but their times would go back."""
    for path in project.glob("audit.db*"):
        path.rmdir() if path.is_dir() else path.unlink()
    ts = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    line = Draft.build({"v": 1, "log": LOG, "type": "genesis", **genesis()}).finish(
        seq=0, prev=GENESIS_PREV, ts=ts
    )
    create(project / "audit.db", line, SIGNING)
    found = check()["clock"]
    assert found.state is CheckState.NOTE
    assert "ahead" in found.found


def test_a_folder_that_is_not_there_fails_and_the_rest_is_still_checked(
    check: Run, project: Path
) -> None:
    """One failure does not hide the others."""
    (project / "guardrail.toml").write_text('[ledger]\npath = "../nowhere/audit.db"\n')
    checks = check()
    assert checks["folder"].state is CheckState.FAIL
    assert checks["sync"].state is CheckState.UNKNOWN
    assert "tracing" in checks


def test_results_that_are_released_before_their_outcomes_are_noted(
    check: Run, project: Path
) -> None:
    """Only with that setting: what a call waits for is then one sync."""
    assert "outcome" not in check()
    with (project / "guardrail.toml").open("a") as file:
        file.write('[ledger]\npath = "audit.db"\noutcome = "soon"\n')
    text = (project / "guardrail.toml").read_text()
    (project / "guardrail.toml").write_text(text.replace('[ledger]\npath = "audit.db"\n', "", 1))
    checks = check()
    assert checks["outcome"].state is CheckState.NOTE
    assert "unknown" in checks["outcome"].found
    assert "a call waits for one" in checks["sync"].found


def test_tracing_that_sees_inputs_first_is_noted(check: Run) -> None:
    """LangChain's own tracing sends tool inputs before anything is redacted."""
    assert check(LANGSMITH_TRACING="true")["tracing"].state is CheckState.NOTE
    assert check(LANGSMITH_TRACING="false")["tracing"].state is CheckState.OK
    for name in ("LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2", "LANGCHAIN_TRACING"):
        found = check(**{name: "true"})["tracing"]
        assert found.state is CheckState.NOTE
        assert name in found.found
    off = check(LANGSMITH_TRACING_V2="false", LANGSMITH_TRACING="true")["tracing"]
    assert off.state is CheckState.OK


def test_tracing_is_no_remark_if_inputs_and_outputs_are_hidden(check: Run) -> None:
    """A call that a model asks for is an output of the model."""
    both = {"LANGSMITH_HIDE_INPUTS": "true", "LANGCHAIN_HIDE_OUTPUTS": "true"}
    assert check(LANGSMITH_TRACING="true", **both)["tracing"].state is CheckState.OK
    for name in both:
        rest = both | {name: "false"}
        assert check(LANGSMITH_TRACING="true", **rest)["tracing"].state is CheckState.NOTE


def test_a_process_that_uses_the_ledger_is_counted(check: Run, project: Path) -> None:
    """A lease that is held is a process that lives; one that nobody holds is one that died."""
    leases = project / "audit.db-leases"
    leases.mkdir(exist_ok=True)
    (leases / ("D" * 26)).write_text("host 1\n")
    found = check()["leases"]
    assert found.state is CheckState.NOTE
    assert "1 died" in found.found


def test_what_can_not_be_examined_is_unknown(check: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system is not a verdict about the project."""

    def refused(_: object) -> Check:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "_keys", refused)
    found = check()["keys"]
    assert found.state is CheckState.UNKNOWN
    assert "Permission denied" in found.found
    assert found.fix


def test_every_check_can_be_written_as_json(check: Run) -> None:
    """Plain text in every field."""
    for item in check().values():
        json.dumps([item.name, item.state, item.found, item.fix])


def test_keys_that_the_newest_records_name_must_be_in_the_folder(tmp_path: Path) -> None:
    """Unless they were destroyed. Otherwise, the folder is an older copy, and guardrail find would
    miss values.
    """
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        guard.call("send", {"to": "bob@example.com"}, lambda **_: 1)
    chosen, keys = settings(tmp_path), Keys.load(tmp_path / "audit.keys")
    first = keys.secrets.epoch
    assert lost_token_key(chosen, keys) is None
    file = tmp_path / "audit.keys" / TOKENS_FILE
    rotated = keys.secrets.prepared().advanced().without(first)
    replace_file(file, rotated.text(), private=True)
    assert lost_token_key(chosen, keys) is None
    replace_file(file, dataclasses.replace(rotated, destroyed=()).text(), private=True)
    found = lost_token_key(chosen, keys)
    assert found is not None
    assert found.state is CheckState.FAIL
    assert first.kid in found.found
    assert "newest backup" in found.fix
    (tmp_path / "audit.db").unlink()
    assert lost_token_key(chosen, keys) is None
