# input {"m":[[1,2],[3,4]],"want":4,"people":[{"name":"a","friends":["b"]},{"name":"b","friends":["a","c"]}]}
package ordinary.nested_loops

position := [i, j] if {
	some i, row in input.m
	some j, cell in row
	cell == input.want
}

mutual contains [p.name, q.name] if {
	p := input.people[_]
	q := input.people[_]
	p.name != q.name
	p.name in q.friends
	q.name in p.friends
}

flat := [x | x := input.m[_][_]]
