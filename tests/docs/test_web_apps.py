"""The patterns of docs/web-apps.md keep the identity: each program of the page runs with the real
framework.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from fastapi import BackgroundTasks, Depends, FastAPI, Header, WebSocket
from fastapi.responses import StreamingResponse
from flask import request
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.serving import make_server

from guardrail import Denied, Guard, LedgerError, SessionScope
from guardrail.approvals.rules import Approver
from guardrail.config import Settings
from guardrail.config.sections import DEFAULT_LEDGER
from guardrail.errors import IdentityError
from guardrail.ledger.reader import LedgerReader
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, memory_guard
from tests.support.command_line import environment
from tests.support.langchain import Scripted
from tests.support.projects import new_project
from tests.support.tokens import AUDIENCE, ISSUER, jwk, key_set, settings_for, token_guard
from tests.support.tokens import token as token_of

PAGE = Path(__file__).parents[2] / "docs" / "web-apps.md"


class App(SimpleNamespace):
    """What the programs of the page start with, and what the guard recorded."""

    guard: Guard
    ledger: MemoryLedger
    find_order: Callable[..., str]
    verified: bool = False
    """True if access tokens name the users."""

    def user(self, name: str) -> str:
        """Return the text that names a user to a program of the page."""
        return token_of(sub=name) if self.verified else name

    def open(self, user: str) -> SessionScope:
        """Open a session of *user*, a return value of ``user``."""
        return self.guard.session(**{"token" if self.verified else "principal": user})

    @staticmethod
    def text(heading: str) -> str:
        """Return the program below *heading*."""
        _, _, below = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")
        found = re.search(
            r"^```python\n(.*?)^```", below.partition("\n### ")[0], re.MULTILINE | re.DOTALL
        )
        assert found, heading
        return found[1]

    def run(self, heading: str, **names: Any) -> dict[str, Any]:
        """Run the program below *heading*; return its names."""
        text = self.text(heading)
        if self.verified and "token=" not in text and "principal=" in text:
            # As the page says.
            text = text.replace("principal=", "token=")
            text = text.replace('f"{user}/{conversation}"', "conversation")
        space = {
            # Celery knows the tasks of all programs by their names.
            "__name__": f"program {heading} {self.verified}",
            "guard": self.guard,
            "find_order": self.find_order,
            **names,
        }
        exec(compile(text, f"{PAGE.name}: {heading}", "exec"), space)
        return space

    def calls(self) -> list[tuple[str, int]]:
        """Return in whose name each call ran, and for what, in order."""
        allowed = []
        for record in self.ledger.of("call.decision"):
            assert record["decision"]["effect"] == "allow", record["decision"]
            assurance = "verified" if self.verified else "asserted"
            assert record["principal"]["assurance"] == assurance
            number = record["input"]["action"]["properties"]["args"]["number"]
            allowed.append((record["principal"]["id"], number))
        return allowed

    def details(self) -> list[str]:
        """Return the detail of each decision; empty where it was the policy's."""
        return [record["decision"]["detail"] for record in self.ledger.of("call.decision")]


@pytest.fixture(params=["asserted", "verified"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    """An application whose users are asserted, and one that accepts only verified users."""
    verified = request.param == "verified"
    if verified:
        guard, ledger = token_guard(tmp_path)
    else:
        guard, ledger = memory_guard(StaticPolicy(allow()), settings=Settings())

    @guard.tool
    def find_order(number: int) -> str:
        """Find an order."""
        return f"order {number}\n"

    return App(guard=guard, ledger=ledger, find_order=find_order, verified=verified)


def user_of(scope: dict[str, Any]) -> str:
    return dict(scope["headers"])[b"x-user"].decode()


def test_the_page_has_a_program_below_each_pattern() -> None:
    """And each is run by a test of this file."""
    _, _, patterns = PAGE.read_text(encoding="utf-8").partition("\n## Patterns\n")
    headings = re.findall(r"^### (.*)$", patterns, re.MULTILINE)
    assert len(headings) == 12
    here = Path(__file__).read_text(encoding="utf-8")
    for heading in headings:
        assert f'"{heading}"' in here, heading


# -- FastAPI and Starlette
# ---------------------------------------------------------------------------------------------


def test_a_bearer_token_becomes_the_session_of_its_request(tmp_path: Path) -> None:
    """Verified, with one line; without a token, no endpoint runs."""
    guard, ledger = token_guard(tmp_path)

    @guard.tool
    def find_order(number: int) -> str:
        """Find an order."""
        return f"order {number}"

    app = App(guard=guard, ledger=ledger, find_order=find_order, verified=True)
    program = app.run("FastAPI and Starlette: bearer tokens")
    with TestClient(program["app"]) as client:
        headers = {"Authorization": f"Bearer {token_of(sub='bob')}"}
        assert client.get("/orders/7", headers=headers).json() == "order 7"
        assert client.get("/orders/8").status_code == 401
        assert client.get("/health").status_code == 404
    assert app.calls() == [("bob", 7)]
    assert ledger.of("call.decision")[0]["principal"]["assurance"] == "verified"
    assert len(ledger.of("admin.stop")) == 1  # when the application has ended


@pytest.mark.parametrize("closes", [True, False])
def test_a_server_that_is_stopped_by_a_signal_records_refused_tokens(
    tmp_path: Path, closes: bool
) -> None:
    """With the program of the page, also the stop; without its lifespan, at least the tokens."""
    text = App.text("FastAPI and Starlette: bearer tokens")
    if not closes:
        text = text.replace("FastAPI(lifespan=lifespan)", "FastAPI()")
    settings = f'''[identity.issuers."{ISSUER}"]
audience = "{AUDIENCE}"
jwks = "keys.json"
'''
    project = new_project(tmp_path / "project", settings)
    (project / "keys.json").write_text(key_set(jwk()))
    (project / "server.py").write_text(
        "import socket, uvicorn\nfrom guardrail import Guard\n"
        'guard = Guard.open("guardrail.toml")\n\n\n'
        '@guard.tool\ndef find_order(number: int) -> str:\n    """Find an order."""\n'
        f'    return "order"\n\n\n{text}\n\n'
        'sock = socket.socket()\nsock.bind(("127.0.0.1", 0))\nsock.listen()\n'
        "print(sock.getsockname()[1], flush=True)\n"
        "config = uvicorn.Config(app)\nuvicorn.Server(config).run([sock])\n"
    )
    server = subprocess.Popen(
        [sys.executable, "server.py"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        for _ in range(11):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/orders/7",
                headers={"Authorization": f"Bearer {token_of()}"},
            )
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(asked, timeout=30)
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=30)
    finally:
        server.kill()
        server.communicate()
    with LedgerReader.open(project / DEFAULT_LEDGER) as reader:
        records = [json.loads(line) for _, _, line in reader.lines()]
    counts = [each["detail"] for each in records if each["type"] == "admin.tokens_refused"]
    assert [each["reasons"] for each in counts] == [{"expired": 11}], told
    assert [each["type"] for each in records].count("admin.stop") == closes
    assert "401: identity.token.expired; next: " in told
    assert "eyJ" not in told


def test_a_session_of_a_token_reaches_threads_and_tasks(tmp_path: Path) -> None:
    """A session of a token keeps the identity in threads and tasks as any other session does."""
    guard, ledger = token_guard(tmp_path)

    @guard.tool
    def find_order(number: int) -> str:
        """Find an order."""
        return f"order {number}"

    with guard.session(token=token_of(), agent="bot") as session:
        thread = threading.Thread(target=guard.bind(session)(find_order), kwargs={"number": 1})
        thread.start()
        thread.join()

        async def tasks() -> None:
            await asyncio.gather(
                asyncio.to_thread(find_order, number=2), asyncio.to_thread(find_order, number=3)
            )

        asyncio.run(tasks())
    people = [record["principal"] for record in ledger.of("call.decision")]
    assert [person["assurance"] for person in people] == ["verified"] * 3


def test_asgi_middleware_keeps_the_identity_everywhere(app: App) -> None:
    """Sync and async endpoints, background tasks, streams and sockets."""

    program = app.run("FastAPI and Starlette: middleware for whole requests", user_of=user_of)
    api, find = program["app"], app.find_order

    async def later(number: int) -> None:
        await asyncio.sleep(0)
        find(number=number)

    @api.get("/sync")
    def sync(tasks: BackgroundTasks) -> str:
        tasks.add_task(find, number=2)
        return find(number=1)

    @api.get("/async")
    async def awaited(tasks: BackgroundTasks) -> str:
        tasks.add_task(later, 4)
        return find(number=3)

    @api.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(find(number=number) for number in (5, 6))

    @api.get("/astream")
    async def astream() -> StreamingResponse:
        async def lines() -> Any:
            for number in (7, 8):
                yield find(number=number)

        return StreamingResponse(lines())

    @api.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(find(number=9))
        await socket.close()

    with TestClient(api) as client:
        for user, path in (
            ("alice", "/sync"),
            ("bob", "/async"),
            ("carol", "/stream"),
            ("dave", "/astream"),
        ):
            assert client.get(path, headers={"x-user": app.user(user)}).status_code == 200
        with client.websocket_connect(
            "/socket", headers={"x-user": app.user("erin")}
        ) as connection:
            assert connection.receive_text() == "order 9\n"
    assert app.calls() == [
        ("alice", 1),
        ("alice", 2),
        ("bob", 3),
        ("bob", 4),
        ("carol", 5),
        ("carol", 6),
        ("dave", 7),
        ("dave", 8),
        ("erin", 9),
    ]


def test_middleware_that_ends_before_the_response_does_not_lend_its_session(app: App) -> None:
    """What Starlette's own class of middleware leaves behind is denied, and named."""

    async def dispatch(request: Any, call_next: Any) -> Any:
        async with app.open(request.headers["x-user"]):
            return await call_next(request)

    async def later() -> None:
        await asyncio.sleep(0.01)
        with pytest.raises(Denied):
            app.find_order(number=2)

    async def view(_: Any) -> PlainTextResponse:
        return PlainTextResponse(app.find_order(number=1), background=BackgroundTask(later))

    api = Starlette(
        routes=[Route("/", view)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    )
    with TestClient(api) as client:
        assert client.get("/", headers={"x-user": app.user("alice")}).text == "order 1\n"
    assert app.details() == ["", "ended"]


def test_a_dependency_keeps_the_identity(app: App) -> None:
    """In the endpoint, the background task and the stream of the request, and of no other."""

    def current_user(x_user: str = Header()) -> str:
        return x_user

    program = app.run("FastAPI: a dependency", current_user=current_user)
    with TestClient(program["app"]) as client:
        assert client.get("/orders/1", headers={"x-user": app.user("alice")}).json() == "order 1\n"
        assert (
            client.get("/orders", headers={"x-user": app.user("bob")}).text == "order 7\norder 8\n"
        )
    assert app.calls() == [("alice", 1), ("alice", 2), ("bob", 7), ("bob", 8)]


def test_a_sync_dependency_loses_it_visibly_and_passes_it_on(app: App) -> None:
    """The call is denied, and one with the session that the dependency yields is not; nothing is
    left behind.
    """

    api = FastAPI()

    def in_session(user: str) -> Iterator[SessionScope]:
        with app.open(user) as session:
            yield session

    @api.get("/lost")
    def lost(session: Any = Depends(in_session)) -> str:  # noqa: B008 - FastAPI reads it there
        try:
            return app.find_order(number=1)
        except Denied as denied:
            return denied.code + denied.hint.partition("sync dependency")[1]

    @api.get("/kept")
    async def kept(session: Any = Depends(in_session)) -> str:  # noqa: B008 - FastAPI reads it there
        return app.guard.bind(session)(app.find_order)(number=2)

    @api.get("/none")
    def none() -> str:
        with pytest.raises(Denied):
            app.find_order(number=3)
        return "none"

    with TestClient(api) as client:
        assert (
            client.get(f"/lost?user={app.user('alice')}").json() == "denied.identitysync dependency"
        )
        assert client.get(f"/kept?user={app.user('bob')}").json() == "order 2\n"
        for _ in range(20):
            assert client.get("/none").json() == "none"
    assert app.details() == ["absent", "", *["absent"] * 20]


def test_background_tasks_and_streams_after_a_dependency_are_denied_without_the_session(
    app: App,
) -> None:
    """They are not made in the name of nobody."""

    api = FastAPI()

    def attempt() -> str:
        try:
            return app.find_order(number=1)
        except Denied as denied:
            return denied.code

    @api.get("/")
    async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
        with app.open(app.user("alice")):
            tasks.add_task(attempt)
            return StreamingResponse((attempt() for _ in range(2)), background=tasks)

    with TestClient(api) as client:
        assert client.get("/").text == "denied.identity" * 2
    assert app.details() == ["absent"] * 3


def test_a_handler_shows_the_user_the_message_and_the_developer_the_hint(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """With a handler, and without: then the traceback that the server logs ends with the hint."""

    def order(number: int) -> str:
        return app.find_order(number=number)

    program = app.run("FastAPI: error messages for users and developers")
    bare = FastAPI()
    for api in (program["app"], bare):
        api.get("/orders/{number}")(order)
    with TestClient(program["app"]) as client:
        answer = client.get("/orders/7")
        full = LedgerError("no room", code="ledger.reserve", hint="make room")
        app.ledger.fail = lambda _: full
        unrecorded = client.get("/orders/8")
        app.ledger.fail = lambda _: None
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "denied: the caller's identity could not be established",
        "record": 1,
    }
    denied, failed = (record.getMessage() for record in caplog.records[-2:])
    assert "[denied.identity] next: " in denied
    assert "guardrail why 1" in denied
    assert (unrecorded.status_code, list(unrecorded.json())) == (503, ["error"])
    assert failed == "no room [ledger.reserve] next: make room"
    with TestClient(bare) as client, pytest.raises(Denied) as caught:
        client.get("/orders/9")
    shown = traceback.format_exception(caught.value)
    assert "[denied.identity] next: " in shown[-1]


# -- Flask
# --------------------------------------------------------------------------------------------------


def test_flask_views_and_streams_keep_the_identity(app: App) -> None:
    """On a server with threads, for two users at once; a stream that is cut off leaves nobody's
    session behind.
    """

    program = app.run("Flask", current_user=lambda: request.headers["X-User"])

    @program["app"].get("/none")
    def none() -> str:
        with pytest.raises(Denied):
            app.find_order(number=0)
        return "none"

    server = make_server("127.0.0.1", 0, program["app"], threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def get(path: str, user: str) -> str:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}{path}", headers={"X-User": app.user(user)}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return str(answer.read().decode())

    try:
        users = [threading.Thread(target=get, args=("/orders", name)) for name in ("alice", "bob")]
        for user in users:
            user.start()
        for user in users:
            user.join()
        assert get("/orders/1", "carol") == "order 1\n"
        assert get("/none", "dave") == "none"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    ran = [
        (record["principal"]["id"], record["input"]["action"]["properties"]["args"]["number"])
        for record in app.ledger.of("call.decision")
        if record["decision"]["effect"] == "allow"
    ]
    assert sorted(ran) == [("alice", 7), ("alice", 8), ("bob", 7), ("bob", 8), ("carol", 1)]
    assert app.details().count("absent") == 1


# -- approvals
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verified", [False, True], ids=["asserted", "verified"])
def test_an_approval_of_one_request_is_used_by_another(tmp_path: Path, verified: bool) -> None:
    """Of the same conversation; not by another one, nor by another user, nor twice."""

    def asks(asked: dict[str, Any]) -> dict[str, Any]:
        approval = asked["context"]["approval"]
        return allow() if approval is not None and approval["valid"] else ask("person")

    def current_user(x_user: str = Header()) -> str:
        return x_user

    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    settings = settings_for(tmp_path / "jwks.json") if verified else Settings()
    settings = settings.override(approvals={"unsafe_asserted_approvals": True})
    guard, ledger = memory_guard(StaticPolicy(asks), settings=settings)

    @guard.tool
    def find_order(number: int) -> str:
        """Find an order."""
        return f"order {number}\n"

    made = App(guard=guard, ledger=ledger, find_order=find_order, verified=verified)
    program = made.run("FastAPI: approvals across requests", current_user=current_user)

    def post(user: str, conversation: str, **query: Any) -> Any:
        return client.post(
            f"/conversations/{conversation}/transfers",
            params={"number": 7, **query},
            headers={"x-user": made.user(user)},
        )

    with TestClient(program["app"]) as client:
        asked = post("alice", "c-1")
        assert asked.status_code == 202
        approval = asked.json()["approval"]
        pending = post("alice", "c-1", approval=approval)
        assert (pending.status_code, pending.json()["code"]) == (403, "denied.approval.pending")
        guard.approvals.approve(approval, Approver("carol"), "known customer")
        other = post("alice", "c-2", approval=approval)
        assert other.json()["code"] == "denied.approval.other_session"
        if verified:  # a session that only its conversation names belongs to its first caller
            with pytest.raises(IdentityError):
                post("bob", "c-1", approval=approval)
        else:
            other = post("bob", "c-1", approval=approval)
            assert other.json()["code"] == "denied.approval.other_session"
        used = post("alice", "c-1", approval=approval)
        assert (used.status_code, used.json()) == (200, {"result": "order 7\n"})
        again = post("alice", "c-1", approval=approval)
        assert again.json()["code"] == "denied.approval.already_used"
    (ran,) = [
        record for record in ledger.of("call.decision") if record["decision"]["effect"] == "allow"
    ]
    session = "c-1" if verified else "alice/c-1"
    assert (ran["principal"]["id"], ran["session"]) == ("alice", session)


# -- Celery
# --------------------------------------------------------------------------------------------------


def test_a_celery_task_works_in_the_name_that_its_message_says(app: App) -> None:
    """On a worker with threads of its own, through a broker; without a session it is denied
    there.
    """

    program = app.run(
        "Celery and other task queues",
        current_user=lambda: app.user("alice"),
        broker_url="memory://",
        backend_url="cache+memory://",
    )
    queue = program["queue"]
    queue.conf.broker_transport_options = {"polling_interval": 0.02}

    @queue.task(name=f"lost {app.verified}")
    def lost() -> str:
        try:
            return app.find_order(number=0)
        except Denied as denied:
            return denied.code

    with (
        start_worker(queue, pool="threads", concurrency=2, perform_ping_check=False, loglevel=50),
        app.open(app.user("who sends")),
    ):
        assert program["request"](7).get(timeout=30, interval=0.02) == "order 7\n"
        assert lost.delay().get(timeout=30, interval=0.02) == "denied.identity"
    assert app.details() == ["", "absent"]
    assert app.ledger.of("call.decision")[0]["principal"]["id"] == "alice"


def test_flask_and_celery_verify_tokens(tmp_path: Path) -> None:
    """The view runs with a good token only; the task of a token that has expired makes no call."""
    guard, ledger = token_guard(tmp_path)

    @guard.tool
    def find_order(number: int) -> str:
        """Find an order."""
        return f"order {number}\n"

    app = App(guard=guard, ledger=ledger, find_order=find_order, verified=True)
    program = app.run(
        "Flask and Celery: access tokens",
        broker_url="memory://",
        backend_url="cache+memory://",
    )
    program["queue"].conf.broker_transport_options = {"polling_interval": 0.02}
    client, text = program["app"].test_client(), token_of(sub="alice")
    alice = {"Authorization": f"Bearer {text}"}
    assert client.get("/orders/1", headers=alice).text == "order 1\n"
    for headers, code in (
        ({}, "identity.token.malformed"),
        ({"Authorization": "Basic YTpi"}, "identity.token.malformed"),
        ({"Authorization": f"Bearer {token_of(now=0)}"}, "identity.token.expired"),
        ({"Authorization": f"Bearer {token_of(aud='x')}"}, "identity.token.audience"),
    ):
        for method, path in (("GET", "/orders/2"), ("POST", "/orders/2/later")):
            refused = client.open(path, method=method, headers=headers)
            assert (refused.status_code, refused.json) == (401, {"error": code})
    with start_worker(
        program["queue"], pool="threads", concurrency=2, perform_ping_check=False, loglevel=50
    ):
        asked = client.post("/orders/3/later", headers=alice)
        assert asked.status_code == 202
        result = program["queue"].AsyncResult(asked.json["task"])
        assert result.get(timeout=30, interval=0.02) == "order 3\n"
        ledger.now += timedelta(seconds=400)
        late = program["look_up"].delay(4, token=text)
        with pytest.raises(IdentityError, match="has expired"):
            late.get(timeout=30, interval=0.02)
    assert app.calls() == [("alice", 1), ("alice", 3)]


# -- tasks, threads, generators
# ----------------------------------------------------------------------------------------------


async def test_a_task_that_is_bound_goes_on_after_the_request(app: App) -> None:
    program = app.run("Tasks that continue after the request")
    assert await program["handle"](app.user("alice")) == "order 7\n"
    async with app.open(app.user("bob")):
        await asyncio.gather(*program["background"])
    assert app.calls() == [("alice", 7), ("alice", 8)]


async def test_threads_executors_and_callbacks_get_the_session(app: App) -> None:
    program = app.run("Threads, executors and callbacks")
    with program["pool"]:
        assert program["handle"](app.user("alice")) == "order 7\n"
        assert await program["ahandle"](app.user("bob")) == "order 8\n"
    assert sorted(app.calls()) == [("alice", 6), ("alice", 7), ("bob", 8)]


def test_a_generator_gets_the_session(app: App) -> None:
    program = app.run("Generators")
    alice, bob = app.open(app.user("alice")), app.open(app.user("bob"))
    mixed = zip(program["found"](alice, [1, 2]), program["found"](bob, [3, 4]), strict=True)
    assert list(mixed) == [("order 1\n", "order 3\n"), ("order 2\n", "order 4\n")]
    assert app.calls() == [("alice", 1), ("bob", 3), ("alice", 2), ("bob", 4)]


def test_a_langgraph_stream_that_is_read_after_the_block_has_its_session(app: App) -> None:
    """In a thread that has none, and around a session of somebody else."""

    @tool
    def search_orders(number: int) -> str:
        """Search."""
        return f"order {number}"

    asks = AIMessage("", tool_calls=[{"name": "search_orders", "args": {"number": 5}, "id": "1"}])
    program = app.run(
        "LangChain and LangGraph",
        create_agent=create_agent,
        model=Scripted(responses=[asks, AIMessage("done")]),
        search_orders=search_orders,
    )
    seen: list[Any] = []
    messages = [("user", "order 5?")]
    reader = threading.Thread(
        target=lambda: seen.extend(program["stream"](app.user("alice"), messages))
    )
    reader.start()
    reader.join()
    with app.open(app.user("bob")):
        seen.extend(program["stream"](app.user("carol"), messages))
    assert app.calls() == [("alice", 5), ("carol", 5)]
    assert "order 5" in str(seen)
