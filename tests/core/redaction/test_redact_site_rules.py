"""The rules that a site adds in ``[redaction]``: further names of keys, and patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail.config import RedactionSettings, Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.core.redaction.session_memory import Memory
from guardrail.errors import ConfigError
from guardrail.keys.log_key import Keys
from guardrail.keys.tenant_keys import TenantKeys

KEYS = Keys.ephemeral().tenant("default")

KEYS = TenantKeys(b"\x02" * 32, "default")


def rules(text: str, folder: Path) -> Rules:
    path = folder / "guardrail.toml"
    path.write_text(text)
    path.chmod(0o600)
    return redaction_rules(Settings.load(path).redaction)


def view(args: dict[str, Any], used: Rules) -> tuple[object, dict[str, list[str]]]:
    redactor = Redactor(token=KEYS.value_token, mark=KEYS.mark, rules=used)
    found = redactor.inspect(args, schema=None, declared=True, memory=Memory()).view()
    return found.value, found.removed


SITE = """
[redaction.keys]
employee = ["locker_no", "desk number"]
secret = "door code"

[redaction.patterns]
employee = ['EMP-(?P<value>[0-9]{6})', 'é[0-9]{3}\\b']
secret = ['\\bzz[a-z]{8}\\b']
"""


@pytest.mark.parametrize(
    "key", ["locker_no", "lockerNo", "employee-locker-no", "LOCKER_NO", "Desk Number"]
)
def test_a_name_is_found_in_every_spelling(key: str, tmp_path: Path) -> None:
    value, removed = view({key: "4711", "staff": "4711"}, rules(SITE, tmp_path))
    assert removed == {f"/{key}": ["employee", "key:employee"]}
    assert str(value[key]).startswith("gr1:employee:")  # type: ignore[index]
    assert value["staff"] == "4711"  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("locker no: 4711, ok", "4711"),
        ("employeeLockerNo=A77&x=1", "A77"),
        ("the LOCKER_NO is 4711.", "4711"),
        ("desk-number 12b", "12b"),
        ("{'door code': 'open sesame'}", "open sesame"),
        ('doorCode="open sesame"', "open sesame"),
    ],
)
def test_a_name_is_found_in_a_text_before_its_value(text: str, value: str, tmp_path: Path) -> None:
    shown, removed = view({"t": text}, rules(SITE, tmp_path))
    assert value not in str(shown)
    assert "site" in "+".join(removed["/t"])


@pytest.mark.parametrize(
    "text", ["the locker no is unknown", "door code: $CODE", "no locker", "relocker noble 5"]
)
def test_a_name_without_a_value_stays_in_a_text(text: str, tmp_path: Path) -> None:
    assert view({"t": text}, rules(SITE, tmp_path))[0] == {"t": text}


def test_a_name_without_letters_and_digits_is_found_nowhere() -> None:
    assert view({"t": "x = 5"}, Rules({"-": "secret"}))[0] == {"t": "x = 5"}


def test_the_strictest_class_wins_and_all_rules_are_named(tmp_path: Path) -> None:
    used = rules('[redaction.keys]\nopaque = "iban"\nsecret = "first name"\n', tmp_path)
    _, removed = view({"iban": "x1", "first_name": "Ana"}, used)
    assert removed["/iban"] == ["payment", "key:payment", "key:opaque"]
    assert removed["/first_name"] == ["secret", "key:name", "key:secret"]


def test_a_pattern_removes_its_group_and_keeps_the_rest(tmp_path: Path) -> None:
    value, removed = view({"note": "ask EMP-123456, not EMP-12345 é777"}, rules(SITE, tmp_path))
    text = value["note"]  # type: ignore[index]
    assert text.startswith("ask EMP-gr1:employee:")
    assert ", not EMP-12345 gr1:employee:" in text
    assert removed == {"/note": ["employee", "detector:site"]}


def test_patterns_apply_to_keys_json_strings_results_and_messages(tmp_path: Path) -> None:
    used = rules(SITE, tmp_path)
    value, _ = view({"EMP-123456": 1, "body": '{"a": [{"b": "EMP-123456"}]}'}, used)
    redactor = Redactor(token=KEYS.value_token, mark=KEYS.mark, rules=used)
    result = redactor.result(["EMP-123456"], log_output=True, memory=Memory())
    message = redactor.error(ValueError("no EMP-123456"), Memory())
    assert "123456" not in f"{value}{result}{message}{redactor.text('EMP-123456', Memory())}"
    assert redactor.gate(["EMP-123456"], Memory()) == "employee"


def test_identities_lose_only_secrets(tmp_path: Path) -> None:
    redactor = Redactor(token=KEYS.value_token, mark=KEYS.mark, rules=rules(SITE, tmp_path))
    assert redactor.identity("EMP-123456") == "EMP-123456"
    assert "zzabcdefgh" not in redactor.identity("user zzabcdefgh")
    assert redactor.gate_identity(["zzabcdefgh"]) == "secret"


def test_each_text_is_searched_alone(tmp_path: Path) -> None:
    used = rules("[redaction.patterns]\nx = ['^ab$', 'q[^z]*z']\n", tmp_path)
    value, removed = view({"a": "ab", "b": "ab c", "c": "q1", "d": "2z"}, used)
    assert set(removed) == {"/a"}
    assert value["c"] == "q1"  # type: ignore[index]


def test_marks_are_not_searched(tmp_path: Path) -> None:
    used = rules("[redaction.patterns]\nx = ['gr1.*']\n", tmp_path)
    mark = KEYS.mark("secret")
    assert view({"a": mark}, used) == ({"a": mark}, {})


def test_records_name_the_rules(tmp_path: Path) -> None:
    one, other = rules(SITE, tmp_path), rules(SITE.replace("4711", "1"), tmp_path)
    assert one.profile == other.profile != BUILT_IN.profile == "standard/1"
    assert rules(SITE.replace("door", "gate"), tmp_path).profile != one.profile
    assert rules("", tmp_path) is BUILT_IN


def test_the_settings_digest_covers_the_rules_and_is_otherwise_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "guardrail.toml"
    path.write_text(SITE)
    path.chmod(0o600)
    assert Settings.load(path).digest(KEYS) != Settings().digest(KEYS)
    assert "keys" not in Settings().governed()["redaction"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[redaction.patterns]\nx = '('", "missing )"),
        ("[redaction.patterns]\nx = '(?=a)'", "invalid perl operator"),
        (r"[redaction.patterns]" + "\nx = '(a)\\1'", "invalid escape sequence"),
        ("[redaction.patterns]\nx = 'a*'", "it matches the empty text"),
        ("[redaction.patterns]\nx = '(a{1000}|b){1000}'", "repetition size"),
        ("[redaction.patterns]\n'X y' = 'a'", "can't be the name of a class"),
        ("[redaction.patterns]\nundeclared = 'a'", "can't be the name of a class"),
        ("[redaction.keys]\nx = '__'", "it contains no letter or digit"),
        ("[redaction.keys]\nx = 'a'\ny = 'a'", "it is already of class x"),
        ("[redaction]\nkeys = 'a'", "expected a table"),
        ("[redaction.keys]\nx = [1]", "expected a string, or a list of strings"),
        ("[redaction.patterns]\nx = 'a{900}'\ny = '" + "b" * 1001 + "'", "1000 characters"),
    ],
)
def test_bad_rules_are_refused_with_a_hint(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
        rules(text, tmp_path)
    assert caught.value.hint


def test_too_many_rules_are_refused() -> None:
    many = tuple(f"k{index}" for index in range(257))
    with pytest.raises(ConfigError, match="257 rules, and at most 256"):
        redaction_rules(RedactionSettings(keys=(("x", many),)))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    with pytest.raises(ConfigError) as caught:
        redaction_rules(RedactionSettings(patterns=(("missing", ("a",)),)))
    assert caught.value.hint == "pip install 'guardrail-ledger[patterns]'"


def test_a_costly_pattern_uses_up_the_budget_of_the_call(tmp_path: Path) -> None:
    """Each match may read the rest of the text, so the work is quadratic, and is counted."""
    used = rules("[redaction.patterns]\nx = ['a(.*b)?']\n", tmp_path)
    spent = 0

    def spend(units: int) -> None:
        nonlocal spent
        spent += units
        if spent > 1_000_000:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        used.scan("a" * 16_000, spend)


def test_a_mark_inside_a_text_is_not_searched_and_empty_matches_remove_nothing(
    tmp_path: Path,
) -> None:
    used = rules("[redaction.patterns]\nx = ['gr1.*', '\\bx*']\n", tmp_path)
    text = f"ab {KEYS.mark('secret')} xx"
    value, removed = view({"a": text}, used)
    assert str(value["a"]).startswith(text.removesuffix("xx"))  # type: ignore[index]
    assert removed == {"/a": ["x", "detector:site"]}


def test_names_are_classified_behind_a_full_cache_too(tmp_path: Path) -> None:
    """A caller chooses the names of keys, so only some of them are stored."""
    used = rules(SITE, tmp_path)
    for index in range(4_200):
        used.mark_of_key(f"n{index}")
    assert view({"door_code": "4711"}, used)[1] == {"/door_code": ["secret", "key:secret"]}


def test_a_pattern_applies_to_numbers_of_any_size(tmp_path: Path) -> None:
    """Built-in rules find nothing in a short integer, but a site may."""
    used = rules("[redaction.patterns]\nemployee = ['^-?77[0-9]{1,3}$']\n", tmp_path)
    numbers = {"a": 7712, "b": [77123, -770, 8812], "c": 770}
    value, removed = view(numbers, used)
    assert removed.keys() == {"/a", "/b/0", "/b/1", "/c"}
    assert value["b"][2] == 8812  # type: ignore[index,call-overload]
    assert view(numbers, Rules())[1] == {}


def test_a_group_that_matches_nothing_removes_the_whole_match(tmp_path: Path) -> None:
    """Otherwise, the pattern would match, and the value would stay."""
    used = rules("[redaction.patterns]\nemployee = ['EMP(?P<value>[0-9]*)-?']\n", tmp_path)
    assert "EMP" not in str(view({"a": "is EMP here"}, used)[0])
    assert "1234" not in str(view({"a": "is EMP1234 here"}, used)[0])
