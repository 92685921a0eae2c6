# Payments only for people whose identity guardrail verified (docs/identity.md), who belong to finance, and who logged in
# within the last hour.
#
# Copy this file and its test into your policy folder, and change them.
package guardrail.policy

pays_invoice if input.resource.id == "pay_invoice"

allow contains "payment" if {
	pays_invoice
	data.guardrail.lib.identity.has_role("finance")
}

deny contains "a payment needs a verified person" if {
	pays_invoice
	not data.guardrail.lib.identity.verified_person
}

deny contains "a payment needs a login within the last hour" if {
	pays_invoice
	not data.guardrail.lib.identity.authenticated_within(3600)
}

require_approval contains {
	"rule": "payment-by-an-unknown-agent",
	"message": "the identity of the agent that pays is not verified",
} if {
	pays_invoice
	not data.guardrail.lib.identity.verified_agent
}
