# input {"country":"de","total":10,"vip":true}
package ordinary.default_in_function

default rate(_) := 0.25

rate(country) := 0.19 if country == "de"

rate(country) := 0.2 if country in {"fr", "at"}

tax := input.total * rate(input.country)

is_vip := object.get(input, "vip", false) == true

discount := 5 if is_vip else := 0

price(total, vip) := total - 5 if vip
else := total

final := price(input.total, input.vip)

default level := "none"

level := "gold" if input.total > 100

level := "silver" if { input.total > 5; input.total <= 100 }
