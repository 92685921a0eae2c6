"""Tenants with tables: each call goes to the guard of its session's tenant."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.config import Settings
from guardrail.errors import ConfigError, GuardrailError, IdentityError, LedgerError, UsageError
from guardrail.wiring.tenants import TenantGuards
from tests.support.guards import journal_of, records, tenants_of, whole
from tests.support.projects import ALLOW_ALL
from tests.support.tokens import AUDIENCE, ISSUER, jwk, key_set, token
from tests.support.waiting import PATIENCE

SETTINGS = """\
[tenants.acme]
[tenants.globex.policy]
path = "strict"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with three tenants: default and acme allow all calls, and globex allows none."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.rego").write_text(ALLOW_ALL)
    (tmp_path / "strict").mkdir()
    (tmp_path / "strict" / "policy.rego").write_text(ALLOW_ALL.replace('"tool"', '"nothing"'))
    (tmp_path / "guardrail.toml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture
def guard(project: Path) -> Iterator[Guard]:
    """The guard of all tenants."""
    with Guard.open(project / "guardrail.toml") as made:
        made.declare("send", schema={"type": "object"})
        yield made


def ledger(project: Path, tenant: str) -> Path:
    """Return the ledger of *tenant*."""
    return project / "tenants" / tenant / "audit" / "ledger.db"


async def test_each_tenant_has_its_own_policy_and_ledger(guard: Guard, project: Path) -> None:
    """Every way to make a call, and every tool, goes to the session's tenant."""
    with guard.session("alice", tenant="acme", id="S-1"):
        assert guard.call("send", {}, lambda: "sent") == "sent"
        assert await guard.acall("send", {}, lambda: "sent") == "sent"
        guard.admit("send", {}).settle(result="sent")
        (await guard.aadmit("send", {})).settle(result="sent")
        guard.reject("send", "bad_arguments")
        await guard.areject("send", "bad_arguments")
        assert len(guard.listed(["send"])) == 1
        assert len(await guard.alisted(["send"])) == 1
    strict = guard.session("alice", tenant="globex", id="S-1")
    with pytest.raises(Denied):
        guard.call("send", {}, lambda: "sent", session=strict)
    with guard.session("alice"):
        guard.call("send", {}, lambda: "sent")
    guard.close()
    found = whole(ledger(project, "acme"))
    assert [each["type"] for each in found if each["type"].startswith("call.")].count(
        "call.decision"
    ) == 4
    assert {each["tenant"] for each in found if "tenant" in each} <= {"acme", "default"}
    assert len(records(ledger(project, "globex"), "call.decision")) == 1
    assert len(records(project / "audit" / "ledger.db", "call.decision")) == 1


def test_a_session_stays_in_its_ledger_through_the_guard_of_another_tenant(
    guard: Guard, project: Path
) -> None:
    """``of_tenant`` returns a guard that could be used for calls by mistake."""
    other = guard.of_tenant("acme")
    strict, own = guard.session("alice", tenant="globex"), guard.session("alice")
    with pytest.raises(Denied):
        other.call("send", {}, lambda: "sent", session=strict)
    with strict, pytest.raises(Denied):
        other.admit("send", {})
    assert other.call("send", {}, lambda: "sent", session=own) == "sent"
    with other.session("alice"):
        assert other.call("send", {}, lambda: "sent") == "sent"
    guard.close()
    for path, tenant in (
        (project / "audit" / "ledger.db", "default"),
        (ledger(project, "acme"), "acme"),
        (ledger(project, "globex"), "globex"),
    ):
        assert {each["tenant"] for each in records(path, "call.decision")} == {tenant}


def test_tenants_share_no_token_and_no_commitment(guard: Guard, project: Path) -> None:
    """The same call by the same person is recorded with different tokens."""
    seen = []
    for tenant in ("default", "acme"):
        with guard.session("alice", tenant=tenant):
            guard.call("send", {"email": "bob@example.com"}, lambda email: None)
    guard.close()
    for path in (project / "audit" / "ledger.db", ledger(project, "acme")):
        (record,) = records(path, "call.decision")
        seen.append((str(record["input"]), record["commitment"]))
    assert "gr1:contact:" in seen[0][0]
    assert all(one != other for one, other in zip(*seen, strict=True))


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("other", ["globex", "default"])
def test_the_ledger_of_another_tenant_is_refused(
    guard: Guard, project: Path, other: str, keys: bool
) -> None:
    """Whether its keys were copied as well or not. Other tenants go on, and so does this one with
    its own files.
    """
    for tenant in ("acme", "globex"):
        guard.session("alice", tenant=tenant)
    guard.close()
    own = ledger(project, "acme")
    source = project / "audit" / "ledger.db" if other == "default" else ledger(project, other)
    kept = own.parent.with_name("kept")
    shutil.copytree(own.parent, kept)
    shutil.copy(source, own)
    if keys:
        shutil.rmtree(own.with_suffix(".keys"))
        shutil.copytree(source.with_suffix(".keys"), own.with_suffix(".keys"))
    with Guard.open(project / "guardrail.toml") as again:
        again.declare("send", schema={"type": "object"})
        with pytest.raises(GuardrailError) as caught:
            again.session("alice", tenant="acme")
        assert caught.value.hint
        if keys:
            assert caught.value.code == "ledger.tenant"
            assert "ledger of another tenant than 'acme'" in str(caught.value)
        again.session("alice", tenant="globex")
    shutil.rmtree(own.parent)
    kept.rename(own.parent)
    with Guard.open(project / "guardrail.toml") as again:
        again.session("alice", tenant="acme")


def test_a_tenant_that_does_not_exist_is_refused(guard: Guard) -> None:
    """Neither a session nor a guard of it is opened."""
    with pytest.raises(IdentityError) as caught:
        guard.session("alice", tenant="nobody")
    assert caught.value.code == "identity.tenant"
    with pytest.raises(IdentityError):
        guard.of_tenant("../x")


def test_errors_name_the_commands_of_their_tenant(project: Path) -> None:
    """With each option that the command needs. Without tables, no tenant is named."""
    (project / "jwks.json").write_text(key_set(jwk()))
    asks = 'require_approval contains {"rule": "r", "message": "m"} if input.resource.id == "pay"'
    (project / "policies" / "policy.rego").write_text(f"{ALLOW_ALL}\n{asks}\n")
    issuer = f'[identity.issuers."{ISSUER}"]\njwks = "jwks.json"\naudience = "{AUDIENCE}"\n'
    settings = project / "guardrail.toml"
    settings.write_text(f"[limits]\ncalls_per_minute = 2\n{issuer}{SETTINGS}")
    for tenant, option in (("acme", " --tenant acme"), ("default", "")):
        with (
            Guard.open(settings) as guard,
            guard.session("alice", tenant=tenant, id=tenant),
        ):
            with pytest.raises(ApprovalRequired) as asked:
                guard.call("pay", {}, lambda: None)
            approval = asked.value.approval
            assert asked.value.hint == (
                f"guardrail approve {approval} --reason TEXT --token-file FILE{option}"
            )
            with pytest.raises(Denied) as denied:
                guard.call("pay", {}, lambda: None, approval=approval)
            assert denied.value.hint == f"guardrail why {denied.value.seq}{option}"
            with pytest.raises(Denied) as denied:
                guard.call("send", {}, lambda: None)
            assert denied.value.code == "denied.quota"
            # The record of a limit is no decision, so `guardrail why` explains nothing about it.
            assert denied.value.hint == f"guardrail show {denied.value.seq}{option}"
        with Guard.open(settings) as guard, pytest.raises(Denied) as denied:
            guard.of_tenant(tenant).call("send", {}, lambda: None)
        assert denied.value.code == "denied.identity"
        assert denied.value.hint.endswith(f"guardrail why {denied.value.seq}{option}")


def test_a_guard_of_one_tenant_serves_no_other(project: Path) -> None:
    """Its keys must not make the tokens of another tenant."""
    settings = Settings.load(project / "guardrail.toml").of_tenant("acme")
    with Guard.open(settings) as made:
        assert made.of_tenant("acme") is made
        made.session("alice", tenant="acme")
        assert made.session("alice").session.tenant == "acme"
        with pytest.raises(IdentityError, match="only the tenant 'acme'"):
            made.session("alice", tenant="default")


def test_without_tables_all_tenants_share_a_ledger(project: Path) -> None:
    """Their names are then free, and their tokens differ."""
    (project / "guardrail.toml").write_text("")
    with Guard.open(project / "guardrail.toml") as made:
        assert made.of_tenant("Any One") is made
        assert made.session("alice", tenant="Any One").session.tenant == "Any One"


def test_a_tenant_that_fails_does_not_stop_another(guard: Guard, project: Path) -> None:
    """A policy that does not load and a ledger that can't be written affect only their tenant."""
    (project / "strict" / "policy.rego").write_text("package guardrail.policy\n\nallow contains")
    for _ in range(2):  # the second time, the same error again, without another attempt
        with pytest.raises(GuardrailError) as caught:
            guard.session("alice", tenant="globex")
        assert caught.value.code.startswith("policy")
    with guard.session("alice", tenant="acme"):
        guard.call("send", {}, lambda: None)
        journal_of(guard.of_tenant("acme")).ledger.close()
        with pytest.raises(LedgerError):
            guard.call("send", {}, lambda: pytest.fail("ran"))
    with guard.session("alice"):
        guard.call("send", {}, lambda: None)


def test_tenants_can_be_added_and_disabled_while_a_guard_is_open(
    guard: Guard, project: Path
) -> None:
    """The settings file is read again; a file that can't be read changes nothing."""
    file = project / "guardrail.toml"
    acme = guard.session("alice", tenant="acme")
    file.write_text(SETTINGS + "[tenants.initech]\n")
    with guard.session("alice", tenant="initech"):
        guard.call("send", {}, lambda: None)
    file.write_text("[tenants.acme")
    guard.call("send", {}, lambda: None, session=acme)
    file.write_text("[tenants.acme]\ndisabled = true\n")
    with pytest.raises(IdentityError) as caught:
        guard.call("send", {}, lambda: pytest.fail("ran"), session=acme)
    assert caught.value.code == "identity.tenant_disabled"
    with pytest.raises(IdentityError):
        guard.session("alice", tenant="initech")
    file.unlink()
    with guard.session("alice"):
        guard.call("send", {}, lambda: None)


def test_no_tenant_gets_the_ledger_that_another_has_open(guard: Guard, project: Path) -> None:
    """Neither by arguments, nor by a file that moves the ledger of an open guard elsewhere."""
    with pytest.raises(ConfigError, match="the same ledger"):
        Guard.open(project / "guardrail.toml", ledger=ledger(project, "acme"))
    moved = '[ledger]\npath = "elsewhere.db"\n[tenants.late.ledger]\npath = "audit/ledger.db"\n'
    (project / "guardrail.toml").write_text(moved)
    with pytest.raises(IdentityError) as caught:
        guard.session("alice", tenant="late")
    assert caught.value.code == "identity.tenant"
    assert guard.session("alice", tenant="acme")


def test_an_idle_guard_closes_and_opens_again(guard: Guard, project: Path) -> None:
    """Its sessions stay, with the values that they remember."""
    with guard.session("alice", tenant="acme", id="S-1") as session:
        guard.call("send", {"password": "xK9#mQ2$vL5n"}, lambda password: None)
        first = guard.of_session(session)
        tenants_of(guard).close_idle(time.monotonic() + 301)
        assert guard.session("alice", tenant="acme", id="S-1").state is session.state
        guard.call("send", {"note": "xK9#mQ2$vL5n"}, lambda note: None)
        assert guard.of_session() is not first
    guard.close()
    assert b"xK9#mQ2$vL5n" not in ledger(project, "acme").read_bytes()
    assert len(records(ledger(project, "acme"), "admin.stop")) == 2
    whole(ledger(project, "acme"))


def test_a_guard_with_a_call_in_progress_stays_open(guard: Guard) -> None:
    """So does one whose admitted call has no outcome yet."""
    later = time.monotonic() + 301
    with guard.session("alice", tenant="acme") as session:
        made = guard.of_session(session)
        guard.call("send", {}, lambda: tenants_of(guard).close_idle(later))
        assert guard.of_session(session) is made
        running: list[int] = []
        for caller in (guard, made):  # however the tenant's guard was reached
            caller.call("send", {}, lambda: running.append(len(made.running)))
        assert running == [1, 1]
        assert not made.running
        admitted = guard.admit("send", {})
        tenants_of(guard).close_idle(later)
        assert guard.of_session(session) is made
        admitted.settle()
        tenants_of(guard).close_idle(time.monotonic() + 301)
        assert guard.of_session(session) is not made


class FakeGuard:
    """Stands for a guard in tests of the bookkeeping alone."""

    def __init__(self) -> None:
        self.closed = 0
        self.fails = False
        self.meanwhile: Callable[[], object] = lambda: None

    def is_idle(self) -> bool:
        """Return True, or raise as a damaged ledger does."""
        self.meanwhile()
        if self.fails:
            raise LedgerError("damaged")
        return True

    def close(self) -> None:
        """Count."""
        self.closed += 1


def bookkeeping(folder: Path, text: str) -> tuple[TenantGuards[FakeGuard], list[str]]:
    """Return the guards of the tenants in *text*, and the names of those that were opened."""
    file = folder / "guardrail.toml"
    file.write_text(text)
    opened: list[str] = []

    def open_guard(settings: Settings) -> FakeGuard:
        opened.append(settings.identity.tenant)
        return FakeGuard()

    return TenantGuards(Settings.load(file), FakeGuard(), open_guard), opened


def test_only_the_guards_used_most_recently_stay_open(tmp_path: Path) -> None:
    """Above the limit, the oldest ones close as soon as they are not in use."""
    tables = "".join(f"[tenants.t{number}]\n" for number in range(5))
    guards, _ = bookkeeping(tmp_path, f"[limits]\nopen_tenants = 2\n{tables}")
    made = [guards.get(f"t{number}") for number in range(5)]
    guards.close_idle(time.monotonic())
    assert [each.closed for each in made] == [0, 0, 0, 0, 0]
    made[0].fails = True
    guards.close_idle(time.monotonic() + 31)
    assert [each.closed for each in made] == [0, 1, 1, 0, 0]
    guards.close()
    guards.close()
    assert [each.closed for each in made] == [1, 1, 1, 1, 1]
    with pytest.raises(UsageError, match="closed"):
        guards.get("t1")


def test_a_guard_that_is_used_while_it_is_examined_stays_open(tmp_path: Path) -> None:
    """The caller has it already."""
    guards, opened = bookkeeping(tmp_path, "[tenants.acme]\n")
    made = guards.get("acme")
    made.meanwhile = lambda: guards.get("acme")
    guards.close_idle(time.monotonic() + 301)
    assert made.closed == 0
    assert guards.get("acme") is made
    assert opened == ["acme"]
    guards.close()


def test_a_link_to_the_files_of_another_tenant_is_found_when_its_guard_is_opened(
    guard: Guard, project: Path
) -> None:
    """Also if it was made after the settings were read. The other tenant goes on."""
    with guard.session("alice", tenant="acme"):
        guard.call("send", {}, lambda: None)
        (project / "tenants" / "globex").symlink_to(project / "tenants" / "acme")
        with pytest.raises(ConfigError, match="have the same ledger"):
            guard.session("alice", tenant="globex")
        guard.call("send", {}, lambda: None)


async def test_an_event_loop_does_not_wait_while_a_tenant_is_opened(tmp_path: Path) -> None:
    """Tasks of the same tenant wait for one opening. A failure reaches all of them."""
    file = tmp_path / "guardrail.toml"
    file.write_text("[tenants.acme]\n[tenants.globex]\n")
    proceed = threading.Event()
    opened: list[str] = []

    def open_guard(settings: Settings) -> FakeGuard:
        opened.append(settings.identity.tenant)
        if settings.identity.tenant == "globex":
            raise LedgerError("damaged")
        assert proceed.wait(PATIENCE)
        return FakeGuard()

    own = FakeGuard()
    guards = TenantGuards(Settings.load(file), own, open_guard)
    waiting = [asyncio.ensure_future(guards.aget("acme")) for _ in range(3)]
    await asyncio.sleep(0)
    assert await guards.aget("default") is own
    with pytest.raises(LedgerError):
        await guards.aget("globex")
    proceed.set()
    found = await asyncio.gather(*waiting)
    assert len(set(map(id, found))) == 1
    assert await guards.aget("acme") is found[0]
    assert opened.count("acme") == 1
    guards.close()


async def test_a_closed_guard_is_not_held_by_its_opening(tmp_path: Path) -> None:
    """An idle tenant takes only the memory of its sessions."""
    guards, _ = bookkeeping(tmp_path, "[tenants.acme]\n")
    closed = weakref.ref(await guards.aget("acme"))
    guards.close()
    gc.collect()
    assert closed() is None


async def test_a_session_of_a_tenant_can_be_awaited(guard: Guard) -> None:
    """Its calls go to the tenant's guard, as those of other sessions do."""
    async with await guard.asession("alice", tenant="acme") as session:
        assert await guard.acall("send", {}, lambda: "sent") == "sent"
        assert guard.of_session(session) is guard.of_tenant("acme")
    with pytest.raises(IdentityError):
        await guard.asession("alice", tenant="nobody")


def test_threads_that_need_a_tenant_at_once_open_it_once(tmp_path: Path) -> None:
    """The others wait for it."""
    guards, opened = bookkeeping(tmp_path, "[tenants.acme]\n")
    found: list[FakeGuard] = []
    threads = [threading.Thread(target=lambda: found.append(guards.get("acme"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["acme"]
    assert len(set(map(id, found))) == 1
    guards.close()


def test_a_guard_that_opens_while_all_are_closed_is_closed(project: Path) -> None:
    """Otherwise, calls would run after the program closed its guard."""
    made: list[FakeGuard] = []

    def open_guard(_settings: Settings) -> FakeGuard:
        guards.close()
        made.append(FakeGuard())
        return made[0]

    guards = TenantGuards(Settings.load(project / "guardrail.toml"), FakeGuard(), open_guard)
    with pytest.raises(UsageError, match="closed"):
        guards.get("acme")
    assert made[0].closed == 1
    with pytest.raises(UsageError, match="closed"):
        guards.get("acme")


def test_the_guard_of_a_tenant_is_not_idle_while_a_call_runs(guard: Guard) -> None:
    with guard.session("alice", tenant="acme"):
        acme = guard.of_tenant("acme")
        assert guard.call("send", {}, acme.is_idle) is False
    assert acme.is_idle()


def test_refused_tokens_are_recorded_outside_the_tenants_tables(project: Path) -> None:
    """Their tenant is not known, and the guard of the last tenant that was opened may close."""
    (project / "keys.json").write_text(key_set(jwk()))
    issuer = f'''[identity.issuers."{ISSUER}"]
jwks = "keys.json"
audience = "{AUDIENCE}"
tenant_claim = "tid"
'''
    (project / "guardrail.toml").write_text(issuer + SETTINGS)
    now = int(time.time())
    with Guard.open(project / "guardrail.toml") as made:
        with made.session(token=token(now=now, tid="acme")):
            made.call("send", {}, lambda: 1)
        tenants_of(made).close_idle(time.monotonic() + 1e6)
        for _ in range(3):
            with pytest.raises(IdentityError):
                made.session(token=token(now=now - 9_999, tid="globex"))
    (ledger_of_all,) = (project / "audit").glob("*.db")
    (record,) = records(ledger_of_all, "admin.tokens_refused")
    assert record["detail"]["count"] == 3
    assert records(ledger(project, "acme"), "admin.tokens_refused") == []
