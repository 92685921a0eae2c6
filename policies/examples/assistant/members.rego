# Members of a workspace and of its rooms.
#
# Labels of the tools: invite (a new member), membership (of a room), removal. The declared targets are the person and,
# for a room, the room.
package guardrail.policy

assistant_members if {
	some label in {"invite", "membership", "removal"}
	label in input.resource.properties.labels
}

allow contains {"rule": "assistant.members", "message": "the members of a workspace or room change"} if {
	assistant_members
}

assistant_person_named if input.resource.properties.target[0] in data.guardrail.policy.request.typed("words")

require_approval contains {
	"rule": "assistant.invite",
	"message": "the request does not name the person who would be invited",
} if {
	"invite" in input.resource.properties.labels
	not assistant_person_named
}

require_approval contains {
	"rule": "assistant.membership",
	"message": "this person or room is not known, and the request does not name it",
} if {
	"membership" in input.resource.properties.labels
	not data.guardrail.policy.request.acquainted
}

require_approval contains {
	"rule": "assistant.removal",
	"message": "the request does not ask to remove this person",
} if {
	"removal" in input.resource.properties.labels
	not assistant_removal_asked
}

assistant_removal_asked if {
	assistant_person_named
	data.guardrail.policy.request.asks({"deactivate", "delete", "remove"})
}
