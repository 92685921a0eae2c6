# Payments of a day, in all sessions of the account holder. banking.rego decides on each payment.
#
# Policy data: data.assistant.paying are the tools that pay, and data.assistant.daily_limit is the limit of their sum.
# The tools declare amounts=["/amount"]. Each payment counts as the next whole unit, because sums of decimal numbers are
# not exact.
package guardrail.policy

deny contains {
	"rule": "assistant.daily_limit",
	"message": "the payments of a day would exceed the limit, or are not known",
	"severity": "high",
} if {
	input.resource.id in data.assistant.paying
	not assistant_within_daily_limit
}

assistant_within_daily_limit if {
	earlier := data.guardrail.lib.session.calls_within("principal", data.assistant.paying, 86400)
	units := sum([ceil(call.amounts["/amount"]) | some call in earlier])
	units + ceil(input.resource.properties.amounts["/amount"]) <= data.assistant.daily_limit
}
