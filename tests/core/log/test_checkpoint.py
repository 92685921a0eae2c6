"""Notes, checkpoints and cosignatures: what is read, what is refused, and a note that others
made.
"""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    HeadSigner,
    NoteKey,
    NoteSignature,
    SignedNote,
    cosigned_text,
)
from guardrail.errors import NoteError

# The example of Go's note package, which the specification grew out of.
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann"
    " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    "\n"
)


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Check an Ed25519 signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def pair(name: str, algorithm: Algorithm = Algorithm.ED25519) -> tuple[NoteKey, Ed25519PrivateKey]:
    """Return a note key and its private half."""
    private = Ed25519PrivateKey.generate()
    return NoteKey(name, private.public_key().public_bytes_raw(), algorithm), private


def test_a_note_that_another_implementation_signed_is_good() -> None:
    """Key id, text and signature are read as the specification means them, and written back byte
    for byte.
    """
    key = NoteKey.parse(KEY)
    note = SignedNote.parse(NOTE.encode())
    assert note.signed_by(key, verify)
    assert str(key) == KEY
    assert str(note) == NOTE
    assert not SignedNote(note.text + "x\n", note.signatures).signed_by(key, verify)


def test_a_checkpoint_is_signed_and_read_back() -> None:
    """Text and signature survive the way through bytes; another key of the same name does not
    count.
    """
    key, private = pair("host/audit")
    head = Checkpoint("host/audit", 12, b"r" * 32)
    note = SignedNote.parse(SignedNote.sign(head.text, key, private.sign).encode())
    assert Checkpoint.parse(note.text) == head
    assert note.signed_by(key, verify)
    assert not note.signed_by(pair("host/audit")[0], verify)


def test_a_witness_signs_the_text_and_a_time() -> None:
    """The newest good cosignature of a witness counts; one over another time is none."""
    log, private = pair("log")
    witness, other = pair("witness", Algorithm.COSIGNATURE_V1)
    note = SignedNote.sign(Checkpoint("log", 3, b"r" * 32).text, log, private.sign)
    lines = [
        NoteSignature(
            "witness",
            witness.key_id,
            time.to_bytes(8, "big") + other.sign(cosigned_text(note.text, time)),
        )
        for time in (1000, 2000)
    ]
    forged = NoteSignature(
        "witness", witness.key_id, (9000).to_bytes(8, "big") + lines[0].signature[8:]
    )
    note = note.with_signatures([*lines, forged, lines[0]])
    assert len(note.signatures) == 4
    found = SignedNote.parse(note.encode()).cosigned_by(witness, verify)
    assert found is not None
    assert (found.name, found.time) == ("witness", 2000)
    assert note.cosigned_by(pair("witness", Algorithm.COSIGNATURE_V1)[0], verify) is None
    short = SignedNote(note.text, (NoteSignature("witness", witness.key_id, b"x" * 9),))
    assert short.cosigned_by(witness, verify) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n",
        "log\n1\n",
        "log\n1\nAAAA\n",
        "log\n01\n" + "A" * 43 + "=\n",
        "log\n-1\n" + "A" * 43 + "=\n",
        "log\n1.0\n" + "A" * 43 + "=\n",
        "log\n\u0661\n" + "A" * 43 + "=\n",
        "log\n9223372036854775808\n" + "A" * 43 + "=\n",
        "log\n99999999999999999999999\n" + "A" * 43 + "=\n",
        "log\n1\n" + "A" * 43 + "=",
        "log\n1\n" + "A" * 42 + "B=\n",
        "log\n1\n" + "A" * 43 + "=\n\n",
        "\n1\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Malformed lines, sizes and roots."""
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_extensions_of_a_checkpoint_are_ignored() -> None:
    """Lines after the third may be there."""
    assert Checkpoint.parse("log\n0\n" + "A" * 43 + "=\nmore\n").size == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no signature\n",
        b"text\n\n",
        "text\n\n\u2014 name AAAAAAAA".encode(),
        b"text\n\n- name AAAAAAAA\n",
        "text\n\n\u2014 na+me AAAAAAAA\n".encode(),
        "text\n\n\u2014 name AAAA\n".encode(),
        "text\n\n\u2014 name !!!!\n".encode(),
        "text\n\n\u2014 name\n".encode(),
        b"\xff\n\n",
        b"te\x00xt\n\n",
        b"x" * 70_000,
        b"text\n\n" + "\u2014 name AAAAAAAA\n".encode() * 101,
    ],
)
def test_what_is_no_signed_note_is_refused(raw: bytes) -> None:
    """Malformed notes raise one kind of error, whatever is wrong with them."""
    with pytest.raises(NoteError):
        SignedNote.parse(raw)


@pytest.mark.parametrize("raw", [b"\xff\n", "\u2014 name AAAAAAAA\n".encode() * 101, b"x\n"])
def test_what_is_no_signature_line_is_refused(raw: bytes) -> None:
    """The answer of a witness is read as strictly as a note."""
    with pytest.raises(NoteError):
        SignedNote.parse_signature_lines(raw)


def test_signature_lines_are_read_without_their_note() -> None:
    """As a witness sends them."""
    lines = SignedNote.parse_signature_lines("\u2014 name AAAAAAAA\n".encode())
    assert lines == (NoteSignature("name", bytes(4), bytes(2)),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "name+00000000+" + "A" * 44,
        "name+zz+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_what_is_no_note_key_is_refused(text: str) -> None:
    """Another hash, a name with a space, an unknown type."""
    with pytest.raises(NoteError):
        NoteKey.parse(text)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    """Whatever comes in is a note or a ``NoteError``."""
    for read in (SignedNote.parse, SignedNote.parse_signature_lines):
        try:
            read(raw)
        except NoteError:
            continue


@pytest.mark.parametrize("size", [1, 10, 12_345_678_901])
def test_a_head_signer_writes_the_same_note_as_signing_its_text(size: int) -> None:
    """Byte for byte, and again with the same signer."""
    private = Ed25519PrivateKey.generate()
    key = NoteKey("acme/prod/gw-1", private.public_key().public_bytes_raw())
    signer = HeadSigner(key.name, key, private.sign)
    for root in (bytes(range(32)), b"\xff" * 32):
        head = Checkpoint(key.name, size, root)
        assert signer.note(size, root) == str(SignedNote.sign(head.text, key, private.sign))
