package guardrail.lib.time_test

import data.guardrail.lib.time as local

at(moment) := {"context": {"time": moment, "zones": {"Asia/Tokyo": 32400, "Europe/Berlin": 7200, "UTC": 0}}}

# A Wednesday.
noon := at("2026-07-01T12:00:00.000000Z")

within(moment, from, until) := found if found := local.within_hours("UTC", from, until) with input as at(moment)

working(moment, days, from, until) := found if {
	found := local.working_hours("UTC", days, from, until) with input as at(moment)
}

test_local_time if {
	local.offset("Europe/Berlin") == 7200 with input as noon
	local.clock("Europe/Berlin") == [14, 0, 0] with input as noon
	local.weekday("Europe/Berlin") == "Wednesday" with input as noon
	local.date("Asia/Tokyo") == [2026, 7, 2] with input as at("2026-07-01T15:00:00Z")
	local.weekday("Asia/Tokyo") == "Thursday" with input as at("2026-07-01T15:00:00Z")
}

test_hours_of_a_day if {
	within("2026-07-01T08:30:00Z", "08:30", "18:00") == true
	within("2026-07-01T17:59:59Z", "08:30", "18:00") == true
	within("2026-07-01T18:00:00Z", "08:30", "18:00") == false
	within("2026-07-01T08:29:59Z", "08:30", "18:00") == false
	within("2026-07-01T23:59:00Z", "08:30", "24:00") == true
	within("2026-07-01T00:00:00Z", "00:00", "24:00") == true
}

test_hours_past_midnight if {
	within("2026-07-01T22:00:00Z", "22:00", "06:00") == true
	within("2026-07-01T05:59:00Z", "22:00", "06:00") == true
	within("2026-07-01T06:00:00Z", "22:00", "06:00") == false
	within("2026-07-01T21:59:00Z", "22:00", "06:00") == false
}

test_working_hours if {
	working("2026-07-01T12:00:00Z", local.workdays, "08:30", "18:00") == true
	working("2026-07-01T12:00:00Z", {"Wednesday"}, "08:30", "18:00") == true
	working("2026-07-01T12:00:00Z", ["Thursday"], "08:30", "18:00") == false
	working("2026-07-01T07:00:00Z", ["Wednesday"], "08:30", "18:00") == false
	working("2026-07-01T18:00:00Z", ["Wednesday"], "08:30", "18:00") == false
	working("2026-07-04T12:00:00Z", local.workdays, "08:30", "18:00") == false
}

test_working_hours_past_midnight_belong_to_the_first_day if {
	working("2026-07-01T23:00:00Z", ["Wednesday"], "22:00", "06:00") == true
	working("2026-07-02T05:00:00Z", ["Wednesday"], "22:00", "06:00") == true
	working("2026-07-02T23:00:00Z", ["Wednesday"], "22:00", "06:00") == false
	working("2026-07-01T05:00:00Z", ["Wednesday"], "22:00", "06:00") == false
	working("2026-07-02T06:00:00Z", ["Wednesday"], "22:00", "06:00") == false
	working("2026-07-01T21:00:00Z", ["Wednesday"], "22:00", "06:00") == false
}
