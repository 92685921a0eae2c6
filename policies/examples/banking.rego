# A banking assistant. It may read anything. It may send money only to payees in the account holder's history or in the
# account holder's own request.
#
# Policy data (data.banking) comes from the bank, and never from anything that the assistant reads:
#   balance          the balance of the account
#   payees           accounts that received money before
#   standing_orders  id -> {"recipient", "amount"}
#
# Session attributes (subject.properties.typed) come from the request that the account holder typed, before the
# assistant reads anything else:
#   words, accounts, numbers, passwords
#
# Tools have the labels read, payment, standing_order, profile and credential. A tool without a label is not allowed.
package guardrail.policy

banking_labels := input.resource.properties.labels

banking_args := input.action.properties.args

banking_typed := object.get(input.subject.properties, "typed", {})

# -- reading -------------------------------------------------------------------------------------------------------

allow contains "banking.read" if "read" in banking_labels

# -- payments ------------------------------------------------------------------------------------------------------

allow contains {"rule": "banking.payment", "message": "a payment that the balance covers"} if {
	"payment" in banking_labels
	banking_covered
}

deny contains {
	"rule": "banking.not_covered",
	"message": "the balance does not cover this payment",
	"severity": "high",
} if {
	"payment" in banking_labels
	not banking_covered
}

require_approval contains {
	"rule": "banking.new_payee",
	"message": "neither the history nor the request names this payee",
	"needs": ["/recipient", "/amount"],
} if {
	"payment" in banking_labels
	not banking_payee_named
}

banking_covered if {
	is_number(banking_args.amount)
	banking_args.amount > 0
	banking_args.amount <= data.banking.balance
}

banking_payee_named if banking_args.recipient in data.banking.payees

banking_payee_named if banking_args.recipient in banking_typed.accounts

banking_payee_named if banking_args.recipient in banking_typed.words

# -- standing orders -----------------------------------------------------------------------------------------------

banking_order := data.banking.standing_orders[format_int(banking_args.id, 10)]

allow contains {"rule": "banking.standing_order", "message": "a change of a standing order that exists"} if {
	"standing_order" in banking_labels
	banking_order
}

# guardrail:ignore mutation:/recipient without it the order keeps its payee
require_approval contains {
	"rule": "banking.redirected",
	"message": "neither the history nor the request names the new payee of this standing order",
	"needs": ["/id", "/recipient"],
} if {
	"standing_order" in banking_labels
	not banking_order_payee_kept
	not banking_payee_named
}

# guardrail:ignore mutation:/amount without it the order keeps its amount
require_approval contains {
	"rule": "banking.rise",
	"message": "the standing order rises by more than a quarter, to an amount that the request does not name",
	"needs": ["/id", "/amount"],
} if {
	"standing_order" in banking_labels
	not banking_order_amount_kept
	not banking_amount_near
	not banking_amount_typed
}

banking_order_payee_kept if object.get(banking_args, "recipient", null) == null

banking_order_payee_kept if banking_args.recipient == banking_order.recipient

banking_order_amount_kept if object.get(banking_args, "amount", null) == null

# True if the amount rises by a quarter at most, calculated in whole units.
banking_amount_near if {
	is_number(banking_args.amount)
	banking_args.amount > 0
	round(banking_args.amount) * 4 <= round(banking_order.amount) * 5
}

banking_amount_typed if {
	is_number(banking_args.amount)
	banking_args.amount in banking_typed.numbers
}

# -- account holder's details --------------------------------------------------------------------------------------

allow contains {"rule": "banking.profile", "message": "a change of the account holder's details"} if {
	"profile" in banking_labels
}

# guardrail:ignore mutation:/first_name,mutation:/last_name without them the name stays
require_approval contains {"rule": "banking.renamed", "message": "the account holder gets another name"} if {
	"profile" in banking_labels
	not banking_name_kept
}

banking_name_kept if {
	object.get(banking_args, "first_name", null) == null
	object.get(banking_args, "last_name", null) == null
}

allow contains {"rule": "banking.credential", "message": "a change of the password"} if {
	"credential" in banking_labels
}

require_approval contains {
	"rule": "banking.password_not_typed",
	"message": "a new password that the account holder did not type",
} if {
	"credential" in banking_labels
	not banking_password_typed
}

banking_password_typed if banking_args.password in banking_typed.passwords

redact contains "/password" if "credential" in banking_labels
