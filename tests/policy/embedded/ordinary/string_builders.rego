# input {"a":"x","n":3,"xs":["p","q"],"f":2.5,"m":{"k":"v"}}
package ordinary.string_builders

one := concat("/", array.concat([input.a], input.xs))

two := sprintf("%s=%d", [input.a, input.n])

three := sprintf("%v items in %v", [count(input.xs), input.m])

four := replace(replace(input.a, "x", "y"), "y", input.xs[0])

five := concat(", ", [sprintf("%s:%v", [k, v]) | some k, v in input.m])

six := {sprintf("%d-%s", [i, x]) | some i, x in input.xs}

seven := substring(input.a, 0, 1) == "x"

eight := [lower(x) | x := input.xs[_]][0]

nine := sprintf("%s", [concat("", [input.a, format_int(input.n, 10)])])

ten := trim(sprintf(" %s ", [input.a]), " ")

eleven := strings.replace_n({"x": "1", "y": "2"}, input.a)

twelve := indexof(concat("", input.xs), input.xs[1])
