"""Tokens by tenant, class and epoch, and the file with their keys."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.redaction.key_names import CLASSES
from guardrail.core.redaction.normal_forms import NORMAL_FORM, normal_form
from guardrail.errors import KeysError
from guardrail.keys import log_key
from guardrail.keys.log_key import TOKENS_FILE, Keys
from guardrail.keys.tenant_keys import TenantKeys
from guardrail.keys.token_keys import TokenEpoch, TokenSecrets
from guardrail.system.durable import replace_file

MASTER = bytes(range(32))
EPOCHS = tuple(TokenEpoch(number, bytes([number]) * 32, NORMAL_FORM) for number in (1, 2, 3))
NAMES = st.sampled_from(["default", "acme", "Acme", "acme/x"]) | st.text(max_size=8)
VALUES = st.sampled_from(["bob@example.com", "Bob@Example.com", "4111 1111 1111 1111"]) | st.text(
    max_size=20
)
PLACES = st.tuples(NAMES, st.sampled_from(CLASSES), st.sampled_from(EPOCHS), VALUES)


@settings(max_examples=200)
@given(PLACES, PLACES)
def test_equal_tokens_mean_the_same_value_tenant_class_and_epoch(
    one: tuple[str, str, TokenEpoch, str], other: tuple[str, str, TokenEpoch, str]
) -> None:
    """And nothing else gives an equal token."""

    def token(place: tuple[str, str, TokenEpoch, str]) -> str:
        tenant, cls, epoch, value = place
        return TenantKeys(MASTER, tenant, epoch).value_token(cls, value)

    def identity(place: tuple[str, str, TokenEpoch, str]) -> tuple[object, ...]:
        tenant, cls, epoch, value = place
        return tenant, cls, epoch.number, normal_form(NORMAL_FORM, cls, value)

    assert token(one) == token(one)
    assert (token(one) == token(other)) == (identity(one) == identity(other))


@given(NAMES, NAMES, st.sampled_from(CLASSES), VALUES)
def test_no_two_tenants_share_a_token(one: str, other: str, cls: str, value: str) -> None:
    """Of values or of ids."""
    tenants = [TenantKeys(MASTER, name, EPOCHS[0]) for name in (one, other)]
    same = one == other
    assert (len({each.value_token(cls, value) for each in tenants}) == 1) == same
    assert (len({each.token(cls, value) for each in tenants}) == 1) == same


def test_ids_and_commitments_are_the_same_in_all_epochs() -> None:
    """A caller is recognised after a rotation, and an approval stays valid."""
    first, second = (TenantKeys(MASTER, "acme", epoch) for epoch in EPOCHS[:2])
    assert first.token("session", "S-1") == second.token("session", "S-1")
    assert first.commitment([b"x"]).hexdigest() == second.commitment([b"x"]).hexdigest()
    assert first.value_token("contact", "x") != second.value_token("contact", "x")


def test_a_file_in_format_1_gives_the_tokens_that_it_always_gave(tmp_path: Path) -> None:
    """One key and one name for everything, and values in the first normal form."""
    Keys.create(tmp_path / "keys")
    replace_file(
        tmp_path / "keys" / TOKENS_FILE,
        json.dumps({"epoch": 1, "key": MASTER.hex()}).encode(),
        private=True,
    )
    tenant = Keys.load(tmp_path / "keys").tenant("default")
    # computed by an earlier version
    bob = "gr1:contact:astjkcqg:xf6wva5zlpndj5wbplcemtxv"
    assert tenant.kid == "astjkcqg"
    assert tenant.token("contact", "bob@example.com") == bob
    assert tenant.value_token("contact", "Bob@example.com ") == bob
    assert tenant.value_token("name", "Bob") == "gr1:name:astjkcqg:bmxs6ldhsryg5tsascdu27j6"
    assert tenant.value_token("name", "Bob") != tenant.value_token("name", "BOB")


def test_the_file_is_read_as_it_was_written() -> None:
    """With several epochs, one of them prepared, and one destroyed."""
    secrets = TokenSecrets.new().prepared().advanced().prepared()
    assert TokenSecrets.parse(secrets.text()) == secrets
    first = secrets.epochs[0]
    assert secrets.may_destroy(first)
    assert not any(secrets.may_destroy(each) for each in secrets.epochs[1:])
    left = secrets.without(first)
    assert TokenSecrets.parse(left.text()) == left
    assert first.key.hex().encode() not in left.text()
    assert left.destroyed == (first.kid,)


def test_a_key_for_everything_is_never_destroyed() -> None:
    """The key of a file in format 1 also makes commitments and the MACs of heads."""
    secrets = TokenSecrets.single(MASTER).prepared().advanced()
    assert secrets.replaced == (secrets.epochs[0],)
    assert not secrets.may_destroy(secrets.epochs[0])


def test_a_prepared_key_is_not_prepared_twice() -> None:
    """A rotation that was killed half-way continues with the key that it prepared."""
    secrets = TokenSecrets.new().prepared()
    assert secrets.prepared() is secrets
    assert secrets.epoch.number == 1
    assert secrets.advanced().epoch.number == 2


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3},
        {"master": "00" * 31},
        {"master": None},
        {"epochs": []},
        {"epochs": [{"key": "00" * 16, "normal": 2, "number": 1}]},
        {"epochs": [{"key": "00" * 32, "normal": 99, "number": 1}]},
        {"epochs": [{"key": "00" * 32, "normal": 2, "number": True}]},
        {"epochs": {"key": "00" * 32}},
        {"current": 2},
        {"current": "1"},
        {"destroyed": [1]},
        {"destroyed": None},
        {"log": 7},
    ],
)
def test_a_file_of_the_wrong_form_or_length_is_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
    """And no part of it is in the error."""
    Keys.create(tmp_path / "keys")
    file = tmp_path / "keys" / TOKENS_FILE
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps({**document, **change}))
    with pytest.raises(KeysError) as caught:
        Keys.load(tmp_path / "keys")
    assert caught.value.code == "keys.malformed"
    assert caught.value.hint == "restore the folder from a backup"
    assert document["master"] not in repr(caught.getrepr())


def test_a_file_of_another_log_is_refused(tmp_path: Path) -> None:
    """With it, the heads of this log would look forged. A file of an earlier version names no
    log.
    """
    Keys.create(tmp_path / "keys")
    Keys.create(tmp_path / "other")
    file = tmp_path / "keys" / TOKENS_FILE
    own = json.loads(file.read_bytes())
    replace_file(file, (tmp_path / "other" / TOKENS_FILE).read_bytes(), private=True)
    with pytest.raises(KeysError) as caught:
        Keys.load(tmp_path / "keys")
    assert caught.value.code == "keys.mixed"
    assert "newest backup" in (caught.value.hint or "")
    del own["log"]
    replace_file(file, json.dumps(own).encode(), private=True)
    assert Keys.load(tmp_path / "keys").secrets.log == ""


def test_a_file_that_is_overwritten_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key was just destroyed in the old file, so its content is zeros."""
    folder = tmp_path / "keys"
    secrets = Keys.create(folder).secrets.prepared()
    read = log_key.read_key
    zeros = iter([b"\0" * 100])

    def raced(path: Path) -> bytes:
        old = next(zeros, None) if path.name == TOKENS_FILE else None
        if old is None:
            return read(path)
        replace_file(path, secrets.text(), private=True)
        return old

    monkeypatch.setattr(log_key, "read_key", raced)
    assert Keys.load(folder).secrets == secrets


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    Keys.create(tmp_path / "keys")
    (tmp_path / "keys" / TOKENS_FILE).chmod(0o640)
    with pytest.raises(KeysError) as caught:
        Keys.load(tmp_path / "keys")
    assert caught.value.code == "keys.exposed"
    assert caught.value.hint == f"chmod 600 {tmp_path / 'keys' / TOKENS_FILE}"


def test_open_keys_take_up_a_new_epoch_or_go_on_with_the_old_one(tmp_path: Path) -> None:
    """New sessions use the new key; if the file can't be read, nothing changes."""
    folder = tmp_path / "keys"
    keys = Keys.create(folder)
    before = keys.tenant("acme")
    secrets = keys.secrets
    for damage in (b"{}", secrets.text().replace(b"2", b"3"), TokenSecrets.new().text()):
        replace_file(folder / TOKENS_FILE, damage, private=True)
        assert keys.tenant("acme") is before
    replace_file(folder / TOKENS_FILE, secrets.prepared().text(), private=True)
    assert keys.tenant("acme").kid == before.kid
    replace_file(folder / TOKENS_FILE, secrets.prepared().advanced().text(), private=True)
    after = keys.tenant("acme")
    assert after.kid != before.kid
    assert before.value_token("contact", "x").split(":")[2] == before.kid
    (folder / TOKENS_FILE).unlink()
    assert keys.tenant("acme") is after


def test_no_key_is_in_a_repr_a_pickle_or_a_copy_of_its_text(tmp_path: Path) -> None:
    """Of any object that holds one."""
    keys = Keys.create(tmp_path / "keys")
    secrets = keys.secrets
    forms = [key.hex() for key in (secrets.master, secrets.epoch.key)]
    forms += [repr(key)[2:-1] for key in (secrets.master, secrets.epoch.key)]
    tenant = keys.tenant("acme")
    tenant.value_token("contact", "x")
    for each in (keys, secrets, secrets.epoch, tenant):
        shown = f"{each!r} {each} {vars(each) if hasattr(each, '__dict__') else ''}"
        assert not any(form in shown for form in forms)
        with pytest.raises(TypeError):
            pickle.dumps(each)
        with pytest.raises(TypeError):
            copy.deepcopy(each)
