"""A guard keeps the sources of its policies before the first record that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.call.journal import Journal
from guardrail.errors import LedgerError
from guardrail.ledger.kept_policies import KeptFile, KeptPolicies, SourceFault, SourceKind
from guardrail.policy.kept_sources import restore
from guardrail.wiring.opening import open_guard
from tests.support.guards import OPEN, Body, records, ruled, settings, write_policy

ALLOW = 'allow contains "all" if true'


def kept_of(folder: Path) -> KeptPolicies:
    return KeptPolicies(folder / "audit.db")


def sources(folder: Path, policy: dict[str, Any]) -> tuple[bytes | SourceFault, ...]:
    kept = kept_of(folder)
    return (
        kept.read(KeptFile(policy["digest"], SourceKind.MODULES)),
        kept.read(KeptFile(policy["data"], SourceKind.DATA)),
    )


def texts(folder: Path, policy: dict[str, Any]) -> str:
    modules, data = sources(folder, policy)
    assert isinstance(modules, bytes)
    assert isinstance(data, bytes)
    restored = restore(modules, data)
    assert (restored.digest, restored.data_digest) == (policy["digest"], policy["data"])
    return "".join(module.text for module in restored.modules if not module.installed)


def test_every_policy_that_a_record_names_is_kept(tmp_path: Path) -> None:
    with ruled(tmp_path, ALLOW) as guard:
        guard.declare("send", schema=OPEN)
        guard.call("send", {}, Body())
        write_policy(tmp_path, ALLOW + "\n# edited")
        guard.reload()
        guard.call("send", {}, Body())
    named = [record["policy"] for record in records(tmp_path / "audit.db", "call.decision")]
    assert len({policy["digest"] for policy in named}) == 2
    assert "# edited" not in texts(tmp_path, named[0])
    assert "# edited" in texts(tmp_path, named[1])


def test_the_sources_are_durable_before_the_first_record_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a start and at a reload: whatever the log names can be read when the record is written."""
    seen: list[str] = []
    write = Journal.admin

    def watched(self: Journal, kind: str, detail: dict[str, Any], **rest: Any) -> Any:
        if "policy" in detail:
            assert all(isinstance(each, bytes) for each in sources(tmp_path, detail["policy"]))
            seen.append(kind)
        return write(self, kind, detail, **rest)

    monkeypatch.setattr(Journal, "admin", watched)
    with ruled(tmp_path, ALLOW) as guard:
        write_policy(tmp_path, ALLOW + "\n# edited")
        guard.reload()
    assert seen == ["start", "policy_loaded"]


def test_a_policy_that_is_edited_during_the_start_is_kept_as_it_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and keeping, the files change: what was read is what decides and is kept."""
    keep = KeptPolicies.keep

    def edited(self: KeptPolicies, files: dict[SourceKind, bytes]) -> Any:
        write_policy(tmp_path, 'deny contains "none" if true')
        return keep(self, files)

    monkeypatch.setattr(KeptPolicies, "keep", edited)
    with ruled(tmp_path, ALLOW) as guard:
        guard.declare("send", schema=OPEN)
        guard.call("send", {}, Body())
    (record,) = records(tmp_path / "audit.db", "call.decision")
    assert ALLOW in texts(tmp_path, record["policy"])


def test_without_keep_data_only_the_modules_are_kept(tmp_path: Path) -> None:
    policies = write_policy(tmp_path, ALLOW)
    (policies / "data.json").write_text('{"people": ["carol@example.com"]}')
    with open_guard(Guard, settings(tmp_path, policy={"keep_data": False}), None):
        pass
    assert [file.kind for file in kept_of(tmp_path).files()] == [SourceKind.MODULES]
    for path in (tmp_path / "audit.db-policies").iterdir():
        assert b"carol" not in path.read_bytes()


def test_a_guard_that_cannot_keep_its_policies_does_not_start(tmp_path: Path) -> None:
    write_policy(tmp_path, ALLOW)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "audit.db-policies").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="symbolic link"):
        open_guard(Guard, settings(tmp_path), None)
    assert not any((tmp_path / "elsewhere").iterdir())
    (tmp_path / "audit.db-policies").unlink()
    with open_guard(Guard, settings(tmp_path), None):
        assert kept_of(tmp_path).files()


def test_a_reload_that_cannot_keep_its_policies_leaves_the_old_ones(tmp_path: Path) -> None:
    with ruled(tmp_path, ALLOW) as guard:
        guard.declare("send", schema=OPEN)
        folder = tmp_path / "audit.db-policies"
        folder.rename(tmp_path / "away")
        folder.touch()
        write_policy(tmp_path, 'deny contains "none" if true')
        with pytest.raises(LedgerError, match="not a folder"):
            guard.reload()
        guard.call("send", {}, Body())
        folder.unlink()
        guard.reload()
    loaded = records(tmp_path / "audit.db", "admin.policy_loaded")
    assert len(loaded) == 1
    assert "none" in texts(tmp_path, loaded[0]["detail"]["policy"])


def test_sources_in_use_are_held_and_then_released(tmp_path: Path) -> None:
    kept = kept_of(tmp_path)
    with ruled(tmp_path, ALLOW):
        assert kept.delete(kept.files(), lambda _: ()) == []
    assert len(kept.delete(kept.files(), lambda _: ())) == 2
