# input {"a":1,"b":"x"}
package ordinary.package_of_rules

default allow := false

allow if input.a == 1

reasons contains "b" if input.b == "x"

level := input.a * 2 if input.a > 0

f(x) := x
