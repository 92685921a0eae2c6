# Files, mail and calendar: additions are allowed, events are those that the request asks for, and each session deletes
# once, if the request says what.
#
# Labels of the tools: file (creates or adds to one), event (creates or changes one), and delete together with file, mail
# or event.
package guardrail.policy

assistant_delete_words := {
	"event": {"appointment", "appointments", "event", "events", "meeting", "meetings"},
	"file": {"document", "documents", "file", "files"},
	"mail": {"email", "emails", "e-mail", "e-mails", "mail", "mails"},
}

assistant_deletes if "delete" in input.resource.properties.labels

assistant_deletes_as_asked if {
	data.guardrail.policy.request.asks({"cancel", "delete", "erase", "remove"})
	some label in input.resource.properties.labels
	data.guardrail.policy.request.asks(assistant_delete_words[label])
	data.guardrail.policy.request.first
}

allow contains {"rule": "assistant.delete", "message": "something is deleted"} if assistant_deletes

require_approval contains {
	"rule": "assistant.delete_unasked",
	"message": "the request does not ask for this deletion, or the assistant has already deleted something of this kind",
} if {
	assistant_deletes
	not assistant_deletes_as_asked
}

allow contains {"rule": "assistant.file", "message": "a file is created, or text is added"} if {
	"file" in input.resource.properties.labels
	not assistant_deletes
}

assistant_event if {
	"event" in input.resource.properties.labels
	not assistant_deletes
}

assistant_event_as_asked if {
	data.guardrail.policy.request.asks({
		"appointment",
		"calendar",
		"event",
		"meeting",
		"postpone",
		"reminder",
		"reschedule",
	})
	assistant_event_day
	data.guardrail.policy.request.first
}

assistant_event_day if data.guardrail.policy.request.names_days

assistant_event_day if data.guardrail.policy.request.names_no_day

# Guests can be added without a day.
assistant_event_day if count(data.guardrail.policy.request.days) == 0

allow contains {"rule": "assistant.event", "message": "an event is created or changed"} if assistant_event

# guardrail:ignore mutation:/start without a day, only the guests of an event change
require_approval contains {
	"rule": "assistant.event_unasked",
	"message": "the request asks for no event, names another day, or the assistant has already made its event",
} if {
	assistant_event
	not assistant_event_as_asked
}
