"""Vectors: lines that are unusual or none, and calls out of order."""

from __future__ import annotations

import json

from guardrail.core.log import fields
from guardrail.core.log.record import leaf_hash
from tests.support.vectors.cases import Record, Vectors, outcome
from tests.support.vectors.signing import (
    LOG,
    PUBLIC,
    canonical,
    chain,
    joined,
)


def oddities(vectors: Vectors) -> None:
    """One more line, spelled as no writer of ours spells it: good ones and bad ones."""
    lines = chain(vectors.records)[:1]
    prev = leaf_hash(lines[-1]).hex()
    plain: Record = {
        "v": 1,
        "seq": 1,
        "prev": prev,
        "log": LOG,
        "ts": "2026-11-24T09:00:00.000001Z",
        "type": "example.odd",
    }
    line = canonical(plain)

    def with_x(raw: bytes) -> bytes:
        return line[:-1] + b',"x":' + raw + b"}"

    fill = 65_535 - len(with_x(b'""'))
    good = {
        "spaces": line.replace(b",", b" ,\t"),
        "order": json.dumps(plain).encode(),
        "escapes": line.replace(b'"seq"', b'"\\u0073eq"'),
        "nul": with_x(rb'"\u0000"'),
        "pair": with_x(rb'"\ud83d\ude00"'),
        "delete-and-separators": with_x('"\x7f\x85\u2028\ufeff"'.encode()),
        "huge-number": with_x(b"1e999"),
        "many-digits": with_x(b"-" + b"9" * 4_300),
        "many-digits-of-a-fraction": with_x(b"9" * 4_400 + b".5"),
        "beyond-64-bits": with_x(b"18446744073709551616"),
        "deep": with_x(b"[" * 511 + b"]" * 511),
        "other-case": with_x(b'1,"Seq":9,"SEQ":8,"V":2'),
        "longest": with_x(b'"' + b"x" * fill + b'"'),
        "no-such-day": line.replace(b"2026-11-24T09", b"2026-99-99T99"),
        "time-goes-back": line.replace(b"2026-11-24T09", b"2025-11-24T09"),
    }
    bad = {
        "empty": b"",
        "spaces-alone": b"  ",
        "array": b"[" + line + b"]",
        "two": line + line,
        "behind": line + b" x",
        "byte-order-mark": b"\xef\xbb\xbf" + line,
        "carriage-return": line + b"\r",
        "carriage-return-inside": line.replace(b",", b",\r", 1),
        "form-feed": line + b"\x0c",
        "comma": line[:-1] + b",}",
        "single-quotes": line.replace(b'"', b"'"),
        "nan": with_x(b"NaN"),
        "infinity": with_x(b"-Infinity"),
        "leading-zero": with_x(b"01"),
        "plus": with_x(b"+1"),
        "no-digit-behind-point": with_x(b"1."),
        "no-digit-before-point": with_x(b".5"),
        "no-exponent": with_x(b"1e"),
        "hexadecimal": with_x(b"0x10"),
        "word": with_x(b"nul"),
        "tab-in-string": with_x(b'"\t"'),
        "raw-nul": with_x(b'"\x00"'),
        "escape": with_x(rb'"\x41"'),
        "escape-digits": with_x(rb'"\u00_1"'),
        "lone-surrogate": with_x(rb'"\ud800"'),
        "lone-low-surrogate": with_x(rb'"\udc00"'),
        "surrogates-in-wrong-order": with_x(rb'"\ude00\ud83d"'),
        "surrogate-in-key": with_x(rb'{"\ud800":1}'),
        "surrogate-and-big-number": with_x(rb'["\ud800",' + b"9" * 400 + b"]"),
        "surrogate-bytes": with_x(b'"\xed\xa0\x80"'),
        "overlong": with_x(b'"\xc0\xaf"'),
        "latin-1": with_x(b'"\xe9"'),
        "twice": with_x(b'1,"x":1'),
        "twice-inside": with_x(rb'[{"a":1,"\u0061":1}]'),
        "too-deep": with_x(b"[" * 512 + b"]" * 512),
        "far-too-deep": with_x(b"[" * 30_000 + b"]" * 30_000),
        "open-brackets": with_x(b"[" * 30_000),
        "too-many-digits": with_x(b"9" * 4_301),
        "too-long": with_x(b'"' + b"x" * (fill + 1) + b'"'),
        "version-fraction": line.replace(b'"v":1', b'"v":1.0'),
        "version-true": line.replace(b'"v":1', b'"v":true'),
        "seq-fraction": line.replace(b'"seq":1', b'"seq":1.0'),
        "seq-exponent": line.replace(b'"seq":1', b'"seq":1e0'),
        "seq-text": line.replace(b'"seq":1', b'"seq":"1"'),
        "seq-case": line.replace(b'"seq"', b'"Seq"'),
        "prev-upper": line.replace(prev.encode(), prev.upper().encode()),
        "prev-null": line.replace(b'"' + prev.encode() + b'"', b"null"),
        "log-case": line.replace(LOG.encode(), LOG.upper().encode()),
        "no-time": line.replace(b'"ts"', b'"tz"'),
        "time-without-fraction": line.replace(b".000001Z", b"Z"),
        "time-with-offset": line.replace(b"001Z", b"001+00:00"),
        "time-in-other-digits": line.replace(b"2026", "\u0662\u0660\u0662\u0666".encode()),
        "time-with-line-feed": line.replace(b"001Z", rb"001Z\n"),
        "no-type": line.replace(b'"type"', b'"kind"'),
        "type-number": line.replace(b'"example.odd"', b"7"),
    }
    for name, odd in good.items():
        vectors.exports[f"odd-{name}"] = joined([*lines, odd])
        vectors.case(f"an unusual line: {name}", f"odd-{name}", "not_anchored")
    for name, odd in bad.items():
        vectors.exports[f"not-a-line-{name}"] = joined([*lines, odd])
        vectors.case(f"not a line: {name}", f"not-a-line-{name}", "tampered", first_bad=1)
    zero = chain(vectors.records[:1])[0].replace(b'"seq":0', b'"seq":-0')
    vectors.exports["odd-minus-zero"] = joined([zero])
    vectors.case("an unusual line: minus zero", "odd-minus-zero", "not_anchored")


def _throttled(start: Record) -> list[Record]:
    """Return what is written of calls beyond the limit: that there are some, and how many there
    were; twice unnamed.
    """
    since = "2026-11-24T09:00:00.000000Z"
    found: list[Record] = []
    for tenant, principal in (("acme", {"id": "alice", "form": "clear"}), (None, None)):
        whose = {"tenant": tenant, "principal": principal}
        detail = {"calls_per_minute": 6000, "since": since, **whose}
        found.append({**start, "type": "admin.quota_reached", "detail": detail})
        found.append(
            fields.throttled(
                LOG,
                tenant=tenant,
                principal=principal,
                where=start["origin"],
                since=since,
                limit={"calls_per_minute": 6000},
                count=123_456,
                tools={} if principal is None else {"send_email": 123_456},
                begun=len(found) + 1,
            )
        )
    return found


def calls_and_genesis(vectors: Vectors) -> None:
    """Calls out of order, and lines 0 that name no log or no key."""
    base = vectors.records
    begin, decided, closed = base[:2], base[2], base[3]
    bad: dict[str, tuple[list[Record], int | None]] = {
        "decided-again-after-the-outcome": ([*begin, decided, closed, decided], None),
        "denied-twice": ([*begin, base[4], base[4]], None),
        "denied-while-open": ([*begin, decided, {**base[4], "call": decided["call"]}], 3),
        "outcome-of-a-denied-call": (
            [*begin, base[4], {**outcome(vectors, 3, 2), "call": base[4]["call"]}],
            3,
        ),
        "outcome-twice": ([*begin, decided, closed, closed], 4),
        "outcome-of-nothing": ([*begin, closed], 2),
        "outcome-of-another-decision": ([*begin, decided, outcome(vectors, 3, 1)], 3),
        "outcome-with-a-fraction": ([*begin, decided, {**closed, "decision_seq": 2.0}], 3),
        "outcome-without-call": ([*begin, decided, {**closed, "call": None}], 3),
        "decision-without-call": ([*begin, {**decided, "call": 5}], 2),
        "decision-without-effect": ([*begin, {**decided, "decision": {}}], 2),
        "decision-of-text": ([*begin, {**decided, "decision": "allow"}], 2),
        "throttled": ([*begin, *_throttled(begin[1])], None),
        "claim-of-nothing": ([*begin, {**closed, "type": "call.claim"}], None),
    }
    changed: dict[str, Record] = {
        "profile": {"profile": "sha256-json-lines/2"},
        "key-null": {"key": None},
        "key-short": {"key": {"type": "ed25519", "public": PUBLIC["log"][2:]}},
        "key-upper": {"key": {"type": "ed25519", "public": PUBLIC["log"].upper()}},
        "key-type": {"key": {"type": "rsa", "public": PUBLIC["log"]}},
    }
    for name, other in changed.items():
        bad[f"genesis-{name}"] = ([{**base[0], **other}, *base[1:3]], 0)
    for name, log in {
        "empty": "",
        "space": "a log",
        "plus": "a+b",
        "line-feed": "a\nb",
        "wide-space": "a\u3000b",
    }.items():
        bad[f"log-name-{name}"] = ([{**each, "log": log} for each in base[:3]], 0)
    for name, (records, first) in bad.items():
        vectors.exports[f"order-{name}"] = joined(chain(records))
        verdict = "not_anchored" if first is None else "tampered"
        vectors.case(f"order: {name}", f"order-{name}", verdict, first_bad=first)
    vectors.case(
        "a bad line 0 names no key to compare",
        "order-genesis-key-null",
        "tampered",
        key="stranger",
        head="of-other-log",
        first_bad=0,
    )


def owners_and_settings(vectors: Vectors) -> None:
    """Sessions with records of two owners, and starts with other settings."""
    base = vectors.records
    begin, start, call, later, rejected = base[:2], base[1], base[4], base[7], base[8]
    tokens = [f"gr1:contact:abcdefgh:{letter * 24}" for letter in "ab"]

    def by(record: Record, name: str, **said: object) -> Record:
        return {**record, name: {**record[name], **said}}

    def config(value: object) -> Record:
        return by(start, "detail", config=value)

    changed = {**start, "type": "admin.config_changed", "detail": {}}
    bob = by(later, "principal", id="bob@example.com")
    refused = by(bob, "decision", cause="identity", detail="session")
    cases: dict[str, tuple[list[Record], int | None]] = {
        "owner-other-principal": ([call, bob], 3),
        "owner-other-issuer": ([call, by(later, "principal", issuer="https://issuer.example")], 3),
        "owner-other-agent": ([call, by(later, "agent", id="other-bot")], 3),
        "owner-other-tenant": ([call, {**rejected, "tenant": "other"}], 3),
        "owner-issuer-empty": ([call, by(later, "principal", issuer="")], None),
        "owner-other-session": ([call, {**bob, "session": "s-2"}], None),
        "owner-refused": ([call, refused, rejected], None),
        "owner-refused-first": ([refused, call, rejected], None),
        "owner-denied-otherwise": (
            [call, by(bob, "decision", cause="identity", detail="ended")],
            3,
        ),
        "owner-token": ([call, by(later, "principal", id=tokens[0]), rejected], None),
        "owner-two-tokens": (
            [
                by(each, "principal", id=token)
                for each, token in zip((call, later), tokens, strict=True)
            ],
            3,
        ),
        "owner-by-the-first-record": (
            [by(call, "principal", id=tokens[0]), bob, by(rejected, "principal", id=tokens[1])],
            4,
        ),
        "owner-number": ([call, by(by(later, "principal", id=7), "agent", id="other-bot")], None),
        "owner-number-first": ([by(call, "principal", id=7), later, rejected], None),
        "owner-issuer-zero": ([call, by(bob, "principal", issuer=0)], None),
        "settings-same": ([config("22" * 32)], None),
        "settings-other": ([config("33" * 32)], 2),
        "settings-changed": ([changed, config("33" * 32)], None),
        "settings-changed-once": ([changed, config("33" * 32), call, config("22" * 32)], 5),
        "settings-none": ([config(None)], 2),
        "settings-none-twice": ([changed, config(None), config(7), config("")], None),
    }
    for name, (records, first) in cases.items():
        vectors.exports[name] = joined(chain([*begin, *records]))
        verdict = "not_anchored" if first is None else "tampered"
        vectors.case(f"agreement: {name}", name, verdict, first_bad=first)
