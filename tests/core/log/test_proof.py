"""Proof files: what is in them leads from a line to a signed head, or it is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    NoteKey,
    NoteSignature,
    SignedNote,
    cosigned_text,
)
from guardrail.core.log.key_epochs import certified_text
from guardrail.core.log.merkle import inclusion_proof, range_root
from guardrail.core.log.proof import Certificate, Proof, Verdict, check_proof
from guardrail.core.log.record import leaf_hash
from guardrail.errors import NoteError
from guardrail.keys.log_key import verify_signature

LOG = "example.com/log"


def private(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed.ljust(32).encode())


def public(seed: str) -> bytes:
    return private(seed).public_key().public_bytes_raw()


LINES = [
    json.dumps({"log": LOG, "seq": seq, "ts": "2026-01-01T00:00:00.000000Z", "type": "t"}).encode()
    for seq in range(11)
]


def node(level: int, index: int) -> bytes:
    from guardrail.core.log.merkle import node_hash

    if level == 0:
        return leaf_hash(LINES[index])
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def made(index: int = 4, size: int = 11, signer: str = "log", log: str = LOG) -> Proof:
    """Return a good proof."""
    text = Checkpoint(log, size, range_root(0, size, node)).text
    key = NoteKey(log, public(signer))
    note = SignedNote.sign(text, key, private(signer).sign)
    return Proof(LINES[index], index, tuple(inclusion_proof(index, size, node)), note)


def by_epoch(first: int = 3, *, certifier: str = "log") -> Proof:
    """Return a proof under a head that an epoch key signed."""
    certified = private(certifier).sign(certified_text(LOG, public("epoch").hex(), first))
    epoch = Certificate(public("epoch").hex(), first, certified)
    return replace(made(signer="epoch"), epoch=epoch)


def verdict(proof: Proof, key: str = "log") -> Verdict:
    return check_proof(proof, public(key), verify_signature).verdict


@pytest.mark.parametrize("size", range(1, 12))
def test_every_record_is_proved_under_every_head_over_it(size: int) -> None:
    """Also after the file was written and read."""
    for index in range(size):
        proof = made(index, size)
        assert Proof.parse(proof.encode()) == proof
        checked = check_proof(proof, public("log"), verify_signature)
        assert (checked.verdict, checked.epoch, checked.head.size) == (Verdict.GOOD, None, size)
        assert checked.record is not None
        assert checked.record["seq"] == index


CHANGES: dict[str, Callable[[Proof], Proof]] = {
    "another line": lambda proof: replace(proof, line=LINES[5]),
    "a changed line": lambda proof: replace(proof, line=proof.line.replace(b'"t"', b'"u"')),
    "another number": lambda proof: replace(proof, index=5),
    "a number beyond the head": lambda proof: replace(proof, index=11),
    "a shorter path": lambda proof: replace(proof, path=proof.path[:-1]),
    "a longer path": lambda proof: replace(proof, path=(*proof.path, bytes(32))),
    "another hash": lambda proof: replace(proof, path=(bytes(32), *proof.path[1:])),
    "another head": lambda proof: replace(proof, note=made(4, 10).note),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_lead_to_the_head_proves_nothing(change: str) -> None:
    """Each part of the proof counts."""
    checked = check_proof(CHANGES[change](made()), public("log"), verify_signature)
    assert (checked.verdict, checked.record) == (Verdict.NOT_IN_HEAD, None)
    assert checked.detail


def test_a_line_that_names_another_place_proves_nothing() -> None:
    """A tree over lines of another log, under this one's key, does not make them records of it."""
    assert verdict(made(log="example.com/other")) is Verdict.NOT_IN_HEAD


def alone(line: bytes, log: str) -> Proof:
    """Return a proof of the only record of a log, under a head that nobody who counts signed."""
    text = Checkpoint(log, 1, leaf_hash(line)).text
    return Proof(line, 0, (), SignedNote(text, (NoteSignature("x", b"1234", b"s" * 64),)))


def test_a_line_that_is_no_record_proves_nothing() -> None:
    """Whatever tree it is a leaf of."""
    assert verdict(alone(b"nonsense", LOG)) is Verdict.NOT_IN_HEAD


def test_a_log_whose_name_no_key_can_have_has_no_key() -> None:
    """A name with a space: no signature line can be by it."""
    line = json.dumps({"log": "a b", "seq": 0}).encode()
    assert verdict(alone(line, "a b")) is Verdict.KEY_UNKNOWN


def test_only_the_key_that_was_given_counts() -> None:
    """A head by a stranger, or checked with a stranger's key: nobody knows whose it is."""
    assert verdict(made(signer="stranger")) is Verdict.KEY_UNKNOWN
    assert verdict(made(), "stranger") is Verdict.KEY_UNKNOWN


def test_an_epoch_key_counts_by_its_certificate_alone() -> None:
    """By the log key, for heads of that size; and the answer names the key."""
    checked = check_proof(by_epoch(), public("log"), verify_signature)
    assert (checked.verdict, checked.epoch) == (Verdict.GOOD, public("epoch").hex())
    assert verdict(by_epoch(11)) is Verdict.KEY_UNKNOWN
    assert verdict(by_epoch(certifier="stranger")) is Verdict.KEY_UNKNOWN
    assert verdict(replace(by_epoch(), epoch=None)) is Verdict.KEY_UNKNOWN
    assert verdict(replace(by_epoch(), note=made(signer="stranger").note)) is Verdict.KEY_UNKNOWN


def test_cosignatures_count_for_the_witnesses_that_were_named() -> None:
    """With the witness's own time; others' are passed over."""
    proof = made()
    witness = NoteKey("w.example/1", public("witness"), Algorithm.COSIGNATURE_V1)
    signed = private("witness").sign(cosigned_text(proof.note.text, 1_795_500_000))
    line = NoteSignature(witness.name, witness.key_id, (1_795_500_000).to_bytes(8, "big") + signed)
    proof = Proof.parse(replace(proof, note=proof.note.with_signatures([line])).encode())
    other = NoteKey("w.example/2", public("stranger"), Algorithm.COSIGNATURE_V1)
    checked = check_proof(proof, public("log"), verify_signature, [witness, other])
    assert [(each.name, each.time) for each in checked.cosignatures] == [
        ("w.example/1", 1_795_500_000)
    ]
    assert check_proof(proof, public("log"), verify_signature).cosignatures == ()


BAD: dict[str, object] = {
    "no JSON": b"{",
    "no UTF-8": b"\xff",
    "a list": b"[]",
    "a key twice": b'{"guardrail":"proof/1","guardrail":"proof/1"}',
    "too long": b" " * (1 << 20) + b"{}",
    "another kind": {"guardrail": "proof/2"},
    "no line": {"line": None},
    "a lone surrogate": {"line": "\ud800"},
    "no index": {"index": None},
    "an index that is no integer": {"index": 4.0},
    "a negative index": {"index": -1},
    "no path": {"path": None},
    "a path of something else": {"path": ["x"]},
    "a path that is too long": {"path": ["0" * 64] * 64},
    "no head": {"head": None},
    "a head that is no note": {"head": "x"},
    "a note that is no head": {"head": "x\n\n\u2014 x AAAAAAA=\n"},
    "a certificate of another type": {"epoch": []},
    "a certificate without first": {
        "epoch": {"public": "0" * 64, "certificate": "A" * 86 + "==", "first": None}
    },
    "a certificate that is no base64": {
        "epoch": {"public": "0" * 64, "certificate": "!", "first": 1}
    },
}


def test_a_proof_is_read_as_it_was_written() -> None:
    """With and without the certificate of an epoch key."""
    for proof in (made(), by_epoch()):
        assert Proof.parse(proof.encode()) == proof


@pytest.mark.parametrize("how", BAD)
def test_what_is_no_proof_is_refused(how: str) -> None:
    """With a stable code, and never with another error."""
    bad = BAD[how]
    raw = (
        bad
        if isinstance(bad, bytes)
        else json.dumps({**json.loads(made().encode()), **bad}).encode()
    )  # type: ignore[dict-item]
    with pytest.raises(NoteError) as refused:
        Proof.parse(raw)
    assert refused.value.code in {"proof.malformed", "note.malformed"}


def test_checking_needs_the_standard_library_and_cryptography_alone(tmp_path: Path) -> None:
    """Nothing else that is installed is imported, so that it can be checked years later."""
    (tmp_path / "proof").write_bytes(made().encode())
    code = (
        "import sys\n"
        "from guardrail.core.log.proof import Proof, check_proof\n"
        "from guardrail.keys.log_key import verify_signature\n"
        "proof = Proof.parse(open(sys.argv[1], 'rb').read())\n"
        "print(check_proof(proof, bytes.fromhex(sys.argv[2]), verify_signature).verdict)\n"
        "own = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in own if not name.startswith('_')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "proof", public("log").hex()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said, loaded = done.stdout.splitlines()
    assert said == "good"
    assert set(json.loads(loaded.replace("'", '"'))) <= {
        "guardrail",
        "cryptography",
        "cffi",
        "site",
    }
