"""Bearer tokens become the sessions of requests, in real FastAPI and Starlette applications."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from guardrail import Guard, SessionScope
from guardrail.errors import GuardrailError
from guardrail.integrations.fastapi import TokenSessions, token_session
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.projects import ALLOW_ALL
from tests.support.tokens import jwk, key_server, key_set, settings_for, token, token_guard


def bearer(text: str) -> dict[str, str]:
    """Return the header of a request."""
    return {"Authorization": f"Bearer {text}"}


def callers(ledger: MemoryLedger) -> list[tuple[str, str]]:
    """Return principal and assurance of each call."""
    return [
        (record["principal"]["id"], record["principal"]["assurance"])
        for record in ledger.of("call.decision")
        if record["decision"]["effect"] == "allow"
    ]


def with_middleware(guard: Guard) -> FastAPI:
    """Return an application whose requests all need a token, except those for its health."""
    app = FastAPI()
    app.add_middleware(TokenSessions, guard=guard, agent="support-bot", public=["/health"])

    def call() -> None:
        guard.call("x", {}, lambda: None)

    @app.get("/health")
    def health() -> str:
        return "up"

    @app.get("/sync")
    def sync(request: Request, tasks: BackgroundTasks) -> str:
        call()
        tasks.add_task(call)
        return str(request.state.guardrail.session.principal.id)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            for number in range(2):
                await asyncio.sleep(0)
                call()
                yield str(number)

        return StreamingResponse(parts())

    @app.websocket("/socket")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        call()
        await connection.send_text("done")
        await connection.close()

    return app


def test_the_middleware_runs_everything_in_the_session_of_the_token(tmp_path: Path) -> None:
    """Endpoints, background tasks, streams and web sockets."""
    guard, ledger = token_guard(tmp_path)
    client = TestClient(with_middleware(guard))
    alice, bob = bearer(token()), bearer(token(sub="bob@example.com"))
    assert client.get("/sync", headers=alice).json() == "alice@example.com"
    assert client.get("/stream", headers=bob).text == "01"
    with client.websocket_connect("/socket", headers=alice) as socket:
        assert socket.receive_text() == "done"
    alices, bobs = ("alice@example.com", "verified"), ("bob@example.com", "verified")
    assert callers(ledger) == [alices, alices, bobs, bobs, alices]
    assert {record["agent"]["id"] for record in ledger.of("call.decision")} == {"support-bot"}


def test_a_request_without_a_good_token_does_not_reach_the_application(tmp_path: Path) -> None:
    """It gets a code, but no part of the settings or of the token."""
    guard, ledger = token_guard(tmp_path)
    client = TestClient(with_middleware(guard))
    assert client.get("/health").json() == "up"
    for headers, code in (
        ({}, "identity.bearer"),
        ({"Authorization": "Basic YTpi"}, "identity.bearer"),
        (bearer(token(aud="other")), "identity.token.audience"),
        (bearer("abc"), "identity.token.malformed"),
    ):
        answer = client.get("/sync", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["detail"] == code
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "jwks" not in answer.text
    twice = client.get(
        "/sync", headers=[("Authorization", "Bearer a"), ("authorization", "Bearer b")]
    )
    assert twice.json()["detail"] == "identity.bearer"
    with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/socket"):
        pass
    assert (caught.value.code, caught.value.reason) == (1008, "identity.bearer")
    assert ledger.of("call.decision") == []


TENANTS = """\
[identity]
require = "verified"
[identity.issuers."https://login.example.com"]
jwks = "jwks.json"
audience = "https://orders.example.com"
tenant_claim = "tid"
[tenants.acme]
[tenants.badpolicy]
policy.path = "broken"
[tenants.badledger]
[tenants.closed]
disabled = true
"""


@pytest.mark.parametrize("kind", ["middleware", "starlette", "dependency"])
def test_a_tenant_that_can_not_be_served_never_fails_the_application(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The status is 403 if the caller's tenant is not accepted, and 503 if its guard can't be
    opened; others are served. The reason is in the log, and not in the response.
    """
    # A framework in another test may have changed the level of the whole process.
    caplog.set_level(logging.WARNING, TokenSessions.__module__)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.rego").write_text(ALLOW_ALL)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "policy.rego").write_text("package guardrail.policy\nallow if {")
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    (tmp_path / "guardrail.toml").write_text(TENANTS)
    ledger = tmp_path / "tenants" / "badledger" / "audit" / "ledger.db"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"not a ledger" * 1000)
    now = int(time.time())

    def status(client: TestClient, tenant: str) -> tuple[int, Any]:
        answer = client.get("/", headers=bearer(token(now=now, tid=tenant)))
        assert str(tmp_path) not in answer.text
        return answer.status_code, answer.json()

    with Guard.open(tmp_path / "guardrail.toml") as guard:
        client = TestClient(_application(kind, guard), raise_server_exceptions=True)
        assert status(client, "acme") == (200, "acme")
        for tenant, code in (("nobody", "identity.tenant"), ("closed", "identity.tenant_disabled")):
            assert status(client, tenant) == (403, {"detail": code})
        for tenant in ("badpolicy", "badledger"):
            number, body = status(client, tenant)
            assert (number, list(body)) == (503, ["detail"])
            assert body["detail"] in {error.code for error in _opening_errors(guard, tenant)}
        assert "refused with 503" in caplog.text
        assert status(client, "acme") == (200, "acme")
        if kind == "middleware":
            with (
                pytest.raises(WebSocketDisconnect) as caught,
                client.websocket_connect("/", headers=bearer(token(now=now, tid="badledger"))),
            ):
                pass
            assert caught.value.code == 1013
    guard_closed = client.get("/", headers=bearer(token(now=now, tid="acme")))
    assert (guard_closed.status_code, guard_closed.json()["detail"]) == (503, "usage.closed")


def _opening_errors(guard: Guard, tenant: str) -> list[GuardrailError]:
    with pytest.raises(GuardrailError) as caught:
        guard.of_tenant(tenant)
    return [caught.value]


def _application(kind: str, guard: Guard) -> Any:
    """Return an application that answers with the tenant of the request."""
    if kind == "starlette":

        async def plain(request: Request) -> JSONResponse:
            return JSONResponse(request.state.guardrail.session.tenant)

        return Starlette(
            routes=[Route("/", plain)], middleware=[Middleware(TokenSessions, guard=guard)]
        )
    app = FastAPI()
    if kind == "middleware":
        app.add_middleware(TokenSessions, guard=guard)

        @app.get("/")
        def of_state(request: Request) -> str:
            return str(request.state.guardrail.session.tenant)

    else:
        opened = Depends(token_session(guard))

        @app.get("/")
        def of_session(session: SessionScope = opened) -> str:
            return session.session.tenant

    return app


def test_a_token_of_the_agent_states_the_agent(tmp_path: Path) -> None:
    """It can be in the request, and a bad one is refused."""
    guard, ledger = token_guard(tmp_path)
    app = FastAPI()
    app.add_middleware(
        TokenSessions,
        guard=guard,
        agent_token=lambda request: request.headers.get("x-agent-identity"),
    )

    @app.get("/")
    def endpoint() -> None:
        guard.call("x", {}, lambda: None)

    client = TestClient(app)
    for own, code in (
        (None, None),
        (token(sub="support-bot", client_id="support-bot"), None),
        ("junk", "identity.token.malformed"),
        (token(sub="bot", act={"sub": "other"}), "identity.agent"),
    ):
        headers = bearer(token()) | ({} if own is None else {"x-agent-identity": own})
        answer = client.get("/", headers=headers)
        assert (answer.json() or {}).get("detail") == code
        assert answer.status_code == {None: 200, "identity.agent": 403}.get(code, 401)
    agents = [
        (each["agent"]["id"], each["agent"]["assurance"]) for each in ledger.of("call.decision")
    ]
    assert agents == [("", "absent"), ("support-bot", "verified")]


def test_a_refused_token_is_recorded_with_the_address_of_its_client(tmp_path: Path) -> None:
    """The token is not."""
    guard, ledger = token_guard(tmp_path)
    client = TestClient(with_middleware(guard), client=("192.0.2.7", 4711))
    for _ in range(3):
        client.get("/sync", headers=bearer(token(aud="other")))
    guard.close()
    (record,) = ledger.of("admin.tokens_refused")
    assert record["detail"]["addresses"] == {"192.0.2.7": 3}
    assert record["detail"]["reasons"] == {"audience": 3}


def test_the_dependency_opens_the_session_for_one_route(tmp_path: Path) -> None:
    """And passes it to background tasks."""
    guard, ledger = token_guard(tmp_path)
    app = FastAPI()
    opened = Depends(token_session(guard, agent="support-bot"))

    def call() -> None:
        guard.call("x", {}, lambda: None)

    @app.get("/")
    def endpoint(tasks: BackgroundTasks, session: SessionScope = opened) -> str:
        call()
        tasks.add_task(guard.bind(session)(call))
        return session.session.principal.id

    client = TestClient(app)
    assert client.get("/", headers=bearer(token())).json() == "alice@example.com"
    refused = client.get("/", headers=bearer(token(exp=1)))
    assert (refused.status_code, refused.json()["detail"]) == (
        401,
        "identity.token.expired",
    )
    assert callers(ledger) == [("alice@example.com", "verified")] * 2


def test_a_new_key_is_accepted_and_missing_keys_are_no_fault_of_the_client() -> None:
    """The event loop does not wait for the issuer; a thread does."""
    with key_server(key_set(jwk())) as server:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=settings_for(server.url))
        client = TestClient(with_middleware(guard))
        ledger.now += timedelta(seconds=11)
        server.text = key_set(jwk(), jwk("k2", number=1))
        new = bearer(token(kid="k2", number=1))
        assert client.get("/sync", headers=new).status_code == 200
    ledger.now += timedelta(days=2)
    answer = client.get("/sync", headers=bearer(token(exp=2_000_000_000)))
    assert (answer.status_code, answer.json()["detail"]) == (503, "identity.token.keys")
