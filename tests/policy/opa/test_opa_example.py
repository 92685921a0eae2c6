"""examples/opa_server.py does what it says, and says so where there is no opa; docs/opa-server.md
can be followed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from guardrail.system.http import RequestStage
from tests.support.opa_server import Opa, engine, free_port

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "opa-server.md").read_text(encoding="utf-8")


def run(folder: Path, opa: Path | None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "GUARDRAIL_OPA"}
    environment |= {"PATH": os.path.dirname(sys.executable)}
    if opa is not None:
        environment["GUARDRAIL_OPA"] = str(opa)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "opa_server.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_example_shows_a_server_that_decides_and_is_missed(
    opa_program: Path, tmp_path: Path
) -> None:
    """Allowed, denied by a rule, denied for want of a server; each recorded, the decision id
    included in OPA's log.
    """
    printed = run(tmp_path / "x", opa_program)
    assert "allowed: 40 sent" in printed
    assert "denied:  denied by policy: refunds over the limit need a manager" in printed
    assert "(denied.unreachable)" in printed
    with LedgerReader.open(tmp_path / "x" / "audit" / "ledger.db") as reader:
        records = [decode(line) for _, _, line in reader.lines()]
    decided = [record for record in records if record["type"] == "call.decision"]
    assert [record["decision"]["cause"] for record in decided] == [
        "policy",
        "policy",
        "unreachable",
    ]
    assert decided[0]["policy"]["engine"] == "opa"
    # the argument's name: digits of its value also occur in times and counters by chance
    logged = (tmp_path / "x" / "opa.log").read_text().replace("\\", "")
    assert '"decision_id"' in logged
    assert '"amount"' not in logged


def test_the_example_says_what_it_needs_where_there_is_no_opa(tmp_path: Path) -> None:
    """And does nothing."""
    assert "needs opa" in run(tmp_path / "x", None)
    assert not (tmp_path / "x").exists()


def test_the_documented_server_is_the_one_that_a_guard_takes(
    opa_program: Path, tmp_path: Path
) -> None:
    """The command lines of docs/opa-server.md, run in their order; then a guard's engine with its
    settings.
    """
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(
        'package guardrail.policy\n\nallow contains "a" if input.resource.id =='
        ' "guardrail.sample"\n'
    )
    lines = [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line and not line.startswith("#")
    ]
    (bundle,) = [line for line in lines if line[:3] == ["guardrail", "policy", "bundle"]]
    (server,) = [line for line in lines if line[:2] == ["opa", "run"]]
    keys = [line for line in lines if line[0] == "openssl"]
    for line in keys:
        subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "bundle-key.pem").chmod(0o600)
    guardrail = [sys.executable, "-c", "from guardrail.cli import main; main()"]
    subprocess.run([*guardrail, *bundle[1:]], cwd=tmp_path, check=True, capture_output=True)
    settings = re.search(r"```toml\n(\[policy\]\npath.*?)```", DOCS, re.DOTALL)
    assert settings is not None
    (tmp_path / "guardrail.toml").write_text(settings[1])
    assert tomllib.loads(settings[1])["policy"]["engine"] == "opa"
    opa_settings = Settings.load(tmp_path / "guardrail.toml", environment={}).opa
    port = free_port()
    address = server[server.index("--addr") + 1]
    assert opa_settings.url == f"http://{address}"
    arguments = [word for word in server[3:] if word not in {"--addr", address}]
    running = Opa(opa_program, tmp_path, f"127.0.0.1:{port}", *arguments, cwd=tmp_path)
    running.start()
    try:
        with engine(running.url, tmp_path / "policies") as connected:
            assert connected.identity.digest
    finally:
        running.kill()


def test_every_cause_and_detail_of_the_engine_is_documented() -> None:
    """Whoever meets one in a record finds what it means."""
    client = ROOT / "guardrail/system"
    sources = [
        *ROOT.glob("guardrail/policy/opa/*.py"),
        client / "http.py",
        client / "http_reply.py",
    ]
    details = set()
    for source in sources:
        text = source.read_text()
        details |= set(re.findall(r'detail="([a-z_]+)"', text))
        details |= set(
            re.findall(r'(?:_?malformed|_?unreachable|_full|ReplyError)\(\s*"([a-z_]+)"', text)
        )
    # The client says disconnected for a connection on which nothing came.
    details = details - {"nothing"} | {stage.value for stage in RequestStage}
    documented = set(re.findall(r"`([a-z_]+)`", DOCS))
    assert len(details) > 25
    assert details - documented == set()
