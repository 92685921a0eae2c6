"""Vectors: whole logs, cut, forked, replaced and edited, and the heads over them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from guardrail.core.log.record import leaf_hash
from tests.support.vectors.cases import Vectors
from tests.support.vectors.signing import (
    LOG,
    PUBLIC,
    chain,
    cosignature,
    edge,
    head,
    head_text,
    joined,
    rechained,
    signature,
)


def whole(vectors: Vectors) -> None:
    """log.jsonl: a log that signs with its log key alone."""
    lines = chain(vectors.records)
    vectors.exports["log"] = joined(lines)
    count = len(lines)
    full = head(edge(lines), "log")
    vectors.heads["log"] = full
    vectors.heads["log-first-five"] = head(edge(lines[:5]), "log")
    vectors.case(
        "a log and the head over it", "log", "anchored", head="log", last_covered=count - 1
    )
    vectors.case(
        "the key is only the one that line 0 names",
        "log",
        "anchored",
        head="log",
        key=None,
        last_covered=count - 1,
    )
    vectors.case(
        "a head over the first records", "log", "anchored", head="log-first-five", last_covered=4
    )
    vectors.case("no head", "log", "not_anchored")
    vectors.case("neither head nor key", "log", "not_anchored", key=None)
    vectors.case("the key of another log", "log", "replaced", head="log", key="stranger")
    vectors.case("the key of another log and no head", "log", "replaced", key="stranger")

    vectors.exports["cut"] = joined(lines[:6])
    vectors.case("a cut tail", "cut", "truncated", head="log")
    vectors.case(
        "a cut tail behind the head", "cut", "anchored", head="log-first-five", last_covered=4
    )
    vectors.case("a cut tail without a head", "cut", "not_anchored")
    fork = chain([*vectors.records[:4], *vectors.records[7:8], *vectors.records[5:6]])
    fork += chain([vectors.records[9]] * 5, 6, leaf_hash(fork[-1]).hex())
    vectors.exports["fork"] = joined(fork)
    vectors.heads["fork"] = head(edge(fork), "log")
    vectors.case("another history", "fork", "forked", head="log")
    vectors.case(
        "another history, with the head over it", "fork", "anchored", head="fork", last_covered=10
    )
    vectors.case("the head of another history", "log", "forked", head="fork")
    other = chain([{**each, "log": "example.com/other"} for each in vectors.records])
    vectors.exports["other"] = joined(other)
    vectors.case("another log in its place", "other", "replaced", head="log")
    foreign = copy.deepcopy(vectors.records)
    foreign[0]["key"]["public"] = PUBLIC["stranger"]
    vectors.exports["foreign-key"] = joined(chain(foreign))
    vectors.heads["foreign-key"] = head(edge(chain(foreign)), "stranger")
    vectors.case("a new log under the old name", "foreign-key", "replaced", head="log")
    vectors.case(
        "a new log under the old name, nothing known of the old one",
        "foreign-key",
        "anchored",
        head="foreign-key",
        key=None,
        last_covered=10,
    )
    vectors.case("the old head over the new log", "foreign-key", "forked", head="log", key=None)


def edited_and_torn(vectors: Vectors) -> None:
    """log.jsonl, changed by someone without the key, or cut by a crash."""
    lines = chain(vectors.records)
    edited = [*lines[:4], lines[4].replace(b'"deny"', b'"allow"'), *lines[5:]]
    vectors.exports["edited"] = joined(edited)
    vectors.exports["edited-rechained"] = joined(rechained(edited, 4))
    vectors.case("an edit", "edited", "tampered", head="log", first_bad=5)
    vectors.case(
        "an edit behind the head", "edited", "tampered", head="log-first-five", first_bad=5
    )
    vectors.case("an edit, rechained", "edited-rechained", "forked", head="log")
    vectors.case("an edit, rechained, without a head", "edited-rechained", "not_anchored")
    late = [*lines[:8], lines[8].replace(b"unknown_tool", b"known_tool_"), *lines[9:]]
    vectors.exports["edited-late"] = joined(late)
    vectors.case(
        "an edit behind the covered records",
        "edited-late",
        "tampered",
        head="log-first-five",
        first_bad=9,
        last_covered=4,
    )
    vectors.exports["no-genesis"] = joined(lines[1:])
    vectors.case(
        "no line 0: whose log it is can't be said",
        "no-genesis",
        "tampered",
        head="log",
        first_bad=0,
    )
    vectors.exports["gap"] = joined([lines[0], *lines[3:]])
    vectors.case("records missing behind line 0", "gap", "tampered", head="log", first_bad=1)

    vectors.exports["empty"] = b""
    vectors.exports["torn"] = joined(lines)[:-1]
    vectors.exports["torn-inside"] = joined(lines)[:-100]
    for name in ("empty", "torn", "torn-inside"):
        vectors.case(f"{name}, no head", name, "torn")
        vectors.case(f"{name}, although a head covers records", name, "torn", head="log", exit=1)
        vectors.case(f"{name}, with a head that covers nothing", name, "torn", head="nothing")
        vectors.case(f"{name}, with a malformed head", name, "torn", head="bad-empty")


def heads(vectors: Vectors) -> None:
    """Notes that are well-formed in unusual ways, and notes that are not."""
    tree = edge(chain(vectors.records))
    text = head_text(tree.size, tree.root())
    good = signature(text, "log")
    witness = cosignature(text, "witness", name="witness.example/w1", time=1_795_500_000)
    unusual = {
        "cosigned": (text + "\n" + good + witness, "anchored"),
        "signed-twice": (text + "\n" + good + good, "anchored"),
        "bad-beside-good": (text + "\n" + signature(text, "log", signed="x") + good, "anchored"),
        "hundred-signatures": (text + "\n" + witness * 99 + good, "anchored"),
        "extended": (text + "more\n\n" + signature(text + "more\n", "log"), "anchored"),
        "extension-not-signed": (text + "more\n\n" + good, "key_unknown"),
        "by-witness-alone": (text + "\n" + witness, "key_unknown"),
        "by-stranger": (text + "\n" + signature(text, "stranger"), "key_unknown"),
        "under-other-name": (text + "\n" + signature(text, "log", name="other"), "key_unknown"),
        "own-id-under-other-name": (
            text + "\n" + good.replace(LOG, "example.com/other"),
            "key_unknown",
        ),
        "over-other-text": (
            text + "\n" + signature(text, "log", signed=text + "x\n"),
            "key_unknown",
        ),
        "as-cosignature": (
            text + "\n" + cosignature(text, "log", name=LOG, time=1),
            "key_unknown",
        ),
        "short-signature": (text + "\n\u2014 " + LOG + " AAAAAAA=\n", "key_unknown"),
        "of-other-log": (head(tree, "log", log="example.com/other").decode(), "replaced"),
        "of-name-with-spaces": (
            text.replace(LOG, "a log") + "\n" + good,
            "replaced",
        ),
        "nothing": (head(edge([]), "log").decode(), "not_anchored"),
        "nothing-wrong-root": (
            head_text(0, tree.root()) + "\n" + signature("x", "stranger"),
            "not_anchored",
        ),
        "too-large": (
            head_text(2**63 - 1, tree.root()) + "\n" + signature("x", "log"),
            "truncated",
        ),
    }
    for name, (note, verdict) in unusual.items():
        vectors.heads[name] = note.encode()
        covered = tree.size - 1 if verdict == "anchored" else None
        vectors.case(f"a head: {name}", "log", verdict, head=name, last_covered=covered)
    for name, note in malformed(text, good):
        vectors.heads[f"bad-{name}"] = note
        vectors.case(f"a malformed head: {name}", "log", "head_malformed", head=f"bad-{name}")
    vectors.case(
        "a malformed head does not hide the first bad record",
        "edited",
        "head_malformed",
        head="bad-empty",
        first_bad=5,
    )
    vectors.case(
        "a wrong key goes before the first bad record",
        "edited",
        "replaced",
        key="stranger",
    )
    vectors.case("nothing covered of a bad log", "edited", "tampered", head="nothing", first_bad=5)


def malformed(text: str, good: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of notes that say nothing."""
    log, size, root = text.splitlines()
    rest = "\n" + good
    encoded = good.rstrip("\n").rpartition(" ")[2]
    yield "empty", b""
    yield "text-alone", text.encode()
    yield "no-signature", (text + "\n").encode()
    yield "no-last-line-feed", (text + rest)[:-1].encode()
    yield "line-behind", (text + rest + "\n").encode()
    yield "two-empty-lines", (text + "\n" + rest).encode()
    yield "carriage-returns", (text + rest).replace("\n", "\r\n").encode()
    yield "not-utf-8", (text + rest).encode().replace(b"vectors", b"vector\xff")
    yield "control", (text + rest).replace(log, log + "\x01").encode()
    yield "no-name", f"\n{size}\n{root}\n{rest}".encode()
    yield "no-root", f"{log}\n{size}\n{rest}".encode()
    yield "size-with-sign", f"{log}\n+{size}\n{root}\n{rest}".encode()
    yield "size-with-zero", f"{log}\n0{size}\n{root}\n{rest}".encode()
    yield "size-with-space", f"{log}\n {size}\n{root}\n{rest}".encode()
    yield "size-in-other-digits", f"{log}\n\u0661\u0661\n{root}\n{rest}".encode()
    yield "size-negative", f"{log}\n-1\n{root}\n{rest}".encode()
    yield "size-beyond", f"{log}\n{2**63}\n{root}\n{rest}".encode()
    yield "root-short", f"{log}\n{size}\n{root[4:]}\n{rest}".encode()
    yield "root-unpadded", f"{log}\n{size}\n{root.rstrip('=')}\n{rest}".encode()
    # the unused bits of the last character are not zero
    loose = root[:-2] + chr(ord(root[-2]) + 1) + "="
    yield "root-loose", f"{log}\n{size}\n{loose}\n{rest}".encode()
    yield "signature-dash", (text + rest.replace("\u2014", "-")).encode()
    yield "signature-name", (text + f"\n\u2014  {encoded}\n").encode()
    yield "signature-name-plus", (text + f"\n\u2014 a+b {encoded}\n").encode()
    yield "signature-name-space", (text + f"\n\u2014 a\u2003b {encoded}\n").encode()
    yield "signature-two-spaces", (text + rest.replace(" " + encoded, "  " + encoded)).encode()
    yield "signature-base64", (text + rest.replace(encoded, encoded[:-4] + "!!!!")).encode()
    yield "signature-key-id-alone", (text + f"\n\u2014 {log} AAAAAA==\n").encode()
    yield "signatures-101", (text + "\n" + good * 101).encode()
    yield "too-long", (text + "x" * 65_536 + "\n" + rest).encode()
