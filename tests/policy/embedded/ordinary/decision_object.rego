# input {"user":"u","amount":50,"currency":"eur"}
package ordinary.decision_object

default response := {"allowed": false, "reasons": []}

response := {"allowed": count(reasons) == 0, "reasons": reasons, "user": input.user}

reasons contains msg if {
	input.amount > limit
	msg := sprintf("%v is more than %v %v", [input.amount, limit, upper(input.currency)])
}

limit := 100 if input.currency == "usd"
else := 40 if input.currency == "eur"
else := 0
