# input {"kind":"Pod","metadata":{"name":"can-run-as-root","annotations":{"skip":"a, b"}},"spec":{"containers":[{"ports":[{"containerPort":80},{"containerPort":9090}]}]}}
package ordinary.conftest_exceptions

exception contains rules if {
	input.metadata.name == "can-run-as-root"
	rules := ["run_as_root"]
}

skipped := {trim_space(part) | some part in split(object.get(input, ["metadata", "annotations", "skip"], ""), ",")}

low_ports := [port.containerPort | some c in input.spec.containers; some port in c.ports; port.containerPort < 1024]

deny_run_as_root contains msg if {
	not "a" in skipped
	count(low_ports) > 0
	msg := sprintf("low ports: %v", [low_ports])
}

summary := sprintf("%d low, skipped %v", [count(low_ports), concat("+", skipped)])
