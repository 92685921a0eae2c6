# input {"roles":["a","b"],"perms":{"a":["r"],"b":["w","r"]},"wants":"w"}
package ordinary.set_rule_keys

granted contains perm if perm := input.perms[input.roles[_]][_]

allow if granted[input.wants]

allow if granted["admin"]

denied if not granted[input.wants]

two := {p | granted[p]}

listed := [p | granted[p]]

n := count(granted)

admin if { some p in granted; p == "admin" }

sorted := sort(granted)

joined := concat(",", granted)
