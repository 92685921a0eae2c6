# Flow of information: labels of earlier calls, and the tools that data with these labels may reach.
#
# The scope is "session", "principal" (all sessions of the principal) or "agent" (all sessions of the agent). Write it as
# a literal, because guardrail reads from the policy which state to pass. Labels are a list or set. Every allowed call
# counts, also one that is still running.
#
# Nothing here is undefined. If the labels are unknown, functions whose names begin with maybe_ are true: use them to
# deny. All others are then false: use them to allow.
#
# In a policy, write the full name: data.guardrail.lib.flow.maybe_carries("principal", ["untrusted"])

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.flow

# True if an allowed call had one of the labels, or if that is unknown.
default maybe_carries(_, _) := true

maybe_carries(scope, labels) := false if {
	is_list(labels)
	every label in labels {
		data.guardrail.lib.session.maybe_labelled(scope, label) == false
	}
}

# True if surely no allowed call had one of the labels.
default free_of(_, _) := false

free_of(scope, labels) if maybe_carries(scope, labels) == false

# True if all labels of the allowed calls are among these.
default carries_only(_, _) := false

carries_only(scope, labels) if {
	is_list(labels)
	every label in carried(scope) {
		label != "*"
		label in labels
	}
}

# True if this call is of a tool in sinks, and an allowed call had a label that may not reach it. Sinks are an object
# that maps each tool to the labels that may reach it, such as {"send_email": ["internal"]}.
default maybe_leaks(_, _) := true

maybe_leaks(_, sinks) := false if {
	is_object(sinks)
	is_string(input.resource.id)
	not input.resource.id in object.keys(sinks)
}

maybe_leaks(scope, sinks) := false if {
	is_object(sinks)
	carries_only(scope, sinks[input.resource.id])
}

carried(scope) := found if {
	found := data.guardrail.lib.session.state(scope).labels
	is_array(found)
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)
