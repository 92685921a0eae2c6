package guardrail.lib.flow_test

import data.guardrail.lib.flow

asked(labels, tool) := {
	"context": {
		"agent_state": {"labels": ["agent"]},
		"principal_state": {"labels": labels},
		"session": {"labels": []},
	},
	"resource": {"id": tool},
}

carries(labels, watched) := found if found := flow.maybe_carries("principal", watched) with input as asked(labels, "x")

free(labels, watched) := found if found := flow.free_of("principal", watched) with input as asked(labels, "x")

only(labels, allowed) := found if found := flow.carries_only("principal", allowed) with input as asked(labels, "x")

leaks(labels, tool, sinks) := found if found := flow.maybe_leaks("principal", sinks) with input as asked(labels, tool)

# States that no guard makes.
malformed := [null, "web", {"a": "web"}, 5]

test_carried_labels if {
	carries(["web"], ["secret", "web"]) == true
	carries(["web"], {"web"}) == true
	carries(["web"], ["secret"]) == false
	carries([], ["secret"]) == false
	carries(["*", "web"], ["secret"]) == true
	free(["web"], ["secret"]) == true
	free(["web"], ["web"]) == false
	free(["*"], ["secret"]) == false
	every labels in malformed {
		carries(labels, ["secret"]) == true
		free(labels, ["secret"]) == false
		carries(["web"], labels) == true
		free(["web"], labels) == false
	}
	carries(["web"], [5]) == true
	carries(["web"], {"a": "other"}) == true
}

test_each_scope_has_its_own_labels if {
	question := asked(["web"], "x")
	flow.maybe_carries("session", ["web", "agent"]) == false with input as question
	flow.maybe_carries("principal", ["web"]) == true with input as question
	flow.maybe_carries("agent", ["agent"]) == true with input as question
	flow.maybe_carries("team", ["other"]) == true with input as question
	flow.free_of("team", ["other"]) == false with input as question
	flow.carries_only("team", ["other"]) == false with input as question
	flow.maybe_carries("principal", ["web"]) == true with input as {}
}

test_only_these_labels if {
	only(["web"], ["web", "mail"]) == true
	only([], []) == true
	only([], {"web"}) == true
	only(["web", "mail"], ["web"]) == false
	only(["*"], ["*", "web"]) == false
	every labels in malformed {
		only(labels, ["web"]) == false
		only([], labels) == false
	}
	only(["web"], {"a": "web"}) == false
}

sinks := {"post": [], "send": ["web"]}

test_leaks if {
	leaks(["web"], "send", sinks) == false
	leaks(["web"], "post", sinks) == true
	leaks([], "post", sinks) == false
	leaks(["secret", "web"], "send", sinks) == true
	leaks(["secret"], "read", sinks) == false
	leaks(null, "send", sinks) == true
	leaks(null, "read", sinks) == false
	leaks([], 5, sinks) == true
	leaks([], "send", {"send": "web"}) == true
	every each in [["send"], "send", null] {
		leaks([], "send", each) == true
		leaks([], "read", each) == true
	}
	flow.maybe_leaks("principal", sinks) == true with input as {}
}
