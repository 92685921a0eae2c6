# input {"review":{"object":{"metadata":{"namespace":"kube-system","name":"n"}},"userInfo":{"username":"system:serviceaccount:a:b","groups":["g1","g2"]}},"parameters":{"exemptNamespaces":["kube-*"],"groups":["g2"]}}
package ordinary.exempt_lists

exempt if {
	pattern := input.parameters.exemptNamespaces[_]
	glob.match(pattern, [], input.review.object.metadata.namespace)
}

service_account := {"namespace": parts[2], "name": parts[3]} if {
	startswith(input.review.userInfo.username, "system:serviceaccount:")
	parts := split(input.review.userInfo.username, ":")
}

allowed_group if {
	groups := {g | g := input.review.userInfo.groups[_]}
	wanted := {g | g := input.parameters.groups[_]}
	count(groups & wanted) > 0
}

violation contains {"msg": sprintf("%v may not change %v", [input.review.userInfo.username, input.review.object.metadata.name])} if {
	not exempt
	not allowed_group
}
