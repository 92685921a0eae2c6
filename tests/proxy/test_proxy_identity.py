"""The principal in the records of calls through a proxy: named by a peer, the kernel or nobody."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from guardrail.config import ProxySettings
from guardrail.proxy.listening import proxy_listener
from guardrail.system.caller_tokens import add_token
from guardrail.system.os_user import user_name
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer
from tests.support.openai_clients import CHAT, asking
from tests.support.other_users import needs_root

PEERS = {"peers": ("127.0.0.1",), "identity_header": "X-User"}


@contextmanager
def asked(bench: Bench, **settings: Any) -> Iterator[tuple[str, ModelServer]]:
    """Serve a proxy as the command does; yield its URL, and the upstream."""
    with ModelServer([asking("Bern")], repeat=True) as upstream:
        made = ProxySettings(**{"listen": "127.0.0.1:0", **settings})
        with proxy_listener(bench.guard, upstream.openai, made) as url:
            yield f"{url}/v1/chat/completions", upstream


def principals(bench: Bench) -> list[tuple[str, str, str]]:
    """Id, assurance and method of the principal of each decision."""
    found = [each["principal"] for each in bench.decisions]
    return [(each["id"], each["assurance"], each["method"]) for each in found]


def test_a_caller_on_this_machine_is_the_user_who_runs_it(bench: Bench) -> None:
    with asked(bench) as (url, _):
        assert httpx2.post(url, json=CHAT, headers={"x-user": "mallory"}).status_code == 200
    assert principals(bench) == [(user_name(), "asserted", "os_user")]


def test_a_caller_over_ipv6_is_known_too(bench: Bench) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with asked(bench, listen="[::1]:0") as (url, _):
        assert url.startswith("http://[::1]:")
        assert httpx2.post(url, json=CHAT).status_code == 200
    assert principals(bench) == [(user_name(), "asserted", "os_user")]


def test_a_token_names_the_program_of_a_user_of_this_machine(bench: Bench, tmp_path: Path) -> None:
    """The user stays the principal, who can't approve the calls of its own programs."""
    path = tmp_path / "callers"
    tokens = [add_token(path, name) for name in ("ci", "nightly")]
    with asked(bench, callers=path) as (url, upstream), httpx2.Client() as client:
        for token in tokens:
            named = {"x-guardrail-token": token}
            assert client.post(url, json=CHAT, headers=named).status_code == 200
    assert principals(bench) == [(user_name(), "asserted", "os_user")] * 2
    agents = [(each["agent"]["id"], each["agent"]["method"]) for each in bench.decisions]
    assert agents == [("ci", "token"), ("nightly", "token")]
    assert len({each["session"] for each in bench.decisions}) == 2
    assert {each.header("x-guardrail-token") for each in upstream.requests} == {None}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "send it in the header x-guardrail-token"),
        (("grt_wrong",), "the caller token in the header x-guardrail-token is not valid"),
        (("grt_a", "grt_b"), "the header x-guardrail-token must appear exactly once"),
    ],
)
@pytest.mark.parametrize("route", ["chat/completions", "messages"])
def test_a_caller_without_a_token_reads_how_to_send_and_to_get_one(
    bench: Bench, tmp_path: Path, given: tuple[str, ...], said: str, route: str
) -> None:
    """In the format of its API, and without a name from the file."""
    add_token(tmp_path / "callers", "nightly")
    headers = [("x-guardrail-token", token) for token in given]
    with asked(bench, callers=tmp_path / "callers") as (url, upstream):
        place = url.replace("chat/completions", route)
        answer = httpx2.post(place, json=CHAT, headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["type"] == "authentication_error"
    assert said in error["message"]
    assert "guardrail proxy token NAME" in error["message"]
    assert "nightly" not in answer.text
    assert not upstream.requests


def test_a_peer_names_each_caller_and_the_upstream_does_not_learn_it(bench: Bench) -> None:
    with asked(bench, **PEERS) as (url, upstream), httpx2.Client() as client:
        for name in ("alice", "bob"):
            assert client.post(url, json=CHAT, headers={"x-user": name}).status_code == 200
    assert principals(bench) == [
        ("alice", "asserted", "peer_header"),
        ("bob", "asserted", "peer_header"),
    ]
    assert len({each["session"] for each in bench.decisions}) == 2
    assert {each.header("x-user") for each in upstream.requests} == {None}


def test_a_peer_that_names_nobody_calls_for_nobody(bench: Bench) -> None:
    """Not for the user who runs the peer. By default, such a call is denied."""
    with asked(bench, **PEERS) as (url, _):
        assert httpx2.post(url, json=CHAT).status_code == 200
    assert principals(bench) == [("", "absent", "none")]


@pytest.mark.parametrize(
    "headers",
    [
        [("x-user", "alice"), ("x-user", "alice")],
        [("x-user", "alice"), ("X-User", "bob")],
        [("x-user", "a" * 600)],
        [("x-user", b"\xff\xfe")],
    ],
)
def test_a_hostile_name_is_refused_in_the_format_of_the_api(
    bench: Bench, headers: list[tuple[str, Any]]
) -> None:
    with asked(bench, **PEERS) as (url, upstream):
        answer = httpx2.post(url, json=CHAT, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"].startswith("identity.")
        assert httpx2.post(url, json=CHAT, headers={"x-user": "alice"}).status_code == 200
    assert len(upstream.requests) == 1


AS_ANOTHER = """
import encodings.idna, http.client, json, os, sys, urllib.parse
os.setgid(12345)
os.setuid(12345)
url = urllib.parse.urlsplit(sys.argv[1])
client = http.client.HTTPConnection(url.hostname, url.port)
client.request("POST", url.path, sys.argv[2], {"content-type": "application/json"})
print(client.getresponse().status)
"""


@needs_root
def test_programs_of_two_users_are_told_apart(bench: Bench) -> None:
    with asked(bench) as (url, _):
        command = [sys.executable, "-c", AS_ANOTHER, url, json.dumps(CHAT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == "200\n", done.stderr
        assert httpx2.post(url, json=CHAT).status_code == 200
    assert [each[0] for each in principals(bench)] == ["12345", user_name()]
