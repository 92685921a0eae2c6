# input {"version":"3","services":{"a":{"image":"nginx","ports":["80:80"],"privileged":true},"b":{"image":"x:latest","environment":{"PASSWORD":"p"}}}}
package ordinary.compose_services

deny contains msg if {
	some name
	service := input.services[name]
	service.privileged == true
	msg := sprintf("%v is privileged", [name])
}

deny contains msg if {
	service := input.services[name]
	env := service.environment
	env[key]
	regex.match("(?i)password|secret", key)
	msg := sprintf("%v: %v is in plain text", [name, key])
}

untagged[name] if {
	image := input.services[name].image
	not contains(image, ":")
}

ports[name] := [to_number(split(p, ":")[0]) | p := input.services[name].ports[_]] if input.services[name].ports

low_ports := {name | ports[name][_] < 1024}

version_ok if to_number(input.version) >= 3
