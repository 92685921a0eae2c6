"""Make the vectors in this folder anew. Run only when a type is added: what is there never changes.

python -m tests.vectors.make_vectors FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from guardrail.core.log import fields
from guardrail.core.log.fields import CallFields
from guardrail.core.log.record import leaf_hash
from guardrail.core.types import (
    Cause,
    Decision,
    Effect,
    Enforcement,
    PolicyIdentity,
    Rule,
    Status,
)
from tests.support.vectors import epoch_logs, pruned_logs, unusual_lines, whole_logs
from tests.support.vectors.cases import Vectors
from tests.support.vectors.signing import LOG, PUBLIC, chain, joined

PROCESS = "01JD9Y3ZK4QJ8M5T6V7W8X9YZ0"
CALLS = ("01JD9Y40000000000000000000", "01JD9Y40000000000000000001", "01JD9Y40000000000000000002")


def _records() -> list[dict[str, Any]]:
    who = CallFields(
        log=LOG,
        session="s-1",
        tenant="default",
        principal={
            "id": "zoë@example.com",
            "form": "clear",
            "type": "user",
            "issuer": None,
            "assurance": "asserted",
            "method": "context",
        },
        agent={
            "id": "support-bot",
            "form": "clear",
            "version": None,
            "framework": None,
            "assurance": "asserted",
            "method": "context",
        },
        delegation=(),
        trace=None,
    )
    origin = fields.origin(host="host-1", pid=4711, process=PROCESS, adapter="python")
    actor = {"id": "root", "assurance": "asserted", "method": "os_user"}
    engine = fields.policy(
        PolicyIdentity(engine="regorus", version="0.13.0", digest="ab" * 32, data="cd" * 32)
    )

    def decision(
        call: str, verdict: Decision, args: dict[str, Any], removed: dict[str, Any]
    ) -> dict[str, Any]:
        return fields.decision(
            who.common("call.decision", call=call, parent=None, where=origin),
            verdict,
            rules=[fields.rule(rule, rule.message) for rule in verdict.rules],
            labels=verdict.labels,
            tool={"name": "send_email", "server": None, "schema": "ef" * 32, "declared": True},
            target=[args.get("to")],
            recorded_input={"action": {"name": "tools/call", "properties": {"args": args}}},
            redaction={
                "profile": "standard/1",
                "removed": removed,
                "truncated": False,
                "key": "abcdefgh",
            },
            commitment="01" * 32,
            engine=engine,
            reproducible=not removed or None,
            enforcement=Enforcement.BODY,
            milliseconds={"decide": 0.412, "total": 1.03},
            omitted=None,
        )

    def outcome(call: str, seq: int, status: Status, **parts: Any) -> dict[str, Any]:
        return fields.outcome(
            who.common("call.outcome", call=call, parent=None, where=origin),
            status,
            decision_seq=seq,
            result=parts.get("result"),
            error=parts.get("error"),
            reproducible=parts.get("reproducible"),
            milliseconds=parts.get("milliseconds"),
            omitted=None,
        )

    allow = Decision(
        Effect.ALLOW, Cause.POLICY, rules=(Rule("email", "to a colleague", Effect.ALLOW),)
    )
    deny = Decision(
        Effect.DENY,
        Cause.POLICY,
        rules=(Rule("outside", 'outside \u202e the "company"\n', Effect.DENY, "high"),),
    )
    hurt = Decision(Effect.DENY, Cause.TIMEOUT, "evaluation")
    genesis = fields.genesis(
        nonce="00" * 16, public_key=PUBLIC["log"], config_digest="22" * 32, predecessor=None
    )
    odd = {
        "to": "bob@example.com",
        "n": [1, -0.0, 1e16, 1.5e-7, 2**53 + 1, -(2**63)],
        "\U0001f600": "\ufb33",
        "": None,
    }
    token = "gr1:contact:abcdefgh:" + "a" * 24
    return [
        {"v": 1, "log": LOG, "type": "genesis", **genesis},
        fields.admin(
            LOG,
            "start",
            actor=actor,
            where=origin,
            detail={"version": "0.1.0", "policy": engine, "config": "22" * 32},
        ),
        decision(CALLS[0], allow, odd, {}),
        outcome(
            CALLS[0],
            2,
            Status.OK,
            result={"type": "str", "bytes": 4, "token": token, "items": None},
            milliseconds=12.5,
        ),
        decision(CALLS[1], deny, {"to": token}, {"/to": ["contact", "key:to"]}),
        decision(CALLS[2], allow, {"to": token}, {"/to": ["contact", "key:to"]}),
        outcome(
            CALLS[2],
            5,
            Status.ERROR,
            error={"class": "ValueError", "message": "no such user"},
            reproducible=True,
            milliseconds=0.2,
        ),
        decision("01JD9Y40000000000000000003", hurt, {}, {}),
        {
            **who.common(
                "call.rejected", call="01JD9Y40000000000000000004", parent=None, where=origin
            ),
            "tool": {"name": "x", "server": None, "schema": None, "declared": False},
            "reason": "unknown_tool",
        },
        {"v": 1, "log": LOG, "type": "example.later", "added": {"later": True}},
        fields.admin(LOG, "stop", actor=actor, where=origin, detail={}),
    ]


def _bad(lines: list[bytes], records: list[dict[str, Any]]) -> dict[str, tuple[list[bytes], int]]:
    """Return name -> (lines, first bad line)."""
    edited = lines[4].replace(b'"deny"', b'"allow"')
    swapped = [*lines[:3], lines[4], lines[3], *lines[5:]]
    other = chain([{**record, "log": "example.com/other"} for record in records])
    second = json.loads(lines[3])
    for name in ("seq", "prev", "ts"):
        del second[name]
    prev = leaf_hash(lines[3]).hex()
    return {
        "edited": ([*lines[:4], edited, *lines[5:]], 5),
        "deleted": ([*lines[:4], *lines[5:]], 4),
        "swapped": (swapped, 3),
        "inserted": ([*lines[:4], lines[3], *lines[4:]], 4),
        "torn": ([*lines[:6], lines[6][:40]], 6),
        "other-log": ([*lines[:5], other[5], *lines[6:]], 5),
        "without-genesis": (chain(records[1:]), 0),
        "second-genesis": (
            [*lines, *chain(records[:1], len(lines), leaf_hash(lines[-1]).hex())],
            len(lines),
        ),
        "two-outcomes": ([*lines[:4], *chain([second], 4, prev)], 4),
        "not-an-object": ([*lines[:2], b"[]", *lines[3:]], 2),
        "version-2": (chain([records[0], {**records[1], "v": 2}]), 1),
    }


def make() -> Vectors:
    """Return the exports, heads and cases of section 10."""
    vectors = Vectors(_records())
    for part in (
        whole_logs.whole,
        whole_logs.edited_and_torn,
        whole_logs.heads,
        epoch_logs.epochs,
        epoch_logs.again,
        epoch_logs.certificates,
        pruned_logs.pruned,
        pruned_logs.harmed,
        pruned_logs.announcements,
        unusual_lines.oddities,
        unusual_lines.calls_and_genesis,
        unusual_lines.owners_and_settings,
    ):
        part(vectors)
    return vectors


def _document(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def main(folder: Path) -> None:
    records = _records()
    lines = chain(records)
    for name in ("bad", "exports", "heads"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_bytes(joined(lines))
    (folder / "leaves.txt").write_text("".join(leaf_hash(line).hex() + "\n" for line in lines))
    expected = {}
    for name, (bad, first) in _bad(lines, records).items():
        (folder / "bad" / f"{name}.jsonl").write_bytes(joined(bad))
        expected[name] = first
    (folder / "bad" / "expected.json").write_text(_document(expected))
    vectors = make()
    for name, export in vectors.exports.items():
        (folder / "exports" / f"{name}.jsonl").write_bytes(export)
    for name, note in vectors.heads.items():
        (folder / "heads" / f"{name}.txt").write_bytes(note)
    cases = [case.document() for case in vectors.cases]
    (folder / "expected.json").write_text(_document(cases))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
