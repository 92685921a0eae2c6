package guardrail.policy_test

none := {"by_tool": {}, "labels": [], "recent": [], "recent_complete": true, "since": ""}

made(time, tool, target) := {
	"amounts": {},
	"effect": "allow",
	"labels": [],
	"outcome": "ok",
	"rules": [],
	"target": [target],
	"time": sprintf("2026-07-01T%sZ", [time]),
	"tool": tool,
}

denials(tool, args, sections) := {rule.rule | some rule in decision.rules; rule.effect == "deny"} if {
	decision := data.guardrail.main.decision with input as {
		"action": {"properties": {"args": args}},
		"context": object.union(
			{"principal_state": none, "session": none, "time": "2026-07-01T12:00:00.000000Z"},
			sections,
		),
		"resource": {"id": tool, "properties": {"target": [object.get(args, "to", null)]}},
	}
}

refunds(time, number) := {"principal_state": {"recent": calls}} if {
	calls := [made(time, "refund_order", "x") | some n in numbers.range(1, 20); n <= number]
}

test_ten_refunds_an_hour if {
	denials("refund_order", {}, refunds("11:00:01", 9)) == set()
	denials("refund_order", {}, refunds("11:00:01", 10)) == {"ten refunds an hour per user"}
	denials("refund_order", {}, refunds("11:00:00", 10)) == set()
}

test_refunds_are_denied_if_recent_calls_were_dropped if {
	dropped := object.union(refunds("11:30:00", 3), {"principal_state": {"by_tool": {"refund_order": {"recent_complete": false}}, "recent_complete": false}})
	denials("refund_order", {}, dropped) == {"ten refunds an hour per user"}
	denials("send_email", {"to": "bob@example.com"}, dropped) == set()
}

test_mail_after_untrusted_content if {
	tainted := {"principal_state": {"labels": ["untrusted"]}}
	denials("send_email", {"to": "bob@example.org"}, {}) == set()
	denials("send_email", {"to": "bob@example.com"}, tainted) == set()
	every args in [{"to": "bob@example.org"}, {"to": "bob@example.com", "cc": ["eve@example.org"]}, {"to": "bob@example.com@example.org"}] {
		denials("send_email", args, tainted) == {"no external mail after reading untrusted content"}
	}
}

test_reading_a_page_labels_the_session if {
	"untrusted" in data.guardrail.main.decision.labels with input.resource.id as "read_page"
	count(data.guardrail.main.decision.labels) == 0 with input.resource.id as "pay"
}

paid(time, account) := {
	"principal_state": {"recent": [made(time, "pay", account)]},
	"session": {"since": "2026-07-01T11:00:00Z"},
}

test_a_new_account if {
	denials("pay", {"to": "A"}, paid("10:00:00", "A")) == set()
	denials("pay", {"to": "A"}, paid("10:00:00", "B")) == {"never pay an account first seen in this session"}
	denials("pay", {"to": "A"}, paid("11:30:00", "A")) == {"never pay an account first seen in this session"}
}
