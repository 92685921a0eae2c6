"""Folders of policies: nothing that OPA would load is left out in silence."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import Denied, Guard
from guardrail.errors import GuardrailError, PolicyLoadError
from guardrail.policy import folder as folders
from guardrail.policy.sources import installed_folder, load_policies
from tests.support.policies import ALLOW, codes, write
from tests.support.rego.comparison import find_opa

DENY = 'package guardrail.policy\n\ndeny contains "d" if input.action.properties.args.s == "bad"\n'

UNPRIVILEGED = """
import ctypes, os, sys
from pathlib import Path
from guardrail.errors import PolicyLoadError
from guardrail.policy.sources import load_policies
# Without capabilities the bits of a file's mode count for root as well.
head = (ctypes.c_uint32 * 2)(0x20080522, 0)
none = (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None, use_errno=True).capset(head, none) == 0
try:
    load_policies([Path(sys.argv[1])])
except PolicyLoadError as error:
    print(*sorted(f"{finding.code}:{finding.file}:{bool(finding.hint)}" for finding in error.findings))
    print(*(f"{finding.message} => {finding.hint}" for finding in error.findings), sep="\\n")
"""
"""Loads a folder as a user for whom modes count, whoever runs the test."""


def refused(folder: Path) -> list[str]:
    """Return the codes with which *folder* is refused."""
    with pytest.raises(PolicyLoadError) as caught:
        load_policies([folder])
    return codes(list(caught.value.findings))


def keys(folder: Path) -> list[str]:
    """Return the keys of the authors' modules in *folder*."""
    return [source.key for source in load_policies([folder]).modules if not source.installed]


def test_a_linked_folder_of_deny_rules_is_loaded(tmp_path: Path) -> None:
    """OPA follows the link, and so does a guard: the deny rule fires."""
    write(tmp_path, {"policies/a.rego": 'package guardrail.policy\n\nallow contains "any"\n'})
    write(tmp_path / "org", {"deep/deny.rego": DENY})
    (tmp_path / "policies" / "org").symlink_to(tmp_path / "org")
    (tmp_path / "linked").symlink_to("policies")
    ran: list[object] = []
    with (
        Guard.open(policies=tmp_path / "linked", ledger=tmp_path / "audit.db") as guard,
        guard.session(principal="alice"),
    ):
        guard.call("t", {"s": "good"}, run=lambda **given: ran.append(given))
        with pytest.raises(Denied):
            guard.call("t", {"s": "bad"}, run=lambda **given: ran.append(given))
    assert len(ran) == 1
    assert keys(tmp_path / "policies") == ["a.rego", "org/deep/deny.rego"]


def test_a_folder_linked_twice_is_loaded_once_and_its_data_at_both_places(tmp_path: Path) -> None:
    """A module says the same twice; data has a place, and rules may read either."""
    write(tmp_path, {"p/a.rego": ALLOW, "org/deny.rego": DENY, "org/data.json": '{"k": 1}'})
    for name in ("x", "y"):
        (tmp_path / "p" / name).symlink_to(tmp_path / "org")
    assert keys(tmp_path / "p") == ["a.rego", "x/deny.rego"]
    loaded = json.loads(load_policies([tmp_path / "p"]).data)
    assert loaded == {"x": {"k": 1}, "y": {"k": 1}}


def test_a_test_that_links_to_a_module_does_not_take_it_away(tmp_path: Path) -> None:
    """The module is loaded as a module, whichever name comes first."""
    write(tmp_path, {"z.rego": ALLOW})
    (tmp_path / "a_test.rego").symlink_to("z.rego")
    assert keys(tmp_path) == ["z.rego"]


@pytest.mark.parametrize("target", [".", "..", "../..", "/"])
def test_a_link_back_up_is_refused(tmp_path: Path, target: str) -> None:
    """It has no end."""
    write(tmp_path, {"p/q/a.rego": ALLOW})
    (tmp_path / "p" / "q" / "up").symlink_to(target)
    assert refused(tmp_path / "p") == ["loop"]


def test_two_links_to_each_others_folders_are_refused(tmp_path: Path) -> None:
    """Neither is above the other, and together they have no end."""
    write(tmp_path, {"p/a.rego": ALLOW, "x/x.rego": DENY, "y/y.rego": DENY})
    (tmp_path / "p" / "x").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "x").symlink_to(tmp_path / "x")
    assert refused(tmp_path / "p") == ["loop"]


@pytest.mark.parametrize("target", ["gone", "b"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, target: str) -> None:
    """It may have led to a folder of deny rules: a mount that is missing today."""
    write(tmp_path, {"a.rego": ALLOW})
    (tmp_path / "b").symlink_to(target)
    assert refused(tmp_path) == ["unreadable"]


@pytest.mark.parametrize("closed", ["org", "org/deny.rego", ".org", "."])
def test_what_can_not_be_read_is_refused(tmp_path: Path, closed: str) -> None:
    """A folder or file that this user may not read is no empty one, also where it is hidden."""
    write(tmp_path, {"p/a.rego": ALLOW, "p/org/deny.rego": DENY, "p/.org/x": ""})
    path = tmp_path / "p" / closed
    path.chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(tmp_path / "p")],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        path.chmod(0o700)
    assert f"unreadable:{path}:True" in done.stdout.split()
    owner = pwd.getpwuid(path.stat().st_uid).pw_name
    assert f"{path} belongs to {owner} (mode 0)" in done.stdout
    assert str(path) in done.stdout.rpartition("=>")[2]


def test_a_folder_that_vanishes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload keeps the policies that it has."""
    write(tmp_path, {"policies/a.rego": 'package guardrail.policy\n\nallow contains "any"\n'})
    org = write(tmp_path / "policies" / "org", {"deny.rego": DENY})
    listdir = os.listdir

    def vanishing(path: Path) -> list[str]:
        if path == org and org.exists():
            (org / "deny.rego").unlink()
            org.rmdir()
        return listdir(path)

    with Guard.open(policies=tmp_path / "policies", ledger=tmp_path / "audit.db") as guard:
        monkeypatch.setattr(folders.os, "listdir", vanishing)
        with pytest.raises(GuardrailError):
            guard.reload()
        with guard.session(principal="alice"), pytest.raises(Denied):
            guard.call("t", {"s": "bad"}, run=lambda **_: None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".deny.rego", DENY),
        ("..deny.rego", DENY),
        (".org/deny.rego", DENY),
        ("org/.x/y/deny.REGO", DENY),
        (".org/data.json", '{"k": 1}'),
        ("..2026/deny.rego", DENY),
    ],
)
def test_a_hidden_policy_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """OPA loads it, so leaving it out in silence would lose its rules."""
    write(tmp_path, {"a.rego": ALLOW, name: text})
    assert refused(tmp_path) == ["hidden"]


def test_hidden_files_that_no_bundle_has_are_left_out(tmp_path: Path) -> None:
    """Version control, editors and linters keep their own files there."""
    write(
        tmp_path,
        {
            "a.rego": ALLOW,
            ".git/config": "x",
            ".vscode/settings.json": "{}",
            ".regal/config.yaml": "a: 1",
            ".manifest": "{}",
            ".a.rego.swp": "x",
        },
    )
    (tmp_path / ".#a.rego").symlink_to("alice@host.123:456")
    assert keys(tmp_path) == ["a.rego"]


@pytest.mark.parametrize("name", ["deny.REGO", "Deny.Rego", "more/data.JSON", "org.tar.gz"])
def test_a_file_that_looks_like_policy_is_not_left_out(tmp_path: Path, name: str) -> None:
    """An author expects it to count, and OPA loads bundles from a folder."""
    write(tmp_path, {"a.rego": ALLOW, name: "x"})
    assert refused(tmp_path) == ["not-read"]


def test_a_fifo_in_the_place_of_a_module_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody waits for it."""
    write(tmp_path, {"a.rego": ALLOW})
    os.mkfifo(tmp_path / "b.rego")
    assert refused(tmp_path) == ["unreadable"]


def config_map(folder: Path, files: dict[str, str], stamp: str = "..2026_11_29_01") -> Path:
    """Make *folder* look like a ConfigMap that Kubernetes mounted."""
    write(folder / stamp, files)
    (folder / "..data").symlink_to(stamp)
    for name in {name.split("/")[0] for name in files}:
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def test_a_mounted_config_map_is_loaded_once(tmp_path: Path) -> None:
    """Kubernetes shows each file through two links, and keeps an older copy for a moment."""
    files = {"a.rego": ALLOW, "deny.rego": DENY, "data.json": '{"k": 1}', "org/b.rego": ALLOW}
    folder = config_map(tmp_path, files)
    write(folder / "..2026_11_28_01", {"a.rego": ALLOW})
    assert keys(folder) == ["a.rego", "deny.rego", "org/b.rego"]
    assert json.loads(load_policies([folder]).data) == {"k": 1}


def test_a_config_map_with_a_policy_that_no_name_shows_is_refused(tmp_path: Path) -> None:
    """Kubernetes makes a name for each file."""
    folder = config_map(tmp_path, {"a.rego": ALLOW, "deny.rego": DENY})
    (folder / "deny.rego").unlink()
    assert refused(folder) == ["hidden"]


def test_a_config_map_that_is_exchanged_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one version and half of another is neither."""
    folder = config_map(tmp_path, {"a.rego": ALLOW, "b/deny.rego": DENY})
    write(folder / "..new", {"a.rego": ALLOW, "b/deny.rego": DENY})
    listdir = os.listdir

    def exchanging(path: Path) -> list[str]:
        if path == folder / "b":
            (folder / "..data_tmp").symlink_to("..new")
            (folder / "..data_tmp").replace(folder / "..data")
        return listdir(path)

    monkeypatch.setattr(folders.os, "listdir", exchanging)
    assert refused(folder) == ["changed"]


@pytest.mark.parametrize(("limit", "value"), [("MAX_ENTRIES", 20), ("MAX_DEPTH", 3)])
def test_folders_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """Links that double the folders at each step end at a number of names, folders at a depth."""
    write(tmp_path, {"p/a.rego": ALLOW, "end/b.rego": ALLOW})
    last = tmp_path / "end"
    for step in range(5):
        here = tmp_path / f"step{step}"
        here.mkdir()
        for name in ("x", "y"):
            (here / name).symlink_to(last)
        last = here
    (tmp_path / "p" / "z").symlink_to(last)
    monkeypatch.setattr(folders, limit, value)
    assert refused(tmp_path / "p") == ["too-many" if limit == "MAX_ENTRIES" else "too-deep"]


def test_installed_policies_that_are_missing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The composition without the library would be another one."""
    write(tmp_path / "own", {"guardrail/main.rego": ALLOW})
    monkeypatch.setattr("guardrail.policy.sources.installed_folder", lambda: tmp_path / "own")
    assert refused(write(tmp_path / "p", {"a.rego": ALLOW})) == ["not-installed"]
    assert (installed_folder() / "lib").is_dir()


NAMES = st.sampled_from(["a", "b", ".h", "..k", "x.rego", ".y.rego", "t.REGO", "data.json"])
TREES = st.recursive(
    st.sampled_from(["module", "link", "up", "gone"]),
    lambda below: st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)


def _grow(here: Path, tree: object, org: Path, count: list[int]) -> None:
    if isinstance(tree, dict):
        here.mkdir()
        for name, below in tree.items():
            _grow(here / name, below, org, count)
    elif tree == "module":
        count[0] += 1
        name = here.name.lower()
        text = (
            f'{{"d{count[0]}": 1}}' if name == "data.json" else f"package x\n\nr{count[0]} := 1\n"
        )
        here.write_text(text)
    else:
        here.symlink_to({"link": org, "up": "..", "gone": "nowhere"}[str(tree)])


def _leads_up(tree: object) -> bool:
    if isinstance(tree, dict):
        return any(_leads_up(below) for below in tree.values())
    return tree == "up"


@pytest.mark.skipif(find_opa() is None, reason="NOT RUN: no opa (set GUARDRAIL_OPA)")
@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(NAMES, TREES, min_size=1, max_size=4))
def test_opa_loads_no_rule_of_a_folder_that_guardrail_left_out(tree: dict[str, object]) -> None:
    """For any folder: what a real OPA loads is loaded here, or the folder is refused."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        write(root / "org", {"deny.rego": "package x\n\norg := 1\n"})
        _grow(root / "p", tree, root / "org", [0])
        write(root / "p", {"z.rego": "package x\n"})
        program = find_opa()
        assert program is not None
        try:
            loaded = load_policies([root / "p"])
        except PolicyLoadError:
            return
        if _leads_up(tree):
            return  # OPA follows such a link until memory ends, also one that is skipped here
        done = subprocess.run(
            [program, "eval", "-f", "json", "-d", str(root / "p"), "data.x"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        answer = json.loads(done.stdout)
        if "errors" in answer:
            return  # a hidden link that leads nowhere
        rules = answer["result"][0]["expressions"][0]["value"] if answer.get("result") else {}
        texts = "".join(source.text for source in loaded.modules if not source.installed)
        assert all(f"{rule} := 1" in texts for rule in rules)
