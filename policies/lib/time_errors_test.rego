# What fails a decision. OPA's own tests take an error in a function as undefined.
package guardrail.lib.time_errors_test

import data.guardrail.lib.time as local

noon := {"context": {"time": "2026-07-01T12:00:00.000000Z", "zones": {"Europe/Berlin": "7200", "UTC": 0}}}

test_a_zone_without_an_offset if {
	not local.offset("Asia/Tokyo") with input as noon
	not local.offset("Europe/Berlin") with input as noon
	not local.clock("Asia/Tokyo") with input as noon
	not local.date("Asia/Tokyo") with input as {}
}

within(from, until) := found if found := local.within_hours("UTC", from, until) with input as noon

working(days, until) := found if found := local.working_hours("UTC", days, "08:30", until) with input as noon

test_malformed_hours if {
	within("08:30", "18:00") == true
	not within("8:30", "18:00")
	not within("08:30", "25:00")
	not within("08:30", 18)
	not within(null, "18:00")
	not within("08:30", "08:30")
}

test_malformed_days if {
	working({"Wednesday"}, "18:00") == true
	not working(["Wed"], "18:00")
	not working("Wednesday", "18:00")
	not working({"a": "Wednesday"}, "18:00")
	not working(["Wednesday"], "8:30")
}
