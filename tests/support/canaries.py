"""Where a canary can be put: every place through which a caller, a tool, a host or a policy hands
text to the guard.
"""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.core.types import Agent, Principal
from guardrail.errors import GuardrailError
from tests.support.guards import OPEN, appearances, lines

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

MARKED = {
    "type": "object",
    "properties": {"pin": {"type": "string", "x-guardrail": {"class": "secret"}}},
    "additionalProperties": True,
}
"""A tool with one argument that its schema marks."""


def shaped() -> str:
    """Return a canary that a detector knows by its shape, made at run time."""
    return "AKIA" + "".join(secrets.choice(ALPHABET) for _ in range(14)) + "2Q"


def plain() -> str:
    """Return a canary that nothing knows by its shape, with a quote and a slash to be escaped."""
    words = ["".join(secrets.choice("abcdefghijkmnopqrstuvwxyz") for _ in range(7)) for _ in "ab"]
    return f'{words[0].title()}9"s/4{words[1].title()}'


def label_like() -> str:
    """Return a canary that nothing knows by its shape, and that is a valid label."""
    words = ["".join(secrets.choice("abcdefghijkmnopqrstuvwxyz") for _ in range(7)) for _ in "ab"]
    return f"{words[0]}9-s.4{words[1]}"


class Attributed:
    """A result of a foreign class."""

    def __init__(self, secret: str) -> None:
        self.text = secret


def _send(guard: Guard, args: dict[str, Any], result: object = "done", **options: Any) -> None:
    guard.call("send", args, lambda **_: result, **options)


def _raise(guard: Guard, error: BaseException, cause: BaseException | None = None) -> None:
    def body(**_: Any) -> None:
        raise error from cause

    try:
        guard.call("send", {}, body)
    except type(error):
        return
    raise AssertionError("the exception was swallowed")


def _logged(guard: Guard, result: object) -> None:
    guard.declare("logged", schema=OPEN, log_output=True)
    guard.call("logged", {}, lambda: result)


Place = Callable[[Guard, str], None]

IN_CALLS: dict[str, Place] = {
    "argument": lambda g, s: _send(g, {"text": s}),
    "argument in a sentence": lambda g, s: _send(g, {"text": f"use {s}, please"}),
    "nested argument": lambda g, s: _send(g, {"a": [{"b": [s]}]}),
    "argument name": lambda g, s: _send(g, {s: 1}),
    "nested argument name": lambda g, s: _send(g, {"a": {s: 1}}),
    "JSON in an argument": lambda g, s: _send(g, {"text": json.dumps({"k": [s]})}),
    "JSON in JSON in an argument": lambda g, s: _send(
        g, {"text": json.dumps({"k": json.dumps({"l": s})})}
    ),
    "URL in an argument": lambda g, s: _send(
        g, {"url": f"https://example.com/x?q={urllib.parse.quote(s, safe='')}"}
    ),
    "base64 in an argument": lambda g, s: _send(
        g, {"text": base64.b64encode(f"a {s}".encode()).decode()}
    ),
    "hex in an argument": lambda g, s: _send(g, {"text": s.encode().hex()}),
    "escapes in an argument": lambda g, s: _send(
        g, {"text": "".join(f"\\u{ord(c):04x}" for c in s)}
    ),
    "undeclared tool": lambda g, s: g.call("someone", {"text": s}, lambda **_: "done"),
    "arguments that do not fit": lambda g, s: _refused(
        lambda: g.call("strict", {"text": 5, "other": s, s: 1}, lambda **_: "done")
    ),
    "arguments that are no JSON": lambda g, s: _refused(
        lambda: g.call("send", {"text": s, "o": object()}, lambda **_: "done")
    ),
    "result": lambda g, s: _send(g, {}, s),
    "result object": lambda g, s: _send(g, {}, {"a": {s: [s]}}),
    "result of a foreign class": lambda g, s: _send(g, {}, Attributed(s)),
    "result class name": lambda g, s: _send(g, {}, type(s, (), {})()),
    "logged result": lambda g, s: _logged(g, f"it is {s}"),
    "logged result object": lambda g, s: _logged(g, {"a": {s: [s]}, "j": json.dumps([s])}),
    "logged result of a foreign class": lambda g, s: _logged(g, Attributed(s)),
    "logged result bytes": lambda g, s: _logged(g, s.encode()),
    "exception": lambda g, s: _raise(g, ValueError(f"bad: {s}")),
    "exception arguments": lambda g, s: _raise(g, KeyError(s, {"k": s})),
    "cause of an exception": lambda g, s: _raise(g, ValueError("bad"), OSError(5, s, s)),
    "exception class": lambda g, s: _raise(g, type(s, (Exception,), {})("bad")),
    "tool name": lambda g, s: g.call(f"tool {s}", {}, lambda **_: "done"),
    "tool server": lambda g, s: _refused(
        lambda: g.call("t", {}, lambda **_: "done", server=f"at {s}")
    ),
    "tool labels": lambda g, s: _refused(lambda: _declared(g, labels=(s,))),
    "rejected call of a server": lambda g, s: _void(
        g.reject("t", "bad_arguments", server=f"at {s}")
    ),
    "call id": lambda g, s: _send(g, {}, call_id=f"call-{s}"),
    "rejected call": lambda g, s: _void(g.reject(f"tool {s}", "bad_arguments", call_id=s)),
    "policy message": lambda g, s: _refused(lambda: _send(g, {"echo": "message", "text": s})),
    "policy rule id": lambda g, s: _refused(lambda: _send(g, {"echo": "rule", "text": s})),
    "policy severity": lambda g, s: _refused(lambda: _send(g, {"echo": "severity", "text": s})),
    "policy needs": lambda g, s: _refused(lambda: _send(g, {"echo": "needs", "text": s})),
    "policy allow message": lambda g, s: _send(g, {"echo": "allow", "text": s}),
    "policy redact pointer": lambda g, s: _send(g, {"echo": "redact", "text": s}),
}
"""By a call of a session that exists."""

SUPPLIED = {"tool labels", "policy rule id", "policy severity", "policy needs"}
"""What the host or the policy supplies: what a session knows strikes nothing there. Detectors look
at it all the same.
"""

ECHOES = """
allow contains "any"

text := input.action.properties.args.text

echo := input.action.properties.args.echo

deny contains {"rule": "r", "message": sprintf("not %v", [text])} if echo == "message"

deny contains {"rule": sprintf("not %v", [text]), "message": "no"} if echo == "rule"

deny contains {"rule": "r", "message": "no", "severity": sprintf("as %v", [text])} if {
	echo == "severity"
}

require_approval contains {
	"rule": "r",
	"message": sprintf("ask %v", [text]),
	"needs": [sprintf("/%v", [text])],
} if {
	echo == "needs"
}

allow contains {"rule": "yes", "message": sprintf("yes %v", [text])} if echo == "allow"

redact contains sprintf("/%v", [text]) if echo == "redact"
"""
"""A policy that writes an argument into everything it can write."""

SESSIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "session attribute": lambda s: {"attributes": {"note": s}},
    "nested session attribute": lambda s: {"attributes": {"a": [{s: json.dumps({"k": s})}]}},
    "principal attribute": lambda s: {"principal": Principal("alice", attributes={"note": s})},
    "principal roles": lambda s: {"principal": Principal("alice", roles=("staff", s))},
    "principal id": lambda s: {"principal": s},
    "principal issuer": lambda s: {"principal": Principal("alice", issuer=f"https://{s}")},
    "principal type": lambda s: {"principal": Principal("alice", type=s)},
    "principal method": lambda s: {"principal": Principal("alice", method=s)},
    "agent id": lambda s: {"agent": s},
    "agent version": lambda s: {"agent": Agent("bot", version=s)},
    "agent framework": lambda s: {"agent": Agent("bot", framework=s)},
    "agent instance": lambda s: {"agent": Agent("bot", instance=s)},
    "agent charter": lambda s: {"agent": Agent("bot", charter=f"Never mention {s} to anyone.")},
    "agent method": lambda s: {"agent": Agent("bot", method=s)},
    "session id": lambda s: {"id": s},
    "tenant": lambda s: {"tenant": s},
    "trace": lambda s: {"trace": s},
    "delegation": lambda s: {"delegation": [{"sub": "bob", "note": s}]},
    "delegation sub": lambda s: {"delegation": [{"sub": s}]},
}
"""By what the host says about a session."""


def _void(_: object) -> None:
    pass


def _refused(call: Callable[[], object]) -> None:
    try:
        call()
    except GuardrailError:
        return
    raise AssertionError("the call was not refused")


def _declared(guard: Guard, **options: Any) -> None:
    name = f"labelled-{secrets.token_hex(4)}"
    guard.declare(name, schema=OPEN, **options)
    guard.call(name, {}, lambda: "done")


def prepare(guard: Guard) -> None:
    """Declare the tools that the places use."""
    guard.declare("send", schema=OPEN)
    guard.declare("login", schema=MARKED)
    guard.declare("strict", schema={"type": "object", "properties": {"text": {"type": "string"}}})


def learn(guard: Guard, secret: str) -> None:
    """Make *secret* known to the session: it stands at a place that the schema marks."""
    guard.call("login", {"pin": secret}, lambda **_: "done")


def leaks(folder: Path, secret: str) -> list[str]:
    """Return where in what was written in *folder* the secret stands, and in which form."""
    found: list[str] = []
    for line in lines(folder / "audit.db"):
        found += [f"record: {form} in {line[:60]!r}" for form in appearances(secret, line)]
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "policies":
            found += [f"{path.name}: {form}" for form in appearances(secret, path.read_bytes())]
    return found
