"""The agent's own token, beside the token of the caller: each identity is verified by itself."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from guardrail import Agent, Denied, Guard
from guardrail.config import Settings
from guardrail.errors import IdentityError
from guardrail.identity.principal import SOMEONE_ELSES
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.tokens import AUDIENCE, ISSUER, NOW, jwk, key_set, token

DOMAIN = "spiffe://example.org"
BOT = f"{DOMAIN}/support-bot"
OTHER = "https://other.example.com"


def svid(**claims: Any) -> str:
    """Return a JWT-SVID of the agent."""
    stated = {"iss": None, "sub": BOT, "iat": None, **claims}
    return token(number=1, kid="s1", header={"typ": "JWT"}, **stated)


def made(folder: Path, require: str = "any") -> tuple[Guard, MemoryLedger, StaticPolicy]:
    """Return a guard that verifies people's tokens and SVIDs."""
    (folder / "people.json").write_text(key_set(jwk()))
    (folder / "agents.json").write_text(key_set(jwk("s1", number=1)))
    issuers = {
        ISSUER: {
            "jwks": str(folder / "people.json"),
            "audience": AUDIENCE,
            "tenant_claim": "/tid",
        },
        DOMAIN: {"jwks": str(folder / "agents.json"), "audience": AUDIENCE},
        OTHER: {"jwks": str(folder / "agents.json"), "audience": AUDIENCE},
    }
    if require == "any":
        del issuers[ISSUER]["tenant_claim"]
    settings = Settings().override(identity={"require": require, "issuers": issuers})
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy, settings=settings)
    return guard, ledger, policy


def called(guard: Guard) -> str:
    """Make a call; return ``ran`` or the detail of the denial."""
    try:
        guard.call("x", {}, lambda: None)
    except Denied as denied:
        return denied.code
    return "ran"


def last(ledger: MemoryLedger) -> dict[str, Any]:
    return ledger.of("call.decision")[-1]


def test_both_identities_are_verified_by_their_own_issuers(tmp_path: Path) -> None:
    """And no part of either token is recorded."""
    guard, ledger, policy = made(tmp_path)
    person, own = token(), svid()
    told = Agent(BOT, version="7", instance="pod-3")
    with guard.session(token=person, agent_token=own, agent=told):
        assert called(guard) == "ran"
    record = last(ledger)
    assert (record["principal"]["id"], record["principal"]["assurance"]) == (
        "alice@example.com",
        "verified",
    )
    assert record["agent"] == {
        "id": BOT,
        "form": "clear",
        "version": "7",
        "framework": None,
        "instance": "pod-3",
        "issuer": DOMAIN,
        "assurance": "verified",
        "method": "spiffe_jwt",
    }
    seen = policy.inputs[0]["context"]["agent"]
    assert (seen["assurance"], seen["issuer"], seen["id"]) == ("verified", DOMAIN, BOT)
    written = b"".join(ledger.lines).decode()
    for part in (*person.split("."), *own.split(".")):
        assert part not in written


@pytest.mark.parametrize("principal", ["alice", None])
def test_a_verified_agent_makes_no_principal_verified(
    tmp_path: Path, principal: str | None
) -> None:
    for require, expected in (("any", "ran"), ("verified", "denied.identity")):
        guard, ledger, _ = made(tmp_path, require)
        with guard.session(principal=principal, agent_token=svid()):
            assert called(guard) == expected
        record = last(ledger)
        assert record["agent"]["assurance"] == "verified"
        assert record["principal"]["assurance"] == ("asserted" if principal else "absent")
        if expected != "ran":
            assert record["decision"]["detail"] == ("unverified" if principal else "absent")


def test_the_claim_act_must_name_the_agent_whose_token_is_passed(tmp_path: Path) -> None:
    guard, ledger, _ = made(tmp_path)
    with guard.session(token=token(act={"sub": BOT}), agent_token=svid()):
        assert called(guard) == "ran"
    assert last(ledger)["agent"]["issuer"] == DOMAIN
    assert [step["sub"] for step in last(ledger)["delegation"]] == [BOT]


@pytest.mark.parametrize("stated", ["https://evil.example", DOMAIN, ISSUER])
def test_an_actor_in_a_token_has_the_issuer_that_signed_the_token(
    tmp_path: Path, stated: str
) -> None:
    """An issuer that signed nothing is no issuer of a verified identity. The chain keeps its
    name.
    """
    guard, ledger, policy = made(tmp_path)
    with guard.session(token=token(act={"sub": BOT, "iss": stated})):
        assert called(guard) == "ran"
    record = last(ledger)
    assert (record["agent"]["assurance"], record["agent"]["issuer"]) == ("verified", ISSUER)
    assert policy.inputs[0]["context"]["agent"]["issuer"] == ISSUER
    assert record["delegation"][0]["iss"] == stated


def test_a_token_of_a_client_of_the_persons_issuer_can_be_the_agents_own(tmp_path: Path) -> None:
    guard, ledger, _ = made(tmp_path)
    with guard.session(token=token(), agent_token=token(sub="desk", client_id="desk")):
        assert called(guard) == "ran"
    agent = last(ledger)["agent"]
    assert (agent["id"], agent["issuer"], agent["assurance"]) == ("desk", ISSUER, "verified")


def test_an_actor_can_state_the_issuer_of_the_agent_whose_token_is_passed(tmp_path: Path) -> None:
    guard, ledger, _ = made(tmp_path)
    with guard.session(token=token(act={"sub": BOT, "iss": DOMAIN}), agent_token=svid()):
        assert called(guard) == "ran"
    assert last(ledger)["agent"]["issuer"] == DOMAIN


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ({"token": token(act={"sub": "other"}), "agent_token": svid()}, "identity.agent"),
        (
            {"token": token(act={"sub": BOT, "iss": "https://other"}), "agent_token": svid()},
            "identity.agent",
        ),
        ({"agent_token": svid(), "agent": "other"}, "identity.agent"),
        ({"agent_token": svid(act={"sub": "other"})}, "identity.agent"),
        ({"token": token(), "agent_token": token()}, "identity.agent"),
        ({"token": token(), "agent_token": token(sub="bob@example.com")}, "identity.agent"),
        ({"agent_token": token(sub="bob@example.com", client_id="web")}, "identity.agent"),
        ({"token": svid(), "agent_token": svid()}, "identity.agent"),
        ({"token": svid(exp=NOW + 200), "agent_token": svid()}, "identity.agent"),
        ({"agent_token": svid(aud="other")}, "identity.token.audience"),
        ({"agent_token": svid(exp=NOW - 3600)}, "identity.token.expired"),
        ({"agent_token": "x.y.z"}, "identity.token.malformed"),
    ],
)
def test_a_token_that_does_not_fit_is_refused(
    tmp_path: Path, session: dict[str, Any], code: str
) -> None:
    guard, ledger, _ = made(tmp_path)
    with pytest.raises(IdentityError) as caught:
        guard.session(**session)
    assert caught.value.code == code
    assert ledger.of("call.decision") == []


def test_the_next_call_notices_that_either_token_has_expired(tmp_path: Path) -> None:
    for person, own in ((600, 100), (100, 600)):
        guard, ledger, _ = made(tmp_path)
        with guard.session(token=token(exp=NOW + person), agent_token=svid(exp=NOW + own)):
            assert called(guard) == "ran"
            ledger.now += timedelta(seconds=140)
            assert called(guard) == "denied.identity"
        assert last(ledger)["decision"]["detail"] == "token_expired"


def test_an_agent_of_another_issuer_does_not_continue_a_session(tmp_path: Path) -> None:
    """Both issuers call their agent the same."""
    guard, ledger, _ = made(tmp_path)
    desk: dict[str, Any] = {"sub": "desk", "client_id": "desk"}
    with guard.session(token=token(), agent_token=token(**desk), id="s-1"):
        assert called(guard) == "ran"
    other = token(number=1, kid="s1", iss=OTHER, **desk)
    with (
        pytest.raises(IdentityError) as caught,
        guard.session(token=token(), agent_token=other, id="s-1"),
    ):
        pass
    assert caught.value.code == SOMEONE_ELSES
    assert [each["agent"]["issuer"] for each in ledger.of("call.decision")] == [ISSUER]


@pytest.mark.parametrize(
    ("people", "agents", "passed", "expected"),
    [
        ("acme", "acme", None, "acme"),
        (None, "acme", None, "identity.tenant"),
        (None, "acme", "acme", "acme"),
        (None, "default", None, "default"),
        ("acme", None, None, "acme"),
        ("acme", None, "acme", "acme"),
        ("acme", None, "globex", "identity.tenant"),
        (None, None, "acme", "acme"),
        ("acme", "globex", None, "identity.tenant"),
        (None, "acme", "globex", "identity.tenant"),
    ],
)
def test_the_tenants_of_both_tokens_and_of_the_program_agree(
    tmp_path: Path, people: str | None, agents: str | None, passed: str | None, expected: str
) -> None:
    """The token of the agent may agree with the tenant, and never selects it."""
    (tmp_path / "people.json").write_text(key_set(jwk()))
    (tmp_path / "agents.json").write_text(key_set(jwk("s1", number=1)))
    issuers = {
        name: {"jwks": str(tmp_path / file), "audience": AUDIENCE, **({"tenant": of} if of else {})}
        for name, file, of in ((ISSUER, "people.json", people), (DOMAIN, "agents.json", agents))
    }
    settings = Settings().override(identity={"require": "any", "issuers": issuers})
    guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings)
    try:
        with guard.session(token=token(), agent_token=svid(), tenant=passed):
            called(guard)
            found = last(ledger)["tenant"]
    except IdentityError as error:
        found = error.code
    assert found == expected


def test_the_session_of_a_verified_agent_is_not_continued_by_an_asserted_one(
    tmp_path: Path,
) -> None:
    guard, _, _ = made(tmp_path)
    with guard.session(principal="alice", agent_token=svid(), id="s"):
        assert called(guard) == "ran"
    with pytest.raises(IdentityError):
        guard.session(principal="alice", agent=BOT, id="s")


def test_neither_token_is_shown_by_an_error(tmp_path: Path) -> None:
    guard, _, _ = made(tmp_path)
    own = svid(aud="other")
    with pytest.raises(IdentityError) as caught:
        guard.session(principal="alice", agent_token=own)
    assert own not in json.dumps([str(caught.value), repr(caught.value)])


async def _opened(guard: Guard) -> None:
    async with await guard.asession(principal="alice", agent_token=svid()):
        await guard.acall("x", {}, lambda: None)


def test_the_async_form_takes_the_token_too(tmp_path: Path) -> None:
    guard, ledger, _ = made(tmp_path)
    asyncio.run(_opened(guard))
    assert last(ledger)["agent"]["assurance"] == "verified"
