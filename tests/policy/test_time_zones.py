"""Local time in policies: which zones the policies name, what the library computes from their
offsets, and what the record contains.
"""

from __future__ import annotations

import json
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.authoring.check import check
from guardrail.authoring.evaluate import evaluate
from guardrail.authoring.test import run_tests
from guardrail.errors import ConfigError, Denied, PolicyLoadError
from guardrail.ledger.kept_policies import KeptPolicies
from guardrail.ledger.reader import LedgerReader
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.named_zones import named_zones, nearest_zone
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import installed_folder, load_policies
from guardrail.review.doctor.result import CheckState
from guardrail.review.doctor.settings import settings_read
from guardrail.review.rederive import decided_lines, rederive
from guardrail.system import zones
from guardrail.system.zones import ZoneTable
from guardrail.wiring.opening import open_guard
from tests.support.guards import OPEN, Body, records, ruled, settings, write_policy
from tests.support.policies import ALLOW, body_findings, findings, write
from tests.support.rego.comparison import Reference

ASKED = """package guardrail.policy

zone := input.zone

local := [
	data.guardrail.lib.time.date(zone),
	data.guardrail.lib.time.clock(zone),
	data.guardrail.lib.time.weekday(zone),
	data.guardrail.lib.time.offset(zone),
]

open_now := data.guardrail.lib.time.within_hours(zone, input.from, input.until)

at_work := data.guardrail.lib.time.working_hours(zone, input.days, input.from, input.until)

closed if not data.guardrail.lib.time.within_hours(zone, input.from, input.until)
"""
ERROR = "an error"

Answers = Callable[[str, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, opa_program: Path) -> Iterator[Answers]:
    """Return the value of a rule in ``ASKED``, after checking that OPA has the same value."""
    folder = write(tmp_path_factory.mktemp("asked"), {"p.rego": ASKED})
    loaded = load_policies([folder])
    with Workbench() as bench, Reference(str(opa_program)) as opa:
        compiled = compile_policies(loaded, bench)
        bench.load(compiled.texts, compiled.data)
        library = next(source for source in loaded.modules if source.key.endswith("lib/time.rego"))
        for name, text in (("library", library.text), ("asked", ASKED)):
            assert opa.put(name, text) == ""

        def ask(rule: str, policy_input: dict[str, Any]) -> Any:
            path, document = f"data.guardrail.policy.{rule}", json.dumps(policy_input)
            there = opa.rule(path, document)
            try:
                here = bench.rule(path, document)
            except EngineRefusal:
                here = ERROR
            assert here == (ERROR if isinstance(there, Exception) else there)
            return here

        yield ask


def at(zone: str, moment: str, **more: Any) -> dict[str, Any]:
    """Return the part of a policy input that the library reads."""
    moment = f"{moment}.000000Z"
    return {
        "zone": zone,
        "context": {"time": moment, "zones": ZoneTable([zone]).at(moment)},
        **more,
    }


@pytest.mark.parametrize(
    ("zone", "moment", "date", "clock", "weekday"),
    [
        # The hour from 2:00 to 3:00 is skipped, then occurs twice.
        ("Europe/Berlin", "2026-03-29T00:59:59", [2026, 3, 29], [1, 59, 59], "Sunday"),
        ("Europe/Berlin", "2026-03-29T01:00:00", [2026, 3, 29], [3, 0, 0], "Sunday"),
        ("Europe/Berlin", "2026-10-25T00:30:00", [2026, 10, 25], [2, 30, 0], "Sunday"),
        ("Europe/Berlin", "2026-10-25T01:30:00", [2026, 10, 25], [2, 30, 0], "Sunday"),
        ("America/New_York", "2026-03-08T06:59:59", [2026, 3, 8], [1, 59, 59], "Sunday"),
        ("America/New_York", "2026-03-08T07:00:00", [2026, 3, 8], [3, 0, 0], "Sunday"),
        ("America/New_York", "2026-11-01T05:30:00", [2026, 11, 1], [1, 30, 0], "Sunday"),
        ("America/New_York", "2026-11-01T06:30:00", [2026, 11, 1], [1, 30, 0], "Sunday"),
        # Daylight saving of half an hour.
        ("Australia/Lord_Howe", "2026-10-03T15:29:59", [2026, 10, 4], [1, 59, 59], "Sunday"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00", [2026, 10, 4], [2, 30, 0], "Sunday"),
        ("Asia/Kolkata", "2026-12-31T18:30:00", [2027, 1, 1], [0, 0, 0], "Friday"),
        ("Asia/Kathmandu", "2028-02-28T18:15:00", [2028, 2, 29], [0, 0, 0], "Tuesday"),
        ("Pacific/Kiritimati", "2026-07-15T10:00:00", [2026, 7, 16], [0, 0, 0], "Thursday"),
        ("Pacific/Marquesas", "2026-03-01T09:29:59", [2026, 2, 28], [23, 59, 59], "Saturday"),
    ],
)
def test_local_time_is_right_at_transitions_and_in_parts_of_hours(
    answers: Answers, zone: str, moment: str, date: list[int], clock: list[int], weekday: str
) -> None:
    asked = at(zone, moment)
    assert answers("local", asked) == [date, clock, weekday, asked["context"]["zones"][zone]]


@pytest.mark.parametrize(
    ("moment", "hours", "inside"),
    [
        ("2026-07-01T06:59:59", ("09:00", "17:30"), False),
        ("2026-07-01T07:00:00", ("09:00", "17:30"), True),
        ("2026-07-01T15:29:59", ("09:00", "17:30"), True),
        ("2026-07-01T15:30:00", ("09:00", "17:30"), False),
        ("2026-12-01T07:59:59", ("09:00", "17:30"), False),
        ("2026-12-01T08:00:00", ("09:00", "17:30"), True),
        ("2026-12-01T21:00:00", ("22:00", "06:00"), True),
        ("2026-12-02T04:59:59", ("22:00", "06:00"), True),
        ("2026-12-02T05:00:00", ("22:00", "06:00"), False),
        ("2026-12-01T22:59:59", ("18:00", "24:00"), True),
        ("2026-12-01T23:00:00", ("00:00", "24:00"), True),
    ],
)
def test_hours_include_their_beginning_and_may_extend_past_midnight(
    answers: Answers, moment: str, hours: tuple[str, str], inside: bool
) -> None:
    asked = at("Europe/Berlin", moment, **{"from": hours[0], "until": hours[1]})
    assert answers("open_now", asked) is inside
    assert answers("closed", asked) is (UNDEFINED if inside else True)


@pytest.mark.parametrize(
    ("moment", "hours", "inside"),
    [
        ("2026-07-03T10:00:00", ("09:00", "17:00"), True),
        ("2026-07-04T10:00:00", ("09:00", "17:00"), False),
        # Friday evening to Saturday morning belongs to Friday, Sunday to Monday does not.
        ("2026-07-03T21:00:00", ("22:00", "06:00"), True),
        ("2026-07-04T03:00:00", ("22:00", "06:00"), True),
        ("2026-07-04T21:00:00", ("22:00", "06:00"), False),
        ("2026-07-06T03:00:00", ("22:00", "06:00"), False),
    ],
)
def test_hours_past_midnight_belong_to_the_day_on_which_they_begin(
    answers: Answers, moment: str, hours: tuple[str, str], inside: bool
) -> None:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    asked = at("Europe/Berlin", moment, days=days, **{"from": hours[0], "until": hours[1]})
    assert answers("at_work", asked) is inside


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "Europe/Paris"},
        {"zone": 5},
        {"zone": None},
        {"context": {}},
        {"context": {"time": "2026-07-01T10:00:00Z"}},
        {"context": {"time": "noon", "zones": {"Europe/Berlin": 0}}},
        {"context": {"time": "2026-07-01T10:00:00Z", "zones": {"Europe/Berlin": "7200"}}},
        {"from": "9:00"},
        {"from": "09:00\n"},
        {"from": 9},
        {"from": "24:01"},
        {"until": "09:00"},
        {"until": None},
        {"days": ["monday"]},
        {"days": "Monday"},
        {"days": {"a": "Monday"}},
        {"days": 5},
    ],
)
def test_a_missing_offset_or_a_malformed_argument_is_an_error_and_never_undefined(
    answers: Answers, change: dict[str, Any]
) -> None:
    """Also after ``not``: an undefined expression would keep a deny rule from firing."""
    asked = at("Europe/Berlin", "2026-07-01T10:00:00", days=["Monday"])
    asked |= {"from": "09:00", "until": "17:00"} | change
    assert answers("at_work", asked) == ERROR
    if "days" not in change:
        assert answers("closed", asked) == ERROR


USING = "package guardrail.policy\n\nimport data.guardrail.lib.time as local\n\n"


def test_zones_are_found_in_arguments_constants_and_data() -> None:
    text = USING + (
        '# "Asia/Tokyo"\n'
        'allow contains "a" if local.clock("Japan")[0] > 8\n'
        'offices := {`Asia/Kolkata`, "America\\/New_York", "application/json"}\n'
    )
    found = named_zones([text], '{"zones": ["Europe/Paris", "UTC", "text/plain", "Cuba"]}')
    assert found == ("America/New_York", "Asia/Kolkata", "Europe/Paris", "Japan", "UTC")
    without = text.replace("local", "clock").replace("guardrail.lib.time as", "team.clock as")
    assert named_zones([without], '{"zones": ["Europe/Paris"]}') == ()


@pytest.mark.parametrize(
    ("call", "zone", "hint"),
    [
        ("data.guardrail.lib.time.clock", "Europe/Berln", 'did you mean "Europe/Berlin"?'),
        ("local.weekday", "new york", 'did you mean "America/New_York"?'),
        ("local.date", "../../etc/passwd", "such as"),
        ("local.offset", "CEST", "CEST is none"),
        ("local.offset", "localtime", "such as"),
    ],
)
def test_policies_with_an_unknown_zone_are_refused_with_the_line_and_a_hint(
    tmp_path: Path, call: str, zone: str, hint: str
) -> None:
    rule = f'allow contains "a" if {{\n\t{call}(\n\t\t"{zone}",\n\t) != 0\n}}\n'
    with pytest.raises(PolicyLoadError) as caught:
        load_policies([write(tmp_path, {"p.rego": USING + rule})])
    (found,) = caught.value.findings
    assert (found.code, found.line, found.file) == ("time-zone", 7, str(tmp_path / "p.rego"))
    assert repr(zone) in found.message
    assert hint in found.hint


def test_without_zone_data_policies_that_name_a_zone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath([tmp_path / "missing"])
    try:
        with pytest.raises(PolicyLoadError) as caught:
            load_policies([write(tmp_path, {"p.rego": USING + 'x := local.clock("Asia/Tokyo")\n'})])
    finally:
        zoneinfo.reset_tzpath()
    (found,) = caught.value.findings
    assert found.message == "this machine has no time zone data"
    assert "package" in found.hint
    assert load_policies([write(tmp_path, {"p.rego": ALLOW})]).zones == ()


def test_a_zone_in_a_function_of_rego_is_refused_with_the_function_of_the_library(
    tmp_path: Path,
) -> None:
    now = "time.parse_rfc3339_ns(input.context.time)"
    (found,) = body_findings(tmp_path, f'time.clock([{now}, "Europe/Berlin"])[0] > 18')
    assert (found.code, found.line) == ("time", 4)
    assert 'data.guardrail.lib.time.clock("Europe/Berlin")' in found.hint
    (found,) = body_findings(tmp_path, f'time.date([{now}, "Europe/Berln"])[0] > 18')
    assert 'did you mean "Europe/Berlin"?' in found.hint


def test_a_rule_that_reads_an_offset_itself_gets_a_warning(tmp_path: Path) -> None:
    """A condition on an offset that is missing is undefined, so a deny rule would not fire."""
    rule = 'deny contains "d" if input.context.zones["Asia/Tokyo"] == 0\n'
    folder = write(tmp_path, {"p.rego": ALLOW + rule})
    assert load_policies([folder]).zones == ("Asia/Tokyo",)
    (found,) = (lint for lint in check([folder]).lints if lint.code == "optional-context")
    assert found.line == 4
    assert "data.guardrail.lib.time" in found.hint
    safe = rule.replace("input.context.zones[", "data.guardrail.lib.time.offset(").replace(
        '"]', '")'
    )
    write(tmp_path, {"p.rego": ALLOW + safe})
    assert all(lint.code != "optional-context" for lint in check([folder]).lints)


OFFICE = """allow contains "open" if data.guardrail.lib.time.offset("Asia/Kolkata") == 19800
deny contains "elsewhere" if data.guardrail.lib.time.offset(zone) != -18000
zone := object.get(input.subject.properties, "zone", "Etc/GMT+5")
hide contains "closed" if data.guardrail.lib.time.offset("Asia/Kathmandu") != 20700
"""


@pytest.mark.parametrize("engine", ["embedded", "opa"])
def test_the_record_has_the_offsets_that_decided_the_call(
    tmp_path: Path, engine: str, opa_program: Path
) -> None:
    """And deriving the decision again uses them, whatever the zone data are then."""
    with ruled(tmp_path, OFFICE, policy={"engine": engine}) as guard:
        guard.declare("send", schema=OPEN)
        assert [tool.name for tool in guard.listed(["send"])] == ["send"]
        with guard.session(principal="ana", agent="a"):
            guard.call("send", {}, Body())
        # The policies do not name the zone of this caller, so the call is denied.
        with (
            guard.session(principal="ben", agent="a", attributes={"zone": "Asia/Tokyo"}),
            pytest.raises(Denied),
        ):
            guard.call("send", {}, Body())
        write_policy(tmp_path, OFFICE.replace("!= -18000", "== 32400") + 'x := "Asia/Tokyo"')
        guard.reload()
        with (
            guard.session(principal="ben", agent="a", attributes={"zone": "Asia/Tokyo"}),
            pytest.raises(Denied),
        ):
            guard.call("send", {}, Body())
    first, failed, last = records(tmp_path / "audit.db", "call.decision")
    causes = [each["decision"]["cause"] for each in (first, failed, last)]
    assert causes == ["policy", "error", "policy"]
    named = {"Asia/Kathmandu": 20700, "Asia/Kolkata": 19800, "Etc/GMT+5": -18000}
    assert first["input"]["context"]["zones"] == failed["input"]["context"]["zones"] == named
    assert last["input"]["context"]["zones"] == named | {"Asia/Tokyo": 32400}
    assert first["reproducible"] is True
    with LedgerReader.open(tmp_path / "audit.db") as reader:
        found = rederive(decided_lines(reader.lines()), KeptPolicies(tmp_path / "audit.db").read)
    assert (found.calls, found.same) == (3, 2)


def test_zones_of_callers_are_settings(tmp_path: Path) -> None:
    policy = {"time_zones": ["Asia/Tokyo"]}
    rules = OFFICE.replace("-18000", "32400").replace("GMT+5", "GMT-9")
    with ruled(tmp_path, rules, policy=policy) as guard:
        guard.declare("send", schema=OPEN)
        with guard.session(principal="ben", agent="a", attributes={"zone": "Asia/Tokyo"}):
            guard.call("send", {}, Body())
    (made,) = records(tmp_path / "audit.db", "call.decision")
    assert made["input"]["context"]["zones"]["Asia/Tokyo"] == 32400
    with pytest.raises(ConfigError) as caught:
        open_guard(Guard, settings(tmp_path, policy={"time_zones": ["Asia/Tokio"]}), None)
    assert caught.value.code == "config.time_zones"
    assert caught.value.hint == 'did you mean "Asia/Tokyo"?'
    seen = settings_read(settings(tmp_path, policy={"time_zones": ["Asia/Tokio"]}), {})
    assert (seen.state, seen.fix) == (CheckState.FAIL, caught.value.hint)


def test_policies_without_zones_get_none(tmp_path: Path) -> None:
    with ruled(tmp_path, 'allow contains "a" if true') as guard:
        guard.declare("send", schema=OPEN)
        with guard.session(principal="ana", agent="a"):
            guard.call("send", {}, Body())
    (made,) = records(tmp_path / "audit.db", "call.decision")
    assert made["input"]["context"]["zones"] == {}


HOURS = """
allow contains "office hours" if {
	data.guardrail.lib.time.working_hours("Europe/Berlin", data.guardrail.lib.time.workdays, "09:00", "17:00")
}
"""
HOURS_TEST = """package guardrail.policy_test

effect(time, offset) := decision.effect if {
	decision := data.guardrail.main.decision with input as {
		"resource": {"id": "pay", "properties": {"declared": true}},
		"context": {"time": time, "zones": {"Europe/Berlin": offset}},
	}
}

test_summer if effect("2026-07-01T07:00:00Z", 7200) == "allow"

test_winter if effect("2026-12-01T07:00:00Z", 3600) == "deny"
"""


def test_tests_and_checks_of_both_engines_get_offsets(tmp_path: Path, opa_program: Path) -> None:
    folder = write_policy(tmp_path, HOURS)
    (folder / "hours_test.rego").write_text(HOURS_TEST)
    program = OpaProgram(opa_program)
    report = check([folder], opa=program)
    assert report.findings == ()
    assert [said.engine for said in report.engines] == ["embedded", "opa", "both"]
    assert [lint.code for lint in report.lints] == []
    for opa in (None, program):
        assert [each.message for each in run_tests([folder], opa=opa).results] == ["", ""]
    (folder / "hours_test.rego").write_text(HOURS_TEST.replace("Europe/Berlin", "Europe/Paris"))
    (first, _) = run_tests([folder]).results
    assert "input.context.zones has no offset for this time zone" in first.message


def test_an_evaluation_keeps_recorded_offsets_and_adds_those_that_are_missing(
    tmp_path: Path,
) -> None:
    folder = write_policy(tmp_path, HOURS)
    asked: dict[str, Any] = {"context": {"time": "2026-07-01T07:00:00.000000Z"}}
    found = evaluate([folder], asked)
    assert found.zones == ("Europe/Berlin",)
    assert found.engines[0].effect == "allow"
    asked["context"]["zones"] = {"Europe/Berlin": 0}
    found = evaluate([folder], asked)
    assert (found.zones, found.engines[0].effect) == ((), "deny")
    asked["context"] = {"time": "noon"}
    assert evaluate([folder], asked).engines[0].effect == "error"


def test_every_literal_that_resembles_a_zone_gets_a_hint() -> None:
    """A hint must name a zone that exists."""
    for text in ("", "x" * 10_000, "Europe/", "berlin", "\0", "é", "UTC+1", "Mars/Base"):
        hint = nearest_zone(text)[1]
        for name in hint.split('"')[1::2]:
            assert zones.is_zone(name)


def test_findings_about_zones_do_not_hide_others(tmp_path: Path) -> None:
    write(tmp_path, {"p.rego": USING + 'x := local.clock("Nowhere")\n', "q.json": "{}"})
    assert [found.code for found in findings(tmp_path)] == ["time-zone", "not-read"]


def test_the_example_passes_its_tests_and_names_its_zones() -> None:
    folder = installed_folder() / "examples"
    paths = [folder / "business_hours.rego", folder / "business_hours_test.rego"]
    assert load_policies(paths).zones == ("America/New_York", "Asia/Kolkata", "Europe/Berlin")
    report = run_tests(paths)
    assert report.ok
    assert len(report.results) == 5


@pytest.mark.parametrize(
    ("call", "line", "said", "hint"),
    [
        ('within_hours("UTC", "9:00", "17:00")', 5, "'9:00'", 'did you mean "09:00"?'),
        ('within_hours("UTC", "09:00",\n "5 pm")', 6, "'5 pm'", 'did you mean "17:00"?'),
        ('within_hours("UTC", 9, "17:00")', 5, "9 is not", 'did you mean "09:00"?'),
        ('within_hours("UTC", "25:00", "24:01")', 5, "'25:00'", "two digits"),
        ('within_hours("UTC", `09:00`, "09:00")', 5, "same time", "whole day"),
        ('working_hours("UTC", ["Mon"], "09:00", "17:00")', 5, "'Mon'", '"Monday"?'),
        ('working_hours("UTC", {"Friday", "?"}, "09:00", "17:00")', 5, "'?'", "workdays"),
        ('working_hours("UTC", "Monday", "09:00", "17:00")', 5, "list or set", "workdays"),
    ],
)
def test_literal_hours_and_days_are_refused_at_the_line_of_the_author(
    tmp_path: Path, call: str, line: int, said: str, hint: str
) -> None:
    """Even if a sample call does not reach them."""
    rule = f'allow contains "a" if {{ input.resource.id == "pay"; local.{call} }}\n'
    with pytest.raises(PolicyLoadError) as caught:
        load_policies([write(tmp_path, {"p.rego": USING + rule})])
    found = caught.value.findings[0]
    assert (found.code, found.line, found.file) == ("local-time", line, str(tmp_path / "p.rego"))
    assert said in found.message
    assert hint in found.hint


def test_hours_and_days_that_are_valid_or_not_literals_are_not_refused(tmp_path: Path) -> None:
    calls = [
        'within_hours("UTC", "22:00", "24:00")',
        'within_hours("UTC", input.hours[0], sprintf("%v:00", [9]))',
        'working_hours("UTC", {"Monday", "Sunday"}, "00:00", x.until)',
        'working_hours("UTC", [day | some day in ["Mon"]], "00:00", "01:00")',
        "working_hours(",
    ]
    text = USING + "".join(f'a contains "a" if local.{call}\n' for call in calls)
    assert load_policies([write(tmp_path, {"p.rego": text})]).zones == ("UTC",)


SITES = """zones := {"a": "Europe/Bonn", "b": data.site.zone}
allow contains "a" if { input.resource.id == "pay"; some zone in zones; open(zone) }
open(zone) if data.guardrail.lib.time.within_hours(zone, "00:00", "24:00")
"""


def test_a_string_that_resembles_a_zone_gets_a_warning_in_policies_and_data(
    tmp_path: Path,
) -> None:
    folder = write_policy(tmp_path, SITES)
    (folder / "data.json").write_text('{"site": {"zone": "Asia/Tokio", "other": "text/plain"}}')
    found = [lint for lint in check([folder]).lints if lint.code == "unknown-zone"]
    assert [(Path(lint.file).name, lint.line) for lint in found] == [("-", 0), ("policy.rego", 3)]
    assert found[0].message.startswith("data.site.zone: 'Asia/Tokio' is not the name")
    assert found[0].hint == 'did you mean "Asia/Tokyo"?'
    write_policy(tmp_path, SITES.replace("Europe/Bonn", "UTC"))
    (folder / "data.json").write_text('{"site": {"zone": "Asia/Tokyo"}}')
    assert [lint for lint in check([folder]).lints if lint.code == "unknown-zone"] == []


def test_sample_calls_get_the_zones_of_a_call(tmp_path: Path) -> None:
    """Policies that fail for every call are refused. Zones in the settings count."""
    rules = SITES.replace('input.resource.id == "pay"; ', "").replace("data.site.zone", '"UTC"')
    folder = write_policy(tmp_path, rules)
    report = check([folder])
    assert {found.code for found in report.findings} == {"evaluation"}
    with pytest.raises(PolicyLoadError):
        open_guard(Guard, settings(tmp_path), None)
    # The name does not have the form Area/City, so only the settings name it.
    write_policy(tmp_path, rules.replace("Europe/Bonn", "Japan"))
    assert not check([folder]).ok
    assert check([folder], zones=["Japan"]).ok
    open_guard(Guard, settings(tmp_path, policy={"time_zones": ["Japan"]}), None).close()


def test_a_test_without_offsets_shows_those_to_add(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, HOURS)
    (folder / "hours_test.rego").write_text(HOURS_TEST.replace('"zones"', '"unknown"'))
    (first, _) = run_tests([folder]).results
    assert '"zones": {"Europe/Berlin": 3600}' in first.message


def test_an_offset_that_contradicts_the_zone_data_gets_a_warning(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, HOURS)
    (folder / "hours_test.rego").write_text(HOURS_TEST.replace('07:00:00Z", 3600', '07:00:00Z", 0'))
    (found,) = (lint for lint in check([folder]).lints if lint.code == "wrong-offset")
    assert (Path(found.file).name, found.line) == ("hours_test.rego", 12)
    assert found.hint == 'write "Europe/Berlin": 3600'
