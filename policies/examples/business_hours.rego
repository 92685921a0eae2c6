# Refunds during business hours: at once by day, with a person's approval in the evening, not at all at night.
#
# The hours are those of the branch that the caller belongs to. Copy this file and its test into your policy folder,
# and change them.
package guardrail.policy

# The zones are names of the IANA time zone database. The guard finds them here.
branches := {
	"berlin": {"open": "08:30", "close": "18:00", "zone": "Europe/Berlin"},
	"mumbai": {"open": "09:00", "close": "19:00", "zone": "Asia/Kolkata"},
	"new york": {"open": "08:00", "close": "18:00", "zone": "America/New_York"},
}

# A caller without a known branch has no branch, so no rule below allows the call.
branch := branches[input.subject.properties.branch]

business_hours if {
	data.guardrail.lib.time.working_hours(branch.zone, data.guardrail.lib.time.workdays, branch.open, branch.close)
}

evening if data.guardrail.lib.time.within_hours(branch.zone, branch.close, "22:00")

allow contains "refund in business hours" if {
	input.resource.id == "refund"
	business_hours
}

allow contains "refund in the evening" if {
	input.resource.id == "refund"
	evening
}

require_approval contains {
	"rule": "refund-outside-business-hours",
	"message": "a refund outside the business hours of the branch",
	"needs": ["/amount"],
} if {
	input.resource.id == "refund"
	not business_hours
}
