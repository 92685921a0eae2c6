"""``policy check --fix``: changes that need no decision, and files that stay as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from guardrail.authoring.check import check, findings_of
from guardrail.authoring.fixes.run import FixReport, fix_policies
from guardrail.authoring.fixes.writing import replace_policy
from guardrail.errors import ConfigError
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import load_policies
from tests.support.lints import ALLOW, write
from tests.support.other_users import AGENT, needs_root, open_folder, python

P = "package guardrail.policy\n\n"
IF = 'if input.resource.id == "x"\n'
MECHANICAL: Mapping[str, tuple[str, str]] = {
    "default.rego": (
        f'{P}# why\ndefault hide := false # none\n\nhide contains "a" {IF}',
        f'{P}# why\n# none\n\nhide contains "a" {IF}',
    ),
    "text.rego": (f'{P}deny := "a # b" {IF}', f'{P}deny contains "a # b" {IF}'),
    "true.rego": (
        f"{P}deny = true {IF}\nrequire_approval {IF}\nrequire_approval := true {IF}",
        f"""{P}deny contains "deny-1" {IF}
require_approval contains "require-approval-1" {IF}
require_approval contains "require-approval-2" {IF}""",
    ),
    "name.rego": (
        f'{P}deny := why if {{\n\twhy := "ü" # ü\n}}\n',
        f'{P}deny contains why if {{\n\twhy := "ü" # ü\n}}\n',
    ),
    "time.rego": (
        f'{P}late if time.now_ns( ) > 5 # time.now_ns()\n\ntext := "time.now_ns()"\n',
        f"""{P}late if time.parse_rfc3339_ns(input.context.time) > 5 # time.now_ns()

text := "time.now_ns()"
""",
    ),
    "exponent.rego": (f'{P}n := [1e3, 15e-1, "1e3", 2.50e2]\n', f'{P}n := [1000, 15e-1, "1e3", 250]\n'),
    "keys.rego": (
        f'{P}deny contains {{\n\t"id": "k", # msg\n\t"msg": "msg",\n}} {IF}',
        f'{P}deny contains {{\n\t"rule": "k", # msg\n\t"message": "msg",\n}} {IF}',
    ),
    "needs.rego": (
        f'{P}redact contains "card" {IF}',
        f'{P}redact contains "/card" {IF}',
    ),
    "id.rego": (f'{P}deny contains "a\u200b\u202eb" {IF}', f'{P}deny contains "ab" {IF}'),
    "package.rego": (
        f'# x\npackage authz # y\n\ndeny contains "p" {IF}\nby_authz {IF}',
        f'# x\npackage guardrail.policy # y\n\ndeny contains "p" {IF}\nby_authz {IF}',
    ),
    "helper.rego": (
        "package team.helper\r\n\r\nh := 5\r\n",
        "package guardrail.policy.team.helper\r\n\r\nh := 5\r\n",
    ),
}  # fmt: skip
NOT_MECHANICAL: Mapping[str, str] = {
    # A set is always true where the rule was read.
    "read.rego": f"{P}deny {IF}\nspared if not deny\n",
    "read_default.rego": f"{P}default hide := false\n\nhide {IF}\nshown if not hide\n",
    "bracket.rego": f'{P}hide {IF}\nspared if data.guardrail.policy["hide"]\n',
    # Without it, calls are allowed.
    "stops.rego": f'{P}default require_approval := true\n\nrequire_approval contains "s" {IF}',
    # An approval would cover both rules.
    "same_id.rego": f'{P}redact contains "/a\u200b" {IF}\nredact contains "/a" {IF}',
    "else.rego": f"{P}require_approval {{\n\tfalse\n}} else := true\n",
    "value.rego": f"{P}allow := false {IF}",
    "function.rego": f"{P}redact(x) if x\n",
    # Its data or rules may be meant.
    "package.rego": "package authz\n\nx := data.authz.limit\n",
    "clash.rego": f'package other\n\nallow contains "b" if small\n\nsmall {IF}',
    "small.rego": f"{P}small if input.resource.id == 5\n",
    "both.rego": f'{P}allow contains {{"rule": "r", "message": "m", "msg": "x"}} {IF}',
}
OLD = """package guardrail.policy

# only a
default allow = false

allow {
  input.resource.id == "é" # why
}
"""
NEW = """package guardrail.policy

import rego.v1

# only a

allow contains "allow-1" if {
	input.resource.id == "é" # why
}
"""


def texts(folder: Path) -> dict[str, str]:
    """Return the text of each policy in *folder*."""
    return {path.name: path.read_bytes().decode() for path in sorted(folder.glob("*.rego"))}


def fix(
    folder: Path, *, opa: OpaProgram | None = None, serves: bool = False, dry_run: bool = False
) -> FixReport:
    """Fix the policies in *folder* as the command does."""
    serving = opa if serves else None
    return fix_policies(
        [folder],
        find=lambda changed: findings_of(changed, [folder], opa=serving),
        opa=opa,
        dry_run=dry_run,
    )


def put(folder: Path, files: Mapping[str, str]) -> Path:
    """Write *files* with the line breaks that they have."""
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def test_every_mechanical_finding_is_fixed(tmp_path: Path) -> None:
    """All at once, with comments and line breaks as they were; a second run changes nothing."""
    folder = put(tmp_path, {name: before for name, (before, _) in MECHANICAL.items()})
    before = check([folder])
    assert {each.file for each in before.fixable} == {str(folder / name) for name in MECHANICAL}
    report = fix(folder)
    assert texts(folder) == {name: after for name, (_, after) in sorted(MECHANICAL.items())}
    assert report.complete
    assert report.remaining == check([folder]).findings == ()
    assert {finding for file in report.files for finding in file.fixed} >= set(before.fixable)
    assert fix(folder).files == ()


def test_a_fixed_rule_whose_text_quotes_an_argument_is_warned_of(tmp_path: Path) -> None:
    """The same run of the command prints the warning."""
    body = 'deny := why if {\n\twhy := sprintf("no %v", [input.action.properties.args.x])\n}\n'
    folder = put(tmp_path, {"p.rego": P + body})
    assert fix(folder).complete
    assert (3, "input-in-head") in {(each.line, each.code) for each in check([folder]).lints}


def test_a_change_that_needs_a_decision_is_not_made(tmp_path: Path) -> None:
    """Nothing is written, and no hint says that it could be fixed."""
    folder = put(tmp_path, NOT_MECHANICAL)
    report = fix(folder)
    assert texts(folder) == dict(sorted(NOT_MECHANICAL.items()))
    assert report.files == ()
    assert {each.code for each in report.remaining} >= {"set-form", "package-name", "set-entry"}
    named = {Path(each.file).name for each in check([folder]).fixable}
    assert named <= {"else.rego"}  # this change was tried, and the result is not valid Rego


def test_old_syntax_is_converted_and_then_fixed(tmp_path: Path, opa: OpaProgram) -> None:
    """With the line breaks and the byte order mark that the file had; not without OPA."""
    windows = "\ufeff" + OLD.replace("\n", "\r\n")
    folder = put(tmp_path, {"old.rego": OLD})
    assert fix(folder).files == ()
    assert check([folder]).fixable == ()
    assert check([folder], opa=opa).fixable != ()
    assert fix(folder, opa=opa).remaining == ()
    assert texts(folder) == {"old.rego": NEW}
    put(folder, {"old.rego": windows})
    assert fix(folder, opa=opa, serves=True).remaining == ()
    assert texts(folder) == {"old.rego": "\ufeff" + NEW.replace("\n", "\r\n")}


def test_a_repeated_import_and_an_escape_are_fixed(tmp_path: Path) -> None:
    """Findings of the parser, which hide all others."""
    text = f'{P}import rego.v1\nimport future.keywords.if\n\nx := "\\d\\\\d\\n"\n\ndeny {IF}'
    folder = put(tmp_path, {"p.rego": text})
    fix(folder)
    after = f'{P}import rego.v1\n\nx := "\\\\d\\\\d\\n"\n\ndeny contains "deny-1" {IF}'
    assert texts(folder) == {"p.rego": after}


def test_a_dry_run_writes_nothing_and_shows_the_same(tmp_path: Path) -> None:
    folder = put(tmp_path, {"p.rego": f"{P}deny {IF}"})
    planned = fix(folder, dry_run=True)
    assert texts(folder) == {"p.rego": f"{P}deny {IF}"}
    made = fix(folder)
    assert [each.diff for each in planned.files] == [each.diff for each in made.files]
    assert f'-deny {IF}+deny contains "deny-1" {IF}' in made.files[0].diff
    assert [each.written for each in planned.files + made.files] == [False, True]


def test_a_fixed_file_keeps_its_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """And a link inside the folder stays a link."""
    folder = tmp_path / "policies"
    (folder / ".real").mkdir(parents=True)
    real = folder / ".real" / "p.text"
    real.write_text(f"{P}deny {IF}")
    real.chmod(0o640)
    os.setxattr(real, "user.note", b"mine")
    (folder / "p.rego").symlink_to(".real/p.text")
    assert fix(folder).complete
    assert (folder / "p.rego").is_symlink()
    assert "contains" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.getxattr(real, "user.note") == b"mine"
    assert [each.name for each in real.parent.iterdir()] == ["p.text"]


@pytest.mark.parametrize("how", ["file", "folder", "hard link", "read-only"])
def test_a_file_that_is_not_only_here_stays_as_it_is(tmp_path: Path, how: str) -> None:
    """Outside of the folder, or with another name; the others are fixed, and the reason is
    given.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    theirs = outside / "p.rego"
    theirs.write_text(f"{P}deny {IF}")
    folder = tmp_path / "policies"
    folder.mkdir()
    put(folder, {"own.rego": f"{P}deny {IF}"})
    if how == "folder":
        (folder / "linked").symlink_to(outside)
    elif how == "file":
        (folder / "p.rego").symlink_to(theirs)
    elif how == "hard link":
        (folder / "p.rego").hardlink_to(theirs)
    else:
        (folder / "p.rego").write_text(f"{P}deny {IF}")
        (folder / "p.rego").chmod(0o444)
    report = fix(folder)
    assert theirs.read_text() == f"{P}deny {IF}"
    assert "contains" in (folder / "own.rego").read_text()
    assert [bool(each.reason) for each in report.files] == [True, False][:: 1 if how == "folder" else -1]  # fmt: skip
    assert not report.complete
    assert check([folder]).findings != ()


def test_a_file_that_was_changed_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    """Changed, replaced by a link or something else, or gone: its new content is not lost."""
    path = tmp_path / "p.rego"
    path.write_text("new")
    assert "meanwhile" in replace_policy(path, tmp_path, "old", "fixed")
    assert path.read_text() == "new"
    path.unlink()
    assert replace_policy(path, tmp_path, "old", "fixed")
    os.mkfifo(path)
    assert "meanwhile" in replace_policy(path, tmp_path, "old", "fixed")
    assert stat.S_ISFIFO(path.stat().st_mode)


@needs_root
def test_a_folder_that_can_not_be_written_is_named() -> None:
    """With its owner, or with the file's, if only the folder may be written; nothing is left."""
    code = (
        "import sys; from pathlib import Path\n"
        "from guardrail.authoring.fixes.writing import replace_policy\n"
        "print(replace_policy(Path('a.rego'), Path(), 'old', 'new'))\n"
    )
    with open_folder() as folder:
        (folder / "a.rego").write_text("old")
        (folder / "a.rego").chmod(0o644)
        for mode, named in ((0o755, folder), (0o777, folder / "a.rego")):
            folder.chmod(mode)
            assert f"{named} belongs to root" in python(AGENT, code, cwd=folder)[1]
            assert [each.read_text() for each in folder.iterdir()] == ["old"]


def test_the_rest_of_a_killed_run_does_no_harm(tmp_path: Path) -> None:
    """A guard ignores the new file that had not replaced the old one yet."""
    folder = write(tmp_path, {"p.rego": ALLOW})
    before = load_policies([folder]).digest
    (folder / ".guardrail-fix-0123456789abcdef").write_text("package guardrail.pol")
    assert load_policies([folder]).digest == before


@pytest.mark.parametrize("place", ["bundle", "bundle/guardrail/policy"])
def test_a_signed_bundle_is_not_changed(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (tmp_path / "bundle" / ".signatures.json").write_text("{}")
    put(folder, {"p.rego": f"{P}deny {IF}"})
    with pytest.raises(ConfigError, match="signature") as refused:
        fix(folder)
    assert refused.value.code == "config.signed"
    assert texts(folder) == {"p.rego": f"{P}deny {IF}"}


def test_policies_that_can_not_be_read_are_not_changed(tmp_path: Path) -> None:
    """A file that was not read may contain what the change would break."""
    folder = put(tmp_path, {"p.rego": f"{P}deny {IF}", ".hidden.rego": P})
    report = fix(folder)
    assert (report.files, [each.code for each in report.remaining]) == ((), ["hidden"])
    assert texts(folder)["p.rego"] == f"{P}deny {IF}"
