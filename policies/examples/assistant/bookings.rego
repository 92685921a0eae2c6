# Bookings: the request asks for one, and names the house and the days.
#
# Label of the tools: booking. The declared target is what is booked.
package guardrail.policy

assistant_books if "booking" in input.resource.properties.labels

allow contains {"rule": "assistant.booking", "message": "a booking"} if assistant_books

assistant_booking_named if {
	data.guardrail.policy.request.asks({"book", "booking", "reservation", "reserve"})
	data.guardrail.policy.request.names(input.resource.properties.target[0])
	data.guardrail.policy.request.names_days
	data.guardrail.policy.request.first
}

require_approval contains {
	"rule": "assistant.booking_unnamed",
	"message": "the request does not name what is booked and when, or the assistant has already booked",
} if {
	assistant_books
	not assistant_booking_named
}
