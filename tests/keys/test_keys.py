"""Keys: made once, kept from others, never overwritten."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from guardrail.errors import KeysError
from guardrail.keys.log_key import Keys
from guardrail.keys.tenant_keys import TenantKeys
from guardrail.keys.token_keys import TokenEpoch


def test_new_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    """A folder of mode 0700 with files of mode 0600, and the same keys when they are read again."""
    keys = Keys.create(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for file in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = Keys.load(tmp_path / "keys")
    assert again.public == keys.public
    assert again.tenant("a").token("contact", "x") == keys.tenant("a").token("contact", "x")


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """Making keys where some are is refused and changes nothing."""
    keys = Keys.create(tmp_path / "keys")
    with pytest.raises(KeysError):
        Keys.create(tmp_path / "keys")
    assert Keys.load(tmp_path / "keys").public == keys.public


def test_new_keys_are_not_put_where_a_link_leads(tmp_path: Path) -> None:
    """Whoever could write in the folder first must not choose where keys are."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "audit.keys").symlink_to(tmp_path / "outside")
    with pytest.raises(KeysError) as caught:
        Keys.create(tmp_path / "audit.keys")
    assert caught.value.code == "keys.linked"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """No OSError escapes."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysError):
        Keys.create(tmp_path / "file" / "keys")


def test_exposed_keys_are_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    """Others could sign heads and test guesses."""
    Keys.create(tmp_path / "keys")
    (tmp_path / "keys" / "log.key").chmod(0o644)
    with pytest.raises(KeysError) as caught:
        Keys.load(tmp_path / "keys")
    assert caught.value.code == "keys.exposed"
    assert caught.value.hint.startswith("chmod 600")
    (tmp_path / "keys" / "log.key").chmod(0o600)
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(KeysError):
        Keys.load(tmp_path / "keys")


def test_missing_and_malformed_keys_are_refused(tmp_path: Path) -> None:
    """Each file, each way."""
    with pytest.raises(KeysError) as caught:
        Keys.load(tmp_path / "keys")
    assert caught.value.code == "keys.missing"
    folder = tmp_path / "keys"
    Keys.create(folder)
    tokens = (folder / "tokens.key").read_bytes()
    pem = (folder / "log.key").read_bytes()
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, content in (
        ("tokens.key", b"{}"),
        ("tokens.key", b"not json"),
        ("tokens.key", b'{"epoch":1,"key":"zz"}'),
        ("tokens.key", b'{"epoch":1,"key":"00"}'),
        ("tokens.key", b"[]"),
        ("log.key", b"not pem"),
        ("log.key", other),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(KeysError) as caught:
            Keys.load(folder)
        assert caught.value.code == "keys.malformed"
        (folder / "tokens.key").write_bytes(tokens)
        (folder / "log.key").write_bytes(pem)
    (folder / "tokens.key").unlink()
    (folder / "tokens.key").mkdir(mode=0o700)
    with pytest.raises(KeysError) as caught:
        Keys.load(folder)
    assert caught.value.code == "keys.unreadable"


def test_tokens_correlate_within_a_tenant_and_class_only() -> None:
    """Equal values have equal tokens; another tenant, class or value has another."""
    keys = Keys.ephemeral()
    one = keys.tenant("a")
    assert one is keys.tenant("a")
    assert one.token("contact", "x") == one.token("contact", "x")
    tokens = {
        one.token("contact", "x"),
        one.token("contact", "y"),
        one.token("payment", "x"),
        keys.tenant("b").token("contact", "x"),
        Keys.ephemeral().tenant("a").token("contact", "x"),
    }
    assert len(tokens) == 5
    assert all(token.split(":")[0] == "gr1" and len(token.split(":")[3]) == 24 for token in tokens)


def test_marks_say_nothing() -> None:
    """Two marks of one value differ, and their length is that of any other."""
    first, second = TenantKeys.mark("secret"), TenantKeys.mark("secret")
    assert first != second
    assert len(first) == len(second)
    assert first.startswith("gr1:secret:-:")


def test_the_token_is_the_one_that_the_format_page_describes() -> None:
    """HMAC-SHA-256 under a key from HKDF, first 15 bytes, base32: an independent computation
    agrees.
    """
    master = bytes(range(32))

    def derive(key: bytes, info: str) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info.encode()).derive(key)

    def expected(key: bytes, number: int) -> str:
        kid = encoded(hashlib.sha256(key + number.to_bytes(4, "big")).digest()[:5])
        tenant = derive(key, "guardrail/tenant/1/acme")
        used = derive(tenant, f"guardrail/token/1/contact/{kid}")
        digest = hmac.new(used, b"bob@example.com", hashlib.sha256).digest()
        return f"gr1:contact:{kid}:{encoded(digest[:15])}"

    def encoded(data: bytes) -> str:
        return base64.b32encode(data).decode().lower()

    keys = TenantKeys(master, "acme", TokenEpoch(3, bytes(32), 2))
    assert keys.token("contact", "bob@example.com") == expected(master, 1)
    assert keys.value_token("contact", " Bob@Example.com") == expected(bytes(32), 3)


def test_commitments_cannot_be_shifted() -> None:
    """Each part carries its length: moving a byte from one part to the next is another
    commitment.
    """
    keys = Keys.ephemeral().tenant("a")

    def over(*parts: bytes) -> str:
        return keys.commitment(parts).hexdigest()

    assert over(b"ab", b"c") == over(b"ab", b"c")
    assert over(b"ab", b"c") != over(b"a", b"bc")
    assert keys.commitment([b"ab"]).extended([b"c"]).hexdigest() == over(b"ab", b"c")
    assert len(over()) == 64


def test_the_signer_signs_with_the_log_key() -> None:
    """The public half in the genesis record checks it."""
    keys = Keys.ephemeral()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys.public)).verify(
        keys.signer()(b"head"), b"head"
    )


def test_a_key_file_is_read_whoever_wrote_its_lines(tmp_path: Path) -> None:
    """The usual form is read directly, and every other one by the library, with the same result."""
    keys = Keys.create(tmp_path / "keys")
    file = tmp_path / "keys" / "log.key"
    usual = file.read_bytes()
    lines = usual.split(b"\n")
    body = lines[1]
    for form in (
        usual,
        usual.rstrip(b"\n"),
        usual.replace(b"\n", b"\r\n"),
        b"\n".join([lines[0], body[:32], body[32:], *lines[2:]]),
        b"a comment\n" + usual,
    ):
        file.write_bytes(form)
        assert Keys.load(tmp_path / "keys").public == keys.public
    # the same length, but not the form of an Ed25519 key
    file.write_bytes(usual.replace(body[:4], b"AAAA"))
    with pytest.raises(KeysError, match="malformed"):
        Keys.load(tmp_path / "keys")
