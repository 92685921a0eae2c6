package guardrail.lib.session_test

import data.guardrail.lib.session

call(time, tool, changes) := object.union(
	{
		"amounts": {"/amount": 100},
		"effect": "allow",
		"labels": [],
		"outcome": "ok",
		"rules": [],
		"target": ["ACME"],
		"time": time,
		"tool": tool,
	},
	changes,
)

calls := [
	call("2026-07-01T10:00:00.000000Z", "refund", {"target": ["ACME"]}),
	call("2026-07-01T11:00:00.000000Z", "review", {"outcome": "error", "target": [null]}),
	call("2026-07-01T11:15:00.000000Z", "refund", {"outcome": "", "target": ["Bits"]}),
	call("2026-07-01T11:30:00.000000Z", "refund", {"effect": "deny", "outcome": "", "target": ["Corp"]}),
	call("2026-07-01T11:45:00.000000Z", "refund", {"amounts": {"/amount": 50}, "target": ["Bits", 7]}),
]

state := {
	"agent_state": {},
	"by_tool": {
		"refund": {"amounts": {"/amount": 250}, "calls": 3, "denied": 1},
		"review": {"amounts": {}, "calls": 1},
	},
	"labels": ["untrusted"],
	"recent": calls,
	"recent_complete": true,
	"since": "2026-07-01T10:00:00.000000Z",
}

# Each section has other numbers.
asked(changes, more) := object.union(
	{
		"context": {
			"agent_state": object.union(state, {"by_tool": {"refund": {"calls": 7}}}),
			"principal_state": object.union(state, changes),
			"session": {
				"by_tool": {"refund": {"calls": 5}},
				"labels": [],
				"recent": [],
				"recent_complete": true,
				"since": "2026-07-01T11:10:00.000000Z",
			},
			"time": "2026-07-01T12:00:00.000000Z",
		},
		"resource": {
			"id": "refund",
			"properties": {"amounts": {"/amount": 50}, "target": ["ACME"]},
		},
	},
	more,
)

unknown := session.unknown

# States that no guard makes. Nothing is known from them.
malformed := [
	{"by_tool": null, "labels": null, "recent": null, "since": null},
	{"by_tool": [], "labels": {"a": "b"}, "recent": {"a": call("2026-07-01T11:45:00Z", "refund", {})}, "since": 5},
	{"by_tool": {"refund": 5}, "labels": "text", "recent": [5], "since": "noon"},
]

test_calls if {
	session.calls("principal", ["refund"]) == 3 with input as asked({}, {})
	session.calls("principal", {"refund", "review", "none"}) == 4 with input as asked({}, {})
	session.calls("principal", ["refund", "refund"]) == 3 with input as asked({}, {})
	session.calls("principal", []) == 0 with input as asked({}, {})
	session.calls("session", ["refund"]) == 5 with input as asked({}, {})
	session.calls("agent", ["refund"]) == 7 with input as asked({}, {})
	session.calls("team", ["refund"]) == unknown with input as asked({}, {})
	session.calls("principal", "refund") == unknown with input as asked({}, {})
	session.calls("principal", {"a": "refund"}) == unknown with input as asked({}, {})
	session.calls("principal", ["refund"]) == unknown with input as {}
	every number in ["3", -1, 1000000000001] {
		session.calls("principal", ["refund"]) == unknown with input as asked({"by_tool": {"refund": {"calls": number}}}, {})
	}
	every each in malformed {
		session.calls("principal", ["refund"]) == unknown with input as asked(each, {})
	}
}

test_a_state_that_is_no_object_is_unknown if {
	every scope in ["session", "principal", "agent"] {
		every each in [[], null, "text"] {
			broken := {"context": {"agent_state": each, "principal_state": each, "session": each}}
			session.calls(scope, ["refund"]) == unknown with input as broken
			session.state(scope) == {} with input as broken
		}
	}
}

test_before if {
	session.before("principal", ["review"]) with input as asked({}, {})
	not before(["none"], {})
	not before("refund", {})
	not before(["refund"], {"by_tool": []})
}

before(tools, changes) if session.before("principal", tools) with input as asked(changes, {})

test_succeeded if {
	session.succeeded("principal", ["refund"]) with input as asked({}, {})
	not succeeded(["review"])
	not succeeded(["none"])
	not succeeded({"a": "refund"})
}

succeeded(tools) if session.succeeded("principal", tools) with input as asked({}, {})

within(seconds, changes) := found if found := session.within("principal", ["refund"], seconds) with input as asked(changes, {})

dropped := {"recent_complete": false}

test_within if {
	within(3600, {}) == 2
	within(7199, {}) == 2
	within(7200, {}) == 2
	within(7201, {}) == 3
	within(900, {}) == 0
	within(901, {}) == 1
	within(1000000000, {}) == 3
}

test_a_period_that_the_recent_calls_do_not_cover_is_unknown if {
	within(7200, dropped) == 2
	within(7201, dropped) == unknown
	within(3600, {"recent": [], "recent_complete": false}) == unknown
	within(3600, {"recent": [], "recent_complete": true}) == 0
	within(3600, {"recent_complete": null}) == 2
}

test_malformed_periods_are_unknown if {
	every seconds in [0, -1, 1.5, "3600", null, 1000000001] {
		within(seconds, {}) == unknown
	}
	session.within("principal", "refund", 3600) == unknown with input as asked({}, {})
	session.within("principal", ["refund"], 3600) == unknown with input as asked({}, {"context": {"time": "noon"}})
	every each in malformed {
		within(3600, each) == unknown
	}
}

test_malformed_calls_are_unknown if {
	every change in [{"tool": 5}, {"effect": null}, {"time": "noon"}, {"target": "ACME"}, {"amounts": []}] {
		within(3600, {"recent": [call("2026-07-01T11:59:00Z", "refund", change)]}) == unknown
	}
}

test_a_time_in_the_future_counts if {
	within(60, {"recent": [call("2026-07-02T12:00:00Z", "refund", {})]}) == 1
}

since(tools, marks, changes) := found if found := session.since("principal", tools, marks) with input as asked(changes, {})

test_since if {
	since(["refund"], ["review"], {}) == 2
	since(["refund"], ["review"], dropped) == 2
	since(["refund"], ["refund"], {}) == 0
	since(["review"], ["refund"], {}) == 0
	since(["refund"], ["none"], {}) == 3
	since(["refund"], ["none"], dropped) == unknown
	since("refund", ["review"], {}) == unknown
	since({"a": "refund"}, ["review"], {}) == unknown
	since(["refund"], "review", {}) == unknown
	since(["refund"], {"a": "review"}, {}) == unknown
	since(["refund"], ["review"], {"recent": [5]}) == unknown
}

spent(tools, pointer, changes) := found if found := session.spent("principal", tools, pointer) with input as asked(changes, {})

test_spent if {
	spent(["refund"], "/amount", {}) == 250
	spent(["refund", "review"], "/amount", {}) == 250
	spent(["refund"], "/other", {}) == 0
	spent("refund", "/amount", {}) == unknown
	spent(["refund"], "/amount", {"by_tool": {"refund": {"amounts": []}}}) == unknown
	spent(["refund"], "/amount", {"by_tool": {"refund": {"amounts": {"/amount": "5"}}}}) == unknown
	spent(["refund"], "/amount", {"by_tool": {"refund": {"amounts": {"/amount": -5}}}}) == unknown
}

spent_within(pointer, seconds, changes) := total if {
	total := session.spent_within("principal", ["refund"], pointer, seconds) with input as asked(changes, {})
}

test_spent_within if {
	spent_within("/amount", 3600, {}) == 150
	spent_within("/amount", 7201, {}) == 250
	spent_within("/amount", 7201, dropped) == unknown
	spent_within("/other", 3600, {}) == unknown
	negative := [call("2026-07-01T11:59:00Z", "refund", {"amounts": {"/amount": -50}})]
	spent_within("/amount", 3600, {"recent": negative}) == unknown
}

distinct_targets(seconds, changes) := number if {
	number := session.distinct_targets("principal", ["refund", "review"], seconds) with input as asked(changes, {})
}

test_distinct_targets if {
	distinct_targets(3601, {}) == 2
	distinct_targets(7201, {}) == 3
	distinct_targets(7201, dropped) == unknown
}

over_rate(most, seconds, more) := over if {
	over := session.over_rate("principal", ["refund"], most, seconds) with input as asked({}, more)
}

test_over_rate if {
	over_rate(2, 3600, {}) == true
	over_rate(3, 3600, {}) == false
	over_rate(2, 3600, {"resource": {"id": "mail"}}) == false
	over_rate(2, 3600, {"resource": {"id": 5}}) == true
	over_rate("9", 3600, {}) == true
	over_rate(3.5, 3600, {}) == true
	over_rate(9, 0, {}) == true
	session.over_rate("principal", "mail", 9, 3600) == true with input as asked({}, {})
	session.over_rate("principal", {"a": "mail"}, 9, 3600) == true with input as asked({}, {})
	session.over_rate("team", ["refund"], 9, 3600) == true with input as asked({}, {})
}

over_budget(pointer, most, more) := over if {
	over := session.over_budget("principal", ["refund"], pointer, most) with input as asked({}, more)
}

test_over_budget if {
	over_budget("/amount", 300, {}) == false
	over_budget("/amount", 299, {}) == true
	over_budget("/other", 300, {}) == true
	over_budget("/amount", "300", {}) == true
	over_budget("/amount", 299, {"resource": {"id": "mail"}}) == false
	every amount in ["50", -50, 1000000000001] {
		over_budget("/amount", 8000000000000000, {"resource": {"properties": {"amounts": {"/amount": amount}}}}) == true
	}
}

over_budget_within(pointer, most, more) := over if {
	question := asked({}, more)
	over := session.over_budget_within("principal", ["refund"], pointer, most, 3600) with input as question
}

test_over_budget_within if {
	over_budget_within("/amount", 200, {}) == false
	over_budget_within("/amount", 199, {}) == true
	over_budget_within("/other", 200, {}) == true
	over_budget_within("/amount", "200", {}) == true
	over_budget_within("/amount", 199, {"resource": {"id": "mail"}}) == false
}

maybe_labelled(label, changes) := found if found := session.maybe_labelled("principal", label) with input as asked(changes, {})

labelled(label, changes) := found if found := session.labelled("principal", label) with input as asked(changes, {})

test_labels if {
	labelled("untrusted", {}) == true
	maybe_labelled("untrusted", {}) == true
	labelled("other", {}) == false
	maybe_labelled("other", {}) == false
	maybe_labelled(5, {}) == true
	every each in malformed {
		labelled("b", each) == false
		maybe_labelled("b", each) == true
	}
}

same_target(tools, target) := same if {
	same := session.same_target("principal", tools) with input as asked({}, targeted(target))
}

targeted(target) := {"resource": {"properties": {"target": target}}}

test_same_target if {
	same_target(["refund"], ["ACME"]) == true
	same_target(["refund"], ["x", "Bits"]) == true
	same_target(["refund"], ["Corp"]) == false
	same_target(["review"], ["ACME"]) == false
	same_target(["review"], [null]) == false
	same_target("refund", ["ACME"]) == false
}

maybe_same_target(seconds, target, changes) := same if {
	question := asked(changes, targeted(target))
	same := session.maybe_same_target("principal", ["refund", "review"], seconds) with input as question
}

test_maybe_same_target if {
	maybe_same_target(3600, ["Bits"], {}) == true
	maybe_same_target(3600, [7], {}) == true
	maybe_same_target(3601, ["ACME"], {}) == false
	maybe_same_target(7201, ["ACME"], {}) == true
	maybe_same_target(7201, ["Corp"], {}) == false
	maybe_same_target(7201, ["Corp"], dropped) == true
	maybe_same_target(3600, [], {}) == true
	maybe_same_target(3600, [null], {}) == true
	maybe_same_target(3600, "Corp", {}) == true
	maybe_same_target(3600, {"a": "Corp"}, {}) == true
	every target in ["gr1:contact:1:abc", "to gr1:contact:1:abc", {"$t": "str"}, true] {
		hidden := {"recent": [call("2026-07-01T11:59:00Z", "refund", {"target": [target]})]}
		maybe_same_target(3600, ["Corp"], hidden) == true
	}
}

first_seen(target, more) := first if {
	first := session.first_seen(["refund"]) with input as asked({}, object.union(targeted(target), more))
}

test_first_seen if {
	first_seen(["ACME"], {}) == false
	first_seen(["Bits"], {}) == true
	first_seen(["Corp"], {}) == true
	first_seen(["Bits"], {"context": {"session": {"since": ""}}}) == false
	first_seen(["Corp"], {"context": {"session": {"since": ""}}}) == true
	first_seen(["ACME"], {"context": {"session": {"since": "2026-07-01T10:00:00.000000Z"}}}) == true
	first_seen(["ACME"], {"context": {"session": {"since": null}}}) == true
	session.first_seen("refund") == true with input as asked({}, {})
	session.first_seen(["refund"]) == true with input as {}
}

# Calls of the tool with the most calls are dropped first, so each tool has its own gap.
gap(of_tool, others) := object.union(dropped, {"by_tool": object.union({"refund": of_tool}, others)})

complete := {"recent_complete": true}

older := call("2026-06-01T10:00:00Z", "mail", {})

test_a_gap_of_one_tool_hides_no_call_of_another if {
	within(7201, gap(complete, {})) == 3
	within(7201, gap(dropped, {})) == unknown
	within(7201, gap({"recent_complete": null}, {})) == unknown

	# An old call of another tool does not show that the calls of this one are complete.
	within(7201, object.union(gap(dropped, {}), {"recent": array.concat([older], calls)})) == unknown
	every tools in [["refund", "review"], ["review", "refund"]] {
		found := session.within("principal", tools, 7201) with input as asked(gap(dropped, {"review": complete}), {})
		found == unknown
	}
}

test_a_tool_without_an_entry_has_no_calls_unless_others_are_counted_together if {
	session.within("principal", ["none"], 7201) == 0 with input as asked(gap(dropped, {}), {})
	session.within("principal", ["none"], 7201) == unknown with input as asked(gap(dropped, {"*": complete}), {})
	session.within("principal", ["none"], 7201) == unknown with input as asked({"by_tool": null, "recent_complete": false}, {})
	session.calls("principal", ["none"]) == unknown with input as asked(gap(complete, {"*": {"calls": 1}}), {})
	session.calls("principal", ["refund"]) == 3 with input as asked(gap(complete, {"*": {"calls": 1}}), {})
}

test_since_counts_no_calls_that_were_dropped if {
	marked := array.concat([call("2026-07-01T09:00:00Z", "review", {})], [each | some each in calls; each.tool == "refund"])
	since(["refund"], ["review"], object.union(gap(dropped, {}), {"recent": marked})) == unknown
	since(["refund"], ["review"], object.union(gap(complete, {}), {"recent": marked})) == 3
	since(["refund"], ["review"], {"recent": marked}) == 3
}

test_a_star_may_be_any_label if {
	session.maybe_labelled("principal", "secret") == true with input as asked({"labels": ["*", "web"]}, {})
	session.maybe_labelled("principal", "secret") == false with input as asked({"labels": ["web"]}, {})
}
