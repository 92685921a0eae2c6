"""Policies as the files that keep them, and back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import PolicyLoadError
from guardrail.policy.kept_sources import NO_DATA, data_bytes, module_bytes, restore
from guardrail.policy.source_bytes import from_bytes, to_bytes
from guardrail.policy.sources import load_policies

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_bytes_hold_every_key_and_text(modules: list[tuple[str, str]]) -> None:
    assert from_bytes(to_bytes(modules)) == modules


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_or_are_the_only_form_of_their_modules(content: bytes) -> None:
    try:
        modules = from_bytes(content)
    except ValueError:
        return
    assert to_bytes(modules) == content


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3), st.data())
def test_a_part_of_the_bytes_is_not_read_as_the_same_modules(
    modules: list[tuple[str, str]], data: st.DataObject
) -> None:
    content = to_bytes(modules)
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    try:
        found = from_bytes(cut)
    except ValueError:
        return
    assert found != modules


def test_policies_are_restored_with_their_digests(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text('package guardrail.policy\n\nallow contains "ä" if true\n')
    (tmp_path / "a_test.rego").write_text("package guardrail.policy_test\n")
    (tmp_path / "data.json").write_text('{"n": 1.5, "ä": [1, 2]}')
    loaded = load_policies([tmp_path], data={"more": {"x": 1}})
    modules, data = module_bytes(loaded), data_bytes(loaded)
    assert hashlib.sha256(modules).hexdigest() == loaded.digest
    assert hashlib.sha256(data).hexdigest() == loaded.data_digest
    again = restore(modules, data)
    assert (again.digest, again.data_digest, again.data) == (
        loaded.digest,
        loaded.data_digest,
        loaded.data,
    )
    assert [(each.key, each.text, each.installed) for each in again.modules] == [
        (each.key, each.text, each.installed) for each in loaded.modules
    ]
    assert again.tests == ()


def test_policies_without_data_have_the_empty_document(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("package guardrail.policy\n")
    assert data_bytes(load_policies([tmp_path])) == NO_DATA


def test_a_file_that_holds_no_policies_is_refused() -> None:
    with pytest.raises(PolicyLoadError, match="not a stored policy file"):
        restore(b"5:abc", NO_DATA)
    with pytest.raises(PolicyLoadError, match="not a stored policy file"):
        restore(b"1:a1:\xff", NO_DATA)
