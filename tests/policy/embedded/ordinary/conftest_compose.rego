# input {"version":"3.4","services":{"web":{"image":"nginx","ports":["80:80"]},"db":{"image":"postgres:12","ports":["5432"]}}}
package ordinary.conftest_compose

version := to_number(input.version)

deny contains msg if {
	endswith(input.services[_].image, ":latest")
	msg := "No images tagged latest"
}

deny contains msg if {
	version < 3.5
	msg := sprintf("Must be using at least version 3.5 of the Compose file format, found %v", [input.version])
}

warn contains msg if {
	some name, service in input.services
	some port in service.ports
	parts := split(port, ":")
	count(parts) == 1
	msg := sprintf("%s publishes the ephemeral port %s", [name, port])
}
