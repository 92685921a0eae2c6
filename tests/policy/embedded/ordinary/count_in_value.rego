# input {"items":[1,2,3],"n":2,"kind":"k"}
package ordinary.count_in_value

message := sprintf("%d of %d", [input.n, count(input.items)])

summary := {"kind": input.kind, "n": count(input.items), "first": input.items[0]}

parts := [input.kind, lower(input.kind), upper(input.missing)]

report contains sprintf("%s: %d", [input.kind, count(input.items)]) if input.n > 1
