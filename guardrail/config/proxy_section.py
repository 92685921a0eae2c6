"""The section ``[proxy]`` of guardrail.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardrail.config.kinds import (
    file_field,
    number_field,
    text_field,
    texts_field,
)

__all__ = ["ProxySettings"]


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Settings in ``[proxy]``: the proxy in front of a model's API (docs/proxy.md)."""

    upstream: str = text_field(
        "", "URL of the model's API: https://, or http:// to loopback only; receives callers' keys"
    )
    listen: str = text_field(
        "127.0.0.1:8290",
        "address and port; port 0 selects a free port; an address other than loopback needs "
        "tls_cert, tls_key and callers",
    )
    hosts: tuple[str, ...] = texts_field(
        "accepted Host names, each NAME or NAME:PORT; default: this machine's loopback names, or "
        "the address in listen"
    )
    origins: tuple[str, ...] = texts_field(
        "web origins whose pages may use the proxy, for example https://chat.example.com; default:"
        " none"
    )
    tls_cert: Path | None = file_field(
        "certificate of the proxy (PEM); with it, the proxy serves https"
    )
    tls_key: Path | None = file_field("key of the certificate (PEM, no password), mode 0600")
    callers: Path | None = file_field(
        "file of callers' tokens, which guardrail proxy token adds; if set, every request must "
        "have a token"
    )
    peers: tuple[str, ...] = texts_field(
        "IP addresses of reverse proxies that set the caller in identity_header"
    )
    identity_header: str = text_field(
        "", "header in which these peers pass the caller, whose identity is then asserted"
    )
    token_header: str = text_field(
        "x-guardrail-identity",
        "header with the caller's access token, which is verified if [identity] names issuers; "
        "authorization is possible if the model's API needs no key in it",
    )
    agent_token_header: str = text_field(
        "x-guardrail-agent-identity",
        "header with the access token or JWT-SVID of the caller's agent, which is verified as well",
    )
    tools: Path = text_field(
        Path("proxy-tools.json"), "file of the accepted tools, which guardrail proxy accept writes"
    )
    hosted_tools: tuple[str, ...] = texts_field(
        "types of tools that the provider may run itself, for example web_search; default: none"
    )
    allow_fields: tuple[str, ...] = texts_field(
        "request fields that are forwarded although guardrail does not know them; default: none"
    )
    approval_wait_s: int = number_field(
        120, 0, 3600, "time for which a call that needs an approval is held before it is refused"
    )
    outcome_wait_s: int = number_field(
        3600, 1, 2_592_000, "time after which the outcome of a call is unknown if none was reported"
    )
    max_body_mb: int = number_field(32, 1, 1024, "maximum size of a request body")
    max_streams: int = number_field(
        256, 1, 65_536, "maximum number of requests that are served concurrently"
    )
    idle_s: int = number_field(
        60,
        1,
        3600,
        "time for a request to arrive completely; also the limit for a connection without a "
        "request, and for a caller that does not read the response",
    )
    upstream_idle_s: int = number_field(
        600, 1, 86_400, "time for which the model's API may send nothing before the request fails"
    )
    stop_s: int = number_field(
        30, 0, 3600, "time that requests in progress may take to end after SIGTERM or Ctrl-C"
    )
