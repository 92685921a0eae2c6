"""The first ten minutes: plain functions under a policy, and a look at what was recorded.

    python examples/quickstart.py [FOLDER]

Runs offline. Without FOLDER everything happens in a temporary folder, which is removed at the end.
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

# Any allow rule allows; without one, a call is denied.
allow contains "anyone may look things up" if "read" in input.resource.properties.labels

allow contains {"rule": "mail.colleagues", "message": "colleagues may be written to"} if {
	input.resource.id == "send_email"
	endswith(input.action.properties.args.to, "@example.com")
}

# Any deny rule denies, whatever allows.
deny contains {"rule": "mail.no_reports", "message": "reports don't leave by mail"} if {
	input.resource.id == "send_email"
	contains(lower(input.action.properties.args.subject), "report")
}
"""

TOKEN = "ghp_" + "Q7xW" * 9
"""Has the shape of a live token, and is none."""


def main(folder: Path) -> None:
    """Run an allowed, a denied and a redacted call, and print what became of them."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "mail.rego").write_text(POLICY, encoding="utf-8")
    ledger = folder / "audit" / "ledger.db"

    # The guard: policies in; ledger and keys are created in audit/. It refuses to start with
    # anything missing.
    with Guard.open(policies=policies, ledger=ledger) as guard:
        # Tools are ordinary functions. Their signature is the schema that arguments are checked
        # against.
        @guard.tool(labels=["read"])
        def lookup(person: str) -> str:
            """Find somebody's address."""
            return f"{person}@example.com"

        @guard.tool
        def send_email(to: str, subject: str, body: str) -> str:
            """Send a mail."""
            return f"sent to {to}: {subject}, {body}"

        # Calls belong to a session: for whom, and by which agent.
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

            # The body gets the token. The ledger does not.
            print("allowed:", send_email("bob@example.com", "Your token", f"It is {TOKEN}"))
            print("recorded:", recorded(ledger).args)

    print()
    print(f"policy:  {policies / 'mail.rego'}")
    print(f"ledger:  {ledger}")
    print(f"keys:    {ledger.with_suffix('.keys')}")


def recorded(ledger: Path) -> RecordedCall:
    """Return the last call as it stands in the ledger."""
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
