# input {"xs":[true,false],"names":["a","b"],"allowed":["a","c"]}
package ordinary.any_all

any_true if true in input.xs

all_known if {
	count({n | n := input.names[_]; n == input.allowed[_]}) == count(input.names)
}

not_all if input.names[_] != "a"

none_banned if {
	banned := [n | n := input.names[_]; n in {"z"}]
	count(banned) == 0
}

unknown contains n if {
	n := input.names[_]
	not n in input.allowed
}

idx contains i if input.names[i] == input.allowed[_]

no_overlap if count({x | x := input.names[_]} & {x | x := input.allowed[_]}) == 0
