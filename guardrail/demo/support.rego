# What a support agent of a small shop may do.
package guardrail.policy

support_labels := input.resource.properties.labels

support_args := input.action.properties.args

# Reading is always allowed.
allow contains {"rule": "support.read", "message": "it only reads"} if "read" in support_labels

# Parcels leave the house without a question.
allow contains {"rule": "support.ship", "message": "orders may be shipped"} if "stock" in support_labels

# Money goes back up to 100; more than that is for a person to decide.
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

# Mail goes to customers, and to nobody else.
allow contains {"rule": "support.mail", "message": "customers may be written to"} if {
	"mail" in support_labels
	support_args.to in data.support.customers
}

deny contains {"rule": "support.stranger", "message": "mail goes to customers only", "severity": "high"} if {
	"mail" in support_labels
	not support_to_customer
}

support_to_customer if support_args.to in data.support.customers
