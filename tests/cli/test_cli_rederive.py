"""``guardrail rederive``: which decisions follow from their records."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.cli.app import Exit
from guardrail.errors import Denied
from tests.support.command_line import Cli, Ran
from tests.support.guards import OPEN, Body, lines

RULES = """package guardrail.policy

allow contains "pay" if {
	input.resource.id == "pay"
	input.action.properties.args.amount < data.limits.most
}

allow contains "own" if {
	input.resource.id == "login"
	input.action.properties.args.password == "quiet-otter-42"
}
"""
PASSWORD = "quiet-otter-42"


def write(folder: Path, **settings: Any) -> None:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "policy.rego").write_text(RULES)
    (folder / "policies" / "data.json").write_text('{"limits": {"most": 10}}')
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (folder / "guardrail.toml").write_text(f"[policy]\n{text}")


def good(cli: Cli, *args: str) -> Ran:
    """Run a command that must exit with 0."""
    answer = cli(*args)
    assert answer.code == Exit.YES, answer
    return answer


def run(folder: Path, *calls: tuple[str, dict[str, Any]]) -> None:
    """Make *calls* in one session of a guard in *folder*."""
    with Guard.open(folder / "guardrail.toml") as guard:
        for tool in ("pay", "login"):
            guard.declare(tool, schema=OPEN)
        with guard.session(principal="alice", agent="bot", id="s-1"):
            for tool, args in calls:
                try:
                    guard.call(tool, args, Body())
                except Denied:
                    pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLAIN = ("pay", {"amount": 5})
HIDDEN = ("pay", {"amount": 50, "password": PASSWORD})
LOGIN = ("login", {"password": PASSWORD})


def test_decisions_that_follow_from_their_records(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN, HIDDEN)
    answer = good(cli, "rederive")
    assert re.search(r"^same +2 decisions", answer.out)
    assert "different" not in answer.out
    document = json.loads(good(cli, "rederive", "--json").out)
    assert document["exit"] == Exit.YES
    assert (document["calls"], document["same"], document["different"]) == (2, 2, 0)
    assert document["not_derived"] == document["differences"] == []
    assert document["policies"][0]["calls"] == 2


def test_a_decision_that_depends_on_a_removed_value_is_listed(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN, LOGIN)
    answer = cli("rederive")
    assert answer.code == Exit.NO
    assert re.search(r"^different +1 decision", answer.out, re.MULTILINE)
    assert "recorded: ALLOWED by own" in answer.out
    assert "derived:  DENIED by guardrail.no_allow" in answer.out
    document = json.loads(cli("rederive", "--json").out)
    (difference,) = document["differences"]
    assert (difference["tool"], difference["reproducible"]) == ("login", None)
    assert (difference["recorded"]["effect"], difference["derived"]["effect"]) == ("allow", "deny")
    seq = str(difference["seq"])
    assert cli("rederive", seq).code == Exit.NO
    assert cli("rederive", str(int(seq) + 1)).code == Exit.NO  # its outcome
    assert cli("rederive", str(int(seq) - 2)).code == Exit.YES
    assert json.loads(cli("rederive", "s-1", "--json").out)["calls"] == 2
    assert json.loads(cli("rederive", "last", "--json").out)["calls"] == 2
    assert f"guardrail rederive {seq}" in re.sub(r"\s+", " ", good(cli, "why", seq).out)


def test_no_byte_of_the_answer_is_a_removed_value_and_no_record_changes(
    cli: Cli, folder: Path
) -> None:
    run(folder, LOGIN)
    db = folder / "audit" / "ledger.db"
    before = lines(db)
    answer = cli("rederive")
    assert PASSWORD not in answer.out + answer.err
    assert lines(db) == before
    assert "rederive" in good(cli, "access").out


def test_a_policy_that_is_not_kept_is_named_with_the_reason(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN)
    kept = folder / "audit" / "ledger.db-policies"
    shutil.move(kept, folder / "away")
    answer = cli("rederive")
    assert answer.code == Exit.UNKNOWN
    assert "the policy is not kept" in answer.out
    good(cli, "rederive", "--policies", str(folder / "away"))


@pytest.mark.parametrize("part", ["modules", "data"])
def test_a_changed_file_is_not_used(cli: Cli, folder: Path, part: str) -> None:
    run(folder, PLAIN)
    (path,) = (folder / "audit" / "ledger.db-policies").glob(f"*.{part}")
    path.write_bytes(path.read_bytes().replace(b"limits", b"limitz"))
    answer = cli("rederive")
    assert answer.code == Exit.UNKNOWN
    assert "a kept file was changed" in answer.out
    run(folder, PLAIN)  # a guard that starts replaces it
    good(cli, "rederive")


def test_without_the_data_some_decisions_are_not_derived(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN)
    write(folder, keep_data=False)
    (folder / "policies" / "data.json").write_text('{"limits": {"most": 20}}')
    run(folder, PLAIN)
    answer = cli("rederive")
    assert answer.code == Exit.RESERVED
    assert "the policy's data is not kept (keep_data = false" in answer.out
    document = json.loads(cli("rederive", "--json").out)
    (gap,) = document["not_derived"]
    assert (gap["reason"], gap["calls"]) == ("data_not_kept", 1)


def test_policies_without_data_are_derived_whatever_is_kept(cli: Cli, folder: Path) -> None:
    write(folder, keep_data=False)
    (folder / "policies" / "data.json").unlink()
    run(folder, PLAIN)
    assert not list((folder / "audit" / "ledger.db-policies").glob("*.data"))
    good(cli, "rederive")


def test_an_export_carries_the_policies_of_its_records(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN, HIDDEN)
    good(cli, "export", "--jsonl", "-o", "all.jsonl")
    assert "NOT VERIFIED" in good(cli, "rederive", "--export", "all.jsonl").err
    shutil.rmtree(folder / "all.jsonl-policies")
    good(cli, "rederive", "--export", "all.jsonl")  # with those next to the ledger
    shutil.rmtree(folder / "audit" / "ledger.db-policies")
    assert cli("rederive", "--export", "all.jsonl").code == Exit.UNKNOWN


def test_an_export_that_fails_leaves_no_policies(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN)
    (folder / "all.jsonl").write_text("mine")
    assert cli("export", "--jsonl", "-o", "all.jsonl").code == Exit.USAGE
    assert not (folder / "all.jsonl-policies").exists()
    (folder / "all.jsonl").unlink()
    (folder / "all.jsonl-policies").mkdir()
    assert cli("export", "--jsonl", "-o", "all.jsonl").code == Exit.USAGE
    assert not (folder / "all.jsonl").exists()


def test_another_engine_and_a_call_without_a_policy_are_reported(cli: Cli, folder: Path) -> None:
    """An export in which another version decided one call, and a failed policy another one."""
    run(folder, PLAIN, PLAIN)
    good(cli, "export", "--jsonl", "-o", "all.jsonl")
    text = (folder / "all.jsonl").read_text()
    first, second = [line for line in text.splitlines() if '"call.decision"' in line]
    older = re.sub(r'("version":)"[0-9.]+"', r'\1"0.1.0"', first)
    failed = second.replace('"cause":"policy"', '"cause":"timeout"')
    assert older != first
    assert failed != second
    changed = text.replace(first, older).replace(second, failed)
    (folder / "old.jsonl").write_text(changed)
    answer = cli("rederive", "--export", "old.jsonl")
    assert answer.code == Exit.RESERVED
    assert "1 decision was made by regorus 0.1.0, and derived with regorus" in answer.err
    assert "1 call without a policy's decision" in answer.out


def test_a_digest_that_leads_out_of_the_folder_reads_nothing(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN)
    good(cli, "export", "--jsonl", "-o", "all.jsonl")
    text = (folder / "all.jsonl").read_text()
    hostile = re.sub(r'"digest":"[0-9a-f]{64}"', '"digest":"../../policies/policy"', text)
    (folder / "policies" / "policy.modules").write_text("1:a1:b")
    (folder / "bad.jsonl").write_text(hostile)
    answer = cli("rederive", "--export", "bad.jsonl")
    assert answer.code == Exit.UNKNOWN
    assert "the policy is not kept" in answer.out


def test_an_empty_ledger_has_nothing_to_derive(cli: Cli, folder: Path) -> None:
    run(folder)
    assert "nothing to derive" in good(cli, "rederive").err
    assert json.loads(good(cli, "rederive", "--json").out)["calls"] == 0
    assert cli("rederive", "nothing-like-this").code == Exit.UNKNOWN


def test_a_backup_carries_the_policies_of_its_records(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN, HIDDEN)
    document = json.loads(good(cli, "backup", "copy.db", "--json").out)
    assert document["policies"] == 2
    copies = folder / "copy.db-policies"
    assert copies.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in copies.iterdir()] == [0o600, 0o600]
    shutil.rmtree(folder / "audit")
    good(cli, "rederive", "--ledger", "copy.db")
    assert not [path for path in folder.iterdir() if path.name.startswith(".copy")]


def test_a_backup_never_writes_into_a_folder_that_exists(cli: Cli, folder: Path) -> None:
    run(folder, PLAIN)
    (folder / "copy.db-policies").mkdir()
    answer = cli("backup", "copy.db")
    assert answer.code == Exit.USAGE
    assert not (folder / "copy.db").exists()
    assert not list((folder / "copy.db-policies").iterdir())


def test_a_log_that_is_set_aside_keeps_its_policies(cli: Cli, folder: Path) -> None:
    """A recovery begins a new log, and what the old one decided can still be derived."""
    run(folder, PLAIN, HIDDEN)
    good(cli, "backup", "copy.db")
    db = folder / "audit" / "ledger.db"
    for each in folder.glob("audit/ledger.db-[ws]*"):
        each.unlink()
    db.write_bytes(b"x" * 4096)
    ran = cli("recover", "--yes", "--reason", "the disk broke", "--backup", "copy.db")
    assert ran.code == Exit.RESERVED, ran
    (aside,) = folder.glob("audit/ledger.db-broken-*-policies")
    assert len(list(aside.iterdir())) == 2
    assert not (folder / "audit" / "ledger.db-policies").exists()
    assert aside.name in ran.out + ran.err
    good(cli, "rederive", "--ledger", "copy.db", "--policies", str(aside))
    run(folder, PLAIN)
    good(cli, "rederive")


def test_the_copy_of_a_segment_is_derived_with_the_policies_next_to_it(
    cli: Cli, folder: Path
) -> None:
    run(folder, PLAIN, HIDDEN)
    good(cli, "seal", "--reason", "month end")
    (segment,) = folder.glob("audit/ledger.db-segments/*.jsonl.gz")
    shutil.rmtree(folder / "audit" / "ledger.db-policies")
    document = json.loads(good(cli, "rederive", "--segment", str(segment), "--json").out)
    assert (document["same"], document["source"]["kind"]) == (2, "segment")
