# Separation of duty: the same person may not do two things with the same target.
#
# The scope is "principal", "session" or "agent", as a literal. Tools are a list or set of names. Seconds are a whole
# number.
#
# Nothing here is undefined. If the answer is unknown, functions whose names begin with maybe_ are true: use them to deny.
#
# In a policy, write the full name: data.guardrail.lib.duty.maybe_conflict("principal", ["create", "pay"], 86400)

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.duty

# True if this call is of one of the tools, and an allowed call of another one of them, in the last seconds, had a target
# of this call. The recorded target of an earlier call can be a token, which can't be compared.
default maybe_conflict(_, _, _) := true

maybe_conflict(_, tools, _) := false if data.guardrail.lib.session.other_tool(tools)

maybe_conflict(scope, tools, seconds) := false if {
	is_string(input.resource.id)
	is_list(tools)
	others := {tool | some tool in tools; tool != input.resource.id}
	data.guardrail.lib.session.maybe_same_target(scope, others, seconds) == false
}

is_list(values) if is_array(values)

is_list(values) if is_set(values)
