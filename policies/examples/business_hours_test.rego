package guardrail.policy_test

# The offsets are those of the summer and the winter of 2026.
refund_effect(branch, time, zones) := decision.effect if {
	decision := data.guardrail.main.decision with input as {
		"action": {"properties": {"args": {"amount": 20}}},
		"context": {"approval": null, "time": time, "zones": zones},
		"resource": {"id": "refund", "properties": {"declared": true}},
		"subject": {"properties": {"branch": branch}},
	}
}

test_hours_of_berlin_in_summer if {
	zones := {"Europe/Berlin": 7200}
	refund_effect("berlin", "2026-07-01T06:29:59Z", zones) == "deny"
	refund_effect("berlin", "2026-07-01T06:30:00Z", zones) == "allow"
	refund_effect("berlin", "2026-07-01T15:59:59Z", zones) == "allow"
	refund_effect("berlin", "2026-07-01T16:00:00Z", zones) == "require_approval"
	refund_effect("berlin", "2026-07-01T20:00:00Z", zones) == "deny"
}

test_hours_of_berlin_in_winter if {
	zones := {"Europe/Berlin": 3600}
	refund_effect("berlin", "2026-12-01T07:29:59Z", zones) == "deny"
	refund_effect("berlin", "2026-12-01T07:30:00Z", zones) == "allow"
}

test_new_york_is_still_at_work_in_the_evening_of_berlin if {
	refund_effect("new york", "2026-07-01T20:00:00Z", {"America/New_York": -14400}) == "allow"
}

test_a_friday_in_new_york_can_be_a_saturday_in_mumbai if {
	refund_effect("new york", "2026-07-03T19:00:00Z", {"America/New_York": -14400}) == "allow"
	refund_effect("mumbai", "2026-07-03T19:00:00Z", {"Asia/Kolkata": 19800}) == "deny"
}

test_no_refunds_without_a_branch if refund_effect("atlantis", "2026-07-01T10:00:00Z", {}) == "deny"
