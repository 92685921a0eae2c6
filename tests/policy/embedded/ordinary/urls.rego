# input {"tool":"fetch","args":{"url":"https://api.example.com:8443/v1?x=1"}}
# input {"tool":"fetch","args":{"url":"http://169.254.169.254/latest"}}
package ordinary.urls

allowed := {"example.com", "example.org"}

parts := regex.find_all_string_submatch_n(`^(https?)://([^/:?#]+)(?::(\d+))?`, input.args.url, 1)[0]

scheme := parts[1]

host := lower(parts[2])

port := to_number(parts[3]) if parts[3] != ""

default port := 443

host_allowed if host in allowed

host_allowed if {
	some domain in allowed
	endswith(host, sprintf(".%s", [domain]))
}

deny contains "scheme" if scheme != "https"

deny contains "host" if not host_allowed

deny contains "metadata service" if {
	regex.match(`^\d{1,3}(\.\d{1,3}){3}$`, host)
	net.cidr_contains("169.254.0.0/16", host)
}

deny contains "port" if not port in {443, 8443}
