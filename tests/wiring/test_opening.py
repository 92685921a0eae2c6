"""Opening: everything found or made together, and what would be a hole refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.core.types import Principal
from guardrail.errors import (
    ConfigError,
    Denied,
    IdentityError,
    KeysError,
    LedgerError,
    LedgerOpenError,
    PolicyLoadError,
)
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.testing import StaticPolicy, allow, memory_guard
from guardrail.wiring import current_policies
from guardrail.wiring.current_policies import CurrentPolicies
from guardrail.wiring.reload import request
from tests.support.projects import ALLOW_ALL, new_project
from tests.support.waiting import until

DENY = 'package guardrail.policy\ndeny contains "none" if input.resource.type == "tool"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a policy that allows everything."""
    return new_project(tmp_path)


@pytest.fixture
def guard(folder: Path) -> Iterator[Guard]:
    """A guard on new files."""
    with (
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard,
        guard.session(principal="alice"),
    ):
        yield guard


def records(folder: Path) -> list[dict[str, object]]:
    """Return every record on disk."""
    with LedgerReader.open(folder / "audit.db") as reader:
        return [decode(line) for _, _, line in reader.lines()]


def test_without_any_files_ledger_and_keys_are_made_and_the_start_is_recorded(
    guard: Guard, folder: Path
) -> None:
    """The genesis holds the public key and the digest of the settings."""
    guard.call("x", {}, lambda: None)
    genesis, rotation, start, decision, outcome = records(folder)
    assert len(genesis["key"]["public"]) == 64  # type: ignore[index,call-overload]
    assert rotation["type"] == "admin.key_rotated"
    assert start["type"] == "admin.start"
    assert start["detail"]["policy"]["digest"] == decision["policy"]["digest"]  # type: ignore[index,call-overload]
    assert outcome["status"] == "ok"
    assert (folder / "audit.keys").stat().st_mode & 0o777 == 0o700


def test_a_settings_file_says_everything(folder: Path) -> None:
    """Paths relative to it; arguments override it; the log has the name it gives."""
    (folder / "guardrail.toml").write_text(
        '[ledger]\npath = "data/a.db"\nlog = "acme/prod one+two"\n[keys]\npath = "secret"\n'
    )
    with Guard.open(folder / "guardrail.toml") as guard, guard.session(principal="alice"):
        guard.call("x", {}, lambda: None)
    with LedgerReader.open(folder / "data" / "a.db") as reader:
        assert reader.log == "acme/prod-one-two"
    with Guard.open(
        Settings.load(folder / "guardrail.toml"), ledger=folder / "b.db", keys=folder / "k2"
    ):
        assert (folder / "b.db").exists()


def test_a_log_is_continued(folder: Path) -> None:
    """Opening again goes on where it stopped."""
    for _ in range(2):
        with (
            Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard,
            guard.session(principal="alice"),
        ):
            guard.call("x", {}, lambda: None)
    assert [record["seq"] for record in records(folder)] == list(range(13))


def test_one_without_the_other_is_refused_with_what_to_do(folder: Path) -> None:
    """A ledger without keys, keys without a ledger, traces of an earlier log."""
    with Guard.open(policies=folder / "policies", ledger=folder / "audit.db"):
        pass
    (folder / "audit.keys").rename(folder / "kept")
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db")
    assert "guardrail recover" in caught.value.hint
    assert "backup" in caught.value.hint
    (folder / "kept").rename(folder / "audit.keys")
    for file in folder.glob("audit.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    with pytest.raises(LedgerOpenError, match=r"but their ledger .* does not"):
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db")
    (folder / "audit.db-wal").write_bytes(b"x")
    with pytest.raises(LedgerOpenError, match="parts of an earlier log exist"):
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db")


def test_keys_of_another_log_are_refused(folder: Path) -> None:
    """Their tokens would not be those of the records that are there."""
    for name in ("audit", "other"):
        with Guard.open(policies=folder / "policies", ledger=folder / f"{name}.db"):
            pass
    with pytest.raises(KeysError) as caught:
        Guard.open(
            policies=folder / "policies", ledger=folder / "audit.db", keys=folder / "other.keys"
        )
    assert caught.value.code == "keys.other_log"


def test_missing_or_refused_policies_stop_the_opening_before_any_file_is_made(folder: Path) -> None:
    """With every finding."""
    with pytest.raises(ConfigError):
        Guard.open(policies=folder / "nowhere", ledger=folder / "audit.db")
    (folder / "policies" / "bad.rego").write_text(
        "package guardrail.policy\nallow contains x if {\n"
    )
    with pytest.raises(PolicyLoadError):
        Guard.open(policies=[folder / "policies"], ledger=folder / "audit.db")
    assert not (folder / "audit.db").exists()
    assert not (folder / "audit.keys").exists()


def test_a_folder_that_cannot_hold_a_ledger_is_a_clear_error(folder: Path) -> None:
    """No OSError escapes."""
    (folder / "file").write_text("")
    with pytest.raises(LedgerOpenError):
        Guard.open(policies=folder / "policies", ledger=folder / "file" / "audit.db")


@pytest.mark.parametrize(
    ("section", "named"),
    [("ledger", "[ledger] path, GUARDRAIL_LEDGER"), ("keys", "[keys] path, GUARDRAIL_KEYS")],
)
def test_no_folder_is_made_outside_of_the_project(folder: Path, section: str, named: str) -> None:
    """The path was mistyped, or its disk is not mounted: a new log there would look like the right
    one.
    """
    project = folder / "project"
    project.mkdir()
    elsewhere = folder / "elsewhere" / "a b"
    (project / "guardrail.toml").write_text(
        f'[policy]\npath = "../policies"\n[{section}]\npath = "{elsewhere / "x"}"\n'
    )
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open(project / "guardrail.toml")
    assert caught.value.code == "ledger.folder"
    assert named in caught.value.message
    assert caught.value.hint == f"correct that path, or create the folder: mkdir -p '{elsewhere}'"
    assert not elsewhere.parent.exists()
    left = sorted(item.name for item in project.rglob("*"))
    assert left == (["audit", "guardrail.toml"] if section == "keys" else ["guardrail.toml"])
    elsewhere.mkdir(parents=True)
    Guard.open(project / "guardrail.toml").close()


def test_a_folder_inside_the_project_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the settings file, wherever the program was started; without one, below the working
    folder, or one new folder anywhere.
    """
    (folder / "guardrail.toml").write_text(
        '[ledger]\npath = "var/log/audit.db"\n[keys]\npath = "var/keys/audit"\n'
    )
    Guard.open(folder / "guardrail.toml").close()
    assert (folder / "var" / "log" / "audit.db").is_file()
    assert (folder / "var" / "keys" / "audit" / "log.pub").is_file()
    monkeypatch.chdir(folder)
    Guard.open(policies="policies", ledger="new/audit.db").close()
    with pytest.raises(LedgerOpenError):
        Guard.open(policies="policies", ledger="../other/deep/audit.db")
    assert not (folder.parent / "other").exists()
    Guard.open(policies="policies", ledger="../other/audit.db").close()


def test_processes_that_start_at_once_make_one_log(folder: Path) -> None:
    """Four of them, on an empty folder."""
    program = (
        "import sys; from guardrail import Guard\ng ="
        f" Guard.open(policies={str(folder / 'policies')!r},"
        f" ledger={str(folder / 'audit.db')!r})\ng.call('x', {{}}, lambda: None,"
        " session=g.session(principal='alice')); g.close()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    kinds = [record["type"] for record in records(folder)]
    assert (kinds.count("genesis"), kinds.count("call.outcome")) == (1, 4)


def test_policies_on_disk_count_only_after_a_reload(guard: Guard, folder: Path) -> None:
    """And the load is recorded before the first decision under them."""
    guard.call("x", {}, lambda: None)
    (folder / "policies" / "main.rego").write_text(DENY)
    guard.call("x", {}, lambda: None)
    digest = guard.reload()
    with pytest.raises(Denied):
        guard.call("x", {}, lambda: None)
    loaded = [record for record in records(folder) if record["type"] == "admin.policy_loaded"]
    assert loaded[0]["detail"]["policy"]["digest"] == digest  # type: ignore[index,call-overload]
    assert loaded[0]["detail"]["previous"]["digest"] != digest  # type: ignore[index,call-overload]


def test_a_reload_applies_the_settings_of_the_engine_and_names_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the file again; what the program passed stays, also if the working directory
    changed.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "main.rego").write_text(ALLOW_ALL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "main.rego").write_text(DENY)
    config = tmp_path / "guardrail.toml"
    config.write_text("[policy]\nworkers = 1\n")
    with (
        Guard.open(config, policies="own", ledger=tmp_path / "audit.db") as guard,
        guard.session(principal="alice"),
    ):
        monkeypatch.chdir(tmp_path / "here")
        config.write_text(
            '[policy]\npath = "other"\nworkers = 2\ndeadline_ms = 900\ninput = "recorded"\n'
        )
        guard.reload()
        guard.call("x", {}, lambda: None)
        config.write_text("[policy]\nworkers = 0\n")
        with pytest.raises(ConfigError):
            guard.reload()
        guard.call("x", {}, lambda: None)
    (loaded,) = [record for record in records(tmp_path) if record["type"] == "admin.policy_loaded"]
    detail: Any = loaded["detail"]
    assert detail["changed"] == ["policy.deadline_ms", "policy.workers"]
    assert detail["restart"] == ["policy.input"]
    keys = Keys.load(guard._policies.settings.key_path).tenant("default")
    assert detail["config"] != guard._policies.settings.override(policy={"workers": 1}).digest(keys)
    assert detail["config"] == guard._policies.settings.digest(keys)


def test_what_the_environment_names_is_named_with_its_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program does not hold the path that is wrong."""
    monkeypatch.setenv("GUARDRAIL_KEYS", str(folder / "no" / "such" / "keys"))
    with pytest.raises(LedgerOpenError) as refused:
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db")
    assert "GUARDRAIL_KEYS" in str(refused.value)
    assert "GUARDRAIL_KEYS" in refused.value.message
    monkeypatch.delenv("GUARDRAIL_KEYS")
    monkeypatch.setenv("GUARDRAIL_POLICIES", str(folder / "nowhere"))
    with pytest.raises(ConfigError, match=r"\(set by GUARDRAIL_POLICIES\)"):
        Guard.open(ledger=folder / "audit.db")
    with pytest.raises(ConfigError) as plain:
        Guard.open(policies=folder / "none", ledger=folder / "audit.db")
    assert "GUARDRAIL" not in plain.value.message


def test_a_guard_that_was_closed_says_what_to_do(folder: Path) -> None:
    """For calls and for a reload."""
    guard = Guard.open(policies=folder / "policies", ledger=folder / "audit.db")
    scope = guard.session(principal="alice")
    guard.close()
    for use in (lambda: guard.call("x", {}, lambda: None, session=scope), guard.reload):
        with pytest.raises(LedgerError) as refused:
            use()
        assert refused.value.code == "ledger.closed"
        assert "open another guard" in refused.value.hint


# Slow for one argument only: when policies are loaded, they decide on samples as well.
SLOW = """package guardrail.policy

allow contains "any" if input.resource.type == "tool"

allow contains "never" if {
	input.action.properties.args.slow == true
	some a in numbers.range(1, 1000)
	some b in numbers.range(1, 3000)
	[a, b] == ["never", "so"]
}
"""


def test_a_deadline_that_is_changed_holds_for_the_calls_after_the_reload(tmp_path: Path) -> None:
    """A policy that takes longer than the new one allows then denies."""
    new_project(tmp_path, policy=SLOW)
    config = tmp_path / "guardrail.toml"
    text = "[policy]\neval_limit_ms = 60000\ndeadline_ms = 60000\n"
    config.write_text(text)
    with Guard.open(config) as guard, guard.session(principal="alice"):
        guard.call("x", {"slow": True}, lambda slow: None)
        config.write_text(text.replace("deadline_ms = 60000", "deadline_ms = 10"))
        guard.reload()
        with pytest.raises(Denied) as denied:
            guard.call("x", {"slow": True}, lambda slow: None)
        assert denied.value.code == "denied.timeout"
        config.write_text(text)
        guard.reload()
        guard.call("x", {"slow": True}, lambda slow: None)


def test_settings_that_change_while_a_guard_opens_are_applied_by_a_reload(tmp_path: Path) -> None:
    """Only the program and the environment override a file for good."""
    new_project(tmp_path)
    config = tmp_path / "guardrail.toml"
    config.write_text("[policy]\ndeadline_ms = 900\nworkers = 1\n")
    settings = Settings.load(config).override(policy={"workers": 2})
    config.write_text("[policy]\ndeadline_ms = 800\nworkers = 3\n")
    with Guard.open(settings, ledger=tmp_path / "audit.db") as guard:
        guard.reload()
    (loaded,) = [each for each in records(tmp_path) if each["type"] == "admin.policy_loaded"]
    assert loaded["detail"]["changed"] == ["policy.deadline_ms"]  # type: ignore[index]


def test_a_child_forked_during_a_reload_can_close_its_policies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child has no thread that would end the reload."""
    policies = CurrentPolicies(
        Settings(), StaticPolicy(allow()), None, lambda *_: None, keys=Keys.ephemeral()
    )
    reloading, end = threading.Event(), threading.Event()

    def load_again(*_: object, **__: object) -> None:
        reloading.set()
        end.wait(10)
        raise ConfigError("refused")

    def reload() -> None:
        with pytest.raises(ConfigError, match="refused"):
            policies.reload()

    monkeypatch.setattr(current_policies, "load_again", load_again)
    thread = threading.Thread(target=reload)
    thread.start()
    reloading.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        policies.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    end.set()
    thread.join()


def test_policies_that_are_refused_leave_the_old_ones(guard: Guard, folder: Path) -> None:
    """A typo must not take the guard down, nor be in force."""
    (folder / "policies" / "main.rego").write_text("package nonsense\n")
    with pytest.raises(PolicyLoadError):
        guard.reload()
    guard.call("x", {}, lambda: None)


def test_another_process_can_ask_for_a_reload(guard: Guard, folder: Path) -> None:
    """Refusals are recorded as loads are."""
    wanted = {"admin.policy_refused", "admin.policy_loaded"}
    for text in ("package nonsense\n", DENY):
        (folder / "policies" / "main.rego").write_text(text)
        request(folder / "audit.db", "digest")
        before = len(wanted)

        def recorded(before: int = before) -> bool:
            wanted.difference_update(str(record["type"]) for record in records(folder))
            return len(wanted) < before

        until(recorded, "a record of the reload")
    assert wanted == set()

    def denied() -> bool:
        # A policy is recorded before it decides.
        try:
            guard.call("x", {}, lambda: None)
        except Denied:
            return True
        return False

    until(denied, "a denial by the new policy")


def test_a_guard_that_is_told_to_watch_again_loads_once(guard: Guard, folder: Path) -> None:
    """``Guard.open`` has told it already; a second load would say that nothing changed."""
    before = sum(each.name == "guardrail-reload" for each in threading.enumerate())
    guard.watch()
    assert sum(each.name == "guardrail-reload" for each in threading.enumerate()) <= before
    (folder / "policies" / "main.rego").write_text(DENY)
    request(folder / "audit.db", "digest")

    def loads() -> list[dict[str, Any]]:
        return [each for each in records(folder) if each["type"] == "admin.policy_loaded"]

    until(loads, "a record of the load")
    assert len(loads()) == 1


def test_a_session_of_an_earlier_process_keeps_its_owner(folder: Path) -> None:
    """Read from the ledger."""
    with (
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard,
        guard.session(principal="alice", id="s"),
    ):
        guard.call("x", {}, lambda: None)
    with Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard:
        assert guard.session(principal="alice", id="s").id == "s"
        assert guard.session(principal="alice", id="new").id == "new"
    with (
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard,
        pytest.raises(IdentityError),
    ):
        guard.session(principal="eve", id="s")


def test_a_session_belongs_to_an_id_and_who_vouches_for_it(folder: Path) -> None:
    """Two issuers that know an alice know two people, also after a restart."""
    alice = Principal("alice", issuer="https://a.example")
    with (
        Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard,
        guard.session(principal=alice, id="s"),
    ):
        guard.call("x", {}, lambda: None)
    with Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard:
        assert guard.session(principal=alice, id="s").id == "s"
    for other in ("alice", Principal("alice", issuer="https://b.example")):
        with (
            Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard,
            pytest.raises(IdentityError),
        ):
            guard.session(principal=other, id="s")


def test_a_forked_child_can_use_the_guard(guard: Guard, folder: Path) -> None:
    """With workers, connection and lease of its own."""
    guard.call("x", {}, lambda: None)
    child = os.fork()
    if child == 0:
        try:
            guard.call("x", {}, lambda: None)
            os._exit(0)
        except BaseException:
            os._exit(1)
    guard.call("x", {}, lambda: None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    outcomes = [record for record in records(folder) if record["type"] == "call.outcome"]
    assert len(outcomes) == 3
    assert len({record["origin"]["process"] for record in outcomes}) == 2  # type: ignore[index,call-overload]


def test_many_threads_share_a_guard(guard: Guard, folder: Path) -> None:
    """Each call has its decision and its outcome."""

    def work() -> None:
        for _ in range(10):
            guard.call("x", {}, lambda: None)

    threads = [threading.Thread(target=guard.bind()(work)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(record["type"] == "call.outcome" for record in records(folder)) == 80


def test_a_reload_that_cannot_be_recorded_is_not_in_force(folder: Path) -> None:
    """The old policies stay, and no worker of the new ones is left behind."""
    policy = StaticPolicy(allow())
    settings = Settings().override(
        policy={"path": folder / "policies"}, identity={"require": "any"}
    )
    guard, ledger = memory_guard(policy, settings=settings)
    ledger.fail = lambda _: LedgerError("full")
    with pytest.raises(LedgerError):
        guard.reload()
    ledger.fail = lambda _: None
    guard.call("x", {}, lambda: None)
    assert ledger.of("call.decision")[0]["policy"]["engine"] == "static"


def test_policies_that_do_not_exist_are_named_with_the_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped argument is to be corrected; a missing default is what ``init`` creates."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        Guard.open(policies="nope")
    assert caught.value.code == "config.policies"
    assert str(caught.value) == (
        f"{tmp_path / 'nope'}: this folder, passed as policies=, does not exist"
    )
    assert caught.value.hint == "correct the argument, or put policies there"
    with pytest.raises(ConfigError, match="no policies at this path") as caught:
        Guard.open()
    assert caught.value.hint == "guardrail init"
