# input {"src":"10.1.2.3","dst":"192.168.4.5","port":22}
package ordinary.network

internal := ["10.0.0.0/8", "192.168.0.0/16"]

is_internal(ip) if net.cidr_contains(internal[_], ip)

deny contains "ssh" if {
	input.port == 22
	not is_internal(input.src)
}

both if {
	is_internal(input.src)
	is_internal(input.dst)
}

private_range if net.cidr_contains("10.0.0.0/8", input.src)

overlap if net.cidr_intersects("10.0.0.0/8", "10.1.0.0/16")
