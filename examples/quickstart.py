"""The first ten minutes: plain functions under a policy, and the records of their calls.

    python examples/quickstart.py [FOLDER]

The example runs offline. Without FOLDER, it uses a temporary folder, which is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from guardrail import Denied, Guard
from guardrail.ledger.reader import LedgerReader
from guardrail.review.records import RecordedCall
from guardrail.review.sessions import last_call, with_outcome

POLICY = """\
package guardrail.policy

# One allow rule is enough to allow a call. If no allow rule fires, the call is denied.
allow contains "anyone may look things up" if "read" in input.resource.properties.labels

allow contains {"rule": "mail.colleagues", "message": "mail to colleagues is allowed"} if {
	input.resource.id == "send_email"
	endswith(input.action.properties.args.to, "@example.com")
}

# One deny rule is enough to deny a call, even if another rule allows it.
deny contains {"rule": "mail.no_reports", "message": "reports don't leave by mail"} if {
	input.resource.id == "send_email"
	contains(lower(input.action.properties.args.subject), "report")
}
"""

TOKEN = "ghp_" + "Q7xW" * 9
"""Looks like a real token, but is not one."""


def main(folder: Path) -> None:
    """Make allowed, denied and redacted calls, and print their results."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "mail.rego").write_text(POLICY, encoding="utf-8")
    ledger = folder / "audit" / "ledger.db"

    # The guard loads the policies, and creates the ledger and its keys in audit/. It refuses to
    # start if a part is missing.
    with Guard.open(policies=policies, ledger=ledger) as guard:
        # Tools are ordinary functions. Arguments are checked against a schema from their
        # signature.
        @guard.tool(labels=["read"])
        def lookup(person: str) -> str:
            """Find somebody's address."""
            return f"{person}@example.com"

        @guard.tool
        def send_email(to: str, subject: str, body: str) -> str:
            """Send a mail."""
            return f"sent to {to}: {subject}, {body}"

        # Calls belong to a session, which names the principal and the agent.
        with guard.session(principal="alice@example.com", agent="assistant"):
            print("allowed:", lookup("bob"))

            try:
                send_email("eve@example.net", "Hello", "Hello Eve")
            except Denied as denied:
                print(f"denied:  {denied} (record {denied.seq})")

            try:
                send_email("bob@example.com", "Report", "All figures")
            except Denied as denied:
                print(f"denied:  {denied} (record {denied.seq})")

            try:
                send_email("bob@example.com", "Hello", 5)  # type: ignore[arg-type]
            except Denied as denied:
                print(f"denied:  {denied} (record {denied.seq})")

            # The body receives the token, but the ledger does not contain it.
            print("allowed:", send_email("bob@example.com", "Your token", f"It is {TOKEN}"))
            print("recorded:", recorded(ledger).args)

    print()
    print(f"policy:  {policies / 'mail.rego'}")
    print(f"ledger:  {ledger}")
    print(f"keys:    {ledger.with_suffix('.keys')}")


def recorded(ledger: Path) -> RecordedCall:
    """Return the last call in the ledger."""
    with LedgerReader.open(ledger) as reader:
        return with_outcome(reader, last_call(reader).seq)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
        print(f"next:    guardrail show last --ledger {Path(sys.argv[1]) / 'audit' / 'ledger.db'}")
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
        print("All of it is gone now. next: python examples/quickstart.py FOLDER, which keeps it")
