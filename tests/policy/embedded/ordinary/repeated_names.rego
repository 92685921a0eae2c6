# input {"a":"x","b":"x","pairs":[[1,1],[1,2]]}
package ordinary.repeated_names

same(x, x) := true

equal if same(input.a, input.b)

doubles := [p | some p in input.pairs; [x, x] = p]

diagonal contains x if {
	some i
	[x, x] = input.pairs[i]
}
