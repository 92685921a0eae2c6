"""Node's clients of the APIs: the real packages, each in a small program of tests/node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent.parent / "node"
RUNNERS = [
    ("openai", "chat-run-tools"),
    ("anthropic", "messages-run-tools"),
    *(
        ("ai", f"{kind}-{how}")
        for kind in ("chat", "responses", "compatible", "messages")
        for how in ("generate", "stream")
    ),
]
"""Clients and ways of the programs that run the tools themselves."""


def node_program(client: str, way: str, **asked: Any) -> tuple[list[str], dict[str, str]]:
    """Return the command of *client*'s program, and the environment that it needs. Without a
    ``base_url`` in *asked*, the client reads its own variable.
    """
    found = shutil.which("node")
    packages = Path(os.environ.get("GUARDRAIL_NODE", PROGRAMS))
    if found is None or not (packages / "node_modules").is_dir():
        pytest.skip("NOT RUN: no clients for Node (make node, or set GUARDRAIL_NODE)")
    told = json.dumps({"way": way, **asked})
    variables = {"GUARDRAIL_NODE": str(packages), "AI_SDK_LOG_WARNINGS": "false"}
    return [found, str(PROGRAMS / f"{client}.mjs"), told], variables


def base_url(url: str, client: str) -> str:
    """Return the base URL for a client: Anthropic's own adds ``/v1`` itself."""
    return url if client == "anthropic" else f"{url}/v1"


def node(client: str, base_url: str, way: str, **asked: Any) -> dict[str, Any]:
    """Run the program of *client* against *base_url*, and return what it saw."""
    argv, variables = node_program(client, way, base_url=base_url, **asked)
    made = subprocess.run(
        argv,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    seen: dict[str, Any] = json.loads(made.stdout)
    return seen
