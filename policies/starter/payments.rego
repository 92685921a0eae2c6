# Payments: small ones to known payees are allowed, others need approval, large ones are denied.
package guardrail.policy

payment_tool if input.resource.id in data.starter.payment_tools

# This rule describes valid amounts, so an amount that is missing or not a number is not allowed.
amount_within(limit) if data.guardrail.lib.args.number_within("amount", 0, limit)

known_payee if data.guardrail.lib.args.text("payee") in data.starter.payees

small_amount if amount_within(data.starter.free_amount)

possible_amount if amount_within(data.starter.most_amount)

allow contains "payment" if {
	payment_tool
	possible_amount
}

require_approval contains {
	"rule": "payment-large",
	"message": "a payment over the free amount needs approval",
	"needs": ["/amount", "/payee"],
} if {
	payment_tool
	not small_amount
}

require_approval contains {
	"rule": "payment-new-payee",
	"message": "a payment to a new payee needs approval",
	"needs": ["/amount", "/payee"],
} if {
	payment_tool
	not known_payee
}

deny contains {
	"rule": "payment-amount",
	"message": "payments of this amount are never allowed",
	"severity": "high",
} if {
	payment_tool
	not possible_amount
}
