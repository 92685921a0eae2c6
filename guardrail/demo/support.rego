# The permissions of a support agent of a small shop.
package guardrail.policy

support_labels := input.resource.properties.labels

support_args := input.action.properties.args

# Reading is always allowed.
allow contains {"rule": "support.read", "message": "it only reads"} if "read" in support_labels

# Parcels can be sent without approval.
allow contains {"rule": "support.ship", "message": "orders may be shipped"} if "stock" in support_labels

# Refunds up to 100 are allowed. Larger ones need approval.
allow contains {"rule": "support.refund", "message": "orders may be refunded"} if {
	"money" in support_labels
	is_number(support_args.amount)
	support_args.amount > 0
}

require_approval contains {
	"rule": "support.large_refund",
	"message": "a refund of more than 100 needs a person",
	"needs": ["/order_id", "/amount"],
} if {
	"money" in support_labels
	not support_small_refund
}

support_small_refund if {
	is_number(support_args.amount)
	support_args.amount <= 100
}

# Mail can be sent only to customers.
allow contains {"rule": "support.mail", "message": "mail to customers is allowed"} if {
	"mail" in support_labels
	support_args.to in data.support.customers
}

deny contains {"rule": "support.stranger", "message": "mail goes to customers only", "severity": "high"} if {
	"mail" in support_labels
	not support_to_customer
}

support_to_customer if support_args.to in data.support.customers
