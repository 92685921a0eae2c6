"""The listener that the settings of the proxy describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.config import ProxySettings
from guardrail.errors import ConfigError
from guardrail.proxy.listening import api_refusal, listener_rules, listener_tls
from guardrail.system.caller_tokens import add_token
from guardrail.system.listener import ListenerRefusal
from tests.support.opa_server import certificates


def test_the_defaults_serve_this_machine_only() -> None:
    address, rules = listener_rules(ProxySettings())
    assert address.loopback
    assert address.port
    assert rules.authenticate is None
    assert rules.origins == frozenset()
    assert listener_tls(ProxySettings()) is None


def test_every_limit_is_taken_from_the_settings() -> None:
    settings = ProxySettings(max_body_mb=2, max_streams=3, idle_s=4, stop_s=5, hosts=("A.example",))
    _, rules = listener_rules(settings)
    found = rules.max_body, rules.max_streams, rules.idle_s, rules.stop_s, rules.hosts
    assert found == (2 << 20, 3, 4, 5, {"a.example"})


def test_other_machines_are_served_with_tls_tokens_and_a_name(tmp_path: Path) -> None:
    made = certificates(tmp_path / "tls")
    add_token(tmp_path / "callers", "ci")
    tls: dict[str, Any] = {"tls_cert": made.cert, "tls_key": made.key}
    callers: dict[str, Any] = {"callers": tmp_path / "callers"}
    for given, code in (
        ({}, "listener.tls_required"),
        (callers, "listener.tls_required"),
        (tls, "listener.callers_required"),
        (tls | callers, "listener.hosts"),
        ({"origins": ("https://a.example/x",), "listen": "127.0.0.1:0"}, "listener.origins"),
        ({"origins": ("*",), "listen": "127.0.0.1:0"}, "listener.origins"),
        ({"listen": "127.0.0.1"}, "listener.address"),
    ):
        with pytest.raises(ConfigError) as wrong:
            listener_rules(ProxySettings(**{"listen": "0.0.0.0:0", **given}))
        assert wrong.value.code == code
        assert wrong.value.hint
    good = ProxySettings(listen="0.0.0.0:0", hosts=("models.example",), **tls, **callers)
    assert listener_rules(good)[1].authenticate is not None
    assert listener_tls(good) is not None
    for half in ({"tls_cert": made.cert}, {"tls_key": made.key}):
        with pytest.raises(ConfigError) as wrong:
            listener_tls(ProxySettings(**half))
        assert wrong.value.code == "listener.tls"


def test_a_refusal_has_the_format_of_the_api_that_was_asked() -> None:
    refusal = ListenerRefusal(503, "busy", "try again soon")
    _, body = api_refusal("/v1/chat/completions", [], refusal)
    openai = json.loads(body)["error"]
    assert (openai["code"], openai["message"]) == ("listener.busy", "try again soon")
    version = [(b"anthropic-version", b"2023-06-01")]
    for asked in (("/v1/messages", []), ("/v1/models", version)):
        headers, body = api_refusal(*asked, refusal)
        anthropic = json.loads(body)
        assert anthropic["type"] == "error"
        assert "try again soon" in anthropic["error"]["message"]
        assert (b"content-type", b"application/json") in headers
