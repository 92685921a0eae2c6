# input {"path":["pets","getPetById","42"],"pair":[1,[2,3]],"x":3}
package ordinary.unification

pet_id := id if ["pets", "getPetById", id] = input.path

inner := b if {
	[a, [b, c]] := input.pair
	a < b
	c == input.x
}

same if {
	x = input.x
	y = 3
	x = y
}

swap := [y, x] if [x, y] = input.pair
