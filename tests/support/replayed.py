"""Official clients that read an answer from memory, in pieces, as if a server had sent it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import httpx2
import openai

__all__ = ["anthropic_client", "openai_client"]


class _Pieces(httpx2.SyncByteStream):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


class _Replay(httpx2.BaseTransport):
    def __init__(self, pieces: Sequence[bytes], kind: str) -> None:
        self._pieces = pieces
        self._kind = kind

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        headers = {"content-type": self._kind}
        return httpx2.Response(200, headers=headers, stream=_Pieces(self._pieces))


def _options(pieces: Sequence[bytes], kind: str) -> dict[str, Any]:
    http = httpx2.Client(transport=_Replay(pieces, kind))
    return {
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "none",
        "max_retries": 0,
        "http_client": http,
    }


def openai_client(pieces: Sequence[bytes], kind: str = "text/event-stream") -> openai.OpenAI:
    """Return a client of OpenAI that gets *pieces* for every request."""
    return openai.OpenAI(**_options(pieces, kind))


def anthropic_client(
    pieces: Sequence[bytes], kind: str = "text/event-stream"
) -> anthropic.Anthropic:
    """Return a client of Anthropic that gets *pieces* for every request."""
    return anthropic.Anthropic(**_options(pieces, kind))
