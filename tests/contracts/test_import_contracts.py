"""The import contracts can fail: each is broken in a copy of the package, and import-linter says
so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
BREAKING = {
    "Imports point down": ("system/durable.py", "guardrail.config"),
    "Imports point down inside the core": ("core/types.py", "guardrail.core.decision"),
    "Imports point down inside policy": ("policy/rego/tree.py", "guardrail.policy.embedded.lane"),
    "Imports point down inside the ledger": (
        "ledger/reader.py",
        "guardrail.ledger.writing.writer",
    ),
    "No imports run in a circle": ("review/records.py", "guardrail.review.why"),
    "The core is pure": ("core/log/chain.py", "time"),
    "Reading runs nothing (P9)": ("review/why.py", "guardrail.guard"),
    "Reading writes to no ledger": ("review/why.py", "guardrail.ledger.sqlite.appending"),
    "Verifying, proving and exporting use no index": (
        "review/proofs.py",
        "guardrail.review.index.records",
    ),
    "Recording who reads runs nothing": ("access_log/log.py", "guardrail.policy.sources"),
    "Approvals are judged from values alone": ("approvals/rules.py", "time"),
    "Answering runs no tool": ("approvals/service.py", "guardrail.guard"),
    "Only the verification of signatures imports PyJWT": ("identity/tokens.py", "jwt"),
    "Only keys imports cryptography": ("wiring/opening.py", "cryptography"),
    "Only the storage of the ledger imports SQLite": ("ledger/writing/commit.py", "sqlite3"),
    "Only the parts that open a ledger know its database": (
        "review/export.py",
        "guardrail.ledger.sqlite.storage",
    ),
    "Only the HTTP client imports sockets and TLS": ("policy/opa/target.py", "socket"),
    "Only the administration of OPA servers imports the OPA client": (
        "authoring/push.py",
        "requests",
    ),
    "Only the worker process imports regorus": ("policy/embedded/process.py", "regorus"),
    "Only the schemas of arguments import the schema validator": (
        "tools/models.py",
        "jsonschema_rs",
    ),
    "Only their detectors import the libraries of telephone and national numbers": (
        "core/redaction/walk.py",
        "phonenumbers",
    ),
    "Only tools and the LangChain integration import pydantic": ("config/settings.py", "pydantic"),
    "Only the LangChain integration imports LangChain": ("tools/functions.py", "langchain_core"),
    "Only its integration imports deepagents": (
        "integrations/langchain/adapter.py",
        "deepagents",
    ),
    "Only the OpenAI integration imports the OpenAI client": (
        "integrations/toolbox.py",
        "openai",
    ),
    "Only the Anthropic integration imports the Anthropic client": (
        "integrations/toolbox.py",
        "anthropic",
    ),
    "Only its integration imports Presidio": ("cli/detectors.py", "presidio_analyzer"),
    "Only the FastAPI integration imports Starlette": ("integrations/toolbox.py", "starlette"),
    "Only the HTTP server imports uvicorn and h11": ("system/http.py", "h11"),
    "Only the redaction rules of the settings import RE2": ("core/redaction/rules.py", "re2"),
    "Only the proxy's client of the upstream imports aiohttp": ("system/http.py", "aiohttp"),
    "Only the command line imports click": ("review/terminal.py", "click"),
    "Only the time stamp anchor imports the RFC 3161 client": (
        "anchors/file.py",
        "rfc3161_client",
    ),
    "Only records, engines and test doubles import orjson": (
        "review/records.py",
        "orjson",
    ),
}
"""For each contract, a module and what it may not import."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with its contracts."""
    shutil.copytree(
        ROOT / "guardrail", tmp_path / "guardrail", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken(folder: Path) -> set[str]:
    """Return the names of the contracts that do not hold in *folder*."""
    program = (
        "import sys; from importlinter.cli import lint_imports;"
        " sys.exit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    found = set(re.findall(r"^(.+) BROKEN", done.stdout, re.MULTILINE))
    assert (done.returncode != 0) == bool(found)
    return found


def test_every_contract_holds_and_has_an_import_that_breaks_it(copy: Path) -> None:
    assert broken(copy) == set()
    assert {contract["name"] for contract in CONTRACTS} == BREAKING.keys()


@pytest.mark.parametrize("name", BREAKING)
def test_a_forbidden_import_breaks_its_contract(copy: Path, name: str) -> None:
    module, imported = BREAKING[name]
    path = copy / "guardrail" / module
    path.write_text(path.read_text() + f"\nimport {imported}\n")
    assert name in broken(copy)


@pytest.mark.parametrize(
    ("stray", "contract"),
    [
        ("stray.py", "Imports point down"),
        ("stray/__init__.py", "Imports point down"),
        ("core/stray.py", "Imports point down inside the core"),
        ("policy/stray.py", "Imports point down inside policy"),
        ("ledger/stray.py", "Imports point down inside the ledger"),
    ],
)
def test_a_module_in_no_layer_breaks_the_contract_on_layers(
    copy: Path, stray: str, contract: str
) -> None:
    path = copy / "guardrail" / stray
    path.parent.mkdir(exist_ok=True)
    path.write_text('"""A stray module."""\n')
    assert broken(copy) == {contract}


def test_every_package_above_the_ledger_is_kept_from_its_database() -> None:
    """The contract lists its packages, so a new one has to be added to it."""
    (contract,) = (each for each in CONTRACTS if "know its database" in each["name"])
    packages = {
        path.stem
        for path in (ROOT / "guardrail").iterdir()
        if (path / "__init__.py").exists() or path.suffix == ".py"
    }
    below = {"config", "core", "errors", "system"}
    above = packages - below - {"__init__", "ledger"}
    assert {f"guardrail.{name}" for name in above} <= set(contract["source_modules"])
