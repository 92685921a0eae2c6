"""Policies and data as files: what is read, what is refused, what the digest covers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from guardrail.errors import PolicyLoadError
from guardrail.policy import sources
from guardrail.policy.sources import installed_folder, load_policies
from tests.support.policies import ALLOW, codes, write


def refused(folder: Path, **options: object) -> list[str]:
    """Return the codes with which *folder* is refused."""
    with pytest.raises(PolicyLoadError) as caught:
        load_policies([folder], **options)  # type: ignore[arg-type]
    return codes(list(caught.value.findings))


def test_modules_and_tests_are_kept_apart(tmp_path: Path) -> None:
    """Tests are not part of what decides."""
    write(tmp_path, {"a.rego": ALLOW, "a_test.rego": "package guardrail.policy_test\n"})
    loaded = load_policies([tmp_path])
    assert [source.key for source in loaded.tests] == ["a_test.rego"]
    assert "a.rego" in [source.key for source in loaded.modules]


OWN = ["guardrail:guardrail/main.rego", "guardrail:guardrail/policy.rego"]


def installed(folder: Path, files: dict[str, str]) -> list[str]:
    """Return the keys of guardrail's own modules that are loaded with *files*."""
    return [s.key for s in load_policies([write(folder, files)]).modules if s.installed]


def test_the_composition_is_always_loaded(tmp_path: Path) -> None:
    """Authors can't leave it out."""
    assert installed(tmp_path, {"a.rego": ALLOW}) == OWN


@pytest.mark.parametrize("form", ["data.guardrail.lib.session.calls", "lib\n\t. session"])
def test_the_modules_of_the_library_that_policies_use_are_loaded(tmp_path: Path, form: str) -> None:
    """With the modules that these use."""
    found = installed(tmp_path, {"a.rego": f"{ALLOW}# {form}\n"})
    assert found == [*OWN, "guardrail:lib/identity.rego", "guardrail:lib/session.rego"]
    assert installed(tmp_path, {"a.rego": ALLOW, "a_test.rego": form}) == found


@pytest.mark.parametrize(
    "form",
    [
        "import data.guardrail.lib",
        "import data.guardrail.lib as l",
        "data.guardrail.lib[x]",
        'data.guardrail["lib"]["mail"]',
        "data.guardrail[x].mail",
        'data["guardrail"]["lib"].mail',
        "data[x].y",
    ],
)
def test_a_computed_reference_loads_the_whole_library(tmp_path: Path, form: str) -> None:
    """It could lead to any module."""
    found = installed(tmp_path, {"a.rego": f"{ALLOW}# {form}\n"})
    every = {source.key for source in sources.installed_modules()}
    assert set(found) == every


def test_the_digest_is_the_same_in_another_folder(tmp_path: Path) -> None:
    """It covers names below the folder and bytes, not where the folder is."""
    one = load_policies([write(tmp_path / "one", {"a.rego": ALLOW, "b/c.rego": ALLOW})])
    two = load_policies([write(tmp_path / "two", {"b/c.rego": ALLOW, "a.rego": ALLOW})])
    assert one.digest == two.digest
    assert len(one.digest) == 64


@pytest.mark.parametrize(
    "files",
    [{"a.rego": ALLOW + "# x\n"}, {"b.rego": ALLOW}, {"a.rego": ALLOW, "b.rego": ALLOW}],
    ids=["bytes", "name", "one more"],
)
def test_the_digest_changes_with_every_change(tmp_path: Path, files: dict[str, str]) -> None:
    """Another byte, name or file is another policy."""
    before = load_policies([write(tmp_path / "before", {"a.rego": ALLOW})]).digest
    assert load_policies([write(tmp_path / "after", files)]).digest != before


def test_tests_and_data_do_not_change_the_digest_of_modules(tmp_path: Path) -> None:
    """Data has a digest of its own, and tests decide nothing."""
    plain = load_policies([write(tmp_path / "plain", {"a.rego": ALLOW})])
    more = load_policies(
        [
            write(
                tmp_path / "more",
                {
                    "a.rego": ALLOW,
                    "data.json": '{"x": 1}',
                    "a_test.rego": "package guardrail.policy_test\n",
                },
            )
        ]
    )
    assert more.digest == plain.digest
    assert more.data_digest != plain.data_digest


def test_data_is_placed_by_its_folder(tmp_path: Path) -> None:
    """As an OPA bundle does it."""
    write(tmp_path, {"a.rego": ALLOW, "data.json": '{"x": 1}', "y/z/data.json": '{"w": 2}'})
    loaded = load_policies([tmp_path], data={"more": [3]})
    assert json.loads(loaded.data) == {"x": 1, "y": {"z": {"w": 2}}, "more": [3]}


def test_data_at_one_place_twice_is_refused(tmp_path: Path) -> None:
    """Which one wins would depend on the order of files."""
    write(tmp_path, {"a.rego": ALLOW, "data.json": '{"y": {"z": 1}}', "y/data.json": '{"z": 1}'})
    assert refused(tmp_path) == ["data-conflict"]
    (tmp_path / "y" / "data.json").unlink()
    assert refused(tmp_path, data={"y": 5}) == ["data-conflict"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[1]", "data-object"),
        ("{", "data-json"),
        ('{"a": NaN}', "data-json"),
        ('{"a": 1, "a": 2}', "data-json"),
        ('{"a": 18446744073709551616}', "integer-range"),
        ('{"a": 1e0}', "exponent"),
        ('{"a": [{"b": 10E-1}]}', "exponent"),
        ('{"a": -0e0}', "exponent"),
        ('{"a": [-9223372036854775809]}', "integer-range"),
        ('{"a": "\\ud800"}', "data-text"),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "data-depth"),
    ],
)
def test_data_that_engines_would_read_differently_is_refused(
    tmp_path: Path, text: str, code: str
) -> None:
    """Not JSON, repeated keys, numbers beyond 64 bits, half characters, depth."""
    write(tmp_path, {"a.rego": ALLOW, "data.json": text})
    assert refused(tmp_path) == [code]


def test_the_largest_integers_are_taken(tmp_path: Path) -> None:
    """Both ends of what the engine holds exactly."""
    write(
        tmp_path,
        {"a.rego": ALLOW, "data.json": '{"a": [18446744073709551615, -9223372036854775808]}'},
    )
    assert "18446744073709551615" in load_policies([tmp_path]).data


def test_what_is_wrong_is_said_all_at_once(tmp_path: Path) -> None:
    """One run shows every file that needs work."""
    write(tmp_path, {"data.json": "[", "x/data.yaml": "a: 1\n"})
    (tmp_path / "b.rego").write_bytes(b"package \xff\n")
    assert sorted(refused(tmp_path)) == ["data-json", "encoding", "format"]


@pytest.mark.parametrize("name", ["blocked.json", "shop/blocked.yaml", "shop/x.yml"])
def test_a_data_file_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    """Left out in silence, ``data.blocked`` would be undefined and no deny rule that reads it would
    fire.
    """
    write(tmp_path, {"a.rego": ALLOW, name: "{}", "README.md": "notes", "shop/notes.txt": "x"})
    with pytest.raises(PolicyLoadError) as caught:
        load_policies([tmp_path])
    (finding,) = caught.value.findings
    assert finding.code == "not-read"
    assert f"{name.rsplit('.', 1)[0]}/data.json" in finding.hint


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    """A misspelt folder is not an empty policy."""
    assert refused(tmp_path / "nowhere") == ["missing"]


def test_a_folder_without_modules_is_refused(tmp_path: Path) -> None:
    """It would deny everything, which nobody wants by accident."""
    assert refused(tmp_path) == ["no-policies"]


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A folder in the place of a module can't be read by anyone, root included."""
    write(tmp_path, {"a.rego": ALLOW})
    (tmp_path / "b.rego").symlink_to(tmp_path / "gone.rego")
    assert refused(tmp_path) == ["unreadable"]


def test_large_files_and_many_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caps on size and count."""
    write(tmp_path, {"a.rego": ALLOW + "#" * sources.MAX_FILE})
    assert refused(tmp_path) == ["too-large"]
    write(tmp_path, {f"{index}.rego": ALLOW for index in range(5)} | {"a.rego": ALLOW})
    monkeypatch.setattr(sources, "MAX_REGO", 3 * len(ALLOW))
    with pytest.raises(PolicyLoadError) as caught:
        load_policies([tmp_path])
    # One finding, about the first file that is too much.
    [only] = caught.value.findings
    assert (Path(only.file).name, only.code) == ("3.rego", "too-large")
    assert "all modules and tests together" in only.message
    assert "data.json" in only.hint
    monkeypatch.setattr(sources, "MAX_FILES", 3)
    write(tmp_path, {f"{index}.rego": ALLOW for index in range(5)})
    assert "too-many" in refused(tmp_path)


def test_a_file_is_read_once_however_often_it_is_named(tmp_path: Path) -> None:
    """Overlapping paths are no conflict."""
    write(tmp_path, {"a.rego": ALLOW, "data.json": '{"x": 1}'})
    loaded = load_policies([tmp_path, tmp_path / "a.rego", tmp_path / "data.json"])
    assert sum(not source.installed for source in loaded.modules) == 1


def test_the_installed_composition_is_not_taken_for_an_authors(tmp_path: Path) -> None:
    """The project's own folder of policies holds it; loading that folder does not load it twice."""
    loaded = load_policies([installed_folder() / "starter", installed_folder() / "guardrail"])
    assert sum(source.text.startswith("# The composition") for source in loaded.modules) == 1


def test_a_change_on_disk_does_not_reach_what_was_loaded(tmp_path: Path) -> None:
    """Read once."""
    loaded = load_policies([write(tmp_path, {"a.rego": ALLOW})])
    before = loaded.digest
    os.remove(tmp_path / "a.rego")
    assert any(source.text == ALLOW for source in loaded.modules)
    assert loaded.digest == before
