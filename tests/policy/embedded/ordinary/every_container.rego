# input {"containers":[{"image":"a:1","ports":[80]},{"image":"b:2","ports":[443,8080]}],"allowed":[80,443]}
package ordinary.every_container

all_tagged if {
	every container in input.containers {
		contains(container.image, ":")
	}
}

ports_ok if every i, container in input.containers {
	some port in container.ports
	port in input.allowed
	i >= 0
}

bad[i] := extra if {
	some i, container in input.containers
	extra := {p | some p in container.ports} - {p | some p in input.allowed}
	count(extra) > 0
}

none_allowed if {
	every container in input.containers {
		every port in container.ports {
			not input.allowed[port]
			not input.names[container.image][port]
		}
	}
}
