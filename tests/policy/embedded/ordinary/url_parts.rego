# input {"url":"https://api.example.com:8443/v1/users?id=1&x=%20y","method":"POST"}
package ordinary.url_parts

parts := regex.find_all_string_submatch_n(`^(https?)://([^/:]+)(:\d+)?(/[^?]*)?(\?.*)?$`, input.url, 1)[0]

scheme := parts[1]

host := parts[2]

path := parts[4]

segments := [s | some s in split(trim(path, "/"), "/"); s != ""]

allow if {
	scheme == "https"
	endswith(host, ".example.com")
	segments[0] == "v1"
	input.method in {"GET", "POST"}
}

host_allowed if glob.match("*.example.com", ["."], host)

params := {k: v |
	some pair in split(trim_prefix(parts[5], "?"), "&")
	[k, v] := split(pair, "=")
}
