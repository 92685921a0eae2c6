# Approvals of this call, and people other than the one who asks for it.
#
# Nothing here is undefined. If the answer is unknown, functions whose names begin with maybe_ are true: use them to deny.
# All others are then false: use them to allow. Ids are compared without regard to case, and to blanks around them.
#
# In a policy, write the full name: data.guardrail.lib.approval.by_others(2)

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.approval

# True if at least so many people have approved this call, and none of them is the principal, the agent or an actor in
# the delegation chain.
default by_others(_) := false

by_others(number) if {
	is_number(number)
	number >= 1
	input.context.approval.valid == true
	people := {folded(approver.id) | some approver in approvers}
	count(people) >= number
	every approver in approvers {
		is_other(approver.id)
	}
}

# True unless people have approved this call, and none of them is the principal, the agent or an actor.
default maybe_own := true

maybe_own := false if by_others(1)

# True if this is the id of someone other than the principal, the agent and the actors in the delegation chain.
default is_other(_) := false

is_other(id) if {
	folded(id) != ""
	folded(id) != folded(input.subject.id)
	not is_agent(id)
	data.guardrail.lib.identity.delegation_depth < 1000
	every actor in data.guardrail.lib.identity.actors {
		folded(id) != folded(actor)
	}
}

approvers := found if {
	found := input.context.approval.approvers
	is_array(found)
	every approver in found {
		folded(approver.id) != ""
	}
}

is_agent(id) if folded(id) == folded(input.context.agent.id)

# Ids with other letters than those of ASCII could look like another one.
folded(id) := lower(trim(id, " ")) if {
	is_string(id)
	regex.match(`^[ -~]+$`, id)
}
