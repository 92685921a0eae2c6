# input {"attributes":{"request":{"http":{"method":"GET","path":"/people/7?x=1","headers":{"authorization":"Basic YWxpY2U6cHc="}}}},"parsed_path":["people","7"]}
package ordinary.envoy_paths

import input.attributes.request.http as http_request

default allow := false

allow if {
	some role in roles_for_user
	required_roles[role]
}

roles_for_user contains r if {
	r := user_roles[user_name][_]
}

required_roles contains r if {
	perm := role_perms[r][_]
	perm.method == http_request.method
	glob.match(perm.path, ["/"], concat("/", ["", input.parsed_path[0], input.parsed_path[1]]))
}

user_name := parsed if {
	[_, encoded] := split(http_request.headers.authorization, " ")
	[parsed, _] := split(base64url.decode(encoded), ":")
}

user_roles := {"alice": ["guest", "admin"], "bob": ["guest"]}

role_perms := {
	"guest": [{"method": "GET", "path": "/people/*"}],
	"admin": [{"method": "GET", "path": "/people"}, {"method": "POST", "path": "/people"}],
}
