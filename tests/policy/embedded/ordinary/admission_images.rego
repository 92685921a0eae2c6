# input {"review":{"object":{"kind":"Pod","metadata":{"name":"p","namespace":"prod"},"spec":{"containers":[{"name":"a","image":"reg.example.com/a:1"},{"name":"b","image":"docker.io/b"}],"initContainers":[{"name":"c","image":"x/y@sha256:00"}]}}},"parameters":{"repos":["reg.example.com/"],"exempt":["x/*"]}}
package ordinary.admission_images

violation contains {"msg": msg, "details": {"container": c.name}} if {
	some c in all_containers
	not trusted(c)
	msg := sprintf("container <%v> of %v uses %v, allowed are %v", [c.name, input.review.object.metadata.name, c.image, input.parameters.repos])
}

all_containers contains c if {
	some field in ["containers", "initContainers", "ephemeralContainers"]
	some c in input.review.object.spec[field]
}

trusted(c) if {
	some repo in input.parameters.repos
	startswith(c.image, repo)
}

trusted(c) if {
	some pattern in input.parameters.exempt
	prefix := trim_suffix(pattern, "*")
	endswith(pattern, "*")
	startswith(c.image, prefix)
}
