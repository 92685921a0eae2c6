"""What ``policy check`` warns of, and what it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from guardrail.authoring.check import check
from guardrail.authoring.lints.check import Code
from guardrail.policy.sources import installed_folder
from tests.support.lints import ALLOW, FIRST, look, said, write

ARGS = "input.action.properties.args"

WARNED = [
    # a denial that hangs on what may be missing
    ("read in a deny rule", f'deny contains "d" if {ARGS}.mode == "x"\n', (1, "optional-argument")),
    ("read in require_approval", f'require_approval contains "d" if {ARGS}.mode == "x"\n', (1, "optional-argument")),
    ("through a rule's alias", f'args := {ARGS}\n\ndeny contains "d" if args.mode == "x"\n', (3, "optional-argument")),
    ("through a local alias", f'deny contains "d" if {{\n\ta := {ARGS}\n\ta.mode == "x"\n}}\n', (3, "optional-argument")),
    ("in brackets", f'deny contains "d" if {ARGS}["mode"] == "x"\n', (1, "optional-argument")),
    ("in a rule that it needs", f'deny contains "d" if bad\n\nbad if {ARGS}.mode == "x"\n', (3, "optional-argument")),
    ("in a rule with a default of false", f'deny contains "d" if bad\n\ndefault bad := false\n\nbad if {ARGS}.mode == "x"\n', (5, "optional-argument")),
    ("a name with a default of false", f'default bad := false\n\nbad := {ARGS}.mode\n\ndeny contains "d" if bad\n', (5, "optional-argument")),
    ("in a function", f'deny contains "d" if bad({ARGS})\n\nbad(a) if a.mode == "x"\n', (3, "optional-argument")),
    ("behind two nots", f'deny contains "d" if not ok\n\nok if not bad\n\nbad if {ARGS}.mode == "x"\n', (5, "optional-argument")),
    ("behind a not in an allow rule", f'allow contains "a" if not bad\n\nbad if {ARGS}.mode == "x"\n', (3, "optional-argument")),
    ("members of a list", f'deny contains "d" if {{\n\tsome x in {ARGS}.list\n\tx == "a"\n}}\n', (2, "optional-argument")),
    ("in a comprehension", f'deny contains "d" if count([x | some x in {ARGS}.list]) > 3\n', (1, "optional-argument")),
    ("below what is guarded", f'deny contains "d" if {{\n\tis_object({ARGS}.a)\n\t{ARGS}.a.b == 1\n}}\n', (3, "optional-argument")),
    ("an object.get on what may be missing", f'deny contains "d" if object.get({ARGS}.a, "b", 0) == 1\n', (1, "optional-argument")),
    ("a guard in another body", f'deny contains "d" if is_number({ARGS}.n)\n\ndeny contains "e" if {ARGS}.n == 5\n', (3, "optional-argument")),
    ("a set that must have members", f'deny contains "d" if count(bad) > 0\n\nbad contains x if x := {ARGS}.a\n', (3, "optional-argument")),
    # an order of values that may be no numbers
    ("less than", f'allow contains "a" if {ARGS}.n < 5\n', (1, "untyped-comparison")),
    ("on the other side", f'allow contains "a" if 5 >= {ARGS}.n\n', (1, "untyped-comparison")),
    ("there for sure, of no type", 'deny contains "d" if data.guardrail.lib.args.value("n", 0) > 5\n', (1, "untyped-comparison")),
    ("under not", f'deny contains "d" if not small\n\nsmall if {ARGS}.n < 5\n', (3, "untyped-comparison")),
    ("as an argument of a function", f'allow contains "a" if small({ARGS}.n)\n\nsmall(x) if x < 5\n', (3, "untyped-comparison")),
    ("member of a list", f'allow contains "a" if {{\n\tsome x in {ARGS}.l\n\tx.price < 5\n}}\n', (3, "untyped-comparison")),
    ("beside a text", f'allow contains "a" if {ARGS}.day > "2026"\n', (1, "untyped-comparison")),
    ("the wrong guard", f'allow contains "a" if {{\n\tis_string({ARGS}.n)\n\t{ARGS}.n < 5\n}}\n', (3, "untyped-comparison")),
    ("what the host adds", 'allow contains "a" if input.subject.properties.level > 5\n', (1, "untyped-comparison")),
    ("every", f'allow contains "a" if every x in {ARGS}.l {{ x < 5 }}\n', (1, "untyped-comparison")),
    # heads
    ("a value in an id", f'deny contains {ARGS}.x if input.resource.id == "a"\n', (1, "input-in-head")),
    ("a value in a message", f'deny contains {{"rule": "d", "message": {ARGS}.x}} if input.resource.id == "a"\n', (1, "input-in-head")),
    ("a value in a text", 'deny contains sprintf("%v", [input.resource.id]) if input.resource.id == "a"\n', (1, "input-in-head")),
    ("a value in a text in the body", f'deny contains {{"rule": "d", "message": msg}} if {{\n\tinput.resource.id == "a"\n\tx := {ARGS}.x\n\tis_string(x)\n\tmsg := sprintf("%v", [x])\n}}\n', (1, "input-in-head")),
    ("a value with a fallback in a text", f'deny contains msg if {{\n\tinput.resource.id == "a"\n\tmsg := concat(" ", ["x", object.get({ARGS}, "x", "")])\n}}\n', (1, "input-in-head")),
    ("a value in a text of a rule", f'deny contains msg if input.resource.id == "a"\n\nmsg := sprintf("%v", [{ARGS}.x])\n', (1, "input-in-head")),
    ("a value in a text of a function", 'deny contains about(x) if {\n\tinput.resource.id == "a"\n\tx := data.guardrail.lib.args.text("x")\n}\n\nabout(x) := sprintf("%v", [x])\n', (1, "input-in-head")),
    ("a member in a text", f'allow contains m if {{\n\tis_array({ARGS}.l)\n\tsome x in {ARGS}.l\n\tm := sprintf("%v", [x])\n}}\n', (1, "input-in-head")),
    # not
    ("not call", f'deny contains "d" if not startswith({ARGS}.p, "/x")\n', (1, "negated-call")),
    ("not in", f'deny contains "d" if not {ARGS}.p in ["a"]\n', (1, "negated-call")),
    ("not less", f'deny contains "d" if not {ARGS}.p < 5\n', (1, "negated-call")),
    ("not of an own function", f'deny contains "d" if not ok({ARGS}.p)\n\nok(p) if p == 5\n', (1, "negated-call")),
    ("a call in an equality", f'deny contains "d" if not lower({ARGS}.p) == "a"\n', (1, "negated-call")),
    # what raises
    ("to_number", f'allow contains "a" if to_number({ARGS}.x) == 5\n', (1, "fallible-builtin")),
    ("of a part", f'allow contains "a" if to_number(trim_space({ARGS}.x)) == 5\n', (1, "fallible-builtin")),
    ("json", f'allow contains "a" if json.unmarshal({ARGS}.x) == 5\n', (1, "fallible-builtin")),
    ("time", f'allow contains "a" if time.parse_rfc3339_ns({ARGS}.x) == 5\n', (1, "fallible-builtin")),
    ("pattern", f'allow contains "a" if regex.match({ARGS}.x, "a")\n', (1, "fallible-builtin")),
    ("division", f'allow contains "a" if 5 / {ARGS}.x == 5\n', (1, "fallible-builtin")),
    ("rest", f'allow contains "a" if 5 % {ARGS}.x == 1\n', (1, "fallible-builtin")),
    # what never fires
    ("false", 'deny contains "d" if {\n\tfalse\n\tinput.resource.id == "x"\n}\n', (2, "never-fires")),
    ("constants", 'deny contains "d" if 1 == 2\n', (1, "never-fires")),
    ("constant order", 'deny contains "d" if 5 < 2\n', (1, "never-fires")),
    ("two values", 'deny contains "d" if {\n\tinput.resource.id == "x"\n\tinput.resource.id == "y"\n}\n', (3, "never-fires")),
    ("two values by two names", 'tool := input.resource.id\n\ndeny contains "d" if {\n\ttool == "x"\n\tinput.resource.id == "y"\n}\n', (5, "never-fires")),
    ("not of those", 'deny contains "d" if {\n\tinput.resource.id in ["x", "y"]\n\tinput.resource.id == "z"\n}\n', (3, "never-fires")),
    ("both have and not have", 'deny contains "d" if {\n\tinput.resource.id == "x"\n\tinput.resource.id != "x"\n}\n', (3, "never-fires")),
    ("a name that is the same in every call", 'deny contains "d" if input.action.name == "send"\n', (1, "never-fires")),
    ("a name in a list, the other way round", 'deny contains "d" if {\n\tinput.resource.id == "x"\n\tinput.action.name in ["send", "mail"]\n}\n', (3, "never-fires")),
    ("a name by another name", 'action := input.action\n\ndeny contains "d" if "send" == action.name\n', (3, "never-fires")),
    ("the beginning of such a name", 'deny contains "d" if startswith(input.action.name, "send_")\n', (1, "never-fires")),
    ("a part of such a name", 'deny contains "d" if contains(input.action.name, "delete")\n', (1, "never-fires")),
    ("not the name that it always is", 'allow contains "d" if input.action.name != "tools/call"\n', (1, "never-fires")),
    ("another type of resource", 'deny contains "d" if input.resource.type == "file"\n', (1, "never-fires")),
    ("another contract", 'deny contains "d" if input.context.contract == "guardrail/9"\n', (1, "never-fires")),
    ("two types", f'deny contains "d" if {{\n\tis_string({ARGS}.x)\n\tis_number({ARGS}.x)\n}}\n', (3, "never-fires")),
    # what the program may leave out
    ("a model that nobody named", 'deny contains "d" if input.context.model.name == "x"\n', (1, "optional-context")),
    ("through an alias of the model", 'm := input.context.model\n\ndeny contains "d" if m.name == "x"\n', (3, "optional-context")),
    ("a framework that nobody named", 'require_approval contains "d" if input.context.origin.framework.version == "1"\n', (1, "optional-context")),
    ("a misspelt field of the model", 'deny contains "d" if input.context.model.nme == "x"\n', (1, "unknown-input")),
    ("a misspelt field of the framework", 'allow contains "a" if input.context.origin.framework.nme == "x"\n', (1, "unknown-input")),
    ("below the name of a model", 'allow contains "a" if input.context.model.name.x == "x"\n', (1, "unknown-input")),
    ("a place that is not there", 'deny contains "d" if input.tool == "x"\n', (1, "unknown-input")),
    ("a place one level off", 'deny contains "d" if input.action.args.x == 1\n', (1, "unknown-input")),
    ("an unknown field of the session", 'deny contains "d" if input.context.session.counts.pay > 3\n', (1, "unknown-input")),
    ("data that is nowhere", 'deny contains "d" if data.shop.blocked[input.resource.id]\n', (1, "unknown-data")),
    ("data in a helper", 'deny contains "d" if bad\n\nbad if input.resource.id in data.nosuch\n', (3, "unknown-data")),
    ("a rule that a package lacks", 'deny contains "d" if "x" in data.guardrail.lib.args.nosuch\n', (1, "unknown-data")),
    ("below a text", 'deny contains "d" if input.resource.id.x == 1\n', (1, "unknown-input")),
    ("through object.get", 'deny contains "d" if object.get(input.resource, "name", "") == "x"\n', (1, "unknown-input")),
    ("through an alias", 'tool := input.resource\n\ndeny contains "d" if tool.name == "x"\n', (3, "unknown-input")),
    ("through a function", 'f(i) := i.subject.nme\n\ndeny contains "d" if f(input) == "x"\n', (1, "unknown-input")),
    # what always denies
    ("no condition", 'deny contains "d"\n', (1, "always-denies")),
    ("no condition, as an object", 'deny contains {"rule": "d", "message": "m"}\n', (1, "always-denies")),
    ("true", 'deny contains "d" if true\n', (1, "always-denies")),
    ("what is the same in every call", 'deny contains "d" if input.resource.type == "tool"\n', (1, "always-denies")),
    ("constants that are equal", 'deny contains "d" if {\n\t1 == 1\n\t"tools/call" == input.action.name\n}\n', (1, "always-denies")),
    ("a need that is redacted", 'require_approval contains {"rule": "d", "message": "m", "needs": ["/note"]}\n\nredact contains "/note" if input.resource.id == "x"\n', (1, "hidden-need")),
    ("a need below what is redacted", 'require_approval contains {"rule": "d", "message": "m", "needs": ["/a/b"]}\n\nredact contains "/a"\n', (1, "hidden-need")),
    ("a need whose name hides it", 'require_approval contains {"rule": "d", "message": "m", "needs": ["/amount", "/card/number"]}\n', (1, "hidden-need")),
    ("a rule that holds", 'deny contains "d" if bad\n\nbad if worse\n\nworse := true\n', (1, "always-denies")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "where"), [case[1:] for case in WARNED], ids=[case[0] for case in WARNED]
)
def test_a_place_where_a_call_can_slip_through_is_named(
    tmp_path: Path, body: str, where: tuple[int, str]
) -> None:
    """With its line and code."""
    assert where in said(tmp_path, body)


def test_a_condition_on_the_name_of_the_action_is_told_where_the_name_of_the_tool_is(
    tmp_path: Path,
) -> None:
    """Its value is the same in every call, so that the rule would never fire."""
    report = look(tmp_path, 'deny contains "d" if input.action.name == "send"\n')
    (lint,) = [each for each in report.lints if each.code == "never-fires"]
    assert 'input.action.name is always "tools/call"' in lint.message
    assert "input.resource.id" in lint.hint


SILENT = [
    ("a deny rule that depends on a rule with a condition", 'deny contains "d" if {\n\tbad\n\ttrue\n}\n\nbad if input.resource.id == "x"\n\nbad := false if input.resource.id == "y"\n'),
    ("a need that is recorded", 'require_approval contains {"rule": "d", "message": "m", "needs": ["/amount", "/notes"]}\n\nredact contains "/note"\n'),
    ("approval of every call", 'require_approval contains "d"\n'),
    ("the name that every call has", 'deny contains "d" if {\n\tinput.action.name == "tools/call"\n\tinput.resource.type == "tool"\n\tstartswith(input.action.name, "tools/")\n\tinput.action.name != "send"\n}\n'),
    ("in an allow rule", f'allow contains "a" if {ARGS}.mode == "x"\n'),
    ("behind a not", f'deny contains "d" if not ok\n\nok if {ARGS}.mode == "x"\n'),
    ("not of a reference", f'deny contains "d" if not {ARGS}.mode\n'),
    ("not of an equality", f'deny contains "d" if not {ARGS}.mode == "x"\n'),
    ("in a function behind a not", f'deny contains "d" if not ok(input.resource.id)\n\nok(tool) if {ARGS}.mode == tool\n'),
    ("the library", 'deny contains "d" if data.guardrail.lib.args.text("mode") == "x"\n'),
    ("object.get", f'deny contains "d" if object.get({ARGS}, "mode", "") == "x"\n'),
    ("object.get of a path", f'deny contains "d" if object.get({ARGS}, ["a", "b"], "") == "x"\n'),
    ("the whole with fallbacks", 'args := object.get(object.get(object.get(input, "action", {}), "properties", {}), "args", {})\n\nmode := object.get(args, "mode", null)\n\ndeny contains "d" if mode == "x"\n'),
    ("a type in the body", f'deny contains "d" if {{\n\tis_string({ARGS}.mode)\n\t{ARGS}.mode == "x"\n}}\n'),
    ("a type after it", f'deny contains "d" if {{\n\t{ARGS}.mode == "x"\n\tis_string({ARGS}.mode)\n}}\n'),
    ("a type by an alias", f'deny contains "d" if {{\n\tm := {ARGS}.mode\n\tis_string({ARGS}.mode)\n\tm == "x"\n}}\n'),
    ("a type in a rule", f'deny contains "d" if {{\n\ttext\n\t{ARGS}.mode == "x"\n}}\n\ntext if is_string({ARGS}.mode)\n'),
    ("a type in a function", f'deny contains "d" if {{\n\ttext({ARGS})\n\t{ARGS}.mode == "x"\n}}\n\ntext(a) if is_string(a.mode)\n'),
    ("type_name", f'allow contains "a" if {{\n\ttype_name({ARGS}.n) == "number"\n\t{ARGS}.n < 5\n}}\n'),
    ("has", f'deny contains "d" if {{\n\tdata.guardrail.lib.args.has("mode")\n\t{ARGS}.mode == "x"\n}}\n'),
    ("keys", f'deny contains "d" if {{\n\t"mode" in object.keys({ARGS})\n\t{ARGS}.mode == "x"\n}}\n'),
    ("a default that says something", f'default mode := "safe"\n\nmode := {ARGS}.mode\n\ndeny contains "d" if mode == "x"\n'),
    ("none of them", f'deny contains "d" if count([x | some x in {ARGS}.list; x == 1]) == 0\n'),
    ("an empty set", f'deny contains "d" if count(good) == 0\n\ngood contains x if x := {ARGS}.a\n'),
    ("number_within", f'allow contains "a" if {{\n\tdata.guardrail.lib.args.number_within("n", 0, 9)\n\t{ARGS}.n < 5\n}}\n'),
    ("is_number", f'allow contains "a" if {{\n\tis_number({ARGS}.n)\n\t{ARGS}.n < 5\n}}\n'),
    ("is_number of a member", f'allow contains "a" if {{\n\tsome x in {ARGS}.l\n\tis_number(x.price)\n\tx.price < 5\n}}\n'),
    ("is_string beside a text", f'allow contains "a" if {{\n\tis_string({ARGS}.day)\n\t{ARGS}.day > "2026"\n}}\n'),
    ("a count", f'allow contains "a" if count({ARGS}.l) < 5\n'),
    ("data", 'allow contains "a" if data.guardrail.policy.limit < 5\n\nlimit := 4\n'),
    ("the time", 'deny contains "d" if input.context.time > "2030"\n'),
    ("the text of the library", 'deny contains "d" if data.guardrail.lib.args.text("day") > "2030"\n'),
    ("a head with a local", 'redact contains pointer if some pointer, _ in input.action.properties.arg_classes\n'),
    ("a number of members in a text", f'deny contains m if {{\n\tinput.resource.id == "a"\n\tm := sprintf("%d", [count(object.get({ARGS}, "l", []))])\n}}\n'),
    ("the tool in a text", 'deny contains m if {\n\tinput.resource.id == "a"\n\tm := sprintf("%v", [input.resource.id])\n}\n'),
    ("a pointer from an argument", f'redact contains p if p := sprintf("/%v", [{ARGS}.x])\n'),
    ("a constant in a head", 'name := "limit"\n\ndeny contains name if input.resource.id == "a"\n'),
    ("not in, of what is there", 'deny contains "d" if not input.resource.id in ["a"]\n'),
    ("not call, with a fallback", 'deny contains "d" if not startswith(data.guardrail.lib.args.text("p"), "/x")\n'),
    ("not call, guarded", f'deny contains "d" if {{\n\tis_string({ARGS}.p)\n\tnot startswith({ARGS}.p, "/x")\n}}\n'),
    ("time of the call", 'allow contains "a" if time.parse_rfc3339_ns(input.context.time) > 5\n'),
    ("a pattern that is written out", f'allow contains "a" if regex.match("^[a-z]+$", {ARGS}.x)\n'),
    ("division by what is not zero", f'allow contains "a" if {{\n\t{ARGS}.x != 0\n\t5 % {ARGS}.x == 1\n}}\n'),
    ("one of two", 'deny contains "d" if {\n\tinput.resource.id in ["x", "y"]\n\tinput.resource.id == "x"\n}\n'),
    ("two bodies", 'deny contains "d" if input.resource.id == "x"\n\ndeny contains "d" if input.resource.id == "y"\n'),
    ("two members", f'deny contains "d" if {{\n\tis_array({ARGS}.l)\n\t{ARGS}.l[_] == "x"\n\t{ARGS}.l[_] == "y"\n}}\n'),
    ("1 and 1.0", f'deny contains "d" if {{\n\tis_number({ARGS}.n)\n\t{ARGS}.n == 1\n\t{ARGS}.n == 1.0\n}}\n'),
    ("what the host adds", 'allow contains "a" if input.subject.properties.team == "x"\n'),
    ("what an approval holds", 'allow contains "a" if input.context.approval.valid\n'),
    ("a model that is allowed", 'allow contains "a" if input.context.model.name == "x"\n'),
    ("a model behind a not", 'deny contains "d" if not ok\n\nok if input.context.model.name == "x"\n'),
    ("a model that is missing", 'deny contains "d" if input.context.model == null\n'),
    ("a model with a type", 'deny contains "d" if {\n\tis_string(input.context.model.name)\n\tinput.context.model.name == "x"\n}\n'),
    ("a framework that is an object", 'deny contains "d" if {\n\tis_object(input.context.origin.framework)\n\tinput.context.origin.framework.name == "x"\n}\n'),
    ("a model with a fallback", 'deny contains "d" if object.get(input.context, ["model", "name"], "") == "x"\n'),
    ("what nothing needs", f'helper if {ARGS}.n < 5\n'),
]  # fmt: skip


@pytest.mark.parametrize("body", [case[1] for case in SILENT], ids=[case[0] for case in SILENT])
def test_what_is_sound_is_not_warned_of(tmp_path: Path, body: str) -> None:
    """A warning that is wrong costs the next one that is right."""
    assert said(tmp_path, body) == set()


def test_a_lint_says_what_happens_and_what_to_write(tmp_path: Path) -> None:
    """File, line, message, hint, severity."""
    report = look(tmp_path, f'deny contains "d" if {ARGS}.mode == "x"\n')
    lint = next(lint for lint in report.lints if lint.code is Code.OPTIONAL_ARGUMENT)
    assert (lint.file, lint.line) == (str(tmp_path / "p.rego"), FIRST)
    assert (
        lint.message == "the argument mode may be missing; "
        f"without it, the deny rule on line {FIRST} does not fire"
    )
    assert "data.guardrail.lib.args" in lint.hint
    assert lint.severity == "warning"
    assert report.ok


def test_one_place_is_warned_of_once(tmp_path: Path) -> None:
    """Though many rules need it."""
    body = "".join(f'deny contains "d{n}" if bad\n\n' for n in range(5)) + f"bad if {ARGS}.x == 1\n"
    report = look(tmp_path, body)
    assert [lint.code for lint in report.lints if lint.code != "untested-rule"] == [
        "optional-argument"
    ]


def test_rules_of_several_files_are_followed(tmp_path: Path) -> None:
    """The lint stands where the argument is read."""
    other = f"package guardrail.policy\n\nbad if {ARGS}.x == 1\n"
    report = look(tmp_path, 'deny contains "d" if bad\n', b_rego=other)
    lint = next(lint for lint in report.lints if lint.code == "optional-argument")
    assert (Path(lint.file).name, lint.line) == ("b.rego", 3)


def test_imports_of_the_input_are_followed(tmp_path: Path) -> None:
    """By the name that they give it."""
    other = (
        f'package guardrail.policy\n\nimport {ARGS} as given\n\ndeny contains "d" if given.x == 1\n'
    )
    report = look(tmp_path, "", b_rego=other)
    assert ("b.rego", 5, "optional-argument") in {
        (Path(lint.file).name, lint.line, lint.code) for lint in report.lints
    }


def test_helpers_in_packages_of_their_own_are_followed(tmp_path: Path) -> None:
    """By their full names."""
    other = f"package guardrail.policy.help\n\nbad if {ARGS}.x == 1\n"
    report = look(tmp_path, 'deny contains "d" if data.guardrail.policy.help.bad\n', b_rego=other)
    assert ("b.rego", 3) in {(Path(lint.file).name, lint.line) for lint in report.lints}


def test_lints_are_there_when_an_engine_refuses(tmp_path: Path) -> None:
    """Whoever uses the other engine needs them."""
    body = f'{{ not startswith({ARGS}.p, "/x"); graphql.is_valid({ARGS}.q, "") }}'
    report = look(tmp_path, f'deny contains "d" if {body}\n')
    assert [finding.code for finding in report.findings] == ["builtin"]
    assert "negated-call" in {lint.code for lint in report.lints}


@pytest.mark.parametrize("folder", ["starter", "examples", "demo"])
def test_the_shipped_policies_have_no_warnings(folder: str) -> None:
    """Nor do they ignore any."""
    import guardrail.demo

    where = (
        Path(guardrail.demo.__file__).parent if folder == "demo" else installed_folder() / folder
    )
    report = check([where])
    assert (report.ok, report.lints, report.ignored) == (True, (), 0)


# Tests of rules.

TESTED = """package guardrail.policy_test

call(tool, args) := {"resource": {"id": tool}, "action": {"properties": {"args": args}}}

test_function if "d" in data.guardrail.policy.deny with input as call("x", {})

test_every if {
	every tool in ["a", "b"] {
		data.guardrail.main.decision.effect == "deny" with input as call(tool, {}) with data.tools as ["a", "b"]
	}
}

test_fails_and_counts if {
	data.guardrail.main.decision.effect == "allow" with input as call("y", {})
}

test_part if count(data.guardrail.policy.deny) == 1 with input.resource.id as "part"

todo_test_later if data.guardrail.main.decision with input as call("later", {})
"""


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        ('deny contains "d" if input.resource.id == "x"\n', True),
        ('deny contains {"rule": "r", "message": "m"} if input.resource.id in data.tools\n', True),
        ('deny contains "d2" if input.resource.id == "y"\n', True),
        ('deny contains "d3" if input.resource.id == "part"\n', True),
        ('hide contains "h" if input.resource.id == "x"\n', True),
        ('name := "n"\n\ndeny contains name if input.resource.id == "z"\n', False),
        ('deny contains "later" if input.resource.id == "later"\n', False),
        ('require_approval contains {"rule": "r", "message": "m"} if input.resource.id == "z"\n', False),
    ],
)  # fmt: skip
def test_a_rule_that_fires_in_no_test_is_named(tmp_path: Path, rule: str, fires: bool) -> None:
    """By what the policy sees in tests, however they build it, pass or fail."""
    report = look(tmp_path, rule, a_test_rego=TESTED)
    found = {lint.line for lint in report.lints if lint.code == "untested-rule"} - {3}
    assert (found == set()) is fires


def test_a_rule_is_tested_by_its_id(tmp_path: Path) -> None:
    """Two rules of one id are one; an id that is made when it fires is nobody's."""
    body = (
        'deny contains "d" if input.resource.id == "x"\n\ndeny contains "d" if input.resource.id =='
        ' "z"\n\ndeny contains concat("", ["a", "b"]) if input.resource.id == "z"\n'
    )
    report = look(tmp_path, body, a_test_rego=TESTED)
    assert {lint.line for lint in report.lints if lint.code == "untested-rule"} == {3}


def test_an_endless_test_does_not_end_the_check(tmp_path: Path) -> None:
    """It costs its own time limit, and what other tests saw counts."""
    slow = """package guardrail.policy_test

test_slow if {
	count([1 | some a in numbers.range(1, 5000); some b in numbers.range(1, 5000); some c in numbers.range(1, 5000); a == b; b == c]) == 0
}

test_x if "d" in data.guardrail.policy.deny with input as {"resource": {"id": "x"}}
"""
    write(
        tmp_path,
        {"p.rego": ALLOW + 'deny contains "d" if input.resource.id == "x"\n', "s_test.rego": slow},
    )
    report = check([tmp_path], time_limit=0.7)
    assert {lint.line for lint in report.lints if lint.code == "untested-rule"} == {3}


def test_entangled_policies_are_said_to_be(tmp_path: Path) -> None:
    """And looked through as far as is possible in short time."""
    rules = ["f0(x) if is_number(x)\n"]
    rules += [
        f"f{n}(x) if {{\n\tf{n - 1}(x)\n\tf{n - 1}(x)\n\tf{n - 1}(x)\n}}\n" for n in range(1, 30)
    ]
    rules += [f'deny contains "d{n}" if f29({ARGS}.a{n})\n' for n in range(150)]
    report = look(tmp_path, "\n".join(rules))
    assert "incomplete" in {lint.code for lint in report.lints}


def test_data_that_tests_set_is_supplied_by_the_program(tmp_path: Path) -> None:
    """``Guard.open(policy_data=...)`` is not there when policies are checked; tests show that the
    author counts on it.
    """
    body = 'deny contains "d" if data.shop.blocked[input.resource.id]\n'
    test = """package guardrail.policy_test

test_blocked if {
	"d" in data.guardrail.policy.deny with input as {"resource": {"id": "x"}} with data.shop as {"blocked": {"x": true}}
}
"""
    assert said(tmp_path, body) == {(1, "unknown-data")}
    assert said(tmp_path, body, p_test_rego=test) == set()


def test_policies_that_never_allow_are_remarked_on(tmp_path: Path) -> None:
    """Rules for another gateway (``result``, ``decision``) add to no set, and every call would be
    denied.
    """
    text = (
        'package guardrail.policy\n\nresult := {"decision": "allow"} if input.resource.id == "x"\n'
    )
    report = check([write(tmp_path, {"p.rego": text})])
    assert [(finding.code, finding.line) for finding in report.remarks] == [("no-allow", 1)]
    assert look(tmp_path, "").remarks == ()


@pytest.mark.parametrize(
    "rule",
    [
        'allow contains "r{n}" if input.resource.id == "{n}"\n',
        'h if input.resource.id == "{n}"\n\nallow contains "r{n}" if h\n',
        'f(x) := "r{n}" if x == "{n}"\n\nh if f(input.resource.id) == "r1"\n',
    ],
)
def test_work_grows_in_proportion_to_the_number_of_rules(tmp_path: Path, rule: str) -> None:
    """A name with many rules that many rules use is followed once. Every check is counted."""
    counts = []
    for size in (0, 60, 120):
        done = 0

        def count(_frame: object, event: str, _arg: object) -> None:
            nonlocal done
            done += event == "call"

        text = ALLOW + "".join(rule.replace("{n}", str(number)) for number in range(size))
        (tmp_path / "p.rego").write_text(text)
        sys.setprofile(count)
        try:
            report = check([tmp_path / "p.rego"])
        finally:
            sys.setprofile(None)
        assert report.ok
        counts.append(done)
    assert counts[2] - counts[0] < 2.3 * (counts[1] - counts[0]), counts
