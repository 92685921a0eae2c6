# input {"spec":{"containers":[{"name":"a","securityContext":{"privileged":true}},{"name":"b"}],"hostNetwork":true,"hostPID":false}}
package ordinary.privileged

deny contains sprintf("container %s is privileged", [name]) if {
	some container in input.spec.containers
	container.securityContext.privileged == true
	name := container.name
}

deny contains "host namespaces are shared" if {
	some field in ["hostNetwork", "hostPID", "hostIPC"]
	input.spec[field]
}
