# input {"user":"a"}
package ordinary.prints

allow if {
	print("deciding about", input.user, "with", input.missing)
	input.user == "a"
}

deny contains msg if {
	some x in ["a", "b"]
	print(sprintf("x is %v", [x]))
	x == input.user
	msg := x
}
