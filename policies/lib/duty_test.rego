package guardrail.lib.duty_test

import data.guardrail.lib.duty

call(tool, target) := {
	"amounts": {},
	"effect": "allow",
	"target": [target],
	"time": "2026-07-01T11:00:00.000000Z",
	"tool": tool,
}

asked(tool, target) := {
	"context": {
		"principal_state": {
			"by_tool": {},
			"recent": [call("create", "A1"), call("pay", "B2")],
			"recent_complete": true,
		},
		"time": "2026-07-01T12:00:00.000000Z",
	},
	"resource": {"id": tool, "properties": {"target": [target]}},
}

pair := ["create", "pay"]

conflict(tool, target, tools, seconds) := found if {
	found := duty.maybe_conflict("principal", tools, seconds) with input as asked(tool, target)
}

test_nobody_pays_what_they_created if {
	conflict("pay", "A1", pair, 86400) == true
	conflict("pay", "A1", {"create", "pay"}, 86400) == true
	conflict("create", "B2", pair, 86400) == true
	conflict("pay", "C3", pair, 86400) == false
	conflict("create", "A1", pair, 86400) == false
	conflict("pay", "B2", pair, 86400) == false
	conflict("pay", "A1", pair, 60) == false
	conflict("read", "A1", pair, 86400) == false
	conflict("pay", "A1", ["pay"], 86400) == false
}

test_what_is_unknown_is_a_conflict if {
	conflict("pay", null, pair, 86400) == true
	conflict("pay", "C3", pair, 0) == true
	conflict("pay", "C3", "create", 86400) == true
	conflict("pay", "C3", {"a": "create"}, 86400) == true
	conflict("pay", "C3", null, 86400) == true
	conflict(5, "C3", pair, 86400) == true
	duty.maybe_conflict("team", pair, 86400) == true with input as asked("pay", "C3")
	duty.maybe_conflict("principal", pair, 86400) == true with input as {}
}
