# input {"review":{"object":{"spec":{"containers":[{"name":"nginx","image":"nginx"}],"initContainers":[{"name":"i","image":"openpolicyagent/opa"}]}}},"parameters":{"repos":["openpolicyagent/"]}}
package ordinary.allowed_repos

violation contains {"msg": msg} if {
	container := input_containers[_]
	satisfied := [good | repo := input.parameters.repos[_]; good := startswith(container.image, repo)]
	not any_true(satisfied)
	msg := sprintf("container <%v> has an invalid image repo <%v>, allowed repos are %v", [container.name, container.image, input.parameters.repos])
}

any_true(list) if list[_] == true

input_containers contains c if c := input.review.object.spec.containers[_]

input_containers contains c if c := input.review.object.spec.initContainers[_]
