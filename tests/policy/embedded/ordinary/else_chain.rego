# input {"score":75,"user":{"tier":"gold"}}
package ordinary.else_chain

grade := "A" if {
	input.score >= 90
} else := "B" if {
	input.score >= 70
} else := "C"

discount(user) := 20 if user.tier == "gold"

else := 10 if user.tier == "silver"

else := 0

price := 200 - discount(input.user)

level := "high" if input.score > 80

level := "low" if input.score <= 80
