# input {"have":["a","b"],"need":["b","c"],"groups":{"x":["a"],"y":["c"]}}
package ordinary.set_ops

have := {x | some x in input.have}

need := {x | some x in input.need}

missing := need - have

shared := have & need

either := have | need

all_members := union({{m | some m in ms} | some ms in input.groups})

ok if count(missing) == 0

subset if need & have == need

sorted := sort(input.have)

is_subset if count({"a"} - have) == 0
