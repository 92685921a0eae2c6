# input {"resource_changes":[{"type":"aws_instance","address":"a.b","change":{"actions":["create"]}},{"type":"aws_iam_role","address":"c.d","change":{"actions":["delete"]}},{"type":"aws_autoscaling_group","address":"x","change":{"actions":["create","delete"]}}]}
package ordinary.terraform_score

import input as plan

blast_radius := 30

weights := {
	"aws_autoscaling_group": {"delete": 100, "create": 10, "modify": 1},
	"aws_instance": {"delete": 10, "create": 1, "modify": 1},
}

resource_types := {"aws_autoscaling_group", "aws_instance", "aws_iam_role"}

default authz := false

authz if {
	score < blast_radius
	not touches_iam
}

score := s if {
	all := [x |
		some resource_type, crud in weights
		del := crud.delete * num_deletes[resource_type]
		new := crud.create * num_creates[resource_type]
		x := del + new
	]
	s := sum(all)
}

touches_iam if {
	some change in resources.aws_iam_role
	change
}

resources[resource_type] := all if {
	some resource_type in resource_types
	all := [name |
		name := plan.resource_changes[_]
		name.type == resource_type
	]
}

num_creates[resource_type] := num if {
	some resource_type in resource_types
	all := resources[resource_type]
	creates := [res | res := all[_]; res.change.actions[_] == "create"]
	num := count(creates)
}

num_deletes[resource_type] := num if {
	some resource_type in resource_types
	all := resources[resource_type]
	deletions := [res | some res in all; "delete" in res.change.actions]
	num := count(deletions)
}
