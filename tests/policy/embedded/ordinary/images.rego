# input {"request":{"kind":{"kind":"Pod"},"object":{"spec":{"containers":[{"name":"a","image":"hooli.com/nginx"},{"name":"b","image":"evil.com/x:latest"}]}}}}
package ordinary.images

deny contains msg if {
	input.request.kind.kind == "Pod"
	some container in input.request.object.spec.containers
	not startswith(container.image, "hooli.com/")
	msg := sprintf("image '%s' comes from an untrusted registry", [container.image])
}

deny contains msg if {
	image := input.request.object.spec.containers[_].image
	endswith(image, ":latest")
	msg := sprintf("image %q must have a fixed tag", [image])
}
