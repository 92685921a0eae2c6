"""Ids that can be confused with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from guardrail.core import look_alikes
from guardrail.core.look_alikes import look_alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bot-1", "bot\u20111"),
        ("bot-1", "bot\u22121"),
        ("bob", "\u042cob"),
        ("bob", "\u0299ob"),
        ("clara", "c\u029fara"),
        ("kim", "\u1d0bim"),
        ("kim", "\u0138im"),
        ("nora", "\u0274ora"),
        ("bob", "\u044cob"),
        ("BOB", "\u044cob"),
        ("gina", "\u0261ina"),
        ("alice", "aIice"),
        ("alice", "a1ice"),
        ("alice", "al\u0456ce"),
        ("user0", "userO"),
        ("modern", "modem"),
        ("vvalter", "walter"),
        ("vvv", "wv"),
        ("vvv", "vw"),
        ("VVALTER", "\u0461alter"),
        ("clara", "dara"),
        ("c1ara", "Dara"),
        ("cIara", "dara"),
        ("r\u0578a", "ma"),
        ("\U00011700ary", "mary"),
        ("c\ua4f2ara", "\u0501ara"),
        ("claernon", "daemon"),
        ("alice@example.com", "alice@example\u3002com"),
        ("alice@example.com", "alice@example\uff61com"),
        ("alice@example.com", "alice@example\uff0ecom"),
        ("\u044bob", "blob"),
        ("alice@example.com", "alice@example\ua4f8com"),
        ("alice", " ALICE\u200b"),
    ],
)
def test_ids_that_look_alike_are_recognised_in_both_directions(one: str, other: str) -> None:
    assert look_alike(one, other)
    assert look_alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "bob"),
        ("anna", "hanna"),
        ("bob", "rob"),
        ("user1", "user2"),
        ("clara", "cara"),
        ("walter", "valter"),
        ("martin", "nartin"),
        ("alice@example.com", "alice@example.org"),
        ("\u042e\u0440\u0438\u0439", "\u041e\u043b\u044c\u0433\u0430"),
        ("jos\xe9", "jose"),
        ("", ""),
        ("\u200b", "\u200d"),
        ("", "alice"),
    ],
)
def test_other_ids_are_not_confused(one: str, other: str) -> None:
    assert not look_alike(one, other)


def test_every_character_of_the_tables_is_confused_with_its_ascii_characters() -> None:
    seen: set[str] = set()
    for plain, others in (look_alikes.LOOKS_LIKE | look_alikes.LOOKS_LIKE_SEVERAL).items():
        for each in others:
            assert not each.isascii()
            assert look_alike(f"a{plain}z", f"a{each}z"), ascii(each)
        assert not seen.intersection(others)
        seen.update(others)
    assert len(seen) > 500


def test_the_licence_of_the_data_is_distributed_with_it() -> None:
    root = Path(look_alikes.__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert "Unicode-3.0" in project["license"]
    (name,) = [each for each in project["license-files"] if "UNICODE" in each]
    assert "UNICODE LICENSE V3" in (root / name).read_text("utf-8")
