"""Which signatures count: certified keys, their ranges, and records that certify nothing."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.key_epochs import KeyRanges, certified_text
from guardrail.keys.log_key import Ed25519HeadKey, Keys, verify_signature

LOG = "host/audit"
KEYS = Keys.ephemeral(b"0" * 32)
SIGNING = KEYS.signing(actor={}, epochs=True)


def ranges() -> KeyRanges:
    """Return a log's keys before its first rotation."""
    return KeyRanges(LOG, bytes.fromhex(KEYS.public), verify_signature)


def epoch(first: int = 0) -> Ed25519HeadKey:
    """Return a certified key."""
    key = SIGNING.epoch_key(LOG, first)
    assert key is not None
    return key


def record(key: Ed25519HeadKey | None, /, *ended: Ed25519HeadKey, **detail: Any) -> dict[str, Any]:
    """Return a rotation as a writer makes it, with *detail* in place of its own."""
    made: dict[str, Any] = {
        "key": {"type": "ed25519", "public": key.key.public.hex()} if key else None,
        "first": key.first if key else None,
        "certificate": key.certificate if key else None,
        "ended": [{"public": each.key.public.hex(), "reason": "closed"} for each in ended],
    }
    return {"detail": {**made, **detail}}


def head(size: int, key: Ed25519HeadKey) -> SignedNote:
    """Return a head of *size* records, signed with *key*."""
    return SignedNote.sign(Checkpoint(LOG, size, b"r" * 32).text, key.key, key.sign)


def test_the_log_key_signs_heads_of_every_size() -> None:
    """It needs no certificate; a stranger's signature never counts."""
    assert ranges().signer_of(head(1, SIGNING.log_key(LOG)), 1) == "log"
    assert ranges().signer_of(head(1, epoch()), 1) is None


def test_a_key_counts_between_its_certificate_and_its_end() -> None:
    """Not for heads without its certificate, and not for heads that go beyond the record that ends
    it.
    """
    key = epoch(3)
    found = ranges()
    assert found.take(5, record(key)) == ""
    assert found.take(9, record(None, key)) == ""
    public = key.key.public.hex()
    answers = [found.signer_of(head(size, key), size) for size in (5, 6, 9, 10, 11)]
    assert answers == [None, public, public, public, None]


def test_keys_of_several_processes_overlap() -> None:
    """One ends, the other goes on; a key that is certified twice keeps its first place, and one end
    is enough.
    """
    one, two = epoch(), epoch()
    found = ranges()
    for seq, each in (
        (1, record(one)),
        (2, record(two, one)),
        (3, record(two)),
        (4, record(None, one)),
    ):
        assert found.take(seq, each) == ""
    assert found.signer_of(head(4, one), 4) is None
    assert found.signer_of(head(3, one), 3) == one.key.public.hex()
    assert found.signer_of(head(3, two), 3) == two.key.public.hex()
    assert found.epochs[two.key.public.hex()].certified == 2


def test_ends_of_keys_that_nobody_knows_say_nothing() -> None:
    """Their certificates may have been pruned."""
    found = ranges()
    assert found.take(1, record(None, epoch())) == ""
    assert found.epochs == {}


def test_a_key_that_was_ended_is_not_certified_again() -> None:
    """What one record ends no later one begins."""
    key = epoch()
    found = ranges()
    assert found.take(1, record(None, key)) == ""
    assert found.take(2, record(key)) == ""
    assert found.signer_of(head(3, key), 3) is None


@pytest.mark.parametrize(
    "change",
    [
        {"first": 6},
        {"first": -1},
        {"first": True},
        {"first": "0"},
        {"certificate": None},
        {"certificate": "!!"},
        {"certificate": base64.b64encode(b"x" * 64).decode()},
        {"certificate": base64.b64encode(b"x").decode()},
        {"key": {"public": "zz" * 32}},
        {"key": {"public": "AB" * 32}},
        {"key": {"public": "ab"}},
        {"key": {"public": "ab " * 21 + "a"}},
        {"key": {"type": "ed448", "public": "ab" * 32}},
        {"key": {}},
        {"key": 1},
        {"key": None},
        {"key": None, "first": None},
        {"ended": None},
        {"ended": [1]},
        {"ended": [{"public": 2}]},
    ],
)
def test_a_rotation_that_the_log_key_did_not_certify_is_told(change: dict[str, Any]) -> None:
    """Malformed, for later records, or signed by someone else: what is wrong is said, and the key
    does not count.
    """
    found = ranges()
    key = epoch()
    assert found.take(5, record(key, **change)) != ""
    assert found.signer_of(head(9, key), 9) is None


def test_a_certificate_has_one_spelling() -> None:
    """Base64 whose unused bits are not zero is another text for the same signature."""
    key = epoch()
    assert key.certificate is not None
    loose = key.certificate[:-3] + chr(ord(key.certificate[-3]) + 1) + "=="
    assert base64.b64decode(loose) == base64.b64decode(key.certificate)
    assert ranges().take(1, record(key, certificate=loose)) != ""


def test_a_rotation_without_detail_is_told() -> None:
    """Every record of this type has one."""
    assert ranges().take(1, {"type": "admin.key_rotated"}) != ""


def test_a_certificate_of_another_log_does_not_count() -> None:
    """The log's name is part of what is signed."""
    key = epoch()
    signature = KEYS.signer()(certified_text("other", key.key.public.hex(), 0))
    wrong = record(key, certificate=base64.b64encode(signature).decode())
    assert ranges().take(1, wrong) != ""


def test_a_note_key_has_the_logs_name() -> None:
    """A signature under another name is another key's."""
    key = SIGNING.log_key(LOG)
    other = SignedNote.sign(
        Checkpoint(LOG, 1, b"r" * 32).text, NoteKey("other", key.key.public), key.sign
    )
    assert ranges().signer_of(other, 1) is None
