# input {"services":{"web":{"ports":[80,443],"public":true},"db":{"ports":[5432]}},"name":"web"}
package ordinary.services_by_name

open_ports := {name: ports |
	some name, service in input.services
	service.public
	ports := service.ports
}

has_port(name, port) if input.services[name].ports[_] == port

unsafe contains name if {
	input.services[name].ports[_] == 80
	not input.services[name].internal
}

ports_of_db := [port | port := input.services.db.ports[_]]

named := input.services[input.name].ports

last := named[count(named) - 1]

all_high if {
	every port in named { port >= 80 }
}
