"""A chatty program that puts two canaries everywhere: ``canary_calls.py FOLDER``, the canaries on
standard input.

Everything that guardrail says goes to the standard streams: log records of every level, warnings,
tracebacks of its own errors. The tools' own exceptions are not shown: they are not guardrail's.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from pathlib import Path

from guardrail.errors import GuardrailError
from tests.support import canaries, guards

FAILING = """
pick(x) := 1 if contains(x, "a")

pick(x) := 2 if contains(x, "e")

allow contains "picked" if pick(input.action.properties.args.pick) > 0
"""


def main() -> None:
    logging.basicConfig(level=logging.DEBUG)
    warnings.simplefilter("always")
    folder = Path(sys.argv[1])
    shaped, known = sys.stdin.read().split("\n")[:2]
    with guards.ruled(folder, canaries.ECHOES + FAILING) as guard:
        canaries.prepare(guard)
        for number, secret in enumerate((shaped, known)):
            with guard.session(principal="alice", agent="bot", id=f"canary-{number}"):
                canaries.learn(guard, secret)
                for name, place in canaries.IN_CALLS.items():
                    if secret == known and name in canaries.SUPPLIED:
                        continue
                    try:
                        place(guard, secret)
                    except GuardrailError:
                        print(name)
                        traceback.print_exc()
                try:
                    guard.call("send", {"pick": f"a e {secret}"}, lambda **_: None)
                except GuardrailError:
                    traceback.print_exc()
        for name, told in canaries.SESSIONS.items():
            try:
                with guard.session(**{"principal": "alice", "agent": "bot", **told(shaped)}):
                    guard.call("send", {"text": "x"}, lambda **_: None)
            except GuardrailError:
                print(name)
                traceback.print_exc()
        print(repr(guard), vars(guard))


if __name__ == "__main__":
    main()
