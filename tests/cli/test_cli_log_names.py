"""The name of a log, from its creation on: unique, recorded, and kept whatever happens to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.ledger.reader import LedgerReader
from guardrail.system.host import host_name
from tests.support.command_line import Ran
from tests.support.projects import new_project

Cli = Callable[..., Ran]
LEDGER = Path("audit/ledger.db")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an anchor file in another folder; it is the current folder."""
    (tmp_path / "heads").mkdir()
    folder = new_project(tmp_path / "shop", '[anchors]\nfile = "../heads/heads"\nheartbeat_s = 0\n')
    monkeypatch.chdir(folder)
    return folder


def call(folder: Path) -> None:
    """Make a call under the settings of the project in *folder*."""
    with Guard.open(folder / "guardrail.toml") as guard, guard.session(principal="alice"):
        guard.call("f", {}, lambda: None)


def name_and_key(ledger: Path) -> tuple[str, str]:
    """Return the name of the log, and the first eight digits of its key."""
    with LedgerReader.open(ledger) as reader:
        return reader.log, str(reader.genesis["key"]["public"])[:8]


def test_a_new_log_is_named_by_its_host_its_project_and_its_key(cli: Cli, shop: Path) -> None:
    """The ledger, its access log, and what ``guardrail keys`` prints."""
    call(shop)
    name, digits = name_and_key(shop / LEDGER)
    assert name == f"{host_name()}/shop-{digits}"
    keys = cli("keys").out
    assert keys.startswith(digits)
    assert f"{name}+" in keys
    name, digits = name_and_key(shop / "audit" / "ledger.access.db")
    assert name == f"{host_name()}/shop.access-{digits}"


def test_projects_with_one_name_on_one_host_have_two_logs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness can hold both."""
    monkeypatch.chdir(tmp_path)
    names = set()
    for folder in (tmp_path / "a" / "shop", tmp_path / "b" / "shop"):
        assert cli("init", folder).code == 0
        names.add(name_and_key(folder / LEDGER)[0])
    assert len(names) == 2
    made = cli("witness", "init", "--db", "w.db", "--key", "w.keys", "--name", "w.example/1")
    assert made.code == 0
    for folder in (tmp_path / "a" / "shop", tmp_path / "b" / "shop"):
        key = cli("keys", "--config", folder / "guardrail.toml").out.splitlines()[1]
        assert cli("witness", "add", "--db", "w.db", "--log", key).code == 0


def test_a_log_keeps_its_name_when_its_folder_or_its_settings_change(
    cli: Cli, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from the log: nothing computes it again."""
    call(shop)
    name, _ = name_and_key(shop / LEDGER)
    moved = shop.rename(shop.with_name("store"))
    monkeypatch.chdir(moved)
    call(moved)
    assert name_and_key(moved / LEDGER)[0] == name
    assert cli("anchor").code == 0
    assert json.loads(cli("sessions", "--json").out)["log"] == name
    assert cli("verify", "--key", "audit/ledger.keys/log.pub").code == 0


def test_a_log_of_an_earlier_version_keeps_its_name(shop: Path) -> None:
    """Also a name without digits."""
    settings = shop / "guardrail.toml"
    plain = settings.read_text()
    settings.write_text(f'{plain}[ledger]\nlog = "web-1/audit"\n')
    call(shop)
    settings.write_text(plain)
    call(shop)
    assert name_and_key(shop / LEDGER)[0] == "web-1/audit"


def test_a_copy_and_a_recovered_log_keep_the_name(cli: Cli, shop: Path) -> None:
    """A backup has it; a restart adds its number, also with new keys."""
    call(shop)
    name, _ = name_and_key(shop / LEDGER)
    assert cli("backup", "copy.db").code == 0
    assert name_and_key(shop / "copy.db")[0] == name
    for path in (shop / "audit").glob("ledger.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cli("recover", "--yes", "--reason", "lost").code == 5
    assert name_and_key(shop / LEDGER)[0] == f"{name}~2"
    shutil.rmtree(shop / "audit" / "ledger.keys")
    assert cli("recover", "--yes", "--reason", "lost").code == 5
    name3, digits = name_and_key(shop / LEDGER)
    assert name3 == f"{name}~3"
    assert digits not in name3


def test_a_recovery_that_knows_no_name_takes_one_from_the_new_key(cli: Cli, shop: Path) -> None:
    """Nothing readable is left: the answer says so before, and the new log is called a restart."""
    call(shop)
    for path in (shop / "audit").iterdir():
        if path.name != "ledger.db-lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (shop / LEDGER).write_text("torn")
    told = cli("recover", "--dry-run", "--json")
    assert json.loads(told.out)["new_log"] is None
    assert "made from its new key" in " ".join(cli("recover", "--dry-run").out.split())
    assert cli("recover", "--yes", "--reason", "lost").code == 5
    name, digits = name_and_key(shop / LEDGER)
    assert name == f"{host_name()}/shop-{digits}~2"
    call(shop)


def test_a_log_that_took_the_place_of_an_anchored_one_is_found_out(cli: Cli, shop: Path) -> None:
    """Ledger and keys were wiped and begun again: the anchor file knows both names."""
    call(shop)
    assert cli("anchor").code == 0
    before, _ = name_and_key(shop / LEDGER)
    shutil.rmtree(shop / "audit")
    assert cli("verify").code == 1
    call(shop)
    assert cli("anchor").code == 0
    ran = cli("verify")
    assert ran.code == 1
    assert before in " ".join(ran.out.split())
    assert json.loads(cli("verify", "--json").out)["state"] == "replaced"


def test_a_project_with_another_name_may_share_the_anchor_file(
    cli: Cli, shop: Path, tmp_path: Path
) -> None:
    """Its heads say nothing about this ledger."""
    other = new_project(tmp_path / "shop-2", (shop / "guardrail.toml").read_text())
    for folder in (shop, other):
        call(folder)
        assert cli("anchor", "--config", folder / "guardrail.toml").code == 0
    for folder in (shop, other):
        key = folder / "audit" / "ledger.keys" / "log.pub"
        assert cli("verify", "--config", folder / "guardrail.toml", "--key", key).code == 0
