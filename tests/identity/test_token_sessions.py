"""Sessions that are opened with a token: who the records name, and which calls are denied."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from guardrail import Agent, Denied, Guard, Principal
from guardrail.call.refused_tokens import RefusedTokens
from guardrail.config import Settings
from guardrail.config.sections import DEFAULT_LEDGER
from guardrail.errors import ConfigError, IdentityError, UsageError
from guardrail.identity.token_text import SecretText
from guardrail.identity.tokens import PEER, TokenVerifier
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.review.reasons import reason_of
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.command_line import environment
from tests.support.projects import new_project
from tests.support.tokens import (
    ISSUER,
    NOW,
    jwk,
    key_server,
    key_set,
    settings_for,
    token,
    token_guard,
)
from tests.support.waiting import until

KEYS = Keys.ephemeral().tenant("default")


def called(guard: Guard, **how: Any) -> str:
    """Make a call; return ``ran`` or the detail of the denial."""
    try:
        guard.call("x", {}, lambda: None, **how)
    except Denied as denied:
        return denied.code if denied.hint else "no hint"
    return "ran"


def details(ledger: MemoryLedger) -> list[str]:
    """Return the detail of each decision."""
    return [record["decision"]["detail"] for record in ledger.of("call.decision")]


def test_records_and_the_policy_name_a_verified_caller_but_no_token(tmp_path: Path) -> None:
    """In every byte of the ledger, no part of the token appears."""
    policy = StaticPolicy(allow())
    guard, ledger = token_guard(tmp_path, policy, roles_claim="roles", tenant_claim="tid")
    text = token(roles=["clerk"], tid="acme", act={"sub": "bot", "act": {"sub": "outer"}})
    with guard.session(token=text, agent=Agent("bot", version="2"), attributes={"team": "blue"}):
        assert called(guard) == "ran"
    (record,) = ledger.of("call.decision")
    assert record["principal"] == {
        "id": "alice@example.com",
        "form": "clear",
        "type": "user",
        "issuer": ISSUER,
        "assurance": "verified",
        "method": "oidc_jwt",
        "authenticated_at": "2026-01-01T00:00:00Z",
    }
    assert record["agent"]["assurance"] == "verified"
    assert (record["agent"]["id"], record["agent"]["version"]) == ("bot", "2")
    assert (record["tenant"], len(record["delegation"])) == ("acme", 2)
    properties = policy.inputs[0]["subject"]["properties"]
    assert properties["assurance"] == "verified"
    assert properties["authenticated_at"] == "2026-01-01T00:00:00Z"
    assert (properties["roles"], properties["tenant"]) == (["clerk"], "acme")
    assert policy.inputs[0]["context"]["agent"]["assurance"] == "verified"
    written = b"\n".join(ledger.lines).decode()
    for part in (text, *text.split(".")):
        assert part not in written


def test_a_token_that_expires_denies_the_next_call(tmp_path: Path) -> None:
    """Within the session, and with the reason for the reader."""
    guard, ledger = token_guard(tmp_path)
    with guard.session(token=token()) as session:
        assert called(guard) == "ran"
        ledger.now += timedelta(seconds=331)
        assert called(guard) == "denied.identity"
        assert called(guard, session=session) == "denied.identity"
    assert details(ledger) == ["", "token_expired", "token_expired"]
    assert "expired" in reason_of("identity", "token_expired").sentence
    with pytest.raises(IdentityError) as caught:
        guard.session(token=token())
    assert caught.value.code == "identity.token.expired"


def test_a_key_that_is_gone_denies_the_next_call(tmp_path: Path) -> None:
    """If the key set no longer has it, whatever the session did before."""
    guard, ledger = token_guard(tmp_path)
    with guard.session(token=token(exp=2_000_000_000)):
        assert called(guard) == "ran"
        ledger.now += timedelta(seconds=61)  # the signature is verified again
        assert called(guard) == "ran"
        (tmp_path / "jwks.json").write_text(key_set(jwk("k2", number=1)))
        ledger.now += timedelta(seconds=2)
        assert called(guard) == "denied.identity"
    assert details(ledger) == ["", "", "token_key"]


def test_a_key_set_that_is_too_old_denies_the_next_call() -> None:
    """The server does not answer for longer than the settings permit."""
    with key_server(key_set(jwk())) as server:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings_for(server.url))
    with guard.session(token=token(exp=2_000_000_000)):
        assert called(guard) == "ran"
        ledger.now += timedelta(days=2)
        assert called(guard) == "denied.identity"
    assert details(ledger) == ["", "token_keys"]


def test_required_verification_denies_who_is_only_asserted(tmp_path: Path) -> None:
    """And those without a name, each with its own detail."""
    guard, ledger = token_guard(tmp_path)
    with guard.session(principal="alice@example.com"):
        assert called(guard) == "denied.identity"
    with guard.session():
        assert called(guard) == "denied.identity"
    assert called(guard) == "denied.identity"
    with guard.session(token=token(), agent="bot"):
        assert called(guard) == "ran"
    assert details(ledger) == ["unverified", "absent", "absent", ""]
    assert ledger.of("call.decision")[-1]["agent"]["assurance"] == "asserted"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"principal": "alice@example.com"}, "identity.several"),
        ({"delegation": [{"sub": "x"}]}, "identity.several"),
        ({"tenant": "other"}, "identity.tenant"),
        ({"agent": "other"}, "identity.agent"),
    ],
)
def test_the_program_cannot_contradict_a_token(
    tmp_path: Path, how: dict[str, Any], code: str
) -> None:
    """What the token states, the program may repeat but not change."""
    guard, _ = token_guard(tmp_path, tenant_claim="tid")
    text = token(tid="acme", act={"sub": "bot"})
    with pytest.raises(IdentityError) as caught:
        guard.session(token=text, **how)
    assert caught.value.code == code
    assert caught.value.hint
    with guard.session(token=text, tenant="acme", agent="bot"):
        assert called(guard) == "ran"


def test_the_tenant_is_that_of_the_issuer_or_of_the_program(tmp_path: Path) -> None:
    """If no claim states it."""
    guard, _ = token_guard(tmp_path, tenant="acme")
    assert guard.session(token=token()).session.tenant == "acme"
    with pytest.raises(IdentityError):
        guard.session(token=token(), tenant="other")
    guard, _ = token_guard(tmp_path)
    assert guard.session(token=token(), tenant="other").session.tenant == "other"
    assert guard.session(token=token()).session.tenant == "default"


def test_a_newer_token_brings_its_own_roles_into_the_session(tmp_path: Path) -> None:
    """An older entry keeps those of its token, and what the session learned is shared."""
    guard, ledger = token_guard(tmp_path, roles_claim="roles")
    first = guard.session(token=token(roles=["admin"]), id="s")
    assert called(guard, session=first) == "ran"
    second = guard.session(token=token(roles=[], auth_time=1_700_000_000), id="s")
    assert guard.session(token=token(roles=[], auth_time=1_700_000_000), id="s").state is (
        second.state
    )
    assert called(guard, session=second) == "ran"
    assert called(guard, session=first) == "ran"
    assert first.state.memory is second.state.memory
    roles = [
        record["input"]["subject"]["properties"]["roles"] for record in ledger.of("call.decision")
    ]
    assert roles == [["admin"], [], ["admin"]]


def test_an_asserted_caller_does_not_continue_a_verified_session(tmp_path: Path) -> None:
    """Also if the program asserts the same issuer."""
    guard, _ = token_guard(tmp_path, require="asserted")
    guard.session(token=token(), id="s")
    with pytest.raises(IdentityError):
        guard.session(principal=Principal("alice@example.com", issuer=ISSUER), id="s")


def test_only_guardrail_states_a_time_of_authentication(tmp_path: Path) -> None:
    """An asserted identity has none; its issuer is recorded as it was asserted."""
    guard, ledger = token_guard(tmp_path, require="asserted")
    with pytest.raises(IdentityError):
        guard.session(principal=Principal("alice", authenticated_at="2026-01-01T00:00:00Z"))
    with guard.session(principal="alice", agent=Agent("bot", issuer="https://sts.test")):
        assert called(guard) == "ran"
    (record,) = ledger.of("call.decision")
    assert "authenticated_at" not in record["principal"]
    assert record["agent"]["issuer"] == "https://sts.test"


def shown_by_a_debugger(error: BaseException) -> str:
    """Return the local variables in guardrail's frames of *error* and of its causes, as error
    trackers show them.
    """
    shown = []
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if "/guardrail/" in frame.f_code.co_filename:
                shown += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
        link = link.__cause__ or link.__context__
    return "\n".join(shown)


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "other"},
        {"exp": 1, "iat": 0},
        {"iss": "https://other.example"},
        {"kid": "k9"},
        {"number": 1},
        {"sub": 5},
        {"act": {"sub": ""}},
        {"header": {"crit": ["x"]}},
    ],
)
async def test_a_traceback_with_variables_shows_no_part_of_a_token(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    """However the token is refused, and whoever opens the session."""
    guard, _ = token_guard(tmp_path)
    (tmp_path / "jwks.json").write_text(key_set(jwk(), jwk("k2", number=2)))
    text = token(**{"sub": "mallory@example.com", **wrong})
    texts = [*text.split("."), "mallory@example.com"]
    for pad in ("", "!", "=="):
        with pytest.raises(IdentityError) as caught:
            guard.session(token=text + pad)
        shown = shown_by_a_debugger(caught.value)
        with pytest.raises(IdentityError) as caught:
            await guard.asession(token=text + pad)
        shown += shown_by_a_debugger(caught.value)
        assert "SecretText(...)" in shown
        assert [part for part in texts if part in shown] == []


def test_a_token_can_not_be_pickled_out_of_its_session(tmp_path: Path) -> None:
    """The text is kept to verify it again, in an object that hides it."""
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    text = token(now=int(time.time()))
    held = TokenVerifier(settings_for(tmp_path / "jwks.json")).verify(text, wait=0.0)
    kept = [getattr(held, name) for name in held.__slots__]
    assert not any(part in repr(kept) for part in text.split("."))
    with pytest.raises(TypeError):
        pickle.dumps(SecretText(text))


def test_without_an_issuer_no_token_is_taken() -> None:
    """And nothing can be required that can't be had."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(IdentityError, match="name no issuer"):
        guard.session(token=token())
    with pytest.raises(ConfigError, match="without an issuer") as caught:
        memory_guard(
            StaticPolicy(allow()), settings=Settings().override(identity={"require": "verified"})
        )
    assert caught.value.code == "config.identity"


def test_an_event_loop_never_waits_for_a_key_set() -> None:
    """A thread does, so that a token of a new key is accepted at once."""
    with key_server(key_set(jwk())) as server:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings_for(server.url))
        ledger.now += timedelta(seconds=11)
        server.text = key_set(jwk(), jwk("k2", number=1))
        text = token(kid="k2", number=1)

        async def serve() -> str:
            server.hold.clear()
            with pytest.raises(IdentityError) as caught:
                guard.session(token=text)
            server.hold.set()
            await asyncio.to_thread(guard.session, token=text)
            return caught.value.code

        assert asyncio.run(serve()) == "identity.token.key"


def test_settings_with_issuers_have_their_own_digest(tmp_path: Path) -> None:
    """Which names the issuer and a URL, but no path."""
    one = settings_for("/a/jwks.json")
    assert one.digest(KEYS) == settings_for("/b/jwks.json").digest(KEYS)
    assert one.digest(KEYS) != settings_for("https://x/jwks").digest(KEYS)
    assert "/a/" not in json.dumps(one.governed())
    again = Settings().override(identity={"issuers": one.identity.issuers})
    assert again.identity.issuers == one.identity.issuers


async def test_a_task_waits_for_the_new_key_of_an_issuer_while_others_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``session`` refuses such a token on an event loop, and ``asession`` waits for its key."""
    monkeypatch.setattr("guardrail.identity.tokens.FETCH_WAIT_S", 60.0)
    with key_server(key_set(jwk())) as server:
        settings = settings_for(server.url)
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings)
        server.text = key_set(jwk(), jwk("k2", number=1))
        ledger.now += timedelta(seconds=11)
        server.hold.clear()
        with pytest.raises(IdentityError) as caught:
            guard.session(token=token(kid="k2", number=1))
        assert caught.value.code == "identity.token.key"
        opening = asyncio.create_task(guard.asession(token=token(kid="k2", number=1)))
        for _ in range(3):
            async with await guard.asession(token=token()):
                assert called(guard) == "ran"
        assert not opening.done()
        server.hold.set()
        async with await opening:
            assert called(guard) == "ran"
        assert server.requests == 2


async def test_tokens_that_nobody_signed_do_not_wait_in_large_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a server holds up its answer, only 16 wait; the others are refused at once."""
    monkeypatch.setattr("guardrail.identity.tokens.FETCH_WAIT_S", 60.0)
    with key_server(key_set(jwk())) as server:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings_for(server.url))
        ledger.now += timedelta(seconds=11)
        server.hold.clear()
        tasks = [
            asyncio.create_task(guard.asession(token=token(kid=f"x{number}")))
            for number in range(30)
        ]
        ended, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while len(ended) < 14:
            ended, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        assert len(waiting) == 16
        server.hold.set()
        await asyncio.wait(tasks)
        for task in tasks:
            error = task.exception()
            assert isinstance(error, IdentityError)
            assert error.code == "identity.token.key"
        assert server.requests == 2


async def test_a_guard_without_tenants_is_the_guard_of_every_tenant(tmp_path: Path) -> None:
    guard, _ = token_guard(tmp_path)
    assert await guard.aof_tenant("acme") is guard


def test_refused_tokens_are_counted_in_one_record(tmp_path: Path) -> None:
    """However many there are: by reason, and by issuer if the settings name it."""
    guard, ledger = token_guard(tmp_path)
    before = len(ledger.lines)
    for text in ("x", token(aud="other"), token(iss="https://mallory.example"), token(sub=5)) * 50:
        with pytest.raises(IdentityError):
            guard.session(token=text)
    guard.session(token=token())
    assert len(ledger.lines) == before
    guard.close()
    (record,) = ledger.of("admin.tokens_refused")
    detail = record["detail"]
    assert detail["count"] == 200
    assert detail["reasons"] == {"malformed": 50, "audience": 50, "issuer": 50, "claims": 50}
    assert detail["issuers"] == {ISSUER: 100}
    assert detail["addresses"] == {}
    assert "mallory" not in str(ledger.lines)


def test_tokens_are_recorded_at_the_exit_of_a_program_that_does_not_close_its_guard(
    tmp_path: Path,
) -> None:
    """And a child that was forked meanwhile records none of them."""
    settings = f'[identity.issuers."{ISSUER}"]\naudience = "orders"\njwks = "keys.json"\n'
    folder = new_project(tmp_path / "project", settings)
    (folder / "keys.json").write_text(key_set(jwk()))
    program = """
import os, sys
from guardrail import Guard
from guardrail.errors import IdentityError
guard = Guard.open("guardrail.toml")
for _ in range(3):
    try:
        guard.session(token="x")
    except IdentityError:
        pass
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
"""
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(),
        check=True,
        timeout=60,
    )
    with LedgerReader.open(folder / DEFAULT_LEDGER) as reader:
        records = [json.loads(line) for _, _, line in reader.lines()]
    counts = [each["detail"] for each in records if each["type"] == "admin.tokens_refused"]
    assert [each["reasons"] for each in counts] == [{"malformed": 3}]


def test_addresses_of_refused_tokens_are_bounded() -> None:
    """A record names 16, and counts the others together. It is written once a minute."""
    written: list[Any] = []
    counts = RefusedTokens(lambda type_, detail: written.append((type_, detail)), often_s=0.01)
    for number in range(100):
        counts.note("key", None, f"192.0.2.{number}")
    until(lambda: sum(detail["count"] for _, detail in written) == 100)
    counts.close()
    counts.close()
    assert all(len(detail["addresses"]) <= 17 for _, detail in written)
    assert sum(sum(detail["addresses"].values()) for _, detail in written) == 100


def test_only_ip_addresses_of_clients_are_recorded(tmp_path: Path) -> None:
    """Servers take the address of a client from a header, which can be any text."""
    guard, ledger = token_guard(tmp_path)
    secret = "sk-proj-aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA2bC4dE6fG8h"
    texts = (secret, "x" * 65_300, "\ud800", "", "10.1", "192.0.2.7", f"fe80:0::1%{secret}")
    for text in texts:
        PEER.set(text)
        with pytest.raises(IdentityError):
            guard.session(token="x")
    PEER.set(None)
    guard.close()
    (record,) = ledger.of("admin.tokens_refused")
    assert record["detail"]["count"] == len(texts)
    assert record["detail"]["addresses"] == {"others": 5, "192.0.2.7": 1, "fe80::1": 1}
    assert secret not in str(ledger.lines)


def test_a_count_that_has_a_value_that_cannot_be_recorded_is_recorded_without_it(
    tmp_path: Path,
) -> None:
    guard, ledger = token_guard(tmp_path)
    counts = RefusedTokens(guard.record_admin)
    counts._add(reasons="key", issuers=ISSUER, addresses="\ud800")
    counts.close()
    (record,) = ledger.of("admin.tokens_refused")
    detail = {name: record["detail"][name] for name in ("count", "issuers", "addresses")}
    assert detail == {"count": 1, "issuers": {ISSUER: 1}, "addresses": {}}
    guard.close()


def test_a_child_records_no_tokens_that_its_parent_counted() -> None:
    """And starts from zero."""
    written: list[Any] = []
    counts = RefusedTokens(lambda _, detail: written.append(detail["count"]))
    counts.note("key", None, None)
    child = os.fork()
    if child == 0:
        counts.close()
        counts.note("key", None, None)
        counts.close()
        os._exit(0 if written == [1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    counts.close()
    assert written == [1]


def test_a_clock_that_is_set_back_revives_no_token(tmp_path: Path) -> None:
    """Neither in its session nor in a new one."""
    guard, ledger = token_guard(tmp_path)
    text = token()
    with guard.session(token=text):
        assert called(guard) == "ran"
        ledger.now += timedelta(seconds=331)
        assert called(guard) == "denied.identity"
        ledger.now -= timedelta(seconds=331)
        assert called(guard) == "denied.identity"
    with pytest.raises(IdentityError) as caught:
        guard.session(token=text)
    assert caught.value.code == "identity.token.expired"
    guard.session(token=token(jti="new"))


def test_a_clock_that_stands_still_does_not_extend_a_token(tmp_path: Path) -> None:
    """Its time is also measured by a clock that nobody can set."""
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    made = settings_for(tmp_path / "jwks.json").override(identity={"leeway_s": 0})
    held = TokenVerifier(made, lambda: float(NOW)).verify(token(exp=NOW + 1), wait=0.0)
    until(lambda: held.refusal() == "token_expired")


def test_another_session_of_a_caller_has_its_tokens(tmp_path: Path) -> None:
    """But its own id, and no wait for the issuer: its calls check the token."""
    guard, ledger = token_guard(tmp_path)
    first = guard.session(token=token(), agent=Agent("bot", charter="be kind"), id="S-1")
    second = guard.another_session(first)
    assert second.id != first.id
    assert second.session.principal == first.session.principal
    assert second.session.agent == first.session.agent
    guard.call("x", {}, lambda: None, session=second)
    ledger.now += timedelta(seconds=331)
    with pytest.raises(Denied):
        guard.call("x", {}, lambda: None, session=second)
    other, _ = token_guard(tmp_path)
    with pytest.raises(UsageError):
        other.another_session(first)
