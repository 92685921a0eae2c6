"""What ``init`` writes: settings that change nothing, policies, and no file overwritten."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from guardrail.authoring.scaffold import scaffold, settings_text
from guardrail.config import NO_SECTIONS, Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.errors import ConfigError


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    """A folder of policies to copy."""
    folder = tmp_path / "starter"
    (folder / "lib").mkdir(parents=True)
    (folder / "tools.rego").write_text("package guardrail.policy\n")
    (folder / "lib" / "x_test.rego").write_text("package guardrail.policy_test\n")
    (folder / "notes.txt").write_text("not a policy\n")
    return folder


def test_the_settings_file_changes_no_default(tmp_path: Path) -> None:
    """What is written out says what would hold without it."""
    path = tmp_path / "guardrail.toml"
    path.write_text(settings_text())
    loaded = Settings.load(path, environment={})
    expected = Settings().override(
        ledger={"path": tmp_path / "audit" / "ledger.db"},
        policy={"path": [tmp_path / "policies"]},
        proxy={"tools": tmp_path / "proxy-tools.json"},
    )
    assert replace(loaded, source=None) == expected


def test_every_setting_is_shown_with_what_it_means() -> None:
    """Every key stands there, and a commented one is right when its mark is taken away."""
    text = settings_text()
    for section in fields(Settings):
        if section.name in NO_SECTIONS:
            continue
        assert f"[{section.name}]" in text
        for item in fields(getattr(Settings(), section.name)):
            assert f"\n{item.name} = " in text or f"\n# {item.name} = " in text
            assert item.metadata["about"].split()[0] in text
    active = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.splitlines()
    )
    assert tomllib.loads(active)["policy"]["deadline_ms"] == Settings().policy.deadline_ms


def test_the_examples_of_site_rules_are_valid(tmp_path: Path) -> None:
    """A user can remove the mark of an example and of nothing else."""
    path = tmp_path / "guardrail.toml"
    text = settings_text()
    for key in ("keys", "patterns"):
        assert f"\n## {key} = {{employee = " in text
        text = text.replace(f"\n## {key} = ", f"\n{key} = ")
    path.write_text(text)
    rules = Settings.load(path).redaction
    assert [cls for cls, _ in (*rules.keys, *rules.patterns)] == ["employee", "employee"]
    redaction_rules(rules)


def test_a_project_holds_settings_policies_and_a_gitignore(tmp_path: Path, starter: Path) -> None:
    """Only Rego and data are copied; ledger and keys are kept out of the repository."""
    made = scaffold(tmp_path / "new", starter)
    assert sorted(str(path.relative_to(tmp_path / "new")) for path in made.written) == [
        "guardrail.toml",
        "policies/lib/x_test.rego",
        "policies/tools.rego",
    ]
    assert made.ignored == ("/audit/", "*.db", "*.db-*", "*.keys/")
    assert set(made.ignored) <= set((tmp_path / "new" / ".gitignore").read_text().splitlines())


@pytest.mark.parametrize("name", ["guardrail.toml", "policies/tools.rego"])
def test_nothing_is_written_where_a_file_is_in_the_way(
    tmp_path: Path, starter: Path, name: str
) -> None:
    """All or nothing, and the file in the way is named."""
    folder = tmp_path / "old"
    (folder / "policies").mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(ConfigError, match=name) as caught:
        scaffold(folder, starter)
    assert caught.value.code == "config.exists"
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / name]
    assert (folder / name).read_text() == "mine"


def test_a_dangling_link_in_the_way_is_not_followed(tmp_path: Path, starter: Path) -> None:
    """Nothing is written through a symbolic link to somewhere else, and nothing beside it."""
    folder = tmp_path / "old"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "tools.rego").symlink_to(tmp_path / "elsewhere.rego")
    with pytest.raises(ConfigError):
        scaffold(folder, starter)
    assert not (tmp_path / "elsewhere.rego").exists()
    assert not (folder / "guardrail.toml").exists()


def test_an_existing_gitignore_is_added_to_once(tmp_path: Path, starter: Path) -> None:
    """Lines that are there already are not repeated, and a missing line feed does not join two
    lines.
    """
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.db\nbuild")
    assert scaffold(folder, starter).ignored == ("/audit/", "*.db-*", "*.keys/")
    lines = (folder / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["*.db", "build"]
    assert lines.count("*.db") == 1


def test_an_installation_without_starter_policies_says_so(tmp_path: Path) -> None:
    """A project without a policy would deny everything with no reason."""
    with pytest.raises(ConfigError, match="starter policies are missing"):
        scaffold(tmp_path / "new", tmp_path / "nowhere")


def test_a_folder_that_can_not_be_written_is_an_error_of_ours(
    tmp_path: Path, starter: Path
) -> None:
    """A file where a folder should be is not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        scaffold(tmp_path / "file" / "new", starter)


@pytest.mark.parametrize("name", ["policies", ".gitignore", "guardrail.toml"])
def test_nothing_is_written_through_a_symbolic_link(
    tmp_path: Path, starter: Path, name: str
) -> None:
    """What somebody put into the folder must not lead the command out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / "victim"
    if name == "policies":
        target.mkdir()
    else:
        target.write_text("mine\n")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / name).symlink_to(target)
    with pytest.raises(ConfigError) as refused:
        scaffold(folder, starter)
    there = name == "guardrail.toml"
    assert refused.value.code == ("config.exists" if there else "config.linked")
    assert [each.name for each in folder.iterdir()] == [name]
    assert (list(target.iterdir()) == []) if name == "policies" else target.read_text() == "mine\n"
