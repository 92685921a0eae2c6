# input {"resource_changes":[{"type":"aws_iam_role","change":{"actions":["create"]}},{"type":"aws_instance","change":{"actions":["delete"]}}]}
package ordinary.number_of_changes

weights := {"aws_iam_role": {"delete": 10, "create": 5}, "aws_instance": {"delete": 3, "create": 1}}

types := {"aws_iam_role", "aws_instance"}

resources[kind] := found if {
	some kind in types
	found := [r | r := input.resource_changes[_]; r.type == kind]
}

num[kind][action] := n if {
	some kind in types
	some action in ["create", "delete"]
	n := count([r | some r in resources[kind]; action in r.change.actions])
}

score := sum([s |
	some kind, per in weights
	s := (per.delete * num[kind].delete) + (per.create * num[kind].create)
])
