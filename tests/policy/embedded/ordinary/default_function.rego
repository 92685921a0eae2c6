# input {"a":"x","n":3}
package ordinary.default_function

default lookup(_) := "unknown"

lookup(key) := {"x": 1, "y": 2}[key]

one := lookup(input.a)

double(n) := n * 2

square(n) := n * n if is_number(n)

values := [double(input.n), square(input.n)]
