# input {"pairs":[["a",1],["b",2],["a",3]],"point":{"x":1,"y":2},"path":["v1","users","7"]}
package ordinary.spread_patterns

xs := [x | [name, x] := input.pairs[_]; name == "a"]

user := id if ["v1", "users", id] = input.path

sum_of := x + y if {"x": x, "y": y} = input.point

first := a if {
	[a, _] = input.pairs[0]
}

pair contains [a, b] if {
	some a in {1, 2}
	some b in {"x", "y"}
}

same_pair if [1, 2] == [input.point.x, input.point.y]

v := input.point.z if true
else := 0
