"""Canaries that pass through other programs: a real OPA that the guard starts, and the proxy."""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from guardrail import Guard
from guardrail.config import ProxySettings
from guardrail.policy.opa.program import find_opa
from guardrail.proxy.listening import proxy_listener
from guardrail.system.temporary import PREFIX
from tests.support import canaries
from tests.support.guards import appearances, guarded, records, ruled

pytestmark = pytest.mark.slow


def test_no_canary_is_in_what_a_private_opa_writes_or_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its folder, while it runs; its log; the records of decisions that it made."""
    if find_opa() is None:
        pytest.skip("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")
    both = canaries.shaped(), canaries.plain()
    with (
        TemporaryDirectory(prefix="o") as temporary,  # its path is short enough for a socket
        monkeypatch.context() as patched,
        ruled_by_opa(patched, temporary, tmp_path) as guard,
    ):
        canaries.prepare(guard)
        for number, secret in enumerate(both):
            with guard.session(principal="alice", agent="bot", id=f"canary-{number}"):
                canaries.learn(guard, secret)
                for name, place in canaries.IN_CALLS.items():
                    if secret == both[0] or name not in canaries.SUPPLIED:
                        place(guard, secret)
        files = [path for path in Path(temporary).rglob("*") if path.is_file()]
        assert any(PREFIX in str(path) for path in files)
        written = [path.read_bytes() for path in files]
    engines = {each["policy"]["engine"] for each in records(tmp_path / "audit.db", "call.decision")}
    assert "opa" in engines
    said = "".join(capfd.readouterr()).encode()
    for secret in both:
        assert canaries.leaks(tmp_path, secret) == []
        assert [form for data in [*written, said] for form in appearances(secret, data)] == []


@contextmanager
def ruled_by_opa(monkeypatch: pytest.MonkeyPatch, temporary: str, folder: Path) -> Iterator[Guard]:
    """Open a guard whose private OPA has its files in *temporary*."""
    monkeypatch.setattr(tempfile, "tempdir", temporary)
    with ruled(folder, canaries.ECHOES, policy={"engine": "opa"}) as guard:
        yield guard


def requests_with(secret: str) -> list[tuple[str, str, dict[str, str], str]]:
    """Requests that fail, with *secret* in each place."""
    chat = "/v1/chat/completions"
    return [
        (secret[:9], "/v1/models", {}, ""),
        ("GET", f"/v1/{secret}", {}, ""),
        ("GET", f"/{secret}/models", {}, ""),
        ("GET", f"/v1/models?key={secret}", {"Authorization": f"Bearer {secret}"}, ""),
        ("GET", "/v1/models", {"Host": f"{secret}.example"}, ""),
        ("GET", "/v1/models", {"Origin": f"https://{secret}.example"}, ""),
        ("POST", chat, {}, f'{{"model": "{secret}'),
        ("POST", chat, {}, f'{{"model": "m", "data_sources": ["{secret}"]}}'),
        ("POST", chat, {}, f'{{"model": "m", "{secret}": 1, "messages": 5}}'),
        ("POST", "/v1/responses", {"x-guardrail-session": secret}, '{"model": "m"}'),
        ("POST", "/v1/messages", {"content-encoding": secret}, "{}"),
    ]


def test_no_canary_of_a_failed_request_is_in_what_the_proxy_says_or_writes(tmp_path: Path) -> None:
    """In its error bodies, its lines for the operator, and its records; wherever the request had
    the canary: path, query, header, malformed body, foreign member.
    """
    secret = canaries.shaped()
    lines: list[str] = []
    answers = b""
    with guarded(tmp_path) as guard:
        settings = ProxySettings(listen="127.0.0.1:0")
        listener = proxy_listener(guard, "http://127.0.0.1:9/v1", settings, log=lines.append)
        with listener:
            for method, path, headers, body in requests_with(secret):
                line = http.client.HTTPConnection("127.0.0.1", listener.address.port)
                line.request(method, path, body, headers)
                answer = line.getresponse()
                assert answer.status >= 400
                answers += str(answer.headers).encode() + answer.read()
                line.close()
    assert lines
    assert len(answers) > 1_000
    assert appearances(secret, answers + "\n".join(lines).encode()) == []
    assert canaries.leaks(tmp_path, secret) == []
