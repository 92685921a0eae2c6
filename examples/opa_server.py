"""Serve policies as an unsigned bundle on a real OPA server, let it decide each call, and stop it.

    python examples/opa_server.py [FOLDER]

The example needs the ``opa`` program: the one that GUARDRAIL_OPA names, or the one on PATH. Without
it, the example does nothing. All files are written to FOLDER, by default a temporary folder. No
network is needed, because OPA listens on a unix socket.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guardrail import Denied, Guard
from guardrail.authoring.bundle import make_bundle
from guardrail.config import Settings
from guardrail.ledger.reader import LedgerReader
from guardrail.policy.opa.program import OpaProgram

POLICY = """\
package guardrail.policy

allow contains "refund" if {
	input.resource.id == "refund"
	input.action.properties.args.amount <= data.refunds.limit
}

deny contains {"rule": "large-refund", "message": "refunds over the limit need a manager"} if {
	input.resource.id == "refund"
	input.action.properties.args.amount > data.refunds.limit
}
"""
DATA = '{"refunds": {"limit": 100}}'


@contextlib.contextmanager
def served(opa: str, bundle: Path, address: str) -> Iterator[None]:
    """Run OPA with *bundle*, which is unsigned, and with the decision log on. docs/opa-server.md
    shows how to sign a bundle.
    """
    command = [opa, "run", "--server", "--addr", address, "--bundle", str(bundle)]
    command += ["--set", "decision_logs.console=true", "--set", "status.console=true"]
    with (bundle.parent / "opa.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def attempt(guard: Guard, amount: int) -> str:
    """Request a refund, and return a line about the result."""
    try:
        return (
            "allowed:"
            f" {guard.call('refund', {'amount': amount}, run=lambda amount: f'{amount} sent')}"
        )
    except Denied as denial:
        return f"denied:  {denial} ({denial.code})"


def main(folder: Path) -> None:
    """Build a bundle, serve it, and make three calls."""
    opa = os.environ.get("GUARDRAIL_OPA") or shutil.which("opa")
    if not opa:
        print("This example needs opa: put it on PATH, or name it in GUARDRAIL_OPA.")
        return
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "refunds.rego").write_text(POLICY)
    (policies / "data.json").write_text(DATA)

    # This is the same as `guardrail policy bundle -o bundle.tar.gz`.
    made = make_bundle([policies], opa=OpaProgram(Path(opa)))
    bundle = folder / "bundle.tar.gz"
    bundle.write_bytes(made.content)
    print(f"bundle:  revision {made.revision[:16]}..., judged by {made.judge}")

    address = f"unix://{folder}/opa.sock"
    # This is the same as [policy] engine = "opa" and [opa] url = "..." in guardrail.toml. The guard
    # accepts only the revision of these policies, which the bundle on the server must have.
    settings = Settings().override(
        ledger={"path": folder / "audit" / "ledger.db"},
        policy={"engine": "opa", "path": [policies]},
        opa={"url": address, "breaker_reset_ms": 100},
    )
    schema = {
        "type": "object",
        "properties": {"amount": {"type": "integer"}},
        "required": ["amount"],
    }
    with contextlib.ExitStack() as stack:
        with served(opa, bundle, address):
            guard = stack.enter_context(Guard.open(settings))
            guard.declare("refund", schema=schema)
            stack.enter_context(guard.session(principal="alice@example.com", agent="support"))
            print(attempt(guard, 40))
            print(attempt(guard, 4000))
        print("the server is gone")
        print(attempt(guard, 40))

    with LedgerReader.open(folder / "audit" / "ledger.db") as reader:
        print(f"ledger:  {reader.size()} records")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).absolute())
        print(f"next:    guardrail show last --ledger {Path(sys.argv[1]) / 'audit' / 'ledger.db'}")
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
