"""``guardrail proxy``: a real process in front of a scripted upstream, until a signal."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from guardrail.system.os_user import user_name
from tests.support.command_line import command, environment
from tests.support.guards import records
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.opa_server import certificates
from tests.support.projects import new_project
from tests.support.waiting import until

POLICY = """package guardrail.policy

allow contains "weather" if input.resource.id == "weather"
allow contains "book" if input.resource.id == "book"
require_approval contains "dear" if input.resource.id == "book"
deny contains {"rule": "far", "message": "too far away"} if {
    input.action.properties.args.city == "Atlantis"
}
"""
SETTINGS = '[ledger]\npath = "audit.db"\n\n[policy]\npath = "policies"\n\n[proxy]\n'
CALLS = [Call("weather", {"city": "Bern"}, "c1"), Call("weather", {"city": "Atlantis"}, "c2")]
QUESTION: Any = {"model": "scripted-1", "messages": [{"role": "user", "content": "Sun?"}]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path / "project", SETTINGS, policy=POLICY)


@pytest.fixture
def upstream() -> Iterator[ModelServer]:
    with ModelServer([Turn("Let me see.", CALLS)], repeat=True) as server:
        yield server


@contextmanager
def running(
    project: Path, *options: str, listen: str = "127.0.0.1:0", **variables: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run the proxy, and yield the process and the base URLs that it prints."""
    program = subprocess.Popen(
        command("proxy", "--listen", listen, *options),
        cwd=project,
        env=environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdout is not None
            lines = [program.stdout.readline() for _ in range(2)]
            if not lines[1]:
                raise AssertionError(program.communicate()[1])
            yield program, dict(re.findall(r"(\w+)=(\S+)", "".join(lines)))
        finally:
            program.send_signal(signal.SIGKILL)


def done_in(project: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the project to its end."""
    return subprocess.run(
        argv,
        cwd=project,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def refused(project: Path, *options: str) -> tuple[int, str]:
    """Run the proxy, which does not start; return its exit code and what it says."""
    done = done_in(project, command("proxy", *options))
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_client_with_the_printed_url_gets_decided_calls(
    project: Path, upstream: ModelServer
) -> None:
    with running(project, "--upstream", upstream.openai) as (program, urls):
        assert urls["OPENAI_BASE_URL"] == urls["ANTHROPIC_BASE_URL"] + "/v1"
        client = openai.OpenAI(base_url=urls["OPENAI_BASE_URL"], api_key="sk-alice", max_retries=0)
        message = client.chat.completions.create(**QUESTION).choices[0].message
        client.close()
        program.send_signal(signal.SIGTERM)
        told = program.communicate()[1].splitlines()
        assert program.returncode == 0
    assert told[:3] == [
        f"upstream: {upstream.openai}",
        "callers:  the users of this machine",
        "governing; Ctrl-C stops",
    ]
    assert max(map(len, [*told, *(f"{name}={url}" for name, url in urls.items())])) <= 80
    assert [each.function.arguments for each in message.tool_calls or []] == ['{"city": "Bern"}']
    assert "too far away" in str(message.refusal)
    decisions = records(project / "audit.db", "call.decision")
    assert [each["decision"]["effect"] for each in decisions] == ["allow", "deny"]
    principal = decisions[0]["principal"]
    assert (principal["id"], principal["method"]) == (user_name(), "os_user")
    assert principal["assurance"] == "asserted"
    assert "admin.stop" in {each["type"] for each in records(project / "audit.db")}


def test_a_request_that_the_listener_refuses_is_answered_in_the_format_of_its_api(
    project: Path, upstream: ModelServer
) -> None:
    with running(project, "--upstream", upstream.openai) as (program, urls):
        client = openai.OpenAI(
            base_url=urls["OPENAI_BASE_URL"],
            api_key="sk-alice",
            max_retries=0,
            default_headers={"Origin": "https://evil.example"},
        )
        with client, pytest.raises(openai.PermissionDeniedError) as denied:
            client.chat.completions.create(**QUESTION)
        assert denied.value.code == "listener.origin"
        program.send_signal(signal.SIGINT)
        assert program.wait() == 0
    assert not upstream.requests


def test_a_proxy_that_stops_does_not_wait_for_a_person(project: Path) -> None:
    """The request for the approval stays in the ledger, and no call is handed over. The operator
    reads why nothing seems to happen.
    """
    (project / "guardrail.toml").write_text(
        f"{SETTINGS}approval_wait_s = 3600\nstop_s = 1\n\n"
        "[approvals]\nunsafe_asserted_approvals = true\n"
    )
    turn = Turn("Let me see.", [Call("book", {"city": "Bern"}, "c1")])
    with (
        ModelServer([turn]) as upstream,
        running(project, "--upstream", upstream.openai) as (program, urls),
        socket.create_connection(
            ("127.0.0.1", int(urls["ANTHROPIC_BASE_URL"].rpartition(":")[2]))
        ) as sock,
    ):
        body = json.dumps({**QUESTION, "stream": True})
        host = urls["ANTHROPIC_BASE_URL"].removeprefix("http://")
        lines = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        sock.sendall(f"{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        db = project / "audit.db"
        until(lambda: records(db, "call.decision"), "the request for the approval is recorded")
        program.send_signal(signal.SIGTERM)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                answer += piece
        assert program.wait() == 0
        assert program.stderr is not None
        told = [line for line in program.stderr.read().splitlines() if "guardrail: " in line]
    assert told == [
        "guardrail: book is waiting for approval (up to 3600 s): guardrail approvals",
        "guardrail: stopping: 1 request in progress, up to 1 s; Ctrl-C again ends it",
    ]
    assert b"book" not in answer
    assert b"[DONE]" not in answer
    (decision,) = records(db, "call.decision")
    assert decision["decision"]["effect"] == "require_approval"
    assert not records(db, "call.outcome")


def test_other_machines_need_tls_and_a_token(
    project: Path, upstream: ModelServer, tmp_path: Path
) -> None:
    """The token names the caller, unless the kernel does: a local caller is known by its user."""
    made = certificates(tmp_path / "tls")
    (project / "guardrail.toml").write_text(
        SETTINGS + f'tls_cert = "{made.cert}"\ntls_key = "{made.key}"\ncallers = "callers"\n'
        'hosts = "localhost"\n'
    )
    done = subprocess.run(
        command("proxy", "token", "ci"),
        cwd=project,
        env=environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    token = done.stdout.strip()
    assert token not in (project / "callers").read_text()
    started = running(project, "--upstream", upstream.openai, listen="0.0.0.0:0")
    with started as (program, urls):
        base = urls["OPENAI_BASE_URL"]
        assert re.fullmatch(r"https://localhost:[0-9]+/v1", base)
        ask = (
            "import sys, openai, httpx2, ssl\n"
            "tls = ssl.create_default_context(cafile=sys.argv[2])\n"
            "client = openai.OpenAI(base_url=sys.argv[1], api_key='sk-alice', max_retries=0,\n"
            "    http_client=httpx2.Client(verify=tls), default_headers=dict(\n"
            "    [('x-guardrail-token', sys.argv[3])] if sys.argv[3:] else []))\n"
            "try:\n"
            "    print(client.models.list() and 'served')\n"
            "except openai.AuthenticationError as error:\n"
            "    print(error.code)\n"
        )
        for given, said in (
            (["wrong"], "listener.caller"),
            ([], "listener.caller"),
            ([token], "served"),
        ):
            asked = subprocess.run(
                [sys.executable, "-c", ask, base, str(made.ca), *given],
                capture_output=True,
                text=True,
                check=False,
            )
            assert asked.stdout.strip() == said, asked.stderr
        program.send_signal(signal.SIGTERM)
        assert program.wait() == 0
    (request,) = upstream.requests
    assert request.header("x-guardrail-token") is None


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--upstream"),
        (["--upstream", "http://api.example.com"], 3, "https"),
        (["--upstream", "http://127.0.0.1:9", "--listen", "0.0.0.0:0"], 3, "tls_cert"),
        (["--upstream", "http://127.0.0.1:9", "--listen", "localhost"], 3, "127.0.0.1:8290"),
        (["--upstream", "http://127.0.0.1:9", "token", "ci"], 2, "token --help"),
    ],
)
def test_a_proxy_that_would_be_unsafe_does_not_start(
    project: Path, options: list[str], code: int, words: str
) -> None:
    found, said = refused(project, *options)
    assert (found, words in said) == (code, True), said
    assert "next:" in said


def test_a_port_in_use_is_named_with_the_next_step(project: Path, upstream: ModelServer) -> None:
    at = upstream.url.removeprefix("http://")
    code, said = refused(project, "--upstream", upstream.openai, "--listen", at)
    assert code == 3
    assert f"can't listen on {at}" in said
    assert "--listen 127.0.0.1:0 selects a free port" in said


def test_settings_that_were_only_found_do_not_get_the_keys(
    project: Path, upstream: ModelServer
) -> None:
    (project / "guardrail.toml").write_text(SETTINGS + f'upstream = "{upstream.openai}"\n')
    code, said = refused(project)
    assert code == 3
    assert "[proxy] upstream" in said
    with running(project, "--config", "guardrail.toml") as (program, _):
        program.send_signal(signal.SIGTERM)
        assert program.wait() == 0


@pytest.mark.parametrize("package", ["uvicorn", "aiohttp"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    project: Path, package: str
) -> None:
    source = (
        f"import sys; sys.modules[{package!r}] = None; from guardrail.cli.app import run;"
        "sys.exit(run(['proxy', '--upstream', 'http://127.0.0.1:9', '--listen', '127.0.0.1:0']))"
    )
    done = done_in(project, [sys.executable, "-c", source])
    assert done.returncode == 3, done.stderr
    assert "install guardrail with the 'server' extra (README.md)" in done.stderr
