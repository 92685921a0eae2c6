# Messages, invitations and shared files go to people who are known, or whom the request names.
#
# Labels of the tools: message (mail, direct message, post in a room), share, event (it has guests). The declared targets
# are the people and rooms.
#
# If the assistant has read text that others wrote, a call to a stranger, or with a strange link, is denied. Otherwise a
# person is asked.
package guardrail.policy

assistant_labels := input.resource.properties.labels

assistant_sends if {
	some label in {"event", "message", "share"}
	label in assistant_labels
}

assistant_reaches_known if data.guardrail.policy.request.acquainted

# An event can be without guests.
assistant_reaches_known if {
	"event" in assistant_labels
	data.guardrail.policy.request.no_strangers
}

allow contains {"rule": "assistant.read", "message": "reading"} if "read" in assistant_labels

allow contains {"rule": "assistant.message", "message": "a message to people"} if "message" in assistant_labels

allow contains {"rule": "assistant.share", "message": "a file is shared"} if "share" in assistant_labels

deny contains {
	"rule": "assistant.stranger_after_reading",
	"message": "after reading text of others, nothing goes to people whom neither the request nor the contacts name",
	"severity": "high",
} if {
	assistant_sends
	not assistant_reaches_known
	data.guardrail.policy.request.untrusted
}

require_approval contains {
	"rule": "assistant.stranger",
	"message": "neither the request nor the contacts name these people",
} if {
	assistant_sends
	not assistant_reaches_known
}

# guardrail:ignore mutation:/body without a text there is no link
deny contains {
	"rule": "assistant.link_after_reading",
	"message": "after reading text of others, no message has a link that neither the request nor the history names",
	"severity": "high",
} if {
	assistant_sends
	data.guardrail.policy.request.strange_link
	data.guardrail.policy.request.untrusted
}

# guardrail:ignore mutation:/body without a text there is no link
require_approval contains {
	"rule": "assistant.link",
	"message": "neither the request nor the history names the host of a link",
} if {
	assistant_sends
	data.guardrail.policy.request.strange_link
}

require_approval contains {
	"rule": "assistant.personal",
	"message": "the assistant has read personal details, which a message could contain",
} if {
	assistant_sends
	data.guardrail.policy.request.personal
}
