"""Tokens of a real OpenID Connect provider, whose users log in without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import jwt
import pytest

from guardrail import Denied, Guard
from guardrail.config import ProxySettings
from guardrail.errors import IdentityError
from guardrail.proxy.listening import proxy_listener
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.model_server import ModelServer
from tests.support.oidc import OidcProvider, oidc_provider
from tests.support.openai_clients import CHAT, asking
from tests.support.tokens import AUDIENCE, settings_for

pytestmark = pytest.mark.slow


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as made:
        yield made


def guard_of(provider: OidcProvider, **identity: Any) -> tuple[Guard, MemoryLedger]:
    """Return a guard that verifies the provider's tokens, at the time of this machine."""
    settings = settings_for(provider.jwks_uri, issuer=provider.issuer, roles_claim="scope")
    settings = settings.override(identity=identity)
    guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings)
    ledger.now = datetime.now(UTC)
    return guard, ledger


def run(guard: Guard, token: str) -> str:
    """Make a call in a session of *token*; return the name of its principal."""
    with guard.session(token=token) as session:
        guard.call("x", {}, lambda: None)
    return session.session.principal.id


def refused(guard: Guard, token: str) -> str:
    """Return the code with which *token* is refused."""
    with pytest.raises(IdentityError) as caught:
        guard.session(token=token)
    return caught.value.code


def test_people_and_programs_of_a_provider_are_verified(provider: OidcProvider) -> None:
    """In the guard and in the proxy; ID tokens and tokens for another audience are refused."""
    guard, ledger = guard_of(provider)
    person = provider.log_in("alice", AUDIENCE)
    assert run(guard, person["access_token"]) == "alice"
    assert run(guard, provider.token_of_job(AUDIENCE)) == "nightly-job"
    people = [record["principal"] for record in ledger.of("call.decision")]
    assert [(each["type"], each["assurance"], each["issuer"]) for each in people] == [
        ("user", "verified", provider.issuer),
        ("service", "verified", provider.issuer),
    ]
    assert people[0]["method"] == "oidc_jwt"
    elsewhere = provider.log_in("alice", "https://else.example.com")["access_token"]
    assert refused(guard, elsewhere) == "identity.token.audience"
    assert refused(guard, person["id_token"]) == "identity.token.typ"
    with ModelServer([asking("Bern")], repeat=True) as upstream:
        settings = ProxySettings(listen="127.0.0.1:0")
        with proxy_listener(guard, upstream.openai, settings) as url:
            for token, status in ((person["access_token"], 200), (elsewhere, 401)):
                answer = httpx2.post(
                    f"{url}/v1/chat/completions",
                    json=CHAT,
                    headers={"x-guardrail-identity": token},
                )
                assert answer.status_code == status
    assert ledger.of("call.decision")[-1]["principal"]["id"] == "alice"


def test_a_new_key_of_a_provider_is_picked_up_and_a_retired_one_given_up(
    provider: OidcProvider,
) -> None:
    """The first token of the new key is accepted, and a session of the old key ends."""
    guard, ledger = guard_of(provider)
    old = provider.log_in("alice", AUDIENCE)["access_token"]
    held = guard.session(token=old)
    provider.rotate()
    ledger.now += timedelta(seconds=11)
    new = provider.log_in("bob", AUDIENCE)["access_token"]
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    assert run(guard, new) == "bob"
    assert run(guard, old) == "alice"
    provider.retire()
    provider.rotate()
    ledger.now += timedelta(seconds=11)
    assert run(guard, provider.token_of_job(AUDIENCE)) == "nightly-job"
    with pytest.raises(Denied):
        guard.call("x", {}, lambda: None, session=held)
    assert ledger.of("call.decision")[-1]["decision"]["detail"] == "token_key"
    assert refused(guard, old) == "identity.token.key"


def test_known_keys_of_an_unreachable_provider_are_used_until_they_are_too_old(
    provider: OidcProvider,
) -> None:
    """Then calls are denied, and the record says why."""
    guard, ledger = guard_of(provider, jwks_refresh_s=10, jwks_max_age_s=60)
    token = provider.log_in("alice", AUDIENCE)["access_token"]
    other = provider.token_of_job(AUDIENCE)
    session = guard.session(token=token)
    provider.stop()
    ledger.now += timedelta(seconds=45)
    assert run(guard, other) == "nightly-job"
    guard.call("x", {}, lambda: None, session=session)
    ledger.now += timedelta(seconds=30)
    with pytest.raises(Denied) as denied:
        guard.call("x", {}, lambda: None, session=session)
    assert "guardrail doctor" in denied.value.hint
    decision = ledger.of("call.decision")[-1]["decision"]
    assert (decision["cause"], decision["detail"]) == ("identity", "token_keys")
    assert refused(guard, token) == "identity.token.keys"
    assert token not in json.dumps(ledger.records)
