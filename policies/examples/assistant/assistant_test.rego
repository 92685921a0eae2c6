package guardrail.policy_test

assistant_facts := {
	"daily_limit": 1000,
	"domains": ["example.com"],
	"hosts": ["www.example.org"],
	"paying": ["transfer"],
	"people": ["ann@example.net", "ann", "lobby"],
}

assistant_typed := {
	"addresses": ["carl@example.org"],
	"days": ["03-14"],
	"hosts": ["carl.example.org"],
	"line": " book the hotel river inn for carl on 03-14 add a meeting and delete the old file and the mail remove carl ",
	"words": ["Carl"],
}

assistant_state(labels, by_tool, recent) := {
	"by_tool": by_tool,
	"calls": count(recent),
	"denied": 0,
	"in_flight": 0,
	"labels": labels,
	"recent": recent,
	"recent_complete": true,
	"since": "",
}

assistant_fresh := assistant_state([], {}, [])

assistant_reader := assistant_state(["read", "untrusted"], {}, [])

assistant_call(labels, target, args) := {
	"action": {"name": "tools/call", "properties": {"arg_classes": {}, "args": args}},
	"context": {
		"approval": null,
		"principal_state": assistant_fresh,
		"session": assistant_fresh,
		"time": "2026-07-01T10:30:00.000000Z",
	},
	"resource": {
		"id": "tool",
		"properties": {"amounts": {}, "declared": true, "labels": labels, "target": target},
		"type": "tool",
	},
	"subject": {"id": "mia@example.com", "properties": {"typed": assistant_typed}, "type": "user"},
}

assistant_effect(call) := decision.effect if {
	decision := data.guardrail.main.decision with input as call with data.assistant as assistant_facts
}

assistant_in(call, state) := object.union(call, {"context": {"session": state}})

assistant_mail(recipients, body) := assistant_call(["message"], [recipients, null], {"body": body, "to": recipients})

test_assistant_reads if assistant_effect(assistant_call(["read", "untrusted"], [], {})) == "allow"

# -- messages ------------------------------------------------------------------------------------------------------

test_assistant_mails_a_contact_a_typed_address_and_a_colleague if {
	every recipient in ["ann@example.net", "Carl@example.org", "bea@example.com"] {
		call := assistant_in(assistant_mail([recipient], "see www.example.org/menu"), assistant_reader)
		assistant_effect(call) == "allow"
	}
}

test_assistant_mails_a_stranger_only_after_approval if {
	assistant_effect(assistant_mail(["eve@example.edu"], "hello")) == "require_approval"
}

test_assistant_mails_no_stranger_after_reading if {
	every recipients in [["eve@example.edu"], ["ann@example.net", "eve@example.edu"], [], ["eve@example.com.example.edu"]] {
		assistant_effect(assistant_in(assistant_mail(recipients, "hello"), assistant_reader)) == "deny"
	}
}

test_assistant_does_not_take_an_unreadable_recipient if {
	call := assistant_call(["message"], ["ann@example.net", 7], {})
	assistant_effect(assistant_in(call, assistant_reader)) == "deny"
}

test_assistant_sends_no_strange_link if {
	every body in ["www.example.edu", "https://bad.example.edu/a", "see short.example/x", "http://user@example.edu"] {
		assistant_effect(assistant_mail(["ann@example.net"], body)) == "require_approval"
		assistant_effect(assistant_in(assistant_mail(["ann@example.net"], body), assistant_reader)) == "deny"
	}
}

test_assistant_sends_nothing_after_reading_personal_details if {
	state := assistant_state(["personal"], {}, [])
	assistant_effect(assistant_in(assistant_mail(["ann@example.net"], "hello"), state)) == "require_approval"
}

test_assistant_shares_with_a_contact if {
	assistant_effect(assistant_call(["share"], ["ann@example.net"], {})) == "allow"
	assistant_effect(assistant_call(["share"], ["eve@example.edu"], {})) == "require_approval"
}

# -- pages ---------------------------------------------------------------------------------------------------------

test_assistant_reads_known_pages if {
	every url in ["www.example.org", "https://www.example.org/menu", "http://carl.example.org/"] {
		assistant_effect(assistant_call(["page"], [url], {"url": url})) == "allow"
	}
}

test_assistant_reads_no_page_that_could_carry_data if {
	every url in ["www.example.org/?q=secret", "https://me@www.example.org/", "www.example.edu", "www.example.org#x", 7] {
		assistant_effect(assistant_call(["page"], [url], {"url": url})) == "require_approval"
	}
}

test_assistant_writes_only_to_a_named_site if {
	assistant_effect(assistant_call(["publish"], ["carl.example.org/news"], {})) == "allow"
	assistant_effect(assistant_call(["publish"], ["www.example.org/news"], {})) == "deny"
}

# -- files, mail and calendar --------------------------------------------------------------------------------------

test_assistant_adds_to_files if assistant_effect(assistant_call(["file"], [], {})) == "allow"

test_assistant_deletes_once_what_the_request_says if {
	every kind in ["file", "mail"] {
		assistant_effect(assistant_call(["delete", kind], [], {})) == "allow"
	}
	again := assistant_state([], {"tool": {"calls": 1, "recent_complete": true}}, [])
	assistant_effect(assistant_in(assistant_call(["delete", "file"], [], {}), again)) == "require_approval"
}

test_assistant_deletes_nothing_unasked if {
	call := object.union(
		assistant_call(["delete", "file"], [], {}),
		{"subject": {"properties": {"typed": {"line": " read the file "}}}},
	)
	assistant_effect(call) == "require_approval"
}

test_assistant_deletes_nothing_of_another_kind if {
	call := object.union(
		assistant_call(["delete", "mail"], [], {}),
		{"subject": {"properties": {"typed": {"line": " delete the file "}}}},
	)
	assistant_effect(call) == "require_approval"
}

assistant_event_call(start, guests) := assistant_call(["event"], [guests], {"start": start})

test_assistant_makes_the_event_of_the_request if {
	assistant_effect(assistant_event_call("2027-03-14 10:00", null)) == "allow"
	assistant_effect(assistant_event_call("2027-03-14 10:00", ["ann@example.net"])) == "allow"
	assistant_effect(assistant_call(["event"], [["ann@example.net"]], {"event": "5"})) == "allow"
}

test_assistant_makes_no_event_on_another_day if {
	assistant_effect(assistant_event_call("2027-03-15 10:00", null)) == "require_approval"
}

test_assistant_makes_an_event_on_any_day_if_the_request_names_none if {
	call := object.union(
		assistant_event_call("2027-03-15 10:00", null),
		{"subject": {"properties": {"typed": {"days": []}}}},
	)
	assistant_effect(call) == "allow"
}

test_assistant_invites_no_stranger_to_an_event if {
	call := assistant_event_call("2027-03-14 10:00", ["eve@example.edu"])
	assistant_effect(call) == "require_approval"
	assistant_effect(assistant_in(call, assistant_reader)) == "deny"
}

test_assistant_makes_one_event if {
	again := assistant_state([], {"tool": {"calls": 1, "recent_complete": true}}, [])
	call := assistant_in(assistant_event_call("2027-03-14 10:00", null), again)
	assistant_effect(call) == "require_approval"
}

# -- members -------------------------------------------------------------------------------------------------------

test_assistant_invites_whom_the_request_names if {
	assistant_effect(assistant_call(["invite"], ["Carl"], {})) == "allow"
	assistant_effect(assistant_call(["invite"], ["Eve"], {})) == "require_approval"
}

test_assistant_adds_known_people_to_rooms if {
	assistant_effect(assistant_call(["membership"], ["Ann", "lobby"], {})) == "allow"
	assistant_effect(assistant_call(["membership"], ["Eve", "lobby"], {})) == "require_approval"
	assistant_effect(assistant_call(["membership"], [], {})) == "require_approval"
}

test_assistant_removes_whom_the_request_names if {
	assistant_effect(assistant_call(["removal"], ["Carl"], {})) == "allow"
	assistant_effect(assistant_call(["removal"], ["Ann"], {})) == "require_approval"
}

test_assistant_removes_nobody_unasked if {
	call := object.union(
		assistant_call(["removal"], ["Carl"], {}),
		{"subject": {"properties": {"typed": {"line": " greet carl "}}}},
	)
	assistant_effect(call) == "require_approval"
}

# -- bookings ------------------------------------------------------------------------------------------------------

assistant_stay(house, day) := assistant_call(["booking"], [house], {"from": day, "house": house})

test_assistant_books_what_the_request_names if assistant_effect(assistant_stay("River Inn", "2027-03-14")) == "allow"

test_assistant_books_nothing_else if {
	every stay in [["Lake Inn", "2027-03-14"], ["River", "2027-03-15"], ["", "2027-03-14"], ["River Inn", "soon"]] {
		assistant_effect(assistant_stay(stay[0], stay[1])) == "require_approval"
	}
}

test_assistant_books_once if {
	again := assistant_state([], {"tool": {"calls": 1, "recent_complete": true}}, [])
	assistant_effect(assistant_in(assistant_stay("River Inn", "2027-03-14"), again)) == "require_approval"
}

# -- payments ------------------------------------------------------------------------------------------------------

assistant_payment(earlier, amount) := {
	"action": {"properties": {"args": {"amount": amount}}},
	"context": {
		"approval": null,
		"principal_state": assistant_state([], {"transfer": {"calls": 1, "recent_complete": true}}, [{
			"amounts": {"/amount": earlier},
			"effect": "allow",
			"outcome": "ok",
			"target": [],
			"time": "2026-07-01T10:00:00.000000Z",
			"tool": "transfer",
		}]),
		"session": assistant_fresh,
		"time": "2026-07-01T10:30:00.000000Z",
	},
	"resource": {
		"id": "transfer",
		"properties": {"amounts": {"/amount": amount}, "labels": ["read"], "target": []},
	},
}

test_assistant_pays_up_to_the_daily_limit if assistant_effect(assistant_payment(599.5, 400)) == "allow"

test_assistant_pays_no_more_than_the_daily_limit if {
	assistant_effect(assistant_payment(599.5, 400.5)) == "deny"
}

test_assistant_pays_nothing_if_earlier_payments_are_not_known if {
	call := object.union(
		assistant_payment(5, 1),
		{"context": {"principal_state": {"by_tool": {"transfer": {"recent_complete": false}}, "recent_complete": false}}},
	)
	assistant_effect(call) == "deny"
}
