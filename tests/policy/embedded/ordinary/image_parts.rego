# input {"image":"reg.example.com:5000/team/app:1.2.3@sha256:0a"}
package ordinary.image_parts

no_digest := split(input.image, "@")[0]

registry := split(no_digest, "/")[0] if contains(no_digest, "/")

tag := t if {
	parts := split(split(no_digest, "/")[count(split(no_digest, "/")) - 1], ":")
	count(parts) == 2
	t := parts[1]
}

tag := "latest" if not contains(no_digest, ":")

pinned if regex.match(`@sha256:[a-f0-9]+$`, input.image)

newer if semver.compare(tag, "1.0.0") > 0

name := trim_prefix(no_digest, concat("", [registry, "/"]))

valid_tag if {
	tag != "latest"
	tag != ""
}
