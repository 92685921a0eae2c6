package guardrail.lib.args_test

import data.guardrail.lib.args

call := {"action": {"properties": {"args": {"amount": 5, "nothing": null, "tags": ["a", 1], "to": "ann"}}}}

without_arguments := [{}, {"action": null}, {"action": {"properties": {"args": null}}}, {"action": {"properties": {"args": ["to"]}}}]

test_has if {
	every name in ["amount", "nothing", "tags", "to"] {
		args.has(name) == true with input as call
	}
	every name in ["cc", "", null, 0] {
		args.has(name) == false with input as call
	}
}

test_value if {
	args.value("amount", 7) == 5 with input as call
	args.value("nothing", 7) == null with input as call
	args.value("cc", 7) == 7 with input as call
}

test_text if {
	args.text("to") == "ann" with input as call
	args.text("amount") == "" with input as call
	args.text("cc") == "" with input as call
}

test_list if {
	args.list("tags") == ["a", 1] with input as call
	args.list("to") == ["ann"] with input as call
	args.list("amount") == [] with input as call
	args.list("cc") == [] with input as call
}

test_number_within if {
	args.number_within("amount", 5, 5) == true with input as call
	args.number_within("amount", 6, 9) == false with input as call
	args.number_within("amount", 1, 4) == false with input as call
	args.number_within("to", 1, 9) == false with input as call
	args.number_within("cc", 1, 9) == false with input as call
	args.number_within("amount", null, 9) == false with input as call
	args.number_within("amount", 1, "9") == false with input as call
}

test_calls_without_arguments if {
	every each in without_arguments {
		args.has(0) == false with input as each
		args.has("to") == false with input as each
		args.value("to", 7) == 7 with input as each
		args.text("to") == "" with input as each
		args.list("to") == [] with input as each
		args.number_within("to", 1, 9) == false with input as each
	}
}
