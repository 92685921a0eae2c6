"""docs/proxy.md: what a new user does there works as the page says."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from guardrail.proxy.embedded import ANTHROPIC_NAMES, OPENAI_NAMES
from guardrail.proxy.errors import ProxyError
from guardrail.proxy.routes import find_route
from guardrail.system.os_user import user_name
from tests.proxy.test_proxy_litellm import GUARDRAIL
from tests.support import tokens
from tests.support.command_line import Ran, command, environment
from tests.support.guards import records, whole
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.projects import new_project

PAGE = (Path(__file__).parents[2] / "docs" / "proxy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def block(language: str, number: int = 0) -> str:
    return [text for each, text in BLOCKS if each == language][number]


def script() -> Any:
    """Return the model of the page: it asks for both calls, and then tells what it learnt."""
    both = [Call("find_order", {"number": 7}), Call("delete_order", {"number": 6})]
    return [Turn(calls=both), Turn("Order 7 is shipped.")]


def guardrail(folder: Path, line: str, **variables: str) -> Ran:
    """Run a command of the page."""
    program, *arguments = shlex.split(line)
    assert program == "guardrail"
    arguments = [sys.executable if each == "python" else each for each in arguments]
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment({**variables, "OPENAI_API_KEY": "sk-of-alice"}),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def accept_shown(folder: Path, command: str) -> None:
    """Accept what *command* shows. There is no terminal, so the command gives a digest."""
    asked = guardrail(folder, command)
    assert asked.code == 2, asked.err
    (digest,) = re.findall(r"add (--digest \w+)$", asked.err, re.MULTILINE)
    assert guardrail(folder, f"{command} {digest}").code == 0


def test_a_program_is_governed_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(block("python"))
    init, run = block("sh").splitlines()
    show, accept = block("sh", 1).splitlines()
    assert guardrail(tmp_path, init).code == 0
    with ModelServer(script()) as api:
        ran = guardrail(tmp_path, run, OPENAI_BASE_URL=api.openai)
    assert (ran.code, ran.err) == (0, block("")), ran.err
    assert "this tool is not declared" in ran.out
    assert "deleting" not in ran.out
    shown = guardrail(tmp_path, "guardrail show last")
    assert "find_order" in shown.out
    assert "delete_order" in shown.out
    shown = guardrail(tmp_path, show)
    assert "find_order" in shown.out + shown.err
    accept_shown(tmp_path, accept)
    (tmp_path / "policies" / "orders.rego").write_text(block("rego"))
    with ModelServer(script()) as api:
        (other,) = re.findall(r"`(guardrail run --upstream [^`]*)`", PAGE)
        ran = guardrail(tmp_path, other.replace("http://127.0.0.1:4000/v1", api.openai))
        assert (ran.code, ran.out, ran.err) == (0, "Order 7 is shipped.\n", block("", 1))
        assert api.requests[0].header("authorization") == "Bearer sk-of-alice"
    db = tmp_path / "audit" / "ledger.db"
    denied = [
        each["seq"] for each in records(db, "call.decision") if each["decision"]["effect"] == "deny"
    ]
    why = guardrail(tmp_path, f"guardrail why {denied[-1]}")
    assert "agents may not delete orders" in why.out
    statuses = [each["status"] for each in whole(db) if each["type"] == "call.outcome"]
    assert statuses == ["returned"]


def test_the_variables_of_the_page_are_those_that_a_program_gets() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted([*OPENAI_NAMES, *ANTHROPIC_NAMES])


@pytest.mark.parametrize("route", re.findall(r"`POST (/v1/[a-z/]+)`", PAGE))
def test_a_route_of_the_page_is_governed(route: str) -> None:
    assert find_route("POST", route).api is not None


@pytest.mark.parametrize(
    "name", ["models", "embeddings", "files", "moderations", "images", "audio"]
)
def test_a_route_that_the_page_passes_on_is_passed_on(name: str) -> None:
    assert f"{name}," in PAGE or f"{name} and" in PAGE
    assert find_route("GET", f"/v1/{name}").api is None


@pytest.mark.parametrize("path", ["realtime", "batches", "assistants", "responses/resp_1", "new"])
def test_a_route_that_the_page_refuses_is_refused(path: str) -> None:
    with pytest.raises(ProxyError, match="carry tool calls"):
        find_route("GET", f"/v1/{path}")


def test_the_settings_for_litellm_are_those_that_its_test_uses() -> None:
    url = "http://127.0.0.1:8290"
    assert block("yaml") == GUARDRAIL.format(guard=url).lstrip("\n")


@contextmanager
def started(folder: Path, line: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a proxy as in *line* of the page, on a free port; yield the process and its output."""
    arguments = [*shlex.split(line)[1:], "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        told = ""
        while "Ctrl-C" not in told:
            line = running.stdout.readline()
            assert line, told
            told += line
        yield running, told
        running.terminate()
    assert running.returncode == 0


def test_the_proxy_is_started_as_the_page_says(tmp_path: Path) -> None:
    """In front of LiteLLM; the test of that is tests/proxy/test_proxy_litellm.py."""
    assert guardrail(tmp_path, "guardrail init").code == 0
    lines = [
        text.strip()
        for kind, text in BLOCKS
        if kind == "sh" and text.startswith("guardrail proxy -")
    ]
    assert len(lines) == 2
    for line in lines:
        with started(tmp_path, line) as (_, told):
            upstream = shlex.split(line)[-1]
            shown = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8290", told.replace(upstream, "U"))
            assert shown == block("text").replace("https://api.openai.com/v1", "U")
    assert max(map(len, block("text").splitlines())) <= 80


def test_programs_with_tokens_use_the_proxy_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a policy that changes meanwhile applies after the commands of the page."""
    shell = [text for kind, text in BLOCKS if kind == "sh"]
    assert guardrail(tmp_path, "guardrail init").code == 0
    settings = tmp_path / "guardrail.toml"
    settings.write_text(settings.read_text().replace('# callers = ""', 'callers = "callers"'))
    (make,) = [text for text in shell if text.startswith("guardrail proxy token")]
    (ask,) = [text for text in shell if text.startswith("curl")]
    (change,) = [text for text in shell if text.startswith("guardrail policy test")]
    token = guardrail(tmp_path, make).out.strip()
    for name, value in {
        "GUARDRAIL_TOKEN": token,
        "OPENAI_API_KEY": "sk-a",
        "ANTHROPIC_API_KEY": "sk-b",
    }.items():
        monkeypatch.setenv(name, value)
    call = Turn(calls=[Call("find_order", {"number": 7})])
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "Where is order 7?"}]}
    schema = {"type": "object", "properties": {"number": {"type": "integer"}}}
    with (
        ModelServer([call], repeat=True) as api,
        started(tmp_path, f"guardrail proxy --upstream {api.openai}") as (_, told),
    ):
        assert "callers:  nightly (tokens in the header x-guardrail-token)\n" in told
        base = told.splitlines()[1].partition("=")[2]
        ask = ask.replace("curl ", "curl -sS ").replace("http://127.0.0.1:8290", base)
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
        assert "this tool is not declared" in done.stdout, done.stdout + done.stderr
        made: dict[str, Any] = {}
        exec(block("python", 1).replace("http://127.0.0.1:8290", base), made)
        with made["openai"] as openai, made["anthropic"] as anthropic:
            tool = {"type": "function", "function": {"name": "find_order", "parameters": schema}}
            answer = openai.chat.completions.create(**asked, tools=[tool])
            assert not answer.choices[0].message.tool_calls
            accept_shown(tmp_path, "guardrail proxy accept --all")
            (tmp_path / "policies" / "orders.rego").write_text(block("rego"))
            for line in change.splitlines():
                ran = guardrail(tmp_path, line)
                assert ran.code == 0, ran.out + ran.err
            answer = openai.chat.completions.create(**asked, tools=[tool])
            assert answer.choices[0].message.tool_calls
            tool = {"name": "find_order", "input_schema": schema}
            answer = anthropic.messages.create(**asked, tools=[tool], max_tokens=9)
            assert answer.stop_reason == "tool_use"
    decisions = records(tmp_path / "audit" / "ledger.db", "call.decision")
    callers = {(each["principal"]["id"], each["agent"]["id"]) for each in decisions}
    assert callers == {(user_name(), "nightly")}


def test_callers_with_access_tokens_are_served_as_the_page_says(tmp_path: Path) -> None:
    """The settings of the page, with the issuer's keys in a file; the client of the page."""
    settings = block("toml").replace("https://login.example.com/oauth2/keys", "jwks.json")
    assert "jwks.json" in settings
    new_project(tmp_path, settings)
    (tmp_path / "jwks.json").write_text(tokens.key_set(tokens.jwk()))
    access_token = tokens.token(aud="https://models.example.com", now=int(time.time()))
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "Where is order 7?"}]}
    with (
        ModelServer([Turn(calls=[Call("find_order", {"number": 7})])], repeat=True) as api,
        started(tmp_path, f"guardrail proxy --upstream {api.openai}") as (_, told),
    ):
        assert "callers:  with a token of https://login.example.com in the header" in told
        base = told.splitlines()[1].partition("=")[2]
        program = block("python", 2).replace("https://models.example.com", base)
        made: dict[str, Any] = {"OpenAI": functools.partial(openai.OpenAI, api_key="k")}
        exec(program, made | {"access_token": access_token}, made)
        with made["openai"] as client:
            assert client.chat.completions.create(**asked).choices[0].message.tool_calls
            with pytest.raises(openai.AuthenticationError, match="x-guardrail-identity"):
                client.chat.completions.create(
                    **asked, extra_headers={"x-guardrail-identity": openai.omit}
                )
    (record,) = records(tmp_path / "audit" / "ledger.db", "call.decision")
    assert record["principal"]["assurance"] == "verified"
