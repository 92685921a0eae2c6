"""LiteLLM's generic_guardrail_api, and the proxy in front of LiteLLM: with requests as LiteLLM
sends them, and with the real package.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from guardrail.errors import LedgerPoisonedError
from tests.support.adapters import Bench
from tests.support.command_line import environment
from tests.support.model_server import MODEL, Call, ModelServer, Turn
from tests.support.openai_clients import CHAT
from tests.support.proxies import RunningProxy, proxied

PATH = "/beta/litellm_basic_guardrail_api"
NOWHERE = "http://127.0.0.1:9/v1"


def call(city: str, number: int = 0, arguments: str | None = None) -> dict[str, Any]:
    text = f'{{"city": "{city}"}}' if arguments is None else arguments
    function = {"name": "weather", "arguments": text}
    return {"id": f"call_{city}", "type": "function", "function": function, "index": number}


def asked(proxy: RunningProxy, kind: str = "response", **more: Any) -> dict[str, Any]:
    """Ask as LiteLLM asks, and return the verdict."""
    body = {
        "input_type": kind,
        "litellm_call_id": "b980db26-9512-45cc-b1da-c511a363b83f",
        "litellm_trace_id": "cb41bc03-f4c3-4072-8c56-c0a8c1e3e3b9",
        "structured_messages": None,
        "images": None,
        "tools": None,
        "texts": ["Sun."],
        "request_data": {"user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf0981"},
        "tool_calls": None,
        "model": MODEL,
        **more,
    }
    answer = httpx2.post(f"{proxy.url}{PATH}", json=body, timeout=60)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def told(*cities: str) -> list[dict[str, Any]]:
    calls = [call(each) for each in cities]
    results = [
        {"role": "tool", "tool_call_id": f"call_{each}", "content": "sun"} for each in cities
    ]
    return [
        {"role": "user", "content": "Sun?"},
        {"role": "assistant", "tool_calls": calls},
        *results,
    ]


def test_an_answer_whose_calls_are_allowed_passes_once_they_are_recorded(bench: Bench) -> None:
    with proxied(bench.guard, NOWHERE) as proxy:
        assert asked(proxy, tool_calls=[call("Bern"), call("Basel", 1)]) == {"action": "NONE"}
        assert [each["decision"]["effect"] for each in bench.decisions] == ["allow", "allow"]
        assert {each["enforcement"] for each in bench.decisions} == {"release"}
        assert bench.outcomes == []
        assert asked(proxy, "request", structured_messages=told("Bern")) == {"action": "NONE"}
        assert [each["status"] for each in bench.outcomes] == ["returned"]


def test_one_denied_call_blocks_the_answer_and_the_others_are_cancelled(bench: Bench) -> None:
    with proxied(bench.guard, NOWHERE) as proxy:
        verdict = asked(proxy, tool_calls=[call("Bern"), call("Atlantis", 1)])
    assert verdict["action"] == "BLOCKED"
    assert "no_such_place" in verdict["blocked_reason"]
    assert [each["decision"]["effect"] for each in bench.decisions] == ["allow", "deny"]
    assert [each["status"] for each in bench.outcomes] == ["cancelled"]


def test_an_answer_without_calls_passes(bench: Bench) -> None:
    with proxied(bench.guard, NOWHERE) as proxy:
        for calls in (None, []):
            assert asked(proxy, tool_calls=calls) == {"action": "NONE"}
    assert bench.recorded == []


@pytest.mark.parametrize(
    "calls",
    [
        [call("Bern", arguments='{"city": "Be')],
        [call("Bern", arguments='{"city": "Bern", "city": "Atlantis"}')],
        [{**call("Bern"), "id": None}],
        [call("Bern"), call("Bern", 1)],
        [{**call("Bern"), "type": "new"}],
        [{**call("Bern"), "function": None}],
        ["text"],
        {"not": "a list"},
    ],
    ids=["half", "duplicate keys", "no id", "same id", "kind", "no function", "text", "no list"],
)
def test_a_malformed_call_blocks_the_answer(bench: Bench, calls: Any) -> None:
    with proxied(bench.guard, NOWHERE) as proxy:
        assert asked(proxy, tool_calls=calls)["action"] == "BLOCKED"
        assert asked(proxy, tool_calls=[call("Basel")]) == {"action": "NONE"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"tool_calls": 1, "tool_calls": []}'])
def test_a_malformed_request_blocks_the_answer(bench: Bench, body: bytes) -> None:
    with proxied(bench.guard, NOWHERE) as proxy:
        answer = httpx2.post(f"{proxy.url}{PATH}", content=body, timeout=60)
    assert (answer.status_code, answer.json()["action"]) == (200, "BLOCKED")


def test_an_answer_is_blocked_if_its_calls_cannot_be_recorded(bench: Bench) -> None:
    """An error could be ignored: LiteLLM has settings for that."""
    bench.ledger.fail = lambda _: LedgerPoisonedError("the disk is full")
    with proxied(bench.guard, NOWHERE) as proxy:
        assert asked(proxy, tool_calls=[call("Bern")])["action"] == "BLOCKED"
        bench.ledger.fail = lambda _: None
        assert asked(proxy, tool_calls=[call("Basel")]) == {"action": "NONE"}


def test_another_key_of_litellm_tells_no_result(bench: Bench) -> None:
    with proxied(bench.guard, NOWHERE) as proxy:
        asked(proxy, tool_calls=[call("Bern")])
        other = {"user_api_key_hash": "another"}
        asked(proxy, "request", structured_messages=told("Bern"), request_data=other)
        assert bench.outcomes == []


CONFIG = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {upstream}
      api_key: none
general_settings:
  master_key: sk-of-tests-0123456789abcdef0123456789abcdef
litellm_settings:
  num_retries: 0
"""
GUARDRAIL = """
guardrails:
  - guardrail_name: calls
    litellm_params:
      guardrail: generic_guardrail_api
      mode: [pre_call, post_call]
      default_on: true
      api_base: {guard}
      fail_on_error: true
      unreachable_fallback: fail_closed
      streaming_end_of_stream_only: true
      streaming_buffer_until_moderated: true
"""
KEY = "sk-of-tests-0123456789abcdef0123456789abcdef"


@contextmanager
def litellm(folder: Path, config: str) -> Iterator[str]:
    """Run the real LiteLLM; yield its base URL."""
    program = os.environ.get("GUARDRAIL_LITELLM")
    if program is None:
        pytest.skip("NOT RUN: GUARDRAIL_LITELLM, the program litellm of a venv of its own")
    (folder / "config.yaml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"})
    variables.pop("PYTHONPATH")
    with (folder / "litellm.log").open("wb") as log:
        running = subprocess.Popen(
            [program, "--config", "config.yaml", "--host", "127.0.0.1", "--port", port],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until_it_answers(running, f"{url}/health/liveliness", folder / "litellm.log")
            yield f"{url}/v1"
        finally:
            running.kill()
            running.wait()


def until_it_answers(running: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert running.poll() is None, log.read_text()
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


CALLS = [Call("weather", {"city": "Bern"}, "call_Bern")]
DENIED = [*CALLS, Call("weather", {"city": "Atlantis"}, "call_Atlantis")]


@pytest.mark.slow
def test_the_proxy_governs_the_answers_of_the_real_litellm(bench: Bench, tmp_path: Path) -> None:
    """LiteLLM is the upstream: nothing in it changes."""
    with (
        ModelServer([Turn("Let me see.", DENIED)], repeat=True) as upstream,
        litellm(tmp_path, CONFIG.format(model=MODEL, upstream=upstream.openai)) as url,
        proxied(bench.guard, url) as proxy,
        proxy.openai(api_key=KEY) as client,
    ):
        message = client.chat.completions.create(**CHAT).choices[0].message
        assert [each.id for each in message.tool_calls] == ["call_Bern"]
        assert "no_such_place" in message.refusal
        with client.chat.completions.stream(**CHAT) as stream:
            message = stream.get_final_completion().choices[0].message
        assert [each.id for each in message.tool_calls] == ["call_Bern"]
    assert [each["decision"]["effect"] for each in bench.decisions] == ["allow", "deny"] * 2


def streamed(client: openai.OpenAI) -> None:
    """Read a stream, which must hold no call."""
    for chunk in client.chat.completions.create(**CHAT, stream=True):
        assert "call_" not in chunk.model_dump_json()


@pytest.mark.slow
def test_the_real_litellm_blocks_answers_with_a_denied_call(bench: Bench, tmp_path: Path) -> None:
    """Streamed and not: with these settings, LiteLLM holds a stream back until it was decided."""
    script = [Turn("Let me see.", CALLS), Turn("Let me see.", DENIED)] * 2
    with (
        ModelServer(script) as upstream,
        proxied(bench.guard, NOWHERE) as proxy,
        litellm(
            tmp_path,
            CONFIG.format(model=MODEL, upstream=upstream.openai)
            + GUARDRAIL.format(guard=proxy.url),
        ) as url,
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
    ):
        message = client.chat.completions.create(**CHAT).choices[0].message
        assert [each.id for each in message.tool_calls or []] == ["call_Bern"]
        with pytest.raises(openai.APIStatusError, match="no_such_place"):
            client.chat.completions.create(**CHAT)
        with client.chat.completions.stream(**CHAT) as stream:
            message = stream.get_final_completion().choices[0].message
        assert [each.id for each in message.tool_calls or []] == ["call_Bern"]
        with pytest.raises(openai.APIError):
            streamed(client)
    effects = [each["decision"]["effect"] for each in bench.decisions]
    assert effects == ["allow", "allow", "deny"] * 2
