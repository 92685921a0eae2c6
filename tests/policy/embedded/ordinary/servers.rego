# input {"servers":[{"id":"app","protocols":["https","ssh"],"ports":["p1"]},{"id":"db","protocols":["telnet"],"ports":["p2"]},{"id":"busy","protocols":["http"],"ports":["p1","p2"]}],"networks":[{"id":"net1","public":false},{"id":"net2","public":true}],"ports":[{"id":"p1","network":"net1"},{"id":"p2","network":"net2"}]}
package ordinary.servers

default compliant := false

compliant if count(violation) == 0

violation contains server.id if {
	some server in public_servers
	"http" in server.protocols
}

violation contains server.id if {
	server := input.servers[_]
	server.protocols[_] == "telnet"
}

public_servers contains server if {
	some server in input.servers
	some port in server.ports
	some i, j
	input.ports[i].id == port
	input.ports[i].network == input.networks[j].id
	input.networks[j].public
}
