# input {"tool":"refund","args":{"amount":120.5,"currency":"EUR","order":"A-17"},"user":{"limit":100}}
package ordinary.refunds

import future.keywords.if
import future.keywords.contains

limits := {"EUR": 100, "USD": 110}

deny contains msg if {
	input.tool == "refund"
	input.args.amount > limits[input.args.currency]
	msg := sprintf("refund of %.2f %s is over the limit of %d", [input.args.amount, input.args.currency, limits[input.args.currency]])
}

deny contains "unknown currency" if not limits[input.args.currency]

deny contains "bad order" if not regex.match(`^[A-Z]-\d+$`, input.args.order)

require_approval contains "above the personal limit" if input.args.amount + 10 > input.user.limit

fee := round(input.args.amount * 3 / 100)
