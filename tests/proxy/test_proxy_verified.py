"""Callers of the proxy that access tokens identify: who the records name, who is refused, and where
the tokens never appear.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from guardrail import Guard
from guardrail.config import ProxySettings, Settings
from guardrail.errors import ConfigError
from guardrail.proxy.app import Proxy
from guardrail.proxy.embedded import EmbeddedProxy
from guardrail.proxy.listening import listener_rules, proxy_listener
from guardrail.proxy.notices import Notices
from guardrail.system.caller_tokens import add_token
from guardrail.system.os_user import user_name
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.adapters import Bench
from tests.support.guards import records
from tests.support.introspection import introspection_server, table
from tests.support.model_server import Call, Chat, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, asking
from tests.support.projects import ALLOW_ALL
from tests.support.tokens import jwk, key_server, key_set, settings_for, token, token_guard

HEADER = "x-guardrail-identity"
ACT = {"sub": "bot", "act": {"sub": "portal"}}


def bench_of(folder: Path, **more: Any) -> Bench:
    """Return a bench whose guard verifies the tokens of one issuer."""
    policy = StaticPolicy(allow())
    guard, ledger = token_guard(folder, policy, **more)
    return Bench(guard, ledger, policy)


class Served:
    """A proxy that serves."""

    def __init__(self, url: str, upstream: ModelServer, log: list[str]) -> None:
        self.base = f"{url}/v1"
        self.upstream = upstream
        self.log = log
        self.client = httpx2.Client()

    def ask(self, given: str | None = None, body: Any = CHAT, **headers: str) -> httpx2.Response:
        """Send a request with an access token, or without one."""
        path = "responses" if "input" in body else "chat/completions"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        own = {} if given is None else {HEADER: given}
        return self.client.post(f"{self.base}/{path}", json=body, headers={**own, **named})


@contextmanager
def served(guard: Guard, *, script: Any = None, **settings: Any) -> Iterator[Served]:
    """Serve a proxy as the command does."""
    log: list[str] = []
    with ModelServer(script or [asking("Bern")], repeat=True) as upstream:
        made = ProxySettings(**{"listen": "127.0.0.1:0", "approval_wait_s": 0, **settings})
        listener = proxy_listener(guard, upstream.openai, made, log=log.append)
        with listener as url:
            found = Served(url, upstream, log)
            try:
                yield found
            finally:
                found.client.close()


def people(bench: Bench) -> list[tuple[str, str]]:
    """Return id and assurance of the principal of each decision."""
    return [(each["principal"]["id"], each["principal"]["assurance"]) for each in bench.decisions]


# -- who the records name --------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer  "])
def test_a_token_states_the_caller_and_appears_nowhere(tmp_path: Path, scheme: str) -> None:
    """Neither upstream nor in a record, a line for the operator, or an answer."""
    bench = bench_of(tmp_path, tenant_claim="tid", roles_claim="roles")
    text = token(act=ACT, tid="acme", roles=["clerk"])
    with served(bench.guard) as proxy:
        answer = proxy.ask(scheme + text, authorization="Bearer key-of-the-api")
        assert answer.status_code == 200
        (received,) = proxy.upstream.requests
    (record,) = bench.decisions
    assert people(bench) == [("alice@example.com", "verified")]
    assert (record["principal"]["method"], record["tenant"]) == ("oidc_jwt", "acme")
    assert (record["agent"]["id"], record["agent"]["assurance"]) == ("bot", "verified")
    assert [step["sub"] for step in record["delegation"]] == ["bot", "portal"]
    assert bench.policy.inputs[0]["subject"]["properties"]["roles"] == ["clerk"]
    assert received.header("authorization") == "Bearer key-of-the-api"
    everywhere = f"{bench.text}{received.headers}{received.raw!r}{proxy.log}{answer.text}"
    for part in (text, *text.split(".")):
        assert part not in everywhere


def test_a_jwt_svid_states_a_workload(tmp_path: Path) -> None:
    domain = "spiffe://example.org"
    bench = bench_of(tmp_path, issuer=domain)
    svid = token(iss=None, iat=None, sub=f"{domain}/billing", header={"typ": "JWT"})
    with served(bench.guard) as proxy:
        assert proxy.ask(svid).status_code == 200
    (record,) = bench.decisions
    assert (record["principal"]["type"], record["principal"]["method"]) == ("service", "spiffe_jwt")


def test_the_token_can_be_in_authorization_which_the_upstream_does_not_get(tmp_path: Path) -> None:
    """Anthropic's clients send their key in a header of its own."""
    bench = bench_of(tmp_path)
    with served(bench.guard, token_header="Authorization") as proxy:
        client = anthropic.Anthropic(
            base_url=proxy.base.removesuffix("/v1"), auth_token=token(), api_key=None
        )
        with client:
            client.messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Sun?"}]
            )
        (received,) = proxy.upstream.requests
    assert received.header("authorization") is None
    assert people(bench) == [("alice@example.com", "verified")]


def test_a_caller_token_still_names_the_program_unless_the_token_names_it(tmp_path: Path) -> None:
    path = tmp_path / "callers"
    program = {"x_guardrail_token": add_token(path, "nightly")}
    bench = bench_of(tmp_path)
    with served(bench.guard, callers=path) as proxy:
        assert proxy.ask(token(), **program).status_code == 200
        assert proxy.ask(token(act=ACT), **program).status_code == 200
        assert proxy.ask(token()).status_code == 401
    agents = [(each["agent"]["id"], each["agent"]["assurance"]) for each in bench.decisions]
    assert agents == [("nightly", "asserted"), ("bot", "verified")]


AGENT_HEADER = "x-guardrail-agent-identity"


@pytest.mark.parametrize("name", [AGENT_HEADER, "X-Workload"])
def test_a_token_of_the_agent_states_the_agent_and_appears_nowhere(
    tmp_path: Path, name: str
) -> None:
    """Beside that of the person, in a header that the upstream does not get in any spelling."""
    bench = bench_of(tmp_path)
    own = token(sub="support-bot", client_id="support-bot")
    headers = {name: own, name.replace("-", "_"): own}
    with served(bench.guard, agent_token_header=name) as proxy:
        for _ in range(2):
            assert proxy.client.post(
                f"{proxy.base}/chat/completions", json=CHAT, headers={HEADER: token(), **headers}
            ).is_success
        (received, _) = proxy.upstream.requests
    assert people(bench) == [("alice@example.com", "verified")] * 2
    agents = [(each["agent"]["id"], each["agent"]["assurance"]) for each in bench.decisions]
    assert agents == [("support-bot", "verified")] * 2
    for part in (own, *own.split(".")):
        assert part not in f"{bench.text}{received.headers}{received.raw!r}{proxy.log}"


def test_a_token_of_the_agent_takes_the_place_of_a_program_and_not_of_a_person(
    tmp_path: Path,
) -> None:
    """Without a token of its own, the person is asserted, and refused if it must be verified."""
    path = tmp_path / "callers"
    program = {"x_guardrail_token": add_token(path, "nightly")}
    agent = {"x_guardrail_agent_identity": token(sub="support-bot", client_id="support-bot")}
    bench = bench_of(tmp_path, require="asserted")
    peers = {"peers": ("127.0.0.1",), "identity_header": "x-user"}
    with served(bench.guard, callers=path, **peers) as proxy:
        for user in ("bob", "carol", "bob"):
            assert proxy.ask(x_user=user, **program, **agent).status_code == 200
    assert people(bench) == [(each, "asserted") for each in ("bob", "carol", "bob")]
    assert {each["agent"]["id"] for each in bench.decisions} == {"support-bot"}
    with served(bench_of(tmp_path).guard) as proxy:
        assert proxy.ask(**agent).json()["error"]["code"] == "identity.token.missing"


def test_tokens_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """And a bad token of the agent is never ignored."""
    bench = bench_of(tmp_path)
    with served(bench.guard) as proxy:
        for own, status, code in (
            (token(sub="other-bot", client_id="other-bot"), 403, "identity.agent"),
            (token(sub="bot", act={"sub": "x"}), 403, "identity.agent"),
            (token(sub="bot", number=1), 401, "identity.token.signature"),
        ):
            answer = proxy.ask(token(act=ACT), x_guardrail_agent_identity=own)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        own = token(sub="bot", client_id="bot")
        assert proxy.ask(token(act=ACT), x_guardrail_agent_identity=own).is_success
    assert len(bench.decisions) == 1


def test_a_peer_passes_the_token_on_and_its_name_does_not_count(tmp_path: Path) -> None:
    """A name in a plain header is asserted, and only a peer may send it, with a token or not."""
    bench = bench_of(tmp_path, require="asserted")
    peers = {"peers": ("127.0.0.1",), "identity_header": "X-User"}
    with served(bench.guard, **peers) as proxy:
        assert proxy.ask(token(), x_user="root").status_code == 200
        assert proxy.ask(x_user="bob").status_code == 200
    assert people(bench) == [("alice@example.com", "verified"), ("bob", "asserted")]
    strangers = {"peers": ("10.0.0.7",), "identity_header": "X-User"}
    with served(bench.guard, **strangers) as proxy:
        refused = proxy.ask(token(), x_user="alice@example.com")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "identity.peer")


def test_the_program_of_guardrail_run_can_send_a_token(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    with (
        ModelServer([asking("Bern")]) as upstream,
        EmbeddedProxy(bench.guard, ProxySettings(), openai=upstream.openai) as proxy,
    ):
        base = proxy.environment({})["OPENAI_BASE_URL"]
        url = f"{base}/chat/completions"
        assert httpx2.post(url, json=CHAT).status_code == 401
        assert httpx2.post(url, json=CHAT, headers={HEADER: token()}).status_code == 200
    assert people(bench) == [("alice@example.com", "verified")]


# -- who is refused --------------------------------------------------------------------------------


def test_a_caller_without_a_token_is_refused_if_it_must_be_verified(tmp_path: Path) -> None:
    """In the form of its API, with the next step, before the upstream or the ledger learns of it;
    also on routes without calls, and if a peer names the caller.
    """
    bench = bench_of(tmp_path)
    peers = {"peers": ("127.0.0.1",), "identity_header": "X-User"}
    with served(bench.guard, **peers) as proxy:
        with (
            openai.OpenAI(base_url=proxy.base, api_key="k", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.chat.completions.create(**CHAT)
        error: Any = caught.value.body
        assert (error["type"], error["code"]) == ("authentication_error", "identity.token.missing")
        assert f"send an access token in the header {HEADER}" in error["message"]
        assert proxy.client.get(f"{proxy.base}/models").status_code == 401
        assert proxy.ask(x_user="alice").status_code == 401
        answer = proxy.client.post(f"{proxy.base}/messages", json=CHAT)
        assert answer.json()["error"]["type"] == "authentication_error"
        assert not proxy.upstream.requests
    assert not bench.recorded
    (counted,) = bench.ledger.of("admin.requests_refused")
    assert counted["detail"]["reasons"] == {"identity.token.missing": 4}


def test_a_stranger_does_not_learn_which_routes_are_served(tmp_path: Path) -> None:
    """The status is 401 on every path, and 404 only for a verified caller."""
    bench = bench_of(tmp_path)
    own = {HEADER: token()}
    with served(bench.guard) as proxy:
        for path in ("/realtime", "/assistants", "/nowhere", "/%2e%2e/x", "", "/v1"):
            url = f"{proxy.base}{path}"
            assert proxy.client.get(url).status_code == 401
            assert proxy.client.get(url, headers=own).status_code == 404


def test_without_the_requirement_a_caller_without_a_token_is_asserted(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, require="asserted")
    with served(bench.guard) as proxy:
        assert proxy.ask().status_code == 200
    assert people(bench) == [(user_name(), "asserted")]


@pytest.mark.parametrize("require", ["asserted", "verified"])
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"aud": "https://else.example.com"}, "identity.token.audience"),
        ({"iss": "https://else.example.com"}, "identity.token.issuer"),
        ({"now": 0}, "identity.token.expired"),
        ({"number": 1}, "identity.token.signature"),
        ({"kid": "k9"}, "identity.token.key"),
        (None, "identity.token.malformed"),
    ],
)
def test_a_bad_token_never_falls_back_to_another_identity(
    tmp_path: Path, require: str, given: Any, code: str
) -> None:
    bench = bench_of(tmp_path, require=require)
    text = "not a token" if given is None else token(**given)
    with served(bench.guard) as proxy:
        answer = proxy.ask(text)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert text not in f"{answer.text}{proxy.log}"
        assert not proxy.upstream.requests
    assert not bench.recorded


def test_two_tokens_in_one_request_are_refused(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    with served(bench.guard) as proxy:
        headers = [(HEADER, token()), (HEADER, token(sub="bob"))]
        answer = proxy.client.post(f"{proxy.base}/chat/completions", json=CHAT, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "identity.several")


def test_a_token_without_an_issuer_in_the_settings_is_refused(bench: Bench) -> None:
    with served(bench.guard) as proxy:
        assert proxy.ask(token()).json()["error"]["code"] == "identity.token.issuer"


def test_the_answer_names_no_file_and_no_address_of_keys(tmp_path: Path) -> None:
    """While the keys are too old, the caller can try again later."""
    bench = bench_of(tmp_path)
    text = token(exp=2_000_000_000)
    with served(bench.guard) as proxy:
        assert proxy.ask(text).status_code == 200
        (tmp_path / "jwks.json").unlink()
        bench.ledger.now += timedelta(days=2)
        answer = proxy.ask(text)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "identity.token.keys")
    assert "jwks" not in answer.text


def test_a_new_key_of_the_issuer_is_waited_for() -> None:
    """The first request with a token of the new key is served."""
    with key_server(key_set(jwk())) as keys:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings_for(keys.url))
        ledger.now += timedelta(seconds=60)
        keys.text = key_set(jwk("k2", number=1))
        with served(guard) as proxy:
            assert proxy.ask(token(kid="k2", number=1)).status_code == 200
            assert proxy.ask(token(kid="k3", number=1)).status_code == 401
        assert keys.requests == 2
    assert [each["principal"]["assurance"] for each in ledger.of("call.decision")] == ["verified"]


# -- while a connection or a session lasts ---------------------------------------------------------


def test_an_expired_token_is_noticed_by_the_next_request_of_a_connection(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    with served(bench.guard) as proxy:
        text = token()
        assert proxy.ask(text).status_code == 200
        bench.ledger.now += timedelta(seconds=331)
        answer = proxy.ask(text)
        assert (answer.status_code, answer.json()["error"]["code"]) == (
            401,
            "identity.token.expired",
        )
    assert len(bench.decisions) == 1


def test_a_call_at_the_end_of_a_stream_is_denied_if_the_token_has_expired(tmp_path: Path) -> None:
    """The text of the stream still arrives."""
    bench = bench_of(tmp_path)

    def slow(body: dict[str, Any]) -> Turn:
        def events() -> Iterator[str]:
            for number, event in enumerate(Chat().stream(asking("Bern"), body)):
                if number == 1:
                    bench.ledger.now += timedelta(seconds=331)
                yield event

        return Turn(events=events())

    with served(bench.guard, script=[slow]) as proxy:
        answer = proxy.ask(token(), body={**CHAT, "stream": True})
    assert answer.status_code == 200
    assert "city" in answer.text
    assert "call_Bern" not in answer.text
    (record,) = bench.decisions
    assert (record["decision"]["cause"], record["decision"]["detail"]) == (
        "identity",
        "token_expired",
    )


@pytest.mark.parametrize("seconds", [61, 331], ids=["unconfirmed", "expired"])
def test_conversations_stay_apart_while_their_token_must_be_confirmed(
    tmp_path: Path, seconds: int
) -> None:
    """Two conversations without a name have one session each, even if their caller's token expires,
    or its issuer must be asked about it, while the model answers.
    """
    with introspection_server() as issuer:
        bench = bench_of(tmp_path, introspection=table(issuer, tmp_path))

        def slow(_: dict[str, Any]) -> Turn:
            bench.ledger.now += timedelta(seconds=seconds)
            return asking("Bern")

        with served(bench.guard, script=[slow]) as proxy:
            for _ in range(2):
                now = int(bench.ledger.now.timestamp())
                assert proxy.ask(token(now=now)).status_code == 200
    assert len({each["session"] for each in bench.decisions}) == 2
    expired = ["token_expired"] * 2 if seconds > 300 else ["", ""]
    assert [each["decision"]["detail"] for each in bench.decisions] == expired


def test_unnamed_conversations_of_one_token_have_different_sessions(tmp_path: Path) -> None:
    """Although its issuer must be asked about it during each answer."""
    with introspection_server() as issuer:
        bench = bench_of(tmp_path, introspection=table(issuer, tmp_path))
        text = token(exp=2_000_000_000)

        def slow(_: dict[str, Any]) -> Turn:
            bench.ledger.now += timedelta(seconds=61)
            return asking("Bern")

        with served(bench.guard, script=[slow]) as proxy:
            for _ in range(3):
                assert proxy.ask(text).status_code == 200
    assert len({each["session"] for each in bench.decisions}) == 3
    assert people(bench) == [("alice@example.com", "verified")] * 3


@pytest.mark.parametrize("named", [True, False], ids=["named", "continued"])
def test_a_new_token_continues_the_session_of_the_expired_one(tmp_path: Path, named: bool) -> None:
    """Of the same caller only; and results of its calls are still reported."""
    bench = bench_of(tmp_path)
    turn = Turn(calls=[Call("weather", {"city": "Bern"}, "call_1")], id="resp_1")
    header = {"x_guardrail_session": "S-1"} if named else {}
    with served(bench.guard, script=[turn, Turn("Sun.", calls=turn.calls)]) as proxy:
        assert proxy.ask(token(), body=RESPONSES, **header).status_code == 200
        bench.ledger.now += timedelta(seconds=331)
        later = token(now=int(bench.ledger.now.timestamp()))
        result = {"type": "function_call_output", "call_id": "call_1", "output": "sun"}
        body = {**RESPONSES, "input": [result], "previous_response_id": "resp_1"}
        assert proxy.ask(later, body=body, **header).status_code == 200
    assert len({each["session"] for each in bench.decisions}) == 1
    assert people(bench) == [("alice@example.com", "verified")] * 2
    assert [each["decision"]["effect"] for each in bench.decisions] == ["allow", "allow"]
    assert next(each["status"] for each in bench.outcomes) == "returned"


def test_nobody_takes_the_session_or_the_response_of_another_caller(tmp_path: Path) -> None:
    """Not with the same API key and name, nor by asserting the name that a token states."""
    bench = bench_of(tmp_path, require="asserted", tenant_claim="tid")
    turn = Turn(calls=[Call("weather", {"city": "Bern"}, "call_1")], id="resp_1")
    key = {"authorization": "Bearer shared"}
    with served(
        bench.guard, script=[turn], peers=("127.0.0.1",), identity_header="x-user"
    ) as proxy:
        alice = token(tid="acme")
        others = {
            "another person": token(sub="bob", tid="acme"),
            "another tenant": token(tid="globex"),
            "another agent": token(tid="acme", act=ACT),
        }
        assert proxy.ask(alice, RESPONSES, **key, x_guardrail_session="S").status_code == 200
        for other in others.values():
            taken = proxy.ask(other, RESPONSES, **key, x_guardrail_session="S")
            assert (taken.status_code, taken.json()["error"]["code"]) == (403, "identity.session")
        asserted = proxy.ask(None, RESPONSES, x_user="alice@example.com", x_guardrail_session="S")
        assert asserted.status_code == 403
        result = {"type": "function_call_output", "call_id": "call_1", "output": "forged"}
        body = {**RESPONSES, "input": [result], "previous_response_id": "resp_1"}
        for other in others.values():
            assert proxy.ask(other, body, **key).status_code == 200
    sessions = [each["session"] for each in bench.decisions]
    assert sessions.count("S") == 1
    assert len(set(sessions)) == 4
    assert not [each for each in bench.outcomes if each["status"] == "returned"]


def test_each_caller_is_offered_the_tools_that_the_policy_shows_to_it(project: Path) -> None:
    """Also just after another caller with the same API key, and after its own token changed."""
    (project / "policies" / "hide.rego").write_text(HIDE)
    tool = {"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}
    body = {**CHAT, "tools": [tool]}
    with Guard.open(project / "guardrail.toml") as guard, served(guard) as proxy:
        for claims in ({"roles": ["clerk"]}, {"sub": "bob"}, {}, {"roles": "clerk"}):
            assert proxy.ask(fresh(tid="acme", **claims), body).status_code == 200
        offered = [len(each.get("tools", ())) for each in proxy.upstream.bodies]
    assert offered == [1, 0, 0, 1]


# -- tenants ---------------------------------------------------------------------------------------

TENANTS = """\
[identity]
require = "asserted"
[identity.issuers."https://login.example.com"]
jwks = "jwks.json"
audience = "https://orders.example.com"
tenant_claim = "tid"
roles_claim = "roles"
[tenants.acme]
[tenants.globex]
[tenants.closed]
disabled = true
"""

HIDE = """\
package guardrail.policy

import rego.v1

hide contains "clerks_only" if {
	input.resource.id == "send"
	not "clerk" in input.subject.properties.roles
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with tenants whose names the tokens of an issuer state."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.rego").write_text(ALLOW_ALL)
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    (tmp_path / "guardrail.toml").write_text(TENANTS)
    return tmp_path


def fresh(**claims: Any) -> str:
    """Return a token that is valid now."""
    return token(now=int(time.time()), **claims)


def decided(path: Path) -> list[tuple[str, str, str]]:
    """Return tenant, principal and assurance of each decision in a ledger."""
    return [
        (each["tenant"], each["principal"]["id"], each["principal"]["assurance"])
        for each in records(path, "call.decision")
    ]


def test_one_listener_serves_several_tenants_only_by_their_tokens(project: Path) -> None:
    """Neither a header nor a session's name selects a tenant; the same session name is another
    session for each.
    """
    with Guard.open(project / "guardrail.toml") as guard, served(guard) as proxy:
        for tenant in ("acme", "globex"):
            answer = proxy.ask(fresh(tid=tenant), x_guardrail_session="S")
            assert answer.status_code == 200
        assert proxy.ask(x_tenant="acme", x_guardrail_tenant="acme").status_code == 200
        for tenant in ("unknown", "closed"):
            refused = proxy.ask(fresh(tid=tenant))
            assert refused.status_code == 403
            assert refused.json()["error"]["code"].startswith("identity.tenant")
            assert tenant not in refused.text
        assert proxy.ask(fresh()).json()["error"]["code"] == "identity.token.tenant"
    for tenant in ("acme", "globex"):
        ledger = project / "tenants" / tenant / "audit" / "ledger.db"
        assert decided(ledger) == [(tenant, "alice@example.com", "verified")]
    assert decided(project / "audit" / "ledger.db") == [("default", user_name(), "asserted")]


@pytest.mark.parametrize("broken", ["policy", "ledger", "keys"])
def test_a_tenant_that_can_not_be_served_fails_no_other(project: Path, broken: str) -> None:
    """The client is told to come back later, and the operator why."""
    with Guard.open(project / "guardrail.toml") as guard:
        guard.of_tenant("acme")
    folder = project / "tenants" / "acme" / "audit"
    if broken == "policy":
        policy = project / "policies" / "policy.rego"
        (project / "broken").mkdir()
        (project / "broken" / "policy.rego").write_text(policy.read_text() + "allow if {")
        changed = TENANTS.replace("[tenants.acme]\n", '[tenants.acme]\npolicy.path = "broken"\n')
        (project / "guardrail.toml").write_text(changed)
    elif broken == "ledger":
        (folder / "ledger.db").write_bytes(b"not a ledger" * 1000)
    else:
        for each in folder.rglob("*.key*"):
            each.chmod(0o666)
    with Guard.open(project / "guardrail.toml") as guard, served(guard) as proxy:
        answer = proxy.ask(fresh(tid="acme"))
        assert answer.status_code == 503
        assert str(project) not in answer.text
        assert proxy.ask(fresh(tid="globex")).status_code == 200
        assert any("request failed" in line for line in proxy.log)


def test_an_issuer_that_can_not_be_asked_is_no_fault_of_the_client(tmp_path: Path) -> None:
    endpoint = table("http://127.0.0.1:9/introspect", tmp_path)
    bench = bench_of(tmp_path, introspection=endpoint)
    with served(bench.guard) as proxy:
        answer = proxy.ask(token())
    code = answer.json()["error"]["code"]
    assert (answer.status_code, code) == (503, "identity.token.introspection")
    assert "secret" not in answer.text


def test_a_listener_of_one_tenant_refuses_tokens_of_others(project: Path) -> None:
    settings = Settings.load(project / "guardrail.toml").tenants["acme"]
    with Guard.open(settings) as guard, served(guard) as proxy:
        assert proxy.ask(fresh(tid="acme")).status_code == 200
        for tenant in ("globex", "default"):
            refused = proxy.ask(fresh(tid=tenant))
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                403,
                "identity.tenant",
            )
            assert "acme" not in refused.text
        assert proxy.ask().status_code == 200
    ledger = project / "tenants" / "acme" / "audit" / "ledger.db"
    assert [each[:2] for each in decided(ledger)] == [
        ("acme", "alice@example.com"),
        ("acme", user_name()),
    ]


def test_a_tenant_that_is_disabled_is_refused_from_its_next_request_on(project: Path) -> None:
    with Guard.open(project / "guardrail.toml") as guard, served(guard) as proxy:
        text = fresh(tid="acme")
        assert proxy.ask(text).status_code == 200
        changed = TENANTS.replace("[tenants.acme]\n", "[tenants.acme]\ndisabled = true\n")
        (project / "guardrail.toml").write_text(changed)
        assert proxy.ask(text).status_code == 403
        assert proxy.ask(fresh(tid="globex")).status_code == 200


# -- floods, and settings --------------------------------------------------------------------------


async def test_a_flood_of_bad_tokens_leaves_nothing_behind(tmp_path: Path) -> None:
    """Each is another token, and each is refused before its body is read."""
    bench = bench_of(tmp_path)
    head, claims, _ = token().split(".")
    with ModelServer([]) as upstream:
        app = Proxy(bench.guard, upstream.openai, ProxySettings(), notices=Notices(lambda _: None))

        async def refuse(count: int) -> None:
            for number in range(count):
                signature = f"{number:086d}"
                text = f"{head}.{claims}.{signature}" if number % 2 else f"junk{number}"
                statuses: list[int] = []

                async def send(message: Any, seen: list[int] = statuses) -> None:
                    seen.append(message.get("status", 0))

                async def receive() -> Any:
                    raise AssertionError("the body of a refused request was read")

                scope = {
                    "type": "http",
                    "method": "POST",
                    "path": "/v1/chat/completions",
                    "query_string": b"",
                    "headers": [(HEADER.encode(), text.encode())],
                    "client": ("192.0.2.1", 5000),
                    "server": ("127.0.0.1", 80),
                }
                await app(scope, receive, send)
                assert statuses[0] == 401

        await refuse(200)
        gc.collect()
        tracemalloc.start()
        try:
            await refuse(5_000)
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await app.aclose()
    assert kept < 64 * 1024
    assert set(app.failed) <= {"identity.token.signature", "identity.token.malformed"}


@pytest.mark.parametrize(
    "settings",
    [
        {"token_header": "authorization"},
        {"token_header": ""},
        {"token_header": "x user"},
        {"token_header": "x-api-key"},
        {"token_header": "X-Guardrail-Token"},
        {"token_header": "x-user", "peers": ("10.0.0.7",), "identity_header": "X-User"},
        {"token_header": "x_user", "peers": ("10.0.0.7",), "identity_header": "X-User"},
        {"token_header": "x_api_key"},
        {"token_header": "x-guardrail-agent-identity"},
        {"agent_token_header": ""},
        {"agent_token_header": "authorization"},
        {"agent_token_header": "x_guardrail_identity"},
    ],
)
def test_a_header_that_means_something_else_is_refused_at_the_start(
    bench: Bench, settings: Any
) -> None:
    with pytest.raises(ConfigError) as wrong:
        Proxy(bench.guard, "http://127.0.0.1:1/v1", ProxySettings(**settings))
    assert wrong.value.code == "config.token_header"
    assert wrong.value.hint


def test_other_machines_are_served_if_every_caller_must_be_verified() -> None:
    """Without a file of caller tokens, but never without TLS."""
    settings = ProxySettings(listen="192.0.2.1:0", tls_cert=Path("c"), tls_key=Path("k"))
    _, rules = listener_rules(settings, verified=True)
    assert rules.app_authenticates
    for wrong, verified in ((settings, False), (ProxySettings(listen="192.0.2.1:0"), True)):
        with pytest.raises(ConfigError):
            listener_rules(wrong, verified=verified)
